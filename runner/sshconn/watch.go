package sshconn

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"holdfast/runner/remote"
)

// watchdog closes a connection when a step takes too long or the context ends.
// It serves instead of deadlines, which a connection through a jump host does
// not have.
type watchdog struct {
	conn  io.Closer
	limit time.Duration
	timer *time.Timer
	halt  func() bool // stops listening to the context

	mu   sync.Mutex
	name string
	over bool
	err  error
}

func watch(ctx context.Context, conn io.Closer, step string, limit time.Duration) *watchdog {
	w := &watchdog{conn: conn, limit: limit, name: step}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(limit, func() { w.bite(nil) })
	w.halt = context.AfterFunc(ctx, func() { w.bite(context.Cause(ctx)) })
	return w
}

// bite closes the connection for a reason, which is the time limit when nil.
func (w *watchdog) bite(why error) {
	w.mu.Lock()
	if w.over {
		w.mu.Unlock()
		return
	}
	if why == nil {
		why = &stepTimeout{w.name, w.limit}
	}
	w.over, w.err = true, why
	w.mu.Unlock()
	_ = w.conn.Close()
}

// step begins the next step with a new time limit.
func (w *watchdog) step(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over && w.timer.Stop() {
		w.name = name
		w.timer.Reset(w.limit)
	}
}

// stop ends the watch and returns why it closed the connection, if it did.
func (w *watchdog) stop() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
	w.halt()
	return w.err
}

// stepTimeout is the error of a step that took too long.
type stepTimeout struct {
	step  string
	limit time.Duration
}

func (e *stepTimeout) Error() string {
	return fmt.Sprintf("no end of the %s within %v", e.step, e.limit)
}

// Timeout makes it a timeout for those who ask as they would a net.Error.
func (e *stepTimeout) Timeout() bool { return true }

// Is makes it a lost connection for those who ask: nothing came any more.
func (e *stepTimeout) Is(target error) bool { return target == remote.ErrCut }
