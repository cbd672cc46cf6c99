// Package helper is the far end: it runs on the target, reads programs from its
// input, runs them with the modules that it was given, and writes results to its
// output as they happen. It ends when its input closes and leaves nothing running.
package helper

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/playbooks/source"
	"holdfast/runner/guard"
	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// Options of a helper.
type Options struct {
	Modules []*task.Module
	Build   string // hash of this build, for people
	// StateDir holds journal, ledger and pending handlers. "" is /var/lib/holdfast
	// for root and ~/.local/state/holdfast for others.
	StateDir string
	In       io.Reader
	Out      io.Writer
}

// Serve speaks to the controller until its input ends.
func Serve(ctx context.Context, opts Options) error {
	if _, err := fmt.Fprintf(opts.Out, "%s%d\n", wire.Magic, wire.MaxProtocol); err != nil {
		return err
	}
	machine, err := host.New()
	if err != nil {
		return err
	}
	defer machine.Close() //nolint:errcheck // nothing more is asked of the managers
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := newLink(opts.Out)
	s := &server{
		opts: opts, link: l, stream: wire.NewStream(opts.In, l), machine: machine, modules: map[string]*task.Module{},
		work: make(chan job, 4), stop: make(chan struct{}), cancelNow: cancel, blobs: newMailbox(), defs: map[string]handlerDef{},
	}
	defer s.steady()()
	for _, m := range opts.Modules {
		s.modules[m.Name] = m
	}
	// The reader may be blocked on an input that stays open; the process ends with its
	// caller and takes the reader along.
	go s.read(0, s.stream)
	err = s.talk(ctx)
	s.release()
	l.finish()
	return err
}

// server is the state of one talk.
type server struct {
	opts    Options
	link    *link
	stream  *wire.Stream // for saying; what is heard has a stream for each connection
	machine *host.Machine
	modules map[string]*task.Module
	blobs   *mailbox

	hello   *wire.Hello
	store   *journal.Store
	lock    *journal.Lock
	journal *journal.Journal // of this run, from its first change on
	failed  bool             // a step of this run failed
	overlay *host.Overlay    // in a plan
	memory  *memory          // in an ask: what the last one was answered with
	cover   *cover           // of a guard

	queue   []string // keys of the handlers to run, in the order of their notification
	defs    map[string]handlerDef
	order   []string // keys of defs in order of definition
	left    int      // steps of handlers that earlier runs left
	chatter chatter

	work      chan job
	stopOnce  sync.Once
	stop      chan struct{} // closed: stop after the current atomic step
	cancelNow context.CancelFunc
	redactor  secret.Redactor // knows every secret that came

	door     net.Listener // where a controller that was lost comes back in
	leaving  atomic.Bool  // the controller said that it goes
	final    atomic.Bool  // the last program came
	busy     atomic.Bool  // a message is being worked on
	holding  atomic.Bool  // between two tasks, for a controller that was lost
	guarding atomic.Bool  // the program is guarded

	mu      sync.Mutex
	secrets map[int]secret.Text // came before the next message
	closed  bool                // no more work is taken in
	current *wire.Program       // the last one that came, without arguments
	undoing bool
}

// modes are what a talk may be for.
var modes = []string{"plan", "apply", "verify", "undo", "facts", "guard", modeAsk, modeAttach}

// job is a message that starts work, with the secrets that came along.
type job struct {
	message *wire.Message
	secrets map[int]secret.Text
}

// read takes frames in from one connection until it ends.
func (s *server) read(gen int, stream *wire.Stream) {
	defer s.parted(gen)
	for {
		kind, payload, err := stream.ReadFrame()
		if err != nil || !s.link.present(gen) {
			return
		}
		switch kind {
		case wire.Secrets:
			err = s.takeSecrets(payload)
		case wire.Blob:
			err = s.takeBlob(payload)
		case wire.JSON:
			err = s.takeMessage(payload)
		}
		if errors.Is(err, errPassedOn) {
			return
		}
		if err != nil {
			_ = s.stream.Send(&wire.Message{Refused: &wire.Refused{Error: err.Error()}})
			s.leaving.Store(true)
			return
		}
	}
}

func (s *server) stopSoon() {
	s.stopOnce.Do(func() { close(s.stop) })
	s.link.wake()
}

func (s *server) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// ended reports whether there is no more work to begin. A run that lost its controller
// waits here, between two tasks, until that comes back or has been gone for too long.
func (s *server) ended(ctx context.Context) bool {
	s.holding.Store(true)
	s.link.hold(s.stopping)
	s.holding.Store(false)
	return s.stopping() || ctx.Err() != nil
}

