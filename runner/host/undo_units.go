package host

import (
	"context"
	"errors"
	"slices"
	"strings"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// unit takes back a change of a unit: what was enabled, masked, started or stopped.
// A restart or a reload has no inverse; it is done again, see again.
func (u *undo) unit(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	b, err := decode[unitState](e.Before)
	if err != nil {
		return step{}, err
	}
	now, err := w.Unit(ctx, b.Ref)
	if err != nil || !now.Exists && !b.State.Exists {
		return step{}, err
	}
	c := unitBack(b, now)
	if c == (task.UnitChange{}) {
		return step{}, nil
	}
	s := step{action: unitAction(c)}
	if print := unitPrint(now, b.Change); e.Finished && print != e.After {
		s.refused = "it is now " + print + ", not " + e.After
	}
	s.act = func() error {
		if u.unitsOf || now.NeedReload {
			u.unitsOf = false
			if err := w.ReloadUnits(ctx, b.Ref.User); err != nil {
				return err
			}
		}
		return w.SetUnit(ctx, b.Ref, c)
	}
	return s, nil
}

// again repeats the restarts and reloads of a task whose other changes were taken
// back: the unit must read what it finds now. A unit that does not run reads it when
// it starts.
func (u *undo) again(ctx context.Context, w *writer, t *journal.TaskRecord) {
	for i, e := range t.Entries {
		if e.Op != opUnit || slices.ContainsFunc(t.Entries[i+1:], func(later *journal.Entry) bool { return later.Op == opUnit && later.Resource == e.Resource }) {
			continue // what was done last counts
		}
		b, err := decode[unitState](e.Before)
		r := UndoResult{Resource: e.Resource, Task: taskName(t), Status: Already}
		if err == nil && slices.Contains([]task.UnitAction{task.UnitRestart, task.UnitReload, task.UnitReloadOrRestart}, b.Change.Action) {
			r.Action = string(b.Change.Action) + " it"
			r.Status, err = u.repeat(ctx, w, t, b)
		}
		if err != nil {
			r.Status, r.Message = Failed, err.Error()
		}
		u.add(r)
	}
}

// repeat makes the manager read its files first where the task did so too: a
// generator makes units of files that do not look like units.
func (u *undo) repeat(ctx context.Context, w *writer, t *journal.TaskRecord, b unitState) (string, error) {
	now, err := w.Unit(ctx, b.Ref)
	if err != nil || !running(now) {
		return Already, err
	}
	reloaded := slices.ContainsFunc(t.Entries, func(e *journal.Entry) bool { return e.Op == opReload })
	if u.unitsOf || now.NeedReload || reloaded {
		u.unitsOf = false
		if err := w.ReloadUnits(ctx, b.Ref.User); err != nil {
			return Failed, err
		}
	}
	return Undone, w.SetUnit(ctx, b.Ref, task.UnitChange{Action: b.Change.Action})
}

func unitBack(b unitState, now task.Unit) (c task.UnitChange) {
	if b.Change.Mask != nil && now.Masked != b.State.Masked {
		c.Mask = &b.State.Masked
	}
	was, is := isEnabled(b.State), isEnabled(now)
	if b.Change.Enable != nil && was != is && (is || changeable(b.State.Enabled)) {
		c.Enable = &was
	}
	ran, runs := running(b.State), running(now)
	switch {
	case b.Change.Action == "" || ran == runs:
	case ran:
		c.Action = task.UnitStart
	default:
		c.Action = task.UnitStop
	}
	return c
}

func isEnabled(u task.Unit) bool { return strings.HasPrefix(u.Enabled, "enabled") }

func running(u task.Unit) bool {
	return u.Active == "active" || u.Active == "activating" || u.Active == "reloading"
}

func unitAction(c task.UnitChange) string {
	var parts []string
	for _, p := range []struct {
		set     *bool
		on, off string
	}{{c.Mask, "mask it", "unmask it"}, {c.Enable, "enable it", "disable it"}} {
		switch {
		case p.set == nil:
		case *p.set:
			parts = append(parts, p.on)
		default:
			parts = append(parts, p.off)
		}
	}
	if c.Action != "" {
		parts = append(parts, string(c.Action)+" it")
	}
	return strings.Join(parts, ", ")
}

// purge removes packages and stops the units that they leave running: not every
// package stops its own.
func (w *writer) purge(ctx context.Context, p *packagePlan) error {
	gone := slices.Concat(p.purge, p.also)
	if w.m.facts.Init != "systemd" {
		return w.removePackages(ctx, p.purge, gone, true)
	}
	sm, err := w.m.manager(ctx, "")
	if err != nil {
		return err
	}
	before, err := sm.Abandoned(ctx)
	if err != nil {
		return err
	}
	failed, err := sm.Remembered(ctx)
	if err != nil {
		return err
	}
	if err := w.removePackages(ctx, p.purge, gone, true); err != nil {
		return err
	}
	after, err := sm.Abandoned(ctx)
	errs := []error{err}
	for _, name := range after {
		if !slices.Contains(before, name) {
			errs = append(errs, w.SetUnit(ctx, task.UnitRef{Name: name}, task.UnitChange{Action: task.UnitStop}))
		}
	}
	// What failed before the package went is nobody's failure now.
	after, err = sm.Remembered(ctx)
	errs = append(errs, err)
	for _, name := range after {
		if !slices.Contains(failed, name) {
			errs = append(errs, sm.ResetFailed(ctx, name))
		}
	}
	return errors.Join(errs...)
}
