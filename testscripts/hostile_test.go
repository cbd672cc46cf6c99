package testscripts_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// hostile are the targets that do not keep to the protocol, by how they break it.
// Each gets the channel of the session that should become a helper.
var hostile = map[string]func(ssh.Channel){
	// nothing reads and never answers.
	"nothing": func(ch ssh.Channel) { _, _ = io.Copy(io.Discard, ch) },
	// gone ends at once.
	"gone": func(ssh.Channel) {},
	// chatter never stops talking and never starts a helper.
	"chatter": func(ch ssh.Channel) { forever(ch, []byte(strings.Repeat("welcome to this fine machine\n", 100))) },
	// line does the same without ever ending the line.
	"line": func(ch ssh.Channel) { forever(ch, bytes.Repeat([]byte("A"), 4096)) },
	// garbage starts like a helper and goes on with noise.
	"garbage": func(ch ssh.Channel) {
		if readBootstrap(ch) == nil {
			return
		}
		_, _ = io.WriteString(ch, wire.Magic+"1\n")
		noise := make([]byte, 1<<16)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range noise {
			noise[i] = byte(r.UintN(256))
		}
		_, _ = ch.Write(noise)
		_, _ = io.Copy(io.Discard, ch)
	},
	// huge announces a frame of 4 GiB.
	"huge": func(ch ssh.Channel) {
		if readBootstrap(ch) == nil {
			return
		}
		_, _ = io.WriteString(ch, wire.Magic+"1\n\xff\xff\xff\xffJ")
		forever(ch, make([]byte, 1<<15))
	},
	// torn ends in the middle of a frame.
	"torn": func(ch ssh.Channel) {
		r := readBootstrap(ch)
		if r == nil {
			return
		}
		_, _ = io.WriteString(ch, wire.Magic+"1\n")
		if _, err := next(wire.NewStream(r, ch)); err == nil {
			_, _ = io.WriteString(ch, "\x00\x00\x01\x00J{\"wel")
		}
	},
	// future speaks a protocol that nobody knows yet.
	"future": func(ch ssh.Channel) { shake(ch, func(w *wire.Welcome) { w.Min, w.Max = 900, 901 }) },
	// mute shakes hands and then says nothing more.
	"mute": func(ch ssh.Channel) {
		if shake(ch, nil) != nil {
			_, _ = io.Copy(io.Discard, ch)
		}
	},
	// endless reports progress of the first step for ever.
	"endless": func(ch ssh.Channel) {
		s, n := program(ch)
		if s == nil {
			return
		}
		_ = s.Send(&wire.Message{Started: &wire.Started{N: n}})
		for s.Send(&wire.Message{Progress: &wire.Progress{N: n, Message: strings.Repeat("busy ", 100)}}) == nil {
			time.Sleep(time.Millisecond)
		}
	},
	// flood does so as fast as it can, with as much as it can.
	"flood": func(ch ssh.Channel) {
		s, n := program(ch)
		if s == nil {
			return
		}
		_ = s.Send(&wire.Message{Started: &wire.Started{N: n}})
		for s.Send(&wire.Message{Progress: &wire.Progress{N: n, Message: strings.Repeat("busy ", 200_000)}}) == nil {
		}
	},
	// wrong answers for a step that nobody asked for.
	"wrong": func(ch ssh.Channel) {
		s, n := program(ch)
		if s == nil {
			return
		}
		_ = s.Send(&wire.Message{Started: &wire.Started{N: n + 41}})
		_ = s.Send(&wire.Message{Result: &wire.Result{N: n + 41, Status: "changed"}})
		_, _ = io.Copy(io.Discard, ch)
	},
	// liar gives a result whose state is nonsense.
	"liar": func(ch ssh.Channel) {
		s, n := program(ch)
		if s == nil {
			return
		}
		_ = s.Send(&wire.Message{Started: &wire.Started{N: n}})
		_ = s.Send(&wire.Message{Result: &wire.Result{N: n, Status: "unchanged", State: json.RawMessage(`{"exists":"perhaps"}`)}})
		finish(s, &wire.Done{ID: 1})
	},
	// escape tries to paint on the terminal of whoever reads the failure.
	"escape": func(ch ssh.Channel) {
		s, n := program(ch)
		if s == nil {
			return
		}
		_ = s.Send(&wire.Message{Started: &wire.Started{N: n}})
		_ = s.Send(&wire.Message{Result: &wire.Result{N: n, Status: "failed", Error: "\x1b]0;owned\x07\x1b[2J all is well \u202e"}})
		finish(s, &wire.Done{ID: 1, Failed: n})
	},
}

func forever(w io.Writer, data []byte) {
	for {
		if _, err := w.Write(data); err != nil {
			return
		}
	}
}

// readBootstrap takes in the two lines that start a helper.
func readBootstrap(ch ssh.Channel) *bufio.Reader {
	r := bufio.NewReader(ch)
	for range 2 {
		if _, err := r.ReadString('\n'); err != nil {
			return nil
		}
	}
	return r
}

// shake answers like a helper up to its welcome.
func shake(ch ssh.Channel, change func(*wire.Welcome)) *wire.Stream {
	r := readBootstrap(ch)
	if r == nil {
		return nil
	}
	if _, err := io.WriteString(ch, wire.Magic+"1\n"); err != nil {
		return nil
	}
	s := wire.NewStream(r, ch)
	if _, err := next(s); err != nil {
		return nil
	}
	w := &wire.Welcome{Min: wire.MinProtocol, Max: wire.MaxProtocol, Platform: "linux/amd64", Facts: &task.Facts{}}
	if change != nil {
		change(w)
	}
	if s.Send(&wire.Message{Welcome: w}) != nil {
		return nil
	}
	return s
}

// program answers like a helper up to the first program with steps, and returns
// the number of its first step.
func program(ch ssh.Channel) (*wire.Stream, int) {
	s := shake(ch, nil)
	if s == nil {
		return nil, 0
	}
	m, err := next(s)
	if err != nil || m.Program == nil || len(m.Program.Steps) == 0 {
		return nil, 0
	}
	return s, m.Program.Steps[0].N
}

// finish ends a program and does nothing for those that follow.
func finish(s *wire.Stream, done *wire.Done) {
	for s.Send(&wire.Message{Done: done}) == nil {
		m, err := next(s)
		if err != nil || m.Program == nil {
			return
		}
		done = &wire.Done{ID: m.Program.ID}
	}
}

func next(s *wire.Stream) (*wire.Message, error) {
	kind, payload, err := s.ReadFrame()
	if err != nil {
		return nil, err
	}
	if kind != wire.JSON {
		return nil, errors.New("not a message")
	}
	return wire.DecodeMessage(payload)
}
