package runner

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"holdfast/runner/event"
	"holdfast/runner/expr"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// hear takes in what a helper says while a program runs. Its texts come from a host
// that is not trusted, so they are cleaned before anybody sees them.
func (h *hostRun) hear(m *wire.Message) {
	name := h.host.Name
	switch {
	case m.Started != nil:
		meta := h.known(m.Started)
		t := meta.task
		t.Handler = m.Started.Handler
		h.run.emit(name, event.Event{TaskStarted: &event.TaskStarted{Task: t}})
	case m.Progress != nil:
		var t event.Task
		if meta := h.meta[m.Progress.N]; meta != nil {
			t = meta.task
		}
		h.run.emit(name, event.Event{Progress: &event.Progress{Task: t, Message: clip(Clean(m.Progress.Message))}})
	case m.Warning != nil:
		h.warn(Clean(m.Warning.Message), Clean(m.Warning.Hint))
	case m.Undone != nil:
		u := m.Undone
		h.count(u.Status)
		h.run.emit(name, event.Event{Undone: &event.Undone{Resource: Clean(u.Resource), Task: Clean(u.Task), Action: Clean(u.Action), Status: u.Status, Message: Clean(u.Message)}})
	case m.Result != nil:
		h.result(m.Result)
	}
}

func (h *hostRun) count(status string) {
	switch status {
	case "undone":
		h.counts.Undone++
	case "already":
		h.counts.Unchanged++
	case "refused", "irreversible":
		h.counts.Refused++
		h.failed = true
	case "failed":
		h.counts.Failed++
		h.failed = true
	}
}

// known returns what is known of a step. Steps of handlers that an earlier run left
// are known by what the host says of them.
func (h *hostRun) known(s *wire.Started) *stepMeta {
	if meta := h.meta[s.N]; meta != nil {
		return meta
	}
	meta := &stepMeta{task: event.Task{Step: s.N, Name: Clean(s.Name), Module: Clean(s.Module), Path: "handlers", Handler: Clean(s.Handler)}}
	h.meta[s.N] = meta
	return meta
}

func (h *hostRun) result(r *wire.Result) {
	meta := h.meta[r.N]
	f := &event.TaskFinished{Task: meta.task, Status: event.Status(r.Status), Changes: cleanChanges(r.Changes), Reason: Clean(r.Reason),
		Error: CleanText(r.Error), Hint: Clean(r.Hint), Tentative: Clean(r.Tentative), Output: CleanText(r.Output),
		Irreversible: Clean(r.Irreversible), Attempts: r.Attempts, Duration: r.Took}
	f.Resource, f.Handler = Clean(r.Resource), Clean(r.Handler)
	if f.Status == event.Ignored && meta.stays {
		f.Status = event.Failed
	}
	if err := h.learn(meta, r, f); err != nil {
		f.Status, f.Error = event.Failed, err.Error()
		h.broken = errStop
	}
	if f.Status == event.Failed {
		h.failed = true
	}
	meta.status = f.Status
	h.tally(f.Status)
	h.run.emit(h.host.Name, event.Event{TaskFinished: f})
	for _, name := range r.Queued {
		h.run.emit(h.host.Name, event.Event{HandlerQueued: &event.HandlerQueued{Handler: Clean(name)}})
	}
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
	sc := meta.scope.Bind("result", meta.result())
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
		h.queue = append(h.queue, n.Notify...)
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
	if name == "" {
		return nil
	}
	if m.collect == nil {
		if _, missing := v.(expr.Unknown); missing && !unknown {
			m.scope.Forget(name)
			return nil
		}
		m.scope.SetResult(name, v)
		return nil
	}
	m.collect.values[m.index] = v
	if m.collect.open--; m.collect.open == 0 {
		m.scope.SetResult(name, m.collect.values)
	}
	return nil
}

// Clean makes one line of text from a host safe to show: no control characters and
// none that turn the direction of writing.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '·'
		}
		return r
	}, s)
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

// CleanText is Clean for text of several lines.
func CleanText(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = Clean(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

func cleanChanges(list []task.Change) []task.Change {
	out := make([]task.Change, len(list))
	for i, c := range list {
		c.Attr, c.Before, c.After, c.Diff = Clean(c.Attr), CleanText(c.Before), CleanText(c.After), CleanText(c.Diff)
		out[i] = c
	}
	return out
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
