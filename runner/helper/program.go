package helper

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
)

func now() time.Time { return time.Now().UTC() }

// program runs the steps in order and answers with Done. A failure ends the
// steps; queued handlers run all the same when the program says so.
func (s *server) program(ctx context.Context, p *wire.Program, secrets map[int]secret.Text) error {
	if err := s.learn(p.Handlers, secrets); err != nil {
		return s.refuse(err.Error())
	}
	for _, name := range p.Queue {
		if err := s.enqueue(name); err != nil {
			return s.refuse(err.Error())
		}
	}
	for _, name := range p.Drop {
		if err := s.dequeue(name); err != nil {
			return s.refuse(err.Error())
		}
	}
	done := &wire.Done{ID: p.ID}
	if p.Guarded == nil {
		s.cover, s.machine.Facts().Login.Ways = nil, nil
	} else {
		n, err := s.guarded(p, secrets)
		if n != 0 {
			return s.refuseStep(done, n, err)
		}
		if err != nil {
			return s.refuse(err.Error())
		}
	}
	if p.Rollback != nil {
		if err := s.rollback(ctx, p, done); err != nil {
			return err
		}
	}
	for i := range p.Steps {
		if s.ended(ctx) {
			done.Cancelled = true
			break
		}
		ok, err := s.step(ctx, &p.Steps[i], "", secrets)
		if err != nil {
			return err
		}
		if !ok {
			done.Failed = p.Steps[i].N
			s.failed = true
			break
		}
	}
	if p.Flush && !done.Cancelled {
		if err := s.flush(ctx, done); err != nil {
			return err
		}
	}
	done.Pending = s.pending()
	done.Armed = s.rest()
	if s.ended(ctx) {
		done.Cancelled = true
	}
	if p.Final {
		if err := s.finish(p.Outcome); err != nil {
			done.Error = err.Error()
		}
	}
	return s.stream.Send(&wire.Message{Done: done})
}

// refuseStep answers a program one of whose steps cannot be guarded. Nothing was run.
func (s *server) refuseStep(done *wire.Done, n int, err error) error {
	done.Failed, s.failed = n, true
	return errors.Join(s.stream.Send(&wire.Message{Started: &wire.Started{N: n}}),
		s.stream.Send(&wire.Message{Result: &wire.Result{N: n, Status: "failed", Error: err.Error(),
			Hint: "take it out of the guard, or give it an undo"}}),
		s.stream.Send(&wire.Message{Done: done}))
}

// finish closes the journal. A run that changed nothing has none.
func (s *server) finish(outcome string) error {
	if s.journal == nil {
		return nil
	}
	status := journal.Succeeded
	switch {
	case outcome == "interrupted" || s.stopping():
		status = journal.Interrupted
	case s.failed || outcome == "failed":
		status = journal.Failed
	}
	err := s.journal.Close(status)
	s.journal = nil
	if err != nil {
		return err
	}
	_, err = s.store.Prune(journal.DefaultLimits())
	return err
}

// begin opens the journal at the first change of the run.
func (s *server) begin() error {
	if s.journal != nil {
		return nil
	}
	if s.store == nil || !s.writes() {
		return errors.New("internal error: a change in a run that only reads")
	}
	open := s.store.Begin
	if s.hello.Resume {
		open = s.store.Resume
	}
	j, err := open(journal.RunInfo{ID: s.hello.Run, Playbook: s.hello.Playbook, Version: s.hello.Version,
		Command: s.hello.Command, Started: now(), Controller: s.hello.Controller, User: s.hello.User})
	if err != nil {
		return err
	}
	s.journal = j
	var defs []wire.Handler
	for _, key := range s.order {
		if def := s.defs[key]; def.pending == "" {
			defs = append(defs, def.Handler)
		}
	}
	return s.noteHandlers(defs)
}

// noteHandlers notes handlers in the journal, so that taking the run back can notify
// them again.
func (s *server) noteHandlers(defs []wire.Handler) error {
	if len(defs) == 0 {
		return nil
	}
	kept := make([]wire.Handler, len(defs))
	for i, def := range defs {
		kept[i] = wire.Handler{Name: def.Name, Steps: keepable(def.Steps)}
	}
	args, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	t, err := s.journal.Task(journal.TaskInfo{Module: handlersRecord, Args: args})
	if err != nil {
		return err
	}
	return t.Finish(journal.TaskEnd{Status: "noted"})
}

// handlersRecord is the module name of the journal's tasks that hold the
// definitions of the run's handlers.
const handlersRecord = "handlers"
