package helper_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// adds returns a handler that adds a line to a file.
func adds(name, file string, n int) wire.Handler {
	st := steps(fmt.Sprintf(`do {"cmd":"echo %s >>%s"}`, name, file))
	st[0].N = n
	return wire.Handler{Name: name, Steps: st}
}

// notes is a program whose first step is notified from and changes dir/a.
func notes(dir string, handlers []wire.Handler, more ...string) *wire.Program {
	p := &wire.Program{ID: 1, Flush: true, Final: true, Handlers: handlers, Steps: steps(noteArgs(dir, "a", more...))}
	for _, h := range handlers {
		p.Steps[0].Notify = append(p.Steps[0].Notify, h.Name)
	}
	return p
}

func TestHandlersRunOnceInTheirOrder(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	p := notes(dir, []wire.Handler{adds("one", log, 11), adds("two", log, 12), adds("never", log, 13)})
	p.Steps = append(p.Steps, steps("x", noteArgs(dir, "b"))[1])
	p.Steps[0].Notify, p.Steps[1].Notify = []string{"two"}, []string{"two", "one"}
	a := one(t, state, "apply", p)
	if got := read(t, log); got != "one\ntwo\n" {
		t.Errorf("got %q, want each once and in the order of definition", got)
	}
	if fmt.Sprint(a.results[0].Queued, a.results[1].Queued, a.done.Pending) != "[two] [one] []" {
		t.Errorf("got queued %v and %v, pending %v", a.results[0].Queued, a.results[1].Queued, a.done.Pending)
	}
	if s := a.started[2]; s.Handler != "one" || s.N != 11 || a.results[2].Handler != "one" {
		t.Errorf("got %+v, want the handler's step", s)
	}
	if a := one(t, state, "apply", p); a.statuses() != "unchanged unchanged" || len(pendingOf(t, state)) > 0 {
		t.Errorf("a second run: got %s", a.statuses())
	}
}

// The to-do is on disk before the act that makes it necessary.
func TestHandlersAreDurableBeforeTheAct(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	var before []string
	name := hook(t, func(context.Context, task.Writer) error {
		before = pendingOf(t, state)
		return errors.New("the power went")
	})
	p := notes(dir, []wire.Handler{adds("reload", log, 11)}, `"hook":"`+name+`"`)
	p.Flush = false
	a := one(t, state, "apply", p)
	if !slices.Equal(before, []string{"site/reload"}) {
		t.Errorf("during the act: got %v on the to-do", before)
	}
	if a.statuses() != "failed" || !slices.Equal(a.done.Pending, []string{"reload"}) || len(pendingOf(t, state)) != 1 {
		t.Errorf("after the failure: got %s, %v, %v", a.statuses(), a.done.Pending, pendingOf(t, state))
	}
	// The next run, which changes nothing, does what is left.
	c := begin(t, state)
	if w := c.hello("apply"); len(w.Pending) != 1 || w.Pending[0].Name != "reload" || w.Pending[0].Run == "" {
		t.Errorf("welcome: got %+v", w.Pending)
	}
	a = c.run(&wire.Program{ID: 1, Flush: true, Final: true})
	if len(a.started) != 1 || a.started[0].N <= wire.Left || a.started[0].Name != "step 1" || a.started[0].Module != "do" || a.started[0].Handler != "reload" {
		t.Errorf("got %+v, want a step that says what it is", a.started)
	}
	if read(t, log) != "reload\n" || len(pendingOf(t, state)) > 0 {
		t.Errorf("got %q, to do %v", read(t, log), pendingOf(t, state))
	}
	_ = c.end()
}

func TestHandlersRunAfterAFailure(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	p := notes(dir, []wire.Handler{adds("one", log, 11), {Name: "broken", Steps: steps(`do {"cmd":"exit 1"}`)}, adds("two", log, 13)})
	p.Handlers[1].Steps[0].N = 12
	p.Steps = append(p.Steps, steps("x", noteArgs(dir, "b", `"odd":"apply"`))[1])
	a := one(t, state, "apply", p)
	if a.done.Failed != 2 || read(t, log) != "one\ntwo\n" || !slices.Equal(a.done.Pending, []string{"broken"}) || !slices.Equal(pendingOf(t, state), []string{"site/broken"}) {
		t.Errorf("got %+v, %q, to do %v", a.done, read(t, log), pendingOf(t, state))
	}
	if rec := last(t, state); rec.Status != journal.Failed {
		t.Errorf("got status %q", rec.Status)
	}
}

