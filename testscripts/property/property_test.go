package property_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/wire"
)

// usual is how long the test plays when nobody says.
const usual = 12 * time.Second

// TestProperty plays until its time is over or something is wrong.
func TestProperty(t *testing.T) {
	limit := usual
	if text := os.Getenv("HOLDFAST_PROPERTY"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatalf("HOLDFAST_PROPERTY: %v", err)
		}
	}
	if text := os.Getenv("HOLDFAST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
		play(t, seed)
		return
	}
	counts := map[string]int{}
	rounds := 0
	for end := time.Now().Add(limit); time.Now().Before(end) && !t.Failed(); rounds++ {
		counts[play(t, rand.Uint64())]++
	}
	t.Logf("%d rounds: %v", rounds, counts)
	if rounds < 5 {
		t.Errorf("got %d rounds within %s, which proves nothing", rounds, limit)
	}
}

// TestSeeds plays what went wrong once: an undo, taken back again, of a file that a run had
// removed, made and removed.
func TestSeeds(t *testing.T) {
	for _, seed := range []uint64{14703248286947189959} {
		play(t, seed)
	}
}

// game is one round: a folder that tasks change, the host's memory, and dice.
type game struct {
	t     *testing.T
	r     *rand.Rand
	seed  uint64
	dir   string // what tasks change
	state string // the host's memory
	runs  int

	before map[string]entry // the run that is broken
}

// errorf says what is wrong, and how to see it again.
func (g *game) errorf(format string, args ...any) {
	g.t.Helper()
	g.t.Errorf("HOLDFAST_SEED=%d: %s", g.seed, fmt.Sprintf(format, args...))
}

