package runner

import (
	"context"
	"errors"
	"fmt"

	"holdfast/playbooks/lang"
	"holdfast/runner/event"
	"holdfast/runner/expr"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/wire"
)

// stepMeta is what is known here of a step that was sent.
type stepMeta struct {
	task    event.Task
	node    *load.Node
	scope   *load.Scope // where the result goes; nil for handlers
	sc      *load.Scope // what its own expressions read
	notify  []string
	collect *loop // where the result goes in a loop
	index   int
	ignore  bool // a failure is none
	// stays is set when the host goes on after a failure, which still counts.
	stays  bool
	status event.Status
	value  any   // the result, or an expr.Unknown
	reads  bool  // changes nothing; known for tasks on the controller
	port   int64 // where the SSH server is to listen after it

	// A task with retry.until is several steps and one task. Its outcome waits in
	// held until it is decided which step was the last.
	until bool
	again bool
	held  *wire.Result
	ended *event.TaskFinished
}

// loop gathers the results of a task that runs once for each item.
type loop struct {
	values  []any
	open    int
	whole   bool          // every turn was looked at
	unknown *expr.Unknown // why some results are not to be had
}

// land makes the results known when all are there.
func (l *loop) land(sc *load.Scope, name string) {
	switch {
	case l.unknown != nil:
		sc.SetResult(name, *l.unknown)
	case l.whole && l.open == 0:
		sc.SetResult(name, l.values)
	}
}

// add resolves a task and puts it into the batch. What it depends on is a barrier:
// the batch before it is run first.
func (h *hostRun) add(ctx context.Context, v visit) error {
	if v.node.Entry.OnController {
		// It must see what the host has done so far.
		if err := h.flush(ctx); err != nil {
			return err
		}
	}
	st, m, unknown, err := h.resolve(ctx, v)
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		st, m, unknown, err = h.resolve(ctx, v)
	}
	if err != nil {
		return h.fault(ctx, v, err)
	}
	if unknown != nil {
		return h.unknown(ctx, v, *unknown)
	}
	m.scope, m.sc = v.outer, v.sc
	if st.Risky && !v.verify {
		h.risks = append(h.risks, st.N)
	}
	h.expect(v, m)
	planned := h.run.opts.Mode == event.Plan
	if v.node.Until != nil && !planned {
		return h.until(ctx, v, st, m)
	}
	if v.node.Module.Reboots && h.run.opts.Mode == event.Apply {
		return h.reboot(ctx, v, st, m)
	}
	if err := h.deliver(ctx, v, st, m); err != nil || planned || v.node.ChangedIf == nil && v.node.FailIf == nil {
		return err
	}
	// The result decides what happens next, so the host must wait for it.
	return h.flush(ctx)
}

// Limits of one program, well below those of a frame.
const (
	maxBatchSteps = 2_000
	maxBatchBytes = 1 << 20
)

// enqueue puts a step into the batch, and runs the batch when it is large.
func (h *hostRun) enqueue(ctx context.Context, st *wire.Step) error {
	size := len(st.Args) + len(st.Name) + len(st.Path) + 256
	if len(h.batch) >= maxBatchSteps || len(h.batch) > 0 && h.size+size > maxBatchBytes {
		if err := h.flush(ctx); err != nil {
			return err
		}
	}
	h.batch = append(h.batch, *st)
	h.size += size
	return nil
}

// expect makes the result of a step unknown until it is there.
func (h *hostRun) expect(v visit, m *stepMeta) {
	name := v.node.Entry.Register.Text
	switch {
	case name == "":
	case v.gather == nil:
		v.outer.SetResult(name, expr.Unknown{Reason: v.node.Entry.Name})
	default:
		m.collect, m.index = v.gather, len(v.gather.values)
		v.gather.values = append(v.gather.values, expr.Unknown{Reason: v.node.Entry.Name})
		v.gather.open++
	}
}

// until runs a task again until its condition holds and it does not fail.
func (h *hostRun) until(ctx context.Context, v visit, st *wire.Step, m *stepMeta) error {
	retry := v.node.Entry.Retry
	m.until = true
	st.Ignore = true // a failure is a reason to try again
	for attempt := 1; ; attempt++ {
		if m.again = attempt > 1; m.again {
			h.step++
			st.N = h.step
			h.meta[st.N] = m
		}
		m.held, m.ended = nil, nil
		if err := h.deliver(ctx, v, st, m); err != nil {
			return err
		}
		if err := h.flush(ctx); err != nil {
			return err
		}
		f := m.ended
		f.Attempts = attempt
		done, err := h.settled(ctx, v, m)
		if last := attempt > retry.Times; done || err != nil || last {
			if err == nil && !done && f.Status != event.Failed {
				err = fmt.Errorf("until does not hold after %d attempts", attempt)
			}
			if err != nil {
				f.Status, f.Error = event.Failed, plain.Text(err.Error())
			}
			h.conclude(m, m.held, f)
			return h.stopped()
		}
		if err := sleep(ctx, retry.Delay, h.run.opts.Stop); err != nil {
			return err
		}
	}
}

