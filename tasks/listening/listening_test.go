package listening_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/listening"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, listening.Module) }

func host() *tasktest.Host {
	h := tasktest.NewHost() // tcp 22 on all addresses, udp 323 on loopback
	h.AddListener(task.Listener{Proto: "tcp", Address: "127.0.0.1", Port: 5432})
	h.AddListener(task.Listener{Proto: "tcp", Address: "::1", Port: 5432})
	h.AddListener(task.Listener{Proto: "tcp", Address: "192.0.2.10", Port: 80})
	return h
}

func TestRun(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"open", "{tcp: [22, 5432], udp: [323]}", ""},
		{"closed", "{tcp: [22, 443]}", "nothing listens on tcp/443"},
		{"other protocol", "{udp: [22]}", "nothing listens on udp/22"},
		{"several are wrong", "{tcp: [1, 2], udp: [3]}", "nothing listens on tcp/1; nothing listens on tcp/2; nothing listens on udp/3"},
		{"exactly", "{tcp: [22, 80], exactly: true}", ""},
		{"one more", "{tcp: [22], exactly: true}", "tcp/192.0.2.10:80 is open and not in the list"},
		{"none may be open", "{tcp: [], exactly: true}", "tcp/0.0.0.0:22 is open and not in the list; tcp/192.0.2.10:80 is open and not in the list; tcp/[::]:22 is open and not in the list"},
		{"UDP on loopback does not matter", "{udp: [], exactly: true}", ""},
		{"loopback", "{tcp: [5432], address: loopback}", ""},
		{"one of two loopback addresses", "{tcp: [5432], address: 127.0.0.1}", "tcp/[::1]:5432 is open, want it on 127.0.0.1 only"},
		{"open to the world", "{tcp: [22], address: loopback}", "tcp/0.0.0.0:22 is open, want it on loopback only; tcp/[::]:22 is open, want it on loopback only"},
		{"address", "{tcp: [80], address: 192.0.2.10}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tasktest.Run(t, host(), listening.Module, tt.args)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("listening %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestResultIsSorted(t *testing.T) {
	result, _, err := tasktest.Run(t, host(), listening.Module, "{tcp: [22]}")
	if err != nil {
		t.Fatal(err)
	}
	got := result.(listening.Result).Open
	if len(got) != 6 || !slices.IsSorted(got) {
		t.Errorf("got %q, want the six listeners sorted", got)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":             "want tcp, udp or both",
		"{tcp: []}":      "nothing would be checked",
		"{tcp: [0]}":     "listening.tcp: 0 is no port",
		"{udp: [65536]}": "listening.udp: 65536 is no port",
		"{tcp: [ssh]}":   "want a whole number",
	} {
		if got := tasktest.Fault(listening.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
