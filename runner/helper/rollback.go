package helper

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast/runner/guard"
	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
)

// The commands of what takes a part of a run back, in the list of runs. Only one that
// takes all of it back makes the run one that was undone.
const (
	rollbackCommand = "rollback"
	rescueCommand   = "rescue"
)

// isPart reports whether a command takes only a part of a run back.
func isPart(command string) bool { return command == guardCommand || command == rescueCommand }

// partial says which part of a run is taken back, and as what.
type partial struct {
	id, command, user string
	covers            func(*journal.TaskRecord) bool
	// after runs while what it does is still written to the same run, or is nil.
	after func(part *journal.Record, results []host.UndoResult)
}

// undoPart takes a part of a run back as a run of its own, so that it can be taken back
// itself, and returns the part.
func (s *server) undoPart(ctx context.Context, run string, lock *journal.Lock, p partial) (part *journal.Record, results []host.UndoResult, err error) {
	rec, err := s.store.Load(run)
	if err != nil {
		return nil, nil, err
	}
	part = rec.Only(func(t *journal.TaskRecord) bool { return t.Module == handlersRecord || p.covers(t) })
	into, err := s.store.Begin(journal.RunInfo{ID: p.id, Playbook: rec.Playbook, Version: rec.Version, Command: p.command,
		Started: now(), Controller: rec.Controller, User: p.user, UndoOf: run})
	if err != nil {
		return nil, nil, err
	}
	old, held := s.journal, s.lock
	s.journal, s.lock = into, lock // what commands write is fenced by this right to write
	defer func() { s.journal, s.lock = old, held }()
	// A ledger that takes no more lines is no reason to leave the host as it is.
	_ = s.noteLate(ctx, run)
	results, err = s.machine.Undo(ctx, part, host.UndoOptions{Into: into, Fence: lock.Check, Command: s.undoCommand, HasCommand: s.hasUndo})
	if p.after != nil {
		p.after(part, results)
	}
	_ = s.noteRun(ctx, p.id, 0, false)
	status := journal.Succeeded
	if err != nil || slices.ContainsFunc(results, wrong) {
		status = journal.Failed
	}
	return part, results, errors.Join(err, into.Close(status))
}

// rollback takes back what steps of this run changed and reports each resource.
func (s *server) rollback(ctx context.Context, p *wire.Program, done *wire.Done) error {
	if s.hello.Mode != "apply" || s.lock == nil {
		return s.refuse("only a run that changes the host can be taken back in the middle")
	}
	if s.journal == nil {
		return nil // nothing was changed
	}
	if err := s.regain(); err != nil {
		return s.refuse(err.Error())
	}
	back := partial{id: fmt.Sprintf("%s-back-%d", s.hello.Run, p.ID), command: rescueCommand, user: s.hello.User,
		covers: func(t *journal.TaskRecord) bool { return p.Rollback.Covers(t.Step) }}
	if p.Rollback.Whole {
		back.command = rollbackCommand
	}
	part, results, err := s.undoPart(ctx, s.hello.Run, s.lock, back)
	s.failed = true
	if serr := s.undone(s.excuse(results)); serr != nil {
		return serr
	}
	if err != nil {
		done.Error = "cannot take the run back: " + err.Error()
		return nil
	}
	return s.notifyAgain(ctx, part, results, p.Rollback.Whole)
}

// regain gives the run the right to write again that its own guard took from it. The
// guard has spoken, and we hold the host's lock, so nobody else writes.
func (s *server) regain() error {
	st, err := guard.Open(s.store.Dir()).State()
	if err != nil || st.Run != s.hello.Run {
		return err
	}
	if !st.Status.Final() {
		return fmt.Errorf("cannot take the run back: its guard is %s", st.Status.Word())
	}
	if s.lock.Check() == nil {
		return nil
	}
	s.lock.Fence, err = s.store.Renew()
	return err
}

// wrong reports whether something was not taken back that should have been.
func wrong(r host.UndoResult) bool {
	return r.Status != host.Undone && r.Status != host.Already && !excused(r)
}

// excused reports whether a result is about a command that failed and has no undo: it
// says itself that it did not do what it should.
func excused(r host.UndoResult) bool { return r.Status == host.Irreversible && r.Broke }

// excuse says of such commands that they may have left something, and leaves them out:
// the others decide how it went.
func (s *server) excuse(results []host.UndoResult) []host.UndoResult {
	var out []host.UndoResult
	for _, r := range results {
		if excused(r) {
			_ = s.warn(fmt.Sprintf("the task %q failed, and what it did until then cannot be taken back", r.Task), "")
			continue
		}
		out = append(out, r)
	}
	return out
}

// notifyAgain has the handlers run again that tasks notified whose change was taken
// back: the old file is there, and its service must read it. One that fails is a
// warning: its service may be gone with what was taken back.
func (s *server) notifyAgain(ctx context.Context, part *journal.Record, results []host.UndoResult, whole bool) error {
	for _, def := range notified(part, touchedBy(results)) {
		if err := s.enqueue(def.Name); err != nil {
			return s.refuse(err.Error())
		}
		if !whole {
			continue // it has its turn at the end of the play
		}
		if s.ended(ctx) {
			return nil
		}
		known := s.defs[def.Name]
		if why := s.runAgain(ctx, known.Handler, known.secrets); why != "" {
			_ = s.warn(fmt.Sprintf("the handler %q did not run again: %s", def.Name, why), "")
		}
		if err := s.dequeue(def.Name); err != nil {
			return s.refuse(err.Error())
		}
	}
	return nil
}