// Handlers with one name of two playbooks are two things.
func TestPendingHandlersOfTwoPlaybooks(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	for i, playbook := range []string{"web", "db"} {
		c := begin(t, state)
		c.helloAs(wire.Hello{Run: fmt.Sprintf("p%d", i), Mode: "apply", Playbook: playbook})
		h := adds("reload", log, 11)
		h.Steps[0].Args = json.RawMessage(strings.ReplaceAll(string(h.Steps[0].Args), "echo reload", "echo "+playbook))
		p := notes(dir, []wire.Handler{h}, fmt.Sprintf(`"text":%q`, playbook))
		p.Flush = false
		c.run(p)
		_ = c.end()
	}
	if got := pendingOf(t, state); !slices.Equal(sorted(got), []string{"db/reload", "web/reload"}) {
		t.Fatalf("got to do %v", got)
	}
	c := begin(t, state)
	c.helloAs(wire.Hello{Run: "p3", Mode: "apply", Playbook: "db"})
	a := c.run(notes(dir, []wire.Handler{adds("reload", log, 11)}, `"text":"db"`))
	_ = c.end()
	// The own one is replaced by today's definition, the other one is as it was left.
	if got := read(t, log); got != "web\nreload\n" || len(pendingOf(t, state)) > 0 {
		t.Errorf("got %q, %+v, to do %v", got, a.results, pendingOf(t, state))
	}
}

// A plan lists what the next run will do, what an earlier one left included.
func TestPlanShowsPendingHandlers(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	p := notes(dir, []wire.Handler{adds("reload", log, 11)})
	p.Flush = false
	one(t, state, "apply", p)
	a := one(t, state, "plan", &wire.Program{Flush: true})
	if len(a.results) != 1 || a.results[0].Handler != "reload" || a.results[0].Status != "ran" {
		t.Errorf("got %+v, want the handler", a.results)
	}
	if read(t, log) != "" || len(pendingOf(t, state)) != 1 {
		t.Errorf("the plan did it: %q, to do %v", read(t, log), pendingOf(t, state))
	}
	if a := one(t, state, "verify", &wire.Program{Flush: true}); len(a.results) != 0 {
		t.Errorf("verify: got %+v", a.results)
	}
}

// What needs secrets waits for its playbook, and fails no run of another one.
func TestPendingHandlersThatNeedSecrets(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	c.tokens(token)
	hidden := adds("hidden", filepath.Join(dir, "log"), 12)
	hidden.Steps[0].Hidden = true
	secretive := wire.Handler{Name: "secretive", Steps: steps(noteArgs(dir, "s", `"secret":{"$secret":1}`))}
	p := notes(dir, []wire.Handler{secretive, hidden})
	p.Flush = false
	c.run(p)
	_ = c.end()
	a := one(t, state, "apply", &wire.Program{Flush: true})
	if a.done.Failed != 0 || len(a.results) != 0 || len(a.warnings) != 2 || !strings.Contains(a.warnings[0], "needs secrets") || len(pendingOf(t, state)) != 2 {
		t.Errorf("got %+v, %q, to do %v", a.done, a.warnings, pendingOf(t, state))
	}
	c = begin(t, state)
	c.hello("apply")
	c.tokens(token)
	p.Flush = true
	if a := c.run(p); a.statuses() != "unchanged changed changed" || len(pendingOf(t, state)) > 0 || read(t, filepath.Join(dir, "s")) != token {
		t.Errorf("with the secrets: got %s, to do %v", a.statuses(), pendingOf(t, state))
	}
	_ = c.end()
}

