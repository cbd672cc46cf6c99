package template_test

import (
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/template"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, template.Module) }

// The content that the test host makes of a template is "# " and its name.
const rendered = "# a.tmpl\n"

func TestDiff(t *testing.T) {
	tests := []struct{ name, before, args, want string }{
		{"missing", "", "{path: /etc/a, src: a.tmpl}", "src create"},
		{"same", rendered, "{path: /etc/a, src: a.tmpl}", ""},
		{"other content", "# b\n", "{path: /etc/a, src: a.tmpl}", "src update"},
		{"other mode", rendered, "{path: /etc/a, src: a.tmpl, mode: 0600}", "mode update"},
		{"owner by number", rendered, "{path: /etc/a, src: a.tmpl, owner: 0, group: 0}", ""},
		{"other owners", rendered, "{path: /etc/a, src: a.tmpl, owner: 33, group: adm}", "owner update, group update"},
		{"a link gives way", "", "{path: /bin, src: a.tmpl}", "path update, src create"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if tt.before != "" {
				h.AddFile("/etc/a", tt.before, 0o644)
			}
			if got := kinds(tasktest.Diff(t, h, template.Module, tt.args)); got != tt.want {
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
	changes, err := tasktest.Apply(t, h, template.Module, "{path: /etc/a, src: a.tmpl}")
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 1 || !strings.Contains(changes[0].Diff, "+# a.tmpl") {
		t.Errorf("changes: got %v, want one with a diff", changes)
	}
	if got, _ := h.File("/etc/a"); got != rendered {
		t.Errorf("content: got %q, want %q", got, rendered)
	}
	if info, err := h.Stat(t.Context(), "/etc/a"); err != nil || info.Mode != 0o600 {
		t.Errorf("mode: got %s (%v), want 0600 as before", info.Mode, err)
	}
}

func TestConvergedFetchesNoContent(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/a", rendered, 0o644)
	if _, err := tasktest.Apply(t, h, template.Module, "{path: /etc/a, src: a.tmpl}"); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.Calls() {
		if c.Subject == "content" {
			t.Errorf("the content was fetched although the host has it: %v", h.Calls())
		}
	}
}

func TestObserveRefusesADirectory(t *testing.T) {
	_, err := tasktest.Apply(t, tasktest.NewHost(), template.Module, "{path: /etc, src: a.tmpl}")
	if err == nil || !strings.Contains(err.Error(), "/etc: it is not a regular file") {
		t.Errorf("got %v, want a refusal", err)
	}
}
