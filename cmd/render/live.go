package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/runner/event"
)

// spinner shows that the program is alive.
var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// region returns the lines that a live view keeps at the bottom: a line for each
// host that is worked on, the longest at work first, and a total. It never fills a
// terminal, nor a row to its last column.
func (v *textView) region(width, height, frame int) []line {
	if !v.heard || v.over || v.closed || width < 2 || height < 2 {
		return nil
	}
	now := v.opts.Now()
	active := v.active()
	room := max(0, min(height/2, height-3))
	out := make([]line, 0, room+2)
	for i, h := range active {
		if i == room && len(active) > room {
			break
		}
		out = append(out, v.hostStatus(h, now, spinner[frame%len(spinner)]))
	}
	if rest := len(active) - len(out); rest > 0 && height > 2 {
		out = append(out, line{{"  … and " + fmt.Sprint(rest) + " more", dim}})
	}
	out = append(out, v.total(now))
	for i, l := range out {
		out[i] = v.mask(l).cut(width - 1)
	}
	return out
}

// active returns the hosts that are worked on, in the order in which they began.
// Of few hosts, those that nothing was heard of are among them.
func (v *textView) active() []*hostView {
	var out []*hostView
	for _, name := range v.names {
		if h := v.hosts[name]; h.active || v.few() && h.finished == nil {
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b *hostView) int { return a.began.Compare(b.began) })
	return out
}

// hostStatus is what is going on at a host. What matters least comes last, where a
// narrow terminal cuts.
func (v *textView) hostStatus(h *hostView, now time.Time, spin string) line {
	l := line{{spin + " ", act}, {pad(h.name, v.column) + "  ", strong}}
	if v.run.Tasks > 0 {
		digits := len(fmt.Sprint(v.run.Tasks))
		at := h.seq
		if h.task != nil {
			at++
		}
		l = append(l, span{fmt.Sprintf("%*d/%d  ", digits, at, max(v.run.Tasks, at)), dim})
	}
	since := v.began
	switch {
	case h.task != nil:
		since = h.since
	case h.active:
		since = h.began
	}
	l = append(l, span{pad(elapsed(now.Sub(since)), 6) + "  ", dim})
	if h.changed > 0 {
		l = append(l, span{fmt.Sprintf("%d %s  ", h.changed, v.changed()), change})
	}
	if h.failed > 0 {
		l = append(l, span{fmt.Sprintf("%d failed  ", h.failed), alarm})
	}
	switch {
	case h.task != nil:
		l = append(l, short(*h.task))
	case h.connected:
		l = append(l, span{"between tasks", dim})
	default:
		l = append(l, span{"no answer yet", dim})
	}
	if h.progress != "" {
		l = append(l, span{" · " + strings.Join(split(h.progress), " "), dim})
	}
	return l
}

// short is the task in the words that matter most where there is little room.
func short(t event.Task) span {
	if t.Name != "" {
		return span{t.Name, normal}
	}
	return title(t)[0]
}

// elapsed is a time that is still running: whole seconds, which do not flicker.
func elapsed(d time.Duration) string {
	if d = max(0, d).Truncate(time.Second); d < time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return duration(d)
}

// total is the line about the whole run.
func (v *textView) total(now time.Time) line {
	done, failed, running, waiting := 0, 0, 0, 0
	for _, name := range v.names {
		switch h := v.hosts[name]; {
		case h.finished != nil && severity(h.finished.Status) > 0:
			failed++
		case h.finished != nil:
			done++
		case h.active:
			running++
		default:
			waiting++
		}
	}
	l := line{{fmt.Sprintf("%d of %s done", done, Plural(len(v.names), "host")), strong}}
	if failed > 0 {
		l = append(l, span{fmt.Sprintf(", %d not well", failed), alarm})
	}
	for _, t := range []tally{{label: "running", n: running}, {label: "waiting", n: waiting}} {
		if t.n > 0 {
			l = append(l, span{fmt.Sprintf(", %d %s", t.n, t.label), normal})
		}
	}
	took := now.Sub(v.began)
	l = append(l, span{"  " + elapsed(took), dim})
	if left := v.left(took); left > 0 {
		l = append(l, span{", about " + elapsed(left) + " left", dim})
	}
	return l
}

// left estimates how long the run will take yet, or returns 0 as long as too little
// is known.
func (v *textView) left(took time.Duration) time.Duration {
	share := 0.0
	for _, h := range v.hosts {
		switch {
		case h.name == "":
		case h.finished != nil:
			share++
		case v.run.Tasks > 0:
			share += min(0.95, float64(h.seq)/float64(v.run.Tasks))
		}
	}
	share /= float64(cmp.Or(len(v.names), 1))
	if took < 3*time.Second || share < 0.05 || share >= 1 {
		return 0
	}
	return time.Duration(float64(took) * (1 - share) / share)
}

// mask hides secrets in a line that may be cut.
func (v *textView) mask(l line) line {
	if v.opts.Redact == nil {
		return l
	}
	out := slices.Clone(l)
	for i := range out {
		out[i].text = v.opts.Redact(out[i].text)
	}
	return out
}
