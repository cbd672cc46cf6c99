package helper_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/guard"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

func TestWelcome(t *testing.T) {
	_, state := place(t)
	w := begin(t, state).hello("apply")
	if w.Min != 1 || w.Max < w.Min || w.Build != "toy" || !strings.HasPrefix(w.Platform, "linux/") || w.Facts == nil || w.Facts.Hostname == "" || w.Fence != 1 {
		t.Errorf("got %+v", w)
	}
}

// What only looks leaves no trace, not even the folder of the host's memory.
func TestWhatOnlyLooksLeavesNothing(t *testing.T) {
	dir, state := place(t)
	for _, mode := range []string{"plan", "verify", "facts"} {
		p := notes(dir, []wire.Handler{adds("reload", filepath.Join(dir, "log"), 11)})
		p.Steps[0].Check = mode != "plan"
		one(t, state, mode, p)
	}
	if w := welcomeRuns(t, state); len(w) != 0 {
		t.Errorf("undo: got runs %v", w)
	}
	c := begin(t, state)
	c.hello("undo")
	c.say(&wire.Message{Undo: &wire.Undo{Run: "r0"}})
	if a := c.rest(); a.refused == nil || a.refused.Error != "this host remembers no run" {
		t.Errorf("undo: got %+v", a)
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state folder: got %v, want none", err)
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("got files %v", names)
	}
}

func TestJournalFromTheFirstChangeOn(t *testing.T) {
	dir, state := place(t)
	one(t, state, "apply", &wire.Program{Steps: steps(noteArgs(dir, "a"))})
	one(t, state, "apply", &wire.Program{Steps: steps(noteArgs(dir, "a"), `do {"reads":true}`)})
	runs, err := os.ReadDir(filepath.Join(state, "runs"))
	if err != nil || len(runs) != 1 {
		t.Errorf("got %d journals, %v, want that of the run with a change", len(runs), err)
	}
	rec := last(t, state)
	if rec.Status != journal.Succeeded || rec.Playbook != "site" || rec.User != "ann" || len(rec.Tasks) != 1 || rec.Tasks[0].Resource != filepath.Join(dir, "a") {
		t.Errorf("got %+v", rec.RunInfo)
	}
}

func TestSeveralPrograms(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	for id := 1; id <= 3; id++ {
		a := c.run(&wire.Program{ID: id, Final: id == 3, Steps: steps(noteArgs(dir, fmt.Sprint(id)))})
		if a.statuses() != "changed" || a.done.ID != id {
			t.Errorf("program %d: got %s, %+v", id, a.statuses(), a.done)
		}
	}
	if err := c.end(); err != nil {
		t.Error(err)
	}
	if rec := last(t, state); len(rec.Tasks) != 3 || rec.Status != journal.Succeeded {
		t.Errorf("got %d tasks, %s, want one journal for all", len(rec.Tasks), rec.Status)
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	_, state := place(t)
	first := begin(t, state)
	first.helloAs(wire.Hello{Run: "r-first", Mode: "apply"})
	for _, mode := range []string{"apply", "undo"} {
		c := begin(t, state)
		c.say(&wire.Message{Hello: &wire.Hello{Min: 1, Max: 1, Run: "r-second", Mode: mode}})
		m := c.hear()
		if m == nil || m.Refused == nil || !m.Refused.Locked || m.Refused.Hint == "" {
			t.Fatalf("%s: got %+v, want a refusal", mode, m)
		}
		for _, text := range []string{"r-first", "ann@bastion", "holdfast apply"} {
			if !strings.Contains(m.Refused.Error, text) {
				t.Errorf("%s: got %q, want %q in it", mode, m.Refused.Error, text)
			}
		}
		if err := c.end(); err == nil {
			t.Error("Serve: got no error")
		}
	}
	// Looking needs no lock, and neither does telling people.
	begin(t, state).hello("plan")
	if a := one(t, state, "verify", &wire.Program{Steps: steps(`tell {}`)}); len(a.results) != 1 || a.results[0].Status != "ran" {
		t.Errorf("a step that tells people: got %+v, want that it ran", a.results)
	}
	_ = first.end()
	if w := begin(t, state).hello("apply"); w.Fence < 2 {
		t.Errorf("got the number %d, want a higher one", w.Fence)
	}
}

// TestRunWaitsForAGuard: a guard takes its change back without the lock. A run that comes
// in the middle waits for it, and does not take the right to write from it.
func TestRunWaitsForAGuard(t *testing.T) {
	_, state := place(t)
	first := begin(t, state)
	first.hello("apply")
	_ = first.end()
	g := guard.Open(state)
	if err := g.Arm(guard.State{Run: "r-guarded", Within: time.Hour}); err != nil {
		t.Fatal(err)
	}
	turn, err := g.Turn()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := g.Claim(true, "it was due"); err != nil || st == nil {
		t.Fatalf("Claim: got %+v, %v", st, err)
	}
	store, err := journal.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	right, err := store.Seize()
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, state)
	c.say(&wire.Message{Hello: &wire.Hello{Min: 1, Max: 1, Run: "r-next", Mode: "apply"}})
	select {
	case m := <-c.heard:
		t.Errorf("got %+v while the guard takes its change back, want nothing", m)
	case <-time.After(200 * time.Millisecond):
	}
	if err := right.Check(); err != nil {
		t.Error(err)
	}
	if err := g.Verdict(guard.Undone, "taken back"); err != nil {
		t.Fatal(err)
	}
	turn()
	if m := c.hear(); m == nil || m.Welcome == nil {
		t.Errorf("got %+v, want a welcome", m)
	}
}

