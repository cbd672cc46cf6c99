package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/playbooks/source"
	"holdfast/runner/event"
	"holdfast/runner/expr"
	"holdfast/runner/load"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
)

// fault reports a task that cannot even be sent. What comes before it is run first.
func (h *hostRun) fault(ctx context.Context, v visit, err error) error {
	if err := h.flush(ctx); err != nil {
		return err
	}
	h.failed = true
	h.report(v.node, event.TaskFinished{Status: event.Failed, Error: plain.Text(err.Error()), Hint: plain.Line(hintOf(err))})
	if h.goesOn(v.verify) {
		return nil
	}
	return errStop
}

// hintOf returns what an error says to do about it.
func hintOf(err error) string {
	var fault *source.Fault
	var refused *remote.Refused
	var hinted interface{ Hint() string }
	switch {
	case errors.As(err, &fault):
		return fault.Hint
	case errors.As(err, &refused):
		return refused.Hint
	case errors.As(err, &hinted):
		return hinted.Hint()
	}
	return ""
}

// unknown reports an entry that depends on what is not known. In a plan that is an
// answer; in a run it means that a result is missing for good.
func (h *hostRun) unknown(ctx context.Context, v visit, u expr.Unknown) error {
	if h.run.opts.Mode != event.Plan {
		return h.fault(ctx, v, fmt.Errorf("it depends on %s, which gave no result", u))
	}
	if v.gather != nil {
		v.gather.unknown = &u
	} else {
		blank(v.node, v.outer, u)
	}
	h.report(v.node, event.TaskFinished{Status: event.Unknown, Reason: "not known until " + strings.Join(quoted(u.Reasons()), " and ") + " has run"})
	return nil
}

// blank makes the results unknown that an entry would have given.
func blank(n *load.Node, sc *load.Scope, u expr.Unknown) {
	if name := n.Entry.Register.Text; name != "" {
		sc.SetResult(name, u)
	}
	for _, inner := range slices.Concat(n.Tasks, n.Rescue, n.Always) {
		blank(inner, sc, u)
	}
}

func quoted(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = fmt.Sprintf("%q", out[i])
	}
	return out
}

// report gives the outcome of an entry that no step was made for, in its turn: when
// the steps before it have ended.
func (h *hostRun) report(n *load.Node, f event.TaskFinished) {
	h.step++
	f.Task = h.task(n, h.step)
	if len(h.batch) > 0 {
		h.waiting = append(h.waiting, f)
		return
	}
	h.finished(&f)
}

// passed gives the outcomes that waited for the steps before step n, 0 for all.
func (h *hostRun) passed(n int) {
	for len(h.waiting) > 0 && (n == 0 || h.waiting[0].Step < n) {
		f := h.waiting[0]
		h.waiting = h.waiting[1:]
		h.finished(&f)
	}
}

// finished counts the outcome of a task and tells it.
func (h *hostRun) finished(f *event.TaskFinished) {
	c := &h.counts
	switch f.Status {
	case event.Unchanged:
		c.Unchanged++
	case event.Changed:
		c.Changed++
	case event.Ran:
		c.Ran++
	case event.Skipped:
		c.Skipped++
	case event.Failed:
		c.Failed++
	case event.Unknown:
		c.Unknown++
	case event.Ignored:
		c.Ignored++
	}
	h.run.emit(h.host.Name, event.Event{TaskFinished: f})
}

// abandon ends the task that was running when the host was lost, so that the stream
// has an end for every beginning.
func (h *hostRun) abandon() {
	h.waiting = nil
	if h.open == nil {
		return
	}
	f := &event.TaskFinished{Task: h.open.task, Status: event.Failed, Error: "the host did not say how it ended"}
	h.open = nil
	h.finished(f)
}
