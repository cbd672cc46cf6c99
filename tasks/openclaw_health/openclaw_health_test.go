package openclawhealth_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	openclawhealth "holdfast/tasks/openclaw_health"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, openclawhealth.Module) }

// answering is a host on which something listens that answers probes with body.
func answering(body string) *tasktest.Host {
	h := tasktest.NewHost()
	h.AddListener(task.Listener{Proto: "tcp", Address: "127.0.0.1", Port: 18789})
	h.OnFetch = func(task.Request) (task.Response, error) {
		return task.Response{Status: 200, Body: []byte(body)}, nil
	}
	h.OnConnect = func(string, string) (io.ReadWriteCloser, error) { return nil, errors.New("reset") }
	return h
}

func TestNothingIsProvedByAPage(t *testing.T) {
	for body, want := range map[string]string{
		"<html>ok</html>":                   "unreachable, want ok: /healthz does not answer as a gateway does",
		`{"ok":false}`:                      "/healthz does not answer",
		`{"ok":true,"status":"live"}`:       "unreachable, want ok: the gateway says unreachable: reset",
		`{"ok":true,"failing":["\u0007x"]}`: "reset",
	} {
		_, _, err := tasktest.Run(t, answering(body), openclawhealth.Module, "{}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

func TestADeviceWithAWrongKey(t *testing.T) {
	_, _, err := tasktest.Run(t, answering(`{"ok":true}`), openclawhealth.Module, `{device: "${secret('x')}", expect: [unreachable]}`)
	if err == nil || !strings.Contains(err.Error(), "no Ed25519 key") || strings.Contains(err.Error(), tasktest.Canary) {
		t.Errorf("got %v", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{expect: [fine]}":      `"fine" is no outcome`,
		"{expect: []}":          "expect",
		"{port: 0}":             "port",
		`{origin: "a\r\nB: c"}`: "one word",
		`{forwarded: ""}`:       "one word",
		"{token: abc}":          "want ${secret(",
	} {
		if got := tasktest.Fault(openclawhealth.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
