//go:build hosts

package faults_test

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/event"
)

// under is a call of the program that is watched while it runs.
type under struct {
	*lab
	cmd    *exec.Cmd
	stderr bytes.Buffer
	events chan event.Event
	seen   []event.Event
	ended  chan struct{}
}

// start calls the program and returns at once.
func (l *lab) start(argv ...string) *under {
	l.Helper()
	u := &under{lab: l, cmd: l.command(argv...), events: make(chan event.Event, 10_000), ended: make(chan struct{})}
	u.cmd.Stderr = &u.stderr
	out, err := u.cmd.StdoutPipe()
	if err == nil {
		err = u.cmd.Start()
	}
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = u.cmd.Process.Kill() }) // most have ended
	go func() {
		// A program that is killed may leave half a line, which is an error to read.
		_ = event.Read(out, func(e event.Event) { u.events <- e })
		_, _ = io.Copy(io.Discard, out)
		close(u.events)
		_ = u.cmd.Wait() // the status is looked at by the test
		close(u.ended)
	}()
	return u
}

// begun waits until a task has begun.
func (u *under) begun(name string) {
	u.Helper()
	u.until("the task "+name, func(e event.Event) bool { return e.TaskStarted != nil && e.TaskStarted.Name == name })
}

// until reads events up to the one that is asked for.
func (u *under) until(what string, is func(event.Event) bool) {
	u.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-u.events:
			if !ok {
				u.Fatalf("the run ended before %s\n%s%s", what, outcome{events: u.seen}.told(), u.stderr.String())
			}
			u.seen = append(u.seen, e)
			if is(e) {
				return
			}
		case <-limit:
			u.Fatalf("got nothing of %s within 30 s\n%s", what, outcome{events: u.seen}.told())
		}
	}
}

func (u *under) signal(s syscall.Signal) {
	u.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		u.Fatal(err)
	}
}

// wait waits for the end and returns what the program left.
func (u *under) wait(limit time.Duration) outcome {
	u.Helper()
	began := time.Now()
	select {
	case <-u.ended:
	case <-time.After(limit):
		_ = u.cmd.Process.Kill() // it may just have ended
		u.Fatalf("the program still runs after %s\n%s%s", limit, outcome{events: u.seen}.told(), u.stderr.String())
	}
	for e := range u.events {
		u.seen = append(u.seen, e)
	}
	return outcome{code: u.cmd.ProcessState.ExitCode(), events: u.seen, stderr: u.stderr.String(), took: time.Since(began)}
}

// killHelper kills the program that serves the run, and not the guard's.
const killHelper = "kill -9 $(ps -eo pid,args | awk '/holdfast-helper serve/ && !/awk/ {print $1}')"

// slow is an attack with tasks that take seconds, so that each moment can be hit. The
// path that it wants proved leads nowhere.
const slow = `
      - name: slow
        command: {argv: [sh, -c, "echo one >/etc/attack-slow; sleep 3; echo two >>/etc/attack-slow"], undo: rm -f /etc/attack-slow}
      - file: {path: /etc/attack-late, content: "goes\n"}`

// nowhere is the path of a guard that nobody can prove.
const nowhere = "via: {port: 223}, "

// crash is a moment and what happens then.
type crash struct {
	name string
	// at waits for the moment and strikes.
	at func(u *under)
	// alive is set when the program goes on and says how it ended.
	alive bool
	codes []int
}

func kill(u *under) { u.signal(syscall.SIGKILL) }

func waits(u *under) {
	u.begun("file /etc/attack-late")
	time.Sleep(time.Second)
}

