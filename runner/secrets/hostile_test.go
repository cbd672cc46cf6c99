package secrets_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

// What is in the folder may come from anybody who can push to the project.
func TestHostileFiles(t *testing.T) {
	sealTo := func(text string, to ...age.Recipient) string {
		var b bytes.Buffer
		w, err := age.Encrypt(&b, to...)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return b.String()
	}
	pass, err := age.NewScryptRecipient("word")
	if err != nil {
		t.Fatal(err)
	}
	pass.SetWorkFactor(4)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	set(t, s, fleet("good"), "hunter22hunter22")
	good, err := os.ReadFile(filepath.Join(s.Dir, "fleet/good.age"))
	if err != nil {
		t.Fatal(err)
	}
	outside := write(t, "outside", string(good), 0o600)
	tests := []struct {
		name, want string
		make       func(file string) error
	}{
		{"garbage", "it is no age file, or a damaged one", text("not encrypted at all")},
		{"empty", "it is empty", text("")},
		{"truncated", "it is no age file, or a damaged one", text(string(good[:len(good)/3]))},
		{"cut at the end", "it is damaged", text(sealTo("hunter22", recipientOf(t, s))[:200])},
		{"flipped", "it is", text(strings.Replace(string(good), "A", "B", 1))},
		{"large", "the file is larger than 1024 KiB", func(file string) error {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(file, 1<<30)
		}},
		{"much inside", "larger than 64 KiB", text(sealTo(strings.Repeat("x", 100<<10), recipientOf(t, s)))},
		{"pipe", "it is not a regular file", func(file string) error { return syscall.Mkfifo(file, 0o600) }},
		{"folder", "it is not a regular file", func(file string) error { return os.Mkdir(file, 0o700) }},
		{"link outside", "it is not a regular file", func(file string) error { return os.Symlink(outside, file) }},
		{"link inside", "it is not a regular file", func(file string) error { return os.Symlink("good.age", file) }},
		{"passphrase", "it is encrypted with a passphrase, and not to recipients", text(sealTo("hunter22", pass))},
		{"others", "it is encrypted to others: no identity of ours opens it", text(sealTo("hunter22", other.Recipient()))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(s.Dir, "fleet/bad.age")
			if err := tt.make(file); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(file) //nolint:errcheck // the next one would tell
			s := again(s)
			got, err := s.Read(fleet("bad"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "secrets/fleet/bad.age") || !got.IsZero() {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			found, err := s.Check()
			if err != nil || !anyFinding(found, "secrets/fleet/bad.age", "") && tt.name != "folder" {
				t.Errorf("check finds %v, %v", found, err)
			}
			if tt.name == "folder" || strings.HasPrefix(tt.name, "link") || tt.name == "pipe" {
				if err := s.Set(fleet("bad"), secret.New("hunter22"), ""); err == nil {
					t.Error("it was replaced")
				}
			}
		})
	}
	if data, err := os.ReadFile(outside); err != nil || !bytes.Equal(data, good) {
		t.Errorf("what the link led to has changed: %v", err)
	}
}

// A folder of the store that leads out of it is not followed.
func TestLinkedFolder(t *testing.T) {
	s := newStore(t)
	out := t.TempDir()
	if err := errors.Join(os.Symlink(out, filepath.Join(s.Dir, "fleet")), os.WriteFile(out+"/a.age", []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(fleet("a"), secret.New("hunter22"), ""); err == nil {
		t.Error("a secret was written through a link")
	}
	if _, err := s.Read(fleet("a")); err == nil {
		t.Error("a secret was read through a link")
	}
	if data, err := os.ReadFile(out + "/a.age"); err != nil || string(data) != "x" {
		t.Errorf("the file outside is %q, %v", data, err)
	}
}

func text(s string) func(string) error {
	return func(file string) error { return os.WriteFile(file, []byte(s), 0o600) }
}

func recipientOf(t *testing.T, s *secrets.Store) age.Recipient {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "recipients.txt"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := age.ParseRecipients(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func anyFinding(found []secrets.Finding, file, message string) bool {
	for _, f := range found {
		if f.File == file && strings.Contains(f.Message, message) {
			return true
		}
	}
	return false
}

// The files are age's own: its program reads them, where there is one.
func TestRecipientsFile(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	good := id.Recipient().String()
	tests := map[string]string{
		"# nobody\n":              "secrets/recipients.txt:1: nobody is named",
		"":                        "nobody is named",
		good + "\nage1xyz\n":      "secrets/recipients.txt:2: this is no recipient",
		id.String():               "secrets/recipients.txt:1: this is an identity, which must stay secret",
		"ssh-ed25519 AAAA\n":      "secrets/recipients.txt:1: this is no SSH public key that age can use",
		good + "\n" + good + "\n": "",
	}
	for file, want := range tests {
		s := newStore(t)
		if err := os.WriteFile(filepath.Join(s.Dir, "recipients.txt"), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		err := s.Set(fleet("a"), secret.New("hunter22"), "")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || strings.Contains(advice(err), "SECRET-KEY") {
			t.Errorf("%q: got %v, want %q", file, err, want)
		}
	}
	s := newStore(t)
	if err := os.Chmod(filepath.Join(s.Dir, "recipients.txt"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(fleet("a"), secret.New("hunter22"), ""); err == nil || !strings.Contains(err.Error(), "everybody can write") {
		t.Errorf("got %v", err)
	}
}

func TestCheckFindsClearTexts(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("a"), "hunter22")
	for name, text := range map[string]string{"fleet/token.txt": "hunter22", "token": "hunter22", "fleet/b.json": "{}", "fleet/.new-x": "x"} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.Check()
	if err != nil {
		t.Fatal(err)
	}
	for file, message := range map[string]string{"secrets/fleet/token.txt": "not encrypted by us", "secrets/token": "not encrypted by us", "secrets/fleet/b.json": "no secret beside it", "secrets/fleet/.new-x": "cut off"} {
		if !anyFinding(found, file, message) {
			t.Errorf("%s was not found: %v", file, found)
		}
	}
	if len(found) != 4 {
		t.Errorf("check finds %v", found)
	}
}
