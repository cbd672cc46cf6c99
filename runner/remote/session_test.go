package remote_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

func TestPrograms(t *testing.T) {
	quiet(t)
	s := session(t, connect(talking(good)))
	var heard []int
	for id := 1; id <= 3; id++ {
		p := program(3)
		p.ID = id
		done, err := s.Run(t.Context(), remote.Work{Program: p, Each: func(m *wire.Message) {
			if m.Result != nil {
				heard = append(heard, m.Result.N)
			}
		}})
		if err != nil || done.ID != id {
			t.Fatalf("program %d: got %+v, %v", id, done, err)
		}
	}
	if !slices.Equal(heard, []int{1, 2, 3, 1, 2, 3, 1, 2, 3}) {
		t.Errorf("got results of %v", heard)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// The magic line is found wherever the buffers of the near end are cut.
func TestMagicAfterAnyAmountOfNoise(t *testing.T) {
	for size := 32<<10 - len(wire.Magic) - 3; size <= 32<<10+3; size++ {
		c := connect(func(in io.Reader, out, _ io.Writer) {
			if p := starting(in, out, bytes.Repeat([]byte("x"), size)...); p != nil && p.hear() != nil {
				p.say(welcome)
				good(p)
			}
		})
		s, err := remote.Open(t.Context(), c, options())
		if err != nil {
			t.Fatalf("%d bytes of noise: %v", size, err)
		}
		if _, err := s.Run(t.Context(), remote.Work{Program: program(1)}); err != nil {
			t.Errorf("%d bytes of noise: %v", size, err)
		}
		_ = s.Close()
	}
}

func TestTheHelperSaysNo(t *testing.T) {
	quiet(t)
	refuse := func(p *peer) {
		p.say(wire.Message{Refused: &wire.Refused{Error: "run r0 works\x1b[2J here", Hint: "wait\a", Locked: true}})
	}
	_, err := remote.Open(t.Context(), connect(func(in io.Reader, out, _ io.Writer) {
		if p := starting(in, out); p != nil && p.hear() != nil {
			refuse(p)
		}
	}), options())
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		refuse(p)
	})))
	_, err2 := s.Run(t.Context(), remote.Work{Program: program(1)})
	for _, err := range []error{err, err2} {
		var r *remote.Refused
		if !errors.As(err, &r) || !r.Locked || r.Hint != "wait·" || r.Message != "run r0 works·[2J here" {
			t.Errorf("got %#v, want a refusal, cleaned", err)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		min, max int
		ok       bool
	}{{1, 1, true}, {1, 9, true}, {2, 3, false}} {
		s, err := remote.Open(t.Context(), connect(func(in io.Reader, out, _ io.Writer) {
			if p := starting(in, out); p != nil && p.hear() != nil {
				p.say(wire.Message{Welcome: &wire.Welcome{Min: tt.min, Max: tt.max, Build: "b77", Facts: &task.Facts{}}})
				p.hear()
			}
		}), options())
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "b77") {
			t.Errorf("protocol %d to %d: got %v", tt.min, tt.max, err)
		}
		if s != nil {
			_ = s.Close()
		}
	}
}

func TestFactsAreSafeToShow(t *testing.T) {
	facts := &task.Facts{Hostname: "web\x1b]0;owned\a1", OS: task.OS{Name: "Debian\u202e 21"}, Addresses: []string{"10.0.0.1\r\n"}}
	s, err := remote.Open(t.Context(), connect(func(in io.Reader, out, _ io.Writer) {
		if p := starting(in, out); p != nil && p.hear() != nil {
			p.say(wire.Message{Welcome: &wire.Welcome{Min: 1, Max: 1, Facts: facts, Runs: []wire.Run{{ID: "r\x00", Command: "\x9bx"}}}})
			p.hear()
		}
	}), options())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // it ends by itself
	w := s.Welcome
	got := []string{w.Facts.Hostname, w.Facts.OS.Name, w.Facts.Addresses[0], w.Runs[0].ID, w.Runs[0].Command}
	if want := []string{"web·]0;owned·1", "Debian· 21", "10.0.0.1  ", "r·", "·x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSecretsGoAhead(t *testing.T) {
	got := make(chan string, 4)
	s := session(t, connect(talking(func(p *peer) {
		for range 2 {
			kind, payload, err := p.ReadFrame()
			if err != nil {
				return
			}
			got <- string(kind) + string(payload[:min(len(payload), 20)])
		}
		p.say(wire.Message{Started: &wire.Started{N: 1}})
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "changed"}})
		p.say(wire.Message{Done: &wire.Done{ID: 1}})
		p.hear()
	})))
	if _, err := s.Run(t.Context(), remote.Work{Program: program(1), Secrets: map[int]secret.Text{3: secret.New("hunter22")}}); err != nil {
		t.Fatal(err)
	}
	if first, second := <-got, <-got; first != `S{"3":"hunter22"}` || !strings.HasPrefix(second, `J{"program"`) {
		t.Errorf("got %s and %s, want the secrets and then the program", first, second)
	}
}