// crashes end with the host as it was. Whoever is left says what the host decided.
var crashes = []crash{
	{name: "controller killed after arm", at: func(u *under) {
		u.awaitVerdict("armed", 20*time.Second)
		kill(u)
	}},
	{name: "controller killed in a step", at: func(u *under) {
		u.begun("slow")
		time.Sleep(time.Second)
		kill(u)
	}},
	{name: "controller killed before confirm", at: func(u *under) {
		waits(u)
		kill(u)
	}},
	{name: "helper killed after arm", alive: true, codes: []int{7}, at: func(u *under) {
		u.begun("slow")
		time.Sleep(500 * time.Millisecond)
		u.console(killHelper)
	}},
	{name: "helper killed before confirm", alive: true, codes: []int{7}, at: func(u *under) {
		waits(u)
		u.console(killHelper)
	}},
	{name: "power cut in a step", alive: true, codes: []int{7}, at: func(u *under) {
		u.begun("slow")
		time.Sleep(500 * time.Millisecond)
		u.powerCut()
	}},
	{name: "power cut before confirm", alive: true, codes: []int{7}, at: func(u *under) {
		waits(u)
		u.powerCut()
	}},
	{name: "reboot before confirm", alive: true, codes: []int{7}, at: func(u *under) {
		waits(u)
		if err := site.Reboot(u.Context(), u.host); err != nil {
			u.Fatal(err)
		}
	}},
	{name: "cable pulled before confirm", alive: true, codes: []int{7}, at: func(u *under) {
		waits(u)
		u.unplugFor(within + 3*time.Second)
	}},
	{name: "cable pulled in a step", alive: true, codes: []int{7}, at: func(u *under) {
		u.begun("slow")
		u.unplugFor(within + 6*time.Second)
	}},
	{name: "link reset in a step", alive: true, codes: []int{7}, at: func(u *under) {
		u.begun("slow")
		// Every packet of the controller is answered with a reset, until the step has ended.
		u.console("nft add table inet cut && nft 'add chain inet cut in { type filter hook input priority -1; }' && nft add rule inet cut in tcp dport 22 reject with tcp reset")
		time.Sleep(5 * time.Second)
		u.console("nft delete table inet cut")
	}},
	{name: "cable pulled and controller killed", at: func(u *under) {
		u.begun("slow")
		if err := site.Unplug(u.Context(), u.host); err != nil {
			u.Fatal(err)
		}
		kill(u)
		u.awaitVerdict("undone", 2*within+10*time.Second)
		if err := site.Plug(u.Context(), u.host); err != nil {
			u.Fatal(err)
		}
	}},
}

func (l *lab) powerCut() {
	l.Helper()
	if err := site.PowerCut(l.Context(), l.host); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) unplugFor(d time.Duration) {
	l.Helper()
	if err := site.Unplug(l.Context(), l.host); err != nil {
		l.Fatal(err)
	}
	time.Sleep(d)
	if err := site.Plug(l.Context(), l.host); err != nil {
		l.Fatal(err)
	}
}

// TestCrash: whoever dies or is cut off, the host takes the change back by itself,
// byte for byte; a program that is left reports the host's verdict with 7; nothing
// goes on running; the next run begins at once.
func TestCrash(t *testing.T) {
	for _, c := range crashes {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			l := enter(t)
			l.console("printf 'stays\\n' >/etc/attack-before")
			before := l.state()
			l.console("rm /etc/attack-before")
			u := l.start(l.play(reach{}, attack(nowhere, slow))...)
			c.at(u)
			o := u.wait(90 * time.Second)
			if c.alive {
				if o.code != 7 || o.finished().Status != event.HostRolledBack {
					t.Errorf("got status %d and the host %q, want 7 and %s\n%s%s", o.code, o.finished().Status, event.HostRolledBack, o.told(), o.stderr)
				}
				if got := o.guard(); !strings.HasSuffix(got, "undone") {
					t.Errorf("got the guard told as %q, want its verdict\n%s", got, o.told())
				}
			}
			v := l.awaitVerdict("undone", 2*within+10*time.Second)
			l.Logf("%s; the program ended %s later", v.Message, o.took.Round(time.Second))
			l.wantClean()
			l.wantState(before)
			l.wantNext(reach{})
			l.console("rm /etc/attack-before")
		})
	}
}

