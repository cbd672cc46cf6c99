// Package runner is the engine: it connects to hosts, ships programs to their
// helpers, and emits events. It prints nothing and decides the exit status.
package runner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"sync"
	"time"

	"holdfast/inventory"
	"holdfast/runner/event"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// The exit statuses of the program, one table for engine, documents and tests.
const (
	CodeOK             = 0
	CodeInternal       = 1
	CodeFaults         = 3 // playbook, inventory or command line is wrong; no host was contacted
	CodeChanges        = 4 // plan --exit-code found changes
	CodeFailed         = 5
	CodeUnreachable    = 6
	CodeRolledBack     = 7
	CodeRollbackFailed = 8
	CodeInterrupted    = 130
)

// Options of a run.
type Options struct {
	ID       string
	Mode     event.Mode
	Playbook *load.Playbook // nil for undo
	Bound    []*load.Host   // the playbook on each host; nil for undo
	Hosts    []*inventory.Host
	Blobs    *load.Blobs
	// Connect opens a connection to a host. Its errors are taken as unreachable.
	Connect func(ctx context.Context, h *inventory.Host) (remote.Conn, error)
	// ConnectPath opens a connection that shares nothing with another, over one
	// declared path, to prove that the host can still be reached. Nil: no guards.
	ConnectPath func(ctx context.Context, h *inventory.Host, p Path) (remote.Conn, error)
	// Session returns the options of the session on a host: helpers, root.
	Session func(h *inventory.Host) remote.Options
	// Near opens a connection to the machine that this program runs on, for tasks
	// with on: controller.
	Near  func(ctx context.Context) (remote.Conn, remote.Options, error)
	Forks int // hosts at a time; 0 is DefaultForks
	Sink  event.Sink
	// Controller, User and Command name the run for others on the host.
	Controller, User, Command string
	Diff                      bool
	// Stop ends every host after its current atomic step when it is closed; the
	// context ends them at once.
	Stop <-chan struct{}
	// Undo says what to take back, in the modes of undo.
	Undo UndoOptions
	// Reattach is how long a run waits on its host for a connection that was lost, and
	// how long this end tries to make it anew. 0: it ends there and then.
	Reattach time.Duration
	// Detach ships the whole program and leaves; the host goes on alone.
	Detach bool
	// Attach names the run to follow, in the mode of attach.
	Attach string
}

// Path is a way into a host that a guard wants proved. An empty field is as the
// inventory has it.
type Path struct {
	User    string
	Port    int
	Address string
}

// String returns the path as people read it.
func (p Path) String() string {
	s := p.User + "@" + p.Address
	if p.Port != 0 {
		s += ":" + strconv.Itoa(p.Port)
	}
	return s
}

// UndoOptions say what to take back.
type UndoOptions struct {
	Run   string
	Only  []string
	Plan  bool
	Force bool
}

// DefaultForks is how many hosts are worked on at a time.
const DefaultForks = 64

// NewID returns the name of a run: its time, so that names sort, and four random bytes.
func NewID(t time.Time) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return t.UTC().Format("20060102-150405-") + hex.EncodeToString(b[:])
}

// Run runs the playbook, or takes a run back, on every host and returns what the
// last event says too.
func Run(ctx context.Context, opts Options) event.RunFinished {
	if opts.Forks <= 0 {
		opts.Forks = DefaultForks
	}
	if opts.Stop == nil {
		opts.Stop = make(chan struct{})
	}
	r := &run{opts: opts, token: rand.Text(), began: time.Now(), near: newNear(opts.Near)}
	r.start()
	hosts := r.jobs()
	// Once somebody asks for the end, hosts that wait for their turn wait no longer.
	begin, enough := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-opts.Stop:
			enough()
		case <-begin.Done():
		}
	})
	r.over(ctx, begin, hosts)
	enough()
	watch.Wait()
	if err := r.near.close(ctx); err != nil {
		r.emit("", event.Event{Warning: &event.Warning{Message: "the helper on the controller did not end well: " + plain.Line(err.Error())}})
	}
	r.breach()
	return r.finish(ctx)
}

