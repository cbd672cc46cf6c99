package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/host"
	"holdfast/tasks/task"
)

var databases = map[string]string{
	"passwd":     "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"group":      "root:x:0:\nsudo:x:27:ann\nann:x:1000:\nstaff:x:50:\nnogroup:x:65534:\n",
	"shadow":     "root:*:19000:0:99999:7:::\nann:$6$abc$def:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
	"gshadow":    "root:*::\nsudo:*::ann\nann:!::\nstaff:*::\nnogroup:*::\n",
	"subuid":     "ann:100000:65536\n",
	"subgid":     "ann:100000:65536\n",
	"login.defs": "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\nUSERGROUPS_ENAB yes\nUMASK 027\nENCRYPT_METHOD SHA512\nSUB_UID_MIN 100000\nSUB_UID_MAX 600100000\nSUB_UID_COUNT 65536\nSUB_GID_MIN 100000\nSUB_GID_MAX 600100000\nSUB_GID_COUNT 65536\n",
}

// newAccounts returns a machine whose accounts are in a folder.
func newAccounts(t *testing.T) *bench {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/skel/.d", "etc/default", "home/ann", "var/mail", "var/lib/systemd/linger"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{"skel/.bashrc": "# rc\n", "skel/.d/f": "x\n", "default/useradd": "SHELL=/bin/sh\n"}
	for name, text := range databases {
		files[name] = text
	}
	for name, text := range files {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, "shadow") {
			mode = 0o640
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	m, err := host.NewWith(host.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOn(t, m, root)
}

// accounts returns all the databases as one text.
func (b *bench) accounts() string {
	b.t.Helper()
	var out strings.Builder
	for _, name := range []string{"passwd", "group", "shadow", "gshadow", "subuid", "subgid"} {
		st, err := os.Stat(b.path("etc/" + name))
		b.must(err)
		out.WriteString(name + " " + st.Mode().String() + "\n" + string(readAll(b.t, b.path("etc/"+name))))
	}
	return out.String()
}

func ptr[T any](v T) *T { return &v }

func TestNewAccount(t *testing.T) {
	b := newAccounts(t)
	before := b.accounts()
	w := b.writer()
	b.must(w.PutGroup(ctx, task.GroupSpec{Name: "docker", System: true}))
	b.must(w.PutUser(ctx, task.UserSpec{
		Name: "bob", Groups: &[]string{"sudo", "docker"}, Comment: ptr("Bob"), Shell: ptr("/bin/bash"),
		CreateHome: true, HomeMode: mode(0o700), PasswordHash: ptr("$6$salt$hash"),
	}))
	u, err := w.LookupUser(ctx, "bob")
	if err != nil || u == nil {
		t.Fatalf("got %v and error %v, want the account", u, err)
	}
	if u.UID != 1001 || u.Group != "bob" || strings.Join(u.Groups, " ") != "docker sudo" || u.Home != "/home/bob" || u.Locked {
		t.Errorf("got %+v", u)
	}
	info, err := w.Stat(ctx, b.path("home/bob/.d/f"))
	if err != nil || info.Owner != "bob" || info.Group != "bob" {
		t.Errorf("got %+v and error %v, want a file of bob", info, err)
	}
	if info, _ = w.Stat(ctx, b.path("home/bob")); info.Mode != 0o700 || info.Owner != "bob" {
		t.Errorf("got %+v, want 0700 of bob", info)
	}
	if !strings.Contains(b.accounts(), "bob:$6$salt$hash:") {
		t.Error("the hash is not in the database")
	}
	spawned := b.m.Spawned()
	b.must(w.PutUser(ctx, task.UserSpec{Name: "bob", Groups: &[]string{"docker", "sudo"}, Shell: ptr("/bin/bash"), PasswordHash: ptr("$6$salt$hash")}))
	b.must(w.PutGroup(ctx, task.GroupSpec{Name: "docker"}))
	if b.m.Spawned() != spawned {
		t.Error("an account that is as asked was changed")
	}
	for name, r := range b.undo(host.UndoOptions{}) {
		if r.Status != host.Undone {
			t.Errorf("%s: got %+v, want undone", name, r)
		}
	}
	if got := b.accounts(); got != before {
		t.Errorf("after the undo: got\n%swant\n%s", got, before)
	}
	if _, err := os.Stat(b.path("home/bob")); !os.IsNotExist(err) {
		t.Errorf("got error %v, want that the home is gone", err)
	}
}

func TestHomeOfAnAccountThatIsUsedStays(t *testing.T) {
	b := newAccounts(t)
	b.must(b.writer().PutUser(ctx, task.UserSpec{Name: "bob", CreateHome: true}))
	b.put("home/bob/thesis.tex", "x")
	after := b.accounts()
	got := b.undo(host.UndoOptions{})
	if r := got["user:bob"]; r.Status != host.Refused || !strings.Contains(r.Message, "thesis.tex") {
		t.Errorf("got %+v, want a refusal that names the file", r)
	}
	if b.accounts() != after {
		t.Error("the account of a home that stays was deleted")
	}
}

func TestChangedAccount(t *testing.T) {
	b := newAccounts(t)
	b.put("home/ann/f", "x")
	b.must(os.Chown(b.path("home/ann/f"), 1000, 1000))
	before := b.accounts()
	w := b.writer()
	b.must(w.PutUser(ctx, task.UserSpec{Name: "ann", Groups: &[]string{"staff"}, Shell: ptr("/bin/sh"), Comment: ptr("Ann B"), PasswordHash: ptr("!")}))
	u, err := w.LookupUser(ctx, "ann")
	if err != nil || !u.Locked || u.Shell != "/bin/sh" || strings.Join(u.Groups, " ") != "staff" {
		t.Errorf("got %+v and error %v", u, err)
	}
	after := b.accounts()
	b.undo(host.UndoOptions{})
	if got := b.accounts(); got != before {
		t.Errorf("after the undo: got\n%swant\n%s", got, before)
	}
	b.undo(host.UndoOptions{})
	if got := b.accounts(); got != after {
		t.Errorf("after the undo of the undo: got\n%swant\n%s", got, after)
	}
}

func TestDeletedAccountComesBack(t *testing.T) {
	b := newAccounts(t)
	b.put("home/ann/f", "x")
	b.must(os.Chown(b.path("home/ann/f"), 1000, 1000))
	before := b.accounts()
	w := b.writer()
	b.must(w.DeleteUser(ctx, "ann", true))
	b.must(w.DeleteUser(ctx, "ann", true))
	b.must(w.DeleteGroup(ctx, "staff"))
	if u, err := w.LookupUser(ctx, "ann"); u != nil || err != nil {
		t.Errorf("got %+v and error %v, want no account", u, err)
	}
	if _, err := os.Stat(b.path("home/ann")); !os.IsNotExist(err) {
		t.Errorf("got error %v, want that the home is gone", err)
	}
	b.undo(host.UndoOptions{})
	if got := b.accounts(); got != before {
		t.Errorf("after the undo: got\n%swant\n%s", got, before)
	}
	if info, err := b.m.Reader().Stat(ctx, b.path("home/ann/f")); err != nil || info.Owner != "ann" {
		t.Errorf("got %+v and error %v, want ann's file", info, err)
	}
}

func TestUndoOfAccountsSparesWhatOthersDid(t *testing.T) {
	b := newAccounts(t)
	w := b.writer()
	b.must(w.PutUser(ctx, task.UserSpec{Name: "bob", Groups: &[]string{"sudo"}}))
	b.must(w.PutUser(ctx, task.UserSpec{Name: "ann", Shell: ptr("/bin/sh")}))
	b.must(w.PutGroup(ctx, task.GroupSpec{Name: "ops"}))
	// A person puts ann into ops, somebody else into sudo, and changes ann's shell.
	for file, r := range map[string][2]string{
		"group":  {"ops:x:1002:", "ops:x:1002:ann"},
		"passwd": {"/home/ann:/bin/sh", "/home/ann:/bin/zsh"},
	} {
		text := string(readAll(t, b.path("etc/"+file)))
		if !strings.Contains(text, r[0]) {
			t.Fatalf("%s has no %q:\n%s", file, r[0], text)
		}
		text = strings.Replace(text, r[0], r[1], 1)
		b.put("etc/"+file, strings.Replace(text, "sudo:x:27:ann,bob", "sudo:x:27:ann,bob,nobody", 1))
	}
	got := b.undo(host.UndoOptions{})
	for name, want := range map[string]string{"user:bob": host.Undone, "user:ann": host.Refused, "group:ops": host.Refused} {
		if got[name].Status != want {
			t.Errorf("%s: got %+v, want %s", name, got[name], want)
		}
	}
	if text := string(readAll(t, b.path("etc/group"))); !strings.Contains(text, "sudo:x:27:ann,nobody\n") {
		t.Errorf("got\n%swant that sudo has ann and nobody", text)
	}
}

func TestAccountsThatCannotBe(t *testing.T) {
	b := newAccounts(t)
	w := b.writer()
	for name, err := range map[string]error{
		"an option":       w.PutUser(ctx, task.UserSpec{Name: "--help"}),
		"a line":          w.PutUser(ctx, task.UserSpec{Name: "a:b"}),
		"a missing group": w.PutUser(ctx, task.UserSpec{Name: "bob", Groups: &[]string{"missing"}}),
		"root":            w.DeleteUser(ctx, "root", true),
		"a group in use":  w.DeleteGroup(ctx, "ann"),
		"a broken hash":   w.PutUser(ctx, task.UserSpec{Name: "ann", PasswordHash: ptr("a:b")}),
	} {
		if err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestKernelParam(t *testing.T) {
	b := newAccounts(t)
	b.must(os.MkdirAll(b.path("proc/sys/net/ipv4/conf/eth0.1"), 0o755))
	b.put("proc/sys/net/ipv4/tcp_rmem", "4096\t8192\t32768\n")
	b.put("proc/sys/net/ipv4/conf/eth0.1/forwarding", "0\n")
	w := b.writer()
	b.must(w.SetKernelParam(ctx, "net.ipv4.tcp_rmem", "4096 8192  16384"))
	b.must(w.SetKernelParam(ctx, "net.ipv4.conf.eth0/1.forwarding", "1"))
	for name, want := range map[string]string{"net.ipv4.tcp_rmem": "4096 8192 16384", "net.ipv4.conf.eth0/1.forwarding": "1"} {
		if got, ok, err := w.KernelParam(ctx, name); got != want || !ok || err != nil {
			t.Errorf("%s: got %q, %t, %v, want %q", name, got, ok, err, want)
		}
	}
	if _, ok, err := w.KernelParam(ctx, "no.such"); ok || err != nil {
		t.Errorf("got ok %t and error %v, want neither", ok, err)
	}
	for _, name := range []string{"", "..", "../../etc/passwd", "a..b"} {
		if _, _, err := w.KernelParam(ctx, name); err == nil {
			t.Errorf("%q: got no error", name)
		}
	}
	b.put("proc/sys/net/ipv4/conf/eth0.1/forwarding", "2\n")
	got := b.undo(host.UndoOptions{})
	if got["sysctl:net.ipv4.tcp_rmem"].Status != host.Undone || got["sysctl:net.ipv4.conf.eth0/1.forwarding"].Status != host.Refused {
		t.Errorf("got %+v, want the first undone and the second refused", got)
	}
}
