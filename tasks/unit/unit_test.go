package unit_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/unit"
)

const text = "[Service]\nExecStart=/bin/true\n"

func TestConforms(t *testing.T) { tasktest.Suite(t, unit.Module) }

// host has our.service from a file, running and enabled, and the shipped ssh.
func host(t *testing.T) *tasktest.Host {
	t.Helper()
	h := tasktest.NewHost()
	h.AddFile("/etc/systemd/system/our.service", text, 0o644)
	h.AddFile("/lib/systemd/system/ssh.service", text, 0o644)
	on := true
	if err := h.SetUnit(t.Context(), task.UnitRef{Name: "our.service"}, task.UnitChange{Enable: &on, Action: task.UnitStart}); err != nil {
		t.Fatal(err)
	}
	if err := h.ReloadUnits(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	h.Forget()
	return h
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"new", `{name: a.service, content: "[Service]\nExecStart=/bin/a\n"}`, "content create"},
		{"there already", `{name: our.service, content: "[Service]\nExecStart=/bin/true\n"}`, ""},
		{"other text", `{name: our.service, content: "[Service]\nExecStart=/bin/b\n"}`, "content update"},
		{"from a file", "{name: our.service, src: our.service}", "src update"},
		{"from a template", "{name: our.service, template: our.tmpl}", "template update"},
		{"a drop-in", `{name: our.service, dropin: x, content: "[Service]\nNice=1\n"}`, "content create"},
		{"a unit of an account", `{name: a.service, user: admin, content: "[Service]\nExecStart=/bin/a\n"}`, "content create"},
		{"absent", "{name: our.service, state: absent}", "active update; enabled update; state delete"},
		{"absent already", "{name: a.service, state: absent}", ""},
		{"absent of nobody", "{name: a.service, user: nemo, state: absent}", ""},
		{"drop-in absent already", "{name: our.service, dropin: x, state: absent}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out []string
			for _, c := range tasktest.Diff(t, host(t), unit.Module, tt.args) {
				out = append(out, c.Attr+" "+c.Kind)
			}
			if got := strings.Join(out, "; "); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestAFileThatWasNotReadIsADifference(t *testing.T) {
	h := host(t)
	h.AddFile("/etc/systemd/system/our.service", text+"Nice=1\n", 0o644)
	args := "name: our.service\ncontent: |\n  [Service]\n  ExecStart=/bin/true\n  Nice=1\n"
	changes, err := tasktest.Apply(t, h, unit.Module, args)
	if err != nil || len(changes) != 1 || changes[0].Attr != "need_reload" {
		t.Errorf("got %v (%v), want need_reload", changes, err)
	}
	if w := h.Writes(); len(w) != 1 || !strings.HasPrefix(w[0].Method, "reload") {
		t.Errorf("got the writes %v, want a reload alone", w)
	}
}

func TestAbsentStopsAndDisables(t *testing.T) {
	h := host(t)
	if _, err := tasktest.Apply(t, h, unit.Module, "{name: our.service, state: absent}"); err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, c := range h.Writes() {
		did = append(did, c.Method)
	}
	if got, want := strings.Join(did, "; "), "set unit; remove; reload units of"; got != want {
		t.Errorf("got the writes %q, want %q", got, want)
	}
}

func TestAbsentLeavesAShippedUnitRunning(t *testing.T) {
	h := host(t)
	h.AddFile("/etc/systemd/system/ssh.service", text+"Nice=1\n", 0o644)
	changes, err := tasktest.Apply(t, h, unit.Module, "{name: ssh.service, state: absent}")
	if err != nil || len(changes) != 1 || changes[0].Attr != "state" {
		t.Errorf("got %v (%v), want the file alone to go", changes, err)
	}
}

func TestUnitOfAnAccount(t *testing.T) {
	h := host(t)
	args := "name: a.service\nuser: admin\ndropin: env\ncontent: |\n  [Service]\n  Nice=1\n"
	if _, err := tasktest.Apply(t, h, unit.Module, args); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/home/admin/.config", "/home/admin/.config/systemd/user/a.service.d", "/home/admin/.config/systemd/user/a.service.d/env.conf"} {
		info, err := h.Stat(t.Context(), p)
		if err != nil || info.Owner != "admin" || info.Group != "admin" {
			t.Errorf("%s: got %+v (%v), want it to belong to admin", p, info, err)
		}
	}
	h.AddLink("/home/admin/.config/systemd/user/b.service.d", "/etc")
	args = strings.Replace(args, "a.service", "b.service", 1)
	if _, err := tasktest.Apply(t, h, unit.Module, args); err == nil || !strings.Contains(err.Error(), "it is a link") {
		t.Errorf("got %v, want a refusal to write through a link", err)
	}
}

func TestVerify(t *testing.T) {
	for args, want := range map[string][]string{
		"name: a.service":                 {"systemd-analyze", "verify", "--man=no", "/etc/systemd/system/a.service"},
		"name: a.service\nverify: false":  nil,
		"name: a.service\nuser: admin":    nil,
		"name: our.service\ndropin: nice": nil,
	} {
		h := host(t)
		if _, err := tasktest.Apply(t, h, unit.Module, args+"\ncontent: |\n  [Service]\n  ExecStart=/bin/x\n"); err != nil {
			t.Fatal(err)
		}
		for _, c := range h.Writes() {
			if f, ok := c.Args.(task.FileWrite); ok && !slices.Equal(f.Validate, want) {
				t.Errorf("%s: got the command %q, want %q", args, f.Validate, want)
			}
		}
	}
}

func TestText(t *testing.T) {
	tests := []struct{ name, unit, text, want string }{
		{"settings, comments and long lines", "a.service", "# c\n[Service]\nExecStart=/bin/a \\\n  --b \\\n# inside\n  c\n; d\n[X-Mine]\nx=1\n", ""},
		{"a timer", "a.timer", "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n", ""},
		{"no section", "a.service", "# nothing\n", "there is no section"},
		{"a setting before the sections", "a.service", "Nice=1\n[Service]\n", "line 1 stands before any section"},
		{"a misspelled section", "a.service", "[Servce]\nExecStart=/bin/a\n", "line 1: a service has no section [Servce]"},
		{"a section of another kind", "a.timer", "[Timer]\nOnCalendar=daily\n[Service]\n", "line 3: a timer has no section [Service]"},
		{"no setting", "a.service", "[Service]\nExecStart /bin/a\n", "line 2 is neither a setting nor a section"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := "name: " + tt.unit + "\ncontent: |\n  " + strings.ReplaceAll(tt.text, "\n", "\n  ") + "\n"
			got := tasktest.Fault(unit.Module, args)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("fault of %q: got %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{name: a.service}":                                       "the file has no content",
		"{name: a, content: x}":                                   "want one with its suffix",
		"{name: ../a.service, content: x}":                        "is no name for a unit",
		"{name: a.service, content: x, src: y}":                   `cannot be combined with "src"`,
		"{name: a.service, state: absent, src: y}":                "a file that is to be absent has no content",
		"{name: a.service, dropin: x.conf, content: '[Service]'}": "no .conf",
		"{name: a.service, dropin: ../x, content: '[Service]'}":   "is no name for a drop-in",
	} {
		if got := tasktest.Fault(unit.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