func TestQueueAndDrop(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	c := begin(t, state)
	c.hello("apply")
	p := notes(dir, []wire.Handler{adds("one", log, 11), adds("two", log, 12)})
	p.Flush, p.Final, p.Steps[0].Notify = false, false, []string{"one"}
	c.run(p)
	a := c.run(&wire.Program{ID: 2, Drop: []string{"one"}, Queue: []string{"two"}})
	if !slices.Equal(a.done.Pending, []string{"two"}) || !slices.Equal(pendingOf(t, state), []string{"site/two"}) {
		t.Errorf("got %v, to do %v", a.done.Pending, pendingOf(t, state))
	}
	c.run(&wire.Program{ID: 3, Flush: true, Final: true})
	if got := read(t, log); got != "two\n" {
		t.Errorf("got %q", got)
	}
	if a := c.run(&wire.Program{ID: 4, Queue: []string{"unknown"}}); a.refused == nil || !strings.Contains(a.refused.Error, `"unknown" did not come along`) {
		t.Errorf("got %+v, want a refusal", a)
	}
}

func TestActionThatChangedNothingNotifiesNobody(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	p := &wire.Program{ID: 1, Flush: true, Steps: steps(`do {"quiet":true}`), Handlers: []wire.Handler{adds("reload", log, 11)}}
	p.Steps[0].Notify = []string{"reload"}
	if a := one(t, state, "apply", p); a.statuses() != "ran" || len(a.results[0].Queued) > 0 || len(pendingOf(t, state)) > 0 {
		t.Errorf("got %+v, to do %v", a.results, pendingOf(t, state))
	}
	// With a failure before it, likewise.
	tries := 0
	name := hook(t, func(context.Context, task.Writer) error {
		if tries++; tries < 2 {
			return errors.New("not yet")
		}
		return nil
	})
	p.Steps[0].Args = json.RawMessage(`{"quiet":true,"hook":"` + name + `"}`)
	p.Steps[0].Retries = 3
	if a := one(t, state, "apply", p); a.statuses() != "ran" || len(pendingOf(t, state)) > 0 {
		t.Errorf("with a second attempt: got %+v, to do %v", a.results, pendingOf(t, state))
	}
}

func TestHandlersNotifyHandlers(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	p := notes(dir, []wire.Handler{adds("first", log, 11), adds("second", log, 12), adds("third", log, 13)})
	p.Steps[0].Notify = []string{"second"}
	p.Handlers[1].Steps[0].Notify = []string{"first", "third"}
	p.Handlers[0].Steps[0].Notify = []string{"second"} // a circle
	a := one(t, state, "apply", p)
	if got := read(t, log); got != "second\nfirst\nthird\n" {
		t.Errorf("got %q, want each once", got)
	}
	if a.done.Failed != 0 {
		t.Errorf("got %+v", a.done)
	}
}

func TestCancelAfterTheCurrentStep(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	name := hook(t, func(ctx context.Context, _ task.Writer) error {
		c.say(&wire.Message{Cancel: &wire.Cancel{}})
		time.Sleep(50 * time.Millisecond)
		return ctx.Err()
	})
	p := notes(dir, []wire.Handler{adds("reload", filepath.Join(dir, "log"), 11)}, `"hook":"`+name+`"`)
	p.Steps = append(p.Steps, steps("x", noteArgs(dir, "b"))[1])
	a := c.run(p)
	if a.statuses() != "changed" || !a.done.Cancelled || !slices.Equal(a.done.Pending, []string{"reload"}) || read(t, filepath.Join(dir, "a")) != "text" {
		t.Errorf("got %s, %+v", a.statuses(), a.done)
	}
	if rec := last(t, state); rec.Status != journal.Interrupted || len(pendingOf(t, state)) != 1 {
		t.Errorf("got status %q, to do %v", rec.Status, pendingOf(t, state))
	}
	if a := c.run(&wire.Program{ID: 2, Flush: true, Steps: steps(noteArgs(dir, "b"))}); !a.done.Cancelled || len(a.results) != 0 {
		t.Errorf("the next program of the same talk: got %+v", a)
	}
	_ = c.end()
}

