package remote

import (
	"slices"
	"time"

	"holdfast/runner/wire"
)

const (
	// maxChatter bounds what a far end may say besides its results in one program.
	maxChatter = 64 << 20
	// maxLeft bounds the steps of handlers that earlier runs left on a host.
	maxLeft = 1000
	// leftLimit is how long one of them may take: only the host knows its own limit.
	leftLimit = time.Hour
	// undoLimit is how long a far end may take to take a run back.
	undoLimit = time.Hour
)

// known is what the far end may run besides the steps of a program.
type known struct {
	handlers map[int]handlerStep
	pending  map[string]bool // handlers that an earlier run left
	left     int             // steps of them so far
}

type handlerStep struct {
	handler string
	step    *wire.Step
}

func newKnown(pending []wire.PendingHandler) known {
	k := known{handlers: map[int]handlerStep{}, pending: map[string]bool{}}
	for _, p := range pending {
		k.pending[p.Name] = true
	}
	return k
}

// learn takes in the handlers of a program, which later programs may run too.
func (k *known) learn(handlers []wire.Handler) {
	for _, h := range handlers {
		for i := range h.Steps {
			k.handlers[h.Steps[i].N] = handlerStep{h.Name, &h.Steps[i]}
		}
	}
}

// watch holds a far end to the program that it was given: results only for steps
// of the program, each once and in their order, and nothing silent for longer than
// its time limit.
type watch struct {
	limit   time.Duration // until a step must begin or end
	grace   time.Duration
	last    bool // told to stop at once; the limit stands
	undo    bool
	back    bool // the program begins with taking something back
	id      int
	steps   []wire.Step
	next    int // index of the step that is to begin next
	guarded bool
	skipped bool // a step that cannot be guarded was refused before all others
	known   *known
	ended   map[int]bool
	begun   *wire.Started
	state   bool // the step that runs may send its state
	chatter int
}

func newWatch(p *wire.Program, k *known, grace time.Duration) *watch {
	w := &watch{limit: 2 * grace, grace: grace, id: p.ID, steps: p.Steps, guarded: p.Guarded != nil, back: p.Rollback != nil, known: k, ended: map[int]bool{}}
	if w.back {
		w.limit = undoLimit
	}
	return w
}

func (w *watch) accept(m *wire.Message) error {
	switch {
	case m.Undone != nil:
		if !w.undo && !w.back {
			return wire.Violationf("a resource was taken back that nobody asked for")
		}
		return w.talk(len(m.Undone.Resource) + len(m.Undone.Task) + len(m.Undone.Action) + len(m.Undone.Message))
	case m.Progress != nil:
		return w.talk(len(m.Progress.Message))
	case m.Warning != nil:
		return w.talk(len(m.Warning.Message) + len(m.Warning.Hint))
	case m.Started != nil:
		return w.started(m.Started)
	case m.Result != nil:
		return w.finished(m.Result)
	}
	return nil
}

// talk counts what is no result.
func (w *watch) talk(bytes int) error {
	if w.chatter += bytes + 64; w.chatter > maxChatter {
		return wire.Violationf("the host talks without end")
	}
	return nil
}

func (w *watch) started(s *wire.Started) error {
	if w.undo || w.begun != nil || w.ended[s.N] {
		return wire.Violationf("step %d was started, which is not its turn", s.N)
	}
	step, err := w.step(s)
	if err != nil {
		return err
	}
	w.begun = s
	w.limit = w.grace + leftLimit
	w.state = false
	if step != nil {
		tries := time.Duration(step.Retries + 1)
		w.limit = w.grace + step.Timeout*tries + step.Delay*tries
		w.state = step.Register
	}
	return nil
}

// step finds the step that was started, which is nil for one that an earlier run left.
func (w *watch) step(s *wire.Started) (*wire.Step, error) {
	switch {
	case s.Handler == "":
		at := w.next
		if w.guarded && at == 0 {
			at = max(0, slices.IndexFunc(w.steps, func(st wire.Step) bool { return st.N == s.N }))
			w.skipped = at > 0
		}
		if at < len(w.steps) && w.steps[at].N == s.N {
			w.next = at + 1
			return &w.steps[at], nil
		}
	case s.N >= wire.Left:
		if w.known.left++; w.known.pending[s.Handler] && w.known.left <= maxLeft {
			return nil, nil
		}
	default:
		if h, ok := w.known.handlers[s.N]; ok && h.handler == s.Handler {
			return h.step, nil
		}
	}
	return nil, wire.Violationf("step %d was started, which is not its turn", s.N)
}

func (w *watch) finished(r *wire.Result) error {
	if w.begun == nil || w.begun.N != r.N || w.begun.Handler != r.Handler {
		return wire.Violationf("a result came for step %d, which was not running", r.N)
	}
	if len(r.State) > 0 && !w.state {
		return wire.Violationf("a state came for step %d, which nobody asked for", r.N)
	}
	w.ended[r.N] = true
	w.begun = nil
	w.limit = 2 * w.grace
	return nil
}

// done checks that the end is one: a far end that leaves steps out without a reason
// would pass for one where all is well.
func (w *watch) done(d *wire.Done) error {
	switch {
	case d.ID != w.id:
		return wire.Violationf("program %d was answered as %d", w.id, d.ID)
	case w.begun != nil:
		return wire.Violationf("the end came while step %d was running", w.begun.N)
	case d.Failed != 0 && !w.ended[d.Failed]:
		return wire.Violationf("step %d is said to have failed, which did not run", d.Failed)
	case w.skipped && d.Failed == 0:
		return wire.Violationf("steps were left out")
	case !w.undo && !d.Cancelled && d.Failed == 0 && w.next < len(w.steps):
		return wire.Violationf("the end came without step %d", w.steps[w.next].N)
	}
	return nil
}
