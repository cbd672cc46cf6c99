package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

type answers = map[string]func(*wire.Message) (*wire.Message, bool)

func TestOneHostFailsOthersProceed(t *testing.T) {
	h := hosts(t, 3)
	o := run(t, play{hosts: h, text: `
tasks:
  - put: {key: a}
  - put: {key: b, fail: "${host.name == 'b'}"}
  - put: {key: c, value: "${host.labels.name}"}
`})
	for i, want := range []string{"put a=on, put b=on, put c=a", "put a=on, put b failed", "put a=on, put b=on, put c=c"} {
		if got := h[i].done(); got != want {
			t.Errorf("%s did %q, want %q", h[i].name, got, want)
		}
	}
	if o.fin.Code != runner.CodeFailed || o.fin.OK != 2 || o.fin.Failed != 1 || o.fin.Hosts != 3 || o.fin.Changed != 3 {
		t.Errorf("got %+v", o.fin)
	}
}

func TestCodesAndTheirWeights(t *testing.T) {
	route := errors.New("no route to host")
	key := &remote.HostKey{Host: "b", Address: "b:22", Fingerprint: "SHA256:x"}
	lose := func(m *wire.Message) (*wire.Message, bool) { return m, m.Started == nil }
	lie := func(m *wire.Message) (*wire.Message, bool) {
		if m.Done != nil {
			m.Done.ID = 77
		}
		return m, true
	}
	tests := []struct {
		name        string
		fail        string // hosts whose task fails
		unreachable map[string]error
		answers     answers
		code        int
		statuses    string
		says        string
	}{
		{name: "all is well", code: 0, statuses: "ok ok ok"},
		{name: "a failure", fail: "b", code: runner.CodeFailed, statuses: "ok failed ok", says: "no room"},
		{name: "an unreachable host", unreachable: map[string]error{"b": route}, code: runner.CodeUnreachable, statuses: "ok unreachable ok", says: "unreached | no route to host"},
		{name: "an unknown key", unreachable: map[string]error{"b": key}, code: runner.CodeUnreachable, statuses: "ok unreachable ok", says: "b:22"},
		{name: "a failure weighs more", fail: "a", unreachable: map[string]error{"c": route}, code: runner.CodeFailed, statuses: "failed ok unreachable"},
		{name: "a host that is lost", answers: answers{"b": lose}, code: runner.CodeUnreachable, statuses: "ok unreachable ok", says: "lost the connection"},
		{name: "a host that lies", answers: answers{"b": lie}, code: runner.CodeFailed, statuses: "ok failed ok", says: "failed 0 talk to the host | broken protocol: program 1 was answered as 77"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hosts(t, 3)
			o := run(t, play{hosts: h, unreachable: tt.unreachable, answers: tt.answers, params: map[string]string{"fail": tt.fail}, text: `
params: {fail: {type: string, default: ""}}
tasks: [{put: {key: a, fail: "${host.name == params.fail}"}}]
`})
			got := strings.Join([]string{string(o.status("a")), string(o.status("b")), string(o.status("c"))}, " ")
			if o.fin.Code != tt.code || got != tt.statuses {
				t.Errorf("got code %d and %s, want %d and %s", o.fin.Code, got, tt.code, tt.statuses)
			}
			if !strings.Contains(tell(o.events), tt.says) {
				t.Errorf("the events do not say %q\n%s", tt.says, tell(o.events))
			}
		})
	}
}

