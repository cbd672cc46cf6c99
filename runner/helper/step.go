package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// step runs one step with its retries and reports it. ok is false when the
// program must stop.
func (s *server) step(ctx context.Context, st *wire.Step, handler string, secrets map[int]secret.Text) (ok bool, err error) {
	began := time.Now()
	started := &wire.Started{N: st.N, Handler: handler}
	if st.N > wire.Left {
		started.Name, started.Module = st.Name, st.Module
	}
	if err := s.stream.Send(&wire.Message{Started: started}); err != nil {
		return false, err
	}
	r := &wire.Result{}
	for attempt := 1; ; attempt++ {
		r = &wire.Result{Handler: handler, Attempts: attempt, Queued: r.Queued}
		s.attempt(ctx, st, secrets, r)
		s.chatter.hush()
		if r.Status != "failed" || attempt > st.Retries || !s.pause(ctx, st.Delay) {
			break
		}
	}
	r.N, r.Took = st.N, time.Since(began)
	if r.Attempts == 1 {
		r.Attempts = 0
	}
	if st.Hidden {
		hide(r)
	}
	r.Error, r.Output = s.redactor.String(r.Error), s.redactor.String(r.Output)
	if r.Status == "failed" && st.Ignore {
		r.Status = "ignored"
	}
	if err := s.report(st, r); err != nil {
		return false, err
	}
	return r.Status != "failed", nil
}

// pause waits between attempts. It is false when there will be no other.
func (s *server) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return !s.ended(ctx)
	case <-s.stop:
		return false
	case <-ctx.Done():
		return false
	}
}

func hide(r *wire.Result) {
	for i := range r.Changes {
		c := &r.Changes[i]
		c.Before, c.After, c.Diff, c.Sensitive = "", "", "", true
	}
	r.Output = ""
	if r.Error != "" {
		r.Error = hiddenError
	}
}

const hiddenError = "failed; the message is withheld because the task reveals a secret"

// attempt runs the step once and fills in the result.
func (s *server) attempt(ctx context.Context, st *wire.Step, secrets map[int]secret.Text, r *wire.Result) {
	ctx, cancel := context.WithTimeout(ctx, st.Timeout)
	defer cancel()
	err := s.run(ctx, st, secrets, r)
	if err == nil {
		return
	}
	switch {
	case errors.Is(err, task.ErrUnknown) && s.overlay != nil:
		r.Status, r.Reason = "unknown", err.Error()
		return
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		err = fmt.Errorf("took longer than its time limit of %s: %w", st.Timeout, err)
	}
	r.Status, r.Error = "failed", err.Error()
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		r.Hint = hinted.Hint()
	}
	var output interface{ Output() string }
	if errors.As(err, &output) {
		r.Output = output.Output()
	}
}

func (s *server) run(ctx context.Context, st *wire.Step, secrets map[int]secret.Text, r *wire.Result) error {
	m := s.modules[st.Module]
	if m == nil {
		return fmt.Errorf("this helper has no module %q", st.Module)
	}
	args, err := node(st.Args)
	if err != nil {
		return fmt.Errorf("cannot read the arguments: %w", err)
	}
	b, err := m.Bind(args, func(id int) (secret.Text, bool) { t, ok := secrets[id]; return t, ok })
	if err != nil {
		return err
	}
	r.Resource = b.Resource
	r.Irreversible = irreversible(m, b, st)
	if m.Action {
		return s.action(ctx, st, m, b, r)
	}
	return s.state(ctx, st, b, r)
}

// irreversible says why a step cannot be taken back, or nothing.
func irreversible(m *task.Module, b *task.Bound, st *wire.Step) string {
	switch {
	case !b.Reversible && m.Irreversible != "":
		return m.Irreversible
	case !b.Reversible:
		return "it has no undo"
	case b.Undo != nil && st.Hidden:
		return "its arguments reveal a secret, which is not kept on the host"
	}
	return ""
}

// oneWay says why what is about to be done cannot be taken back, where that depends on
// the state of the host.
func oneWay(r *wire.Result, state any) {
	if s, ok := state.(interface{ OneWay() string }); ok && r.Irreversible == "" && len(r.Changes) > 0 {
		r.Irreversible = s.OneWay()
	}
}

// state brings a resource into its state, or says what that would change.
func (s *server) state(ctx context.Context, st *wire.Step, b *task.Bound, r *wire.Result) error {
	if s.overlay != nil {
		return s.predict(ctx, st, b, r)
	}
	reader := s.machine.ReaderAs(st.RunAs, s.blob)
	state, changes, err := b.Observe(ctx, reader)
	if err != nil {
		return err
	}
	r.Changes = s.shown(st, changes)
	oneWay(r, state)
	if len(changes) == 0 {
		r.Status = "unchanged"
		return s.register(st, r, state)
	}
	if st.Check {
		return fmt.Errorf("%s is not as described: %s", b.Resource, summary(changes))
	}
	if err := s.lookFirst(ctx, st, b, reader); err != nil {
		return err
	}
	jt, err := s.enter(ctx, st, b, r)
	if err != nil {
		return err
	}
	err = b.Apply(ctx, s.writer(st, jt), state)
	after := state
	if err == nil {
		after, err = s.settle(ctx, b, reader)
	}
	if err := s.leave(ctx, st, jt, r, state, err); err != nil {
		return err
	}
	if err := s.drop(st.Satisfies); err != nil {
		return err
	}
	return s.register(st, r, after)
}

