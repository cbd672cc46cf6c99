package envfile_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	envfile "holdfast/tasks/env_file"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, envfile.Module) }

const have = "# comment\nA=one\n\n  B = \"two \\\"words\\\"\"  \n; also a comment\nnonsense\nC='x'\\ y\nA=last\nD=\\\n  more\n"

func world() *tasktest.Host {
	h := tasktest.NewHost()
	h.AddFile("/etc/a.env", have, 0o644)
	h.AddFile("/etc/b.env", "export A=\"x\\ny\" # why\nB='$x' \nC=a#b # c\nD=\n", 0o644)
	return h
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"as they are", `{path: /etc/a.env, set: {A: last, B: 'two "words"', C: x y, D: "  more"}}`, ""},
		{"dotenv as they are", `{path: /etc/b.env, format: dotenv, set: {A: "x\ny", B: $x, C: a#b, D: ""}}`, ""},
		{"other and new", `{path: /etc/a.env, set: {A: one, N: "1"}}`, "set.A last > one; set.N  > 1"},
		{"secret", `{path: /etc/a.env, secrets: {A: "${secret('x')}"}}`, "secrets.A  > "},
		{"remove", `{path: /etc/a.env, remove: [B, none]}`, "remove B > "},
		{"exclusive", `{path: /etc/a.env, set: {A: last}, exclusive: true}`, "remove B > ; remove C > ; remove D > "},
		{"missing", `{path: /etc/n.env, set: {A: x}, mode: 0600}`, "set.A  > x; mode  > 0600"},
		{"missing and not made", `{path: /etc/n.env, set: {A: x}, create: false}`, ""},
		{"mode", `{path: /etc/a.env, remove: [X], mode: 0600}`, "mode 0644 > 0600"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, world(), envfile.Module, tt.args)); got != tt.want {
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

func TestApplyKeepsTheRest(t *testing.T) {
	h := world()
	if _, err := tasktest.Apply(t, h, envfile.Module, `{path: /etc/a.env, set: {A: new, N: "it's $5"}, remove: [C]}`); err != nil {
		t.Fatal(err)
	}
	want := "# comment\nA=new\n\n  B = \"two \\\"words\\\"\"  \n; also a comment\nnonsense\nD=\\\n  more\nN=\"it's \\$5\"\n"
	if got, _ := h.File("/etc/a.env"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := tasktest.Apply(t, h, envfile.Module, `{path: /etc/s.env, secrets: {A: "${secret('x')}"}}`); err != nil {
		t.Fatal(err)
	}
	if info, err := h.Stat(t.Context(), "/etc/s.env"); err != nil || info.Mode != 0o600 {
		t.Errorf("a new file with a secret has mode %s (%v), want 0600", info.Mode, err)
	}
}

// odd are values that are hard to quote.
var odd = []string{"", " ", "plain", "two words", `"`, `'`, `it's "both"`, `\`, `\\n`, "$HOME ${X} `id`", "# no comment", "a #b", ";x", "ü€", "trailing ", "=", "%n", "a\tb", "line\nbreak", `end\`}

func TestQuotedValuesComeBack(t *testing.T) {
	for _, format := range []string{"systemd", "dotenv"} {
		for _, value := range odd {
			h := world()
			args := "{path: /etc/n.env, format: " + format + ", set: {A: " + strconv.Quote(value) + ", B: x}}"
			if _, err := tasktest.Apply(t, h, envfile.Module, args); err != nil {
				text, _ := h.File("/etc/n.env")
				t.Errorf("%s: %q does not come back from %q: %v", format, value, text, err)
			}
		}
	}
}

// The shell reads double quotes as systemd does, so it judges what is written.
func TestShellReadsTheSame(t *testing.T) {
	for _, value := range odd {
		h := world()
		if _, err := tasktest.Apply(t, h, envfile.Module, "{path: /etc/n.env, set: {A: "+strconv.Quote(value)+"}}"); err != nil {
			t.Fatal(err)
		}
		text, _ := h.File("/etc/n.env")
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", "-c", `. "$1"; printf %s "$A"`, "sh", file).Output()
		if err != nil || string(out) != value {
			t.Errorf("the shell reads %q from %q (%v), want %q", out, text, err, value)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /a}":                                              "there is nothing to do",
		"{path: /a, set: {a-b: x}}":                               "is no name of a variable",
		"{path: /a, set: {A: \"\\x01\"}}":                         "control character",
		"{path: /a, set: {A: x}, remove: [A]}":                    "A is set too",
		`{path: /a, set: {A: x}, secrets: {A: "${secret('x')}"}}`: "it is in set too",
		"{path: /a, remove: ['1']}":                               "is no name of a variable",
		"{path: /a, set: {A: x}, format: json}":                   "is none of systemd, dotenv",
	} {
		if got := tasktest.Fault(envfile.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