func TestRefusals(t *testing.T) {
	hello := &wire.Message{Hello: &wire.Hello{Min: 1, Max: 1, Run: "r1", Mode: "plan"}}
	tests := []struct {
		name string
		say  []*wire.Message
		want string
	}{
		{"no hello", []*wire.Message{{Program: &wire.Program{ID: 1}}}, "must begin with hello"},
		{"newer protocol", []*wire.Message{{Hello: &wire.Hello{Min: 2, Max: 3, Run: "r1", Mode: "plan"}}}, "speaks protocol 1 to 1"},
		{"unknown mode", []*wire.Message{{Hello: &wire.Hello{Min: 1, Max: 1, Run: "r1", Mode: "destroy"}}}, `does not know the mode "destroy"`},
		{"hello twice", []*wire.Message{hello, hello}, "does not belong here"},
		{"far end's message", []*wire.Message{hello, {Done: &wire.Done{}}}, "does not belong here"},
		{"undo in a plan", []*wire.Message{hello, {Undo: &wire.Undo{Run: "r0"}}}, "cannot take a run back"},
	}
	for _, tt := range tests {
		_, state := place(t)
		c := begin(t, state)
		for _, m := range tt.say {
			c.say(m)
		}
		a := c.rest()
		if a.refused == nil || !strings.Contains(a.refused.Error, tt.want) {
			t.Errorf("%s: got %+v, want %q", tt.name, a.refused, tt.want)
		}
		// Nothing is done after a refusal.
		_ = c.stream.Send(&wire.Message{Program: &wire.Program{ID: 9}})
		if err := c.end(); err == nil {
			t.Errorf("%s: Serve answered no error", tt.name)
		}
		if m := c.hear(); m != nil {
			t.Errorf("%s: it went on with %+v", tt.name, m)
		}
	}
}

func TestUndoOfUnknownRuns(t *testing.T) {
	dir, state := place(t)
	one(t, state, "apply", &wire.Program{Steps: steps(noteArgs(dir, "a"))})
	for _, run := range []string{"r-none", "../../etc", "..", "a/b"} {
		c := begin(t, state)
		c.hello("undo")
		c.say(&wire.Message{Undo: &wire.Undo{Run: run}})
		if a := c.rest(); a.refused == nil {
			t.Errorf("%s: got %+v, want a refusal", run, a.done)
		}
		_ = c.end()
	}
}

