package render

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
)

// fakeTerm is a terminal that knows the sequences that a live view may use, and
// fails the test at any other.
type fakeTerm struct {
	t             *testing.T
	width, height int
	rows          [][]rune // everything, what scrolled away included
	y, x          int
	top           int // the first row on the screen
	hidden        bool
}

func newFakeTerm(t *testing.T, width, height int) *fakeTerm {
	return &fakeTerm{t: t, width: width, height: height, rows: [][]rune{nil}}
}

func (f *fakeTerm) Write(p []byte) (int, error) {
	rs := []rune(string(p))
	for i := 0; i < len(rs); i++ {
		switch r := rs[i]; r {
		case '\r':
			f.x = 0
		case '\n':
			f.down()
			f.x = 0
		case '\x1b':
			end := i + 2
			for end < len(rs) && (rs[end] < '@' || rs[end] > '~') {
				end++
			}
			if end >= len(rs) || rs[i+1] != '[' {
				f.t.Fatalf("got a broken escape sequence in %q", p)
			}
			f.escape(string(rs[i+2:end]), rs[end])
			i = end
		default:
			f.put(r)
		}
	}
	if f.hidden {
		f.t.Error("the cursor is hidden after a write")
	}
	return len(p), nil
}

func (f *fakeTerm) down() {
	if f.y++; f.y == len(f.rows) {
		f.rows = append(f.rows, nil)
	}
	f.top = max(f.top, f.y-f.height+1)
}

func (f *fakeTerm) put(r rune) {
	if f.x == f.width {
		f.down()
		f.x = 0
	}
	row := f.rows[f.y]
	for len(row) <= f.x {
		row = append(row, ' ')
	}
	row[f.x] = r
	f.rows[f.y] = row
	f.x++
}

func (f *fakeTerm) escape(args string, command rune) {
	switch {
	case command == 'A':
		n, err := strconv.Atoi(args)
		if err != nil || n < 1 {
			f.t.Fatalf("got a move by %q", args)
		}
		if f.y-n < f.top {
			f.t.Errorf("got a move by %d beyond the top of the screen", n)
		}
		f.y = max(f.top, f.y-n)
	case command == 'K' && args == "":
		f.rows[f.y] = f.rows[f.y][:min(f.x, len(f.rows[f.y]))]
	case command == 'J' && args == "":
		f.rows[f.y] = f.rows[f.y][:min(f.x, len(f.rows[f.y]))]
		f.rows = f.rows[:f.y+1]
	case command == 'l' && args == "?25":
		f.hidden = true
	case command == 'h' && args == "?25":
		f.hidden = false
	case command == 'm':
	default:
		f.t.Errorf("got the sequence CSI %q %c, which this terminal does not know", args, command)
	}
}

// text is all that was ever shown and not wiped.
func (f *fakeTerm) text() string {
	var out []string
	for _, r := range f.rows {
		out = append(out, strings.TrimRight(string(r), " "))
	}
	return strings.Join(out, "\n")
}

// narrow gives the terminal another width and wraps what is on it, as terminals do.
func (f *fakeTerm) narrow(width int) {
	f.width = width
	var rows [][]rune
	for _, r := range f.rows {
		for len(r) > width {
			rows = append(rows, r[:width:width])
			r = r[width:]
		}
		rows = append(rows, slices.Clone(r))
	}
	f.rows, f.y = rows, len(rows)-1
	f.top = max(0, len(rows)-f.height)
}

// still is a live view whose frames the test draws.
func still(f *fakeTerm, opts Options) *textView {
	opts.Out, opts.Live = f, true
	opts.Width, opts.Height = func() int { return f.width }, func() int { return f.height }
	v := &textView{opts: opts, hosts: map[string]*hostView{}, said: map[string]string{}, began: opts.Now()}
	v.screen = &screen{view: v, signal: make(chan struct{}, 1)}
	return v
}

// clock is a time that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

func hostsOf(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("sb%d", i+1)
	}
	return out
}

func begin(v *textView, hosts []string, tasks int) {
	v.Emit(event.Event{RunStarted: &event.RunStarted{Protocol: 1, Run: "r1", Mode: event.Apply, Playbook: "baseline", Hosts: hosts, Tasks: tasks}})
}