// run is one run over all hosts.
type run struct {
	opts  Options
	began time.Time
	mu    sync.Mutex
	tally event.RunFinished
	worst int
	near  *near
	token string // known to the hosts of this run and to nobody else
	turns turns
	left  int // hosts that were not begun
}

func (r *run) emit(host string, e event.Event) {
	e.Time, e.Host = time.Now().UTC(), host
	r.opts.Sink.Emit(e)
}

func (r *run) stopped() bool {
	select {
	case <-r.opts.Stop:
		return true
	default:
		return false
	}
}

func (r *run) start() {
	s := &event.RunStarted{Protocol: event.Protocol, Run: r.opts.ID, Mode: r.opts.Mode, UndoOf: r.opts.Undo.Run, AttachTo: r.opts.Attach}
	for _, h := range r.opts.Hosts {
		s.Hosts = append(s.Hosts, h.Name)
	}
	if pb := r.opts.Playbook; pb != nil {
		s.Playbook, s.Version, s.Origin, s.Tasks = pb.Lang.Name, pb.Lang.Version, pb.Lang.Origin, pb.Count
		if r.opts.Mode == event.Verify {
			s.Tasks = len(pb.Verify)
		}
	}
	r.emit("", event.Event{RunStarted: s})
	r.oneWay()
}

func (r *run) jobs() []*hostRun {
	out := make([]*hostRun, len(r.opts.Hosts))
	for i, h := range r.opts.Hosts {
		out[i] = &hostRun{run: r, host: h, meta: map[int]*stepMeta{}, secrets: &load.SecretTable{}}
		if r.opts.Bound != nil {
			out[i].bound = r.opts.Bound[i]
		}
	}
	return out
}

func (r *run) notStarted(h *hostRun) {
	r.emit(h.host.Name, event.Event{HostFinished: &event.HostFinished{Status: event.HostNotStarted}})
	spent := r.spent()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Hosts++
	r.left++
	r.tally.Interrupted = r.tally.Interrupted || !spent
}

// weights order the codes: the first one that any host earned is the run's.
var weights = []int{CodeRollbackFailed, CodeInternal, CodeFailed, CodeRolledBack, CodeUnreachable, CodeChanges}

// count takes a host's outcome into the run's.
func (r *run) count(f *event.HostFinished, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.tally
	t.Hosts++
	if f.Counts.Changed+f.Counts.Undone > 0 {
		t.Changed++
	}
	switch f.Status {
	case event.HostOK:
		t.OK++
	case event.HostUnreachable:
		t.Unreachable++
	case event.HostDetached:
		t.Detached++
	case event.HostInterrupted:
		t.Interrupted = true
	default:
		t.Failed++
	}
	r.worst = heavier(r.worst, code)
}

func heavier(a, b int) int {
	for _, w := range weights {
		if a == w || b == w {
			return w
		}
	}
	return 0
}

func (r *run) finish(ctx context.Context) event.RunFinished {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Code = r.worst
	if r.tally.Interrupted || ctx.Err() != nil {
		r.tally.Interrupted = true
		r.tally.Code = CodeInterrupted
	}
	r.tally.Duration = time.Since(r.began)
	r.emit("", event.Event{RunFinished: &r.tally})
	return r.tally
}

// hello says what run this is to a helper.
func (r *run) hello() wire.Hello {
	h := wire.Hello{Reattach: r.opts.Reattach, Detach: r.opts.Detach, Token: r.token, Run: r.opts.ID, Mode: wireMode(r.opts.Mode), Controller: r.opts.Controller, User: r.opts.User, Command: r.opts.Command}
	if pb := r.opts.Playbook; pb != nil {
		h.Playbook, h.Version = pb.Lang.Name, pb.Lang.Version
	}
	return h
}

// wireMode is what a helper calls a mode: an undo is one whether it acts or not.
func wireMode(m event.Mode) string {
	if m == event.UndoPlan {
		m = event.Undo
	}
	return string(m)
}

// errStop ends the work on a host after a failure that was reported already.
var errStop = errors.New("stopped")

// errInterrupted ends the work on a host because somebody asked for it.
var errInterrupted = errors.New("interrupted")
