package runner

import (
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"holdfast/runner/event"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// nearLooks is how many tasks that only read may work on the controller at a time.
const nearLooks = 8

// near is the machine that the program runs on, as the place of tasks with
// on: controller. What only looks gets a helper of its own, so that hosts do not
// wait for each other; what changes something shares one, which holds the lock and
// the journal of that machine for the run.
type near struct {
	open  func(ctx context.Context) (remote.Conn, remote.Options, error)
	looks *semaphore.Weighted

	mu       sync.Mutex // of the helper that changes things
	session  *remote.Session
	conn     remote.Conn
	programs int
	failed   bool
}

func newNear(open func(ctx context.Context) (remote.Conn, remote.Options, error)) *near {
	return &near{open: open, looks: semaphore.NewWeighted(nearLooks)}
}

// start brings up a helper on this machine.
func (n *near) start(ctx context.Context, hello wire.Hello) (*remote.Session, remote.Conn, error) {
	if n.open == nil {
		return nil, nil, errors.New("internal error: this run has no controller to work on")
	}
	conn, opts, err := n.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	opts.Hello = hello
	session, err := remote.Open(ctx, conn, opts)
	if err != nil {
		_ = conn.Close() // the first error says more
		return nil, nil, err
	}
	return session, conn, nil
}

// look runs a program that changes nothing.
func (n *near) look(ctx context.Context, hello wire.Hello, w remote.Work) (*wire.Done, error) {
	if err := n.looks.Acquire(ctx, 1); err != nil {
		return nil, errInterrupted
	}
	defer n.looks.Release(1)
	session, conn, err := n.start(ctx, hello)
	if err != nil {
		return nil, err
	}
	done, err := session.Run(ctx, w)
	return done, errors.Join(err, session.Close(), conn.Close())
}

// change runs a program in the helper that may change things.
func (n *near) change(ctx context.Context, hello wire.Hello, w remote.Work) (*wire.Done, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil {
		var err error
		if n.session, n.conn, err = n.start(ctx, hello); err != nil {
			return nil, err
		}
	}
	n.programs++
	w.Program.ID = n.programs
	done, err := n.session.Run(ctx, w)
	n.failed = n.failed || err != nil || done.Failed != 0
	return done, err
}

// close ends the run on this machine.
func (n *near) close(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session == nil {
		return nil
	}
	p := &wire.Program{ID: n.programs + 1, Final: true}
	if n.failed {
		p.Outcome = "failed"
	}
	_, err := n.session.Run(ctx, remote.Work{Program: p})
	err = errors.Join(err, n.session.Close(), n.conn.Close())
	n.session = nil
	return err
}

// nearby runs a step on the controller. It is a barrier: the batch before it has
// been run, and the host waits.
func (h *hostRun) nearby(ctx context.Context, v visit, st *wire.Step, m *stepMeta) error {
	if h.run.stopped() {
		return errInterrupted
	}
	notify := st.Notify // handlers are the host's, which learns of them with its next program
	st.Notify = nil
	hello := h.run.hello()
	run := h.run.near.look
	switch {
	case h.run.opts.Mode == event.Plan:
	case m.reads || v.verify:
		hello.Mode = string(event.Verify)
	default:
		run = h.run.near.change
	}
	ctx, h.hangUp = context.WithCancel(ctx)
	defer h.hangUp()
	done, err := run(ctx, hello, remote.Work{Program: &wire.Program{ID: 1, Steps: []wire.Step{*st}}, Secrets: h.secrets.All(),
		Blob: h.bound.Content, Each: h.hear, Interrupt: h.run.opts.Stop})
	switch {
	case h.violation != nil:
		return h.violation
	case err != nil && h.run.stopped():
		return errInterrupted
	case err != nil:
		h.conclude(m, &wire.Result{}, &event.TaskFinished{Task: m.task, Status: event.Failed, Error: plain.Text(err.Error()), Hint: plain.Line(hintOf(err))})
		return h.stopped()
	case done.Cancelled:
		return errInterrupted
	case done.Failed != 0:
		h.failed, err = true, errStop
	}
	if m.status == event.Changed {
		h.notify(notify)
	}
	return firstError(err, h.stopped())
}

// notify queues handlers of the host for a task that worked elsewhere.
func (h *hostRun) notify(names []string) {
	for _, name := range names {
		if !slices.Contains(h.queue, name) {
			h.queue = append(h.queue, name)
			h.queued(name)
		}
	}
}

// deliver hands a step to the place where it works.
func (h *hostRun) deliver(ctx context.Context, v visit, st *wire.Step, m *stepMeta) error {
	if v.node.Entry.OnController {
		return h.nearby(ctx, v, st, m)
	}
	return h.enqueue(ctx, st)
}

// turn is a task with once: who does it, and what came of it.
type turn struct {
	ended   chan struct{}
	settled bool // false: the host did not get to an end, somebody else may
	host    string
	status  event.Status
	value   any
}

// turns are the tasks with once of a run.
type turns struct {
	mu   sync.Mutex
	open map[*load.Node]*turn
}

// take returns the turn of a task, and whether it is the caller's to do.
func (ts *turns) take(n *load.Node, host string) (t *turn, mine bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t = ts.open[n]; t != nil {
		return t, false
	}
	t = &turn{ended: make(chan struct{}), host: host}
	if ts.open == nil {
		ts.open = map[*load.Node]*turn{}
	}
	ts.open[n] = t
	return t, true
}

// settle notes what came of a task, when its host has it.
func (ts *turns) settle(n *load.Node, host string, status event.Status, value any) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := ts.open[n]; t != nil && t.host == host && !t.settled {
		t.settled, t.status, t.value = true, status, value
	}
}

// leave ends the caller's turn. One that came to no end is free again.
func (ts *turns) leave(n *load.Node, t *turn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if !t.settled {
		delete(ts.open, n)
	}
	close(t.ended)
}

// single runs a task with once: the first host that gets here does it, and the
// others wait for what comes of it.
func (h *hostRun) single(ctx context.Context, v visit) error {
	for {
		t, mine := h.run.turns.take(v.node, h.host.Name)
		if mine {
			err := h.add(ctx, v)
			if err == nil {
				err = h.flush(ctx)
			}
			h.run.turns.leave(v.node, t)
			return err
		}
		select {
		case <-t.ended:
		case <-ctx.Done():
			return errInterrupted
		case <-h.run.opts.Stop:
			return errInterrupted
		}
		if t.settled {
			return h.taken(ctx, v, t)
		}
	}
}

// taken takes over what another host's turn came to.
func (h *hostRun) taken(ctx context.Context, v visit, t *turn) error {
	if t.status == event.Failed {
		return h.fault(ctx, v, errors.New("it failed on "+t.host+", which did it for all"))
	}
	if name := v.node.Entry.Register.Text; name != "" {
		v.outer.SetResult(name, t.value)
	}
	h.report(v.node, event.TaskFinished{Status: event.Skipped, Reason: "done once, for " + t.host})
	return nil
}
