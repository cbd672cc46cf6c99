package secrets_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

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

func TestAges(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("young"), "hunter22")
	if err := s.Set(fleet("short"), secret.New("hunter22"), "7d"); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(fleet("for_ever"), secret.New("hunter22"), secrets.Never); err != nil {
		t.Fatal(err)
	}
	s.Now = func() time.Time { return now.Add(8 * 24 * time.Hour) }
	overdue := func() string {
		refs, err := s.Refs()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, ref := range refs {
			info, err := s.Info(ref)
			if err != nil || info.Strange != "" || !info.Set.Equal(now) {
				t.Errorf("%s: %+v, %v", ref, info, err)
			}
			if info.Overdue {
				out = append(out, ref.Name)
			}
		}
		return strings.Join(out, " ")
	}
	if got := overdue(); got != "short" {
		t.Errorf("overdue after 8 days: %s", got)
	}
	s.Now = func() time.Time { return now.Add(90 * 24 * time.Hour) }
	if got := overdue(); got != "short young" {
		t.Errorf("overdue after 90 days: %s", got)
	}
	if found, err := s.Check(); err != nil || !anyFinding(found, "secrets/fleet/young.age", "overdue: it was set on 2026-11-28") {
		t.Errorf("check finds %v, %v", found, err)
	}
	set(t, s, fleet("short"), "another one") // keeps its period
	if info, err := s.Info(fleet("short")); err != nil || info.Overdue || info.RotateAfter != "7d" {
		t.Errorf("got %+v, %v", info, err)
	}
}

