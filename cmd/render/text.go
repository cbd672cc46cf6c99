package render

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/plain"
	"holdfast/tasks/task"
)

// fewHosts is up to how many hosts everything is shown as it happens. Beyond, what
// hosts have in common is shown once, at the end, and failures at once.
const fewHosts = 5

// maxHostColumn bounds the column of host names.
const maxHostColumn = 24

// textView turns events into lines. The lines are written by a screen.
type textView struct {
	opts   Options
	screen *screen

	mu     sync.Mutex
	closed bool
	heard  bool      // RunStarted came
	over   bool      // RunFinished came
	began  time.Time // when this reader heard of the run
	run    event.RunStarted
	names  []string // of the hosts, in the inventory's order
	hosts  map[string]*hostView
	column int               // the width of the column of hosts
	ended  int               // hosts that ended
	later  fold              // what is shown at the end
	said   map[string]string // what was shown at once, and for which host
	errOut []line            // for Err
}

// hostView is what is known of a host.
type hostView struct {
	name      string
	active    bool
	connected bool
	began     time.Time
	pushed    *event.HelperPushed
	finished  *event.HostFinished
	seq       int        // tasks that ended
	last      event.Task // the last of them
	changed   int
	failed    int
	task      *event.Task // the one that runs
	since     time.Time   // when it began
	progress  string
}

func newText(opts Options) *textView {
	v := &textView{opts: opts, hosts: map[string]*hostView{}, said: map[string]string{}, began: opts.Now()}
	v.screen = newScreen(v)
	return v
}

// Emit takes in an event.
func (v *textView) Emit(e event.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.take(e)
	v.screen.wake()
}

// Close shows what was held back and waits for the last line to be written.
func (v *textView) Close() error {
	v.mu.Lock()
	if !v.closed {
		if v.heard && !v.over {
			v.unfold()
			v.print(line{{"the stream ends here: the run did not say how it ended", doubt}})
		}
		v.closed = true
	}
	v.mu.Unlock()
	return v.screen.close()
}

func (v *textView) take(e event.Event) {
	h := v.host(e.Host)
	switch {
	case e.RunStarted != nil:
		v.start(e.RunStarted)
	case e.Wave != nil:
		v.wave(e.Wave)
	case e.HelperPushed != nil:
		h.pushed = e.HelperPushed
	case e.HostConnected != nil:
		v.connected(h, e.HostConnected)
	case e.TaskStarted != nil:
		h.task, h.since, h.progress = &e.TaskStarted.Task, v.opts.Now(), ""
	case e.TaskFinished != nil:
		v.finished(h, e.TaskFinished)
	case e.Progress != nil:
		h.progress = e.Progress.Message
		if v.opts.Verbose {
			v.now(h, note("…", dim, h.progress))
		}
	case e.HandlerQueued != nil:
		v.queued(h, e.HandlerQueued)
	case e.Undone != nil:
		v.undone(h, e.Undone)
	case e.Guard != nil:
		v.guard(h, e.Guard)
	case e.Rollback != nil:
		v.rollback(h, e.Rollback)
	case e.Warning != nil:
		v.warning(h, e.Warning)
	case e.HostUnreached != nil:
		word := "UNREACHABLE"
		if e.HostUnreached.Lost {
			word = "LOST"
		}
		v.atOnce(h, report(word, e.HostUnreached.Error, e.HostUnreached.Hint))
	case e.HostFinished != nil:
		v.hostFinished(h, e.HostFinished)
	case e.RunFinished != nil:
		v.finish(e.RunFinished)
	default:
		v.show(h, note("unknown event: "+e.Kind(), doubt, ""))
	}
}

// host returns what is known of a host; for the run as a whole it is one without a name.
func (v *textView) host(name string) *hostView {
	h := v.hosts[name]
	if h == nil {
		h = &hostView{name: name}
		v.hosts[name] = h
		if name != "" {
			v.names = append(v.names, name)
			v.column = min(max(v.column, columns(plain.Line(name))), maxHostColumn)
		}
	}
	if name != "" && !h.active && h.finished == nil && h.began.IsZero() && v.heard {
		h.active, h.began = true, v.opts.Now()
	}
	return h
}

func (v *textView) few() bool { return len(v.names) <= fewHosts }

// streams reports whether blocks are shown as they come.
func (v *textView) streams() bool { return v.few() && v.run.Mode != event.Plan }

func (v *textView) detail() detail {
	return detail{mode: v.run.Mode, diff: v.opts.Diff, verbose: v.opts.Verbose, redact: v.opts.Redact}
}

