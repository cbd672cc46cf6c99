package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/runner/guard"
	"holdfast/runner/host"
	"holdfast/runner/host/systemd"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// cover is a guard while its programs run.
type cover struct {
	spec  *wire.Guarded
	steps []int
	armed bool
	stop  chan struct{} // closed: the program is over
	done  chan struct{} // closed: nobody extends the deadline any more
}

// guarded begins or goes on with the guard of a program. A step without an inverse
// is refused before anything is written; its number is returned.
func (s *server) guarded(p *wire.Program, secrets map[int]secret.Text) (refused int, err error) {
	if s.cover == nil || s.cover.spec.Digest != p.Guarded.Digest {
		s.cover = &cover{spec: p.Guarded, steps: slices.Clone(p.Guarded.Also)}
	}
	s.machine.Facts().Login.Ways = p.Guarded.Ways
	for i := range p.Steps {
		st := &p.Steps[i]
		if !s.covers(st) {
			continue
		}
		if !p.Guarded.Risky {
			if err := s.takesBack(st, secrets); err != nil {
				return st.N, err
			}
		}
		s.cover.steps = append(s.cover.steps, st.N)
	}
	for _, h := range p.Handlers {
		for i := range h.Steps {
			if s.covers(&h.Steps[i]) {
				s.cover.steps = append(s.cover.steps, h.Steps[i].N)
			}
		}
	}
	if s.cover.armed {
		return 0, guard.Open(s.store.Dir()).Cover(s.hello.Run, s.cover.steps)
	}
	return 0, nil
}

func (s *server) covers(st *wire.Step) bool {
	return !s.cover.spec.Risky || st.Risky
}

// takesBack fails for a step that could not be undone.
func (s *server) takesBack(st *wire.Step, secrets map[int]secret.Text) error {
	args, err := node(st.Args)
	if err != nil {
		return err
	}
	m := s.modules[st.Module]
	b, err := m.Bind(args, func(id int) (secret.Text, bool) { t, ok := secrets[id]; return t, ok })
	if err != nil {
		return err
	}
	if why := irreversible(m, b, st); why != "" {
		return fmt.Errorf("cannot be guarded: %s", why)
	}
	return nil
}

// arm makes the host take the change back by itself unless it is confirmed. It is
// called before the first change that the guard covers.
func (s *server) arm(ctx context.Context) error {
	c := s.cover
	g := guard.Open(s.store.Dir())
	if err := g.InstallProgram(); err != nil {
		return err
	}
	if err := g.Arm(guard.State{Run: s.hello.Run, Steps: c.steps, Digest: c.spec.Digest, Paths: c.spec.Paths, Within: c.spec.Within}); err != nil {
		return err
	}
	if err := s.startGuard(ctx, g); err != nil {
		// Nothing was changed yet, so there is nothing to take back.
		_, derr := g.Confirm("nobody: the guard did not start")
		return errors.Join(fmt.Errorf("cannot arm the guard: %w", err), derr, retired(g))
	}
	c.armed, c.stop, c.done = true, make(chan struct{}), make(chan struct{})
	go s.keepAwake(g, c.spec.Within, c.stop, c.done)
	return nil
}

// startGuard starts the process that waits for the deadline.
func (s *server) startGuard(ctx context.Context, g *guard.Guard) error {
	args := "guard " + s.store.Dir()
	if len(os.Args) > 1 && os.Args[1] == "helper" {
		args = "helper " + args // this is the whole program, not the small one
	}
	if s.machine.Facts().Init != "systemd" {
		return g.Detach(strings.Fields(args)...)
	}
	if err := g.InstallUnit(args); err != nil {
		return err
	}
	m, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // nothing more is asked
	if err := m.DaemonReload(ctx); err != nil {
		return err
	}
	return m.Restart(ctx, guard.UnitName)
}

// keepAwake moves the deadline while the program runs: it counts from the last sign
// of life of the run, not from the first change.
func (s *server) keepAwake(g *guard.Guard, within time.Duration, stop, done chan struct{}) {
	defer close(done)
	t := time.NewTicker(within / 4)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-s.stop:
			return // the controller is gone or gave up: the deadline stands
		case <-t.C:
			if _, err := g.Extend(s.hello.Run, within); err != nil {
				return
			}
		}
	}
}

