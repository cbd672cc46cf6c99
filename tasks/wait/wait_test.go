package wait_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/wait"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, wait.Module) }

func TestRunLooksAgain(t *testing.T) {
	h := tasktest.NewHost()
	tries := 0
	h.OnFetch = func(task.Request) (task.Response, error) {
		tries++
		switch tries {
		case 1:
			return task.Response{}, errors.New("connection refused")
		case 2:
			return task.Response{Status: 503}, nil
		}
		return task.Response{Status: 204}, nil
	}
	result, changed, err := tasktest.Run(t, h, wait.Module, "{http: http://localhost/, every: 10ms}")
	if err != nil || changed {
		t.Fatalf("got %v, changed %v, want neither", err, changed)
	}
	if got := result.(wait.Result).Tries; got != 3 {
		t.Errorf("tries: got %d, want 3", got)
	}
}

func TestRunGivesUp(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"port", "{tcp: 127.0.0.1:1, every: 10ms}", "127.0.0.1:1: connection refused"},
		{"path", "{path: /run/sock, every: 10ms}", "/run/sock after 0s: context deadline exceeded; the last look said: it is not there"},
		{"absent", "{absent: /etc/motd, every: 10ms}", "the last look said: it is still there"},
		{"unit", "{unit: nginx, every: 10ms}", "nginx.service after 0s: context deadline exceeded; the last look said: the unit is inactive"},
		{"no such unit", "{unit: x.timer, user: admin, every: 10ms}", "there is no such unit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			h := tasktest.NewHost()
			_, _, err := tasktest.Bind(t, h, wait.Module, tt.args).Run(ctx, h)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("wait %s: got %v, want a deadline and %q", tt.args, err, tt.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                      "want one of tcp, path, absent, unit and http, got 0",
		"{path: /x, unit: y}":     "got 2",
		"{tcp: 22}":               `wait.tcp: "22" is no host:port`,
		"{http: localhost}":       "is no URL",
		"{path: /x, every: 1ms}":  "is too often",
		"{path: /x, user: admin}": `needs "unit" too`,
	} {
		if got := tasktest.Fault(wait.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
