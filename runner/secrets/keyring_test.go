package secrets_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

func TestIdentities(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("a"), "hunter22")
	id, err := os.ReadFile(s.Keys.Default)
	if err != nil {
		t.Fatal(err)
	}
	var locked bytes.Buffer
	pass, err := age.NewScryptRecipient("the passphrase")
	if err != nil {
		t.Fatal(err)
	}
	pass.SetWorkFactor(8)
	a := armor.NewWriter(&locked)
	w, err := age.Encrypt(a, pass)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(id)
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	protected := write(t, "protected", locked.String(), 0o600)
	open := write(t, "open", string(id), 0o640)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	swappable := write(t, "id", string(id), 0o600)
	if err := os.Chmod(filepath.Dir(swappable), 0o777); err != nil {
		t.Fatal(err)
	}
	say := func(word string) func(string) (secret.Text, error) {
		return func(string) (secret.Text, error) { return secret.New(word), nil }
	}
	tests := []struct {
		name, want string
		keys       *secrets.Keyring
	}{
		{"the usual place", "", &secrets.Keyring{Default: s.Keys.Default}},
		{"a file", "", &secrets.Keyring{Files: []string{write(t, "id", string(id), 0o600)}}},
		{"protected", "", &secrets.Keyring{Files: []string{protected}, Passphrase: say("the passphrase")}},
		{"wrong passphrase", "the passphrase is wrong, or the file is damaged", &secrets.Keyring{Files: []string{protected}, Passphrase: say("another")}},
		{"nobody to ask", "it has a passphrase, and there is nobody to ask for it | run on a terminal", &secrets.Keyring{Files: []string{protected}}},
		{"missing", "no such file or directory", &secrets.Keyring{Files: []string{"/nonexistent/identity"}}},
		{"none at all", "there is no identity to decrypt secrets with | name one with --identity FILE or HOLDFAST_IDENTITY, or put it at", &secrets.Keyring{Default: filepath.Join(t.TempDir(), "none")}},
		{"others can read it", "others can read the identity " + open + " | chmod 600 " + open, &secrets.Keyring{Files: []string{open}}},
		{"others can swap it", "others can write to " + filepath.Dir(swappable), &secrets.Keyring{Files: []string{swappable}}},
		{"a pipe", "it is not a regular file", &secrets.Keyring{Files: []string{pipe}}},
		{"garbage", "it is no identity", &secrets.Keyring{Files: []string{write(t, "g", "AGE-SECRET-KEY-1CANARY", 0o600)}}},
		{"a plugin's", "identities of plugins are not supported", &secrets.Keyring{Files: []string{write(t, "g", "AGE-PLUGIN-YUBIKEY-1", 0o600)}}},
		{"no SSH key", "it is no SSH key that age can use", &secrets.Keyring{Files: []string{write(t, "g", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", 0o600)}}},
		{"large", "the file is larger than 64 KiB", &secrets.Keyring{Files: []string{write(t, "l", strings.Repeat("#\n", 64<<10), 0o600)}}},
	}
	for _, tt := range tests {
		s := again(s)
		s.Keys = tt.keys
		got, err := s.Read(fleet("a"))
		if tt.want == "" {
			if err != nil || got.Reveal() != "hunter22" {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(advice(err), tt.want) || strings.Contains(advice(err), "CANARY") {
			t.Errorf("%s: got %s, want %q", tt.name, advice(err), tt.want)
		}
	}
	// The folder of the usual place is for nothing but ours.
	if err := os.Chmod(filepath.Dir(s.Keys.Default), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := again(s).Read(fleet("a")); err == nil || !strings.Contains(advice(err), "chmod 700") {
		t.Errorf("got %v", err)
	}
}

func TestSSHKeys(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "id_ed25519")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pub, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t.TempDir())
	if _, err := s.Init([]string{string(pub)}); err != nil {
		t.Fatal(err)
	}
	set(t, s, fleet("a"), "hunter22")
	s.Keys = &secrets.Keyring{SSH: []string{key, filepath.Join(dir, "none")}}
	if got, err := s.Read(fleet("a")); err != nil || got.Reveal() != "hunter22" {
		t.Errorf("got %v", err)
	}
	if found, err := s.Check(); err != nil || len(found) != 0 {
		t.Errorf("check finds %v, %v", found, err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.Keys = &secrets.Keyring{Files: []string{key}}
	if _, err := s.Read(fleet("a")); err == nil || !strings.Contains(advice(err), "SSH key with a passphrase | use an age identity") {
		t.Errorf("got %v", advice(err))
	}
}

func TestPrivate(t *testing.T) {
	dir, shred, err := secrets.Private(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 || !strings.HasPrefix(dir, "/dev/shm/") {
		t.Errorf("%s: %v, %v", dir, st.Mode(), err)
	}
	// An editor's copy goes too. A hard link shows that the text was overwritten.
	for _, name := range []string{"a", ".a.swp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("hunter22"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := dir + ".link"
	if err := os.Link(filepath.Join(dir, "a"), other); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(other) //nolint:errcheck // in memory
	if err := shred(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(other); err != nil || bytes.Contains(data, []byte("hunter")) {
		t.Errorf("left: %q, %v", data, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	// What a process that is gone left is removed by the next one.
	left := "/dev/shm/holdfast-edit-999999999-x"
	if err := errors.Join(os.Mkdir(left, 0o700), os.WriteFile(left+"/a", []byte("hunter22"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, shred, err = secrets.Private(func(string) string { return t.TempDir() })
	if err != nil {
		t.Fatal(err)
	}
	if err := shred(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
}

// Without an identity everything but the content can be looked at.
func TestLookOnly(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("a"), "hunter22")
	locked := again(s)
	locked.Keys = &secrets.Keyring{}
	p := &secrets.Providers{Store: locked, LookOnly: true}
	if got, err := p.Get(nil, "a"); err != nil || !got.IsZero() {
		t.Errorf("got %v, %v", got.IsZero(), err)
	}
	if err := errors.Join(p.Known("a"), p.Known("env:X"), p.Unlock()); err != nil {
		t.Error(err)
	}
	if p.Known("b") == nil || p.Known("evn:X") == nil {
		t.Error("unknown names are known")
	}
	p.LookOnly = false
	if err := p.Unlock(); err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Errorf("got %v", err)
	}
	if names, err := p.Store.Unused(map[string][]byte{"x": []byte(`secret("ab") a-b`)}); err != nil || len(names) != 1 {
		t.Errorf("unused are %v, %v", names, err)
	}
	if names, err := p.Store.Unused(map[string][]byte{"x": []byte(`secret("a")`)}); err != nil || len(names) != 0 {
		t.Errorf("unused are %v, %v", names, err)
	}
}

func TestGenerate(t *testing.T) {
	for _, kind := range secrets.GenerateKinds() {
		text, public, err := secrets.Generate(kind, 0, "")
		if err != nil || len(text.Reveal()) < 24 || (public != "") != (kind == secrets.KindEd25519) {
			t.Errorf("%s: %d bytes, %q, %v", kind, len(text.Reveal()), public, err)
		}
		if public != "" && strings.Contains(public, "PRIVATE") {
			t.Error("the private key is told")
		}
	}
	if _, _, err := secrets.Generate("ed25519", 10, ""); err == nil {
		t.Error("a key has no length")
	}
}