// settled decides whether a task with retry.until is done.
func (h *hostRun) settled(ctx context.Context, v visit, m *stepMeta) (bool, error) {
	if m.ended.Status == event.Failed || m.ended.Status == event.Ignored {
		return false, nil
	}
	if m.ended.Status == event.Skipped {
		return true, nil
	}
	holds, unknown, err := v.node.Until.Eval(ctx, v.sc.Bind("result", m.value).Vars())
	return holds || unknown != nil, err
}

// resolve makes a step of a task. Its arguments are known then.
func (h *hostRun) resolve(ctx context.Context, v visit) (*wire.Step, *stepMeta, *expr.Unknown, error) {
	n, sc := v.node, v.sc
	user, unknown, err := n.RunAsUser(ctx, sc)
	if err != nil || unknown != nil {
		return nil, nil, unknown, err
	}
	res, unknown, err := n.Resolve(ctx, sc, h.secrets)
	if err != nil || unknown != nil {
		return nil, nil, unknown, err
	}
	ignore := false
	if n.IgnoreFailure != nil {
		if ignore, unknown, err = n.IgnoreFailure.Eval(ctx, sc.Vars()); err != nil || unknown != nil {
			return nil, nil, unknown, err
		}
	}
	e := n.Entry
	h.step++
	st := &wire.Step{N: h.step, Path: n.Path, Name: e.Name, Module: n.Module.Name, Args: res.Args, Notify: sc.Handlers(n.Notify), Satisfies: sc.Handlers(n.Satisfies),
		RunAs: user, Timeout: e.Timeout, Hidden: res.Hidden, Diff: h.run.opts.Diff, Check: v.verify,
		Register: e.Register.Text != "" || n.ChangedIf != nil || n.FailIf != nil || n.Until != nil}
	if st.Timeout == 0 {
		st.Timeout = lang.DefaultTimeout
	}
	if e.Retry != nil && n.Until == nil {
		st.Retries, st.Delay = e.Retry.Times, e.Retry.Delay
	}
	m := &stepMeta{task: h.task(n, st.N), node: n, notify: st.Notify, ignore: ignore}
	if st.Risky, m.port, err = n.Risky(res, h.secrets); err != nil {
		return nil, nil, nil, err
	}
	if e.OnController {
		st.Risky = false
		if m.reads, err = n.OnlyReads(res, h.secrets); err != nil {
			return nil, nil, nil, err
		}
		m.reads = m.reads || n.Module.Tells
	}
	m.stays = !ignore && h.goesOn(v.verify)
	st.Ignore = ignore || m.stays
	h.meta[st.N] = m
	return st, m, nil, nil
}

// goesOn reports whether the host goes on after a failure in this place. A rescue
// and a guard have to learn of it.
func (h *hostRun) goesOn(verify bool) bool {
	return (verify || h.bound.Playbook.Lang.OnFailure == "continue") && h.rescues == 0 && h.guard == nil
}

func (h *hostRun) task(n *load.Node, step int) event.Task {
	t := event.Task{Step: step, Name: n.Entry.Name, Path: n.Path, Pos: n.Entry.Pos}
	if n.Module != nil {
		t.Module = n.Module.Name
	}
	if n.Entry.OnController {
		t.On = "controller"
	}
	return t
}

// stopped returns errStop once when an answer that was taken in ends the work.
func (h *hostRun) stopped() error {
	err := h.broken
	h.broken = nil
	return err
}

// flush runs the batch, if there is one.
func (h *hostRun) flush(ctx context.Context) error {
	if len(h.batch) == 0 && len(h.drop) == 0 && len(h.queue) == 0 {
		return nil
	}
	return h.send(ctx, &wire.Program{})
}

// send ships the batch as a program and takes in the answers. A failure of a step
// is errStop.
func (h *hostRun) send(ctx context.Context, p *wire.Program) error {
	if h.cut != nil {
		return h.cut
	}
	if h.run.stopped() {
		return errInterrupted
	}
	h.program++
	p.ID, p.Steps, p.Handlers, p.Queue, p.Drop = h.program, h.batch, h.handlers, h.queue, h.drop
	h.batch, h.handlers, h.queue, h.drop, h.size = nil, nil, nil, nil, 0
	if err := h.detachable(p); err != nil {
		return err
	}
	g := h.guardOf(p)
	if h.failed && p.Outcome == "" {
		p.Outcome = "failed"
	}
	done, err := h.exchange(ctx, p)
	if err != nil {
		return h.lostUnder(ctx, g, err)
	}
	switch {
	case done.Cancelled && g != nil && done.Armed:
		// The person stopped the run and not the connection: what was done is kept
		// if it can be proved.
		return firstError(errInterrupted, h.settleGuard(ctx, g, nil))
	case done.Cancelled:
		if len(done.Pending) > 0 {
			h.warn("these handlers wait for the next run: "+plain.Line(joined(done.Pending)), "")
		}
		return errInterrupted
	case done.Error != "":
		return errors.New(done.Error)
	case done.Failed != 0:
		h.failed = true
		err = errStop
	}
	err = firstError(err, h.stopped())
	if g == nil || !done.Armed && !g.armed {
		return err
	}
	g.armed = true
	if !g.own {
		return err // the block's end settles it
	}
	return firstError(err, h.settleGuard(ctx, g, err))
}
