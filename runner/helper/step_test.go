package helper_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

func TestOutcomes(t *testing.T) {
	dir, state := place(t)
	if err := os.WriteFile(filepath.Join(dir, "there"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, step string
		check      bool
		status     string
		want       string // in the error or the reason
		planned    string // the status in a plan
	}{
		{"unchanged", noteArgs(dir, "there"), false, "unchanged", "", "unchanged"},
		{"changed", noteArgs(dir, "new"), false, "changed", "", "changed"},
		{"cannot look", noteArgs(dir, "x", `"odd":"observe"`), false, "failed", "cannot look", "failed"},
		{"not known", noteArgs(dir, "x", `"odd":"unknown"`), false, "failed", "nobody knows", "unknown"},
		{"cannot apply", noteArgs(dir, "x", `"odd":"apply"`), false, "failed", "cannot write text", "failed"},
		{"not settled", noteArgs(dir, "x2", `"odd":"settle"`), false, "failed", `did not settle: after the change text is "something else", want "text"`, "changed"},
		{"as described", noteArgs(dir, "there"), true, "unchanged", "", "unchanged"},
		{"not as described", noteArgs(dir, "other"), true, "failed", "is not as described: text is", "changed"},
		{"ran", `do {}`, false, "changed", "", "ran"},
		{"ran and changed nothing", `do {"quiet":true}`, false, "ran", "", "ran"},
		{"only reads", `do {"reads":true}`, false, "unchanged", "", "unchanged"},
		{"only reads, to verify", `do {"reads":true}`, true, "unchanged", "", "unchanged"},
		{"may change, to verify", `do {}`, true, "failed", "cannot be used to verify", "ran"},
		{"skipped", `do {"skip":"not today"}`, false, "skipped", "not today", "skipped"},
		{"exits 3", `do {"cmd":"echo oh >&2; exit 3"}`, false, "failed", "exit 3: oh", "ran"},
		{"unknown module", `teleport {}`, false, "failed", `no module "teleport"`, "failed"},
		{"unknown field", noteArgs(dir, "x", `"colour":"red"`), false, "failed", "colour: unknown field", "failed"},
		{"missing field", `note {}`, false, "failed", "path: missing", "failed"},
		{"no mapping", `note [1]`, false, "failed", "want a mapping", "failed"},
		{"secret that did not come along", noteArgs(dir, "x", `"secret":{"$secret":9}`), false, "failed", "secret 9 did not come along", "failed"},
	}
	for _, tt := range tests {
		for _, mode := range []string{"plan", "apply"} {
			p := &wire.Program{Steps: steps(tt.step)}
			p.Steps[0].Check = tt.check
			a := one(t, state, mode, p)
			if len(a.results) != 1 || a.done == nil {
				t.Errorf("%s, %s: got %d results", tt.name, mode, len(a.results))
				continue
			}
			r, want := a.results[0], tt.status
			if mode == "plan" {
				want = tt.planned
			}
			if r.Status != want || mode == "apply" && !strings.Contains(r.Error+r.Reason, tt.want) {
				t.Errorf("%s, %s: got %s (%s%s), want %s (%s)", tt.name, mode, r.Status, r.Error, r.Reason, want, tt.want)
			}
			if failed := a.done.Failed != 0; failed != (want == "failed") {
				t.Errorf("%s, %s: got a program that failed %t", tt.name, mode, failed)
			}
		}
	}
}

func TestAFailureEndsTheProgram(t *testing.T) {
	dir, state := place(t)
	p := &wire.Program{Steps: steps(noteArgs(dir, "a"), noteArgs(dir, "b", `"odd":"apply"`), noteArgs(dir, "c"))}
	if a := one(t, state, "apply", p); a.statuses() != "changed failed" || a.done.Failed != 2 || len(a.started) != 2 {
		t.Errorf("got %s and %+v", a.statuses(), a.done)
	}
	p = &wire.Program{Steps: steps(noteArgs(dir, "d", `"odd":"apply"`), noteArgs(dir, "c"))}
	p.Steps[0].Ignore = true
	if a := one(t, state, "apply", p); a.statuses() != "ignored changed" || a.done.Failed != 0 {
		t.Errorf("with a failure to ignore: got %s and %+v", a.statuses(), a.done)
	}
}

func TestRetries(t *testing.T) {
	dir, state := place(t)
	tries := 0
	name := hook(t, func(context.Context, task.Writer) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	p := &wire.Program{Steps: steps(noteArgs(dir, "a", `"hook":"`+name+`"`)), Handlers: []wire.Handler{{Name: "reload", Steps: steps("do {}")}}}
	p.Steps[0].Retries, p.Steps[0].Delay, p.Steps[0].Notify = 5, time.Millisecond, []string{"reload"}
	a := one(t, state, "apply", p)
	if r := a.results[0]; r.Status != "changed" || r.Attempts != 3 || len(r.Queued) != 1 || r.Error != "" {
		t.Errorf("got %+v, want the third attempt to have changed it and queued the handler", r)
	}
	p.Steps[0].Retries = 1
	tries = -10
	_ = os.Remove(filepath.Join(dir, "a"))
	if r := one(t, state, "apply", p).results[0]; r.Status != "failed" || r.Attempts != 2 || r.Error != "not yet" {
		t.Errorf("got %+v, want a failure after 2 attempts", r)
	}
}

func TestTimeLimit(t *testing.T) {
	dir, state := place(t)
	name := hook(t, func(ctx context.Context, _ task.Writer) error {
		<-ctx.Done()
		return ctx.Err()
	})
	p := &wire.Program{Steps: steps(noteArgs(dir, "a", `"hook":"`+name+`"`))}
	p.Steps[0].Timeout = 30 * time.Millisecond
	if r := one(t, state, "apply", p).results[0]; r.Status != "failed" || !strings.Contains(r.Error, "took longer than its time limit of 30ms") {
		t.Errorf("got %+v", r)
	}
	// The whole tree of a command goes, what ignores the request included.
	mark := filepath.Join(dir, "alive")
	p = &wire.Program{Steps: steps(`do {"cmd":"(while :; do sleep 0.05; echo x >>` + mark + `; done) & sleep 60"}`)}
	p.Steps[0].Timeout = 200 * time.Millisecond
	began := time.Now()
	if r := one(t, state, "apply", p).results[0]; r.Status != "failed" || !strings.Contains(r.Error, "time limit") || time.Since(began) > 45*time.Second {
		t.Errorf("got %+v after %v", r, time.Since(began))
	}
	_ = os.Remove(mark)
	time.Sleep(200 * time.Millisecond)
	if _, err := os.Stat(mark); err == nil {
		t.Error("a child of the command goes on")
	}
}

func TestRegisterAndDiff(t *testing.T) {
	dir, state := place(t)
	p := &wire.Program{Steps: steps(noteArgs(dir, "a"), noteArgs(dir, "b"), `do {"cmd":"echo said"}`, noteArgs(dir, "a"))}
	p.Steps[0].Register, p.Steps[2].Register, p.Steps[3].Register = true, true, true
	p.Steps[0].Diff = true
	a := one(t, state, "apply", p)
	var got []string
	for _, r := range a.results {
		got = append(got, string(r.State))
	}
	if want := `[{"text":"text"}  {"said":"said\n"} {"text":"text"}]`; fmt.Sprint(got) != want {
		t.Errorf("states: got %v, want %s", got, want)
	}
	if a.results[0].Changes[0].Diff == "" || a.results[1].Changes[0].Diff != "" {
		t.Errorf("diffs: got %q and %q, want only the one that was asked for", a.results[0].Changes[0].Diff, a.results[1].Changes[0].Diff)
	}
	for i, want := range []string{"", "", "it has no undo", ""} {
		if got := a.results[i].Irreversible; got != want {
			t.Errorf("step %d: got irreversible %q, want %q", i+1, got, want)
		}
	}
}

const token = "hunter22-canary"

// mentions returns the files below a folder that hold a text.
func mentions(t *testing.T, dir, text string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if strings.Contains(read(t, name), text) {
			out = append(out, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSecrets(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	c.tokens(token)
	a := c.run(&wire.Program{ID: 1, Steps: steps(noteArgs(dir, "a", `"secret":{"$secret":1}`), `do {"cmd":"echo $TOKEN; echo $TOKEN >&2","token":{"$secret":1}}`)})
	if a.statuses() != "changed changed" || read(t, filepath.Join(dir, "a")) != token {
		t.Errorf("got %s and %q", a.statuses(), read(t, filepath.Join(dir, "a")))
	}
	if b := fmt.Sprintf("%+v", a); strings.Contains(b, token) {
		t.Errorf("the secret came back: %s", b)
	}
	// They are for one program.
	if a = c.run(&wire.Program{ID: 2, Final: true, Steps: steps(noteArgs(dir, "b", `"secret":{"$secret":1}`))}); a.statuses() != "failed" {
		t.Errorf("the next program: got %s, want that the secret is gone", a.statuses())
	}
	_ = c.end()
	if files := mentions(t, state, token); len(files) > 0 {
		t.Errorf("the secret is kept in %v", files)
	}
}

// A step whose arguments reveal a secret leaves no trace of them: not on the wire, not
// in the journal, and not on the list of handlers to do.
func TestHidden(t *testing.T) {
	dir, state := place(t)
	c := begin(t, state)
	c.hello("apply")
	p := &wire.Program{ID: 1, Steps: steps(noteArgs(dir, "a", `"text":"`+token+`"`), `do {"cmd":"echo `+token+`","undo":"true"}`,
		noteArgs(dir, "b", `"odd":"apply"`, `"text":"`+token+`"`)), Handlers: []wire.Handler{{Name: "tell", Steps: steps(`do {"cmd":"echo ` + token + `"}`)}}}
	for i := range p.Steps {
		p.Steps[i].Hidden, p.Steps[i].Diff = true, true
	}
	p.Handlers[0].Steps[0].Hidden = true
	p.Steps[0].Notify = []string{"tell"}
	p.Steps[1].Register = true
	a := c.run(p)
	if a.statuses() != "changed changed failed" {
		t.Fatalf("got %s", a.statuses())
	}
	if string(a.results[1].State) != `{"said":"`+token+`\n"}` {
		t.Errorf("the registered result: got %s", a.results[1].State)
	}
	if !strings.Contains(a.results[1].Irreversible, "reveal a secret") {
		t.Errorf("got irreversible %q, want why its undo cannot run", a.results[1].Irreversible)
	}
	a.results[1].State = nil
	if b := fmt.Sprintf("%+v", a); strings.Contains(b, token) {
		t.Errorf("the secret came back: %s", b)
	}
	if files := mentions(t, state, token); len(files) > 0 {
		t.Errorf("the secret is kept in %v", files)
	}
	_ = c.end()
}

func TestContentOnDemand(t *testing.T) {
	dir, state := place(t)
	data := []byte(strings.Repeat("large ", 200_000))
	digest := task.DigestOf(data)
	args := fmt.Sprintf(`"content":{"$blob":%q,"size":%d}`, digest, len(data))
	c := begin(t, state)
	c.hello("apply")
	c.blobs[digest] = data
	if a := c.run(&wire.Program{ID: 1, Steps: steps(noteArgs(dir, "a", args), noteArgs(dir, "b", args), noteArgs(dir, "a", args))}); a.statuses() != "changed changed unchanged" {
		t.Errorf("got %s", a.statuses())
	}
	if got := read(t, filepath.Join(dir, "b")); got != string(data) {
		t.Errorf("got %d bytes, want %d", len(got), len(data))
	}
	other := strings.Repeat("ab", 32)
	a := c.run(&wire.Program{ID: 2, Steps: steps(noteArgs(dir, "c", `"content":{"$blob":"`+other+`","size":10}`))})
	if a.statuses() != "failed" || !strings.Contains(a.results[0].Error, "no such content") {
		t.Errorf("content that is not to be had: got %+v", a.results)
	}
	a = c.run(&wire.Program{ID: 3, Steps: steps(noteArgs(dir, "c", `"content":{"$blob":"`+digest+`","size":999999999999}`))})
	if a.statuses() != "failed" || !strings.Contains(a.results[0].Error, "over the limit") {
		t.Errorf("content that is too large: got %+v", a.results)
	}
	// Content that is not what it says ends the talk.
	c.blobs[other] = data
	a = c.run(&wire.Program{ID: 4, Steps: steps(noteArgs(dir, "d", `"content":{"$blob":"`+other+`","size":10}`))})
	if a.refused == nil && a.statuses() != "failed" {
		t.Errorf("content that is not what it says: got %+v", a)
	}
	if _, err := os.Stat(filepath.Join(dir, "d")); err == nil {
		t.Error("content that is not what it says was written")
	}
}

func TestLargeResults(t *testing.T) {
	dir, state := place(t)
	big := filepath.Join(dir, "big")
	text := strings.Repeat("x", 5<<20)
	if err := os.WriteFile(big, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	data := task.DigestOf([]byte(text))
	p := &wire.Program{Steps: steps(
		fmt.Sprintf(`note {"path":%q,"content":{"$blob":%q,"size":%d}}`, big, data, len(text)),
		noteArgs(dir, "big", `"odd":"apply"`), noteArgs(dir, "c"))}
	p.Steps[0].Register = true // a state of 5 MiB
	p.Steps[0].Ignore, p.Steps[1].Ignore, p.Steps[1].Diff = true, true, true
	a := one(t, state, "apply", p)
	if a.statuses() != "ignored ignored changed" || a.results[0].Error != "its result is too large to be registered" {
		t.Errorf("got %s, %q", a.statuses(), a.results[0].Error)
	}
	if r := a.results[1]; r.Error != "cannot write text" || len(r.Changes) != 1 || r.Changes[0].Diff != "" {
		t.Errorf("a change with 5 MiB on one side: got %.100q and %d changes", r.Error, len(r.Changes))
	}
}

func TestProgressIsPaced(t *testing.T) {
	_, state := place(t)
	began := time.Now()
	a := one(t, state, "apply", &wire.Program{Steps: steps(`do {"cmd":"yes 'a line of the output that nobody reads' | head -c 50000000; echo; sleep 0.3; echo the end; sleep 0.3"}`)})
	if a.statuses() != "changed" {
		t.Fatalf("got %+v", a.results)
	}
	most := int(time.Since(began)/(200*time.Millisecond)) + 2
	if n := len(a.progress); n < 2 || n > most || a.progress[n-1] != "the end" {
		t.Errorf("got %d texts, the last %q, want at most %d and the last line", n, a.progress[max(0, n-1)], most)
	}
	p := &wire.Program{Steps: steps(`do {"cmd":"echo ` + token + `; sleep 0.3; echo ` + token + `"}`)}
	p.Steps[0].Hidden = true
	if a := one(t, state, "apply", p); len(a.progress) > 0 {
		t.Errorf("a hidden step said %q", a.progress)
	}
}

func TestBinaryOutput(t *testing.T) {
	_, state := place(t)
	p := &wire.Program{Steps: steps(`do {"cmd":"head -c 300000 /dev/urandom; printf '\\033[2J\\000\\377'"}`)}
	p.Steps[0].Register = true
	a := one(t, state, "apply", p)
	if a.statuses() != "changed" || !json.Valid(a.results[0].State) {
		t.Errorf("got %s", a.statuses())
	}
}

func TestCommandThatLeavesAChildWithItsOutput(t *testing.T) {
	_, state := place(t)
	began := time.Now()
	a := one(t, state, "apply", &wire.Program{Steps: steps(`do {"cmd":"sleep 30 & echo started"}`)})
	if a.statuses() != "changed" || time.Since(began) > 25*time.Second {
		t.Errorf("got %s after %v", a.statuses(), time.Since(began))
	}
}

// One converged task costs little: a start and a result, and less than a kilobyte with
// its part of the program.
func TestCostOfAConvergedProgram(t *testing.T) {
	dir, state := place(t)
	var lines []string
	for i := range 30 {
		lines = append(lines, noteArgs(dir, fmt.Sprintf("file-with-a-usual-name-%02d.conf", i)))
	}
	p := &wire.Program{ID: 1, Flush: true, Final: true, Steps: steps(lines...)}
	if a := one(t, state, "apply", p); len(a.results) != 30 {
		t.Fatalf("got %d results", len(a.results))
	}
	c := begin(t, state)
	c.hello("apply")
	before := c.frames.Load()
	a := c.run(p)
	if a.statuses() != strings.TrimSpace(strings.Repeat("unchanged ", 30)) {
		t.Fatalf("got %s", a.statuses())
	}
	if got := c.frames.Load(); got != 30*2+1 {
		t.Errorf("got %d messages (%d before), want a start and a result for each step, and one end", got, before)
	}
	sent, err := json.Marshal(wire.Message{Program: p})
	if err != nil {
		t.Fatal(err)
	}
	if each := (int(c.bytes.Load()) + len(sent)) / 30; each > 1000 {
		t.Errorf("got %d bytes for each task, want at most 1000", each)
	}
	_ = c.end()
}
