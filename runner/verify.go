package runner

import (
	"context"

	"holdfast/runner/event"
	"holdfast/runner/load"
)

// verify runs the checks of the playbook, and then those of the playbooks that it uses:
// what is used is part of what was promised.
func (h *hostRun) verify(ctx context.Context) error {
	pb := h.bound.Playbook
	facts := h.session.Welcome.Facts
	if err := h.nodes(ctx, pb.Verify, h.bound.NewScope(facts), true); err != nil {
		return err
	}
	return h.verifyUsed(ctx, pb.Tasks, h.bound.NewScope(facts))
}

// verifyUsed runs the checks of the playbooks that tasks use. A use whose condition or
// parameters depend on a result of the tasks cannot be looked at by itself.
func (h *hostRun) verifyUsed(ctx context.Context, list []*load.Node, sc *load.Scope) error {
	for _, n := range list {
		if !n.Verifies() {
			continue
		}
		items := []any{nil}
		if n.Each != nil {
			all, unknown, err := n.Items(ctx, sc)
			if err != nil || unknown != nil {
				h.leaveOut(n)
				continue
			}
			items = all
		}
		for i, item := range items {
			turn := sc
			if n.Each != nil {
				turn = sc.Turn(n.Entry.As, item, i)
			}
			if err := h.verifyUse(ctx, n, turn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *hostRun) verifyUse(ctx context.Context, n *load.Node, sc *load.Scope) error {
	holds, unknown, err := n.When.Eval(ctx, sc.Vars())
	switch {
	case err != nil, unknown != nil:
		h.leaveOut(n)
		return nil
	case !holds:
		return nil
	}
	for _, inner := range [][]*load.Node{n.Tasks, n.Rescue, n.Always} {
		if err := h.verifyUsed(ctx, inner, sc); err != nil {
			return err
		}
	}
	if n.Use == nil {
		return nil
	}
	inner, unknown, err := n.Enter(ctx, sc)
	if err != nil || unknown != nil {
		h.leaveOut(n)
		return nil
	}
	if err := h.nodes(ctx, n.Use.Verify, inner, true); err != nil {
		return err
	}
	return h.verifyUsed(ctx, n.Use.Tasks, inner)
}

func (h *hostRun) leaveOut(n *load.Node) {
	h.report(n, event.TaskFinished{Status: event.Skipped, Reason: "its checks depend on a result of the tasks"})
}
