package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
)

func now() time.Time { return time.Now().UTC() }

// program runs the steps in order and answers with Done. A failure ends the
// steps; queued handlers run all the same when the program says so.
func (s *server) program(ctx context.Context, p *wire.Program, secrets map[int]secret.Text) error {
	for _, h := range p.Handlers {
		s.define(handlerDef{Handler: h, secrets: secrets})
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
		s.cover = nil
	} else {
		n, err := s.guarded(p, secrets)
		if n != 0 {
			return s.refuseStep(done, n, err)
		}
		if err != nil {
			return s.refuse(err.Error())
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
	done.Pending = slices.Clone(s.queue)
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

// define makes a handler known. A definition of this run replaces what an earlier
// run left.
func (s *server) define(def handlerDef) {
	if _, ok := s.defs[def.Name]; !ok {
		s.order = append(s.order, def.Name)
	} else if def.pending == "" {
		// The order of this run's definitions counts, not that of the host's memory.
		s.order = append(slices.DeleteFunc(s.order, func(n string) bool { return n == def.Name }), def.Name)
	}
	s.defs[def.Name] = def
}

// enqueue makes a handler a durable to-do of the host.
func (s *server) enqueue(name string) error {
	if slices.Contains(s.queue, name) {
		return nil
	}
	def, ok := s.defs[name]
	if !ok {
		return fmt.Errorf("the handler %q did not come along", name)
	}
	if s.hello.Mode == "apply" {
		steps, err := json.Marshal(def.Steps)
		if err != nil {
			return err
		}
		if err := s.store.AddPending(journal.Handler{Name: name, Run: s.hello.Run, Playbook: s.hello.Playbook, Steps: steps}); err != nil {
			return err
		}
	}
	s.queue = append(s.queue, name)
	return nil
}

func (s *server) dequeue(name string) error {
	s.queue = slices.DeleteFunc(s.queue, func(n string) bool { return n == name })
	if s.hello.Mode != "apply" {
		return nil
	}
	return s.forget(name)
}

// forget takes a handler off the host's to-do, whichever playbook put it there.
func (s *server) forget(name string) error {
	pending, err := s.store.Pending()
	if err != nil {
		return err
	}
	for _, h := range pending {
		if h.Name == name {
			if err := s.store.DonePending(h.Playbook, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush runs the queued handlers in the order of their definition. One that fails
// stays to be done by the next run and does not keep the others from running.
func (s *server) flush(ctx context.Context, done *wire.Done) error {
	for _, name := range slices.Clone(s.order) {
		if !slices.Contains(s.queue, name) {
			continue
		}
		if s.ended(ctx) {
			done.Cancelled = true
			return nil
		}
		ok, failed, err := s.handler(ctx, s.defs[name])
		if err != nil {
			return err
		}
		if !ok {
			s.failed = true
			if done.Failed == 0 {
				done.Failed = failed
			}
			continue
		}
		if err := s.dequeue(name); err != nil {
			return s.refuse(err.Error())
		}
	}
	return nil
}

func (s *server) handler(ctx context.Context, def handlerDef) (ok bool, failed int, err error) {
	for i := range def.Steps {
		ok, err := s.step(ctx, &def.Steps[i], def.Name, def.secrets)
		if err != nil || !ok {
			return false, def.Steps[i].N, err
		}
	}
	return true, 0, nil
}

// begin opens the journal at the first change of the run, and notes the handlers
// in it, so that taking the run back can notify them again.
func (s *server) begin() error {
	if s.journal != nil {
		return nil
	}
	if s.store == nil {
		return errors.New("internal error: a change in a run that only reads")
	}
	j, err := s.store.Begin(journal.RunInfo{ID: s.hello.Run, Playbook: s.hello.Playbook, Version: s.hello.Version,
		Command: s.hello.Command, Started: now(), Controller: s.hello.Controller, User: s.hello.User})
	if err != nil {
		return err
	}
	s.journal = j
	var defs []wire.Handler
	for _, name := range s.order {
		defs = append(defs, s.defs[name].Handler)
	}
	if len(defs) == 0 {
		return nil
	}
	args, err := json.Marshal(defs)
	if err != nil {
		return err
	}
	t, err := j.Task(journal.TaskInfo{Module: handlersRecord, Args: args})
	if err != nil {
		return err
	}
	return t.Finish(journal.TaskEnd{Status: "noted"})
}

// handlersRecord is the module name of the journal's task that holds the
// definitions of the run's handlers.
const handlersRecord = "handlers"
