package helper

import (
	"context"
	"encoding/json"
	"errors"
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
		if r.UndoOf != "" && r.Status == journal.Succeeded && !isPart(r.Command) {
			undone[r.UndoOf] = r.ID
		}
	}
	var out []wire.Run
	for _, r := range slices.Backward(infos) {
		out = append(out, wire.Run{ID: r.ID, Playbook: r.Playbook, Version: r.Version, Started: r.Started, Command: r.Command,
			Status: r.Status, UndoOf: r.UndoOf, UndoneBy: undone[r.ID], Controller: r.Controller, User: r.User, Ended: r.Ended})
	}
	s.weigh(out)
	return out, nil
}

// weigh counts, for an undo, what can be taken back of the runs up to the newest one
// that has something: "the last run" means that one, not one that only looked.
func (s *server) weigh(runs []wire.Run) {
	if s.hello.Mode != "undo" {
		return
	}
	for i := range runs {
		r := &runs[i]
		if r.UndoOf != "" || r.UndoneBy != "" {
			continue
		}
		if r.Changes = s.reversible(r.ID); r.Changes > 0 {
			return
		}
	}
}

// reversible counts the resources of a run that an undo would deal with.
func (s *server) reversible(run string) int {
	rec, err := s.store.Load(run)
	if err != nil {
		return 0 // it was pruned meanwhile
	}
	seen := map[string]bool{}
	for _, t := range rec.Tasks {
		for _, e := range t.Entries {
			if isState(e.Resource) || s.hasUndo(t) == nil {
				seen[e.Resource] = true
			}
		}
	}
	return len(seen)
}

// undo takes back a run and reports each resource. Handlers that the run's tasks
// notified are run again where something was taken back: the old file is there, and
// its service must read it. They are the host's to-do meanwhile, so that they run even
// if this run dies.
func (s *server) undo(ctx context.Context, u *wire.Undo) error {
	if s.hello.Mode != "undo" {
		return s.refuse("a talk of another kind cannot take a run back")
	}
	if s.store == nil {
		return s.refuse("this host remembers no run")
	}
	rec, err := s.store.Load(u.Run)
	if err != nil {
		return s.refuse(err.Error())
	}
	opts := host.UndoOptions{Only: u.Only, Plan: u.Plan, Force: u.Force, Fence: s.lock.Check,
		Progress: s.progress(&wire.Step{}), Command: s.undoCommand, HasCommand: s.hasUndo}
	if u.Plan {
		results, err := s.machine.Undo(ctx, rec, opts)
		s.attribute(u.Run, results)
		return errors.Join(s.undone(s.excuse(results)), s.concluded(ctx, err))
	}
	info := rec.RunInfo
	s.journal, err = s.store.Begin(journal.RunInfo{ID: s.hello.Run, Playbook: info.Playbook, Version: info.Version, Command: s.hello.Command,
		Started: now(), Controller: s.hello.Controller, User: s.hello.User, UndoOf: info.ID})
	if err != nil {
		return s.refuse(err.Error())
	}
	opts.Into = s.journal
	owed := s.oweAll(rec)
	results, err := s.machine.Undo(ctx, rec, opts)
	s.chatter.hush()
	s.attribute(u.Run, results)
	if nerr := s.noteRun(ctx, s.hello.Run, 0, false); nerr != nil {
		_ = s.warn("cannot note what was taken back: "+nerr.Error(), "")
	}
	// Whoever listens may be gone; what remains is to be done all the same.
	serr := s.undone(s.excuse(results))
	left := s.renotify(ctx, rec, results)
	s.settleDebts(rec, owed, left)
	s.conclude(results, err)
	return errors.Join(serr, s.concluded(ctx, err))
}

// undone reports what became of each resource.
func (s *server) undone(results []host.UndoResult) error {
	for _, r := range results {
		m := &wire.Undone{Resource: cut(r.Resource, maxNamed), Task: cut(r.Task, maxNamed), Action: cut(r.Action, maxShown), Status: r.Status, Message: cut(r.Message, maxShown)}
		if err := s.stream.Send(&wire.Message{Undone: m}); err != nil {
			return err
		}
	}
	return nil
}

// attribute says who changed what a run could not take back: a later run that the ledger
// knows, or nobody that it knows.
func (s *server) attribute(run string, results []host.UndoResult) {
	if !slices.ContainsFunc(results, func(r host.UndoResult) bool { return r.Status == host.Refused }) {
		return
	}
	last := map[string]journal.Receipt{}
	if _, err := s.book(func(r journal.Receipt) { last[r.Resource] = r }); err != nil {
		return // what the ledger does not tell is left open
	}
	for i := range results {
		r := &results[i]
		if r.Status != host.Refused {
			continue
		}
		by, known := last[r.Resource]
		switch {
		case !known || by.Run == run:
			r.Message += "; that was not done by holdfast"
		case by.User == "":
			r.Message += "; that was the run " + by.Run
		default:
			r.Message += fmt.Sprintf("; that was the run %s of %s", by.Run, by.User)
		}
	}
}

// concluded ends the talk about an undo.
func (s *server) concluded(ctx context.Context, err error) error {
	done := &wire.Done{Cancelled: s.ended(ctx)}
	if err != nil {
		done.Error = cut(err.Error(), maxShown)
	}
	return s.stream.Send(&wire.Message{Done: done})
}