func expect(t *testing.T, f *fakeTerm, want string) {
	t.Helper()
	want = strings.Trim(want, "\n")
	if got := strings.Trim(f.text(), "\n"); got != want {
		t.Errorf("got the screen\n%s\nwant\n%s", got, want)
	}
}

func TestLive(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	f := newFakeTerm(t, 72, 20)
	v := still(f, Options{Now: c.now, Color: true})
	begin(v, hostsOf(2), 10)
	v.screen.flush(true)
	c.pass(5 * time.Second)
	task := event.Task{Step: 1, Name: "tools", Module: "package", Resource: "curl, git"}
	v.Emit(event.Event{Host: "sb1", HostConnected: &event.HostConnected{Address: "local", OS: "Debian", Duration: time.Second}})
	for range 3 {
		v.Emit(event.Event{Host: "sb1", TaskFinished: &event.TaskFinished{Task: task, Status: event.Unchanged}})
	}
	v.Emit(event.Event{Host: "sb1", TaskFinished: &event.TaskFinished{Task: event.Task{Name: "motd", Module: "file"}, Status: event.Changed}})
	v.Emit(event.Event{Host: "sb1", TaskStarted: &event.TaskStarted{Task: task}})
	v.Emit(event.Event{Host: "sb1", Progress: &event.Progress{Task: task, Message: "apt: unpacking git"}})
	c.pass(7 * time.Second)
	v.screen.flush(true)
	expect(t, f, `
run r1  apply baseline on 2 hosts
sb1  connected  local, Debian in 1.0 s
sb1  changed    motd (file)
⠹ sb2   0/10  12 s    no answer yet
⠹ sb1   5/10  7 s     1 changed  tools · apt: unpacking git
0 of 2 hosts done, 1 running, 1 waiting  12 s, about 48 s left`)

	v.Emit(event.Event{Host: "sb1", HostFinished: &event.HostFinished{Status: event.HostOK, Counts: event.Counts{Unchanged: 3, Changed: 1}, Duration: 12 * time.Second}})
	v.Emit(event.Event{Host: "sb2", HostUnreached: &event.HostUnreached{Error: "no route to host"}})
	v.Emit(event.Event{Host: "sb2", HostFinished: &event.HostFinished{Status: event.HostUnreachable}})
	v.screen.flush(true)
	expect(t, f, `
run r1  apply baseline on 2 hosts
sb1  connected  local, Debian in 1.0 s
sb1  changed    motd (file)
sb1  ok: 3 unchanged, 1 changed  12 s
sb2  UNREACHABLE  no route to host
sb2  UNREACHABLE: nothing done  0 s
1 of 2 hosts done, 1 not well  12 s`)

	v.Emit(event.Event{RunFinished: &event.RunFinished{Code: 6, Hosts: 2, OK: 1, Unreachable: 1, Changed: 1, Duration: 12 * time.Second}})
	v.screen.flush(false)
	v.screen.flush(false)
	expect(t, f, `
run r1  apply baseline on 2 hosts
sb1  connected  local, Debian in 1.0 s
sb1  changed    motd (file)
sb1  ok: 3 unchanged, 1 changed  12 s
sb2  UNREACHABLE  no route to host
sb2  UNREACHABLE: nothing done  0 s

hosts  outcome      unchanged  changed  took
sb1    ok                   3        1  12 s
sb2    UNREACHABLE          0        0  0 s

apply INCOMPLETE in 12 s: 1 of 2 hosts ok, 1 unreachable; 1 task changed
 on 1 host
hint: run the same command again when every host answers`)
	if f.x != 0 {
		t.Errorf("got the cursor in column %d, want 0", f.x)
	}
}