func TestRekey(t *testing.T) {
	s := newStore(t)
	for i := range 4 {
		set(t, s, fleet(fmt.Sprintf("s%d", i)), "hunter22")
	}
	mate, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "recipients.txt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(mate.Recipient().String() + "\n")
	if err := errors.Join(err, f.Close(), os.WriteFile(filepath.Join(s.Dir, "fleet/s1.age"), []byte("damaged"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if found, _ := s.Check(); !anyFinding(found, "secrets/fleet/s0.age", "it is not encrypted to age1") {
		t.Errorf("check finds %v", found)
	}
	rekey := func(all bool) string {
		var out []string
		err := s.Rekey(all, func(r secrets.Rekeyed) {
			out = append(out, fmt.Sprintf("%s %v %v", r.Ref.Name, r.Done, r.Err != nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, ", ")
	}
	if got := rekey(false); got != "s0 true false, s1 false true, s2 true false, s3 true false" {
		t.Errorf("got %s", got)
	}
	set(t, s, fleet("s1"), "hunter22")
	if got := rekey(false); got != "s0 false false, s1 false false, s2 false false, s3 false false" {
		t.Errorf("the second time: %s", got)
	}
	if got := rekey(true); got != "s0 true false, s1 true false, s2 true false, s3 true false" {
		t.Errorf("all: %s", got)
	}
	theirs := again(s)
	inProject := filepath.Join(filepath.Dir(s.Dir), "mate")
	if err := os.WriteFile(inProject, []byte(mate.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	theirs.Keys = &secrets.Keyring{Files: []string{inProject}}
	if got, err := theirs.Read(fleet("s2")); err != nil || got.Reveal() != "hunter22" {
		t.Errorf("the new recipient cannot read it: %v", err)
	}
	if found, err := theirs.Check(); err != nil || len(found) != 1 || !anyFinding(found, inProject, "inside of the project") {
		t.Errorf("check finds %v, %v", found, err)
	}
	if info, err := s.Info(fleet("s0")); err != nil || !info.Set.Equal(now) || info.Strange != "" {
		t.Errorf("a rekey is no new value: %+v, %v", info, err)
	}
	if found, err := s.Check(); err != nil || len(found) != 0 {
		t.Errorf("check finds %v, %v", found, err)
	}
}

// A process that is killed while it writes leaves the old secret or the new one.
func TestKilledWhileWriting(t *testing.T) {
	if dir := os.Getenv("HOLDFAST_TEST_STORE"); dir != "" {
		s := openStore(dir)
		for i := 0; ; i++ {
			unlock, err := s.Lock()
			if err == nil {
				err = s.Set(fleet("a"), secret.New(fmt.Sprintf("value %d", i)), "")
			}
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			unlock()
		}
	}
	s := newStore(t)
	set(t, s, fleet("a"), "value 0")
	for i := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileWriting$")
		cmd.Env = append(os.Environ(), "HOLDFAST_TEST_STORE="+filepath.Dir(s.Dir))
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+7*i) * time.Millisecond)
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil || out.Len() > 0 {
			t.Fatalf("it ended by itself: %s", out.String())
		}
		got, err := again(s).Read(fleet("a"))
		if err != nil || !strings.HasPrefix(got.Reveal(), "value ") {
			t.Fatalf("after a kill: %v", err)
		}
		// Its lock does not outlive it.
		unlock, err := again(s).Lock()
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, ".lock")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLock(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	var inside, most atomic.Int64
	for range 20 {
		wg.Go(func() {
			unlock, err := again(s).Lock()
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n > 1 {
				most.Store(n)
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			unlock()
		})
	}
	wg.Wait()
	if n := most.Load(); n > 0 {
		t.Errorf("%d were inside at the same time", n)
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

// A disk that is full costs the new value and nothing else.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv("HOLDFAST_TEST_FULL"); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 300, Max: 300}); err != nil {
			t.Fatal(err)
		}
		err := openStore(dir).Set(fleet("a"), secret.New("the new value"), "")
		if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "cannot write secrets/fleet/a.age") {
			t.Fatalf("got %v", err)
		}
		return
	}
	s := newStore(t)
	set(t, s, fleet("a"), "the old value")
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_FULL="+filepath.Dir(s.Dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := again(s).Read(fleet("a")); err != nil || got.Reveal() != "the old value" {
		t.Errorf("the old value is gone: %v", err)
	}
	if found, err := again(s).Check(); err != nil || len(found) != 0 {
		t.Errorf("left behind: %v, %v", found, err)
	}
}

// A file that age itself made has no note. It can be used, and its age is not known.
func TestFilesOfAge(t *testing.T) {
	s := newStore(t)
	set(t, s, fleet("mine"), "hunter22")
	data, err := os.ReadFile(filepath.Join(s.Dir, "fleet/mine.age"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "fleet/theirs.age"), data, 0o644)); err != nil {
		t.Fatal(err)
	}
	s = again(s)
	if got, err := s.Read(fleet("theirs")); err != nil || got.Reveal() != "hunter22" {
		t.Errorf("got %v", err)
	}
	info, err := s.Info(fleet("theirs"))
	if err != nil || !info.Overdue || info.Strange != "it has no note" {
		t.Errorf("got %+v, %v", info, err)
	}
	// A note of another file is not believed, whatever it says.
	note, err := os.ReadFile(filepath.Join(s.Dir, "fleet/mine.json"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "fleet/mine.age"), append(data, '\n'), 0o600), os.WriteFile(filepath.Join(s.Dir, "fleet/theirs.json"), []byte("{"), 0o600)); err != nil {
		t.Fatal(err, note)
	}
	for name, want := range map[string]string{"mine": "it was changed by something else since, or a change was cut off", "theirs": "its note cannot be read: unexpected EOF"} {
		if info, err := s.Info(fleet(name)); err != nil || info.Strange != want {
			t.Errorf("%s: got %+v, %v, want %q", name, info, err, want)
		}
	}
	if err := s.Rekey(false, func(r secrets.Rekeyed) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	found, err := s.Check()
	if err != nil || len(found) != 1 || !anyFinding(found, "secrets/fleet/theirs.age", "when it was set is not known") {
		t.Errorf("check finds %v, %v", found, err)
	}
}
