package render_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/cmd/render"
	"holdfast/runner/event"
)

// TestEveryKind fails when event.Event gets a kind that the text does not know.
func TestEveryKind(t *testing.T) {
	typ := reflect.TypeOf(event.Event{})
	kinds := 0
	for i := range typ.NumField() {
		if typ.Field(i).Type.Kind() != reflect.Pointer {
			continue
		}
		kinds++
		e := event.Event{Host: "sb1"}
		reflect.ValueOf(&e).Elem().Field(i).Set(reflect.New(typ.Field(i).Type.Elem()))
		var out bytes.Buffer
		r := render.New(render.Options{Out: &out, Verbose: true})
		r.Emit(e)
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", e.Kind(), err)
		}
		if strings.Contains(out.String(), "unknown event") {
			t.Errorf("%s: got %q, want a text of its own", e.Kind(), out.String())
		}
	}
	if kinds < 12 {
		t.Errorf("got %d kinds, want 12 or more", kinds)
	}
}

func TestUnknownKind(t *testing.T) {
	var out bytes.Buffer
	r := render.New(render.Options{Out: &out})
	r.Emit(event.Event{Unknown: "teleported", Host: "sb1"})
	r.Emit(event.Event{Unknown: "paused"})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "sb1  unknown event: teleported\nunknown event: paused\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONIsTheStream(t *testing.T) {
	var out bytes.Buffer
	r := render.New(render.Options{Out: &out, Format: render.JSON, Live: true, Color: true})
	for _, e := range small("sb1") {
		r.Emit(e)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.Emit(event.Event{Warning: &event.Warning{Message: "after the end"}})
	n := 0
	for l := range strings.Lines(out.String()) {
		n++
		if !json.Valid([]byte(l)) {
			t.Errorf("line %d is no JSON: %q", n, l)
		}
	}
	if want := len(small("sb1")); n != want {
		t.Errorf("got %d lines, want %d", n, want)
	}
	var text bytes.Buffer
	if err := render.Replay(&out, render.Options{Out: &text}); err != nil || !strings.Contains(text.String(), "apply done") {
		t.Errorf("got %v and %q, want the run", err, text.String())
	}
}

func TestNewerProtocol(t *testing.T) {
	in := `{"time":"2026-11-21T01:40:00Z","run_started":{"protocol":99,"run":"x","mode":"apply","hosts":[],"tasks":0}}`
	err := render.Replay(strings.NewReader(in), render.Options{Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "protocol 99") {
		t.Errorf("got %v, want a refusal of protocol 99", err)
	}
}

// brokenWriter fails like a pipe that nobody reads.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestErrorsOfWriting(t *testing.T) {
	for _, format := range []string{render.Text, render.JSON} {
		r := render.New(render.Options{Out: brokenWriter{}, Format: format})
		for _, e := range small("sb1") {
			r.Emit(e)
		}
		for range 2 {
			if err := r.Close(); err == nil || err.Error() != "broken pipe" {
				t.Errorf("%s: got %v, want broken pipe", format, err)
			}
		}
	}
}

// stuckWriter is a terminal that shows nothing until it is let go.
type stuckWriter struct{ release chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w.release
	return len(p), nil
}

// TestEmitWaitsForNobody emits to a terminal that is stopped, as with Ctrl-S.
func TestEmitWaitsForNobody(t *testing.T) {
	for _, live := range []bool{false, true} {
		w := stuckWriter{make(chan struct{})}
		r := render.New(render.Options{Out: w, Live: live})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 1000 {
				for _, e := range small("sb1") {
					r.Emit(e)
				}
			}
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("live %v: Emit waits for the terminal", live)
		}
		close(w.release)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestManyGoroutines is for the race detector, and for Close in the middle.
func TestManyGoroutines(t *testing.T) {
	for _, opts := range []render.Options{{}, {Live: true}, {Format: render.JSON}} {
		var out bytes.Buffer
		opts.Out = &out
		r := render.New(opts)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for _, e := range small("host" + string(rune('a'+i))) {
					r.Emit(e)
					time.Sleep(time.Millisecond)
				}
				if i == 7 {
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if out.Len() == 0 {
			t.Errorf("%+v: got nothing", opts)
		}
	}
}

// small is a stream of one host.
func small(host string) []event.Event {
	task := event.Task{Step: 1, Name: "motd", Module: "file", Resource: "/etc/motd"}
	return []event.Event{
		{RunStarted: &event.RunStarted{Protocol: 1, Run: "r1", Mode: event.Apply, Hosts: []string{host}, Tasks: 1}},
		{Host: host, HostConnected: &event.HostConnected{Address: "local", OS: "Debian"}},
		{Host: host, TaskStarted: &event.TaskStarted{Task: task}},
		{Host: host, Progress: &event.Progress{Task: task, Message: "writing"}},
		{Host: host, TaskFinished: &event.TaskFinished{Task: task, Status: event.Changed}},
		{Host: host, HostFinished: &event.HostFinished{Status: event.HostOK, Counts: event.Counts{Changed: 1}}},
		{RunFinished: &event.RunFinished{Hosts: 1, OK: 1, Changed: 1}},
	}
}
