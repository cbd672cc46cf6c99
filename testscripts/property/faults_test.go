package property_test

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/runner/wire"
)

// fault is something that goes wrong while a program runs. It returns the name of the
// run, and what the folder was like if the strike itself had to look.
type fault struct {
	name   string
	strike func(g *game, p *wire.Program) (id string, during map[string]entry)
}

var faults = []fault{
	{"nothing", func(g *game, p *wire.Program) (string, map[string]entry) {
		id := g.name()
		if s := g.run(g.state, id, p); s.done == nil || s.done.Failed != 0 {
			g.errorf("a run without a fault: %+v", s)
		}
		return id, nil
	}},
	{"killed", func(g *game, p *wire.Program) (string, map[string]entry) {
		return g.broken(p, func(t *talk) { _ = t.cmd.Process.Kill() })
	}},
	{"killed, and the journal torn", func(g *game, p *wire.Program) (string, map[string]entry) {
		id, _ := g.broken(p, func(t *talk) { _ = t.cmd.Process.Kill() })
		g.tear(id)
		return id, nil
	}},
	{"cut off", func(g *game, p *wire.Program) (string, map[string]entry) {
		return g.broken(p, func(t *talk) { _ = t.in.Close() })
	}},
	{"told to stop", func(g *game, p *wire.Program) (string, map[string]entry) {
		return g.broken(p, func(t *talk) { _ = t.stream.Send(&wire.Message{Cancel: &wire.Cancel{}}) })
	}},
	{"told to stop now", func(g *game, p *wire.Program) (string, map[string]entry) {
		return g.broken(p, func(t *talk) { _ = t.stream.Send(&wire.Message{Cancel: &wire.Cancel{Now: true}}) })
	}},
	{"no room for the journal", func(g *game, p *wire.Program) (string, map[string]entry) {
		return g.full(p, filepath.Dir(g.state))
	}},
	{"no room for files", func(g *game, p *wire.Program) (string, map[string]entry) {
		return g.full(p, filepath.Dir(g.dir))
	}},
}

// broken plays a program and strikes at a moment within it.
func (g *game) broken(p *wire.Program, strike func(*talk)) (string, map[string]entry) {
	id := g.name()
	t, _, err := begin(g.state, wire.Hello{Run: id, Mode: "apply"})
	if err != nil {
		g.t.Fatalf("HOLDFAST_SEED=%d: %v", g.seed, err)
	}
	if err := t.stream.Send(&wire.Message{Program: p}); err != nil {
		g.t.Fatalf("HOLDFAST_SEED=%d: %v", g.seed, err)
	}
	timer := time.AfterFunc(time.Duration(g.r.IntN(30_000))*time.Microsecond, func() { strike(t) })
	t.hear()
	timer.Stop()
	if err := t.end(); err != nil {
		g.errorf("%v", err)
	}
	return id, nil
}

// tear cuts bytes off the journal's last line, as a power cut can that comes before the
// line was on the disk: what it announces was not begun then.
func (g *game) tear(id string) {
	path := filepath.Join(g.state, "runs", id, "journal.jsonl")
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 || data[len(data)-1] == '\n' {
		return // every line is whole, so each was on the disk before its act
	}
	if err := os.Truncate(path, int64(len(data)-1-g.r.IntN(len(data)/4+1))); err != nil {
		g.t.Fatal(err)
	}
}

// full plays a program with little room on a disk, and makes room again.
func (g *game) full(p *wire.Program, disk string) (string, map[string]entry) {
	id := g.name()
	room := g.fill(disk)
	t, _, err := begin(g.state, wire.Hello{Run: id, Mode: "apply"})
	if err == nil {
		if err := t.stream.Send(&wire.Message{Program: p}); err == nil {
			t.hear()
		}
	}
	if t != nil {
		if err := t.end(); err != nil {
			g.errorf("%v", err)
		}
	}
	// Going back must be possible although the disk is still full.
	if g.r.IntN(2) == 0 && g.begun(id) {
		g.goBack(id, g.before)
	}
	room()
	return id, nil
}

// begun reports whether a run began: on a disk that was full before it nothing does, and
// nothing is to be taken back.
func (g *game) begun(id string) bool {
	_, err := os.Stat(filepath.Join(g.state, "runs", id, "run.json"))
	return err == nil
}

// fill leaves little room on a disk and returns what makes room.
func (g *game) fill(disk string) (room func()) {
	g.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		g.t.Fatal(err)
	}
	leave := []int64{0, 4, 16, 64, 256}[g.r.IntN(5)] << 10
	filler := filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it holds nothing
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-leave); err != nil {
		g.t.Fatalf("cannot fill the disk: %v", err)
	}
	return func() {
		if err := os.Remove(filler); err != nil {
			g.t.Error(err)
		}
	}
}

// disk makes a small disk, which takes root.
func (g *game) disk(dir string) {
	g.t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m,mode=755"); err != nil {
		g.t.Fatalf("cannot make a disk: %v", err)
	}
}

// scrap takes a disk away.
func (g *game) scrap(dir string) {
	if os.Geteuid() == 0 {
		_ = unix.Unmount(dir, unix.MNT_DETACH) // what is left of it goes with its folder
	}
}