func (v *textView) start(s *event.RunStarted) {
	v.run = *s
	for _, name := range s.Hosts {
		v.host(name)
	}
	v.heard, v.began = true, v.opts.Now()
	what := []string{string(s.Mode)}
	for _, word := range []string{s.Playbook, s.Version} {
		if word != "" {
			what = append(what, word)
		}
	}
	if s.Origin != "" {
		what = append(what, "("+s.Origin+")")
	}
	if s.AttachTo != "" {
		what = append(what, "to run "+s.AttachTo)
	}
	if s.UndoOf != "" {
		what = append(what, "of run "+s.UndoOf)
	}
	on := Plural(len(s.Hosts), "host")
	if len(s.Hosts) == 1 {
		on = s.Hosts[0]
	}
	v.print(line{{"run " + s.Run + "  ", dim}, {strings.Join(what, " "), strong}, {" on " + on, normal}})
}

// wave says who has its turn; it is no news when there is one wave.
func (v *textView) wave(w *event.Wave) {
	if w.Of == 1 {
		return
	}
	on := Plural(len(w.Hosts), "host")
	if len(w.Hosts) <= fewHosts {
		on = strings.Join(w.Hosts, ", ")
	}
	v.print(line{{fmt.Sprintf("wave %d of %d  ", w.Number, w.Of), strong}, {on, normal}})
}

func (v *textView) connected(h *hostView, c *event.HostConnected) {
	h.connected = true
	where := c.Address
	if c.User != "" {
		where = c.User + "@" + where
	}
	rest := ", " + c.OS
	if c.Root {
		rest = " as root" + rest
	}
	if h.pushed != nil {
		rest += ", helper pushed (" + size(h.pushed.Bytes) + ")"
	}
	if v.few() || v.opts.Verbose {
		v.now(h, note("connected", dim, where+rest+" in "+duration(c.Duration)))
		return
	}
	v.later.add(h.name, -1, note("connected", dim, strings.TrimLeft(rest, ", ")))
}

func (v *textView) finished(h *hostView, f *event.TaskFinished) {
	h.seq, h.last = h.seq+1, f.Task
	h.task, h.progress = nil, ""
	b := v.detail().block(f)
	switch f.Status {
	case event.Failed:
		h.failed++
		v.atOnce(h, b)
		return
	case event.Changed:
		h.changed++
	case event.Unchanged, event.Skipped:
		// A prediction that rests on something is of interest even when it is "nothing".
		if !v.opts.Verbose && f.Tentative == "" && !v.tells(f) {
			return
		}
	}
	v.show(h, b)
}

// tells reports whether a task that changed nothing says something that was asked for: a
// line of a scorecard that is not as wanted, and in an apply any.
func (v *textView) tells(f *event.TaskFinished) bool {
	return f.Finding != nil && f.Status == event.Unchanged && (v.run.Mode == event.Apply || f.Finding.State == task.FindingWarning)
}

func (v *textView) queued(h *hostView, q *event.HandlerQueued) {
	if q.Pending != "" {
		v.show(h, note("pending", act, fmt.Sprintf("handler %q, left by run %s", q.Handler, q.Pending)))
		return
	}
	word := "queued"
	if v.run.Mode == event.Plan {
		word = "would queue"
	}
	b := note(word, act, fmt.Sprintf("handler %q", q.Handler))
	b.task.Pos = h.last.Pos // the task that asked for it ended last
	v.show(h, b)
}

func (v *textView) undone(h *hostView, u *event.Undone) {
	word, st := undoOutcome(v.run.Mode, u.Status)
	b := &block{word: word, style: st, head: line{{u.Resource, normal}}}
	if u.Action != "" {
		b.head = append(b.head, span{": " + u.Action, normal})
	}
	if u.Task != "" {
		b.head = append(b.head, span{" (" + u.Task + ")", dim})
	}
	for _, l := range split(u.Message) {
		b.body = append(b.body, line{{l, st}})
	}
	h.seq++
	if st == alarm {
		h.failed++
		v.atOnce(h, b)
		return
	}
	h.changed++
	v.show(h, b)
}

// guard shows how a host's guard stands. A change that was taken back is shown at
// once, because nobody should find that out later.
func (v *textView) guard(h *hostView, g *event.Guard) {
	paths := strings.Join(g.Paths, ", ")
	switch g.Status {
	case "armed":
		v.show(h, note("guard", dim, "armed: the host takes it back unless a new login works within "+duration(g.Within)+" over "+paths))
	case "proved":
		v.show(h, note("guard", dim, "proved: "+paths))
	case "unproved":
		v.atOnce(h, report("NO LOGIN", paths+"\n"+g.Error, ""))
	case "confirmed":
		v.show(h, note("guard", good, "confirmed: "+g.Message))
	case "undone":
		v.atOnce(h, report("TAKEN BACK", g.Message, ""))
	case "broken":
		v.atOnce(h, report("LOOK AT IT", g.Message, "log in and look; 'holdfast undo' may take back the rest"))
	default:
		v.show(h, note("guard", doubt, g.Status+" "+g.Message))
	}
}