func TestWhatIsTooLargeToSend(t *testing.T) {
	s := session(t, connect(talking(good)))
	p := program(1)
	p.Steps[0].Args = []byte(`"` + strings.Repeat("x", wire.MaxFrame) + `"`)
	if _, err := s.Run(t.Context(), remote.Work{Program: p}); err == nil || !strings.Contains(err.Error(), "the program for this host is too large") {
		t.Errorf("got %v, want that the program is too large", err)
	}
	if _, err := s.Run(t.Context(), remote.Work{Program: program(1), Secrets: map[int]secret.Text{1: secret.New(strings.Repeat("x", wire.MaxFrame))}}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v, want that the secrets are too large", err)
	}
	// Nothing was sent, so the talk goes on.
	if _, err := s.Run(t.Context(), remote.Work{Program: program(1)}); err != nil {
		t.Errorf("the next program: %v", err)
	}
}

func TestBlobs(t *testing.T) {
	quiet(t)
	data := bytes.Repeat([]byte("content"), 200_000)
	sum := sha256.Sum256(data)
	digest, other := hex.EncodeToString(sum[:]), strings.Repeat("ab", 32)
	got := make(chan string, 2)
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		p.say(wire.Message{Started: &wire.Started{N: 1}})
		p.say(wire.Message{NeedBlob: &wire.NeedBlob{Digest: digest}})
		var all []byte
		for {
			_, payload, err := p.ReadFrame()
			if err != nil {
				return
			}
			_, piece, err := wire.SplitBlob(payload)
			if all = append(all, piece...); err != nil || len(piece) == 0 {
				break
			}
		}
		got <- task.DigestOf(all)
		p.say(wire.Message{NeedBlob: &wire.NeedBlob{Digest: other}})
		if m := p.hear(); m != nil && m.NoBlob != nil {
			got <- m.NoBlob.Digest + m.NoBlob.Error
		}
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "changed"}})
		p.say(wire.Message{Done: &wire.Done{ID: 1}})
		p.hear()
	})))
	w := remote.Work{Program: program(1), Blob: func(d string) ([]byte, error) {
		if d != digest {
			return nil, errors.New("no such content")
		}
		return data, nil
	}}
	if _, err := s.Run(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if a, b := <-got, <-got; a != digest || b != other+"no such content" {
		t.Errorf("got %s and %s", a, b)
	}
}

// Both ends grow: what one does not know it says so, and the talk goes on.
func TestGrease(t *testing.T) {
	quiet(t)
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		_ = p.WriteFrame(wire.JSON, []byte(`{"grease_1f":{"a":[1,2]}}`))
		if m := p.hear(); m == nil || m.Unsupported == nil || m.Unsupported.Kind != "grease_1f" {
			return
		}
		p.say(wire.Message{Started: &wire.Started{N: 1}})
		_ = p.WriteFrame(wire.JSON, []byte(`{"result":{"n":1,"status":"unchanged","grease":true},"grease":{}}`))
		p.say(wire.Message{Done: &wire.Done{ID: 1}})
		p.hear()
	})))
	if _, err := s.Run(t.Context(), remote.Work{Program: program(1)}); err != nil {
		t.Errorf("got %v, want the program to end well", err)
	}
}

func TestInterrupt(t *testing.T) {
	quiet(t)
	stop := make(chan struct{})
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		p.say(wire.Message{Started: &wire.Started{N: 1}})
		close(stop)
		if m := p.hear(); m == nil || m.Cancel == nil || m.Cancel.Now {
			return
		}
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "changed"}})
		p.say(wire.Message{Done: &wire.Done{ID: 1, Cancelled: true, Pending: []string{"reload\x1b"}}})
		p.hear()
	})))
	done, err := s.Run(t.Context(), remote.Work{Program: program(3), Interrupt: stop})
	if err != nil || !done.Cancelled || done.Pending[0] != "reload·" {
		t.Errorf("got %+v, %v, want a cancelled end", done, err)
	}
}

