package remote

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"holdfast/runner/wire"
	"holdfast/tasks/secret"
)

// Options of a session.
type Options struct {
	Binaries Binaries
	Root     Root
	Hello    wire.Hello
	// Setup bounds the time from the first byte to the helper's welcome, a push
	// included. 0 is two minutes.
	Setup time.Duration
	// Grace is how long the far end may be silent beyond a step's own time limit.
	// 0 is 30 seconds.
	Grace  time.Duration
	Pushed func(Pushed)
	Warn   func(message, hint string)
}

// Session is a talk with one helper. It runs one program at a time and is not for
// use by several goroutines. What the far end says is held to what it was asked for,
// and everything ends in time, whatever the far end does or does not do.
type Session struct {
	Welcome *wire.Welcome
	// Duration is how long it took from the first byte to the welcome.
	Duration time.Duration

	opts   Options
	conn   Conn
	boot   *bootstrap
	stream *wire.Stream
	out    *paced
	known  known
	frames chan frame
	closed chan struct{}
	watch  *watch // of the program that runs
	seen   int    // frames since the welcome
	down   bool   // the connection is gone

	launched bool // the far end goes on alone
}

type frame struct {
	kind    wire.Kind
	payload []byte
	err     error
}

// Refused is the error of a helper that will not work for this run.
type Refused struct {
	Message string
	Hint    string
	Locked  bool // another run holds the host
}

func (r *Refused) Error() string { return r.Message }

// Lost is the error of a connection that ended in the middle of the talk.
type Lost struct{ Err error }

func (l *Lost) Error() string { return "lost the connection: " + l.Err.Error() }

// Unwrap returns the cause.
func (l *Lost) Unwrap() error { return l.Err }