// rest ends the keeping awake at the end of a program and says whether the guard
// waits for proof.
func (s *server) rest() bool {
	c := s.cover
	if c == nil || !c.armed {
		return false
	}
	if c.stop != nil {
		close(c.stop)
		<-c.done
		c.stop = nil
	}
	g := guard.Open(s.store.Dir())
	if !s.stopping() {
		_, _ = g.Extend(s.hello.Run, c.spec.Within) // a verdict that is there already shows below
	}
	st, err := g.State()
	return err == nil && st.Run == s.hello.Run && st.Status == guard.Armed
}

// guard answers a question about the guard, or decides it.
func (s *server) guard(ctx context.Context, m *wire.Guard) error {
	st, err := s.guardState(ctx, m)
	if err != nil {
		return s.refuse(err.Error())
	}
	return s.stream.Send(&wire.Message{GuardState: st})
}

func (s *server) guardState(ctx context.Context, m *wire.Guard) (*wire.GuardState, error) {
	out := &wire.GuardState{}
	if s.store == nil {
		return out, nil
	}
	g := guard.Open(s.store.Dir())
	st, err := s.decide(ctx, g, m)
	if err != nil {
		out.Error = err.Error()
	}
	if st == nil {
		if st, err = g.State(); err != nil {
			return nil, err
		}
	}
	out.Status, out.Run, out.Message, out.Paths, out.Proved = string(st.Status), st.Run, st.Message, st.Paths, st.Proved
	if st.Status == guard.Armed {
		out.Left = st.Left()
	}
	return out, nil
}

// glance answers a talk that has one question, which came with its greeting.
func (s *server) glance(ctx context.Context, w *wire.Welcome) (err error) {
	if s.hello.Guard == nil {
		return nil
	}
	if s.hello.Mode != "guard" {
		return errors.New("a question about the guard does not belong here")
	}
	w.GuardState, err = s.guardState(ctx, s.hello.Guard)
	return err
}

func (s *server) decide(ctx context.Context, g *guard.Guard, m *wire.Guard) (*guard.State, error) {
	switch m.Action {
	case wire.GuardProve:
		// A login that cannot write is no way to repair a host.
		if err := os.WriteFile(filepath.Join(g.Dir(), "proof"), []byte(s.hello.Run+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("cannot write on the host: %w", err)
		}
		st, err := g.Prove(m.Nonce, m.Path)
		if err == nil && st.Status == guard.Confirmed {
			err = retired(g)
		}
		return st, err
	case wire.GuardConfirm:
		st, err := g.Confirm(s.hello.User + " on " + s.hello.Controller)
		if err == nil {
			err = retired(g)
		}
		return st, err
	case wire.GuardAbort:
		if err := s.takeBack(ctx, g, true, "aborted by "+s.hello.User+" on "+s.hello.Controller); err != nil {
			return nil, err
		}
		st, err := g.State()
		if err == nil && st.Status != guard.Undone && st.Status != guard.Broken {
			err = fmt.Errorf("cannot abort the guard: it is %s", st.Status.Word())
		}
		return s.goOn(st, err)
	case wire.GuardExtend:
		return g.Extend("", m.By)
	case wire.GuardWait:
		return s.goOn(s.awaitVerdict(ctx, g))
	}
	return nil, nil
}

// goOn gives the run of a guard that has spoken the right to write again, which a taking
// back took from it as from anybody: what it still has to do, such as to clean up, is done.
func (s *server) goOn(st *guard.State, err error) (*guard.State, error) {
	if err == nil && s.lock != nil && st.Status.Final() {
		err = s.regain()
	}
	return st, err
}

// awaitVerdict returns when the guard has spoken.
func (s *server) awaitVerdict(ctx context.Context, g *guard.Guard) (*guard.State, error) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		st, err := g.State()
		if err != nil || st.Status.Final() || st.Status == guard.None {
			return st, err
		}
		select {
		case <-t.C:
		case <-s.stop:
			return st, nil
		case <-ctx.Done():
			return st, nil
		}
	}
}

// takeBack undoes what the guard covers, if that is due, and speaks the verdict.
func (s *server) takeBack(ctx context.Context, g *guard.Guard, now bool, why string) error {
	done, err := g.Turn()
	if err != nil {
		return err
	}
	defer done()
	st, err := g.Claim(now, why)
	if err != nil || st == nil {
		return err
	}
	lock, err := s.store.Seize()
	if err != nil {
		return errors.Join(err, g.Verdict(guard.Broken, err.Error()))
	}
	results, err := s.undoGuarded(ctx, st, lock)
	status, message := verdict(st.Message, results, err)
	return errors.Join(g.Verdict(status, message), retired(g))
}

