package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

func start(p *peer, n int) { p.say(wire.Message{Started: &wire.Started{N: n}}) }

func result(p *peer, n int) { p.say(wire.Message{Result: &wire.Result{N: n, Status: "unchanged"}}) }

// stay keeps the talk open, as who wants to be waited for would.
func stay(p *peer) { _, _ = io.Copy(io.Discard, p.in) }

// endless does something until the near end has had enough.
func endless(p *peer, payload string) {
	for p.WriteFrame(wire.JSON, []byte(payload)) == nil {
	}
}

// hostile far ends get the program that the test describes: three steps with a limit
// of 60 ms each, the second one registered.
var hostile = []struct {
	name string
	far  func(p *peer)
	want string
}{
	{"garbage", func(p *peer) { _, _ = p.out.Write([]byte("bash: cannot set terminal process group\n")); stay(p) }, "broken protocol: a frame of"},
	{"4 GB frame", func(p *peer) { _, _ = p.out.Write([]byte{255, 255, 255, 255, 'J'}); stay(p) }, "a frame of 4294967295 bytes"},
	{"empty frame", func(p *peer) { _, _ = p.out.Write([]byte{0, 0, 0, 0, 'J'}); stay(p) }, "a frame of 0 bytes"},
	{"unknown kind of frame", func(p *peer) { _, _ = p.out.Write([]byte{0, 0, 0, 1, 'Z'}); stay(p) }, "unknown kind 'Z'"},
	{"frame that never comes", func(p *peer) {
		_, _ = p.out.Write([]byte{0, 0x40, 0, 0, 'J', '{'})
		stay(p)
	}, "said nothing within the time limit"},
	{"slow frame", func(p *peer) {
		b := []byte{0, 0, 1, 0, 'J'}
		for {
			if _, err := p.out.Write(b[:1]); err != nil {
				return
			}
			if b = b[1:]; len(b) == 0 {
				b = []byte(" ")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}, "said nothing within the time limit"},
	{"silence", stay, "said nothing within the time limit"},
	{"silence in a step", func(p *peer) { start(p, 1); stay(p) }, "said nothing within the time limit"},
	{"silence after a step", func(p *peer) { start(p, 1); result(p, 1); stay(p) }, "said nothing within the time limit"},
	{"endless nesting", func(p *peer) { _ = p.WriteFrame(wire.JSON, []byte(strings.Repeat(`{"result":`, 20_000))); stay(p) }, "not JSON"},
	{"endless array", func(p *peer) { _ = p.WriteFrame(wire.JSON, []byte(strings.Repeat("[", 200_000))); stay(p) }, "not JSON"},
	{"no JSON", func(p *peer) { _ = p.WriteFrame(wire.JSON, []byte("\x00\xff")); stay(p) }, "not JSON"},
	{"millions of changes", func(p *peer) {
		start(p, 1)
		_ = p.WriteFrame(wire.JSON, []byte(`{"result":{"n":1,"status":"changed","changes":[`+strings.TrimSuffix(strings.Repeat("{},", 200_000), ",")+"]}}"))
		stay(p)
	}, "too long"},
	{"endless progress", func(p *peer) {
		start(p, 1)
		endless(p, `{"progress":{"n":1,"message":"`+strings.Repeat("x", 1000)+`"}}`)
	}, "time limit"},
	{"progress before the first step", func(p *peer) { endless(p, `{"progress":{"n":1,"message":"x"}}`) }, "time limit"},
	{"large progress", func(p *peer) {
		start(p, 1)
		endless(p, `{"progress":{"n":1,"message":"`+strings.Repeat("x", 1<<20)+`"}}`)
	}, ""},
	{"endless warnings", func(p *peer) { start(p, 1); endless(p, `{"warning":{"message":"x"}}`) }, "time limit"},
	{"slow warnings", func(p *peer) {
		start(p, 1)
		for p.WriteFrame(wire.JSON, []byte(`{"warning":{"message":"x"}}`)) == nil {
			time.Sleep(20 * time.Millisecond)
		}
	}, "time limit"},
	{"endless unknown kinds", func(p *peer) {
		go stay(p)
		endless(p, `{"grease":{}}`)
	}, "time limit"},
	{"unknown kinds, unheard", func(p *peer) { endless(p, `{"grease":{}}`) }, "takes no more input"},
	{"endless need of content", func(p *peer) {
		start(p, 1)
		go stay(p)
		endless(p, `{"need_blob":{"digest":"`+strings.Repeat("0", 64)+`"}}`)
	}, "time limit"},
	{"content that nobody takes", func(p *peer) {
		start(p, 1)
		endless(p, `{"need_blob":{"digest":"`+strings.Repeat("0", 64)+`"}}`)
	}, "takes no more input"},
	{"path for content", func(p *peer) {
		p.say(wire.Message{NeedBlob: &wire.NeedBlob{Digest: "../../../etc/shadow" + strings.Repeat("/", 45)}})
		stay(p)
	}, "bad digest"},
	{"result of another step", func(p *peer) { start(p, 1); result(p, 2); stay(p) }, "a result came for step 2"},
	{"result of no step", func(p *peer) { result(p, 1); stay(p) }, "a result came for step 1"},
	{"result twice", func(p *peer) { start(p, 1); result(p, 1); result(p, 1); stay(p) }, "a result came for step 1"},
	{"step twice", func(p *peer) { start(p, 1); result(p, 1); start(p, 1); stay(p) }, "step 1 was started"},
	{"step out of order", func(p *peer) { start(p, 2); stay(p) }, "step 2 was started"},
	{"two steps at a time", func(p *peer) { start(p, 1); start(p, 2); stay(p) }, "step 2 was started"},
	{"step that is not there", func(p *peer) { start(p, 4); stay(p) }, "step 4 was started"},
	{"step of a handler that is not there", func(p *peer) { p.say(wire.Message{Started: &wire.Started{N: 9, Handler: "x"}}); stay(p) }, "step 9 was started"},
	{"step as a handler's", func(p *peer) { p.say(wire.Message{Started: &wire.Started{N: 1, Handler: "x"}}); stay(p) }, "step 1 was started"},
	{"handler that was not announced", func(p *peer) {
		p.say(wire.Message{Started: &wire.Started{N: wire.Left + 1, Handler: "x"}})
		stay(p)
	}, "step 1000001 was started"},
	{"endless handlers of earlier runs", func(p *peer) {
		for n := wire.Left + 1; ; n++ {
			if p.WriteFrame(wire.JSON, fmt.Appendf(nil, `{"started":{"n":%d,"handler":"left"}}`, n)) != nil ||
				p.WriteFrame(wire.JSON, fmt.Appendf(nil, `{"result":{"n":%d,"handler":"left","status":"changed"}}`, n)) != nil {
				return
			}
		}
	}, "which is not its turn"},
	{"state that nobody asked for", func(p *peer) {
		start(p, 1)
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "changed", State: []byte(`{"a":1}`)}})
		stay(p)
	}, "a state came for step 1"},
	{"odd status", func(p *peer) {
		start(p, 1)
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "\x1b[2J" + strings.Repeat("x", 10_000)}})
		stay(p)
	}, "bad step 1 or status"},
	{"taken back unasked", func(p *peer) { p.say(wire.Message{Undone: &wire.Undone{Resource: "/etc", Status: "undone"}}); stay(p) }, "that nobody asked for"},
	{"done too early", func(p *peer) { p.say(wire.Message{Done: &wire.Done{ID: 1}}); stay(p) }, "the end came without step 1"},
	{"done in a step", func(p *peer) { start(p, 1); p.say(wire.Message{Done: &wire.Done{ID: 1}}); stay(p) }, "while step 1 was running"},
	{"done with another program", func(p *peer) {
		for n := range 3 {
			start(p, n+1)
			result(p, n+1)
		}
		p.say(wire.Message{Done: &wire.Done{ID: 7}})
		stay(p)
	}, "program 1 was answered as 7"},
	{"failed where nothing ran", func(p *peer) { p.say(wire.Message{Done: &wire.Done{ID: 1, Failed: 2}}); stay(p) }, "step 2 is said to have failed"},
	{"near end's message", func(p *peer) { p.say(wire.Message{Cancel: &wire.Cancel{}}); stay(p) }, "does not belong here"},
	{"second welcome", func(p *peer) { p.say(welcome); stay(p) }, "does not belong here"},
	{"secrets", func(p *peer) { _ = p.WriteFrame(wire.Secrets, []byte("{}")); stay(p) }, "unexpected frame of kind 'S'"},
	{"content", func(p *peer) { _ = p.WriteFrame(wire.Blob, make([]byte, 32)); stay(p) }, "unexpected frame of kind 'B'"},
	{"two messages in one", func(p *peer) {
		p.say(wire.Message{Started: &wire.Started{N: 1}, Done: &wire.Done{ID: 1}})
		stay(p)
	}, "must have one kind"},
	{"unsupported program", func(p *peer) {
		p.say(wire.Message{Unsupported: &wire.Unsupported{Kind: "program\x1b"}})
		stay(p)
	}, `does not know "program·"`},
}

