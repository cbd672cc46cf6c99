package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"holdfast/runner/remote"
)

// process is one shell and what it started, in a session of its own.
type process struct {
	conn   *Conn
	cmd    *exec.Cmd
	pid    int // also the number of its process group and of its session
	stdin  *os.File
	stdout *os.File
	stderr *os.File

	exited chan struct{} // closed by reap once status and err are set
	status int
	err    error

	closing sync.Once
	closed  chan struct{} // closed by the first Close when its ladder is done
}

var _ remote.Process = (*process)(nil)

func (p *process) Stdin() io.WriteCloser { return p.stdin }
func (p *process) Stdout() io.Reader     { return p.stdout }
func (p *process) Stderr() io.Reader     { return p.stderr }

func (p *process) reap() {
	defer close(p.exited)
	err := p.cmd.Wait()
	p.status = p.cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && p.status >= 0:
	case errors.As(err, &exit):
		p.err = fmt.Errorf("the program was ended by a signal (%s)", p.cmd.ProcessState)
	default:
		p.status, p.err = -1, err
	}
}

// Wait returns when the shell has ended, even if children it left behind still
// hold its output open.
func (p *process) Wait() (int, error) {
	<-p.exited
	return p.status, p.err
}

// Close ends the shell and its session: close stdin, wait, SIGTERM, wait,
// SIGKILL. Only processes that made a session of their own survive it.
func (p *process) Close() error {
	p.closing.Do(func() {
		defer close(p.closed)
		p.descend()
		_ = p.stdout.Close()
		_ = p.stderr.Close()
		p.conn.forget(p)
	})
	return nil
}

// Abandon lets go of the pipes.
func (p *process) Abandon() error {
	p.closing.Do(func() {
		defer close(p.closed)
		_, _, _ = p.stdin.Close(), p.stdout.Close(), p.stderr.Close()
		p.conn.forget(p)
	})
	return nil
}

func (p *process) descend() {
	_ = p.stdin.Close()
	// What nobody reads any more would keep the program from ending.
	p.conn.wg.Go(func() { _, _ = io.Copy(io.Discard, p.stdout) })
	p.conn.wg.Go(func() { _, _ = io.Copy(io.Discard, p.stderr) })
	if !p.ended(p.conn.grace) {
		_ = syscall.Kill(-p.pid, syscall.SIGTERM)
	}
	if !p.ended(p.conn.grace) {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		<-p.exited
	}
	p.sweep()
}

func (p *process) ended(within time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(within):
		return false
	}
}

// sweep ends what the shell left behind in its session.
func (p *process) sweep() {
	left := members(p.pid)
	signalAll(left, syscall.SIGTERM)
	for until := time.Now().Add(p.conn.grace); len(left) > 0 && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
		left = members(p.pid)
	}
	signalAll(left, syscall.SIGKILL)
}

func signalAll(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}
