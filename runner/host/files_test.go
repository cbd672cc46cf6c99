package host_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// bench is a machine with a journal and a folder to work in.
type bench struct {
	t     *testing.T
	m     *host.Machine
	store *journal.Store
	j     *journal.Journal
	dir   string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests change owners and mount file systems: they need root")
	}
	m, err := host.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // other accounts come here too
			t.Fatal(err)
		}
	}
	return newBenchOn(t, m, dir)
}

func newBenchOn(t *testing.T, m *host.Machine, dir string) *bench {
	t.Helper()
	store, err := journal.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, m: m, store: store, dir: dir}
	b.begin("r1", "")
	return b
}

func (b *bench) begin(id, undoOf string) {
	b.t.Helper()
	j, err := b.store.Begin(journal.RunInfo{ID: id, Started: time.Now(), UndoOf: undoOf})
	if err != nil {
		b.t.Fatal(err)
	}
	b.j = j
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// writer returns the writer of a new task.
func (b *bench) writer() task.Writer { return b.writerAs("") }

func (b *bench) writerAs(user string) task.Writer {
	b.t.Helper()
	t, err := b.j.Task(journal.TaskInfo{Module: "test", RunAs: user})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.m.Writer(host.Session{Task: t, Journal: b.j, RunAs: user})
}

func (b *bench) put(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// state lists everything in the folder with mode, owner and content.
func (b *bench) state() string {
	b.t.Helper()
	var out strings.Builder
	err := filepath.Walk(b.dir, func(p string, i os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st := i.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(b.dir, p)
		text := ""
		if i.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text = task.DigestOf(data)[:8]
		}
		if i.Mode()&os.ModeSymlink != 0 {
			text, _ = os.Readlink(p)
		}
		out.WriteString(strings.Join([]string{rel, i.Mode().String(), task.Mode(st.Uid).String(), task.Mode(st.Gid).String(), text}, " ") + "\n")
		return nil
	})
	b.must(err)
	return out.String()
}

func mode(m task.Mode) *task.Mode { return &m }

var ctx = context.Background()

func TestWriteFileKeepsOwnerAndMode(t *testing.T) {
	b := newBench(t)
	b.put("f", "old")
	b.must(os.Chmod(b.path("f"), 0o640))
	b.must(os.Chown(b.path("f"), 1234, 4321))
	b.must(unix.Setxattr(b.path("f"), "user.note", []byte("x"), 0))
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("new")}))
	info, err := b.m.Reader().Stat(ctx, b.path("f"))
	want := task.FileInfo{Kind: task.KindFile, Mode: 0o640, Owner: "1234", Group: "4321", Size: 3}
	if time.Since(info.Modified).Abs() > time.Hour {
		t.Errorf("it was modified at %s", info.Modified)
	}
	info.Modified = time.Time{}
	if err != nil || info != want {
		t.Errorf("got %+v and error %v, want %+v", info, err, want)
	}
	val := make([]byte, 8)
	if n, err := unix.Getxattr(b.path("f"), "user.note", val); err != nil || string(val[:n]) != "x" {
		t.Errorf("got attribute %q and error %v, want x", val[:max(n, 0)], err)
	}
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("g"), Data: []byte("x"), Mode: mode(0o600), Owner: "nobody", Group: "nogroup"}))
	if info, _ = b.m.Reader().Stat(ctx, b.path("g")); info.Owner != "nobody" || info.Mode != 0o600 {
		t.Errorf("got %+v, want nobody and 0600", info)
	}
	if left, _ := filepath.Glob(b.path(".holdfast-*")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestWriteFileWithoutAChangeIsNoEntry(t *testing.T) {
	b := newBench(t)
	b.put("f", "same")
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("same"), Mode: mode(0o644)}))
	rec, err := b.store.Load("r1")
	if err != nil || len(rec.Entries) != 0 {
		t.Errorf("got %d entries and error %v, want none", len(rec.Entries), err)
	}
}

