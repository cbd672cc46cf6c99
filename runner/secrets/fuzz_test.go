package secrets_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

// Whatever lies in the store, it is read or refused, and a recipient's file never
// makes a secret that its owner cannot read.
func FuzzStore(f *testing.F) {
	const age = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSA=\n-----END AGE ENCRYPTED FILE-----\n"
	f.Add([]byte(age), []byte(`{"set":"2026-11-28T00:00:00Z","sha256":"","recipients":[]}`), []byte("age1xyz\n"))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 abc\nabc\n--- abc\n"), []byte(`{"rotate_after":"9d"}`), []byte("ssh-ed25519 AAAA\n# x\n"))
	f.Add([]byte("age-encryption.org/v1\n-> scrypt abc 22\nabc\n--- abc\n"), []byte("{"), []byte(""))
	s := openStore(f.TempDir())
	if _, err := s.Init(nil); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(s.Dir, "recipients.txt"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sealed, note, recipients []byte) {
		s := again(s)
		if err := os.MkdirAll(filepath.Join(s.Dir, "fleet"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"fleet/a.age": sealed, "fleet/a.json": note, "recipients.txt": recipients} {
			if err := os.WriteFile(filepath.Join(s.Dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := s.Read(fleet("a")); (err == nil) == text.IsZero() {
			t.Errorf("got %v and %v", text.IsZero(), err)
		}
		if _, err := s.Info(fleet("a")); err != nil {
			t.Error(err)
		}
		if _, err := s.Check(); err != nil {
			t.Error(err)
		}
		if err := s.Rekey(true, func(secrets.Rekeyed) {}); err != nil && !strings.Contains(err.Error(), "secrets/recipients.txt") {
			t.Error(err)
		}
		_ = s.Set(fleet("b"), secret.New("hunter22"), "") // the recipients may be none of ours
		if err := os.WriteFile(filepath.Join(s.Dir, "recipients.txt"), good, 0o600); err != nil {
			t.Fatal(err)
		}
		set(t, s, fleet("b"), "hunter22")
		if got, err := s.Read(fleet("b")); err != nil || got.Reveal() != "hunter22" {
			t.Errorf("got %v", err)
		}
	})
}
