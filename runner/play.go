package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/playbooks/lang"
	"holdfast/runner/event"
	"holdfast/runner/expr"
	"holdfast/runner/load"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// stepMeta is what is known here of a step that was sent.
type stepMeta struct {
	task    event.Task
	node    *load.Node
	scope   *load.Scope
	collect *loop // where the result goes in a loop
	index   int
	// stays is set when the host goes on after a failure, which still counts.
	stays  bool
	status event.Status
	value  any // the result, or an expr.Unknown
}

// loop gathers the results of a task that runs once for each item.
type loop struct {
	values []any
	open   int
}

// play walks the playbook on this host.
func (h *hostRun) play(ctx context.Context) error {
	pb := h.bound.Playbook
	facts := h.session.Welcome.Facts
	if why := pb.Needs(facts); why != "" {
		return errors.New(why)
	}
	sc := h.bound.NewScope(facts)
	if h.run.opts.Mode == event.Verify {
		err := h.nodes(ctx, pb.Verify, sc, true)
		return firstError(err, h.send(ctx, &wire.Program{Final: true}))
	}
	if err := h.define(ctx, pb.Handlers, sc); err != nil {
		return err
	}
	err := h.nodes(ctx, pb.Tasks, sc, false)
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	verify := err == nil && h.run.opts.Mode == event.Apply && len(pb.Verify) > 0
	// Queued handlers run even after a failure: the file that they belong to is there.
	if ferr := h.send(ctx, &wire.Program{Flush: true, Final: !verify}); ferr != nil {
		return ferr
	}
	if err != nil || !verify || h.failed {
		if verify {
			return firstError(errStop, h.send(ctx, &wire.Program{Final: true, Outcome: "failed"}))
		}
		return err
	}
	err = h.nodes(ctx, pb.Verify, h.bound.NewScope(facts), true)
	return firstError(err, h.send(ctx, &wire.Program{Final: true}))
}

func firstError(a, b error) error {
	if b != nil && (a == nil || errors.Is(a, errStop)) {
		return b
	}
	return a
}

// define resolves handlers for the next program. They depend on nothing that a task
// brings about, so that the host can keep them.
func (h *hostRun) define(ctx context.Context, list []*load.Handler, sc *load.Scope) error {
	for _, handler := range list {
		out := wire.Handler{Name: handler.Name}
		for _, n := range handler.Tasks {
			holds, unknown, err := n.When.Eval(ctx, sc.Vars())
			if err == nil && unknown != nil {
				err = fmt.Errorf("%s: a handler cannot depend on a result", n.Path)
			}
			if err != nil {
				return err
			}
			if !holds {
				continue
			}
			st, unknown, err := h.resolve(ctx, n, sc, false)
			if err != nil {
				return err
			}
			if unknown != nil {
				return fmt.Errorf("%s: a handler cannot depend on a result", n.Path)
			}
			h.meta[st.N].task.Handler = handler.Name
			out.Steps = append(out.Steps, *st)
		}
		h.handlers = append(h.handlers, out)
	}
	return nil
}

func (h *hostRun) nodes(ctx context.Context, list []*load.Node, sc *load.Scope, verify bool) error {
	for _, n := range list {
		if err := h.node(ctx, n, sc, verify); err != nil {
			return err
		}
	}
	return nil
}

func (h *hostRun) node(ctx context.Context, n *load.Node, sc *load.Scope, verify bool) error {
	name := n.Entry.Register.Text
	if n.Each == nil {
		return h.once(ctx, n, sc, sc, verify, nil)
	}
	items, unknown, err := n.Items(ctx, sc)
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		items, unknown, err = n.Items(ctx, sc)
	}
	if err != nil {
		return h.fault(n, err)
	}
	if unknown != nil {
		if name != "" {
			sc.SetResult(name, *unknown)
		}
		return h.unknown(n, *unknown)
	}
	var gather *loop
	if name != "" {
		gather = &loop{}
		sc.SetResult(name, expr.Unknown{Reason: n.Entry.Name})
	}
	for _, item := range items {
		if err := h.once(ctx, n, sc.Bind(n.Entry.As, item), sc, verify, gather); err != nil {
			return err
		}
	}
	if gather != nil && gather.open == 0 {
		sc.SetResult(name, gather.values)
	}
	return nil
}

// once runs an entry for one item of its loop, or for itself. outer is the scope
// that a registered result goes to.
func (h *hostRun) once(ctx context.Context, n *load.Node, sc, outer *load.Scope, verify bool, gather *loop) error {
	holds, unknown, err := n.When.Eval(ctx, sc.Vars())
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		holds, unknown, err = n.When.Eval(ctx, sc.Vars())
	}
	switch {
	case err != nil:
		return h.fault(n, err)
	case unknown != nil:
		if name := n.Entry.Register.Text; name != "" && gather == nil {
			outer.SetResult(name, *unknown)
		}
		return h.unknown(n, *unknown)
	case !holds:
		if n.Module != nil {
			h.report(n, event.TaskFinished{Status: event.Skipped, Reason: "when is false"})
		}
		return nil
	case n.Module != nil:
		return h.add(ctx, n, sc, outer, verify, gather)
	case n.Use != nil:
		return h.use(ctx, n, sc, verify)
	}
	return h.block(ctx, n, sc, verify)
}

