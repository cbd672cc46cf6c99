package file_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast/tasks/file"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, file.Module) }

func TestDiff(t *testing.T) {
	tests := []struct {
		name, args string
		want       string // attr before > after, or attr and kind for content
	}{
		{"same content is no change", `{path: /etc/motd, content: "Welcome.\n"}`, ""},
		{"other content", `{path: /etc/hostname, content: "fak\n"}`, "content update"},
		{"missing file without content", "{path: /etc/new}", "state absent > present"},
		{"missing file that is not made", "{path: /etc/new, create: false, mode: 0600}", ""},
		{"mode of a missing file", "{path: /etc/new, mode: 0600}", "state absent > present; mode  > 0600"},
		{"mode", "{path: /etc/motd, mode: 0600}", "mode 0644 > 0600"},
		{"same mode written longer", "{path: /etc/motd, mode: 00644}", ""},
		{"owner and group", "{path: /etc/motd, owner: admin, group: adm}", "owner root > admin; group root > adm"},
		{"owner by number is the same account", "{path: /etc/motd, owner: 0, group: 0}", ""},
		{"owner by another number", "{path: /etc/motd, owner: 33}", "owner root > 33"},
		{"absent", "{path: /etc/motd, state: absent}", "state file > absent"},
		{"absent already", "{path: /etc/nothing, state: absent}", ""},
		{"absent link", "{path: /bin, state: absent}", "state link > absent"},
		{"a link gives way to content", `{path: /bin, content: x}`, "state link > present; content create"},
		{"secret", `{path: /etc/motd, secret: "${secret('x')}"}`, "secret update"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := describe(tasktest.Diff(t, tasktest.NewHost(), file.Module, tt.args))
			if got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		if c.Attr == "content" || c.Attr == "secret" {
			out = append(out, c.Attr+" "+c.Kind)
			continue
		}
		out = append(out, c.Attr+" "+c.Before+" > "+c.After)
	}
	return strings.Join(out, "; ")
}

func TestDiffShowsLines(t *testing.T) {
	changes := tasktest.Diff(t, tasktest.NewHost(), file.Module, `{path: /etc/motd, content: "Hello.\n"}`)
	if len(changes) != 1 {
		t.Fatalf("got %d changes, want 1: %v", len(changes), changes)
	}
	for _, line := range []string{"--- /etc/motd", "-Welcome.", "+Hello."} {
		if !strings.Contains(changes[0].Diff, line) {
			t.Errorf("the diff lacks %q:\n%s", line, changes[0].Diff)
		}
	}
}

func TestDiffHidesBinaryContent(t *testing.T) {
	changes := tasktest.Diff(t, tasktest.NewHost(), file.Module, "{path: /usr/bin/true, content: text}")
	if len(changes) != 1 || changes[0].Diff != "" {
		t.Errorf("got %v, want one change without a diff", changes)
	}
}

func TestObserveRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /etc, content: x}":      "it is a directory",
		"{path: /srv, state: absent}":   "it is a directory",
		"{path: /bin, mode: 0755}":      "it is a link to usr/bin",
		"{path: /run/sock, mode: 0755}": "it is a socket",
	} {
		h := tasktest.NewHost()
		h.AddSocket("/run/sock")
		if _, err := tasktest.Apply(t, h, file.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("file %s: got %v, want an error with %q", args, err, want)
		}
	}
}

func TestApplyKeepsWhatIsNotGiven(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/secret.conf", "old\n", 0o600)
	if _, err := tasktest.Apply(t, h, file.Module, `{path: /etc/secret.conf, content: "new\n", group: adm}`); err != nil {
		t.Fatal(err)
	}
	info, err := h.Stat(t.Context(), "/etc/secret.conf")
	if err != nil || info.Mode != 0o600 || info.Owner != "root" || info.Group != "adm" {
		t.Errorf("got %v (%v), want mode 0600, owner root, group adm", info, err)
	}
	if got, _ := h.File("/etc/secret.conf"); got != "new\n" {
		t.Errorf("content: got %q, want %q", got, "new\n")
	}
}

func TestApplyPassesOnARefusedValidation(t *testing.T) {
	h := tasktest.NewHost()
	refused := errors.New("line 1: bad option")
	h.OnValidate = func(task.FileWrite) error { return refused }
	_, err := tasktest.Apply(t, h, file.Module, `{path: /etc/motd, content: x, validate: [check, "%s"]}`)
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	if got, _ := h.File("/etc/motd"); got != "Welcome.\n" {
		t.Errorf("the content changed to %q", got)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                               "file.path: missing, it is required",
		"{path: etc/motd}":                                 "want an absolute path",
		"{path: /etc/motd, mode: 0999}":                    "invalid mode",
		"{path: /x, state: gone}":                          "is none of present, absent",
		"{path: /x, state: absent, mode: 0644}":            "file.mode: an absent file has none",
		"{path: /x, content: a, secret: b}":                "want ${secret(",
		"{path: /x, contents: a}":                          "unknown field",
		`{path: /x, content: a, secret: "${secret('b')}"}`: `cannot be combined with "secret"`,
	} {
		if got := tasktest.Fault(file.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