func TestValidation(t *testing.T) {
	for _, tt := range []struct {
		name     string
		validate []string
		old      string
		want     string
		ok       bool
	}{
		{"early and valid", []string{"grep", "-q", "new", "%s"}, "old", "new", true},
		{"early and not valid", []string{"grep", "-q", "other", "%s"}, "old", "old", false},
		{"late and valid", []string{"true"}, "old", "new", true},
		{"late and not valid", []string{"false"}, "old", "old", false},
		{"late and not valid without an old file", []string{"false"}, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			if tt.old != "" {
				b.put("f", tt.old)
			}
			err := b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("new"), Validate: tt.validate})
			if (err == nil) != tt.ok {
				t.Errorf("got error %v, want ok %t", err, tt.ok)
			}
			got, _ := os.ReadFile(b.path("f"))
			if string(got) != tt.want {
				t.Errorf("got content %q, want %q", got, tt.want)
			}
			if left, _ := filepath.Glob(b.path(".holdfast-*")); len(left) != 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

func TestLinksOfOthersAreNotFollowed(t *testing.T) {
	b := newBench(t)
	b.must(os.Mkdir(b.path("home"), 0o755))
	b.must(os.Chown(b.path("home"), 1234, 1234))
	b.must(os.Mkdir(b.path("target"), 0o755))
	b.must(os.Symlink(b.path("target"), b.path("home/.ssh")))
	b.must(os.Lchown(b.path("home/.ssh"), 1234, 1234))
	b.put("target/victim", "secret")
	w := b.writer()
	for name, err := range map[string]error{
		"write":  w.WriteFile(ctx, task.FileWrite{Path: b.path("home/.ssh/authorized_keys"), Data: []byte("x")}),
		"dir":    w.MakeDir(ctx, b.path("home/.ssh/d"), 0o755, "", ""),
		"remove": w.Remove(ctx, b.path("home/.ssh/victim")),
		"mode":   w.SetMode(ctx, b.path("home/.ssh/victim"), 0o777),
		"owner":  w.SetOwner(ctx, b.path("home/.ssh/victim"), "1234", ""),
		"link":   w.MakeLink(ctx, b.path("home/.ssh/l"), "/"),
	} {
		if err == nil || !strings.Contains(err.Error(), "cannot follow the link") {
			t.Errorf("%s: got error %v, want a refusal to follow", name, err)
		}
	}
	// A link of root in a folder of root is followed.
	b.must(os.Symlink(b.path("target"), b.path("link")))
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("link/f"), Data: []byte("x")}))
	// The last name is never followed: the link itself is replaced.
	b.must(os.Symlink(b.path("target/victim"), b.path("home/last")))
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("home/last"), Data: []byte("x")}))
	if got, _ := os.ReadFile(b.path("target/victim")); string(got) != "secret" {
		t.Errorf("got %q, want that the target of the link is as before", got)
	}
}

func TestHardLinksOfOthersAreNotChanged(t *testing.T) {
	b := newBench(t)
	b.must(os.Mkdir(b.path("home"), 0o755))
	b.must(os.Chown(b.path("home"), 1234, 1234))
	b.put("victim", "x")
	b.must(os.Link(b.path("victim"), b.path("home/f")))
	if err := b.writer().SetOwner(ctx, b.path("home/f"), "1234", ""); err == nil {
		t.Error("the owner of a hard link in a folder of another account was changed")
	}
}

func TestRunAsHasTheRightsOfTheAccount(t *testing.T) {
	b := newBench(t)
	b.must(os.Mkdir(b.path("home"), 0o700))
	b.must(os.Chown(b.path("home"), 65534, 65534))
	b.must(os.Chmod(b.dir, 0o755))
	b.put("roots", "x")
	w := b.writerAs("nobody")
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("home/f"), Data: []byte("x")}))
	info, err := w.Stat(ctx, b.path("home/f"))
	if err != nil || info.Owner != "nobody" || info.Mode != 0o644 {
		t.Errorf("got %+v and error %v, want a file of nobody", info, err)
	}
	b.must(w.MakeDir(ctx, b.path("home/d"), 0o700, "", ""))
	b.must(w.Remove(ctx, b.path("home/d")))
	b.must(os.Chmod(b.path("roots"), 0o600))
	if _, err := w.ReadFile(ctx, b.path("roots"), 10); !errors.Is(err, os.ErrPermission) {
		t.Errorf("read: got error %v, want permission denied", err)
	}
	for name, err := range map[string]error{
		"write":  w.WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("x")}),
		"remove": w.Remove(ctx, b.path("roots")),
		"mode":   w.SetMode(ctx, b.path("roots"), 0o777),
		"owner":  w.SetOwner(ctx, b.path("home/f"), "root", ""),
	} {
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: got error %v, want permission denied", name, err)
		}
	}
	if err := w.SetKernelParam(ctx, "vm.swappiness", "1"); err == nil || !strings.Contains(err.Error(), "needs root") {
		t.Errorf("got error %v, want that it needs root", err)
	}
	out, err := w.Run(ctx, task.Command{Argv: []string{"id", "-un"}})
	if err != nil || out.Stdout != "nobody\n" {
		t.Errorf("got %+v and error %v, want nobody", out, err)
	}
	if os.Geteuid() != 0 || !bytes.Contains(readAll(t, "/proc/thread-self/status"), []byte("Uid:\t0\t0\t0\t0")) {
		t.Error("this thread did not get its rights back")
	}
}

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFullDiskLeavesTheOldFile(t *testing.T) {
	b := newBench(t)
	b.must(syscall.Mount("tmpfs", b.dir, "tmpfs", 0, "size=64k"))
	defer syscall.Unmount(b.dir, syscall.MNT_DETACH) //nolint:errcheck // the folder is temporary
	b.put("f", "old")
	before := b.state()
	err := b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: make([]byte, 128<<10)})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v, want no space left", err)
	}
	if got := b.state(); got != before {
		t.Errorf("got\n%swant\n%s", got, before)
	}
}