// use runs another playbook in this place.
func (h *hostRun) use(ctx context.Context, n *load.Node, sc *load.Scope, verify bool) error {
	inner, unknown, err := n.Enter(ctx, sc)
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		inner, unknown, err = n.Enter(ctx, sc)
	}
	if err != nil {
		return h.fault(n, err)
	}
	if unknown != nil {
		return h.unknown(n, *unknown)
	}
	if why := n.Use.Needs(h.session.Welcome.Facts); why != "" {
		return h.fault(n, errors.New(why))
	}
	if err := h.define(ctx, n.Use.Handlers, inner); err != nil {
		return h.fault(n, err)
	}
	return h.nodes(ctx, n.Use.Tasks, inner, verify)
}

// block runs a block. Rescue and always need to know how its tasks ended, so a
// block that has them is a barrier on both sides.
func (h *hostRun) block(ctx context.Context, n *load.Node, sc *load.Scope, verify bool) error {
	if n.Guard != nil && h.run.opts.Mode == event.Apply {
		return h.guarded(ctx, n, sc)
	}
	if len(n.Rescue) == 0 && len(n.Always) == 0 {
		return h.nodes(ctx, n.Tasks, sc, verify)
	}
	if err := h.flush(ctx); err != nil {
		return err
	}
	err := h.nodes(ctx, n.Tasks, sc, verify)
	if err == nil {
		err = h.flush(ctx)
	}
	if errors.Is(err, errStop) && len(n.Rescue) > 0 {
		h.failed = false
		err = h.nodes(ctx, n.Rescue, sc, verify)
		if err == nil {
			err = h.flush(ctx)
		}
	}
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	aerr := h.nodes(ctx, n.Always, sc, verify)
	if aerr == nil {
		aerr = h.flush(ctx)
	}
	if err == nil {
		return aerr
	}
	return firstError(err, aerr)
}

// add resolves a task and puts it into the batch. What it depends on is a barrier:
// the batch before it is run first.
func (h *hostRun) add(ctx context.Context, n *load.Node, sc, outer *load.Scope, verify bool, gather *loop) error {
	times := 1
	if n.Until != nil {
		times = n.Entry.Retry.Times + 1
	}
	for attempt := range times {
		st, unknown, err := h.resolve(ctx, n, sc, verify)
		if err == nil && unknown != nil {
			if err := h.flush(ctx); err != nil {
				return err
			}
			st, unknown, err = h.resolve(ctx, n, sc, verify)
		}
		if err != nil {
			return h.fault(n, err)
		}
		if unknown != nil {
			return h.unknown(n, *unknown)
		}
		m := h.meta[st.N]
		m.scope = outer
		h.expect(n, m, outer, gather)
		h.batch = append(h.batch, *st)
		if n.ChangedIf == nil && n.FailIf == nil && n.Until == nil {
			return nil
		}
		// The result decides what happens next, so the host must wait for it.
		if err := h.flush(ctx); err != nil || n.Until == nil || m.status == event.Unknown {
			return err
		}
		if done, err := h.until(ctx, n, sc, m, attempt, times); done || err != nil {
			return err
		}
	}
	return nil
}

// expect makes the result of a step unknown until it is there.
func (h *hostRun) expect(n *load.Node, m *stepMeta, outer *load.Scope, gather *loop) {
	name := n.Entry.Register.Text
	if name == "" {
		return
	}
	if gather != nil {
		m.collect, m.index = gather, len(gather.values)
		gather.values = append(gather.values, expr.Unknown{Reason: n.Entry.Name})
		gather.open++
		return
	}
	outer.SetResult(name, expr.Unknown{Reason: n.Entry.Name})
}

// until decides whether a task with retry.until is done.
func (h *hostRun) until(ctx context.Context, n *load.Node, sc *load.Scope, m *stepMeta, attempt, times int) (bool, error) {
	if m.scope == nil || h.run.opts.Mode == event.Plan {
		return true, nil
	}
	holds, unknown, err := n.Until.Eval(ctx, sc.Bind("result", m.result()).Vars())
	if err != nil {
		return true, h.fault(n, err)
	}
	if holds || unknown != nil {
		return true, nil
	}
	if attempt == times-1 {
		return true, h.fault(n, fmt.Errorf("until does not hold after %d attempts", times))
	}
	return false, sleep(ctx, n.Entry.Retry.Delay, h.run.opts.Stop)
}

// result returns the value that the step left.
func (m *stepMeta) result() any {
	if m.collect != nil {
		return m.collect.values[m.index]
	}
	return m.value
}

