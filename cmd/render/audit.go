package render

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/runner/audit"
	"holdfast/tasks/task"
)

// AuditOptions say how a scorecard is shown.
type AuditOptions struct {
	Color   bool
	Verbose bool // evidence of what passes and reasons of what does not apply, too
}

// findingLook is how a state is shown: its word in a column, and its style.
var findingLook = map[task.FindingState]struct {
	word  string
	style style
}{
	task.FindingFail:          {"FAIL", alarm},
	task.FindingNotKnown:      {"NOT KNOWN", doubt},
	task.FindingWarning:       {"warning", change},
	task.FindingAccepted:      {"accepted", act},
	task.FindingPass:          {"pass", good},
	task.FindingNotApplicable: {"n/a", dim},
}

// Audit shows scorecards. Hosts with the same outcome of a line share it.
func Audit(w io.Writer, reports []*audit.Report, opts AuditOptions) error {
	v := &auditView{w: bufio.NewWriter(w), opts: opts}
	var seen []*audit.Report
	for _, r := range reports {
		if len(r.Lines) > 0 {
			seen = append(seen, r)
			v.hosts = append(v.hosts, r.Host)
		}
	}
	for _, section := range audit.Sections(seen) {
		v.section(section, seen)
	}
	for _, r := range reports {
		v.total(r)
	}
	return v.w.Flush()
}

type auditView struct {
	w     *bufio.Writer
	opts  AuditOptions
	hosts []string
}

func (v *auditView) print(l line) { fmt.Fprintln(v.w, l.paint(v.opts.Color)) }

// lineOutcome is what a line came to on the hosts that agree on it.
type lineOutcome struct {
	task.Finding
	hosts []string
}

// lineOutcomes folds the lines of a section: by line, and by what they came to.
func lineOutcomes(section string, reports []*audit.Report) []*lineOutcome {
	var ids []string
	by := map[string][]*lineOutcome{}
	for _, r := range reports {
		for _, l := range r.Lines {
			if l.Section != section {
				continue
			}
			if by[l.ID] == nil {
				ids = append(ids, l.ID)
			}
			i := slices.IndexFunc(by[l.ID], func(o *lineOutcome) bool { return o.Finding == l })
			if i < 0 {
				i = len(by[l.ID])
				by[l.ID] = append(by[l.ID], &lineOutcome{Finding: l})
			}
			by[l.ID][i].hosts = append(by[l.ID][i].hosts, r.Host)
		}
	}
	var out []*lineOutcome
	for _, id := range ids {
		out = append(out, by[id]...)
	}
	return out
}

func (v *auditView) section(section string, reports []*audit.Report) {
	v.print(line{{section, strong}})
	for _, o := range lineOutcomes(section, reports) {
		v.outcome(o)
	}
	v.print(nil)
}

func (v *auditView) outcome(o *lineOutcome) {
	look := findingLook[o.State]
	l := line{{"  " + pad(look.word, 10), look.style}, {o.Title, normal}}
	if len(v.hosts) > 1 {
		l = append(l, span{"  · " + names(o.hosts, v.hosts, v.opts.Verbose), dim})
	}
	v.print(l)
	brief := o.State == task.FindingPass || o.State == task.FindingNotApplicable
	if brief && !v.opts.Verbose {
		return
	}
	v.detail("why", o.Reason, normal)
	v.detail("looked at", o.Looked, dim)
	v.detail("found", o.Found, normal)
	if o.State != task.FindingPass {
		v.detail("wanted", o.Wanted, dim)
		v.detail("hint", o.Hint, act)
	}
}

func (v *auditView) detail(label, text string, st style) {
	for i, l := range split(text) {
		if i > 0 {
			label = ""
		}
		v.print(line{{strings.Repeat(" ", 12) + pad(label, 11), dim}, {l, st}})
	}
}

// total counts the lines of a host and says what became of them.
func (v *auditView) total(r *audit.Report) {
	if r.Error != "" {
		v.print(line{{r.Host, strong}, {"  NOT AUDITED: ", alarm}, {r.Error, normal}})
		v.detail("hint", r.Hint, act)
	}
	if len(r.Lines) == 0 {
		return
	}
	l := line{{r.Host, strong}, {"  ", normal}}
	for i, s := range task.FindingStates {
		if i > 0 {
			l = append(l, span{", ", normal})
		}
		n, st := r.Counts()[s], findingLook[s].style
		if n == 0 {
			st = dim
		}
		l = append(l, span{fmt.Sprintf("%d %s", n, findingLook[s].word), st})
	}
	v.print(l)
	v.since(r.Since)
}

func (v *auditView) since(c *audit.Comparison) {
	if c == nil {
		return
	}
	when := c.Time.UTC().Format("2006-01-02 15:04 UTC")
	if len(c.Better)+len(c.Worse)+len(c.Other)+len(c.New)+len(c.Gone) == 0 {
		v.print(line{{"  as on " + when, dim}})
		return
	}
	v.print(line{{"  since " + when + ":", dim}})
	for _, part := range auditParts(c) {
		for _, d := range part.list {
			v.print(line{{"    " + pad(part.word, 8), part.style}, {d.Title, normal}, {": " + fromTo(d), dim}})
		}
	}
}

// auditPart is what became of lines in one way.
type auditPart struct {
	word  string
	style style
	list  []audit.Delta
}

func auditParts(c *audit.Comparison) []auditPart {
	return []auditPart{{"worse", alarm, c.Worse}, {"better", good, c.Better}, {"changed", normal, c.Other}, {"new", act, c.New}, {"gone", dim, c.Gone}}
}

func fromTo(d audit.Delta) string {
	switch {
	case d.Was == "":
		return string(d.Is)
	case d.Is == "":
		return "was " + string(d.Was)
	}
	return string(d.Was) + " → " + string(d.Is)
}
