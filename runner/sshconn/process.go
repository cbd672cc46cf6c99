package sshconn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
)

// process is a program on the target, in a channel of its own.
type process struct {
	conn *conn
	ch   ssh.Channel

	exited chan struct{} // closed by listen once status and err are set
	gone   chan struct{} // closed by listen when the channel has ended
	status int
	err    error

	in      *stdin
	out     *output
	errs    *output
	closing sync.Once
	closed  chan struct{} // closed by the first Close when its ladder is done
}

var _ remote.Process = (*process)(nil)

func newProcess(c *conn, ch ssh.Channel) *process {
	return &process{
		conn: c, ch: ch, in: &stdin{ch: ch}, out: &output{r: ch}, errs: &output{r: ch.Stderr()}, exited: make(chan struct{}), gone: make(chan struct{}), closed: make(chan struct{}),
	}
}

func (p *process) Stdin() io.WriteCloser { return p.in }
func (p *process) Stdout() io.Reader     { return p.out }
func (p *process) Stderr() io.Reader     { return p.errs }

// output lets one goroutine read at a time. The library wakes only one of several
// readers when a channel ends, and the others would wait for ever.
type output struct {
	mu sync.Mutex
	r  io.Reader
}

func (o *output) Read(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.r.Read(b)
}

// stdin writes to the channel; to close it ends the input and leaves the channel
// open. The library does not allow both at a time, so while a write is stuck the
// end is sent after it.
type stdin struct {
	ch     ssh.Channel
	closed atomic.Bool
	mu     sync.Mutex // held while writing
	ended  bool
}

func (s *stdin) Write(b []byte) (int, error) {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return 0, errNoInput
	}
	n, err := s.ch.Write(b)
	s.mu.Unlock()
	if errors.Is(err, io.EOF) {
		err = errNoInput
	}
	if s.closed.Load() {
		err = errors.Join(err, s.Close())
	}
	return n, err
}

var errNoInput = fmt.Errorf("the program takes no more input: %w", io.ErrClosedPipe)

func (s *stdin) Close() error {
	s.closed.Store(true)
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	s.ended = true
	// EOF is the library's word for a channel that has ended already.
	if err := s.ch.CloseWrite(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// listen waits for the exit status, and then for the end of the channel.
func (p *process) listen(requests <-chan *ssh.Request) {
	defer close(p.gone)
	known := false
	end := func(status int, err error) {
		if !known {
			known = true
			p.status, p.err = status, err
			close(p.exited)
		}
	}
	for r := range requests {
		switch r.Type {
		case "exit-status":
			if len(r.Payload) >= 4 {
				end(int(binary.BigEndian.Uint32(r.Payload)), nil)
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Error      string
				Lang       string
			}
			_ = ssh.Unmarshal(r.Payload, &m)
			end(-1, fmt.Errorf("the program was ended by a signal (%s)", printable(m.Signal, 20)))
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	end(-1, remote.ErrCut)
}

// follow ends the process with the context.
func (p *process) follow(ctx context.Context) {
	p.conn.wg.Go(func() {
		select {
		case <-ctx.Done():
			_ = p.Close()
		case <-p.closed:
		}
	})
}

// Wait returns when the program has ended, even if children it left behind still
// hold its output open.
func (p *process) Wait() (int, error) {
	<-p.exited
	return p.status, p.err
}

// Close ends the program: close stdin, wait, SIGTERM, wait, SIGKILL, wait, close
// the channel. It never takes longer than these steps. OpenSSH up to at least 9.2
// delivers no signals to the sessions of root and of forced commands: there, a
// program that heeds neither the end of its input nor a closed pipe stays.
func (p *process) Close() error {
	p.closing.Do(func() {
		defer close(p.closed)
		// A connection that takes no bytes any more would hold up the steps.
		stuck := time.AfterFunc(5*p.conn.route.grace, p.conn.lose)
		defer stuck.Stop()
		p.descend()
		_ = p.ch.Close()
		p.within(p.gone)
		p.conn.forget(p)
	})
	return nil
}

// Abandon closes the channel; an SSH server leaves a program alone that has no terminal.
func (p *process) Abandon() error {
	p.closing.Do(func() {
		defer close(p.closed)
		_ = p.ch.Close() // the server answers when the program has ended
		p.conn.forget(p)
	})
	return nil
}

func (p *process) descend() {
	// What nobody reads any more would keep the program from ending.
	p.conn.wg.Go(func() { _, _ = io.Copy(io.Discard, p.out) })
	p.conn.wg.Go(func() { _, _ = io.Copy(io.Discard, p.errs) })
	_ = p.in.Close()
	for _, signal := range []ssh.Signal{ssh.SIGTERM, ssh.SIGKILL} {
		if p.within(p.exited) {
			return
		}
		_, _ = p.ch.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{string(signal)}))
	}
	p.within(p.exited)
}

// within waits for an event no longer than one step of the ladder.
func (p *process) within(event <-chan struct{}) bool {
	select {
	case <-event:
		return true
	case <-time.After(p.conn.route.grace):
		return false
	}
}