// settle looks again: what is left to change after Apply is a failure. Changes
// that are acts, such as a restart, have no state to look at.
func (s *server) settle(ctx context.Context, b *task.Bound, reader task.Reader) (any, error) {
	state, changes, err := b.Observe(ctx, reader)
	if err != nil {
		return nil, err
	}
	var left []task.Change
	for _, c := range changes {
		if c.Kind != task.Act {
			left = append(left, c)
		}
	}
	if len(left) > 0 {
		return nil, &task.NotSettled{Changes: left}
	}
	return state, nil
}

// enter notes the task, and the handlers that it notifies, before it acts.
func (s *server) enter(ctx context.Context, st *wire.Step, b *task.Bound, r *wire.Result) (*journal.Task, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	if s.cover != nil && !s.cover.armed && s.covers(st) {
		if err := s.arm(ctx); err != nil {
			return nil, err
		}
	}
	queued, err := s.queueAll(st.Notify)
	r.Queued = append(r.Queued, queued...)
	if err != nil {
		return nil, err
	}
	return s.journal.Task(journal.TaskInfo{Step: st.N, Path: st.Path, Name: st.Name, Module: st.Module,
		Resource: b.Resource, RunAs: st.RunAs, Args: keepArgs(st), Notify: st.Notify, Handler: r.Handler})
}

// leave notes how the task ended and what it did, and sets the result's status.
func (s *server) leave(ctx context.Context, st *wire.Step, jt *journal.Task, r *wire.Result, state any, err error) error {
	end := journal.TaskEnd{Status: "changed", Changed: true}
	if err != nil {
		end.Status, end.Error = "failed", s.redactor.String(err.Error())
	}
	saved, merr := json.Marshal(state)
	if merr != nil {
		return errors.Join(err, fmt.Errorf("internal error: cannot save the state: %w", merr))
	}
	// A program may print the secret that it was given; one like "1234" may also be
	// where it breaks the state, which is worth less than the secret.
	if end.State = []byte(s.redactor.String(string(saved))); st.Hidden || !json.Valid(end.State) {
		end.State = nil
	}
	if st.Hidden && err != nil {
		end.Error = hiddenError
	}
	if ferr := jt.Finish(end); ferr != nil {
		return errors.Join(err, ferr)
	}
	if nerr := s.note(ctx, jt); nerr != nil {
		return errors.Join(err, nerr)
	}
	if err != nil {
		return err
	}
	r.Status = "changed"
	return nil
}

// predict plans the step: it applies to an overlay that only remembers.
func (s *server) predict(ctx context.Context, st *wire.Step, b *task.Bound, r *wire.Result) error {
	s.overlay.ResetTentative()
	w := s.overlay.Writer(s.session(st, nil))
	state, changes, err := b.Observe(ctx, w)
	r.Tentative = s.overlay.Tentative()
	if err != nil && r.Tentative != "" && ctx.Err() == nil {
		// What it misses may be there by then.
		return task.Unknownf("%s: %s", r.Tentative, err)
	}
	if err != nil {
		return err
	}
	r.Changes = s.shown(st, changes)
	oneWay(r, state)
	if len(changes) == 0 {
		r.Status = "unchanged"
		return s.register(st, r, state)
	}
	before := s.login(ctx, st, w)
	if err := b.Apply(ctx, w, state); err != nil && !errors.Is(err, task.ErrUnknown) {
		return fmt.Errorf("it would fail: %w", err)
	}
	if err := s.refuseShut(ctx, before, w); err != nil {
		return fmt.Errorf("it would fail: %w", err)
	}
	if r.Tentative == "" {
		r.Tentative = s.overlay.Tentative()
	}
	r.Status = "changed"
	return s.foresee(st, r)
}

// drop takes handlers off the queue that need not run.
func (s *server) drop(names []string) error {
	for _, name := range names {
		if err := s.dequeue(name); err != nil {
			return err
		}
	}
	return nil
}

// foresee queues, in a plan, the handlers that the step would notify.
func (s *server) foresee(st *wire.Step, r *wire.Result) error {
	queued, err := s.queueAll(st.Notify)
	r.Queued = append(r.Queued, queued...)
	return errors.Join(err, s.drop(st.Satisfies))
}

