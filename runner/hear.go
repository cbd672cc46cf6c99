package runner

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/expr"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// exchange ships a program and takes in what the host says until it is done.
func (h *hostRun) exchange(ctx context.Context, p *wire.Program) (*wire.Done, error) {
	ctx, h.hangUp = context.WithCancel(ctx)
	defer h.hangUp()
	w := remote.Work{Program: p, Secrets: h.secrets.All(), Blob: h.bound.Content, Each: h.hear, Interrupt: h.run.opts.Stop}
	if h.run.opts.Detach {
		return h.launch(ctx, w)
	}
	done, err := h.session.Run(ctx, w)
	for p.Guarded == nil && h.rejoin(ctx, err) {
		done, err = h.session.Continue(ctx, w)
	}
	if h.violation != nil {
		err = h.violation
	}
	if err == nil && done.ID != p.ID {
		err = wire.Violationf("program %d was answered as %d", p.ID, done.ID)
	}
	if err != nil {
		h.waiting = nil
		return nil, err
	}
	if m := h.meta[done.Failed]; done.Cancelled || done.Failed != 0 && (m == nil || m.task.Handler == "") {
		h.waiting = nil // what came behind was not reached
	}
	h.passed(0)
	return done, nil
}

// hear takes in what a helper says while a program runs. Its texts come from a host
// that is not trusted, so they are cleaned before anybody sees them.
func (h *hostRun) hear(m *wire.Message) {
	name := h.host.Name
	switch {
	case h.violation != nil:
	case m.Started != nil:
		h.started(m.Started)
	case m.Progress != nil:
		var t event.Task
		if meta := h.meta[m.Progress.N]; meta != nil {
			t = meta.task
		}
		h.run.emit(name, event.Event{Progress: &event.Progress{Task: t, Message: clip(plain.Line(m.Progress.Message))}})
	case m.Warning != nil:
		h.warn(plain.Line(m.Warning.Message), plain.Line(m.Warning.Hint))
	case m.Undone != nil:
		u := m.Undone
		h.count(u.Status)
		h.run.emit(name, event.Event{Undone: &event.Undone{Resource: plain.Line(u.Resource), Task: plain.Line(u.Task), Action: plain.Line(u.Action), Status: u.Status, Message: plain.Line(u.Message)}})
	case m.Result != nil:
		h.result(m.Result)
	}
}

func (h *hostRun) started(s *wire.Started) {
	meta := h.known(s)
	if meta == nil || meta.again {
		return
	}
	t := meta.task
	if t.Handler == "" {
		h.passed(s.N)
	} else {
		h.passed(0)
	}
	h.open = meta
	h.run.emit(h.host.Name, event.Event{TaskStarted: &event.TaskStarted{Task: t}})
}

func (h *hostRun) count(status string) {
	if status != "undone" && status != "already" {
		h.wrong++
	}
	switch status {
	case "undone":
		h.counts.Undone++
	case "already":
		if h.run.opts.Mode != event.Apply {
			h.counts.Unchanged++
		}
	case "refused", "irreversible":
		h.counts.Refused++
		h.failed = true
	case "failed":
		h.counts.Failed++
		h.failed = true
	}
}

// maxProgress is how much of a report of progress is passed on. More than a line
// is nothing that a person reads while it changes.
const maxProgress = 300

func clip(s string) string {
	if len(s) <= maxProgress {
		return s
	}
	return strings.ToValidUTF8(s[:maxProgress], "") + "…"
}

// maxLeft bounds the steps of handlers that earlier runs left on one host.
const maxLeft = 10_000

// known returns what is known of a step. Steps of handlers that an earlier run left
// are known by what the host says of them.
func (h *hostRun) known(s *wire.Started) *stepMeta {
	if meta := h.meta[s.N]; meta != nil {
		return meta
	}
	if h.left++; h.left > maxLeft {
		h.violation = wire.Violationf("the host claims more than %d steps of handlers that earlier runs left", maxLeft)
		h.hangUp()
		return nil
	}
	meta := &stepMeta{task: event.Task{Step: s.N, Name: plain.Line(s.Name), Module: plain.Line(s.Module), Path: "handlers", Handler: plain.Line(s.Handler)}}
	h.meta[s.N] = meta
	return meta
}

