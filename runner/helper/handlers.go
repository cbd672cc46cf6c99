package helper

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// handlerDef is a handler with the secrets its steps refer to. A handler belongs to
// its playbook: two playbooks may use one name for different things.
type handlerDef struct {
	wire.Handler
	playbook string
	secrets  map[int]secret.Text
	pending  string // the run that left it, when it comes from the host's memory
}

// key returns what the run knows the handler by: its name, if it is of the playbook
// that runs.
func (s *server) key(def *handlerDef) string {
	if def.playbook == s.hello.Playbook {
		return def.Name
	}
	return def.playbook + "\x00" + def.Name
}

// learn makes the handlers of a program known.
func (s *server) learn(handlers []wire.Handler, secrets map[int]secret.Text) error {
	for _, h := range handlers {
		s.define(handlerDef{Handler: h, playbook: s.hello.Playbook, secrets: secrets})
	}
	if s.journal == nil {
		return nil // they are noted with the first change
	}
	return s.noteHandlers(handlers)
}

// remember makes a handler known that an earlier run left, and queues it.
func (s *server) remember(h journal.Handler) error {
	def := handlerDef{Handler: wire.Handler{Name: h.Name}, playbook: h.Playbook, pending: h.Run}
	if err := json.Unmarshal(h.Steps, &def.Steps); err != nil {
		return fmt.Errorf("cannot read the pending handler %q: %w", h.Name, err)
	}
	for i := range def.Steps {
		s.left++
		def.Steps[i].N = wire.Left + s.left
	}
	s.define(def)
	s.queue = append(s.queue, s.key(&def))
	return nil
}

// define makes a handler known. A definition of this run replaces what an earlier
// run left.
func (s *server) define(def handlerDef) {
	key := s.key(&def)
	if _, ok := s.defs[key]; !ok {
		s.order = append(s.order, key)
	} else if def.pending == "" {
		// The order of this run's definitions counts, not that of the host's memory.
		s.order = append(slices.DeleteFunc(s.order, func(k string) bool { return k == key }), key)
	}
	s.defs[key] = def
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
		if err := s.owe(def.Handler, def.playbook); err != nil {
			return err
		}
	}
	s.queue = append(s.queue, name)
	return nil
}

// owe puts a handler on the host's to-do.
func (s *server) owe(h wire.Handler, playbook string) error {
	steps, err := json.Marshal(keepable(h.Steps))
	if err != nil {
		return err
	}
	return s.store.AddPending(journal.Handler{Name: h.Name, Run: s.hello.Run, Playbook: playbook, Steps: steps})
}

// queueAll queues what a step notifies and returns those that were not queued before.
func (s *server) queueAll(names []string) (queued []string, err error) {
	for _, name := range names {
		before := len(s.queue)
		if err := s.enqueue(name); err != nil {
			return queued, err
		}
		if len(s.queue) > before {
			queued = append(queued, name)
		}
	}
	return queued, nil
}

// dequeue takes a handler off the queue and off the host's to-do.
func (s *server) dequeue(key string) error {
	s.queue = slices.DeleteFunc(s.queue, func(k string) bool { return k == key })
	def, ok := s.defs[key]
	if !ok || s.hello.Mode != "apply" {
		return nil
	}
	return s.store.DonePending(def.playbook, def.Name)
}

// pending returns the names of the handlers that are still to be run.
func (s *server) pending() []string {
	var out []string
	for _, key := range s.queue {
		out = append(out, s.defs[key].Name)
	}
	return out
}

// flush runs the queued handlers in the order of their definition, and those that
// they notify, each once. One that fails stays to be done by the next run and does
// not keep the others from running.
func (s *server) flush(ctx context.Context, done *wire.Done) error {
	ran := map[string]bool{}
	for {
		i := slices.IndexFunc(s.order, func(key string) bool { return !ran[key] && slices.Contains(s.queue, key) })
		if i < 0 {
			return nil
		}
		if s.ended(ctx) {
			done.Cancelled = true
			return nil
		}
		key := s.order[i]
		ran[key] = true
		if err := s.runQueued(ctx, key, done); err != nil {
			return err
		}
	}
}

func (s *server) runQueued(ctx context.Context, key string, done *wire.Done) error {
	def := s.defs[key]
	if def.pending != "" && needsSecrets(def.Steps) {
		return s.warn(fmt.Sprintf("the handler %q, which run %s left, still waits: it needs secrets, which are not kept on the host", def.Name, def.pending),
			fmt.Sprintf("apply the playbook %q again", def.playbook))
	}
	ok, failed, err := s.handler(ctx, def)
	if err != nil {
		return err
	}
	if ok {
		if err := s.dequeue(key); err != nil {
			return s.refuse(err.Error())
		}
		return nil
	}
	s.failed = true
	if done.Failed == 0 {
		done.Failed = failed
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

// withheld stands in the host's memory for arguments that reveal a secret.
const withheld = "$withheld"

// keepArgs returns the arguments of a step as the host may keep them.
func keepArgs(st *wire.Step) json.RawMessage {
	if st.Hidden {
		return json.RawMessage(`{"` + withheld + `":true}`)
	}
	return st.Args
}

// keepable returns steps as the host may keep them.
func keepable(steps []wire.Step) []wire.Step {
	out := slices.Clone(steps)
	for i := range out {
		out[i].Args = keepArgs(&out[i])
	}
	return out
}

// needsSecrets reports whether steps cannot run with what the host has kept of them.
func needsSecrets(steps []wire.Step) bool {
	return slices.ContainsFunc(steps, func(st wire.Step) bool {
		return revealed(st.Args) || bytes.Contains(st.Args, []byte(`"`+task.SecretKey+`"`))
	})
}

// revealed reports whether the host has kept nothing of arguments, because they revealed
// a secret.
func revealed(args json.RawMessage) bool { return bytes.Contains(args, []byte(`"`+withheld+`"`)) }