// TestStruckAfterConfirm: what was confirmed stays, whoever dies. The next run succeeds
// and has nothing of the guard to take back.
func TestStruckAfterConfirm(t *testing.T) {
	for _, c := range []crash{
		{name: "controller killed", at: kill},
		{name: "helper killed", at: func(u *under) { u.console(killHelper) }},
		{name: "power cut", at: func(u *under) { u.powerCut() }},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			l := enter(t)
			u := l.start(l.play(reach{}, `
tasks:
  - guard: {within: 30s}
    tasks:
      - file: {path: /etc/attack-inside, content: "stays\n"}
  - name: slow
    command: {argv: [sleep, "3"], undo: "true"}
  - file: {path: /etc/attack-late, content: "never\n"}
`)...)
			u.begun("slow")
			l.console("for n in $(seq 100); do pgrep -x sleep >/dev/null && break; sleep 0.03; done") // a little after it is said
			c.at(u)
			u.signal(syscall.SIGKILL)
			u.wait(10 * time.Second)
			if v := l.awaitVerdict("confirmed", 20*time.Second); v.Run == "" {
				t.Error("got a verdict of no run")
			}
			for range 40 { // the step that was begun ends first
				if _, status := l.try("pgrep -x sleep"); status != 0 {
					break
				}
				time.Sleep(250 * time.Millisecond)
			}
			time.Sleep(2 * time.Second)
			o := l.wantNext(reach{})
			if strings.Contains(o.told(), "taken back") {
				t.Errorf("got %s want nothing taken back", o.told())
			}
			l.wantClean()
			if got := l.console("ls /etc/attack-*; cat /etc/attack-inside"); got != "/etc/attack-inside\nstays" {
				t.Errorf("got %q, want what was confirmed, whole, and nothing more", got)
			}
			l.console("rm /etc/attack-inside")
		})
	}
}

// TestKilledBeforeArm: nothing was risked, so nothing is taken back. What ran before
// the guard stays, nothing inside of it was written. The run waits for its controller
// and gives way to the next one.
func TestKilledBeforeArm(t *testing.T) {
	l := enter(t)
	before := l.state()
	u := l.start(l.play(reach{}, fmt.Sprintf(`
tasks:
  - name: before
    command: {argv: [sleep, "3"], undo: "true"}
  - guard: {%swithin: %s}
    tasks:
      - file: {path: /etc/attack-inside, content: "goes\n"}
`, nowhere, within))...)
	u.begun("before")
	kill(u)
	u.wait(10 * time.Second)
	time.Sleep(4 * time.Second)
	if v := l.verdict(); v.Run != "" && v.Status == "armed" {
		t.Errorf("got the guard armed by %s, want it left alone", v.Run)
	}
	l.wantNext(reach{})
	l.wantClean()
	l.wantState(before)
}

// TestNextRunDoesNotWait: a run that begins while the guard of a dead one still waits
// takes that change back first, says so, and goes on at once.
func TestNextRunDoesNotWait(t *testing.T) {
	l := enter(t)
	before := l.state()
	u := l.start(l.play(reach{}, fmt.Sprintf(`
tasks:
  - guard: {%swithin: 10m}
    tasks:
      - file: {path: /etc/attack-inside, content: "goes\n"}%s
`, nowhere, slow))...)
	waits(u)
	kill(u)
	u.wait(10 * time.Second)
	for range 50 { // the helper goes when it hears of it
		if _, status := l.try("pgrep -f 'holdfast-helper serve'"); status != 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	o := l.wantNext(reach{})
	if !strings.Contains(o.told(), "never confirmed and was taken back") {
		t.Errorf("got %s want the next run to say what it took back", o.told())
	}
	if v := l.verdict(); v.Status != "undone" {
		t.Errorf("got the verdict %q (%s), want undone", v.Status, v.Message)
	}
	l.wantClean()
	l.wantState(before)
}