func TestCancelNow(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	c.say(&wire.Message{Program: &wire.Program{ID: 1, Final: true, Steps: steps(`do {"cmd":"echo go; sleep 60"}`, noteArgs(dir, "b"))}})
	for m := c.hear(); m.Progress == nil; m = c.hear() {
	}
	began := time.Now()
	c.say(&wire.Message{Cancel: &wire.Cancel{Now: true}})
	a := c.rest()
	if a.statuses() != "failed" || !a.done.Cancelled || time.Since(began) > 45*time.Second {
		t.Errorf("got %s, %+v after %v", a.statuses(), a.done, time.Since(began))
	}
	if rec := last(t, state); rec.Status != journal.Interrupted || rec.Tasks[0].End == nil {
		t.Errorf("got status %q, task %+v", rec.Status, rec.Tasks[0])
	}
	_ = c.end()
	// Between attempts too.
	c = begin(t, state)
	c.hello("apply")
	p := &wire.Program{ID: 1, Final: true, Steps: steps(`do {"cmd":"exit 1"}`)}
	p.Steps[0].Retries, p.Steps[0].Delay = 5, time.Hour
	c.say(&wire.Message{Program: p})
	time.Sleep(100 * time.Millisecond)
	c.say(&wire.Message{Cancel: &wire.Cancel{}})
	if a := c.rest(); a.statuses() != "failed" || !a.done.Cancelled {
		t.Errorf("between attempts: got %s, %+v", a.statuses(), a.done)
	}
}

// The controller goes away in the middle: the step comes to its end, the rest waits.
func TestEndOfInput(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		dir, state := place(t)
		c := begin(t, state)
		c.hello("apply")
		name := hook(t, func(ctx context.Context, w task.Writer) error {
			_ = c.in.Close()
			if deaf {
				_ = c.out.Close()
			}
			for range 3 {
				w.Progress("still here")
				time.Sleep(100 * time.Millisecond)
			}
			return ctx.Err()
		})
		p := notes(dir, []wire.Handler{adds("reload", filepath.Join(dir, "log"), 11)}, `"hook":"`+name+`"`)
		p.Steps = append(p.Steps, steps("x", noteArgs(dir, "b"))[1])
		c.run(p)
		if err := c.end(); (err != nil) != deaf {
			t.Errorf("deaf %t: Serve answered %v", deaf, err)
		}
		if read(t, filepath.Join(dir, "a")) != "text" || read(t, filepath.Join(dir, "b")) != "" {
			t.Errorf("deaf %t: got %q and %q, want the first step alone", deaf, read(t, filepath.Join(dir, "a")), read(t, filepath.Join(dir, "b")))
		}
		if rec := last(t, state); rec.Status != journal.Interrupted || len(pendingOf(t, state)) != 1 || rec.Tasks[len(rec.Tasks)-1].End == nil {
			t.Errorf("deaf %t: got status %q, to do %v", deaf, rec.Status, pendingOf(t, state))
		}
		p.Steps[0] = steps(noteArgs(dir, "a"))[0]
		if a := one(t, state, "apply", p); a.statuses() != "unchanged changed changed" {
			t.Errorf("deaf %t: the next run: got %s", deaf, a.statuses())
		}
	}
}