func TestLostInTheMiddle(t *testing.T) {
	h := hosts(t, 2)
	started := 0
	o := run(t, play{hosts: h, text: "tasks: [{put: {key: a}}, {put: {key: b}}, {put: {key: c}}]", answers: answers{"a": func(m *wire.Message) (*wire.Message, bool) {
		if m.Started != nil {
			started++
		}
		return m, m.Result == nil || started < 2
	}}})
	want := "changed 1 put\nfailed 2 put | the host did not say how it ended\nunreached | lost the connection: the helper ended\nunreachable"
	if got := o.ends("a"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if o.status("b") != event.HostOK {
		t.Errorf("b: %s", o.status("b"))
	}
	for _, e := range o.events {
		if u := e.HostUnreached; u != nil && (!u.Lost || !strings.Contains(u.Hint, "again")) {
			t.Errorf("got %+v", u)
		}
	}
}

func TestForks(t *testing.T) {
	h := hosts(t, 9)
	var mu sync.Mutex
	now, most := 0, 0
	p := play{hosts: h, forks: 3, text: "tasks: [{put: {key: a}}]"}
	rec := &recorder{}
	opts := p.options(t, rec)
	inner := opts.Connect
	opts.Connect = func(ctx context.Context, ih *inventory.Host) (remote.Conn, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		c, err := inner(ctx, ih)
		return &counted{c, func() {
			mu.Lock()
			defer mu.Unlock()
			now--
		}}, err
	}
	fin := runner.Run(context.Background(), opts)
	checkStream(t, rec.list, fin)
	if most != 3 || fin.OK != 9 {
		t.Errorf("%d hosts at a time, want 3; %+v", most, fin)
	}
}

type counted struct {
	remote.Conn
	closed func()
}

func (c *counted) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

func TestInterruptSoft(t *testing.T) {
	h := hosts(t, 3)
	stop := make(chan struct{})
	go func() {
		<-h[0].reached
		close(stop)
		time.Sleep(50 * time.Millisecond)
		close(h[0].gate)
	}()
	o := run(t, play{hosts: h, forks: 1, stop: stop, text: `
tasks:
  - put: {key: a}
    notify: h
  - say: {text: long, hold: true}
  - put: {key: b}
handlers: {h: {say: {text: h}}}
`})
	want := "changed 2 put\nqueue h\nchanged 3 say\nwarning | these handlers wait for the next run: h\ninterrupted"
	if got := o.ends("a"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := h[0].done(); got != "put a=on, say long" {
		t.Errorf("done %s", got)
	}
	if o.status("b") != event.HostNotStarted || o.status("c") != event.HostNotStarted || h[1].done() != "" {
		t.Errorf("the others: %s, %s", o.status("b"), o.status("c"))
	}
	if o.fin.Code != runner.CodeInterrupted || !o.fin.Interrupted || o.fin.Hosts != 3 {
		t.Errorf("got %+v", o.fin)
	}
	// The next run finishes what is pending.
	o = run(t, play{hosts: h[:1], text: "tasks: []"})
	if got, want := o.ends("a"), "queue h\nchanged 1000001 say | h\nok"; got != want || h[0].done() != "say h" {
		t.Errorf("the next run: got\n%s\nwant\n%s", got, want)
	}
}

func TestInterruptHard(t *testing.T) {
	h := hosts(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-h[0].reached
		<-h[1].reached
		cancel()
	}()
	o := run(t, play{hosts: h, ctx: ctx, text: "tasks: [{say: {text: long, hold: true}}, {put: {key: b}}]"})
	for i := range h {
		if o.status(h[i].name) != event.HostInterrupted || h[i].done() != "say long ended" {
			t.Errorf("%s: %s", h[i].name, o.ends(h[i].name))
		}
	}
	if o.fin.Code != runner.CodeInterrupted {
		t.Errorf("got %+v", o.fin)
	}
}

// A host whose answers hang is ended by its time limit; a retry that waits hears the interrupt.
func TestInterruptWhileWaiting(t *testing.T) {
	h := hosts(t, 1)
	stop := make(chan struct{})
	time.AfterFunc(100*time.Millisecond, func() { close(stop) })
	o := run(t, play{hosts: h, stop: stop, text: "tasks: [{say: {text: a}, retry: {times: 9, delay: 1h, until: 'false'}}]"})
	if o.status("a") != event.HostInterrupted {
		t.Errorf("got %s", o.ends("a"))
	}
}

func TestRunsThatNeverStart(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := run(t, play{hosts: hosts(t, 2), ctx: ctx, text: "tasks: []"})
	if o.fin.Code != runner.CodeInterrupted || o.status("a") != event.HostNotStarted {
		t.Errorf("got %+v\n%s", o.fin, tell(o.events))
	}
}

// What a host says is shown, so it must not be able to steer a terminal.
func TestHostileTexts(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[31mred\u202eevil\u2066\u009b2J\u200b\r\nnext\u2028line\ttab"
	say := func(m *wire.Message) (*wire.Message, bool) {
		switch {
		case m.Welcome != nil:
			m.Welcome.Build, m.Welcome.Facts.OS.Name = evil, evil
			m.Welcome.Pending = append(m.Welcome.Pending, wire.PendingHandler{Name: evil, Run: evil})
		case m.Result != nil:
			r := m.Result
			r.Resource, r.Reason, r.Error, r.Hint, r.Tentative, r.Output, r.Irreversible = evil, evil, evil, evil, evil, evil, evil
			r.Changes = append(r.Changes, task.Change{Attr: evil, Before: evil, After: evil, Diff: evil, Kind: evil})
			r.Queued = []string{evil}
		case m.Done != nil:
			m.Done.Pending = []string{evil}
			m.Done.Cancelled = true
		}
		return m, true
	}
	o := run(t, play{hosts: hosts(t, 2), answers: answers{"a": say}, text: "tasks: [{put: {key: a}}]"})
	shown := 0
	for _, e := range o.events {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back any
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		walk(back, func(s string) {
			if hostile(s) || strings.ContainsAny(s, "\u2028\u200b") {
				t.Errorf("%s has the text %q", e.Kind(), s)
			}
			if strings.Contains(s, "red·evil") {
				shown++
			}
		})
	}
	if shown < 10 {
		t.Errorf("only %d hostile texts were shown at all", shown)
	}
	if o.status("b") != event.HostOK {
		t.Errorf("b: %s", o.ends("b"))
	}
}

func walk(v any, see func(string)) {
	switch v := v.(type) {
	case string:
		see(v)
	case []any:
		for _, item := range v {
			walk(item, see)
		}
	case map[string]any:
		for k, item := range v {
			see(k)
			walk(item, see)
		}
	}
}

// A result of the wrong type fails the host that gave it, and no other.
func TestWronglyTypedResults(t *testing.T) {
	for name, state := range map[string]string{"a number for a text": `{"text":5}`, "no object": `[1]`, "a text for a number": `{"times":"x"}`, "a list of numbers": `{"words":[1]}`} {
		t.Run(name, func(t *testing.T) {
			h := hosts(t, 3)
			o := run(t, play{hosts: h, text: "tasks: [{say: {text: a}, register: r}, {put: {key: k, value: '${r.text}'}}]", answers: answers{"b": func(m *wire.Message) (*wire.Message, bool) {
				if m.Result != nil && len(m.Result.State) > 0 {
					m.Result.State = json.RawMessage(state)
				}
				return m, true
			}}})
			if o.status("b") != event.HostFailed || !strings.Contains(o.ends("b"), `cannot read the result of "say"`) || h[1].done() != "say a" {
				t.Errorf("b: %s", o.ends("b"))
			}
			if o.status("a") != event.HostOK || o.status("c") != event.HostOK || h[0].done() != "say a, put k=a" {
				t.Errorf("the others: %s\n%s", o.ends("a"), o.ends("c"))
			}
		})
	}
}

func TestHostsThatLie(t *testing.T) {
	tests := []struct {
		name string
		lie  func(m *wire.Message) (*wire.Message, bool)
		want string
	}{
		{"no result at all", func(m *wire.Message) (*wire.Message, bool) {
			if m.Started != nil || m.Result != nil {
				return nil, true
			}
			return m, true
		}, "broken protocol: the end came without step 1"},
		{"a result without a state", func(m *wire.Message) (*wire.Message, bool) {
			if m.Result != nil {
				m.Result.State = nil
			}
			return m, true
		}, `"r" has no value here`},
		{"a result of another step", func(m *wire.Message) (*wire.Message, bool) {
			if m.Result != nil {
				m.Result.N = 7
			}
			return m, true
		}, "broken protocol: a result came for step 7"},
		{"an error at the end", func(m *wire.Message) (*wire.Message, bool) {
			if m.Done != nil {
				m.Done.Error = "the disk is\x1b[0m full"
			}
			return m, true
		}, "the disk is·[0m full"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hosts(t, 2)
			o := run(t, play{hosts: h, answers: answers{"a": tt.lie}, text: "tasks: [{say: {text: a}, register: r}, {put: {key: k, value: '${r.text}'}}]"})
			if o.status("a") != event.HostFailed || !strings.Contains(o.ends("a"), tt.want) || o.status("b") != event.HostOK {
				t.Errorf("got\n%s\nwant %q", tell(o.events), tt.want)
			}
		})
	}
}

func TestSecretsTravelBesideThePlay(t *testing.T) {
	const canary = "c4n4ry-value"
	h := hosts(t, 1)
	o := run(t, play{hosts: h, secrets: map[string]string{"env:A": canary}, text: `
params: {pw: {type: secret, default: "env:A"}}
tasks:
  - put: {key: a, secret: "${params.pw}"}
  - put: {key: b, secret: '${secret("env:A")}', value: x}
  - put: {key: '${reveal(params.pw)}', fail: true}
`})
	for _, s := range texts(o.events) {
		if strings.Contains(s, canary) {
			t.Errorf("the secret shows in %s", s)
		}
	}
	if got := h[0].done(); got != "put a=on, put b=x, put "+canary+" failed" {
		t.Errorf("done %s", got)
	}
}

// More than one frame holds is sent in pieces.
func TestLargePlays(t *testing.T) {
	h := hosts(t, 1)
	text := "tasks:\n"
	for i := range 40 {
		text += fmt.Sprintf("  - say: {text: 't%d', words: ['%s']}\n", i, strings.Repeat("x", 100_000))
	}
	o := run(t, play{hosts: h, text: text})
	if o.fin.Code != 0 || h[0].programs < 4 || h[0].programs > 8 {
		t.Errorf("got %d programs and %+v", h[0].programs, o.fin)
	}
	if got := strings.Count(h[0].done(), "say"); got != 40 {
		t.Errorf("%d tasks ran, want 40", got)
	}
}

func TestContentIsFetched(t *testing.T) {
	h := hosts(t, 2)
	o := run(t, play{hosts: h, text: "tasks: [{put: {key: a, text: '" + strings.Repeat("long ", 300) + "${host.name}'}}]"})
	if o.fin.Code != 0 {
		t.Errorf("got\n%s", tell(o.events))
	}
}

func TestManyHosts(t *testing.T) {
	const n = 500
	h := hosts(t, n)
	before := runtime.NumGoroutine()
	p := play{hosts: h, mode: event.Verify, text: "tasks: []\nverify:\n" + strings.Repeat("  - look: {key: '${host.name}'}\n", 10)}
	var most uint64
	var mu sync.Mutex
	seen := 0
	sink := event.SinkFunc(func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen%2000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	})
	opts := p.options(t, sink)
	fin := runner.Run(context.Background(), opts)
	if fin.OK != n || fin.Code != 0 {
		t.Fatalf("got %+v", fin)
	}
	if most > 200<<20 {
		t.Errorf("the heap grew to %d MiB", most>>20)
	}
	for range 100 {
		if runtime.NumGoroutine() <= before+2 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines are left of %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

func TestUndo(t *testing.T) {
	h := hosts(t, 1)
	file := filepath.Join(t.TempDir(), "f")
	run(t, play{hosts: h, id: "20260101-000000-aaaaaaaa", params: map[string]string{"f": file}, text: `
params: {f: {type: string, required: true}}
tasks: [{write: {path: "${params.f}"}, notify: h}]
handlers: {h: {say: {text: h}}}
`})
	if _, err := os.Stat(file); err != nil || h[0].done() != "say h" {
		t.Fatal(err)
	}
	tests := []struct {
		name, run string
		mode      event.Mode
		want      string
		there     bool
	}{
		{"a run that nobody knows", "20991231", event.Undo, "warning | nothing to take back: this host knows no run 20991231\nok", true},
		{"a name that is too short", "202", event.Undo, "warning | nothing to take back: this host knows no run 202\nok", true},
		{"a plan", "last", event.UndoPlan, "warning | the last run that changed something here is 20260101-000000-aaaaaaaa\nundone " + file + "\nok", true},
		{"by the beginning of its name", "20260101-0000", event.Undo, "undone " + file + "\nok", false},
		{"again", "last", event.Undo, "warning | nothing to take back: no run is left that changed something here\nok", false},
	}
	for i, tt := range tests {
		rec := &recorder{}
		opts := play{hosts: h, id: fmt.Sprintf("20260101-00000%d-bbbbbbbb", i+1), text: "tasks: []"}.options(t, rec)
		opts.Mode, opts.Bound, opts.Playbook = tt.mode, nil, nil
		opts.Undo = runner.UndoOptions{Run: tt.run, Plan: tt.mode == event.UndoPlan}
		fin := runner.Run(context.Background(), opts)
		checkStream(t, rec.list, fin)
		_, err := os.Stat(file)
		if got := (outcome{events: rec.list}).ends("a"); got != tt.want || (err == nil) != tt.there {
			t.Errorf("%s: the file: %v, got\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
	if got := h[0].done(); got != "say h" {
		t.Errorf("the handler ran %q after the undo", got)
	}
}

func TestNewID(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600))
	a, b := runner.NewID(at), runner.NewID(at.Add(time.Second))
	if !strings.HasPrefix(a, "20260102-020405-") || a >= b || len(a) != 24 {
		t.Errorf("got %q and %q", a, b)
	}
}
