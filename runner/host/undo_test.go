package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

func (b *bench) undo(o host.UndoOptions) map[string]host.UndoResult {
	b.t.Helper()
	from := b.j.Info().ID
	rec, err := b.store.Load(from)
	b.must(err)
	if !o.Plan {
		b.must(b.j.Close(journal.Succeeded))
		b.begin("u-"+from, from)
		o.Into = b.j
	}
	results, err := b.m.Undo(ctx, rec, o)
	b.must(err)
	out := map[string]host.UndoResult{}
	for _, r := range results {
		out[strings.TrimPrefix(r.Resource, b.dir+"/")] = r
	}
	return out
}

// change is one call of each primitive on files, over what prepare made.
var changes = []struct {
	name string
	do   func(b *bench, w task.Writer) error
}{
	{"create a file", func(b *bench, w task.Writer) error {
		return w.WriteFile(ctx, task.FileWrite{Path: b.path("new"), Data: []byte("new"), Mode: mode(0o4711), Owner: "nobody"})
	}},
	{"replace a file", func(b *bench, w task.Writer) error {
		return w.WriteFile(ctx, task.FileWrite{Path: b.path("old"), Data: []byte("new"), Mode: mode(0o600), Owner: "1", Group: "2"})
	}},
	{"replace a secret file", func(b *bench, w task.Writer) error {
		return w.WriteFile(ctx, task.FileWrite{Path: b.path("secret"), Data: []byte("new secret"), Secret: true})
	}},
	{"replace it again", func(b *bench, w task.Writer) error {
		return w.WriteFile(ctx, task.FileWrite{Path: b.path("old"), Data: []byte("newer")})
	}},
	{"set a mode", func(b *bench, w task.Writer) error { return w.SetMode(ctx, b.path("old"), 0o444) }},
	{"set an owner", func(b *bench, w task.Writer) error { return w.SetOwner(ctx, b.path("suid"), "7", "8") }},
	{"make a directory", func(b *bench, w task.Writer) error { return w.MakeDir(ctx, b.path("dir"), 0o1777, "3", "4") }},
	{"make one in it", func(b *bench, w task.Writer) error { return w.MakeDir(ctx, b.path("dir/sub"), 0o700, "", "") }},
	{"write in it", func(b *bench, w task.Writer) error {
		return w.WriteFile(ctx, task.FileWrite{Path: b.path("dir/sub/f"), Data: []byte("x")})
	}},
	{"make a link", func(b *bench, w task.Writer) error { return w.MakeLink(ctx, b.path("link"), "old") }},
	{"replace a link", func(b *bench, w task.Writer) error { return w.MakeLink(ctx, b.path("oldlink"), "new") }},
	{"a link for a file", func(b *bench, w task.Writer) error { return w.MakeLink(ctx, b.path("tolink"), "new") }},
	{"a file for a link", func(b *bench, w task.Writer) error {
		return w.WriteFile(ctx, task.FileWrite{Path: b.path("tofile"), Data: []byte("x")})
	}},
	{"remove a file", func(b *bench, w task.Writer) error { return w.Remove(ctx, b.path("gone")) }},
	{"remove a link", func(b *bench, w task.Writer) error { return w.Remove(ctx, b.path("gonelink")) }},
	{"remove a tree", func(b *bench, w task.Writer) error { return w.Remove(ctx, b.path("tree")) }},
	{"make it again", func(b *bench, w task.Writer) error { return w.MakeDir(ctx, b.path("tree"), 0o755, "", "") }},
}

func (b *bench) prepare() {
	b.t.Helper()
	for _, f := range []string{"old", "suid", "tolink", "gone", "secret"} {
		b.put(f, "old "+f)
	}
	b.must(os.Chown(b.path("suid"), 5, 6))
	b.must(os.Chmod(b.path("suid"), 0o755|os.ModeSetuid))
	for _, l := range []string{"oldlink", "tofile", "gonelink"} {
		b.must(os.Symlink("nowhere", b.path(l)))
		b.must(os.Lchown(b.path(l), 9, 9))
	}
	b.must(os.MkdirAll(b.path("tree/a/b"), 0o750))
	b.put("tree/a/f", "f")
	b.must(os.Chown(b.path("tree/a/f"), 11, 12))
	b.must(os.Chmod(b.path("tree/a/b"), 0o2711))
	b.must(os.Symlink("../f", b.path("tree/a/b/l")))
	b.must(syscall.Mkfifo(b.path("tree/pipe"), 0o640))
}

