package copy_test

import (
	"strings"
	"testing"

	"holdfast/tasks/copy"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, copy.Module) }

// The content that the test host makes of a file is "# " and its name.
const copied = "# a.txt\n"

func TestDiff(t *testing.T) {
	tests := []struct{ name, before, args, want string }{
		{"missing", "", "{path: /etc/a, src: a.txt}", "src create"},
		{"content in the playbook", "b\n", "{path: /etc/a, content: \"b\\n\"}", ""},
		{"other content in the playbook", "b\n", "{path: /etc/a, content: c}", "content update"},
		{"same", copied, "{path: /etc/a, src: a.txt}", ""},
		{"other content", "# b\n", "{path: /etc/a, src: a.txt}", "src update"},
		{"other mode", copied, "{path: /etc/a, src: a.txt, mode: 0600}", "mode update"},
		{"owner by number", copied, "{path: /etc/a, src: a.txt, owner: 0, group: 0}", ""},
		{"other owners", copied, "{path: /etc/a, src: a.txt, owner: 33, group: adm}", "owner update, group update"},
		{"a link gives way", "", "{path: /bin, src: a.txt}", "path update, src create"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if tt.before != "" {
				h.AddFile("/etc/a", tt.before, 0o644)
			}
			if got := kinds(tasktest.Diff(t, h, copy.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s over %q: got %q, want %q", tt.args, tt.before, got, tt.want)
			}
		})
	}
}

func kinds(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Kind)
	}
	return strings.Join(out, ", ")
}

func TestApplyWritesTheContent(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/a", "old", 0o600)
	changes, err := tasktest.Apply(t, h, copy.Module, "{path: /etc/a, src: a.txt}")
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 1 || !strings.Contains(changes[0].Diff, "+# a.txt") {
		t.Errorf("changes: got %v, want one with a diff", changes)
	}
	if got, _ := h.File("/etc/a"); got != copied {
		t.Errorf("content: got %q, want %q", got, copied)
	}
	if info, err := h.Stat(t.Context(), "/etc/a"); err != nil || info.Mode != 0o600 {
		t.Errorf("mode: got %s (%v), want 0600 as before", info.Mode, err)
	}
}

func TestConvergedFetchesNoContent(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/a", copied, 0o644)
	if _, err := tasktest.Apply(t, h, copy.Module, "{path: /etc/a, src: a.txt}"); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.Calls() {
		if c.Subject == "content" {
			t.Errorf("the content was fetched although the host has it: %v", h.Calls())
		}
	}
}

func TestObserveRefusesADirectory(t *testing.T) {
	_, err := tasktest.Apply(t, tasktest.NewHost(), copy.Module, "{path: /etc, src: a.txt}")
	if err == nil || !strings.Contains(err.Error(), "/etc: it is not a regular file") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /etc/a}":                       "want src or content",
		"{path: /etc/a, src: a, content: b}":   `cannot be combined with "content"`,
		"{path: /etc/a, src: a, mode: 9}":      "invalid mode",
		"{path: /etc/a, src: a, recurse: yes}": "unknown field",
	} {
		if got := tasktest.Fault(copy.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
