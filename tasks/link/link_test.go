package link_test

import (
	"strings"
	"testing"

	"holdfast/tasks/link"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, link.Module) }

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"there", "{path: /bin, target: usr/bin}", ""},
		{"missing", "{path: /sbin, target: usr/sbin}", "target  > usr/sbin"},
		{"points elsewhere", "{path: /bin, target: usr/local/bin}", "target usr/bin > usr/local/bin"},
		{"same place, other words", "{path: /bin, target: /usr/bin}", "target usr/bin > /usr/bin"},
		{"a file gives way to force", "{path: /etc/motd, target: /run/motd, force: true}", "state file > present; target  > /run/motd"},
		{"absent", "{path: /bin, state: absent}", "state link to usr/bin > absent"},
		{"absent already", "{path: /nothing, state: absent}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, tasktest.NewHost(), link.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Before+" > "+c.After)
	}
	return strings.Join(out, "; ")
}

func TestObserveRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /etc, target: /srv, force: true}": "not a link but a directory",
		"{path: /etc, state: absent}":             "not a link but a directory",
		"{path: /etc/motd, target: /run/motd}":    "set force to replace it",
		"{path: /etc/motd, state: absent}":        "it is a file",
	} {
		if _, err := tasktest.Apply(t, tasktest.NewHost(), link.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("link %s: got %v, want an error with %q", args, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /x}":                           "link.target: missing",
		"{path: /x, target: y, state: absent}": "link.target: an absent link has none",
		`{path: /x, target: ""}`:               "link.target: missing",
	} {
		if got := tasktest.Fault(link.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
