package secrets_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/inventory"
	"holdfast/runner/secrets"
	"holdfast/tasks/secret"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// newStore makes a store with an identity of its own.
func newStore(t *testing.T) *secrets.Store {
	t.Helper()
	s := openStore(t.TempDir())
	if _, err := s.Init(nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func openStore(dir string) *secrets.Store {
	return &secrets.Store{Dir: filepath.Join(dir, "secrets"), Shown: "secrets", Who: "somebody", Now: func() time.Time { return now },
		Keys: &secrets.Keyring{Default: filepath.Join(dir, "config", "identity.txt")}}
}

// again opens the same store as another process would.
func again(s *secrets.Store) *secrets.Store { return openStore(filepath.Dir(s.Dir)) }

func set(t *testing.T, s *secrets.Store, ref secrets.Ref, text string) {
	t.Helper()
	if err := s.Set(ref, secret.New(text), ""); err != nil {
		t.Fatal(err)
	}
}

func fleet(name string) secrets.Ref { return secrets.Ref{Name: name, Scope: secrets.Fleet} }

// advice returns an error with its hint.
func advice(err error) string {
	var f *secrets.Fault
	if errors.As(err, &f) {
		return err.Error() + " | " + f.Hint
	}
	return fmt.Sprint(err)
}

func TestStoreKeepsTexts(t *testing.T) {
	s := newStore(t)
	for _, text := range []string{"hunter22", "line one\nline two\n", strings.Repeat("x", 64<<10), "grüße, 你好"} {
		set(t, s, fleet("a"), text)
		got, err := again(s).Read(fleet("a"))
		if err != nil || got.Reveal() != text {
			t.Errorf("of %d bytes came back %d: %v", len(text), len(got.Reveal()), err)
		}
	}
	for name, mode := range map[string]os.FileMode{"fleet": 0o700, "fleet/a.age": 0o600, "fleet/a.json": 0o600} {
		if st, err := os.Stat(filepath.Join(s.Dir, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want %o", name, st.Mode(), err, mode)
		}
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, "fleet/a.age"))
	if err != nil || !bytes.HasPrefix(data, []byte("-----BEGIN AGE ENCRYPTED FILE-----")) || bytes.Contains(data, []byte("gr")) && bytes.Contains(data, []byte("grüße")) {
		t.Errorf("%v: %s", err, data)
	}
}

func TestStoreFaultsTexts(t *testing.T) {
	s := newStore(t)
	for text, want := range map[string]string{"abc": "at least 4 bytes", "": "at least 4 bytes", "\xff\xfe\xfd\xfc": "is UTF-8 text", strings.Repeat("x", 64<<10+1): "at most 64 KiB"} {
		if err := s.Set(fleet("a"), secret.New(text), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Set of %d bytes = %v, want %q", len(text), err, want)
		}
	}
	for _, name := range []string{"../x", "a/b", ".hidden", "", "a:b", "a b", strings.Repeat("n", 200), "..", "a\x00b"} {
		if err := s.Set(fleet(name), secret.New("hunter22"), ""); err == nil || !strings.Contains(err.Error(), "cannot be the name") {
			t.Errorf("Set(%q) = %v", name, err)
		}
		if _, err := s.Read(fleet(name)); err == nil {
			t.Errorf("Read(%q) gave a secret", name)
		}
		if _, err := secrets.ParseScope("host:" + name); err == nil {
			t.Errorf("host:%s is a scope", name)
		}
	}
	if err := s.Set(fleet("a"), secret.New("hunter22"), "soon"); err == nil || !strings.Contains(advice(err), "such as 90d") {
		t.Errorf("got %v", err)
	}
	if names, err := s.Names(); len(names) != 0 || err != nil {
		t.Errorf("the store has %v, %v", names, err)
	}
}

func TestResolve(t *testing.T) {
	s := newStore(t)
	inv := fleetOf(t, `
hosts: {a1: {}, a2: {}, b1: {}, c1: {}}
groups:
  all_a: {groups: [inner]}
  inner: {hosts: [a1, a2]}
  west: {hosts: [a2, b1]}
  other: {hosts: [c1]}
`)
	group := func(g string) secrets.Scope { return secrets.Scope{Kind: secrets.KindGroup, Name: g} }
	for _, scope := range []secrets.Scope{secrets.Fleet, group("all_a"), group("inner"), group("west"), {Kind: secrets.KindHost, Name: "a1"}} {
		set(t, s, secrets.Ref{Name: "db", Scope: scope}, "text of "+scope.String())
	}
	set(t, s, secrets.Ref{Name: "few", Scope: group("other")}, "hunter22")
	set(t, s, secrets.Ref{Name: "nested", Scope: group("all_a")}, "outer one")
	set(t, s, secrets.Ref{Name: "nested", Scope: group("inner")}, "inner one")
	tests := []struct{ name, host, want string }{
		{"db", "a1", "db (host:a1)"},
		{"db", "a2", "the groups inner and west of a2 both have this secret, and neither is inside of the other | set it for the host, or put one group into the other"},
		{"db", "b1", "db (group:west)"},
		{"db", "c1", "db (fleet)"},
		{"db", "", "db (fleet)"},
		{"nested", "a1", "nested (group:inner)"},
		{"few", "b1", "b1 has no secret of this name, it is for group:other | 'holdfast secret set' with --scope host:b1, a group of it, or fleet"},
		{"few", "", "the fleet has no secret of this name, it is for group:other | choose with --scope"},
		{"fwe", "c1", `no secret has this name | did you mean "few"?`},
		{"hunter22hunter", "c1", "no secret has this name | 'holdfast secret list' shows the names"},
	}
	for _, tt := range tests {
		ref, err := s.Resolve(tt.name, inv.Host(tt.host))
		got := ref.String()
		if err != nil {
			got = advice(err)
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s of %q is %s, want %s", tt.name, tt.host, got, tt.want)
		}
	}
	p := &secrets.Providers{Store: again(s)}
	for range 2 {
		for host, want := range map[string]string{"a1": "text of host:a1", "b1": "text of group:west", "c1": "text of fleet"} {
			if got, err := p.Get(inv.Host(host), "db"); err != nil || got.Reveal() != want {
				t.Errorf("%s has %q, %v", host, got.Reveal(), err)
			}
		}
	}
	if got := len(p.All()); got != 3 {
		t.Errorf("%d secrets were decrypted, want the 3 that were asked for", got)
	}
}

func fleetOf(t *testing.T, yaml string) *inventory.Inventory {
	t.Helper()
	inv, faults := inventory.Read(write(t, "inventory.yml", yaml, 0o600), inventory.Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return inv
}