func TestHostileEnds(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			quiet(t)
			opts := impatient()
			opts.Setup = 10 * time.Second
			s := sessionWith(t, connect(talking(func(p *peer) {
				p.hear()
				tt.far(p)
			})), opts)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := s.Run(t.Context(), remote.Work{Program: program(3), Blob: func(string) ([]byte, error) { return make([]byte, 1<<20), nil }})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if len(err.Error()) > 3000 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("got an error of %d bytes that no terminal should see", len(err.Error()))
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 128<<20 {
				t.Errorf("got %d MiB of memory more", grown>>20)
			}
			_ = s.Close()
		})
	}
}

// Before the welcome nothing is trusted either.
func TestHostileBeginnings(t *testing.T) {
	early := func(f func(p *peer)) far {
		return func(in io.Reader, out, _ io.Writer) {
			if p := starting(in, out); p != nil {
				f(p)
			}
		}
	}
	tests := []struct {
		name string
		far  far
		want string
	}{
		{"nothing", func(in io.Reader, _, _ io.Writer) { _, _ = io.Copy(io.Discard, in) }, "did not answer in time"},
		{"nothing is read", func(_ io.Reader, out, _ io.Writer) {
			for {
				if _, err := out.Write([]byte("\n")); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}, "did not answer in time"},
		{"silence after the magic", early(func(p *peer) { stay(p) }), "no answer in time"},
		{"nothing is read after the magic", early(func(p *peer) { endless(p, `{"grease":{}}`) }), "takes no more input"},
		{"garbage after the magic", early(func(p *peer) { _, _ = p.out.Write([]byte("Last login: today\n")); stay(p) }), "a frame of"},
		{"4 GB frame", early(func(p *peer) { _, _ = p.out.Write([]byte{255, 255, 255, 255, 'J'}); stay(p) }), "a frame of 4294967295 bytes"},
		{"no welcome", early(func(p *peer) { p.hear(); p.say(wire.Message{Done: &wire.Done{}}); stay(p) }), "did not begin with its welcome"},
		{"welcome without facts", early(func(p *peer) { p.hear(); p.say(wire.Message{Welcome: &wire.Welcome{Min: 1, Max: 1}}); stay(p) }), "facts are missing"},
		{"millions of runs", early(func(p *peer) {
			p.hear()
			_ = p.WriteFrame(wire.JSON, []byte(`{"welcome":{"min":1,"max":1,"facts":{},"runs":[`+strings.TrimSuffix(strings.Repeat("{},", 200_000), ",")+"]}}"))
			stay(p)
		}), "too long"},
		{"endless unknown kinds", early(func(p *peer) { go stay(p); endless(p, `{"grease":{}}`) }), "no answer in time"},
		{"magic without its line", func(in io.Reader, out, _ io.Writer) {
			_, _ = io.WriteString(out, wire.Magic)
			_, _ = io.Copy(io.Discard, in)
		}, "did not answer in time"},
		{"magic with an endless line", func(_ io.Reader, out, _ io.Writer) {
			_, _ = io.WriteString(out, wire.Magic)
			for {
				if _, err := out.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			quiet(t)
			s, err := remote.Open(t.Context(), connect(tt.far), impatient())
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// An undo has no steps, so its end is bounded as a whole: talk does not draw it out.
func TestHostileUndo(t *testing.T) {
	quiet(t)
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		endless(p, `{"undone":{"resource":"/x","status":"undone","message":"`+strings.Repeat("x", 1<<19)+`"}}`)
	})))
	if _, err := s.Undo(t.Context(), &wire.Undo{Run: "r0"}, remote.Work{}); err == nil || !strings.Contains(err.Error(), "talks without end") {
		t.Errorf("got %v, want an end of patience", err)
	}
	s = session(t, connect(talking(func(p *peer) {
		p.hear()
		start(p, 1)
		stay(p)
	})))
	if _, err := s.Undo(t.Context(), &wire.Undo{Run: "r0"}, remote.Work{}); err == nil || !strings.Contains(err.Error(), "step 1 was started") {
		t.Errorf("got %v, want that nothing may start", err)
	}
}

// A far end that takes nothing more does not keep a run from being stopped.
func TestCancelWhileWriting(t *testing.T) {
	quiet(t)
	opts := options()
	opts.Grace = 200 * time.Millisecond
	s, err := remote.Open(t.Context(), connect(talking(func(*peer) { time.Sleep(400 * time.Millisecond) })), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // it is lost
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Run(ctx, remote.Work{Program: program(1)})
	var lost *remote.Lost
	if !errors.As(err, &lost) || !strings.Contains(err.Error(), "takes no more input") {
		t.Errorf("got %v, want Lost", err)
	}
}

// What a helper may say, it may say: long results, many changes, loud commands.
func TestHonestButLarge(t *testing.T) {
	quiet(t)
	changes := make([]task.Change, 10_000)
	for i := range changes {
		changes[i] = task.Set("attr", "before", "after")
	}
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		start(p, 1)
		for range 1000 {
			p.say(wire.Message{Progress: &wire.Progress{N: 1, Message: strings.Repeat("x", 200)}})
		}
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "changed", Changes: changes}})
		start(p, 2)
		p.say(wire.Message{Result: &wire.Result{N: 2, Status: "changed", State: []byte(`"` + strings.Repeat("x", 3<<20) + `"`)}})
		start(p, 3)
		p.say(wire.Message{Result: &wire.Result{N: 3, Status: "failed", Output: strings.Repeat("x", 1<<20), Error: "exit 1"}})
		p.say(wire.Message{Done: &wire.Done{ID: 1, Failed: 3}})
		p.hear()
	})))
	if done, err := s.Run(t.Context(), remote.Work{Program: program(3)}); err != nil || done.Failed != 3 {
		t.Errorf("got %+v, %v", done, err)
	}
}
