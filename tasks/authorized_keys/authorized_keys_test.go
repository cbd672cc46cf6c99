package authorizedkeys_test

import (
	"strings"
	"testing"

	authorizedkeys "holdfast/tasks/authorized_keys"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

const (
	blobA = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	blobB = "AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA"
	keyA  = "ssh-ed25519 " + blobA
	keyB  = "ssh-ed25519 " + blobB
	file  = "/home/admin/.ssh/authorized_keys"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, authorizedkeys.Module) }

// host has an account admin with the lines in its file.
func host(t *testing.T, lines ...string) *tasktest.Host {
	t.Helper()
	h := tasktest.NewHost()
	if len(lines) == 0 {
		return h
	}
	ctx := t.Context()
	for _, err := range []error{
		h.MakeDir(ctx, "/home/admin/.ssh", 0o700, "admin", "admin"),
		h.WriteFile(ctx, task.FileWrite{Path: file, Data: []byte(strings.Join(lines, "\n") + "\n"), Mode: mode(0o600), Owner: "admin", Group: "admin"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.Forget()
	return h
}

func mode(m task.Mode) *task.Mode { return &m }

func TestMerge(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		args  string
		want  []string // the file afterwards
		kinds string   // of the changes
	}{
		{"first key", nil, "keys: [" + keyA + " ada]", []string{keyA + " ada"}, "create"},
		{"another key", []string{keyB}, "keys: [" + keyA + "]", []string{keyB, keyA}, "create"},
		{"there already", []string{keyA}, "keys: [" + keyA + "]", []string{keyA}, ""},
		{"there with another comment", []string{keyA + " old"}, "keys: [" + keyA + " new]", []string{keyA + " old"}, ""},
		{"there with other options", []string{"no-pty " + keyA}, "keys: [" + keyA + "]", []string{keyA}, "update"},
		{"there twice", []string{keyA, keyA + " again"}, "keys: [" + keyA + "]", []string{keyA}, "delete"},
		{"options with blanks", []string{`command="a b",no-pty ` + keyA}, `keys: ['command="a b",no-pty ` + keyA + `']`, []string{`command="a b",no-pty ` + keyA}, ""},
		{"comments and strange lines stay", []string{"# mine", "", "strange"}, "keys: [" + keyA + "]", []string{"# mine", "", "strange", keyA}, "create"},
		{"exclusive", []string{"# mine", "strange", keyB}, "keys: [" + keyA + "]\nexclusive: true", []string{"# mine", keyA}, "delete delete create"},
		{"exclusive already", []string{keyA}, "keys: [" + keyA + "]\nexclusive: true", []string{keyA}, ""},
		{"absent", []string{keyA + " x", keyB}, "keys: [" + keyA + "]\nstate: absent", []string{keyB}, "delete"},
		{"absent already", []string{keyB}, "keys: [" + keyA + "]\nstate: absent", []string{keyB}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t, tt.lines...)
			changes, err := tasktest.Apply(t, h, authorizedkeys.Module, "user: admin\n"+tt.args)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, c := range changes {
				kinds = append(kinds, c.Kind)
			}
			if got := strings.Join(kinds, " "); got != tt.kinds {
				t.Errorf("changes: got %q, want %q: %v", got, tt.kinds, changes)
			}
			if got, _ := h.File(file); got != strings.Join(tt.want, "\n")+"\n" {
				t.Errorf("file: got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestModesAndOwnersAreMended(t *testing.T) {
	h := tasktest.NewHost()
	h.AddDir("/home/admin/.ssh", 0o755)
	h.AddFile(file, keyA+"\n", 0o644)
	changes, err := tasktest.Apply(t, h, authorizedkeys.Module, "{user: admin, keys: ["+keyA+"]}")
	if err != nil {
		t.Fatal(err)
	}
	var attrs []string
	for _, c := range changes {
		attrs = append(attrs, c.Attr)
	}
	if got, want := strings.Join(attrs, " "), "directory_owner directory_mode owner mode"; got != want {
		t.Errorf("got the changes %q, want %q", got, want)
	}
}

func TestChangesNameKeysByFingerprint(t *testing.T) {
	changes := tasktest.Diff(t, tasktest.NewHost(), authorizedkeys.Module, "{user: admin, keys: ["+keyA+" ada]}")
	want := "ssh-ed25519 SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA ada" // ssh-keygen -lf
	if len(changes) != 1 || changes[0].After != want {
		t.Errorf("got %v, want one of %s", changes, want)
	}
}

func TestAnotherPathLeavesItsDirectoryAlone(t *testing.T) {
	h := tasktest.NewHost()
	h.AddDir("/etc/ssh/keys", 0o755)
	if _, err := tasktest.Apply(t, h, authorizedkeys.Module, "{user: admin, path: /etc/ssh/keys/admin, keys: ["+keyA+"]}"); err != nil {
		t.Fatal(err)
	}
	if w := h.Writes(); len(w) != 1 || w[0].Method != "write" {
		t.Errorf("got the writes %v, want the file alone", w)
	}
}

func TestObserveRefuses(t *testing.T) {
	h := tasktest.NewHost()
	h.AddLink("/home/admin/.ssh", "/root/.ssh")
	h.AddDir("/root/.ssh", 0o700)
	h.AddLink("/root/.ssh/authorized_keys", "/etc/shadow")
	for args, want := range map[string]string{
		"{user: admin, keys: [" + keyA + "]}": "/home/admin/.ssh: it is a link",
		"{user: root, keys: [" + keyA + "]}":  "authorized_keys: it is a link",
		"{user: nemo, keys: [" + keyA + "]}":  "there is no such account",
	} {
		if _, err := tasktest.Apply(t, h, authorizedkeys.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("authorized_keys %s: got %v, want an error with %q", args, err, want)
		}
	}
	if changes := tasktest.Diff(t, h, authorizedkeys.Module, "{user: nemo, state: absent, keys: ["+keyA+"]}"); len(changes) > 0 {
		t.Errorf("keys of nobody are absent already: got %v", changes)
	}
}

func TestKeysOfOthersAreTakenOver(t *testing.T) {
	for _, c := range []struct {
		name, args  string
		mine, roots []string
		want        []string // nil: the fault
		fault       string
	}{
		{"all of them", "from: [root]", nil, []string{"# the image's", keyA + " ada", keyB}, []string{keyA + " ada", keyB}, ""},
		{"but none that runs a command", "from: [root]", nil, []string{`no-pty,Command="echo no; exit 142" ` + keyA, keyB}, []string{keyB}, ""},
		{"what is there already stays", "from: [root]", []string{"no-pty " + keyA}, []string{keyA}, []string{"no-pty " + keyA}, ""},
		{"exclusive keeps them", "{from: [root], exclusive: true}", []string{"no-pty " + keyA}, []string{keyA + " ada"}, []string{"no-pty " + keyA}, ""},
		{"a given key counts", "{keys: [no-pty " + keyA + "], from: [root]}", nil, []string{keyA, keyB}, []string{"no-pty " + keyA, keyB}, ""},
		{"its own, and nobody's", "from: [admin, nemo]", []string{keyA}, nil, []string{keyA}, ""},
		{"nobody has one", "from: [root, nemo]", nil, []string{`command="echo no" ` + keyA}, nil, "without any nobody could log in"},
		{"exclusive, and nobody has one", "{from: [root], exclusive: true}", []string{keyA}, nil, nil, "without any nobody could log in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host(t, c.mine...)
			if c.roots != nil {
				h.AddDir("/root/.ssh", 0o700)
				h.AddFile("/root/.ssh/authorized_keys", strings.Join(c.roots, "\n")+"\n", 0o600)
			}
			args := "{user: admin, " + strings.Trim(c.args, "{}") + "}"
			_, err := tasktest.Apply(t, h, authorizedkeys.Module, args)
			if c.want == nil {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Fatalf("got error %v, want %q", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := h.File(file); got != strings.Join(c.want, "\n")+"\n" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{user: admin}":                                                       "there is nothing to do",
		"{user: admin, keys: [nonsense]}":                                     "is no public key",
		"{user: admin, keys: ['ssh-ed25519 AAAA!']}":                          "is not base64",
		"{user: admin, keys: [" + keyA[:60] + "]}":                            "is cut short",
		"{user: admin, keys: ['ssh-rsa " + blobA + "']}":                      "is not one of type ssh-rsa",
		"{user: admin, keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5]}":             "is cut short",
		"{user: admin, keys: [" + keyA + " a, " + keyA + " b]}":               "is listed twice",
		"{user: admin, keys: [], exclusive: true}":                            "there is nothing to do",
		"{user: admin, keys: [" + keyA + "], exclusive: true, state: absent}": "makes no sense",
		"{user: admin, from: [root], state: absent}":                          "not which to remove",
		"{user: '', keys: []}":                                                "is no name for an account",
		"{user: admin, keys: \"" + keyA + "\\n" + keyB + "\"}":                "want list(string)",
		"{user: admin, keys: [\"" + keyA + "\\n" + keyB + "\"]}":              "a key is one line",
	} {
		if got := tasktest.Fault(authorizedkeys.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
