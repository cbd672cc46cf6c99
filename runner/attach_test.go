package runner_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/wire"
)

const longer = `
tasks:
  - put: {key: one}
  - say: {text: two}
    register: r
  - put: {key: three, value: "${r.text}", text: some content}
    notify: [reload]
  - say: {text: four}
handlers:
  reload: {say: {text: reloaded}}
`

// cutAfter cuts the first connection after n messages of the helper.
func cutAfter(n int) func(*wire.Message) (*wire.Message, bool) {
	var said atomic.Int64
	return func(m *wire.Message) (*wire.Message, bool) { return m, said.Add(1) != int64(n) }
}

// A connection that is lost at any moment after the welcome is made anew, and the run
// does everything once and reports it once.
func TestLostAtEveryMessage(t *testing.T) {
	plain := hosts(t, 1)
	want := run(t, play{text: longer, hosts: plain})
	done := plain[0].done()
	for n := 2; n < 30; n++ {
		h := hosts(t, 1)
		o := run(t, play{text: longer, hosts: h, reattach: time.Minute, answers: map[string]func(*wire.Message) (*wire.Message, bool){"a": cutAfter(n)}})
		got := strings.Join(without(strings.Split(o.ends("a"), "\n"), "warning"), "\n")
		if got != want.ends("a") || o.fin.Code != 0 {
			t.Errorf("cut after %d messages: got code %d and\n%s\nwant\n%s", n, o.fin.Code, got, want.ends("a"))
		}
		if got := h[0].done(); got != done {
			t.Errorf("cut after %d messages: done %q, want %q", n, got, done)
		}
	}
}

func without(lines []string, start string) (out []string) {
	for _, l := range lines {
		if !strings.HasPrefix(l, start) {
			out = append(out, l)
		}
	}
	return out
}

// Without a time to wait the run ends where it was, as it always did.
func TestLostForGood(t *testing.T) {
	h := hosts(t, 1)
	o := run(t, play{text: longer, hosts: h, answers: map[string]func(*wire.Message) (*wire.Message, bool){"a": cutAfter(3)}})
	if o.fin.Code != runner.CodeUnreachable || strings.Contains(h[0].done(), "four") {
		t.Errorf("got code %d", o.fin.Code)
	}
}