// What breaks the protocol is answered and ends the talk.
func TestBrokenInput(t *testing.T) {
	tests := []struct {
		name  string
		write func(s *wire.Stream)
		want  string
	}{
		{"no JSON", func(s *wire.Stream) { _ = s.WriteFrame(wire.JSON, []byte("{")) }, "not JSON"},
		{"two kinds", func(s *wire.Stream) { _ = s.WriteFrame(wire.JSON, []byte(`{"cancel":{},"done":{}}`)) }, "one kind"},
		{"secrets that are none", func(s *wire.Stream) { _ = s.WriteFrame(wire.Secrets, []byte("[]")) }, "secrets that cannot be read"},
		{"secrets without numbers", func(s *wire.Stream) { _ = s.WriteFrame(wire.Secrets, []byte(`{"a":"`+token+`"}`)) }, "secrets that cannot be read"},
		{"content without a digest", func(s *wire.Stream) { _ = s.WriteFrame(wire.Blob, []byte("x")) }, "without its digest"},
		{"content with a wrong digest", func(s *wire.Stream) { _ = s.SendBlob([32]byte{1}, []byte("x")) }, "does not match its digest"},
		{"wrong program", func(s *wire.Stream) { _ = s.WriteFrame(wire.JSON, []byte(`{"program":{"id":1,"steps":[{"n":0}]}}`)) }, "step 0 follows step 0"},
	}
	for _, tt := range tests {
		_, state := place(t)
		c := begin(t, state)
		c.hello("apply")
		tt.write(c.stream)
		a := c.rest()
		if a.refused == nil || !strings.Contains(a.refused.Error, tt.want) || strings.Contains(a.refused.Error, token) {
			t.Errorf("%s: got %+v, want %q", tt.name, a.refused, tt.want)
		}
		_ = c.end()
	}
}

func TestTooMuchAtATime(t *testing.T) {
	_, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	wait := make(chan struct{})
	name := hook(t, func(context.Context, task.Writer) error { <-wait; return nil })
	c.say(&wire.Message{Program: &wire.Program{ID: 1, Steps: steps(`do {"hook":"` + name + `"}`)}})
	go func() { // nobody reads the last of them
		for c.stream.Send(&wire.Message{Program: &wire.Program{ID: 2}}) == nil {
		}
	}()
	m := c.hear()
	for m != nil && m.Refused == nil {
		m = c.hear()
	}
	if m == nil || !strings.Contains(m.Refused.Error, "too much") {
		t.Errorf("got %+v, want a refusal", m)
	}
	close(wait)
	_ = c.end()
}

// Both ends grow: what the helper does not know it says so, and the talk goes on.
func TestGrease(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	if err := c.stream.WriteFrame(wire.JSON, []byte(`{"hello":{"min":1,"max":1,"run":"r1","mode":"apply","grease":[1]},"grease":{}}`)); err != nil {
		t.Fatal(err)
	}
	if m := c.hear(); m.Welcome == nil {
		t.Fatalf("got %+v, want a welcome", m)
	}
	if err := c.stream.WriteFrame(wire.JSON, []byte(`{"grease_77":{"deep":[{}]}}`)); err != nil {
		t.Fatal(err)
	}
	if m := c.hear(); m.Unsupported == nil || m.Unsupported.Kind != "grease_77" {
		t.Errorf("got %+v, want Unsupported", m)
	}
	c.say(&wire.Message{Unsupported: &wire.Unsupported{Kind: "progress"}})
	if a := c.run(&wire.Program{ID: 1, Final: true, Steps: steps(noteArgs(dir, "a"))}); a.statuses() != "changed" {
		t.Errorf("got %s", a.statuses())
	}
}

