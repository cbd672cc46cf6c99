// Package local runs programs on this machine, as a remote.Conn.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"holdfast/runner/remote"
)

// defaultGrace is how long each step of the close ladder waits.
const defaultGrace = 3 * time.Second

// Conn is this machine seen as a target.
type Conn struct {
	endpoint remote.Endpoint
	grace    time.Duration

	mu     sync.Mutex
	closed bool
	procs  map[*process]struct{}
	wg     sync.WaitGroup
}

var _ remote.Conn = (*Conn)(nil)

// New returns a connection to this machine, which the inventory calls name.
// Grace is how long each step of a process's close ladder waits; zero means
// three seconds.
func New(name string, grace time.Duration) *Conn {
	if grace <= 0 {
		grace = defaultGrace
	}
	return &Conn{
		endpoint: remote.Endpoint{Host: name, Address: "local", User: account(), Local: true},
		grace:    grace,
		procs:    map[*process]struct{}{},
	}
}

func account() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// Describe says that the connection leads here, and as whom.
func (c *Conn) Describe() remote.Endpoint { return c.endpoint }

// Start runs command with /bin/sh in the home directory, as a login over SSH
// would, in a session of its own.
func (c *Conn) Start(ctx context.Context, command string) (remote.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("cannot start a program: the connection is closed")
	}
	p, err := c.launch(command)
	if err != nil {
		return nil, fmt.Errorf("cannot start a program: %w", err)
	}
	c.procs[p] = struct{}{}
	go p.reap() // Close waits for it; one that was abandoned ends when its program does
	c.wg.Go(func() {
		select {
		case <-ctx.Done():
			_ = p.Close()
		case <-p.closed:
		}
	})
	return p, nil
}

func (c *Conn) launch(command string) (*process, error) {
	in, out, errs, err := threePipes()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Dir = home()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in.far, out.far, errs.far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	for _, p := range []pipe{in, out, errs} {
		_ = p.far.Close()
	}
	if err != nil {
		for _, p := range []pipe{in, out, errs} {
			_ = p.near.Close()
		}
		return nil, err
	}
	return &process{
		conn: c, cmd: cmd, pid: cmd.Process.Pid,
		stdin: in.near, stdout: out.near, stderr: errs.near,
		exited: make(chan struct{}), closed: make(chan struct{}),
	}, nil
}

func home() string {
	if dir, err := os.UserHomeDir(); err == nil {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return "/"
}

// pipe has our end and the child's. We make the pipes ourselves because those of
// os/exec are closed by Wait, with what is still unread in them.
type pipe struct{ near, far *os.File }

func threePipes() (in, out, errs pipe, err error) {
	var made []pipe
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, p := range made {
				_ = p.near.Close()
				_ = p.far.Close()
			}
			return in, out, errs, err
		}
		made = append(made, pipe{near: r, far: w})
	}
	in = pipe{near: made[0].far, far: made[0].near}
	return in, made[1], made[2], nil
}

// Close ends every process and returns when all have been waited for.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	var left []*process
	for p := range c.procs {
		left = append(left, p)
	}
	c.mu.Unlock()
	for _, p := range left {
		c.wg.Go(func() { _ = p.Close() })
	}
	c.wg.Wait()
	return nil
}

func (c *Conn) forget(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.procs, p)
}
