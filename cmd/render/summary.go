package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"holdfast/runner/event"
	"holdfast/runner/plain"
)

func (v *textView) hostFinished(h *hostView, f *event.HostFinished) {
	if h.finished == nil {
		v.ended++
	}
	h.finished, h.active, h.task, h.progress = f, false, nil, ""
	switch all := len(v.names); {
	case v.streams() && f.Status != event.HostNotStarted:
		v.print(v.hostLine(h))
	case !v.few() && !v.opts.Live && v.ended%max(10, all/10) == 0 && v.ended < all:
		// What goes on is said at the end; until then a log shows that something does.
		v.print(line{{fmt.Sprintf("%d of %d hosts finished", v.ended, all), dim}})
	}
}

// hostLine says how a host came out of the run.
func (v *textView) hostLine(h *hostView) line {
	f := h.finished
	word, st := hostOutcome(f.Status)
	l := line{{pad(h.name, v.column) + "  ", strong}, {word, st}, {": " + counts(v.run.Mode, f.Counts), normal}}
	l = append(l, span{"  " + duration(f.Duration), dim})
	if v.opts.Verbose && f.RoundTrips > 0 {
		l = append(l, span{fmt.Sprintf(", %s, %s up, %s down", Plural(int(f.RoundTrips), "round trip"),
			size(f.BytesUp), size(f.BytesDown)), dim})
	}
	return l
}

// finish shows what was kept, the summary, and how the run ended.
func (v *textView) finish(f *event.RunFinished) {
	v.over = true
	for _, h := range v.hosts {
		h.active = false
	}
	v.unfold()
	var done []*hostView
	for _, name := range v.names {
		if v.hosts[name].finished != nil {
			done = append(done, v.hosts[name])
		}
	}
	if len(done) == 1 && !v.streams() {
		v.print(v.hostLine(done[0]))
	}
	if len(done) > 1 {
		v.table(done)
	}
	word, st := v.verdict(f)
	v.print(line{{word, st}, {" in " + duration(f.Duration) + ": " + v.result(f), normal}})
	if hint := v.next(f); hint != "" {
		v.print(line{{"hint: " + hint, act}})
	}
}

// verdict is how the run ended, in words.
func (v *textView) verdict(f *event.RunFinished) (string, style) {
	mode := string(v.run.Mode)
	switch {
	case f.Interrupted || f.Code == 130:
		return mode + " interrupted", doubt
	case f.Code == 0 || f.Code == 4:
		return mode + " done", good
	case f.Code == 1:
		return mode + " broke off: internal error", alarm
	case f.Code == 5:
		return mode + " FAILED", alarm
	case f.Code == 6:
		return mode + " INCOMPLETE", alarm
	case f.Code == 7:
		return mode + " FAILED and was rolled back", alarm
	case f.Code == 8:
		return mode + " FAILED and ROLLING BACK FAILED", alarm
	}
	return fmt.Sprintf("%s ended with status %d", mode, f.Code), alarm
}

// result counts the hosts, and what came of the tasks.
func (v *textView) result(f *event.RunFinished) string {
	hosts := []string{Plural(f.OK, "host") + " ok"}
	if f.OK != f.Hosts {
		hosts[0] = fmt.Sprintf("%d of %s ok", f.OK, Plural(f.Hosts, "host"))
	}
	if f.Detached > 0 && f.OK == 0 {
		hosts[0] = Plural(f.Detached, "host") + " going on alone"
	} else if f.Detached > 0 {
		hosts = append(hosts, Plural(f.Detached, "host")+" going on alone")
	}
	for _, t := range []tally{{label: "failed", n: f.Failed}, {label: "unreachable", n: f.Unreachable}} {
		if t.n > 0 {
			hosts = append(hosts, fmt.Sprintf("%d %s", t.n, t.label))
		}
	}
	return strings.Join(append([]string{strings.Join(hosts, ", ")}, v.effect(f)...), "; ")
}

// effect says what became, or would become, of the hosts.
func (v *textView) effect(f *event.RunFinished) []string {
	var sum event.Counts
	for _, h := range v.hosts {
		if h.finished != nil {
			sum = add(sum, h.finished.Counts)
		}
	}
	switch v.run.Mode {
	case event.Verify:
		return []string{fmt.Sprintf("%s as described, %d not", Plural(sum.Unchanged, "check"), sum.Failed)}
	case event.UndoPlan:
		return []string{fmt.Sprintf("%s would be undone on %s, %d refused", Plural(sum.Undone, "change"), Plural(f.Changed, "host"), sum.Refused), "nothing was done"}
	case event.Undo:
		return []string{fmt.Sprintf("%s undone on %s, %d refused", Plural(sum.Undone, "change"), Plural(f.Changed, "host"), sum.Refused)}
	}
	out := []string{fmt.Sprintf("%s %s", Plural(sum.Changed, "task"), v.changed())}
	if sum.Changed > 0 {
		out[0] += " on " + Plural(f.Changed, "host")
	}
	if sum.Undone > 0 {
		out = append(out, Plural(sum.Undone, "change")+" taken back")
	}
	if v.run.Mode != event.Plan {
		return out
	}
	if sum.Ran > 0 {
		out[0] += fmt.Sprintf(", %d will run", sum.Ran)
	}
	if sum.Unknown > 0 {
		out[0] += fmt.Sprintf(", %d not known", sum.Unknown)
	}
	return append(out, "nothing was done")
}

