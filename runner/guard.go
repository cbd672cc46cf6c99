package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/guard"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// guardRun is one guard on one host, from this side.
type guardRun struct {
	nonce  string
	paths  []Path
	ways   []task.Way
	also   []int // steps of earlier programs that come into force now
	within time.Duration
	risky  bool // made by the engine, around risky tasks only
	own    bool // to be settled at the end of its program
	armed  bool

	settled bool // its end was begun
}

// defaultWithin is how long a guard that nobody asked for waits.
const defaultWithin = 90 * time.Second

// reloading is how long a server gets to do what it was told. A reload of sshd is a signal
// that it takes in its own time, after systemd has called it done; whoever comes before is
// let in by the old settings, and would prove nothing.
const reloading = time.Second

func newGuard(paths []Path, within time.Duration) *guardRun {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return &guardRun{nonce: hex.EncodeToString(b[:]), paths: paths, within: within}
}

func (g *guardRun) spec() *wire.Guarded {
	out := &wire.Guarded{Digest: guard.DigestOf(g.nonce), Within: g.within, Risky: g.risky, Also: g.also, Ways: g.ways}
	for _, p := range g.paths {
		out.Paths = append(out.Paths, p.String())
	}
	return out
}

// guardOf puts a program under the guard that its author asked for, or under one of
// our own when a risky task in it could cut the connection.
func (h *hostRun) guardOf(p *wire.Program) *guardRun {
	if p.Rollback != nil {
		return nil // it goes back to what let us in
	}
	if h.verdict != "" {
		p.Flush = false // the handlers ran again with what was put back
	}
	if h.run.opts.Mode != event.Apply && h.run.opts.Mode != event.Plan || h.run.opts.ConnectPath == nil || h.at.Local {
		return nil
	}
	g := h.guard
	// A handler that restarts the SSH server brings into force what was written before.
	if g == nil && (h.risky(p.Steps) || p.Flush && h.hot) {
		g = newGuard(h.moved(p.Steps), defaultWithin)
		g.risky, g.own, g.also = true, true, h.earlier(p.Steps)
		for _, way := range g.paths {
			g.ways = append(g.ways, task.Way{User: way.User})
		}
	}
	if g != nil {
		p.Guarded = g.spec()
	}
	return g
}

func (h *hostRun) risky(steps []wire.Step) bool {
	return slices.ContainsFunc(steps, func(st wire.Step) bool { return st.Risky })
}

// earlier returns the risky steps of the run that are not in a list.
func (h *hostRun) earlier(steps []wire.Step) []int {
	return slices.DeleteFunc(slices.Clone(h.risks), func(n int) bool {
		return slices.ContainsFunc(steps, func(st wire.Step) bool { return st.N == n })
	})
}

// moved are the paths that let somebody in as they will be after the steps: one of them
// may move the port of the SSH server. What the host takes for its port may be another
// one outside, so that a step which leaves it alone does not change a path.
func (h *hostRun) moved(steps []wire.Step) []Path {
	paths := slices.Clone(h.proved)
	if paths == nil {
		paths = []Path{h.present()}
	}
	for i := range steps {
		if port := h.meta[steps[i].N].port; port != 0 && port != h.session.Welcome.Facts.Login.ServerPort {
			for n := range paths {
				paths[n].Port = int(port)
			}
		}
	}
	return paths
}

// present is the path of the connection that the run uses.
func (h *hostRun) present() Path {
	p := Path{User: h.at.User, Address: h.host.Address}
	if _, port, err := net.SplitHostPort(h.at.Address); err == nil {
		p.Port, _ = strconv.Atoi(port)
	}
	return p
}

