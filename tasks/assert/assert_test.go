package assert_test

import (
	"strings"
	"testing"

	"holdfast/tasks/assert"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, assert.Module) }

func TestRun(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"all hold", "{that: [true, true]}", ""},
		{"one does not", "{that: [true, false]}", "condition 2 of 2: not true"},
		{"two do not", "{that: [false, true, false]}", "conditions 1, 3 of 3: not true"},
		{"the message is the failure", "{that: [false], message: buy a disk}", "buy a disk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, changed, err := tasktest.Run(t, tasktest.NewHost(), assert.Module, tt.args)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want || changed {
				t.Errorf("assert %s: got %q (changed %v), want %q", tt.args, got, changed, tt.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":            "assert.that: missing",
		"{that: []}":    "0 entries is less than 1",
		"{that: [yes]}": "want true or false",
		"{that: true}":  "want list(bool)",
	} {
		if got := tasktest.Fault(assert.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
