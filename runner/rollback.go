package runner

import (
	"context"
	"errors"
	"fmt"

	"holdfast/playbooks/lang"
	"holdfast/runner/event"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/wire"
)

// The outcomes of a rollback.
const (
	backUndone = "undone"
	backBroken = "broken"
)

// finishOrRollBack ends a play whose failure takes back all of it: handlers and verify are
// part of the play, so it is good only when they are.
func (h *hostRun) finishOrRollBack(ctx context.Context, err error) error {
	if err == nil {
		err = h.flush(ctx) // handlers do not run for what is about to be taken back
	}
	if err == nil && !h.failed {
		err = h.send(ctx, &wire.Program{Flush: true})
	}
	if err == nil && !h.failed {
		if err = h.verify(ctx); err == nil {
			err = h.soak(ctx)
		}
		if err == nil {
			err = h.flush(ctx)
		}
	}
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if err == nil && !h.failed {
		return h.send(ctx, &wire.Program{Final: true})
	}
	return h.rollBack(ctx, "", 1)
}

// rollBack takes back what the steps from one number on changed on the host, the whole
// play if block has no name. It returns errStop when that was done, however it went.
func (h *hostRun) rollBack(ctx context.Context, block string, from int) error {
	whole := block == ""
	p := &wire.Program{Flush: whole, Final: whole, Outcome: "failed"}
	if from > h.step {
		return firstError(errStop, h.send(ctx, p)) // nothing was begun
	}
	if h.cut != nil {
		return h.notRolledBack(block, "the connection is gone, so nobody could ask for it")
	}
	p.Rollback = &wire.Rollback{From: from, To: h.step, Whole: whole}
	h.tell(event.Event{Rollback: &event.Rollback{Status: "began", Block: block}})
	undone := h.counts.Undone
	h.wrong = 0
	err := h.send(ctx, p)
	switch {
	case err == nil || errors.Is(err, errStop):
	case errors.Is(err, errInterrupted), isLost(err):
		return err
	default:
		return h.notRolledBack(block, plain.Text(err.Error()))
	}
	h.failed = true
	undone = h.counts.Undone - undone
	switch {
	case h.wrong > 0:
		return h.notRolledBack(block, fmt.Sprintf("%d could not be, see above", h.wrong))
	case undone > 0:
		if h.back == "" {
			h.back = backUndone
		}
		h.tell(event.Event{Rollback: &event.Rollback{Status: backUndone, Block: block, Message: changes(undone) + " taken back"}})
	default:
		h.tell(event.Event{Rollback: &event.Rollback{Status: "nothing", Block: block, Message: "nothing had been changed"}})
	}
	return errStop
}

func changes(n int) string {
	if n == 1 {
		return "1 change was"
	}
	return fmt.Sprintf("%d changes were", n)
}

// notRolledBack says that something of what was to be taken back is still there.
func (h *hostRun) notRolledBack(block, why string) error {
	h.back, h.failed = backBroken, true
	h.tell(event.Event{Rollback: &event.Rollback{Status: backBroken, Block: block, Message: why,
		Hint: "look at the host; 'holdfast undo " + h.run.opts.ID + "' may take back the rest"}})
	return errStop
}

// group is a list of tasks whose failure is dealt with as a whole.
type group struct {
	name                  string
	tasks, rescue, always []*load.Node
	rollback              bool
}

// groupOf returns a block as a group.
func (h *hostRun) groupOf(n *load.Node) group {
	return group{name: n.Entry.Name, tasks: n.Tasks, rescue: n.Rescue, always: n.Always, rollback: h.rollsBack(n.Entry.OnFailure)}
}

// rollsBack reports whether a group with that on_failure is taken back in this place. A
// guard around takes back all of it anyway.
func (h *hostRun) rollsBack(onFailure string) bool {
	return onFailure == lang.Rollback && h.run.opts.Mode == event.Apply && h.guard == nil
}

// group runs a group. Rescue, always and a rollback need to know how its tasks ended, so
// a group that has them is a barrier on both sides.
func (h *hostRun) group(ctx context.Context, g group, sc *load.Scope, verify bool) error {
	if len(g.rescue) == 0 && len(g.always) == 0 && !g.rollback {
		return h.nodes(ctx, g.tasks, sc, verify)
	}
	if err := h.flush(ctx); err != nil {
		return err
	}
	before, back, from := h.failed, h.back, h.step+1
	if len(g.rescue) > 0 || g.rollback {
		h.rescues++
	}
	err := h.part(ctx, g.tasks, sc, verify)
	if len(g.rescue) > 0 || g.rollback {
		h.rescues--
	}
	if errors.Is(err, errStop) && g.rollback {
		err = h.rollBack(ctx, g.name, from)
	}
	switch {
	case !errors.Is(err, errStop) || h.back == backBroken && back != backBroken:
	case len(g.rescue) > 0:
		h.failed, h.back = before, back
		err = h.part(ctx, g.rescue, sc, verify)
	case g.rollback && h.goesOn(verify):
		err = nil
	}
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	return firstError(err, h.part(ctx, g.always, sc, verify))
}

// oneWay warns of tasks that a rollback could not take back, before the first change.
func (r *run) oneWay() {
	if r.opts.Playbook == nil || r.opts.Mode != event.Plan && r.opts.Mode != event.Apply {
		return
	}
	for _, n := range r.opts.Playbook.OneWay {
		r.emit("", event.Event{Warning: &event.Warning{
			Message: fmt.Sprintf("%s: on_failure: rollback cannot take back the task %q", n.Entry.Pos, n.Entry.Name),
			Hint:    "give it an undo, or take it out of what is rolled back"}})
	}
}