func TestOversizeArguments(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	large := strings.Repeat("x", 3<<20)
	a := c.run(&wire.Program{ID: 1, Final: true, Steps: steps(noteArgs(dir, "a", `"text":"`+large+`"`))})
	if a.statuses() != "changed" || read(t, filepath.Join(dir, "a")) != large {
		t.Errorf("got %s", a.statuses())
	}
	if err := c.stream.Send(&wire.Message{Program: &wire.Program{ID: 2, Steps: steps(noteArgs(dir, "b", `"text":"`+large+large+`"`))}}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if err := c.end(); err != nil {
		t.Error(err)
	}
}

// A damaged journal of a run that died stands in nobody's way.
func TestDamagedMemory(t *testing.T) {
	dir, state := place(t)
	one(t, state, "apply", &wire.Program{Steps: steps(noteArgs(dir, "a"))})
	rec := last(t, state)
	run := filepath.Join(state, "runs", rec.ID)
	if err := errors.Join(os.WriteFile(filepath.Join(run, "journal.jsonl"), []byte("garbage\n{}\n"), 0o600),
		os.WriteFile(filepath.Join(run, "run.json"), []byte(`{"id":"`+rec.ID+`","started":"2026-01-02T03:04:05Z"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := begin(t, state)
	if w := c.hello("apply"); len(w.Warnings) != 1 || !strings.Contains(w.Warnings[0].Message, rec.ID) {
		t.Errorf("got warnings %+v, want one that names the run", w.Warnings)
	}
	if a := c.run(&wire.Program{ID: 1, Final: true, Steps: steps(noteArgs(dir, "b"))}); a.statuses() != "changed" {
		t.Errorf("got %s", a.statuses())
	}
}

// child is a helper in a process of its own.
type child struct {
	*talk
	cmd *exec.Cmd
}

func spawn(t *testing.T, state string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `umask 077; exec "$0"`, self)
	cmd.Env = append(os.Environ(), "HOLDFAST_TEST_STATE="+state)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{&talk{t: t, in: in, out: out, heard: make(chan *wire.Message, 10_000), ended: make(chan error, 1), blobs: map[string][]byte{}}, cmd}
	c.listen(bufio.NewReader(out), in)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if strings.Contains(errs.String(), "panic") {
			t.Error(errs.String())
		}
	})
	return c
}

// gone waits until the process has ended and returns how.
func (c *child) gone() string {
	c.t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.String()
}

func TestNewFilesGetTheUsualMask(t *testing.T) {
	dir, state := place(t)
	c := spawn(t, state)
	c.hello("apply")
	if a := c.run(&wire.Program{ID: 1, Steps: steps(`do {"cmd":"touch ` + dir + `/made; mkdir ` + dir + `/folder"}`)}); a.statuses() != "changed" {
		t.Fatalf("got %s", a.statuses())
	}
	for name, want := range map[string]os.FileMode{"made": 0o644, "folder": 0o755} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want %o", name, st.Mode(), err, want)
		}
	}
}

// The cable is pulled while a command talks: it is heard to its end all the same.
func TestBrokenPipeEndsNoStep(t *testing.T) {
	dir, state := place(t)
	c := spawn(t, state)
	c.hello("apply")
	c.say(&wire.Message{Program: &wire.Program{ID: 1, Final: true, Steps: steps(`do {"cmd":"for i in 1 2 3 4; do echo $i; sleep 0.3; done; echo x >`+dir+`/done"}`, noteArgs(dir, "b"))}})
	for m := c.hear(); m.Progress == nil; m = c.hear() {
	}
	_, _ = c.in.Close(), c.out.Close()
	if got := c.gone(); strings.Contains(got, "signal") {
		t.Errorf("the helper was ended by a %s", got)
	}
	if read(t, filepath.Join(dir, "done")) != "x\n" || read(t, filepath.Join(dir, "b")) != "" {
		t.Errorf("got %q and %q, want the first step alone", read(t, filepath.Join(dir, "done")), read(t, filepath.Join(dir, "b")))
	}
	if rec := last(t, state); rec.Status != journal.Interrupted || rec.Tasks[0].End == nil {
		t.Errorf("got %+v", rec.RunInfo)
	}
}

// A request to end takes the command and all that it started along.
func TestSignalEndsTheWholeTree(t *testing.T) {
	dir, state := place(t)
	c := spawn(t, state)
	c.hello("apply")
	c.say(&wire.Message{Program: &wire.Program{ID: 1, Final: true, Steps: steps(`do {"cmd":"(while :; do sleep 0.05; echo x >>`+dir+`/alive; done) & echo go; sleep 60"}`, noteArgs(dir, "b"))}})
	for m := c.hear(); m.Progress == nil; m = c.hear() {
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := c.rest(); a.statuses() != "failed" || a.done == nil || !a.done.Cancelled {
		t.Errorf("got %s, %+v", a.statuses(), a.done)
	}
	_ = c.in.Close()
	if got := c.gone(); got != "exit status 0" {
		t.Errorf("the helper ended with %s", got)
	}
	_ = os.Remove(filepath.Join(dir, "alive"))
	time.Sleep(200 * time.Millisecond)
	if _, err := os.Stat(filepath.Join(dir, "alive")); err == nil {
		t.Error("a child of the command goes on")
	}
	if rec := last(t, state); rec.Status != journal.Interrupted {
		t.Errorf("got status %q", rec.Status)
	}
}

// Killed at any moment, a helper leaves a journal that can be read, no file half
// written, and a host on which the next run brings everything to its end.
func TestKilledAtAnyMoment(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	for round := range 12 {
		var lines []string
		for i := range 25 {
			lines = append(lines, noteArgs(dir, fmt.Sprint("f", i), fmt.Sprintf(`"text":"round %d %s"`, round, strings.Repeat("x", 20_000))))
		}
		p := &wire.Program{ID: 1, Flush: true, Final: true, Steps: steps(lines...), Handlers: []wire.Handler{adds("reload", log, 101)}}
		for i := range p.Steps {
			p.Steps[i].Notify = []string{"reload"}
		}
		_ = os.Remove(log)
		c := spawn(t, state)
		c.helloAs(wire.Hello{Run: fmt.Sprintf("k%02d", round), Mode: "apply"})
		c.say(&wire.Message{Program: p})
		time.Sleep(time.Duration(rand.IntN(60_000)) * time.Microsecond)
		_ = c.cmd.Process.Kill()
		_ = c.gone()
		killed(t, dir, state, round)
		again := one(t, state, "apply", p)
		if again.done == nil || again.done.Failed != 0 || len(pendingOf(t, state)) > 0 {
			t.Fatalf("round %d: the next run: got %+v, to do %v", round, again, pendingOf(t, state))
		}
		if got := read(t, log); got == "" {
			t.Errorf("round %d: the handler never ran", round)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("round %d: left behind %v", round, left)
		}
	}
}

// What a command of a helper that was killed had started does not go on beside the next
// run, though its parent is gone and it does not listen to SIGTERM.
func TestOrphansEnd(t *testing.T) {
	dir, state := place(t)
	script := filepath.Join(dir, "script")
	text := fmt.Sprintf("trap '' TERM; echo $$ > %[1]s/pid; while true; do date > %[1]s/alive; sleep 0.05; done\n", dir)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := spawn(t, state)
	c.hello("apply")
	c.say(&wire.Message{Program: &wire.Program{ID: 1, Steps: steps(`do {"cmd":"sh ` + script + ` & wait"}`)}})
	for range 400 {
		if _, err := os.Stat(filepath.Join(dir, "alive")); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	pid := strings.TrimSpace(read(t, filepath.Join(dir, "pid")))
	_ = c.cmd.Process.Kill()
	_ = c.gone()
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatalf("the command did not outlive its helper (%v), so there is nothing to see", err)
	}
	next := begin(t, state)
	welcome := next.hello("apply")
	if b, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(b), ") Z ") {
		t.Errorf("the process %s goes on: %s", pid, b)
	}
	if left, err := filepath.Glob(filepath.Join(state, "running", "*")); err != nil || len(left) > 0 {
		t.Errorf("got the notes %v, %v left", left, err)
	}
	var told []string
	for _, w := range welcome.Warnings {
		told = append(told, w.Message)
	}
	if !strings.Contains(strings.Join(told, "\n"), "1 commands were ended") {
		t.Errorf("got %q told, want that a command was ended", told)
	}
}

// What a helper that was killed left half-made in the host's memory goes with time.
func TestOldRemainsGo(t *testing.T) {
	dir, state := place(t)
	one(t, state, "apply", &wire.Program{Steps: steps(noteArgs(dir, "a"))})
	run := filepath.Join(state, "runs", last(t, state).ID)
	for _, folder := range []string{state, run, filepath.Join(run, "blobs")} {
		for name, age := range map[string]time.Duration{".new-1": time.Hour, ".new-2": 0} {
			name = filepath.Join(folder, name)
			if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Chtimes(name, time.Time{}, time.Now().Add(-age))); err != nil {
				t.Fatal(err)
			}
		}
	}
	one(t, state, "apply", &wire.Program{})
	for _, folder := range []string{state, run, filepath.Join(run, "blobs")} {
		left, err := filepath.Glob(filepath.Join(folder, ".new-*"))
		if err != nil || len(left) != 1 || filepath.Base(left[0]) != ".new-2" {
			t.Errorf("%s: got left %v, %v, want the young one", folder, left, err)
		}
	}
}

// killed looks at what a helper that was killed left.
func killed(t *testing.T, dir, state string, round int) {
	t.Helper()
	s, err := journal.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pending(); err != nil {
		t.Errorf("round %d: %v", round, err)
	}
	infos, err := s.Runs()
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	for _, info := range infos {
		if _, err := s.Load(info.ID); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "f*"))
	for _, name := range files {
		if got := read(t, name); len(got) < 20_000 || !strings.HasPrefix(got, "round ") {
			t.Errorf("round %d: %s is half written: %d bytes", round, name, len(got))
		}
	}
}
