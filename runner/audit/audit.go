// Package audit makes the scorecard of hosts from the events of a run, and compares
// it with that of an earlier one. It prints nothing and stores nothing.
package audit

import (
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/runner/event"
	"holdfast/tasks/task"
)

// Kind is that of the documents that hold a [Report] in the history.
const Kind = "audit"

// Format is the version of a report. It rises when an old reader would misread it.
const Format = 1

// Report is the scorecard of one host at one moment.
type Report struct {
	Format   int       `json:"format"`
	Host     string    `json:"host"`
	Time     time.Time `json:"time"`
	Run      string    `json:"run"`
	Playbook string    `json:"playbook"`
	Version  string    `json:"version"`
	OS       string    `json:"os,omitempty"`
	// Error is why the host could not be audited, or not to its end.
	Error string         `json:"error,omitempty"`
	Hint  string         `json:"hint,omitempty"`
	Lost  bool           `json:"unreachable,omitempty"`
	Lines []task.Finding `json:"lines"`
	Since *Comparison    `json:"since,omitempty"`
}

// Counts are how many lines of a report came to each state.
type Counts map[task.FindingState]int

// Counts counts the lines.
func (r *Report) Counts() Counts {
	out := Counts{}
	for _, l := range r.Lines {
		out[l.State]++
	}
	return out
}

// Bad reports whether a line failed or could not be looked at.
func (r *Report) Bad() bool {
	c := r.Counts()
	return c[task.FindingFail]+c[task.FindingNotKnown] > 0
}

// Sections returns the sections of reports in the order of their first lines.
func Sections(reports []*Report) []string {
	var out []string
	for _, r := range reports {
		for _, l := range r.Lines {
			if !slices.Contains(out, l.Section) {
				out = append(out, l.Section)
			}
		}
	}
	return out
}

// Planned is a line that a playbook will make, known before it does.
type Planned struct {
	Path    string // of the task
	Finding task.Finding
}

// Collector is a reader of events that makes reports of them.
type Collector struct {
	mu      sync.Mutex
	planned []Planned
	run     event.RunStarted
	hosts   map[string]*card
}

var _ event.Sink = (*Collector)(nil)

// card is what is known of one host so far.
type card struct {
	report   Report
	lines    map[string]task.Finding // by the path of the task
	order    []string
	finished event.HostStatus
}

// NewCollector returns a collector of the lines of a playbook.
func NewCollector(planned []Planned) *Collector {
	return &Collector{planned: planned, hosts: map[string]*card{}}
}

// Emit takes in an event.
func (c *Collector) Emit(e event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := e.RunStarted; s != nil {
		c.run = *s
		for _, name := range s.Hosts {
			c.hosts[name] = &card{report: Report{Format: Format, Host: name, Time: e.Time, Run: s.Run, Playbook: s.Playbook, Version: s.Version}, lines: map[string]task.Finding{}}
		}
		return
	}
	h := c.hosts[e.Host]
	if h == nil {
		return
	}
	switch {
	case e.HostConnected != nil:
		h.report.OS = e.HostConnected.OS
	case e.HostUnreached != nil:
		h.report.Error, h.report.Hint, h.report.Lost = e.HostUnreached.Error, e.HostUnreached.Hint, true
	case e.HostFinished != nil:
		h.finished = e.HostFinished.Status
		h.report.Time = e.Time
	case e.TaskFinished != nil:
		c.task(h, e.TaskFinished)
	}
}

// task takes in the outcome of a task: a line, or a check that went wrong.
func (c *Collector) task(h *card, f *event.TaskFinished) {
	line, ok := c.line(f)
	if !ok {
		return
	}
	if _, again := h.lines[f.Path]; !again {
		h.order = append(h.order, f.Path)
	}
	h.lines[f.Path] = line
}

func (c *Collector) line(f *event.TaskFinished) (task.Finding, bool) {
	if f.Finding != nil {
		return *f.Finding, true
	}
	i := slices.IndexFunc(c.planned, func(p Planned) bool { return p.Path == f.Path })
	switch {
	case i < 0 && f.Status == event.Failed:
		// A check of another module.
		return task.Finding{ID: f.Path, Section: "Checks", Title: f.Name, State: task.FindingFail, Looked: strings.TrimSpace(f.Module + " " + f.Resource), Found: f.Error, Hint: f.Hint}, true
	case i < 0:
		return task.Finding{}, false
	}
	line := c.planned[i].Finding
	line.State, line.Reason = task.FindingNotKnown, f.Error
	if f.Status == event.Skipped {
		line.State, line.Reason = task.FindingNotApplicable, f.Reason
	}
	return line, true
}

// Reports returns the scorecards, in the order of the hosts. A line that no host said
// anything about is not known: nothing passes by being left out.
func (c *Collector) Reports() []*Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*Report
	for _, name := range c.run.Hosts {
		h := c.hosts[name]
		r := h.report
		if r.OS == "" && r.Error == "" {
			r.Error = "it was not begun"
		}
		if r.OS != "" {
			r.Lines = c.lines(h)
		}
		if r.Error == "" && !slices.Contains([]event.HostStatus{event.HostOK, event.HostFailed}, h.finished) {
			r.Error = "it did not come to its end: " + string(h.finished)
		}
		out = append(out, &r)
	}
	return out
}

func (c *Collector) lines(h *card) []task.Finding {
	all := []task.Finding{}
	for _, p := range c.planned {
		line, ok := h.lines[p.Path]
		if !ok {
			line = p.Finding
			line.State, line.Reason = task.FindingNotKnown, "the audit did not come that far"
		}
		all = append(all, line)
	}
	for _, path := range h.order {
		if !slices.ContainsFunc(c.planned, func(p Planned) bool { return p.Path == path }) {
			all = append(all, h.lines[path])
		}
	}
	return once(all)
}

// once keeps one line of each name: a line may be made in several ways of which only
// one applies.
func once(all []task.Finding) []task.Finding {
	var out []task.Finding
	for _, l := range all {
		i := slices.IndexFunc(out, func(o task.Finding) bool { return o.ID == l.ID })
		switch {
		case i < 0:
			out = append(out, l)
		case out[i].State == task.FindingNotApplicable && l.State != task.FindingNotApplicable,
			out[i].State == task.FindingNotApplicable && out[i].Reason == whenFalse:
			out[i] = l
		}
	}
	return out
}

// whenFalse is what the engine says of a task whose condition does not hold.
const whenFalse = "when is false"