func (s *server) takeSecrets(payload []byte) error {
	var plain map[string]string
	if err := json.Unmarshal(payload, &plain); err != nil {
		return errors.New("secrets that cannot be read")
	}
	got := map[int]secret.Text{}
	for id, text := range plain {
		n, err := strconv.Atoi(id)
		if err != nil {
			return errors.New("secrets that cannot be read")
		}
		got[n] = secret.New(text)
		s.redactor.Add(got[n])
	}
	s.mu.Lock()
	s.secrets = got
	s.mu.Unlock()
	return nil
}

func (s *server) takeBlob(payload []byte) error {
	sum, data, err := wire.SplitBlob(payload)
	if err != nil {
		return err
	}
	return s.blobs.add(hex.EncodeToString(sum[:]), data)
}

func (s *server) takeMessage(payload []byte) error {
	m, err := wire.DecodeMessage(payload)
	var unknown *wire.UnknownKind
	if errors.As(err, &unknown) {
		return s.stream.Send(&wire.Message{Unsupported: &wire.Unsupported{Kind: unknown.Kind}})
	}
	if err != nil {
		return err
	}
	switch {
	case m.Cancel != nil:
		s.stopSoon()
		if m.Cancel.Now {
			s.cancelNow()
		}
	case m.NoBlob != nil:
		s.blobs.refuse(m.NoBlob.Digest, m.NoBlob.Error)
	case m.Unsupported != nil:
	case m.Leave != nil:
		s.leaving.Store(true)
	case m.Hello != nil && m.Hello.Mode == modeAttach && s.front(payload):
		return errPassedOn
	default:
		return s.takeJob(m)
	}
	return nil
}

// errPassedOn ends the reading of a talk that another process led.
var errPassedOn = errors.New("passed on")

func (s *server) takeJob(m *wire.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	secrets := s.secrets
	s.secrets = nil
	select {
	case s.work <- job{m, secrets}:
		return nil
	default:
		return wire.Violationf("too much was asked for at a time")
	}
}

// talk answers messages in order.
func (s *server) talk(ctx context.Context) error {
	first, ok := <-s.work
	if !ok {
		return nil
	}
	if first.message.Hello == nil {
		return s.refuse("the talk must begin with hello")
	}
	if err := s.welcome(ctx, first.message.Hello); err != nil || s.hello.Guard != nil {
		return err
	}
	for j := range s.work {
		s.busy.Store(true)
		err := s.do(ctx, j)
		s.busy.Store(false)
		if err != nil {
			return err
		}
		if there, _ := s.link.attended(); !there && (s.final.Load() || s.hello.Detach) {
			s.linger()
		}
	}
	return nil
}

// do answers one message.
func (s *server) do(ctx context.Context, j job) (err error) {
	switch {
	case j.message.Ask != nil && s.hello.Mode == modeAsk:
		return s.ask(ctx, j.message.Ask)
	case s.hello.Mode == modeAsk, s.hello.Mode == modeAttach:
		return s.refuse("a talk that asks can do nothing else")
	case j.message.Program != nil:
		p := j.message.Program
		s.link.heard()
		s.noteWork(p, false)
		s.guarding.Store(p.Guarded != nil)
		s.final.Store(p.Final)
		return s.program(ctx, p, j.secrets)
	case j.message.Guard != nil:
		return s.guard(ctx, j.message.Guard)
	case j.message.Undo != nil:
		s.link.heard()
		s.noteWork(nil, true)
		s.final.Store(true)
		return s.undo(ctx, j.message.Undo)
	}
	return s.refuse("a message that does not belong here")
}

func (s *server) refuse(message string) error {
	if err := s.stream.Send(&wire.Message{Refused: &wire.Refused{Error: message}}); err != nil {
		return err
	}
	return errors.New(message)
}

// writes reports whether the run changes the host, and so needs its lock.
func (s *server) writes() bool { return s.hello.Mode == "apply" || s.hello.Mode == "undo" }

func (s *server) welcome(ctx context.Context, h *wire.Hello) error {
	s.hello = h
	if h.Min > wire.MaxProtocol || h.Max < wire.MinProtocol {
		return s.refuse(fmt.Sprintf("this helper speaks protocol %d to %d", wire.MinProtocol, wire.MaxProtocol))
	}
	if !slices.Contains(modes, h.Mode) {
		return s.refuse(fmt.Sprintf("this helper does not know the mode %.40q", h.Mode))
	}
	s.machine.Facts().Login.Key = h.Key
	w := &wire.Welcome{Min: wire.MinProtocol, Max: wire.MaxProtocol, Build: s.opts.Build,
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Facts: s.machine.Facts()}
	if err := s.openStore(); err != nil {
		return s.refuse(err.Error())
	}
	if s.store != nil && s.writes() {
		if err := s.takeLock(); err != nil {
			return err
		}
		w.Fence = s.lock.Fence
		note, err := s.relieve(ctx)
		if err != nil {
			return s.refuse(err.Error())
		}
		w.Warnings = append(w.Warnings, note...)
	}
	if s.store != nil && h.Mode != modeAsk {
		if err := s.recall(ctx, w); err != nil {
			return s.refuse(err.Error())
		}
	}
	if err := s.glance(ctx, w); err != nil {
		return s.refuse(err.Error())
	}
	if h.Mode == "plan" {
		s.overlay = host.NewOverlay(s.machine.Reader())
	}
	if err := s.stream.Send(&wire.Message{Welcome: w}); err != nil {
		return err
	}
	return s.outlive(ctx)
}