// action runs what is not a state.
func (s *server) action(ctx context.Context, st *wire.Step, m *task.Module, b *task.Bound, r *wire.Result) error {
	var w task.Writer
	if s.overlay != nil {
		s.overlay.ResetTentative()
		w = s.overlay.Writer(s.session(st, nil))
	}
	if b.Skip != nil {
		var reader task.Reader = w
		if w == nil {
			reader = s.machine.ReaderAs(st.RunAs, s.blob)
		}
		why, err := b.Skip(ctx, reader)
		if err != nil && s.overlay != nil && s.overlay.Tentative() != "" && ctx.Err() == nil {
			r.Tentative = s.overlay.Tentative()
			return task.Unknownf("%s: %s", r.Tentative, err)
		}
		if err != nil {
			return err
		}
		if why != "" {
			r.Status, r.Reason = "skipped", why
			return nil
		}
	}
	quiet := b.ReadOnly || m.Wait
	switch {
	case s.overlay != nil && b.ReadOnly:
		return s.perform(ctx, st, b, r, w)
	case s.overlay != nil:
		return s.announce(ctx, st, m, r, w)
	case st.Check && !quiet:
		return fmt.Errorf("module %q may change the host with these arguments and cannot be used to verify", m.Name)
	case quiet, m.Tells && s.lock == nil: // without the lock there is no journal either
		err := s.perform(ctx, st, b, r, s.machine.Writer(s.session(st, nil)))
		if err == nil && m.Tells {
			r.Status = "ran"
		}
		return err
	}
	jt, err := s.enter(ctx, st, b, r)
	if err != nil {
		return err
	}
	result, changed, err := b.Run(ctx, s.writer(st, jt))
	if err := s.leave(ctx, st, jt, r, result, err); err != nil {
		return err
	}
	drop := st.Satisfies
	if !changed {
		r.Status, drop, r.Queued = "ran", r.Queued, nil
	}
	if err := s.drop(drop); err != nil {
		return err
	}
	return s.register(st, r, result)
}

// announce says, in a plan, that an action will run.
func (s *server) announce(ctx context.Context, st *wire.Step, m *task.Module, r *wire.Result, w task.Writer) error {
	r.Status, r.Reason = "ran", "will run"
	r.Tentative = s.overlay.Tentative()
	if m.Wait {
		r.Reason = "will wait"
		return nil
	}
	// What the action would do is opaque: later predictions may depend on it.
	if _, err := w.Run(ctx, task.Command{Argv: []string{st.Name}}); err != nil {
		return err
	}
	return s.foresee(st, r)
}

// perform runs an action that changes nothing.
func (s *server) perform(ctx context.Context, st *wire.Step, b *task.Bound, r *wire.Result, w task.Writer) error {
	result, changed, err := b.Run(ctx, w)
	if s.overlay != nil {
		r.Tentative = s.overlay.Tentative()
	}
	if err != nil && r.Tentative != "" && ctx.Err() == nil {
		// It fails on the host as it is, and the plan has changed that.
		return task.Unknownf("%s", r.Tentative)
	}
	if err != nil {
		return err
	}
	r.Status = "unchanged"
	if changed {
		r.Status = "changed"
	}
	if f, ok := result.(task.Found); ok && !st.Hidden {
		line := s.masked(f.Line())
		r.Finding = &line
		if err := judge(r, &line); err != nil {
			return err
		}
	}
	return s.register(st, r, result)
}

func (s *server) register(st *wire.Step, r *wire.Result, state any) error {
	if !st.Register || state == nil {
		return nil
	}
	b, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("internal error: cannot send the result: %w", err)
	}
	r.State = b
	return nil
}

// shown returns the changes as they travel: diffs only when they are asked for.
func (s *server) shown(st *wire.Step, changes []task.Change) []task.Change {
	if st.Diff {
		return changes
	}
	out := make([]task.Change, len(changes))
	for i, c := range changes {
		c.Diff = ""
		out[i] = c
	}
	return out
}

func summary(changes []task.Change) string {
	text := ""
	for i, c := range changes {
		if i > 0 {
			text += ", "
		}
		switch {
		case c.Sensitive:
			text += c.Attr + " differs"
		case c.Kind == task.Act:
			text += c.Attr
		default:
			text += fmt.Sprintf("%s is %q, want %q", c.Attr, c.Before, c.After)
		}
	}
	return text
}

func (s *server) session(st *wire.Step, jt *journal.Task) host.Session {
	return host.Session{Task: jt, Journal: s.journal, RunAs: st.RunAs, Blobs: s.blob, Hidden: st.Hidden,
		Progress: s.progress(st),
		Fence: func() error {
			if s.lock == nil {
				return nil
			}
			return s.lock.Check()
		}}
}

func (s *server) writer(st *wire.Step, jt *journal.Task) task.Writer {
	return s.machine.Writer(s.session(st, jt))
}

// blob returns content, from the controller if it did not come along.
func (s *server) blob(ctx context.Context, b task.Blob) ([]byte, error) {
	if data, ok := b.Inline(); ok {
		return data, nil
	}
	if b.Size > maxBlob {
		return nil, fmt.Errorf("content of %d bytes is over the limit of %d MiB", b.Size, maxBlob>>20)
	}
	return s.blobs.get(ctx, b.Digest, func() error {
		return s.stream.Send(&wire.Message{NeedBlob: &wire.NeedBlob{Digest: b.Digest}})
	})
}