// guarded runs a block under the guard that its author asked for.
func (h *hostRun) guarded(ctx context.Context, n *load.Node, sc *load.Scope) error {
	if err := h.flush(ctx); err != nil {
		return err
	}
	via, unknown, err := n.Guard.Resolve(ctx, sc)
	var within time.Duration
	if err == nil && unknown == nil {
		within, unknown, err = n.Guard.Within(ctx, sc)
	}
	if err == nil && unknown != nil && h.run.opts.Mode == event.Plan {
		return h.unknown(ctx, visit{node: n, sc: sc, outer: sc}, *unknown)
	}
	if err == nil && unknown != nil {
		err = errors.New("the paths and the time of a guard must be known before it begins")
	}
	if err != nil {
		return h.fault(ctx, visit{node: n, sc: sc, outer: sc}, err)
	}
	var paths []Path
	var ways []task.Way
	for _, v := range via {
		p := h.present()
		if v.User != "" {
			p.User = v.User
		}
		if v.Port != 0 {
			p.Port = v.Port
		}
		if v.Address != "" {
			p.Address = v.Address
		}
		paths = append(paths, p)
		ways = append(ways, task.Way{User: p.User, Port: int64(v.Port)})
	}
	g := newGuard(paths, within)
	g.ways = ways
	h.guard = g
	defer func() { h.guard = nil }()
	err = h.nodes(ctx, n.Tasks, sc, false)
	if err == nil {
		g.own = true // the program that flushes is the last one
		err = h.send(ctx, &wire.Program{Flush: true})
	}
	if err == nil || !g.armed || g.settled {
		return err
	}
	if errors.Is(err, errInterrupted) {
		return firstError(err, h.settleGuard(ctx, g, nil)) // as if it was stopped within a program
	}
	return firstError(err, h.settleGuard(ctx, g, err))
}

// settleGuard ends a guard: it proves every path, or has the change taken back when
// a task under the guard failed. What the host says is what is reported.
func (h *hostRun) settleGuard(ctx context.Context, g *guardRun, failed error) error {
	g.settled = true
	h.tell(event.Event{Guard: &event.Guard{Status: "armed", Paths: g.spec().Paths, Within: g.within}})
	if failed != nil && !g.risky {
		st, err := h.session.Guard(ctx, &wire.Guard{Action: wire.GuardAbort})
		if err != nil {
			h.cut = err
			st, err = h.awaitVerdict(ctx, g)
		}
		return h.concludeGuard(st, err)
	}
	deadline := time.Now().Add(g.within)
	select {
	case <-time.After(min(reloading, g.within/4)):
	case <-ctx.Done():
	}
	for i, p := range g.paths {
		st, err := h.prove(ctx, g, i, p, &deadline)
		if err != nil {
			h.tell(event.Event{Guard: &event.Guard{Status: "unproved", Paths: []string{p.String()}, Error: plain.Text(err.Error())}})
			break
		}
		h.tell(event.Event{Guard: &event.Guard{Status: "proved", Paths: []string{p.String()}}})
		if !g.risky && i == len(g.paths)-1 {
			h.proved = g.paths // its author may close other ways, that of our connection too
		}
		if guard.Status(st.Status).Final() {
			return h.concludeGuard(st, nil)
		}
	}
	return h.concludeGuard(h.awaitVerdict(ctx, g))
}

// unsettled says what becomes of a guard that the run does not wait for.
func (h *hostRun) unsettled() {
	h.warn("the guard still waits: the host takes the change back by itself unless somebody confirms it", "holdfast guard confirm "+h.host.Name)
}

func isLost(err error) bool {
	var lost *remote.Lost
	return errors.As(err, &lost)
}

// lostUnder fetches the host's verdict when the connection broke under a guard: the
// host decides by itself, and what it decided is what is reported.
func (h *hostRun) lostUnder(ctx context.Context, g *guardRun, err error) error {
	if g == nil || ctx.Err() != nil || !isLost(err) {
		return err
	}
	g.settled, h.cut = true, err
	h.warn(plain.Text(err.Error())+"; asking the host for the verdict of its guard", "")
	st, verr := h.awaitVerdict(ctx, g)
	if verr != nil || st.Run != h.run.opts.ID {
		return err // it was not armed, or nobody knows
	}
	return h.concludeGuard(st, nil)
}

// prove logs in over one path, with a connection that shares nothing with ours, until
// it works or the guard's time is over, which a person may extend.
func (h *hostRun) prove(ctx context.Context, g *guardRun, i int, p Path, deadline *time.Time) (*wire.GuardState, error) {
	var last error // not that of an attempt that the deadline cut short
	for {
		limit, cancel := context.WithDeadline(ctx, *deadline)
		st, err := h.proveOnce(limit, g, i, p)
		if err != nil && (last == nil || limit.Err() == nil) {
			last = err
		}
		cancel()
		var refused *guardRefusal
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return st, err
		}
		if left := h.remaining(ctx); time.Now().Add(left).After(*deadline) {
			*deadline = time.Now().Add(left)
		}
		if time.Now().After(*deadline) {
			return nil, last
		}
		select {
		case <-time.After(min(2*time.Second, time.Until(*deadline))):
		case <-h.run.opts.Stop:
			return nil, last
		case <-ctx.Done():
			return nil, last
		}
	}
}