func (h *hostRun) result(r *wire.Result) {
	meta := h.meta[r.N]
	f := &event.TaskFinished{Task: meta.task, Status: event.Status(r.Status), Changes: cleanChanges(r.Changes), Reason: plain.Line(r.Reason),
		Error: plain.Text(r.Error), Hint: plain.Line(r.Hint), Tentative: plain.Line(r.Tentative), Output: plain.Text(r.Output),
		Irreversible: plain.Line(r.Irreversible), Attempts: r.Attempts, Duration: r.Took}
	f.Resource, f.Finding = plain.Line(r.Resource), cleanFinding(r.Finding)
	if f.Status == event.Ignored {
		f.Status = event.Failed // until it is known whether the failure counts
	}
	if err := h.learn(meta, r, f); err != nil {
		f.Status, f.Error = event.Failed, plain.Text(err.Error())
	}
	if meta.until {
		meta.held, meta.ended = r, f
		return
	}
	h.conclude(meta, r, f)
}

// conclude decides what the outcome of a task means for the host and reports it.
func (h *hostRun) conclude(meta *stepMeta, r *wire.Result, f *event.TaskFinished) {
	if f.Status == event.Failed {
		if meta.ignore {
			f.Status = event.Ignored
		} else {
			h.failed = true
			if !meta.stays {
				h.broken = errStop
			}
		}
	}
	meta.status = f.Status
	if n := meta.node; n != nil && n.Entry.Once {
		h.run.turns.settle(n, h.host.Name, f.Status, meta.value)
	}
	if h.open == meta {
		h.open = nil
	}
	h.finished(f)
	for _, name := range r.Queued {
		h.queued(name)
	}
}

func (h *hostRun) queued(name string) {
	h.run.emit(h.host.Name, event.Event{HandlerQueued: &event.HandlerQueued{Handler: plain.Line(name)}})
}

// learn keeps a registered result and applies changed_if and fail_if.
func (h *hostRun) learn(meta *stepMeta, r *wire.Result, f *event.TaskFinished) error {
	n := meta.node
	if n == nil || n.Module == nil {
		return nil
	}
	if err := meta.keep(r, h.run.opts.Mode == event.Plan && f.Status != event.Unchanged); err != nil {
		return err
	}
	if len(r.State) == 0 || meta.scope == nil || h.run.opts.Mode == event.Plan || f.Status == event.Failed {
		return nil
	}
	sc := meta.sc.Bind("result", meta.value)
	if n.FailIf != nil {
		fails, unknown, err := n.FailIf.Eval(context.Background(), sc.Vars())
		if err != nil || unknown != nil {
			return err
		}
		if fails {
			return errors.New("fail_if holds")
		}
	}
	if n.ChangedIf == nil {
		return nil
	}
	changed, unknown, err := n.ChangedIf.Eval(context.Background(), sc.Vars())
	if err != nil || unknown != nil {
		return err
	}
	switch {
	case changed && f.Status != event.Changed:
		f.Status = event.Changed
		for _, name := range meta.notify {
			if !slices.Contains(h.queue, name) {
				h.queue = append(h.queue, name)
				r.Queued = append(r.Queued, name)
			}
		}
	case !changed && f.Status == event.Changed:
		f.Status = event.Ran
		h.drop = append(h.drop, r.Queued...)
		r.Queued = nil
	}
	return nil
}

// keep stores the result where expressions find it.
func (m *stepMeta) keep(r *wire.Result, unknown bool) error {
	if m.scope == nil {
		return nil
	}
	name := m.node.Entry.Register.Text
	var v any = expr.Unknown{Reason: m.node.Entry.Name}
	if !unknown && len(r.State) > 0 {
		var err error
		if v, err = m.node.ResultValue(r.State); err != nil {
			return err
		}
	}
	m.value = v
	_, missing := v.(expr.Unknown)
	switch {
	case name == "":
	case m.collect != nil:
		m.collect.values[m.index] = v
		if !m.again {
			m.collect.open--
		}
		m.collect.land(m.scope, name)
	case missing && !unknown:
		m.scope.Forget(name)
	default:
		m.scope.SetResult(name, v)
	}
	return nil
}

// sleep waits unless somebody stops the run.
func sleep(ctx context.Context, d time.Duration, stop <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-stop:
		return errInterrupted
	case <-ctx.Done():
		return errInterrupted
	}
}
