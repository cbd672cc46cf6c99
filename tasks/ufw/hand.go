package ufw

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// byHand reports whether the unit does not stand for the firewall: "ufw enable"
// brings it up without the unit, and a host may have no units at all. Stopping and
// starting the unit could then not be taken back by the journal.
func byHand(s State) bool {
	live := s.look.now.Enabled || s.look.next.Enabled
	return live && (!s.look.exists || s.Enabled && !s.Running)
}

// applyByHand leaves the unit active, so that the next task can use it. A command
// starts it, because the journal would stop what it started itself; that the unit
// is started once more tells a plan what the command did.
func applyByHand(ctx context.Context, w task.Writer, l *look) error {
	if len(l.edits) > 0 {
		if err := run(ctx, w, program, "force-stop"); err != nil {
			return err
		}
	}
	err := l.write(ctx, w, l.edits)
	if err == nil && l.next.Enabled {
		if l.exists {
			err = run(ctx, w, "systemctl", "start", unit.Name)
		} else {
			err = run(ctx, w, program, "start")
		}
	}
	if err == nil && l.next.Enabled && l.exists {
		c := task.UnitChange{Action: task.UnitStart}
		if !l.starts {
			c.Enable = ptr(true)
		}
		err = w.SetUnit(ctx, unit, c)
	}
	if err == nil {
		return nil
	}
	errs := []error{err, l.write(ctx, w, l.texts)}
	if l.now.Enabled {
		errs = append(errs, run(ctx, w, program, "start"))
	}
	return errors.Join(errs...)
}

// undo takes back what applyByHand did. For all else the journal does it, before
// and after which the unit stops and starts.
func undo(ctx context.Context, w task.Writer, _ Params, s State) error {
	if len(s.Old) == 0 {
		return nil
	}
	if err := run(ctx, w, program, "force-stop"); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Old)) {
		if err := w.WriteFile(ctx, task.FileWrite{Path: name, Data: []byte(s.Old[name])}); err != nil {
			return err
		}
	}
	if !s.Enabled {
		return nil
	}
	return run(ctx, w, program, "start")
}

func run(ctx context.Context, w task.Writer, argv ...string) error {
	out, err := w.Run(ctx, task.Command{Argv: argv})
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("it ends with %d: %s", out.Status, strings.TrimSpace(out.Stdout+out.Stderr))
	}
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", strings.Join(argv, " "), err)
	}
	return nil
}
