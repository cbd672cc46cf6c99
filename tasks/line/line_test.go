package line_test

import (
	"strings"
	"testing"

	"holdfast/tasks/line"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, line.Module) }

func TestEdit(t *testing.T) {
	tests := []struct{ name, args, before, want string }{
		{"there", "line: b", "a\nb\nc\n", "a\nb\nc\n"},
		{"there in a file without a last line end", "line: b", "a\nb", "a\nb"},
		{"added at the end", "line: c", "a\nb\n", "a\nb\nc\n"},
		{"added to a file without a last line end", "line: c", "a\nb", "a\nb\nc\n"},
		{"added to an empty file", "line: a", "", "a\n"},
		{"part of a line is not the line", "line: b", "ab\n", "ab\nb\n"},
		{"the last match is replaced", "{line: x=3, regexp: ^x=}", "x=1\ny\nx=2\nz\n", "x=1\ny\nx=3\nz\n"},
		{"the last match is right already", "{line: x=3, regexp: ^x=}", "x=1\nx=3\n", "x=1\nx=3\n"},
		{"the line counts though the pattern does not find it", "{line: b, regexp: ^a}", "b\nc\n", "b\nc\n"},
		{"a match below the line is replaced", "{line: b, regexp: ^a}", "b\na\n", "b\nb\n"},
		{"no match adds", "{line: x=3, regexp: ^x=}", "y\n", "y\nx=3\n"},
		{"below the last anchor", "{line: n, after: ^a}", "a1\nb\na2\nc\n", "a1\nb\na2\nn\nc\n"},
		{"above the first anchor", "{line: n, before: ^b}", "a\nb1\nb2\n", "a\nn\nb1\nb2\n"},
		{"at the beginning", `{line: n, before: "^"}`, "a\nb\n", "n\na\nb\n"},
		{"no anchor", "{line: n, before: ^z}", "a\n", "a\nn\n"},
		{"an anchor does not move a line", "{line: a, after: ^b}", "a\nb\n", "a\nb\n"},
		{"absent removes all", "{line: b, state: absent}", "b\na\nb\n", "a\n"},
		{"absent by pattern", "{regexp: ^#, state: absent}", "#1\na\n# 2", "a\n"},
		{"absent removes the only line", "{line: b, state: absent}", "b\n", ""},
		{"absent already", "{line: b, state: absent}", "a", "a"},
		{"references", `{regexp: "^(k)=(v|x)\\\\?$", line: "\\1=x\\\\", backrefs: true}`, "k=v\n", "k=x\\\n"},
		{"references without a match", `{regexp: "^z(.)", line: "\\1", backrefs: true}`, "a\n", "a\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := "{path: /etc/f, " + strings.TrimPrefix(strings.TrimSuffix(tt.args, "}"), "{") + "}"
			h := tasktest.NewHost()
			h.AddFile("/etc/f", tt.before, 0o600)
			if _, err := tasktest.Apply(t, h, line.Module, args); err != nil {
				t.Fatal(err)
			}
			if got, _ := h.File("/etc/f"); got != tt.want {
				t.Errorf("%s in %q: got %q, want %q", args, tt.before, got, tt.want)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"added", "{path: /etc/motd, line: Bye.}", "update +Bye."},
		{"replaced", "{path: /etc/motd, line: Hello., regexp: ^W}", "update -Welcome. +Hello."},
		{"removed", "{path: /etc/motd, line: Welcome., state: absent}", "delete -Welcome."},
		{"new file", "{path: /etc/new, line: a, create: true}", "create +a"},
		{"there", "{path: /etc/motd, line: Welcome.}", ""},
		{"absent from a missing file", "{path: /etc/new, line: a, state: absent}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, tasktest.NewHost(), line.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Kind)
		for l := range strings.Lines(c.Diff) {
			if (l[0] == '+' || l[0] == '-') && !strings.HasPrefix(l, "+++") && !strings.HasPrefix(l, "---") {
				out = append(out, strings.TrimSpace(l))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestApplyKeepsModeAndOwner(t *testing.T) {
	h := tasktest.NewHost()
	if _, err := tasktest.Apply(t, h, line.Module, "{path: /etc/sudoers, line: x}"); err != nil {
		t.Fatal(err)
	}
	if info, err := h.Stat(t.Context(), "/etc/sudoers"); err != nil || info.Mode != 0o440 {
		t.Errorf("mode: got %s (%v), want 0440 as before", info.Mode, err)
	}
}

func TestObserveRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /etc/new, line: a}": "it is missing; set create",
		"{path: /bin, line: a}":     "it is a link to usr/bin",
		"{path: /etc, line: a}":     "not a regular file",
	} {
		if _, err := tasktest.Apply(t, tasktest.NewHost(), line.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("line %s: got %v, want an error with %q", args, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /x}":                                   "want line, regexp or both",
		"{path: /x, regexp: a}":                        "what shall the line say?",
		"{path: /x, line: a, regexp: '('}":             "line.regexp: invalid pattern: missing closing )",
		"{path: /x, line: a, after: '['}":              "line.after: invalid pattern",
		`{path: /x, line: "a\nb"}`:                     "more than one line",
		"{path: /x, line: a, after: b, before: c}":     `cannot be combined with "before"`,
		"{path: /x, line: a, backrefs: true}":          `needs "regexp" too`,
		"{path: /x, line: a, state: absent, after: b}": "drop after and before",
	} {
		if got := tasktest.Fault(line.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

func FuzzEditSettles(f *testing.F) {
	f.Add("a\nb\nc", "^b", "d", "^a", false)
	f.Add("", ".", "x", "", true)
	f.Add("x=1\nx=2\n", "^x", "y", "^x", false)
	f.Fuzz(func(t *testing.T, text, pattern, want, after string, absent bool) {
		p := line.Params{Line: &want, Regexp: &pattern, After: &after, State: "present"}
		if absent {
			p.State, p.After = "absent", nil
		}
		once, ok := line.Edit(p, text)
		if !ok || strings.ContainsAny(want, "\r\n") {
			return // a wrong pattern, or more than a line
		}
		if again, _ := line.Edit(p, once); again != once {
			t.Errorf("editing %q with %q and %q gives %q, again %q", text, pattern, want, once, again)
		}
	})
}
