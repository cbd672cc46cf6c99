package helper

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// runs lists the runs that can be taken back, newest first.
func (s *server) runs() ([]wire.Run, error) {
	infos, err := s.store.Runs()
	if err != nil {
		return nil, err
	}
	undone := map[string]string{}
	for _, r := range infos {
		if r.UndoOf != "" && r.Status == journal.Succeeded && r.Command != guardCommand {
			undone[r.UndoOf] = r.ID
		}
	}
	var out []wire.Run
	for _, r := range slices.Backward(infos) {
		out = append(out, wire.Run{ID: r.ID, Playbook: r.Playbook, Version: r.Version, Started: r.Started, Command: r.Command,
			Status: r.Status, UndoOf: r.UndoOf, UndoneBy: undone[r.ID], Controller: r.Controller, User: r.User, Ended: r.Ended})
	}
	return out, nil
}

// undo takes back a run and reports each resource. Handlers that the run's tasks
// notified are run again where something was taken back: the old file is there, and
// its service must read it.
func (s *server) undo(ctx context.Context, u *wire.Undo) error {
	rec, err := s.store.Load(u.Run)
	if err != nil {
		return s.refuse(err.Error())
	}
	opts := host.UndoOptions{Only: u.Only, Plan: u.Plan, Force: u.Force, Fence: s.lock.Check,
		Progress: func(text string) { _ = s.stream.Send(&wire.Message{Progress: &wire.Progress{Message: text}}) },
		Command:  s.undoCommand, HasCommand: s.hasUndo}
	if !u.Plan {
		info := rec.RunInfo
		s.journal, err = s.store.Begin(journal.RunInfo{ID: s.hello.Run, Playbook: info.Playbook, Version: info.Version, Command: s.hello.Command,
			Started: now(), Controller: s.hello.Controller, User: s.hello.User, UndoOf: info.ID})
		if err != nil {
			return s.refuse(err.Error())
		}
		opts.Into = s.journal
	}
	results, err := s.machine.Undo(ctx, rec, opts)
	if !u.Plan {
		if nerr := s.noteRun(ctx, s.hello.Run, 0, false); nerr != nil {
			_ = s.stream.Send(&wire.Message{Warning: &wire.Warning{Message: "cannot note what was taken back: " + nerr.Error()}})
		}
	}
	for _, r := range results {
		if err := s.stream.Send(&wire.Message{Undone: &wire.Undone{Resource: r.Resource, Task: r.Task, Action: r.Action, Status: r.Status, Message: r.Message}}); err != nil {
			return err
		}
	}
	done := &wire.Done{}
	if err != nil {
		done.Error = err.Error()
	}
	if !u.Plan {
		s.renotify(ctx, rec, results)
		s.conclude(results, err)
	}
	done.Cancelled = s.ended(ctx)
	return s.stream.Send(&wire.Message{Done: done})
}

// conclude closes the undo's own journal.
func (s *server) conclude(results []host.UndoResult, err error) {
	s.failed = err != nil
	for _, r := range results {
		if r.Status != "undone" && r.Status != "already" {
			s.failed = true
		}
	}
	outcome := "ok"
	if s.stopping() {
		outcome = "interrupted"
	}
	if err := s.finish(outcome); err != nil {
		_ = s.stream.Send(&wire.Message{Warning: &wire.Warning{Message: err.Error()}})
	}
}

// bound makes a task of the past ready again. Its secrets are not on the host.
func (s *server) bound(t *journal.TaskRecord) (*task.Bound, error) {
	m := s.modules[t.Module]
	if m == nil {
		return nil, fmt.Errorf("this helper has no module %q", t.Module)
	}
	args, err := node(t.Args)
	if err != nil {
		return nil, err
	}
	return m.Bind(args, func(int) (secret.Text, bool) { return secret.New("not kept on the host"), true })
}

// hasUndo reports whether a task has an undo of its own.
func (s *server) hasUndo(t *journal.TaskRecord) bool {
	b, err := s.bound(t)
	return err == nil && b.Undo != nil && t.End != nil && len(t.End.State) > 0
}

// undoCommand runs a task's own undo.
func (s *server) undoCommand(ctx context.Context, t *journal.TaskRecord) error {
	if !s.hasUndo(t) {
		return host.ErrIrreversible
	}
	b, err := s.bound(t)
	if err != nil {
		return err
	}
	jt, err := s.journal.Task(journal.TaskInfo{Path: t.Path, Name: "undo " + t.Name, Module: t.Module, Resource: t.Resource, RunAs: t.RunAs, Args: t.Args})
	if err != nil {
		return err
	}
	st := &wire.Step{Name: t.Name, RunAs: t.RunAs}
	err = b.Undo(ctx, s.writer(st, jt), t.End.State)
	end := journal.TaskEnd{Status: "changed", Changed: true}
	if err != nil {
		end.Status, end.Error = "failed", err.Error()
	}
	if ferr := jt.Finish(end); err == nil {
		err = ferr
	}
	return err
}

// renotify runs the handlers of the tasks that were taken back. One that fails is a
// warning: its service may be gone with what was taken back.
func (s *server) renotify(ctx context.Context, rec *journal.Record, results []host.UndoResult) {
	touched := map[string]bool{}
	for _, r := range results {
		if r.Status == "undone" {
			touched[r.Task] = true
		}
	}
	wanted := map[string]bool{}
	var defs []wire.Handler
	for _, t := range rec.Tasks {
		if t.Module == handlersRecord {
			if err := json.Unmarshal(t.Args, &defs); err != nil {
				return
			}
		}
		for _, name := range t.Notify {
			if touched[t.Name] {
				wanted[name] = true
			}
		}
	}
	for _, def := range defs {
		if !wanted[def.Name] || s.ended(ctx) {
			continue
		}
		for i := range def.Steps {
			if why := s.again(ctx, &def.Steps[i]); why != "" {
				_ = s.stream.Send(&wire.Message{Warning: &wire.Warning{Message: fmt.Sprintf("the handler %q did not run again: %s", def.Name, why)}})
				break
			}
		}
	}
}

// again runs one step of a handler without reporting it as a task.
func (s *server) again(ctx context.Context, st *wire.Step) string {
	r := &wire.Result{}
	s.attempt(ctx, st, nil, r)
	if r.Status == "failed" {
		return r.Error
	}
	return ""
}