// Open starts a helper on the target, pushing it if need be, and shakes hands.
func Open(ctx context.Context, conn Conn, opts Options) (*Session, error) {
	opts.Setup = orDefault(opts.Setup, 2*time.Minute)
	opts.Grace = orDefault(opts.Grace, 30*time.Second)
	began := time.Now()
	setup, cancel := context.WithTimeout(ctx, opts.Setup)
	defer cancel()
	boot, err := start(setup, conn, opts.Binaries, opts.Root, opts.Pushed)
	if err != nil {
		return nil, err
	}
	s := &Session{opts: opts, conn: conn, boot: boot, frames: make(chan frame), closed: make(chan struct{})}
	s.out = &paced{w: boot.proc.Stdin(), limit: opts.Grace, end: func() { _ = boot.proc.Close() }}
	s.stream = wire.NewStream(boot.out, s.out)
	go s.read()
	hello := opts.Hello
	hello.Min, hello.Max = wire.MinProtocol, wire.MaxProtocol
	err = s.send(&wire.Message{Hello: &hello})
	if err == nil {
		err = s.welcome(setup)
	}
	if err != nil {
		_ = s.Close() // the first error says more
		return nil, err
	}
	s.Duration = time.Since(began)
	return s, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// read passes frames on until the stream ends or the session is closed.
func (s *Session) read() {
	defer close(s.frames)
	for {
		kind, payload, err := s.stream.ReadFrame()
		select {
		case s.frames <- frame{kind, payload, err}:
		case <-s.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *Session) welcome(ctx context.Context) error {
	m, err := s.next(ctx)
	if err != nil {
		return err
	}
	switch {
	case m.Refused != nil:
		return &Refused{clean(m.Refused.Error), clean(m.Refused.Hint), m.Refused.Locked}
	case m.Welcome == nil:
		return wire.Violationf("the helper did not begin with its welcome")
	}
	w := m.Welcome
	if w.Min > wire.MaxProtocol || w.Max < wire.MinProtocol {
		return fmt.Errorf("the helper (build %s) speaks protocol %d to %d, this program %d to %d", clean(w.Build), w.Min, w.Max, wire.MinProtocol, wire.MaxProtocol)
	}
	s.known = newKnown(w.Pending)
	if w.Attached != nil && w.Attached.Program != nil {
		s.known.learn(w.Attached.Program.Handlers)
	}
	scrubWelcome(w)
	s.Welcome = w
	return nil
}

// send writes a message. What the helper said last is part of the error.
func (s *Session) send(m *wire.Message) error {
	err := s.stream.Send(m)
	if err == nil || errors.Is(err, wire.ErrTooLarge) {
		return err
	}
	s.down = true
	return &Lost{fmt.Errorf("%w%s", err, s.boot.said())}
}

// errSilent is the error of a far end that says nothing for too long.
var errSilent = errors.New("the host said nothing within the time limit")

// next returns the next message or the context's end.
func (s *Session) next(ctx context.Context) (*wire.Message, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, &Lost{fmt.Errorf("no answer in time%s", s.boot.said())}
		case f, ok := <-s.frames:
			if m, err := s.decode(f, ok); m != nil || err != nil {
				return m, err
			}
		}
	}
}

// decode reads a frame that came in. It answers an unknown kind itself and
// returns neither message nor error then.
func (s *Session) decode(f frame, ok bool) (*wire.Message, error) {
	if !ok || f.err != nil {
		return nil, s.broken(f.err)
	}
	if s.Welcome != nil {
		s.seen++
	}
	if f.kind != wire.JSON {
		return nil, wire.Violationf("an unexpected frame of kind %q", byte(f.kind))
	}
	m, err := wire.DecodeMessage(f.payload)
	var unknown *wire.UnknownKind
	if !errors.As(err, &unknown) {
		return m, err
	}
	return nil, s.send(&wire.Message{Unsupported: &wire.Unsupported{Kind: unknown.Kind}})
}

func (s *Session) broken(err error) error {
	var v *wire.Violation
	if errors.As(err, &v) {
		return err
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errors.New("the helper ended")
	}
	s.down = true
	s.boot.stderr.ended(lastWords)
	return &Lost{fmt.Errorf("%w%s", err, s.boot.said())}
}

// Work is a program with what travels beside it.
type Work struct {
	Program *wire.Program
	Secrets map[int]secret.Text
	// Blob returns content by its digest.
	Blob func(digest string) ([]byte, error)
	// Each is called for every Started, Result, Progress, Undone and Warning, in order.
	Each func(*wire.Message)
	// Interrupt cancels the program after its current atomic step when it is
	// closed; the context cancels at once.
	Interrupt <-chan struct{}
	// Quit ends the hearing, and nothing else, when it is closed; the error is [ErrQuit].
	Quit <-chan struct{}
}

// ErrQuit says that somebody heard enough.
var ErrQuit = errors.New("heard enough")

// Run ships a program and returns when the helper is done with it.
func (s *Session) Run(ctx context.Context, w Work) (*wire.Done, error) {
	defer s.out.hurryAfter(ctx)()
	if len(w.Secrets) > 0 {
		if err := s.sendSecrets(w.Secrets); err != nil {
			return nil, err
		}
	}
	if err := s.send(&wire.Message{Program: w.Program}); err != nil {
		if errors.Is(err, wire.ErrTooLarge) {
			return nil, fmt.Errorf("the program for this host is too large: %w", err)
		}
		return nil, err
	}
	s.known.learn(w.Program.Handlers)
	s.watch = newWatch(w.Program, &s.known, s.opts.Grace)
	return s.await(ctx, w, s.watch)
}

// Undo asks the helper to take back a run and returns when it is done.
func (s *Session) Undo(ctx context.Context, u *wire.Undo, w Work) (*wire.Done, error) {
	defer s.out.hurryAfter(ctx)()
	if err := s.send(&wire.Message{Undo: u}); err != nil {
		return nil, err
	}
	s.watch = &watch{limit: undoLimit, undo: true}
	return s.await(ctx, w, s.watch)
}

// Guard asks about the host's guard, or decides it. An answer may take as long as
// the guard waits, so the context bounds it.
func (s *Session) Guard(ctx context.Context, g *wire.Guard) (*wire.GuardState, error) {
	if err := s.stream.Send(&wire.Message{Guard: g}); err != nil {
		return nil, &Lost{err}
	}
	for {
		m, err := s.next(ctx)
		switch {
		case err != nil:
			return nil, err
		case m.GuardState != nil:
			return m.GuardState, nil
		case m.Refused != nil:
			return nil, &Refused{clean(m.Refused.Error), clean(m.Refused.Hint), m.Refused.Locked}
		case m.Progress == nil && m.Warning == nil:
			return nil, wire.Violationf("a message that does not belong here")
		}
	}
}

func (s *Session) sendSecrets(secrets map[int]secret.Text) error {
	plain := map[string]string{}
	for id, text := range secrets {
		plain[strconv.Itoa(id)] = text.Reveal()
	}
	b, err := json.Marshal(plain)
	if err != nil {
		return errors.New("cannot encode the secrets")
	}
	if err := s.stream.WriteFrame(wire.Secrets, b); err != nil {
		if errors.Is(err, wire.ErrTooLarge) {
			return errors.New("the secrets for this host are too large")
		}
		return &Lost{err}
	}
	return nil
}

// cancelGrace is how long a helper has for its last words after it was told to
// stop at once.
const cancelGrace = 20 * time.Second

// await reads until the helper is done. The context's end stops the program at
// once, closing the interrupt stops it after its current atomic step.
func (s *Session) await(ctx context.Context, w Work, watch *watch) (*wire.Done, error) {
	timer := time.NewTimer(watch.limit)
	defer timer.Stop()
	interrupt, cancelled := w.Interrupt, ctx.Done()
	for {
		var m *wire.Message
		var err error
		select {
		case <-w.Quit:
			err = ErrQuit
		case <-interrupt:
			interrupt = nil
			err = s.cancel(false)
		case <-cancelled:
			cancelled = nil
			watch.last = true
			timer.Reset(cancelGrace)
			err = s.cancel(true)
		case <-timer.C:
			s.down = true
			err = &Lost{errSilent}
		case f, ok := <-s.frames:
			m, err = s.decode(f, ok)
		}
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		if m.Done != nil {
			scrubDone(m.Done)
			return m.Done, watch.done(m.Done)
		}
		if err := s.take(m, w, watch); err != nil {
			return nil, err
		}
		// Talk is no work: only a step that begins or ends gives more time.
		if (m.Started != nil || m.Result != nil) && !watch.last {
			timer.Reset(watch.limit)
		}
	}
}

func (s *Session) cancel(now bool) error {
	return s.send(&wire.Message{Cancel: &wire.Cancel{Now: now}})
}

// take deals with one message that is not the last.
func (s *Session) take(m *wire.Message, w Work, watch *watch) error {
	switch {
	case m.Refused != nil:
		return &Refused{clean(m.Refused.Error), clean(m.Refused.Hint), m.Refused.Locked}
	case m.NeedBlob != nil:
		return s.giveBlob(m.NeedBlob.Digest, w.Blob)
	case m.Unsupported != nil:
		return fmt.Errorf("the helper does not know %q", clean(m.Unsupported.Kind))
	case m.Started == nil && m.Result == nil && m.Undone == nil && m.Progress == nil && m.Warning == nil:
		return wire.Violationf("a message that does not belong here")
	}
	if err := watch.accept(m); err != nil {
		return err
	}
	if w.Each != nil {
		w.Each(m)
	}
	return nil
}

// giveBlob sends content that the helper lacks.
func (s *Session) giveBlob(digest string, blob func(string) ([]byte, error)) error {
	err := errors.New("this run has no content of that digest")
	var data []byte
	if blob != nil {
		data, err = blob(digest)
	}
	if err != nil {
		return s.send(&wire.Message{NoBlob: &wire.NoBlob{Digest: digest, Error: err.Error()}})
	}
	sum, err := hex.DecodeString(digest)
	if err != nil {
		return wire.Violationf("a digest that is not hexadecimal")
	}
	if err := s.stream.SendBlob([32]byte(sum), data); err != nil {
		return &Lost{err}
	}
	return nil
}

// Close ends the talk: it closes the helper's input and waits, within the limits
// of [Process.Close], for the helper to go. A far end that does not let go of its
// streams even then loses its connection.
func (s *Session) Close() error {
	select {
	case <-s.closed:
		return nil
	default:
	}
	if !s.down && s.opts.Hello.Reattach > 0 && !s.opts.Hello.Detach {
		// The end of the input is meant; without this the host would wait for us.
		_ = s.stream.Send(&wire.Message{Leave: &wire.Leave{}})
	}
	close(s.closed)
	if s.launched {
		return s.boot.proc.Abandon()
	}
	err := s.boot.proc.Close()
	if !s.quiet(lastWords) {
		err = errors.Join(err, s.conn.Close())
		s.quiet(lastWords)
	}
	return err
}

// quiet waits for the end of those who read from the process.
func (s *Session) quiet(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-s.frames:
			if !ok {
				return s.boot.stderr.ended(within)
			}
		case <-timer.C:
			return false
		}
	}
}
