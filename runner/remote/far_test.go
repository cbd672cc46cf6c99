package remote_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// far is the far end of a talk, played by a function in this process. It reads what
// the near end writes and ends when its input does, unless it is a hostile one.
type far func(in io.Reader, out, errs io.Writer)

// pipes is a connection on which every start runs the far end.
type pipes struct {
	far    far
	closed chan struct{} // of the connection
	once   sync.Once
	deaf   bool // Close of a process does not end its streams
	cut    bool // a process ends because the connection does
}

func connect(f far) *pipes { return &pipes{far: f, closed: make(chan struct{})} }

func (c *pipes) Describe() remote.Endpoint { return remote.Endpoint{Host: "far"} }

func (c *pipes) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *pipes) Start(context.Context, string) (remote.Process, error) {
	p := &pipeProcess{done: make(chan struct{}), cut: c.cut}
	p.inR, p.inW = io.Pipe()
	p.outR, p.outW = io.Pipe()
	p.errR, p.errW = io.Pipe()
	go func() {
		defer close(p.done)
		c.far(p.inR, p.outW, p.errW)
		p.hangUp()
	}()
	if c.deaf {
		go func() {
			<-c.closed
			p.hangUp()
		}()
		p.deaf = true
	}
	return p, nil
}

type pipeProcess struct {
	inR, outR, errR *io.PipeReader
	inW, outW, errW *io.PipeWriter
	done            chan struct{}
	deaf, cut       bool
}

func (p *pipeProcess) Stdin() io.WriteCloser { return p.inW }
func (p *pipeProcess) Stdout() io.Reader     { return p.outR }
func (p *pipeProcess) Stderr() io.Reader     { return p.errR }

func (p *pipeProcess) Wait() (int, error) {
	<-p.done
	if p.cut {
		return -1, remote.ErrCut
	}
	return 0, nil
}

func (p *pipeProcess) hangUp() {
	_, _, _ = p.outW.Close(), p.errW.Close(), p.inR.Close()
}

func (p *pipeProcess) Abandon() error { return p.Close() }

func (p *pipeProcess) Close() error {
	_ = p.inW.Close()
	if p.deaf {
		return nil
	}
	select {
	case <-p.done:
	case <-time.After(100 * time.Millisecond):
	}
	p.hangUp()
	<-p.done
	return nil
}

// peer is a far end that has begun well: the bootstrap is over and hello is read.
type peer struct {
	*wire.Stream
	out io.Writer
	in  *bufio.Reader
}

func (p *peer) say(m wire.Message) {
	b, err := json.Marshal(m) // whatever it is: a hostile end does not validate
	if err != nil {
		panic(err)
	}
	_ = p.WriteFrame(wire.JSON, b)
}

// hear returns the next message, or nil when there will be none.
func (p *peer) hear() *wire.Message {
	for {
		kind, payload, err := p.ReadFrame()
		if err != nil {
			return nil
		}
		if kind == wire.JSON {
			m, err := wire.DecodeMessage(payload)
			if err != nil {
				return &wire.Message{}
			}
			return m
		}
	}
}

// starting reads the lines of the bootstrap and prints the magic, after some noise.
func starting(in io.Reader, out io.Writer, noise ...byte) *peer {
	r := bufio.NewReader(in)
	for range 2 {
		if _, err := r.ReadString('\n'); err != nil {
			return nil
		}
	}
	_, _ = fmt.Fprintf(out, "%s%s%d\n", noise, wire.Magic, wire.MaxProtocol)
	return &peer{Stream: wire.NewStream(r, out), out: out, in: r}
}

var welcome = wire.Message{Welcome: &wire.Welcome{Min: 1, Max: 1, Platform: "linux/amd64", Facts: &task.Facts{Hostname: "far"},
	Pending: []wire.PendingHandler{{Name: "left", Run: "r0"}}}}

// talking is a far end that shakes hands and then does what the function says.
func talking(f func(p *peer)) far {
	return func(in io.Reader, out, _ io.Writer) {
		p := starting(in, out)
		if p == nil || p.hear() == nil {
			return
		}
		p.say(welcome)
		f(p)
	}
}

// good runs programs as a helper would: every step is unchanged.
func good(p *peer) {
	for m := p.hear(); m != nil; m = p.hear() {
		if m.Program == nil {
			continue
		}
		for _, st := range m.Program.Steps {
			p.say(wire.Message{Started: &wire.Started{N: st.N}})
			p.say(wire.Message{Result: &wire.Result{N: st.N, Status: "unchanged"}})
		}
		p.say(wire.Message{Done: &wire.Done{ID: m.Program.ID}})
	}
}

func options() remote.Options {
	return remote.Options{Binaries: remote.Binaries{{Platform: platform(), Name: "helper", Args: "serve", Hash: strings.Repeat("0", 64)}},
		Hello: wire.Hello{Run: "r1", Mode: "apply"}, Setup: 10 * time.Second, Grace: 5 * time.Second}
}

// impatient is options for far ends that are not to be waited for.
func impatient() remote.Options {
	opts := options()
	opts.Setup, opts.Grace = 250*time.Millisecond, 60*time.Millisecond
	return opts
}

func session(t *testing.T, c remote.Conn) *remote.Session {
	t.Helper()
	return sessionWith(t, c, options())
}

func sessionWith(t *testing.T, c remote.Conn, opts remote.Options) *remote.Session {
	t.Helper()
	s, err := remote.Open(t.Context(), c, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// program has steps 1 to n. The second one registers its result.
func program(n int) *wire.Program {
	p := &wire.Program{ID: 1}
	for i := range n {
		p.Steps = append(p.Steps, wire.Step{N: i + 1, Module: "file", Args: json.RawMessage("{}"), Timeout: 60 * time.Millisecond, Register: i == 1})
	}
	return p
}

// quiet fails the test when goroutines or memory stay behind.
func quiet(t *testing.T) {
	t.Helper()
	before, used := runtime.NumGoroutine(), inUse()
	t.Cleanup(func() {
		for until := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(until) {
				buf := make([]byte, 64<<10)
				t.Errorf("got %d goroutines, want %d:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
				return
			}
		}
		if now := inUse(); now > used+8<<20 {
			t.Errorf("got %d MiB of memory more than before", (now-used)>>20)
		}
	})
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
