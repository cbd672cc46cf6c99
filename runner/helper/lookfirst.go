package helper

import (
	"context"
	"fmt"

	"holdfast/runner/host"
	"holdfast/runner/lookfirst"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// lookFirst rehearses a task that could cut the connection on an overlay, and refuses it
// when the next login would certainly be kept out. Nothing was written then.
func (s *server) lookFirst(ctx context.Context, st *wire.Step, b *task.Bound, reader task.Reader) error {
	if !s.watched(st) {
		return nil
	}
	w := host.NewOverlay(reader).Writer(s.session(st, nil))
	before := s.login(ctx, st, w)
	if before == nil {
		return nil
	}
	state, _, err := b.Observe(ctx, w)
	if err != nil || b.Apply(ctx, w, state) != nil {
		return nil //nolint:nilerr // what fails in the rehearsal fails on the host too, and is reported there
	}
	return s.refuseShut(ctx, before, w)
}

// watched reports whether a step could shut out a login that there is.
func (s *server) watched(st *wire.Step) bool {
	return st.Risky && s.cover != nil && s.machine.Facts().Login.PeerAddr != ""
}

// login looks at what the logins need that must stay possible. It is nil where that is
// not to be asked, or cannot be seen: then the guard has to do.
func (s *server) login(ctx context.Context, st *wire.Step, r task.Reader) *lookfirst.Picture {
	if !s.watched(st) {
		return nil
	}
	p, err := lookfirst.Look(ctx, r)
	if err != nil {
		return nil
	}
	return p
}

// shutOut is the error of a change after which nobody could log in.
type shutOut struct{ why string }

func (e *shutOut) Error() string {
	return fmt.Sprintf("refused, because it would certainly lock the run out: %s", e.why)
}

// Hint says how to get past it.
func (e *shutOut) Hint() string {
	return "make the new way in first, and name it: guard: {via: {user: …, port: …}} around both"
}

func (s *server) refuseShut(ctx context.Context, before *lookfirst.Picture, r task.Reader) error {
	if before == nil {
		return nil
	}
	after, err := lookfirst.Look(ctx, r)
	if err != nil {
		return nil //nolint:nilerr // what cannot be known is not certain
	}
	if why := before.Worse(ctx, s.machine.Reader(), after); why != "" {
		return &shutOut{why}
	}
	return nil
}
