package sudoers_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/sudoers"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

const file = "/etc/sudoers.d/ops"

func TestConforms(t *testing.T) { tasktest.Suite(t, sudoers.Module) }

func TestContent(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"everything", "{name: ops, user: admin}", "admin ALL=(ALL:ALL) ALL"},
		{"without a password", "{name: ops, user: admin, nopasswd: true}", "admin ALL=(ALL:ALL) NOPASSWD: ALL"},
		{"a group", "{name: ops, group: adm}", "%adm ALL=(ALL:ALL) ALL"},
		{"some commands", "{name: ops, user: admin, run_as: root, commands: [/bin/a -x, '!/bin/b']}", "admin ALL=(root) /bin/a -x, !/bin/b"},
		{"text", "{name: ops, text: Defaults use_pty}", "Defaults use_pty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if _, err := tasktest.Apply(t, h, sudoers.Module, tt.args); err != nil {
				t.Fatal(err)
			}
			got, _ := h.File(file)
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			if last := lines[len(lines)-1]; last != tt.want || !strings.HasSuffix(got, "\n") {
				t.Errorf("got %q, want the rule %q", got, tt.want)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	rule := "# Managed by Holdfast: changes are lost with the next run.\nadmin ALL=(ALL:ALL) ALL\n"
	tests := []struct {
		name, args string
		mode       task.Mode
		want       string
	}{
		{"there already", "{name: ops, user: admin}", 0o440, ""},
		{"wrong mode", "{name: ops, user: admin}", 0o644, "mode"},
		{"other rule", "{name: ops, user: root}", 0o440, "content"},
		{"missing", "{name: other, user: admin}", 0o440, "content"},
		{"absent", "{name: ops, state: absent}", 0o440, "state"},
		{"absent already", "{name: other, state: absent}", 0o440, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			h.AddFile(file, rule, tt.mode)
			var attrs []string
			for _, c := range tasktest.Diff(t, h, sudoers.Module, tt.args) {
				attrs = append(attrs, c.Attr)
			}
			if got := strings.Join(attrs, " "); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestWrongOwnerIsMended(t *testing.T) {
	h := tasktest.NewHost()
	if _, err := tasktest.Apply(t, h, sudoers.Module, "{name: ops, user: admin}"); err != nil {
		t.Fatal(err)
	}
	if err := h.SetOwner(t.Context(), file, "admin", "admin"); err != nil {
		t.Fatal(err)
	}
	changes, err := tasktest.Apply(t, h, sudoers.Module, "{name: ops, user: admin}")
	if err != nil || len(changes) != 1 || changes[0] != task.Set("owner", "admin:admin", "root:root") {
		t.Errorf("got %v (%v), want the owner alone", changes, err)
	}
}

func TestVisudoJudgesTheFile(t *testing.T) {
	h := tasktest.NewHost()
	refused := errors.New("syntax error")
	h.OnValidate = func(f task.FileWrite) error {
		if want := []string{"visudo", "-cf", "%s"}; !slices.Equal(f.Validate, want) {
			t.Errorf("got the command %q, want %q", f.Validate, want)
		}
		return refused
	}
	if _, err := tasktest.Apply(t, h, sudoers.Module, "{name: ops, text: nonsense}"); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{name: ops}":                                                 "the rule is for nobody",
		"{name: ops.conf, user: a}":                                   "sudo would ignore or misread",
		"{name: ops~, user: a}":                                       "sudo would ignore or misread",
		"{name: ../x, user: a}":                                       "sudo would ignore or misread",
		"{name: ops, user: a, group: b}":                              `cannot be combined with "group"`,
		"{name: ops, user: a, text: b}":                               `cannot be combined with "text"`,
		"{name: ops, user: 'a ALL=(ALL) ALL'}":                        "is no name for an account",
		"{name: ops, group: '%a'}":                                    "write it without %",
		"{name: ops, user: a, commands: []}":                          "0 entries is less than 1",
		"{name: ops, user: a, commands: [ls]}":                        "want an absolute path",
		"{name: ops, user: a, commands: ['/bin/a, /bin/b']}":          "list each command for itself",
		"{name: ops, user: a, commands: [\"/bin/a\\nroot ALL=ALL\"]}": "want an absolute path on one line",
		"{name: ops, user: a, run_as: 'root) ALL'}":                   "is no list of accounts",
	} {
		if got := tasktest.Fault(sudoers.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