func TestLiveFitsTheTerminal(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 10}, {20, 4}, {9, 3}, {3, 2}, {2, 2}, {1, 1}, {0, 0}} {
		c := &clock{at: time.Unix(1000, 0)}
		f := newFakeTerm(t, max(size[0], 1), max(size[1], 1))
		v := still(f, Options{Now: c.now})
		hosts := hostsOf(500)
		hosts[1] = "名前の長いホスト名前の長いホスト"
		begin(v, hosts, 3)
		for _, h := range hosts {
			v.Emit(event.Event{Host: h, TaskStarted: &event.TaskStarted{Task: event.Task{Name: strings.Repeat("漢字 ", 40)}}})
		}
		for range 5 {
			region := v.region(size[0], size[1], 1)
			if len(region) >= max(size[1], 1) {
				t.Errorf("%v: got %d lines, want fewer than the terminal has", size, len(region))
			}
			for _, l := range region {
				if w := columns(l.paint(false)); w >= size[0] {
					t.Errorf("%v: got a line of %d columns, want fewer than the terminal has", size, w)
				}
			}
			v.screen.flush(true)
		}
		if size[1] == 24 && !strings.Contains(f.text(), "… and 488 more") {
			t.Errorf("got no count of the hosts that have no line:\n%s", f.text())
		}
		v.Emit(event.Event{RunFinished: &event.RunFinished{}})
		v.screen.flush(false)
		if strings.Contains(f.text(), "⠋") {
			t.Errorf("%v: got a region on the last screen", size)
		}
	}
}

func TestLiveSurvivesNarrowing(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	f := newFakeTerm(t, 70, 20)
	v := still(f, Options{Now: c.now})
	begin(v, hostsOf(3), 3)
	for _, h := range hostsOf(3) {
		v.Emit(event.Event{Host: h, TaskStarted: &event.TaskStarted{Task: event.Task{Name: strings.Repeat("long ", 20)}}})
	}
	v.screen.flush(true)
	f.narrow(30)
	v.screen.flush(true)
	expect(t, f, `
run r1  apply baseline on 3 ho
sts
⠹ sb1  1/3  0 s     long lon…
⠹ sb2  1/3  0 s     long lon…
⠹ sb3  1/3  0 s     long lon…
0 of 3 hosts done, 3 running…`)
	v.Emit(event.Event{Warning: &event.Warning{Message: "hm"}})
	f.narrow(28)
	v.screen.flush(true)
	v.Emit(event.Event{RunFinished: &event.RunFinished{}})
	v.screen.flush(false)
	if got := f.text(); strings.Contains(got, "⠹") || strings.Count(got, "run r1") != 1 || !strings.Contains(got, "warning    hm") {
		t.Errorf("got\n%s", got)
	}
}

// TestLiveHidesNothing compares what a live view leaves behind with the plain text.
func TestLiveHidesNothing(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	f := newFakeTerm(t, 200, 50)
	live := still(f, Options{Now: c.now})
	var out bytes.Buffer
	plain := New(Options{Out: &out, Now: c.now})
	for i := range 3 {
		e := event.Event{Host: "sb1", TaskFinished: &event.TaskFinished{Task: event.Task{Name: fmt.Sprint("task ", i)}, Status: event.Changed}}
		if i == 0 {
			e = event.Event{RunStarted: &event.RunStarted{Run: "r1", Mode: event.Apply, Hosts: hostsOf(3)}}
		}
		live.Emit(e)
		plain.Emit(e)
		live.screen.flush(true)
	}
	end := event.Event{RunFinished: &event.RunFinished{Hosts: 3}}
	live.Emit(end)
	plain.Emit(end)
	live.screen.flush(false)
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, f, out.String())
}

// TestLiveMasksBeforeItCuts has a secret where the terminal ends.
func TestLiveMasksBeforeItCuts(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	f := newFakeTerm(t, 40, 10)
	v := still(f, Options{Now: c.now, Redact: func(s string) string { return strings.ReplaceAll(s, "hunter2hunter2hunter2", "***") }})
	begin(v, hostsOf(1), 0)
	v.Emit(event.Event{Host: "sb1", Progress: &event.Progress{Message: "the word is hunter2hunter2hunter2"}})
	v.screen.flush(true)
	if strings.Contains(f.text(), "hunt") {
		t.Errorf("got the beginning of a secret:\n%s", f.text())
	}
}

// TestFrameEndsWithoutEscape is why a writer that holds back beginnings of secrets
// never leaves a terminal in the middle of a sequence.
func TestFrameEndsWithoutEscape(t *testing.T) {
	s := &screen{view: &textView{}}
	for _, region := range [][]line{{{{"x", normal}}}, nil} {
		if got := s.compose([]byte("line\n"), region, 80, 24); !bytes.HasSuffix(got, []byte(showCursor+"\r")) {
			t.Errorf("got %q, want a carriage return at the end", got)
		}
	}
}