func TestUndo(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(filepath.Join(dir, "b"), []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	// Handlers come with both programs, and two tasks that notify change one file.
	c := begin(t, state)
	c.hello("apply")
	p := notes(dir, []wire.Handler{adds("one", log, 11)})
	p.Final, p.Flush = false, false
	c.run(p)
	p = &wire.Program{ID: 2, Flush: true, Final: true, Handlers: []wire.Handler{adds("two", log, 12), adds("three", log, 13), adds("not notified", log, 14)},
		Steps: steps("x", noteArgs(dir, "b"), noteArgs(dir, "b", `"text":"again"`), `do {"cmd":"echo it","undo":"echo took $SAID back >>`+log+`"}`, `do {"cmd":"true"}`)[1:]}
	p.Steps[0].Notify, p.Steps[1].Notify = []string{"two"}, []string{"three"}
	if a := c.run(p); a.statuses() != "changed changed changed changed changed changed changed" {
		t.Fatalf("got %s", a.statuses())
	}
	_ = c.end()
	run := last(t, state)
	_ = os.Remove(log)

	plan := undoing(t, state, &wire.Undo{Run: run.ID, Plan: true})
	if got := outcomes(plan); len(got) < 4 || read(t, log) != "" || read(t, filepath.Join(dir, "b")) != "again" {
		t.Errorf("plan: got %v, %q", got, read(t, log))
	}
	a := undoing(t, state, &wire.Undo{Run: run.ID})
	if read(t, filepath.Join(dir, "b")) != "before" || read(t, filepath.Join(dir, "a")) != "" {
		t.Errorf("got %q and %q, want what was before", read(t, filepath.Join(dir, "b")), read(t, filepath.Join(dir, "a")))
	}
	if got := read(t, log); got != "took it back\none\ntwo\nthree\n" {
		t.Errorf("got %q, want the command's undo and the handlers of what was taken back", got)
	}
	if got := outcomes(a); !slices.Contains(got, filepath.Join(dir, "a")+" undone") || !slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, " irreversible") }) {
		t.Errorf("got %v", got)
	}
	if todo := pendingOf(t, state); len(todo) > 0 || a.done.Error != "" {
		t.Errorf("got to do %v, error %q", todo, a.done.Error)
	}
	// Taken back twice, nothing is left to do; the undo is a run that can be taken back.
	if got := outcomes(undoing(t, state, &wire.Undo{Run: run.ID, Only: []string{filepath.Join(dir, "a")}})); !slices.Equal(got, []string{filepath.Join(dir, "a") + " already"}) {
		t.Errorf("again: got %v", got)
	}
	undo := ""
	for _, r := range welcomeRuns(t, state) {
		if r.UndoOf == run.ID {
			undo = r.ID // the oldest comes last
		}
	}
	undoing(t, state, &wire.Undo{Run: undo})
	if read(t, filepath.Join(dir, "a")) != "text" || read(t, filepath.Join(dir, "b")) != "again" {
		t.Errorf("the undo taken back: got %q and %q", read(t, filepath.Join(dir, "a")), read(t, filepath.Join(dir, "b")))
	}
}

func outcomes(a *answer) (out []string) {
	for _, u := range a.undone {
		out = append(out, u.Resource+" "+u.Status)
	}
	return out
}

func undoing(t *testing.T, state string, u *wire.Undo) *answer {
	t.Helper()
	c := begin(t, state)
	c.hello("undo")
	c.say(&wire.Message{Undo: u})
	a := c.rest()
	if a.done == nil {
		t.Fatalf("got %+v, want an end", a.refused)
	}
	_ = c.end()
	return a
}

func welcomeRuns(t *testing.T, state string) []wire.Run {
	t.Helper()
	c := begin(t, state)
	defer c.end() //nolint:errcheck // it did nothing
	return c.hello("undo").Runs
}

// Nobody listens any more: what was begun is brought to its end, and what could not be
// run is the host's to-do.
func TestUndoWithoutAListener(t *testing.T) {
	dir, state := place(t)
	log := filepath.Join(dir, "log")
	one(t, state, "apply", notes(dir, []wire.Handler{adds("reload", log, 11)}))
	run := last(t, state)
	_ = os.Remove(log)
	c := begin(t, state)
	c.hello("undo")
	c.say(&wire.Message{Undo: &wire.Undo{Run: run.ID}})
	_, _ = c.in.Close(), c.out.Close()
	_ = c.end()
	if read(t, filepath.Join(dir, "a")) != "" {
		t.Error("the file is still there")
	}
	if todo := pendingOf(t, state); read(t, log) == "" && !slices.Equal(todo, []string{"site/reload"}) {
		t.Errorf("the handler neither ran nor is to do: %v", todo)
	}
	if rec := last(t, state); rec.UndoOf != run.ID || rec.Status == "" {
		t.Errorf("got %+v, want a run with an end", rec.RunInfo)
	}
	one(t, state, "apply", &wire.Program{Flush: true})
	if got := read(t, log); got != "reload\n" {
		t.Errorf("got %q, want that the handler ran once", got)
	}
}