// dies makes a run whose controller dies at a moment: its connection ends, nothing more
// is said, and it does not come back.
func dies(t *testing.T, p play, moment <-chan struct{}) {
	t.Helper()
	p.reattach, p.kill, p.stop = time.Hour, make(chan struct{}), make(chan struct{})
	opts := p.options(t, &recorder{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		runner.Run(context.Background(), opts)
	}()
	<-moment
	close(p.kill)
	time.Sleep(50 * time.Millisecond) // it sees that the connection is gone before it is told to stop
	close(p.stop)
	<-over
}

// A run whose task waits for content of a controller that is gone gives way too.
func TestNewRunDisplacesOneThatWaitsForContent(t *testing.T) {
	h := hosts(t, 1)
	asked := make(chan struct{})
	p := play{text: "tasks: [{put: {key: one, text: " + strings.Repeat("x", 100_000) + "}}]", hosts: h, id: "r1"}
	p.answers = map[string]func(*wire.Message) (*wire.Message, bool){"a": func(m *wire.Message) (*wire.Message, bool) {
		if m.NeedBlob != nil {
			close(asked)
			return nil, true // it never hears of it
		}
		return m, true
	}}
	dies(t, p, asked)
	o := run(t, play{text: "tasks: [{put: {key: two}}]", hosts: h})
	if got := h[0].done(); o.fin.Code != 0 || got != "put two=on" {
		t.Errorf("got code %d and %q\n%s", o.fin.Code, got, o.ends("a"))
	}
}

// A run that is detached goes on alone, and somebody else can follow it to its end.
func TestDetach(t *testing.T) {
	h := hosts(t, 1)
	const text = `
tasks:
  - put: {key: one, text: some content}
    notify: [reload]
  - say: {text: long, hold: true}
  - put: {key: two, text: some content}
handlers:
  reload: {say: {text: reloaded}}
`
	o := run(t, play{text: text, hosts: h, detach: true, id: "r1"})
	if o.fin.Code != 0 || o.fin.Detached != 1 || o.status("a") != event.HostDetached {
		t.Fatalf("got %+v", o.fin)
	}
	<-h[0].reached
	ended := make(chan outcome)
	go func() { ended <- run(t, play{text: text, hosts: h, mode: event.Attach, attach: "r1"}) }()
	time.Sleep(100 * time.Millisecond) // it follows by now, or hears all the same later
	close(h[0].gate)
	o = <-ended
	if want := "changed 2 put\nqueue reload\nchanged 3 say\nchanged 4 put\nchanged 1 say | reload\nok"; o.ends("a") != want || o.fin.Code != 0 {
		t.Errorf("got code %d and\n%s\nwant\n%s", o.fin.Code, o.ends("a"), want)
	}
	if got := h[0].done(); got != "put one=on, say long, put two=on, say reloaded" {
		t.Errorf("done %q", got)
	}
	// Later it is only known how it ended; its helper may take a moment to go.
	for range 100 {
		if o = run(t, play{text: text, hosts: h, mode: event.Attach, attach: "r1"}); strings.Contains(o.ends("a"), "has ended") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(o.ends("a"), "has ended: succeeded") || o.fin.Code != 0 {
		t.Errorf("got code %d and\n%s", o.fin.Code, o.ends("a"))
	}
	o = run(t, play{text: text, hosts: h, mode: event.Attach, attach: "r2"})
	if !strings.Contains(o.ends("a"), `knows no run "r2"`) || o.fin.Code != runner.CodeFailed {
		t.Errorf("got code %d and\n%s", o.fin.Code, o.ends("a"))
	}
}

// What needs the controller in the middle is refused before anything is done.
func TestDetachRefused(t *testing.T) {
	for _, text := range []string{
		"tasks: [{say: {text: x}, register: r}, {name: later, put: {key: k, value: '${r.text}'}}]",
		"tasks: [{put: {key: k}}, {name: later, look: {key: k}, on: controller}]",
		"tasks: [{put: {key: k}}, {name: later, tasks: [{put: {key: l}}], rescue: [{put: {key: m}}]}]",
	} {
		h := hosts(t, 1)
		o := run(t, play{text: text, hosts: h, near: newWorld(t, "controller"), detach: true})
		if got := h[0].done(); got != "" || o.fin.Code != runner.CodeFailed || !strings.Contains(o.ends("a"), `"later" needs the controller`) {
			t.Errorf("%s: did %q, code %d, %s", text, got, o.fin.Code, o.ends("a"))
		}
	}
}

// A run that has lost its controller gives way to the next one, but not in the middle of
// a task.
func TestNewRunDisplacesALostOne(t *testing.T) {
	h := hosts(t, 1)
	const text = "tasks: [{put: {key: one}}, {say: {text: long, hold: true}}, {put: {key: two}}]"
	dies(t, play{text: text, hosts: h, id: "r1"}, h[0].reached)
	o := run(t, play{text: "tasks: [{put: {key: three}}]", hosts: h})
	if o.fin.Code != runner.CodeFailed || !strings.Contains(o.ends("a"), "another run works on this host: run r1") {
		t.Errorf("in the middle of a task: got code %d and %s", o.fin.Code, o.ends("a"))
	}
	close(h[0].gate)
	for range 100 { // until the task has ended
		if o = run(t, play{text: "tasks: [{put: {key: three}}]", hosts: h}); o.fin.Code == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := h[0].done(); got != "put one=on, say long, put three=on" || o.fin.Code != 0 {
		t.Errorf("got %q and code %d", got, o.fin.Code)
	}
}
