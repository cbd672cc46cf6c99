package remote

import (
	"time"

	"holdfast/runner/wire"
)

// maxChatter bounds what a far end may say besides its results in one program.
const maxChatter = 64 << 20

// watch holds a far end to the program that it was given: results only for steps
// of the program, each once, and nothing silent for longer than its time limit.
type watch struct {
	limit   time.Duration // until something must be heard
	grace   time.Duration
	last    bool // told to stop at once; the limit stands
	steps   map[int]*wire.Step
	ended   map[int]bool
	begun   int
	chatter int
	undo    bool
}

func newWatch(p *wire.Program, grace time.Duration) *watch {
	w := &watch{grace: grace, limit: 2 * grace, steps: map[int]*wire.Step{}, ended: map[int]bool{}}
	for i := range p.Steps {
		w.steps[p.Steps[i].N] = &p.Steps[i]
	}
	for h := range p.Handlers {
		for i := range p.Handlers[h].Steps {
			w.steps[p.Handlers[h].Steps[i].N] = &p.Handlers[h].Steps[i]
		}
	}
	return w
}

func (w *watch) accept(m *wire.Message) error {
	switch {
	case m.Undone != nil:
		if !w.undo {
			return wire.Violationf("a resource was taken back that nobody asked for")
		}
	case m.Progress != nil:
		if w.chatter += len(m.Progress.Message) + 64; w.chatter > maxChatter {
			return wire.Violationf("the host talks without end")
		}
	case m.Warning != nil:
		if w.chatter += len(m.Warning.Message) + 1024; w.chatter > maxChatter {
			return wire.Violationf("the host warns without end")
		}
	case m.Started != nil:
		return w.started(m.Started)
	case m.Result != nil:
		return w.finished(m.Result)
	}
	return nil
}

func (w *watch) started(s *wire.Started) error {
	step := w.steps[s.N]
	if step == nil && s.Handler == "" || w.begun != 0 || w.ended[s.N] {
		return wire.Violationf("step %d was started, which is not its turn", s.N)
	}
	w.begun = s.N
	w.limit = w.grace
	if step != nil {
		tries := time.Duration(step.Retries + 1)
		w.limit += step.Timeout*tries + step.Delay*tries
	} else {
		w.limit += time.Hour // a pending handler of an earlier run
	}
	return nil
}

func (w *watch) finished(r *wire.Result) error {
	if w.begun != r.N || w.ended[r.N] {
		return wire.Violationf("a result came for step %d, which was not running", r.N)
	}
	w.ended[r.N] = true
	w.begun = 0
	w.limit = 2 * w.grace
	return nil
}