func TestUndoOfEverythingAndUndoOfTheUndo(t *testing.T) {
	for _, across := range []bool{false, true} {
		b := newBench(t)
		if across { // the journal on another file system: trees are copied, not moved
			b.must(syscall.Mount("tmpfs", b.dir, "tmpfs", 0, "size=8m,mode=755"))
			defer syscall.Unmount(b.dir, syscall.MNT_DETACH) //nolint:errcheck // the folder is temporary
		}
		b.prepare()
		before := b.state()
		for _, c := range changes {
			if err := c.do(b, b.writer()); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		after := b.state()
		for name, r := range b.undo(host.UndoOptions{Plan: true}) {
			if r.Status != host.Undone {
				t.Errorf("plan: %s: got %+v, want undone", name, r)
			}
		}
		for name, r := range b.undo(host.UndoOptions{}) {
			if r.Status != host.Undone {
				t.Errorf("%s: got %+v, want undone", name, r)
			}
		}
		if got := b.state(); got != before {
			t.Errorf("after the undo: got\n%swant\n%s", got, before)
		}
		b.undo(host.UndoOptions{})
		if got := b.state(); got != after {
			t.Errorf("after the undo of the undo: got\n%swant\n%s", got, after)
		}
	}
}

// The journal is closed to the account that the change was made as, and its undo too.
func TestUndoOfWhatAnAccountDid(t *testing.T) {
	b := newBench(t)
	b.must(os.Mkdir(b.path("home"), 0o700))
	b.must(os.MkdirAll(b.path("home/tree/a"), 0o750))
	for _, f := range []string{"home/old", "home/secret", "home/gone", "home/tree/a/f"} {
		b.put(f, "old "+f)
	}
	for _, f := range []string{"home", "home/old", "home/secret", "home/gone", "home/tree", "home/tree/a", "home/tree/a/f"} {
		b.must(os.Chown(b.path(f), 65534, 65534))
	}
	b.must(os.Chmod(b.path("home/secret"), 0o600))
	b.must(os.Chmod(b.dir, 0o755))
	before := b.state()
	for _, do := range []func(w task.Writer) error{
		func(w task.Writer) error {
			return w.WriteFile(ctx, task.FileWrite{Path: b.path("home/old"), Data: []byte("new")})
		},
		func(w task.Writer) error {
			return w.WriteFile(ctx, task.FileWrite{Path: b.path("home/secret"), Data: []byte("new"), Secret: true})
		},
		func(w task.Writer) error { return w.Remove(ctx, b.path("home/gone")) },
		func(w task.Writer) error { return w.Remove(ctx, b.path("home/tree")) },
	} {
		b.must(do(b.writerAs("nobody")))
	}
	after := b.state()
	for _, want := range []string{before, after} {
		for name, r := range b.undo(host.UndoOptions{}) {
			if r.Status != host.Undone {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if got := b.state(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestUndoTwiceFindsNothingToDo(t *testing.T) {
	b := newBench(t)
	b.prepare()
	for _, c := range changes[:16] {
		b.must(c.do(b, b.writer()))
	}
	b.undo(host.UndoOptions{})
	rec, err := b.store.Load("r1")
	b.must(err)
	before := b.state()
	b.begin("again", "r1")
	results, err := b.m.Undo(ctx, rec, host.UndoOptions{Into: b.j})
	b.must(err)
	for _, r := range results {
		if r.Status != host.Already {
			t.Errorf("got %+v, want already", r)
		}
	}
	if got := b.state(); got != before {
		t.Errorf("got\n%swant\n%s", got, before)
	}
}

func TestUndoRefusesWhatOthersChanged(t *testing.T) {
	b := newBench(t)
	b.prepare()
	for _, c := range changes {
		b.must(c.do(b, b.writer()))
	}
	b.put("new", "by a person")
	b.must(os.Chmod(b.path("old"), 0o666))
	b.put("dir/sub/theirs", "x")
	b.must(os.Remove(b.path("link")))
	b.must(os.Symlink("elsewhere", b.path("link")))
	got := b.undo(host.UndoOptions{})
	for name, want := range map[string]string{
		"new": host.Refused, "old": host.Refused, "dir/sub": host.Refused, "dir": host.Refused, "link": host.Refused,
		"dir/sub/f": host.Undone, "suid": host.Undone, "gone": host.Undone, "tree": host.Undone,
	} {
		if got[name].Status != want {
			t.Errorf("%s: got %+v, want %s", name, got[name], want)
		}
	}
	if !strings.Contains(got["dir/sub"].Message, "theirs") {
		t.Errorf("got message %q, want one that names what is in it", got["dir/sub"].Message)
	}
	if s := string(readAll(t, b.path("new"))); s != "by a person" {
		t.Errorf("got %q, want that the file of the person stays", s)
	}
}

func TestUndoOnlyAndForce(t *testing.T) {
	b := newBench(t)
	b.prepare()
	for _, c := range changes {
		b.must(c.do(b, b.writer()))
	}
	b.put("new", "by a person")
	got := b.undo(host.UndoOptions{Only: []string{b.path("new")}, Force: true})
	if len(got) != 1 || got["new"].Status != host.Undone {
		t.Errorf("got %+v, want new alone undone", got)
	}
	if _, err := os.Lstat(b.path("new")); !os.IsNotExist(err) {
		t.Errorf("got error %v, want that the file is gone", err)
	}
}

func TestUndoOfCommandsIsTheModulesOwn(t *testing.T) {
	b := newBench(t)
	w := b.writer()
	_, err := w.Run(ctx, task.Command{Argv: []string{"true"}})
	b.must(err)
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("x")}))
	got := b.undo(host.UndoOptions{Plan: true})
	if got["command:true"].Status != host.Irreversible || got["f"].Status != host.Undone {
		t.Errorf("got %+v, want the command irreversible and the file undone", got)
	}
}

// TestCrash cuts every change short, once before the act and once after it, and
// takes the run back: the folder is as it was before the run.
func TestCrash(t *testing.T) {
	for n, c := range changes {
		for _, acted := range []bool{true, false} {
			b := newBench(t)
			b.prepare()
			before := b.state()
			for _, earlier := range changes[:n] {
				b.must(earlier.do(b, b.writer()))
			}
			backup := filepath.Join(t.TempDir(), "backup")
			b.must(exec.Command("cp", "-a", b.dir, backup).Run())
			if err := c.do(b, b.writer()); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			file := filepath.Join(b.store.Dir(), "runs/r1/journal.jsonl")
			text := readAll(t, file)
			text = text[:bytes.LastIndex(text, []byte(`{"kind":"done"`))+5]
			b.must(os.WriteFile(file, text, 0o600))
			if !acted {
				b.must(os.RemoveAll(b.dir))
				b.must(exec.Command("cp", "-a", backup, b.dir).Run())
				b.put(".holdfast-rest", "half")
			}
			rec, err := b.store.Load("r1")
			b.must(err)
			b.begin("u1", "r1")
			results, err := b.m.Undo(ctx, rec, host.UndoOptions{Into: b.j})
			b.must(err)
			for _, r := range results {
				if r.Status != host.Undone && r.Status != host.Already {
					t.Errorf("%s, acted %t: got %+v", c.name, acted, r)
				}
			}
			_ = os.Remove(b.path(".holdfast-rest"))
			if got := b.state(); got != before {
				t.Errorf("%s, acted %t: got\n%swant\n%s", c.name, acted, got, before)
			}
		}
	}
}

func TestSweepRemovesHalfMadeFiles(t *testing.T) {
	b := newBench(t)
	b.put("f", "old")
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("new")}))
	rec, err := b.store.Load("r1")
	b.must(err)
	e := rec.Entries[0]
	temp := strings.Split(string(e.Want), `"`)[3]
	b.put(temp, "half")
	b.m.Sweep(rec)
	if _, err := os.Stat(b.path(temp)); err != nil {
		t.Errorf("got error %v, want that nothing is swept for a finished act", err)
	}
	e.Finished = false
	b.m.Sweep(rec)
	if _, err := os.Stat(b.path(temp)); !os.IsNotExist(err) {
		t.Errorf("got error %v, want that the half-made file is gone", err)
	}
}