// resolve makes a step of a task. Its arguments are known then.
func (h *hostRun) resolve(ctx context.Context, n *load.Node, sc *load.Scope, verify bool) (*wire.Step, *expr.Unknown, error) {
	user, unknown, err := n.RunAsUser(ctx, sc)
	if err != nil || unknown != nil {
		return nil, unknown, err
	}
	res, unknown, err := n.Resolve(ctx, sc, h.secrets)
	if err != nil || unknown != nil {
		return nil, unknown, err
	}
	ignore := false
	if n.IgnoreFailure != nil {
		if ignore, unknown, err = n.IgnoreFailure.Eval(ctx, sc.Vars()); err != nil || unknown != nil {
			return nil, unknown, err
		}
	}
	e := n.Entry
	h.step++
	st := &wire.Step{N: h.step, Path: n.Path, Name: e.Name, Module: n.Module.Name, Args: res.Args, Notify: n.Notify,
		RunAs: user, Timeout: e.Timeout, Hidden: res.Hidden, Diff: h.run.opts.Diff, Check: verify,
		Register: e.Register.Text != "" || n.ChangedIf != nil || n.FailIf != nil || n.Until != nil}
	if st.Timeout == 0 {
		st.Timeout = lang.DefaultTimeout
	}
	if e.Retry != nil && n.Until == nil {
		st.Retries, st.Delay = e.Retry.Times, e.Retry.Delay
	}
	m := &stepMeta{task: h.task(n, st.N), node: n}
	m.stays = !ignore && (verify || h.bound.Playbook.Lang.OnFailure == "continue")
	st.Ignore = ignore || m.stays
	h.meta[st.N] = m
	return st, nil, nil
}

func (h *hostRun) task(n *load.Node, step int) event.Task {
	t := event.Task{Step: step, Name: n.Entry.Name, Path: n.Path, Pos: n.Entry.Pos}
	if n.Module != nil {
		t.Module = n.Module.Name
	}
	return t
}

// fault reports a task that cannot even be sent, and stops the host.
func (h *hostRun) fault(n *load.Node, err error) error {
	f := event.TaskFinished{Status: event.Failed, Error: err.Error()}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		f.Hint = hinted.Hint()
	}
	h.failed = true
	h.report(n, f)
	return errStop
}

// unknown reports an entry that depends on what is not known. In a plan that is an
// answer; in a run it means that a result is missing for good.
func (h *hostRun) unknown(n *load.Node, u expr.Unknown) error {
	if h.run.opts.Mode != event.Plan {
		return h.fault(n, fmt.Errorf("it depends on %s, which gave no result", u))
	}
	h.report(n, event.TaskFinished{Status: event.Unknown, Reason: "not known until " + strings.Join(quoted(u.Reasons()), " and ") + " has run"})
	return nil
}

func quoted(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = fmt.Sprintf("%q", out[i])
	}
	return out
}

// report emits the outcome of an entry that no step was made for.
func (h *hostRun) report(n *load.Node, f event.TaskFinished) {
	h.step++
	f.Task = h.task(n, h.step)
	h.tally(f.Status)
	h.run.emit(h.host.Name, event.Event{TaskFinished: &f})
}

func (h *hostRun) tally(s event.Status) {
	c := &h.counts
	for status, n := range map[event.Status]*int{event.Unchanged: &c.Unchanged, event.Changed: &c.Changed, event.Ran: &c.Ran,
		event.Skipped: &c.Skipped, event.Failed: &c.Failed, event.Unknown: &c.Unknown, event.Ignored: &c.Ignored} {
		if s == status {
			*n++
		}
	}
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
	if h.run.stopped() {
		return errInterrupted
	}
	h.program++
	p.ID, p.Steps, p.Handlers, p.Queue, p.Drop = h.program, h.batch, h.handlers, h.queue, h.drop
	h.batch, h.handlers, h.queue, h.drop = nil, nil, nil, nil
	g := h.guardOf(p)
	if h.failed && p.Outcome == "" {
		p.Outcome = "failed"
	}
	done, err := h.session.Run(ctx, remote.Work{Program: p, Secrets: h.secrets.All(), Blob: h.run.opts.Blobs.Get, Each: h.hear, Interrupt: h.run.opts.Stop})
	if err != nil {
		return err
	}
	if done.ID != p.ID {
		return wire.Violationf("program %d was answered as %d", p.ID, done.ID)
	}
	switch {
	case h.broken != nil:
		return h.broken
	case done.Cancelled && g != nil && done.Armed && ctx.Err() == nil:
		// The person stopped the run and not the connection: what was done is kept
		// if it can be proved.
		return firstError(errInterrupted, h.settleGuard(ctx, g, nil))
	case done.Cancelled:
		if len(done.Pending) > 0 {
			h.warn("these handlers wait for the next run: "+strings.Join(done.Pending, ", "), "")
		}
		return errInterrupted
	case done.Error != "":
		return errors.New(done.Error)
	case done.Failed != 0:
		h.failed = true
		err = errStop
	}
	if g == nil || !done.Armed && !g.armed {
		return err
	}
	g.armed = true
	if !g.own {
		return err // the block's end settles it
	}
	return firstError(err, h.settleGuard(ctx, g, err))
}