func TestCancelNow(t *testing.T) {
	quiet(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := session(t, connect(talking(func(p *peer) {
		p.hear()
		p.say(wire.Message{Started: &wire.Started{N: 1}})
		cancel()
		if m := p.hear(); m == nil || m.Cancel == nil || !m.Cancel.Now {
			return
		}
		p.say(wire.Message{Result: &wire.Result{N: 1, Status: "failed", Error: "stopped"}})
		p.say(wire.Message{Done: &wire.Done{ID: 1, Cancelled: true, Failed: 1}})
		p.hear()
	})))
	done, err := s.Run(ctx, remote.Work{Program: program(3)})
	if err != nil || !done.Cancelled {
		t.Errorf("got %+v, %v, want a cancelled end", done, err)
	}
}

// Handlers come along once and may run in later programs; those that an earlier run
// left were announced.
func TestHandlers(t *testing.T) {
	quiet(t)
	steps := program(2).Steps
	steps[0].N, steps[1].N = 11, 12
	var flush func(p *peer)
	s := session(t, connect(talking(func(p *peer) {
		for m := p.hear(); m != nil; m = p.hear() {
			for _, n := range []int{11, 12} {
				p.say(wire.Message{Started: &wire.Started{N: n, Handler: "reload"}})
				p.say(wire.Message{Result: &wire.Result{N: n, Handler: "reload", Status: "ran"}})
			}
			if flush != nil {
				flush(p)
			}
			p.say(wire.Message{Done: &wire.Done{ID: m.Program.ID}})
		}
	})))
	first := wire.Program{ID: 1, Handlers: []wire.Handler{{Name: "reload", Steps: steps}}}
	if _, err := s.Run(t.Context(), remote.Work{Program: &first}); err != nil {
		t.Fatal(err)
	}
	flush = func(p *peer) {
		p.say(wire.Message{Started: &wire.Started{N: wire.Left + 1, Handler: "left", Name: "restart", Module: "service"}})
		p.say(wire.Message{Result: &wire.Result{N: wire.Left + 1, Handler: "left", Status: "changed"}})
	}
	if _, err := s.Run(t.Context(), remote.Work{Program: &wire.Program{ID: 2, Flush: true}}); err != nil {
		t.Error(err)
	}
}

// A guard refuses the step that it cannot take back before any other is run; a far
// end that only leaves steps out is another matter.
func TestGuardedStepIsRefused(t *testing.T) {
	for _, tt := range []struct {
		status string
		failed int
		want   string
	}{{"failed", 3, ""}, {"unchanged", 0, "steps were left out"}} {
		s := session(t, connect(talking(func(p *peer) {
			p.hear()
			p.say(wire.Message{Started: &wire.Started{N: 3}})
			p.say(wire.Message{Result: &wire.Result{N: 3, Status: tt.status}})
			p.say(wire.Message{Done: &wire.Done{ID: 1, Failed: tt.failed}})
			p.hear()
		})))
		p := program(3)
		p.Guarded = &wire.Guarded{Digest: strings.Repeat("0a", 32), Paths: []string{"root@h:22"}, Within: time.Minute}
		_, err := s.Run(t.Context(), remote.Work{Program: p})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.status, err, tt.want)
		}
	}
}

func TestUndo(t *testing.T) {
	quiet(t)
	s := session(t, connect(talking(func(p *peer) {
		if m := p.hear(); m == nil || m.Undo == nil || m.Undo.Run != "r0" {
			return
		}
		p.say(wire.Message{Progress: &wire.Progress{Message: "put back"}})
		p.say(wire.Message{Undone: &wire.Undone{Resource: "/etc/motd", Status: "undone"}})
		p.say(wire.Message{Done: &wire.Done{Error: "one\x1b\ntwo"}})
		p.hear()
	})))
	var kinds []string
	done, err := s.Undo(t.Context(), &wire.Undo{Run: "r0"}, remote.Work{Each: func(m *wire.Message) {
		switch {
		case m.Undone != nil:
			kinds = append(kinds, m.Undone.Resource)
		case m.Progress != nil:
			kinds = append(kinds, "progress")
		}
	}})
	if err != nil || done.Error != "one·\ntwo" || !slices.Equal(kinds, []string{"progress", "/etc/motd"}) {
		t.Errorf("got %v, %+v, %v", kinds, done, err)
	}
}

func TestTheConnectionBreaks(t *testing.T) {
	quiet(t)
	for name, f := range map[string]func(p *peer){
		"between frames":   func(p *peer) { p.hear() },
		"inside a frame":   func(p *peer) { p.hear(); _, _ = p.out.Write([]byte{0, 0, 1, 0, 'J', '{'}) },
		"inside a step":    func(p *peer) { p.hear(); p.say(wire.Message{Started: &wire.Started{N: 1}}) },
		"inside a header":  func(p *peer) { p.hear(); _, _ = p.out.Write([]byte{0, 0}) },
		"before the write": func(*peer) {},
	} {
		s := session(t, connect(func(in io.Reader, out, errs io.Writer) {
			talking(f)(in, out, errs)
			_, _ = io.WriteString(errs, "panic: \x1b[31mout of memory\n")
		}))
		_, err := s.Run(t.Context(), remote.Work{Program: program(1)})
		var lost *remote.Lost
		if !errors.As(err, &lost) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: got %v, want Lost", name, err)
		}
		if name != "before the write" && !strings.Contains(err.Error(), "it said: panic: ·[31mout of memory") {
			t.Errorf("%s: got %v, want the last words", name, err)
		}
		_ = s.Close()
	}
}

// A process whose streams outlive it costs the connection, not the caller's patience.
func TestCloseAgainstADeafEnd(t *testing.T) {
	quiet(t)
	release := make(chan struct{})
	c := connect(talking(func(*peer) { <-release }))
	c.deaf = true
	s := session(t, c)
	began := time.Now()
	_ = s.Close()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("Close took %v", took)
	}
	select {
	case <-c.closed:
	default:
		t.Error("the connection is still open")
	}
	close(release)
}