// TestUndoOnAFullDisk takes a run back when neither its journal nor the files have
// any room left but the reserve.
func TestUndoOnAFullDisk(t *testing.T) {
	b := newBench(t)
	b.must(syscall.Mount("tmpfs", b.dir, "tmpfs", 0, "size=8m,mode=755"))
	defer syscall.Unmount(b.dir, syscall.MNT_DETACH) //nolint:errcheck // the folder is temporary
	store, err := journal.Open(b.path("state"))
	b.must(err)
	b.store = store
	b.begin("r1", "")
	b.must(os.Mkdir(b.path("work"), 0o755))
	b.put("work/f", strings.Repeat("old", 30000))
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("work/f"), Data: []byte("new")}))
	b.must(b.j.Close(journal.Succeeded))
	ballast, err := os.Create(b.path("ballast"))
	b.must(err)
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	b.must(ballast.Close())
	rec, err := b.store.Load("r1")
	b.must(err)
	b.begin("u1", "r1")
	results, err := b.m.Undo(ctx, rec, host.UndoOptions{Into: b.j})
	if err != nil || len(results) != 1 || results[0].Status != host.Undone {
		t.Errorf("got %+v and error %v, want undone", results, err)
	}
	if got := string(readAll(t, b.path("work/f"))); !strings.HasPrefix(got, "oldold") {
		t.Errorf("got %.10q, want the old content", got)
	}
}