func verdict(why string, results []host.UndoResult, err error) (guard.Status, string) {
	var wrong []string
	undone := 0
	for _, r := range results {
		switch r.Status {
		case host.Undone:
			undone++
		case host.Refused, host.Failed, host.Irreversible:
			wrong = append(wrong, r.Resource+": "+r.Message)
		}
	}
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) > 0 {
		return guard.Broken, why + "; not all could be taken back: " + strings.Join(wrong, "; ")
	}
	return guard.Undone, fmt.Sprintf("%s; %d changes were taken back", why, undone)
}

func (s *server) undoGuarded(ctx context.Context, st *guard.State, lock *journal.Lock) ([]host.UndoResult, error) {
	_, results, err := s.undoPart(ctx, st.Run, lock, partial{
		id: fmt.Sprintf("%s-guard-%d", st.Run, now().Unix()), command: guardCommand, user: "guard",
		covers: func(t *journal.TaskRecord) bool { return slices.Contains(st.Steps, t.Step) },
		// A server that goes on with the old settings would keep everybody out all the same.
		after: func(part *journal.Record, results []host.UndoResult) { s.renotify(ctx, part, results) },
	})
	return results, err
}

// guardCommand is the command of a guard's own undo in the list of runs.
const guardCommand = "guard"

// relieve ends the guard of a run that is gone: we hold the host's lock, so nobody is
// left to confirm it, and what comes next shall not wait for its deadline.
func (s *server) relieve(ctx context.Context) ([]wire.Warning, error) {
	g := guard.Open(s.store.Dir())
	st, err := g.State()
	if err != nil || st.Status != guard.Armed && st.Status != guard.Undoing {
		return nil, err
	}
	if err := s.takeBack(ctx, g, true, "a new run began before it was confirmed"); err != nil {
		return nil, err
	}
	// The taking back took the right to write from us as from anybody.
	if s.lock.Fence, err = s.store.Renew(); err != nil {
		return nil, err
	}
	after, err := g.State()
	if err != nil {
		return nil, err
	}
	if after.Status == guard.Broken {
		return []wire.Warning{{Message: fmt.Sprintf("the guarded change of run %s was never confirmed: %s", st.Run, after.Message),
			Hint: "look at the host; 'holdfast undo " + st.Run + "' may take back the rest"}}, nil
	}
	return []wire.Warning{{Message: fmt.Sprintf("the guarded change of run %s was never confirmed and was taken back", st.Run)}}, nil
}

// Guard is the process that waits for the deadline. It ends with the verdict.
func Guard(ctx context.Context, opts Options) error {
	machine, err := host.New()
	if err != nil {
		return err
	}
	store, err := journal.Open(opts.StateDir)
	if err != nil {
		return err
	}
	s := &server{opts: opts, stream: wire.NewStream(strings.NewReader(""), io.Discard), machine: machine, store: store,
		modules: map[string]*task.Module{}, stop: make(chan struct{}), blobs: newMailbox(), defs: map[string]handlerDef{},
		hello: &wire.Hello{Mode: "undo", User: "the guard", Controller: "the host"}}
	for _, m := range opts.Modules {
		s.modules[m.Name] = m
	}
	g := guard.Open(opts.StateDir)
	for {
		over, err := g.Retire()
		if err != nil {
			return err
		}
		if over {
			return s.reload(ctx)
		}
		if err := s.takeBack(ctx, g, false, "the deadline passed without proof"); err != nil {
			return err
		}
		st, err := g.State()
		if err != nil {
			return err
		}
		select {
		case <-time.After(min(max(st.Left(), 20*time.Millisecond), 500*time.Millisecond)):
		case <-ctx.Done():
			return nil // stopped in good order: whoever stops us starts us again, or the next boot does
		}
	}
}

func retired(g *guard.Guard) error {
	_, err := g.Retire()
	return err
}

// reload makes systemd forget the unit that was taken away.
func (s *server) reload(ctx context.Context) error {
	if s.machine.Facts().Init != "systemd" {
		return nil
	}
	m, err := systemd.Connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(m.DaemonReload(ctx), m.Close())
}