func TestImmutableFileIsExplained(t *testing.T) {
	b := newBench(t)
	b.put("f", "old")
	f, err := os.Open(b.path("f"))
	b.must(err)
	defer f.Close() //nolint:errcheck // only read
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10); err != nil {
		t.Fatalf("this file system knows no immutable files: %v", err)
	}
	defer unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) //nolint:errcheck // the folder is temporary
	err = b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("new")})
	if err == nil || !strings.Contains(err.Error(), "is immutable") {
		t.Errorf("got error %v, want one that says immutable", err)
	}
}

func TestRemoveRefusesWhatTheSystemNeeds(t *testing.T) {
	b := newBench(t)
	w := b.writer()
	for _, name := range []string{"/", "/etc", "/usr", "/var/lib", "/proc", b.store.Dir(), filepath.Dir(b.store.Dir()), b.store.Dir() + "/fence"} {
		if err := w.Remove(ctx, name); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	b.must(os.Mkdir(b.path("m"), 0o755))
	b.must(syscall.Mount("tmpfs", b.path("m"), "tmpfs", 0, ""))
	defer syscall.Unmount(b.path("m"), syscall.MNT_DETACH) //nolint:errcheck // the folder is temporary
	if err := w.Remove(ctx, b.path("m")); err == nil || !strings.Contains(err.Error(), "mount point") {
		t.Errorf("got error %v, want one about a mount point", err)
	}
}

func TestFenceStopsChanges(t *testing.T) {
	b := newBench(t)
	tk, err := b.j.Task(journal.TaskInfo{Module: "test"})
	b.must(err)
	lost := errors.New("lost")
	w := b.m.Writer(host.Session{Task: tk, Journal: b.j, Fence: func() error { return lost }})
	if err := w.WriteFile(ctx, task.FileWrite{Path: b.path("f")}); !errors.Is(err, lost) {
		t.Errorf("got error %v, want %v", err, lost)
	}
	if err := b.m.Writer(host.Session{}).MakeDir(ctx, b.path("d"), 0o755, "", ""); err == nil {
		t.Error("a change without a journal was allowed")
	}
}

func TestLookingSpawnsNothing(t *testing.T) {
	b := newBench(t)
	r := b.m.Reader()
	for _, look := range []func() error{
		func() error { _, err := r.Stat(ctx, "/etc/passwd"); return err },
		func() error { _, err := r.Digest(ctx, "/etc/passwd"); return err },
		func() error { _, err := r.LookupUser(ctx, "root"); return err },
		func() error { _, err := r.LookupUser(ctx, "no-such-account"); return err },
		func() error { _, err := r.LookupGroup(ctx, "adm"); return err },
		func() error { _, err := r.Package(ctx, "dpkg"); return err },
		func() error { _, _, err := r.KernelParam(ctx, "kernel.ostype"); return err },
		func() error { _, err := r.Listeners(ctx); return err },
		func() error { _, err := r.PackagesRefreshed(ctx); return err },
		func() error { _, err := r.Linger(ctx, "root"); return err },
	} {
		b.must(look())
	}
	if n := b.m.Spawned(); n != 0 {
		t.Errorf("got %d processes, want 0", n)
	}
}