// remaining asks the host over the old connection how long its guard waits. One that does
// not answer is not asked again.
func (h *hostRun) remaining(ctx context.Context) time.Duration {
	if h.cut != nil {
		return 0
	}
	limit, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := h.session.Guard(limit, &wire.Guard{Action: wire.GuardStatus})
	if err != nil {
		h.cut = err
		return 0
	}
	return min(st.Left, time.Hour)
}

// guardRefusal is the host's no to a proof: trying again does not help.
type guardRefusal struct{ message string }

func (r *guardRefusal) Error() string { return r.message }

func (h *hostRun) proveOnce(ctx context.Context, g *guardRun, i int, p Path) (*wire.GuardState, error) {
	conn, err := h.run.opts.ConnectPath(ctx, h.host, p)
	if err != nil {
		return nil, err
	}
	defer h.spend(conn)
	defer conn.Close() //nolint:errcheck // the proof counts
	st, err := remote.ProveGuard(ctx, conn, h.guardOptions(), &wire.Guard{Action: wire.GuardProve, Nonce: g.nonce, Path: i})
	if err != nil {
		return nil, err
	}
	if st.Error != "" {
		return nil, &guardRefusal{plain.Line(st.Error)}
	}
	return st, nil
}

// spend counts the traffic of a connection beside the run's own.
func (h *hostRun) spend(conn remote.Conn) {
	if s, ok := conn.(Stats); ok {
		up, down, trips, _ := s.Traffic()
		h.beside.up, h.beside.down, h.beside.trips = h.beside.up+up, h.beside.down+down, h.beside.trips+trips
	}
}

func (h *hostRun) guardOptions() remote.Options {
	opts := h.run.opts.Session(h.host)
	opts.Hello = h.run.hello()
	return opts
}

// verdictGrace is how long an undo may take beyond the deadline.
const verdictGrace = 5 * time.Minute

// awaitVerdict asks the host how it decided: over the old connection if that is
// there, over a new one if not.
func (h *hostRun) awaitVerdict(ctx context.Context, g *guardRun) (*wire.GuardState, error) {
	if h.cut == nil {
		first, cancel := context.WithTimeout(ctx, h.remaining(ctx)+5*time.Second)
		defer cancel()
		st, err := h.session.Guard(first, &wire.Guard{Action: wire.GuardWait})
		if err == nil {
			return st, nil
		}
		h.cut = err
	}
	limit, cancel := context.WithTimeout(ctx, g.within+verdictGrace)
	defer cancel()
	for {
		st, err := h.askAgain(limit)
		if err == nil {
			return st, nil
		}
		select {
		case <-time.After(2 * time.Second):
			continue
		case <-h.run.opts.Stop:
		case <-limit.Done():
		}
		h.unsettled()
		return nil, err
	}
}

func (h *hostRun) askAgain(ctx context.Context) (*wire.GuardState, error) {
	conn, err := h.run.opts.Connect(ctx, h.host)
	if err != nil {
		return nil, err
	}
	defer h.spend(conn)
	defer conn.Close() //nolint:errcheck // the answer counts
	opts := h.guardOptions()
	opts.Hello.Mode = "guard"
	s, err := remote.Open(ctx, conn, opts)
	if err != nil {
		return nil, err
	}
	defer s.Close() //nolint:errcheck // the answer counts
	return s.Guard(ctx, &wire.Guard{Action: wire.GuardWait})
}

func (h *hostRun) tell(e event.Event) { h.run.emit(h.host.Name, e) }

// concludeGuard reports the host's verdict, and stops the work on the host when the
// change was taken back.
func (h *hostRun) concludeGuard(st *wire.GuardState, err error) error {
	if err != nil {
		return err
	}
	h.tell(event.Event{Guard: &event.Guard{Status: plain.Line(st.Status), Message: plain.Line(st.Message), Error: plain.Line(st.Error)}})
	switch guard.Status(st.Status) {
	case guard.Confirmed:
		if h.guard != nil {
			h.risks = nil // what is in force and was confirmed no later guard takes back
		}
		return h.cut // without the connection nothing more can be done
	case guard.Undone, guard.Broken:
		h.verdict, h.failed = st.Status, true
		return errStop
	}
	if guard.Status(st.Status) == guard.Armed {
		h.unsettled()
		return h.cut
	}
	return errors.New("the guard gave no verdict: it is " + plain.Line(st.Status))
}
