package remote

import (
	"context"
	"errors"
	"fmt"

	"holdfast/runner/wire"
)

// ErrEnded says that the run which was to be attached to is not at work on the host.
var ErrEnded = errors.New("the run is not at work on the host any more")

// Rejoin opens a session in the place of one that was lost, over another connection to
// the same host. The run goes on where old was: nothing is heard twice and nothing is
// missed. The error is [ErrEnded] when the run has ended there meanwhile.
func Rejoin(ctx context.Context, conn Conn, old *Session) (*Session, error) {
	s, err := Attach(ctx, conn, old.opts, wire.Attach{Run: old.opts.Hello.Run, Seen: old.seen, Action: wire.AttachFollow})
	if err != nil {
		return nil, err
	}
	if at := s.Welcome.Attached; at.From > old.seen {
		_ = s.Close() // what is missing is the reason to go
		return nil, fmt.Errorf("the host said more meanwhile than it could keep (%d messages are missing)", at.From-old.seen)
	}
	attached := s.Welcome.Attached
	s.opts.Hello, s.known, s.watch, s.seen, s.Welcome = old.opts.Hello, old.known, old.watch, old.seen, old.Welcome
	s.Welcome.Attached = attached
	if s.watch != nil {
		s.watch.known = &s.known
	}
	return s, nil
}

// Attach opens a session with the run that is at work on a host.
func Attach(ctx context.Context, conn Conn, opts Options, a wire.Attach) (*Session, error) {
	opts.Hello.Mode, opts.Hello.Attach = "attach", &a
	s, err := Open(ctx, conn, opts)
	if err != nil {
		return nil, err
	}
	if s.Welcome.Attached == nil {
		_ = s.Close() // there is nothing to say
		return s, ErrEnded
	}
	return s, nil
}

// Continue goes on with what a lost session was doing: it sends the program again if it
// never arrived, and hears the rest if it did.
func (s *Session) Continue(ctx context.Context, w Work) (*wire.Done, error) {
	at := s.Welcome.Attached
	if at.Program == nil || at.Program.ID < w.Program.ID {
		return s.Run(ctx, w)
	}
	defer s.out.hurryAfter(ctx)()
	return s.await(ctx, w, s.watch)
}

// ContinueUndo is Continue for the taking back of a run.
func (s *Session) ContinueUndo(ctx context.Context, u *wire.Undo, w Work) (*wire.Done, error) {
	if !s.Welcome.Attached.Undo {
		return s.Undo(ctx, u, w)
	}
	defer s.out.hurryAfter(ctx)()
	return s.await(ctx, w, s.watch)
}

// Follow hears, from its beginning, what the run that was attached to does at present.
func (s *Session) Follow(ctx context.Context, w Work) (*wire.Done, error) {
	at := s.Welcome.Attached
	switch {
	case at.Undo:
		s.watch = &watch{limit: undoLimit, undo: true}
	case at.Program != nil:
		s.watch = newWatch(at.Program, &s.known, s.opts.Grace)
	default:
		return &wire.Done{}, nil
	}
	defer s.out.hurryAfter(ctx)()
	return s.await(ctx, w, s.watch)
}

// Launch ships a program with the content that it needs, by digest, and returns when the
// host has begun with it. The session can be closed then, and the host goes on alone.
func (s *Session) Launch(ctx context.Context, w Work, contents []string) error {
	defer s.out.hurryAfter(ctx)()
	for _, digest := range contents {
		if err := s.giveBlob(digest, w.Blob); err != nil {
			return err
		}
	}
	if len(w.Secrets) > 0 {
		if err := s.sendSecrets(w.Secrets); err != nil {
			return err
		}
	}
	if err := s.send(&wire.Message{Program: w.Program}); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, s.opts.Grace)
	defer cancel()
	m, err := s.next(limit)
	if err == nil && m.Refused != nil {
		err = &Refused{clean(m.Refused.Error), clean(m.Refused.Hint), m.Refused.Locked}
	}
	s.launched = err == nil
	return err
}