// changed is what a task did that changed something, in this mode.
func (v *textView) changed() string {
	if undoing(v.run.Mode) {
		return undoneWord(v.run.Mode)
	}
	return label(v.run.Mode, event.Changed)
}

// next offers what to do.
func (v *textView) next(f *event.RunFinished) string {
	acts := v.run.Mode == event.Apply || v.run.Mode == event.Undo
	switch {
	case f.Code == 8:
		return "look at these hosts now: " + strings.Join(v.with(event.HostBroken), ", ")
	case f.Detached > 0:
		return "holdfast runs attach " + v.run.Run + ", on the same hosts, shows how it goes"
	case v.run.Mode == event.Apply && f.Interrupted:
		return "run the same command again: what was done stays done, and pending handlers run then"
	case acts && f.Interrupted:
		return "run the same command again: what was taken back stays so"
	case v.run.Mode == event.Apply && f.Code == 5:
		return "remove the cause and run the same command again: what was done stays done"
	case f.Code == 6:
		return "run the same command again when every host answers"
	case f.Code == 0 && v.run.Mode == event.Apply && f.Changed > 0:
		return "holdfast undo " + v.run.Run + ", on the same hosts, takes this back"
	}
	return ""
}

func (v *textView) with(s event.HostStatus) []string {
	var out []string
	for _, name := range v.names {
		if h := v.hosts[name]; h.finished != nil && h.finished.Status == s {
			out = append(out, name)
		}
	}
	return out
}

// group is the hosts with the same outcome.
type group struct {
	status event.HostStatus
	counts event.Counts
	hosts  []string
	took   time.Duration
}

// groups folds hosts: the largest group of those that are well first, then the
// outliers, the worst last, where a person looks first.
func groups(done []*hostView) []*group {
	var out []*group
	for _, h := range done {
		f := h.finished
		i := slices.IndexFunc(out, func(g *group) bool { return g.status == f.Status && g.counts == f.Counts })
		if i < 0 {
			i = len(out)
			out = append(out, &group{status: f.Status, counts: f.Counts})
		}
		out[i].hosts = append(out[i].hosts, h.name)
		out[i].took = max(out[i].took, f.Duration)
	}
	slices.SortStableFunc(out, func(a, b *group) int {
		if d := severity(a.status) - severity(b.status); d != 0 {
			return d
		}
		return len(b.hosts) - len(a.hosts)
	})
	return out
}

func severity(s event.HostStatus) int {
	return slices.Index([]event.HostStatus{event.HostOK, event.HostDetached, event.HostNotStarted, event.HostInterrupted,
		event.HostRolledBack, event.HostUnreachable, event.HostFailed, event.HostBroken}, s)
}

// table prints the groups. Columns in which every number is 0 are left out.
func (v *textView) table(done []*hostView) {
	list := groups(done)
	var used []int
	for i, t := range tallies(v.run.Mode, event.Counts{}) {
		if t.always || slices.ContainsFunc(list, func(g *group) bool { return tallies(v.run.Mode, g.counts)[i].n > 0 }) {
			used = append(used, i)
		}
	}
	t := table.NewWriter()
	t.SetStyle(bare())
	head := table.Row{"hosts", "outcome"}
	for _, i := range used {
		head = append(head, tallies(v.run.Mode, event.Counts{})[i].label)
	}
	t.AppendHeader(append(head, "took"))
	for _, g := range list {
		word, _ := hostOutcome(g.status)
		all := v.opts.Verbose || g.status != event.HostOK
		row := table.Row{plain.Line(names(g.hosts, v.names, all)), word}
		for _, i := range used {
			row = append(row, tallies(v.run.Mode, g.counts)[i].n)
		}
		t.AppendRow(append(row, duration(g.took)))
	}
	v.print(nil)
	for i, l := range strings.Split(t.Render(), "\n") {
		st := strong
		if i > 0 {
			_, st = hostOutcome(list[min(i, len(list))-1].status)
		}
		v.print(line{{strings.TrimRight(l, " "), st}})
	}
	v.print(nil)
}