// TestRemoveFromALowerLayer removes a directory that an overlay does not rename, and
// takes it back.
func TestRemoveFromALowerLayer(t *testing.T) {
	b := newBench(t)
	layers := t.TempDir()
	for _, dir := range []string{"lower/work/sub", "upper", "inner"} {
		b.must(os.MkdirAll(filepath.Join(layers, dir), 0o755))
	}
	b.must(os.WriteFile(filepath.Join(layers, "lower/work/sub/f"), []byte("old"), 0o640))
	options := fmt.Sprintf("redirect_dir=off,lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/inner", layers)
	b.must(syscall.Mount("overlay", b.dir, "overlay", 0, options))
	defer syscall.Unmount(b.dir, syscall.MNT_DETACH) //nolint:errcheck // the folder is temporary
	if err := os.Rename(b.path("work"), b.path("other")); !errors.Is(err, syscall.EXDEV) {
		t.Fatalf("got error %v, want that this overlay refuses a rename", err)
	}
	store, err := journal.Open(b.path("state"))
	b.must(err)
	b.store = store
	b.begin("r1", "")
	b.must(b.writer().Remove(ctx, b.path("work")))
	if _, err := os.Lstat(b.path("work")); !os.IsNotExist(err) {
		t.Errorf("got error %v, want that it is gone", err)
	}
	b.must(b.j.Close(journal.Succeeded))
	rec, err := b.store.Load("r1")
	b.must(err)
	b.begin("u1", "r1")
	results, err := b.m.Undo(ctx, rec, host.UndoOptions{Into: b.j})
	if err != nil || len(results) != 1 || results[0].Status != host.Undone {
		t.Errorf("got %+v and error %v, want undone", results, err)
	}
	if got := string(readAll(t, b.path("work/sub/f"))); got != "old" {
		t.Errorf("got %q, want the old content", got)
	}
}
