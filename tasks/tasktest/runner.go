package tasktest

import (
	"context"
	"encoding/json"
	"testing"

	"holdfast/tasks/task"
)

// runner does with one bound module what the engine does.
type runner struct {
	h       *Host
	m       *task.Module
	b       *task.Bound
	state   any // before the change; the result of an action
	changes []task.Change
	began   bool // something may have been changed
	err     error
}

func (r *runner) apply(ctx context.Context) error {
	if r.b.Observe == nil {
		r.err = r.act(ctx)
	} else {
		r.err = r.settle(ctx)
	}
	return r.err
}

func (r *runner) act(ctx context.Context) error {
	if r.b.Skip != nil {
		if why, err := r.b.Skip(ctx, r.h); err != nil || why != "" {
			return err
		}
	}
	r.began = true
	var err error
	r.state, _, err = r.b.Run(ctx, r.h)
	return err
}

func (r *runner) settle(ctx context.Context) error {
	state, changes, err := r.b.Observe(ctx, r.h)
	if err != nil || len(changes) == 0 {
		return err
	}
	r.state, r.changes, r.began = state, changes, true
	if err := r.b.Apply(ctx, r.h, state); err != nil {
		return err
	}
	_, left, err := r.b.Observe(ctx, r.h)
	if err == nil && len(left) > 0 {
		return &task.NotSettled{Changes: left}
	}
	return err
}

// undo takes back what the module did: first its commands, then the primitives.
func (r *runner) undo(t testing.TB) {
	t.Helper()
	r.undoCommands(t)
	r.h.Restore()
}

func (r *runner) undoCommands(t testing.TB) {
	t.Helper()
	if r.b.Undo == nil || !r.began {
		return
	}
	saved, err := json.Marshal(r.state)
	if err != nil {
		t.Fatalf("the state does not marshal: %v", err)
	}
	// What an undo does is in a journal of its own and not taken back with the run.
	n := len(r.h.inverses)
	if err := r.b.Undo(context.Background(), r.h, saved); err != nil {
		t.Errorf("cannot undo %s: %v", r.b.Resource, err)
	}
	r.h.inverses = r.h.inverses[:n]
}