// openStore opens the host's memory. Only a run that changes something makes one; to
// take back what was never done needs none.
func (s *server) openStore() error {
	dir, err := s.stateDir()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); s.hello.Mode != "apply" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	open := journal.Open
	if s.hello.Mode == modeAsk || s.hello.Mode == modeAttach {
		open = journal.Look
	}
	store, err := open(dir)
	s.store = store
	return err
}

// stateDir is where the host's memory is for the account that we are.
func (s *server) stateDir() (string, error) {
	if s.opts.StateDir != "" {
		return s.opts.StateDir, nil
	}
	if os.Geteuid() == 0 {
		return journal.DefaultDir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot find a place for the journal: %w", err)
	}
	return filepath.Join(home, ".local/state/holdfast"), nil
}

// lockWait is how long a run that was told to give way has to do so.
const lockWait = 10 * time.Second

func (s *server) takeLock() error {
	done, err := s.afterGuard()
	if err != nil {
		return s.refuse(err.Error())
	}
	defer done()
	holder := journal.Holder{Run: s.hello.Run, Controller: s.hello.Controller, User: s.hello.User, Command: s.hello.Command, Since: now()}
	lock, err := s.store.Lock(holder)
	var locked *journal.Locked
	if errors.As(err, &locked) && s.displace() {
		for by := time.Now().Add(lockWait); errors.As(err, &locked) && time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
			lock, err = s.store.Lock(holder)
		}
	}
	if errors.As(err, &locked) {
		if err := s.stream.Send(&wire.Message{Refused: &wire.Refused{Error: err.Error(), Locked: true,
			Hint: "wait for it, or end it with 'holdfast runs abort " + cmp.Or(locked.Holder.Run, "RUN") + "'; the lock goes when its process goes"}}); err != nil {
			return err
		}
		return err
	}
	if err != nil {
		return s.refuse(err.Error())
	}
	s.lock = lock
	return nil
}

// afterGuard waits for a guard that takes its change back at this moment, and keeps it
// from beginning until done is called: it writes without the lock, and a number that is
// given out meanwhile would end it half way.
func (s *server) afterGuard() (done func(), err error) {
	g := guard.Open(s.store.Dir())
	st, err := g.State()
	if err != nil || st.Status == guard.None || st.Status.Final() {
		return func() {}, err // a host without room must do without the guard's files
	}
	return g.Turn()
}

// recall loads what earlier runs left: pending handlers, and the runs that can be
// taken back.
func (s *server) recall(ctx context.Context, w *wire.Welcome) error {
	pending, err := s.store.Pending()
	if err != nil {
		return err
	}
	for _, h := range pending {
		w.Pending = append(w.Pending, wire.PendingHandler{Name: h.Name, Run: h.Run})
		if s.hello.Mode != "apply" && s.hello.Mode != "plan" {
			continue
		}
		if err := s.remember(h); err != nil {
			return err
		}
	}
	switch s.hello.Mode {
	case "apply":
		if err := errors.Join(s.catchUp(ctx), s.reap(), s.sweep()); err != nil {
			w.Warnings = append(w.Warnings, wire.Warning{Message: err.Error(), Hint: "the rest of the host's memory is well, and the run goes on"})
		}
	case modeAttach:
		w.Runs, err = s.runs()
	case "undo":
		// A host whose disk is full must be able to go back all the same.
		_ = s.catchUp(ctx)
		if err := s.reap(); err != nil {
			w.Warnings = append(w.Warnings, wire.Warning{Message: err.Error()})
		}
		w.Runs, err = s.runs()
	}
	return err
}

func (s *server) release() {
	if s.journal != nil {
		status := journal.Interrupted
		if s.failed {
			status = journal.Failed
		}
		_ = s.journal.Close(status)
		s.journal = nil
	}
	s.shut()
	if s.lock != nil {
		_ = s.lock.Release()
		s.lock = nil
	}
}

// node reads a step's arguments.
func node(args json.RawMessage) (*source.Node, error) {
	return source.FromJSON(source.Pos{}, args)
}
