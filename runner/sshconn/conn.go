package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
)

// conn is a connection to a target, with the links to its jump hosts.
type conn struct {
	*link    // to the target
	links    []*link
	counter  *Counter
	endpoint remote.Endpoint
	done     chan struct{} // closed by Close
	lost     atomic.Bool   // the far end stopped answering

	mu     sync.Mutex
	closed bool
	procs  map[*process]struct{}
	wg     sync.WaitGroup
}

var _ remote.Conn = (*conn)(nil)

func newConn(r *route, links []*link, counter *Counter) *conn {
	last := links[len(links)-1]
	c := &conn{
		link: last, links: links, counter: counter, done: make(chan struct{}), procs: map[*process]struct{}{},
		endpoint: remote.Endpoint{Host: r.name, Address: last.address(), User: last.rung.User, Key: last.key},
	}
	var via []string
	for _, l := range links[:len(links)-1] {
		via = append(via, l.route.name)
	}
	c.endpoint.Via = strings.Join(via, " > ")
	c.wg.Go(c.keepAlive)
	return c
}

func (c *conn) Describe() remote.Endpoint { return c.endpoint }

// keepAlive asks the far end for a sign of life when nothing came for a while,
// and cuts the connection when several intervals pass without any.
func (c *conn) keepAlive() {
	tick := time.NewTicker(c.route.keepAlive)
	defer tick.Stop()
	answered := make(chan error, 1)
	var waiting bool
	var misses int
	seen := c.raw.received.Load()
	for {
		select {
		case <-c.done:
			return
		case err := <-answered:
			if waiting = false; err != nil {
				c.lose()
				return
			}
			misses, seen = 0, c.raw.received.Load()
		case <-tick.C:
			now := c.raw.received.Load()
			if now != seen {
				seen, misses = now, 0
				continue
			}
			if !waiting {
				waiting = true
				c.wg.Go(func() { answered <- c.askAlive() })
				continue
			}
			if misses++; misses >= missesAllowed {
				c.lose()
				return
			}
		}
	}
}

func (c *conn) askAlive() error {
	// A refusal is an answer too.
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

func (c *conn) lose() {
	c.lost.Store(true)
	c.cut()
}

// Start opens a session and runs command in it.
func (c *conn) Start(ctx context.Context, command string) (remote.Process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	started := make(chan startResult)
	if !c.openFor(ctx, command, started) {
		return nil, errors.New("cannot start a program: the connection is closed")
	}
	select {
	case r := <-started:
		if r.err != nil {
			return nil, fmt.Errorf("cannot start a program on %s: %w", c.endpoint.Host, r.err)
		}
		return r.process, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// openFor opens a session for a caller who may have gone when it is there.
func (c *conn) openFor(ctx context.Context, command string, started chan<- startResult) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(func() {
		r := c.open(command)
		if r.err == nil {
			r.process.follow(ctx)
		}
		select {
		case started <- r:
		case <-ctx.Done():
		}
	})
	return true
}

type startResult struct {
	process *process
	err     error
}

// open opens a channel and asks for the command. A far end that does not answer
// in time loses the connection: there is no other way to stop waiting.
func (c *conn) open(command string) startResult {
	step := "start of a session"
	guard := time.AfterFunc(c.route.stepTimeout, c.lose)
	defer func() { guard.Stop() }()
	ch, requests, err := c.client.OpenChannel("session", nil)
	if err != nil {
		return startResult{err: c.openError(step, err)}
	}
	c.counter.opened()
	p := newProcess(c, ch)
	c.wg.Go(func() { p.listen(requests) })

	if guard.Stop() {
		guard = time.AfterFunc(c.route.stepTimeout, c.lose)
	}
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
	if err == nil && ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			c.procs[p] = struct{}{}
			return startResult{process: p}
		}
		err = errors.New("the connection is closed")
	}
	_ = ch.Close()
	if err == nil {
		return startResult{err: errors.New("the server does not run commands for this account")}
	}
	return startResult{err: c.openError("start of the program", err)}
}

func (c *conn) openError(step string, err error) error {
	var refused *ssh.OpenChannelError
	switch {
	case c.lost.Load():
		return &stepTimeout{step, c.route.stepTimeout}
	case errors.As(err, &refused):
		return fmt.Errorf("the server allows no further session (its MaxSessions may be reached): %s", printable(refused.Message, 120))
	case errors.Is(err, io.EOF):
		return remote.ErrCut
	}
	return err
}

// Close ends the processes, then the connection, then those to the jump hosts.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	var left []*process
	for p := range c.procs {
		left = append(left, p)
	}
	c.mu.Unlock()
	if first {
		var ending sync.WaitGroup
		for _, p := range left {
			ending.Go(func() { _ = p.Close() })
		}
		ending.Wait()
		close(c.done)
		closeLinks(c.links)
	}
	c.wg.Wait()
	return nil
}

func (c *conn) forget(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.procs, p)
}