// play is one round. It returns what was broken.
func play(t *testing.T, seed uint64) string {
	t.Helper()
	root := t.TempDir()
	g := &game{t: t, r: rand.New(rand.NewPCG(seed, 1)), seed: seed, dir: filepath.Join(root, "1", "etc"), state: filepath.Join(root, "2", "state")}
	for _, name := range []string{"1", "2"} {
		g.disk(filepath.Join(root, name))
		defer g.scrap(filepath.Join(root, name))
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g.furnish()
	list := g.tasks(g.dir)
	before := g.snapshot(g.dir)
	g.before = before
	after := g.twin(filepath.Join(root, "twin"), list)
	known := faults
	if os.Geteuid() != 0 {
		known = faults[:len(faults)-2] // disks take root
	}
	f := known[g.r.IntN(len(known))]
	if os.Getenv("HOLDFAST_SEED") != "" {
		t.Logf("%s; was %v; tasks:", f.name, before)
		for i, one := range list {
			t.Logf("%.200s\n\t%v", one, after[i+1])
		}
	}
	id, during := f.strike(g, program(list))
	g.between(f.name, list, before, after, during)
	if g.r.IntN(2) == 0 {
		g.goBack(id, before)
	}
	g.goOn(list, after[len(after)-1])
	return f.name
}

// furnish puts something into the folder.
func (g *game) furnish() {
	for _, name := range names {
		path := filepath.Join(g.dir, name)
		var err error
		switch g.r.IntN(4) {
		case 0:
			err = os.WriteFile(path, []byte(g.text()), fs.FileMode(0o600+g.r.IntN(2)*0o44))
		case 1:
			err = os.Symlink(names[g.r.IntN(len(names))], path)
		}
		if err != nil {
			g.t.Fatal(err)
		}
	}
}

var names = []string{"a", "b", "c", "d"}

// text is a few lines, now and then many.
func (g *game) text() string {
	var b strings.Builder
	for range 1 + g.r.IntN(4) {
		fmt.Fprintf(&b, "line %d\n", g.r.IntN(5))
	}
	if g.r.IntN(6) == 0 {
		b.WriteString(strings.Repeat("x", 200_000) + "\n")
	}
	return b.String()
}

// tasks makes a program of tasks that can succeed in this folder, one after another.
func (g *game) tasks(dir string) (list []task) {
	for range 2 + g.r.IntN(6) {
		path := filepath.Join(dir, names[g.r.IntN(len(names))])
		mode := []string{"0600", "0644", "0755"}[g.r.IntN(3)]
		switch g.r.IntN(7) {
		case 0:
			list = append(list, task{"file", map[string]any{"path": path, "state": "absent"}})
		case 1:
			list = append(list, task{"link", map[string]any{"path": path, "target": "x" + strconv.Itoa(g.r.IntN(3)), "force": "true"}})
		case 2:
			// What edits a file wants one that is no link.
			list = append(list, task{"file", map[string]any{"path": path, "content": map[string]any{"$text": g.text()}}},
				task{"line", map[string]any{"path": path, "line": fmt.Sprintf("added %d", g.r.IntN(3))}})
		case 3:
			list = append(list, task{"file", map[string]any{"path": path, "content": map[string]any{"$text": g.text()}}},
				task{"block", map[string]any{"path": path, "text": g.text()}})
		case 4:
			list = append(list, task{"directory", map[string]any{"path": filepath.Join(dir, "sub", strconv.Itoa(g.r.IntN(2))), "parents": "true", "mode": mode}})
		default:
			list = append(list, task{"file", map[string]any{"path": path, "content": map[string]any{"$text": g.text()}, "mode": mode}})
		}
	}
	return list
}

// entry is what a path is like.
type entry string

// snapshot looks at everything below a folder.
func (g *game) snapshot(dir string) map[string]entry {
	g.t.Helper()
	out := map[string]entry{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		e := fmt.Sprintf("%s %d:%d", info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			e = "link " + target
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			e += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		out[name] = entry(e)
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// twin does the tasks one at a time in a copy of the folder where nothing goes wrong,
// and returns what it is like before and after each.
func (g *game) twin(dir string, list []task) (states []map[string]entry) {
	g.t.Helper()
	if err := os.CopyFS(dir, os.DirFS(g.dir)); err != nil {
		g.t.Fatal(err)
	}
	g.sameModes(dir)
	states = append(states, g.snapshot(dir))
	far, _, err := begin(dir+"-state", wire.Hello{Run: "twin", Mode: "apply"})
	if err != nil {
		g.t.Fatalf("HOLDFAST_SEED=%d: %v", g.seed, err)
	}
	defer far.end() //nolint:errcheck // a copy that is thrown away
	for i, t := range list {
		moved := task{t.module, maps.Clone(t.args)}
		moved.args["path"] = dir + strings.TrimPrefix(t.args["path"].(string), g.dir)
		p := program([]task{moved})
		p.ID, p.Final = i+1, false
		if err := far.stream.Send(&wire.Message{Program: p}); err != nil {
			g.t.Fatalf("HOLDFAST_SEED=%d: %v", g.seed, err)
		}
		if s := far.hear(); s.done == nil || s.done.Failed != 0 {
			g.t.Fatalf("HOLDFAST_SEED=%d: the task %s does not succeed where nothing is broken: %+v", g.seed, moved, s)
		}
		states = append(states, g.snapshot(dir))
	}
	return states
}

// sameModes gives a copy the modes of the original.
func (g *game) sameModes(dir string) {
	for _, name := range append([]string{"."}, names...) {
		info, err := os.Lstat(filepath.Join(g.dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink != 0 {
			continue
		}
		if err == nil {
			err = os.Chmod(filepath.Join(dir, name), info.Mode().Perm())
		}
		if err != nil {
			g.t.Fatal(err)
		}
	}
}

// run plays a program to its end.
func (g *game) run(state, id string, p *wire.Program) said {
	g.t.Helper()
	t, _, err := begin(state, wire.Hello{Run: id, Mode: "apply"})
	if err != nil {
		g.t.Fatalf("HOLDFAST_SEED=%d: %v", g.seed, err)
	}
	if err := t.stream.Send(&wire.Message{Program: p}); err != nil {
		g.t.Fatalf("HOLDFAST_SEED=%d: %v", g.seed, err)
	}
	s := t.hear()
	if err := t.end(); err != nil {
		g.errorf("%v", err)
	}
	return s
}

func (g *game) name() string {
	g.runs++
	return fmt.Sprintf("r%02d", g.runs)
}

// between fails unless the folder is as it is before or after one of the tasks, and
// holds nothing half-made that the next run would not take away.
func (g *game) between(fault string, list []task, before map[string]entry, states []map[string]entry, during map[string]entry) {
	g.t.Helper()
	if during == nil {
		during = g.snapshot(g.dir)
	}
	got := settled(during)
	if slices.ContainsFunc(states, func(s map[string]entry) bool { return maps.Equal(s, got) }) || g.within(list, states, got) {
		return
	}
	g.errorf("%s: the folder is neither before nor after a task\ntasks %v\nwas %v\nis  %v\nmay be %v", fault, list, before, got, states)
}

// settled leaves out what is written beside a file before it takes its name: nobody
// reads it, and the next run takes it away.
func settled(s map[string]entry) map[string]entry {
	out := maps.Clone(s)
	maps.DeleteFunc(out, func(name string, _ entry) bool { return strings.HasPrefix(filepath.Base(name), ".holdfast-") })
	return out
}

// within allows for a task that makes several things, each of them whole: folders with
// their parents, content and then its mode.
func (g *game) within(list []task, states []map[string]entry, got map[string]entry) bool {
	for i := range list {
		a, b := states[i], states[i+1]
		whole := true
		for name := range union(a, b, got) {
			if got[name] != a[name] && got[name] != b[name] && !part(a[name], b[name], got[name]) {
				whole = false
			}
		}
		if whole {
			return true
		}
	}
	return false
}

// part reports whether an entry has the content of one state and the mode of another:
// a change of both is two acts, each of which the journal knows.
func part(a, b, got entry) bool {
	last := func(e entry) string { return string(e[strings.LastIndex(string(e), " ")+1:]) }
	return got != "" && (a != "" && last(got) == last(a) || b != "" && last(got) == last(b))
}

func union(all ...map[string]entry) map[string]bool {
	out := map[string]bool{}
	for _, m := range all {
		for name := range m {
			out[name] = true
		}
	}
	return out
}

// goBack takes the run back: whatever it did, the journal knows all of it.
func (g *game) goBack(id string, before map[string]entry) {
	g.t.Helper()
	t, w, err := begin(g.state, wire.Hello{Run: g.name(), Mode: "undo"})
	if err != nil {
		g.errorf("undo: %v", err)
		return
	}
	known := slices.ContainsFunc(w.Runs, func(r wire.Run) bool { return r.ID == id })
	if known {
		if err := t.stream.Send(&wire.Message{Undo: &wire.Undo{Run: id}}); err != nil {
			g.errorf("undo: %v", err)
			return
		}
		s := t.hear()
		if s.done == nil || s.done.Error != "" {
			g.errorf("undo: %+v %s", s.done, s.refused)
		}
		for _, u := range s.undone {
			if os.Getenv("HOLDFAST_SEED") != "" {
				g.t.Logf("undo: %+v", u)
			}
			if u.Status != "undone" && u.Status != "already" {
				g.errorf("undo of %s: %s: %s", u.Resource, u.Status, u.Message)
			}
		}
	}
	if err := t.end(); err != nil {
		g.errorf("undo: %v", err)
	}
	if got := settled(g.snapshot(g.dir)); !maps.Equal(got, before) {
		g.errorf("after the undo (the run is known: %t) the folder is\n%v\nit was\n%v", known, got, before)
	}
}

// goOn runs the program again: it brings about what it asks for, a second time changes
// nothing that a run without a fault would not, and nothing is left lying about.
func (g *game) goOn(list []task, want map[string]entry) {
	g.t.Helper()
	id := g.name()
	before := settled(g.snapshot(g.dir))
	s := g.run(g.state, id, program(list))
	if s.done == nil || s.done.Failed != 0 || s.refused != "" {
		g.errorf("the next run: %+v", s)
		return
	}
	if got := g.snapshot(g.dir); !maps.Equal(got, want) {
		g.errorf("after the next run the folder is\n%v\nwant\n%v", got, want)
	}
	g.goBack(id, before)
}
