package runner

import (
	"context"
	"errors"
	"fmt"

	"holdfast/runner/event"
	"holdfast/runner/expr"
	"holdfast/runner/load"
	"holdfast/runner/wire"
)

// play walks the playbook on this host.
func (h *hostRun) play(ctx context.Context) error {
	pb := h.bound.Playbook
	facts := h.session.Welcome.Facts
	if why := pb.Needs(facts); why != "" {
		return errors.New(why)
	}
	sc := h.bound.NewScope(facts)
	if h.run.opts.Mode == event.Verify {
		return h.end(ctx, h.verify(ctx))
	}
	if err := h.define(ctx, pb.Handlers, sc); err != nil {
		return err
	}
	err := h.nodes(ctx, pb.Tasks, sc, false)
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if h.rollsBack(pb.Lang.OnFailure) {
		return h.finishOrRollBack(ctx, err)
	}
	verify := err == nil && !h.failed && h.run.opts.Mode == event.Apply && !h.run.opts.Detach && pb.Verifies()
	// Queued handlers run even after a failure: the file that they belong to is there.
	if ferr := h.send(ctx, &wire.Program{Flush: true, Final: !verify}); ferr != nil {
		err = ferr
	}
	switch {
	case !verify:
		return err
	case err != nil:
		return h.end(ctx, err)
	}
	if err := h.verify(ctx); err != nil {
		return h.end(ctx, err)
	}
	return h.end(ctx, h.soak(ctx))
}

// end tells the host that nothing follows, if it can still be told.
func (h *hostRun) end(ctx context.Context, err error) error {
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
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
		out := wire.Handler{Name: sc.Handler(handler.Name)}
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
			st, m, unknown, err := h.resolve(ctx, visit{node: n, sc: sc})
			if err == nil && unknown != nil {
				err = fmt.Errorf("%s: a handler cannot depend on a result", n.Path)
			}
			if err != nil {
				return err
			}
			m.task.Handler = out.Name
			h.hot = h.hot || st.Risky
			// A failure must not pass for done: the host would forget the handler.
			st.Ignore, m.stays = m.ignore, false
			out.Steps = append(out.Steps, *st)
		}
		h.handlers, h.defined = append(h.handlers, out), append(h.defined, out)
	}
	return nil
}

// visit is one look at an entry: for itself, or for one turn of its loop.
type visit struct {
	node   *load.Node
	sc     *load.Scope
	outer  *load.Scope // where a registered result goes
	verify bool
	gather *loop // of a loop that registers its results
}

func (h *hostRun) nodes(ctx context.Context, list []*load.Node, sc *load.Scope, verify bool) error {
	for _, n := range list {
		if err := h.node(ctx, visit{node: n, sc: sc, outer: sc, verify: verify}); err != nil {
			return err
		}
	}
	return nil
}

func (h *hostRun) node(ctx context.Context, v visit) error {
	h.entry = v.node.Entry
	if v.node.Each == nil {
		return h.once(ctx, v)
	}
	items, unknown, err := v.node.Items(ctx, v.sc)
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		items, unknown, err = v.node.Items(ctx, v.sc)
	}
	if err != nil {
		return h.fault(ctx, v, err)
	}
	if unknown != nil {
		return h.unknown(ctx, v, *unknown)
	}
	name := v.node.Entry.Register.Text
	if name != "" {
		v.gather = &loop{}
		v.outer.SetResult(name, expr.Unknown{Reason: v.node.Entry.Name})
	}
	for i, item := range items {
		turn := v
		turn.sc = v.sc.Turn(v.node.Entry.As, item, i)
		if err := h.once(ctx, turn); err != nil {
			return err
		}
	}
	if v.gather != nil {
		v.gather.whole = true
		v.gather.land(v.outer, name)
	}
	return nil
}

// once runs an entry for one turn of its loop, or for itself.
func (h *hostRun) once(ctx context.Context, v visit) error {
	n := v.node
	h.entry = n.Entry
	holds, unknown, err := n.When.Eval(ctx, v.sc.Vars())
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		holds, unknown, err = n.When.Eval(ctx, v.sc.Vars())
	}
	switch {
	case err != nil:
		return h.fault(ctx, v, err)
	case unknown != nil:
		return h.unknown(ctx, v, *unknown)
	case !holds:
		if n.Module != nil {
			h.report(n, event.TaskFinished{Status: event.Skipped, Reason: "when is false"})
		}
		return nil
	case n.Module != nil && n.Entry.Once:
		return h.single(ctx, v)
	case n.Module != nil:
		return h.add(ctx, v)
	case n.Use != nil:
		return h.use(ctx, v)
	}
	return h.block(ctx, n, v.sc, v.verify)
}

// use runs another playbook in this place.
func (h *hostRun) use(ctx context.Context, v visit) error {
	n := v.node
	inner, unknown, err := n.Enter(ctx, v.sc)
	if err == nil && unknown != nil {
		if err := h.flush(ctx); err != nil {
			return err
		}
		inner, unknown, err = n.Enter(ctx, v.sc)
	}
	if err == nil && unknown == nil {
		if why := n.Use.Needs(h.session.Welcome.Facts); why != "" {
			err = errors.New(why)
		} else {
			err = h.define(ctx, n.Use.Handlers, inner)
		}
	}
	if err != nil {
		return h.fault(ctx, v, err)
	}
	if unknown != nil {
		return h.unknown(ctx, v, *unknown)
	}
	used := group{name: n.Entry.Name, tasks: n.Use.Tasks, rollback: h.rollsBack(n.Use.Lang.OnFailure) && !v.verify}
	return h.group(ctx, used, inner, v.verify)
}

// block runs a block, under its guard if it has one.
func (h *hostRun) block(ctx context.Context, n *load.Node, sc *load.Scope, verify bool) error {
	if n.Guard != nil && (h.run.opts.Mode == event.Apply || h.run.opts.Mode == event.Plan) {
		return h.guarded(ctx, n, sc)
	}
	return h.group(ctx, h.groupOf(n), sc, verify)
}

// part runs one list of a block and waits for how it ends.
func (h *hostRun) part(ctx context.Context, list []*load.Node, sc *load.Scope, verify bool) error {
	if err := h.nodes(ctx, list, sc, verify); err != nil {
		return err
	}
	return h.flush(ctx)
}
