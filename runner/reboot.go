package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// reboot runs a task after which the host goes down, and waits until it is back. The
// session before it ends in good order: the journal is closed, so that the host finds
// nothing that died, and the session after it goes on with it.
func (h *hostRun) reboot(ctx context.Context, v visit, st *wire.Step, m *stepMeta) error {
	switch {
	case v.node.Entry.OnController:
		return h.fault(ctx, v, errors.New("the machine that runs the play cannot be rebooted by it"))
	case h.guard != nil:
		return h.fault(ctx, v, errors.New("a guard does not outlive a reboot in its block: reboot before it or after it"))
	case h.at.Local:
		return h.fault(ctx, v, errors.New("the host is this machine: reboot it by hand"))
	}
	if err := h.flush(ctx); err != nil {
		return err
	}
	limit := st.Timeout
	if err := h.enqueue(ctx, st); err != nil {
		return err
	}
	if err := h.flush(ctx); err != nil || m.status != event.Changed {
		return err
	}
	if err := h.send(ctx, &wire.Program{Final: true}); err != nil {
		return err
	}
	before := h.session.Welcome.Facts.BootID
	h.spend(h.conn)
	_, _ = h.session.Close(), h.conn.Close() // the host closes its side too, when it goes down
	h.resumed = true
	if err := h.comeBack(ctx, time.Now().Add(limit), before); err != nil {
		if ctx.Err() != nil || h.run.stopped() {
			return errInterrupted
		}
		h.cut = &remote.Unreachable{Host: h.host.Name, Err: fmt.Errorf("it did not come back within %s after the reboot: %w", limit, err),
			Hint: "look at its console; timeout on the task says how long to wait"}
		return h.cut
	}
	h.handlers = h.defined // the new helper knows none
	return nil
}

// comeBack connects again and again until the host has another boot id.
func (h *hostRun) comeBack(ctx context.Context, deadline time.Time, before string) error {
	last := errStillUp
	for time.Now().Before(deadline) {
		select {
		case <-time.After(2 * time.Second):
		case <-h.run.opts.Stop:
			return errInterrupted
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if last = h.comeBackOnce(ctx, before); last == nil {
			return nil
		}
	}
	return last
}

var errStillUp = errors.New("it still runs as before")

// attempt is how long one attempt to connect may take while a host is going down or up.
const attempt = 30 * time.Second

func (h *hostRun) comeBackOnce(ctx context.Context, before string) error {
	// The session lives as long as the context that it is opened with.
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(attempt, cancel)
	conn, err := h.run.opts.Connect(ctx, h.host)
	if err != nil {
		cancel()
		return err
	}
	session, err := remote.Open(ctx, conn, h.sessionOptions())
	if err == nil && session.Welcome.Facts.BootID == before {
		err = errors.Join(errStillUp, session.Close())
	}
	if err != nil || !timer.Stop() {
		cancel()
		h.spend(conn)
		return errors.Join(err, conn.Close())
	}
	h.session, h.conn, h.letGo = session, conn, cancel
	h.connected()
	return nil
}