// oweAll puts the handlers that a run notified on the host's to-do before anything is
// taken back, and returns those that were not on it. A host whose disk is full must be
// able to go back, so that this is not to be had is no reason to stop.
func (s *server) oweAll(rec *journal.Record) (owed []string) {
	before, err := s.store.Pending()
	if err != nil {
		return nil
	}
	for _, def := range notified(rec, func(*journal.TaskRecord) bool { return true }) {
		if slices.ContainsFunc(before, func(h journal.Handler) bool { return h.Name == def.Name && h.Playbook == rec.Playbook }) {
			continue
		}
		if err := s.owe(def, rec.Playbook); err != nil {
			_ = s.warn(fmt.Sprintf("cannot note that the handler %q is to be run again: %s", def.Name, err), "")
			return owed
		}
		owed = append(owed, def.Name)
	}
	return owed
}

// settleDebts takes off the to-do what oweAll put there, except what is left to do.
func (s *server) settleDebts(rec *journal.Record, owed, left []string) {
	for _, name := range owed {
		if slices.Contains(left, name) {
			continue
		}
		if err := s.store.DonePending(rec.Playbook, name); err != nil {
			_ = s.warn(err.Error(), "")
		}
	}
}

// conclude closes the undo's own journal.
func (s *server) conclude(results []host.UndoResult, err error) {
	s.failed = err != nil
	for _, r := range results {
		if wrong(r) {
			s.failed = true
		}
	}
	outcome := "ok"
	if s.stopping() {
		outcome = "interrupted"
	}
	if err := s.finish(outcome); err != nil {
		_ = s.warn(err.Error(), "")
	}
}

// bound makes a task of the past ready again. Its secrets are not on the host, and no undo
// needs them.
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

// hasUndo says why a task cannot be taken back by an undo of its own, if so. That of a
// state needs what it was before, that of an action its arguments only: it is for an
// action too whose end nobody saw.
func (s *server) hasUndo(t *journal.TaskRecord) error {
	if revealed(t.Args) {
		return fmt.Errorf("%w: its arguments revealed a secret, and secrets are not kept on the host", host.ErrIrreversible)
	}
	b, err := s.bound(t)
	if err != nil || b.Undo == nil || !s.modules[t.Module].Action && len(savedState(t)) == 0 {
		return host.ErrIrreversible
	}
	return nil
}

func savedState(t *journal.TaskRecord) json.RawMessage {
	if t.End == nil {
		return nil
	}
	return t.End.State
}

// undoCommand runs a task's own undo.
func (s *server) undoCommand(ctx context.Context, t *journal.TaskRecord) error {
	if err := s.hasUndo(t); err != nil {
		return err
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
	saved := savedState(t)
	if len(saved) == 0 {
		saved = json.RawMessage("{}")
	}
	err = b.Undo(ctx, s.writer(st, jt), saved)
	end := journal.TaskEnd{Status: "changed", Changed: true}
	if err != nil {
		end.Status, end.Error = "failed", err.Error()
	}
	if ferr := jt.Finish(end); err == nil {
		err = ferr
	}
	return err
}

// notified returns the handlers that the tasks of a run notified, of those tasks that
// count, in the order of their definition.
func notified(rec *journal.Record, counts func(*journal.TaskRecord) bool) (out []wire.Handler) {
	wanted := map[string]bool{}
	for _, t := range rec.Tasks {
		for _, name := range t.Notify {
			wanted[name] = wanted[name] || counts(t)
		}
	}
	for _, t := range rec.Tasks {
		var defs []wire.Handler
		if t.Module != handlersRecord || json.Unmarshal(t.Args, &defs) != nil {
			continue
		}
		for _, def := range defs {
			if wanted[def.Name] {
				out = append(out, def)
				wanted[def.Name] = false // a later definition would be of the same handler
			}
		}
	}
	return out
}

// touchedBy reports whether something that a task changed was taken back.
func touchedBy(results []host.UndoResult) func(*journal.TaskRecord) bool {
	touched := map[string]bool{}
	for _, r := range results {
		if r.Status == host.Undone {
			touched[r.Resource] = true
		}
	}
	return func(t *journal.TaskRecord) bool {
		return slices.ContainsFunc(t.Entries, func(e *journal.Entry) bool { return touched[e.Resource] })
	}
}

// renotify runs the handlers of the tasks that were taken back and returns the names
// of those that it did not come to. One that fails is a warning: its service may be
// gone with what was taken back.
func (s *server) renotify(ctx context.Context, rec *journal.Record, results []host.UndoResult) (left []string) {
	for _, def := range notified(rec, touchedBy(results)) {
		if s.ended(ctx) {
			left = append(left, def.Name)
			continue
		}
		if why := s.runAgain(ctx, def, nil); why != "" {
			_ = s.warn(fmt.Sprintf("the handler %q did not run again: %s", def.Name, why), "")
		}
	}
	return left
}

// runAgain runs a handler without reporting its tasks. secrets are those that came
// along in this talk, or nil.
func (s *server) runAgain(ctx context.Context, def wire.Handler, secrets map[int]secret.Text) (why string) {
	if secrets == nil && needsSecrets(def.Steps) {
		return "it needs secrets, which are not kept on the host"
	}
	for i := range def.Steps {
		r := &wire.Result{Handler: def.Name}
		s.attempt(ctx, &def.Steps[i], secrets, r)
		if r.Status == "failed" {
			return s.redactor.String(r.Error)
		}
	}
	return ""
}