// rollback shows that a run is taken back, and how that went.
func (v *textView) rollback(h *hostView, r *event.Rollback) {
	what := "the run"
	if r.Block != "" {
		what = fmt.Sprintf("the block %q", r.Block)
	}
	switch r.Status {
	case "began":
		v.show(h, note("rollback", doubt, "a task failed, "+what+" is taken back"))
	case "undone":
		v.atOnce(h, report("TAKEN BACK", what+": "+r.Message, r.Hint))
	case "broken":
		v.atOnce(h, report("LOOK AT IT", what+" was not taken back as a whole: "+r.Message, r.Hint))
	default:
		v.show(h, note("rollback", dim, what+": "+r.Message))
	}
}

func (v *textView) warning(h *hostView, w *event.Warning) {
	b := note("warning", doubt, "").withHint(w.Hint)
	for i, l := range split(w.Message) {
		if i == 0 {
			b.head = line{{l, normal}}
			continue
		}
		b.body = slices.Insert(b.body, i-1, line{{l, normal}})
	}
	if h.name == "" && v.opts.Err != nil && !v.opts.Live {
		v.errOut = append(v.errOut, line{{"holdfast: warning: ", doubt}, {w.Message, normal}})
		if w.Hint != "" {
			v.errOut = append(v.errOut, line{{"holdfast: hint: " + w.Hint, normal}})
		}
		return
	}
	key := b.key()
	if v.few() || v.said[key] == "" {
		v.said[key] = h.name
		v.now(h, b)
		return
	}
	v.later.add(h.name, h.seq, b)
}

// report is the block of something that ended the work on a host.
func report(word, err, hint string) *block {
	lines := split(err)
	b := note(word, alarm, "")
	if len(lines) > 0 {
		b.head = line{{lines[0], normal}}
	}
	for _, l := range lines[min(1, len(lines)):] {
		b.body = append(b.body, line{{l, bad}})
	}
	return b.withHint(hint)
}

// atOnce shows what a person must see early: in full for the first host, and by
// name for the others of many.
func (v *textView) atOnce(h *hostView, b *block) {
	key := b.key()
	if first := v.said[key]; first != "" && !v.few() {
		b.head = append(b.head, span{", as on " + first, normal})
		b.body = nil
	} else {
		v.said[key] = h.name
	}
	v.now(h, b)
}

// show shows a block now or at the end, as the run's size and mode ask for.
func (v *textView) show(h *hostView, b *block) {
	if v.streams() || h.name == "" {
		v.now(h, b)
		return
	}
	v.later.add(h.name, h.seq, b)
}

// now prints a block with its host in front.
func (v *textView) now(h *hostView, b *block) {
	var l line
	indent := ""
	if h.name != "" {
		l = line{{pad(h.name, v.column) + "  ", strong}}
		indent = strings.Repeat(" ", v.column+4)
	}
	width := 9
	if undoing(v.run.Mode) {
		width = len("irreversible")
	}
	if len(b.head) == 0 {
		l = append(l, span{b.word, b.style})
	} else {
		l = append(l, span{pad(b.word, width), b.style}, span{"  ", normal})
		l = append(l, b.head...)
	}
	v.print(append(l, long(b.took)...))
	for _, d := range b.body {
		v.print(append(line{{indent, normal}}, d...))
	}
}

// long is the time that something took, when it took long.
func long(d time.Duration) line {
	if d < time.Second {
		return nil
	}
	return line{{"  " + duration(d), dim}}
}

// unfold prints what was kept for the end.
func (v *textView) unfold() {
	list := v.later.take()
	width := 0
	if len(list) > 0 {
		v.print(nil)
	}
	for _, f := range list {
		width = max(width, columns(f.word))
	}
	for _, f := range list {
		l := append(line{{pad(f.word, width) + "  ", f.style}}, f.head...)
		took := long(f.took)
		if took != nil && len(f.hosts) > 1 {
			took[0].text = "  up to" + strings.TrimPrefix(took[0].text, " ")
		}
		l = append(l, took...)
		if len(v.names) > 1 {
			l = append(l, span{"  · " + names(f.hosts, v.names, v.opts.Verbose), dim})
		}
		v.print(l)
		for _, d := range f.body {
			v.print(append(line{{"    ", normal}}, d...))
		}
	}
}

func (v *textView) print(l line) { v.screen.add(l.paint(v.opts.Color)) }
