package unarchive_test

import (
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/unarchive"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, unarchive.Module) }

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"there", "{path: /etc/motd}", ""},
		{"missing", "{path: /etc/new}", "path absent > present"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, tasktest.NewHost(), unarchive.Module, tt.args)); got != tt.want {
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

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":          "unarchive.path: missing",
		"{path: etc}": "want an absolute path",
	} {
		if got := tasktest.Fault(unarchive.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
