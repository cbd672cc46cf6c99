//go:build hosts

package acceptance_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/event"
)

// slow is a playbook whose second task takes seconds and has children of its own.
const slow = `
playbook: slow
version: 1.0.0
tasks:
  - name: before
    file: {path: /etc/slow-before, content: "before\n"}
    notify: [note]
  - name: slow
    command:
      argv: [sh, -c, "sleep 4 & sleep 4; wait; echo done >/etc/slow-done"]
      creates: /etc/slow-done
      undo: rm -f /etc/slow-done
  - name: after
    file: {path: /etc/slow-after, content: "after\n"}
handlers:
  note: {command: {argv: [sh, -c, "echo note >>/var/tmp/slow-notes"], undo: "true"}}
`

// under is a call of the program that is watched while it runs.
type under struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	events chan event.Event
	seen   []event.Event
	ended  chan struct{}
}

// start calls the program and returns at once.
func start(t *testing.T, argv ...string) *under {
	t.Helper()
	return startWith(t, nil, argv...)
}

func startWith(t *testing.T, env []string, argv ...string) *under {
	t.Helper()
	u := &under{t: t, cmd: exec.Command(site.binary, argv...), events: make(chan event.Event, 10_000), ended: make(chan struct{})}
	u.cmd.Dir, u.cmd.Env, u.cmd.Stderr = site.home, environ(env...), &u.stderr
	out, err := u.cmd.StdoutPipe()
	if err == nil {
		err = u.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		// A program that is killed may leave half a line, which is an error to read.
		_ = event.Read(out, func(e event.Event) { u.events <- e })
		_, _ = io.Copy(io.Discard, out)
		close(u.events)
		_ = u.cmd.Wait() // its status is asked for
		close(u.ended)
	}()
	return u
}

// until reads events up to the one that is asked for.
func (u *under) until(what string, is func(event.Event) bool) {
	u.t.Helper()
	limit := time.After(5 * time.Minute)
	for {
		select {
		case e, ok := <-u.events:
			if !ok {
				u.t.Fatalf("the run ended before %s\n%s", what, u.stderr.String())
			}
			u.seen = append(u.seen, e)
			if is(e) {
				return
			}
		case <-limit:
			u.t.Fatalf("got nothing of %s within 5 minutes", what)
		}
	}
}

// begun waits until a task has begun.
func (u *under) begun(name string) {
	u.t.Helper()
	u.until("the task "+name, func(e event.Event) bool { return e.TaskStarted != nil && e.TaskStarted.Name == name })
}

func (u *under) signal(s syscall.Signal) {
	u.t.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		u.t.Fatal(err)
	}
}

// wait waits for the end and returns what the program left.
func (u *under) wait() outcome {
	u.t.Helper()
	select {
	case <-u.ended:
	case <-time.After(30 * time.Second):
		_ = u.cmd.Process.Kill() // it may just have ended
		u.t.Fatalf("the program goes on 30 s after it was told to stop\n%s", u.stderr.String())
	}
	for e := range u.events {
		u.seen = append(u.seen, e)
	}
	return outcome{code: u.cmd.ProcessState.ExitCode(), events: u.seen, stderr: u.stderr.String()}
}

// wantClean fails the test when the host still runs something of ours, or keeps a
// file that was half made. A helper whose controller is gone may finish its step.
func wantClean(t *testing.T, host string, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	const processes = `ps -eo args --no-headers | grep -E '^(/[^ ]*/)?(holdfast-helper|sleep|sh -c)' || true`
	for got := console(t, host, processes); got != ""; got = console(t, host, processes) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: after %s it still runs\n%s", host, within, got)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := console(t, host, "find / -xdev -name '.holdfast-*' -print"); got != "" {
		t.Errorf("%s: got half-made files left:\n%s", host, got)
	}
}

// wantResumed runs the playbook again: it goes on where it was, and runs the handler
// that was left.
func wantResumed(t *testing.T, host, path string) {
	t.Helper()
	o := next(t, on(host, "apply", path, "--yes")...).want(t, 0)
	pending := false
	for _, e := range o.events {
		pending = pending || e.HandlerQueued != nil && e.HandlerQueued.Pending != ""
	}
	if !pending {
		t.Errorf("%s: got no handler of the run before, want it queued", host)
	}
	if got := console(t, host, "cat /etc/slow-before /etc/slow-done /etc/slow-after /var/tmp/slow-notes"); got != "before\ndone\nafter\nnote" {
		t.Errorf("%s: got %q, want everything done and the handler run once", host, got)
	}
	if d := deeds(holdfast(t, on(host, "apply", path, "--yes")...).want(t, 0)); len(d) > 0 {
		t.Errorf("%s: got %v, want nothing left to do", host, d)
	}
}

// TestInterrupt ends a run in the middle of a task that has processes of its own.
func TestInterrupt(t *testing.T) {
	host := names[2]
	path := playbook(t, slow)
	for _, c := range []struct {
		name string
		end  func(u *under)
		code int
		done string // what the interrupted task left
	}{
		{"once: the step is finished first", func(u *under) { u.signal(syscall.SIGINT) }, 130, "done"},
		{"twice: the step's processes are ended", func(u *under) {
			u.signal(syscall.SIGINT)
			time.Sleep(300 * time.Millisecond)
			u.signal(syscall.SIGINT)
		}, 130, ""},
		{"the controller is killed", func(u *under) { u.signal(syscall.SIGKILL) }, -1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			fresh(t, host)
			u := start(t, on(host, "apply", path, "--yes")...)
			u.begun("slow")
			time.Sleep(300 * time.Millisecond)
			c.end(u)
			began := time.Now()
			o := u.wait()
			if o.code != c.code {
				t.Errorf("got status %d, want %d\n%s", o.code, c.code, o.stderr)
			}
			if c.done == "" && time.Since(began) > 2*time.Second {
				t.Errorf("got the end after %s, want it at once", time.Since(began))
			}
			if c.code == 130 {
				wantClean(t, host, 6*time.Second)
			}
			if got := console(t, host, "cat /etc/slow-done /etc/slow-after 2>/dev/null || true"); c.code == 130 && got != c.done {
				t.Errorf("got %q done, want %q", got, c.done)
			}
			if c.code == 130 {
				if f := o.finished()[host]; f.Status != event.HostInterrupted {
					t.Errorf("got the host %q, want %s", f.Status, event.HostInterrupted)
				}
			}
			wantResumed(t, host, path)
			wantClean(t, host, 6*time.Second)
		})
	}
}

// many is a playbook that writes many large files, so that a kill at any moment hits
// one of them.
func many() string {
	var b strings.Builder
	b.WriteString("playbook: many\nversion: 1.0.0\ntasks:\n")
	for i := range 40 {
		fmt.Fprintf(&b, "  - {file: {path: /etc/many-%02d, content: %q}, notify: [note]}\n", i, strings.Repeat(fmt.Sprintf("line of %d\n", i), 20_000))
	}
	b.WriteString("handlers:\n  note: {command: {argv: [sh, -c, \"echo note >>/var/tmp/many-notes\"], undo: \"true\"}}\n")
	return b.String()
}

// whole says for each file whether it is absent, whole, or something else.
const whole = `for i in $(seq -w 0 39); do f=/etc/many-$i; [ -e $f ] || { echo absent; continue; }
n=$((10#$i)); [ "$(sort -u $f)" = "line of $n" ] && [ "$(wc -l <$f)" = 20000 ] && echo whole || echo "$f is damaged"; done | sort | uniq -c`

// TestKilledAtAnyMoment kills the controller, or the helper, at moments that differ
// from run to run. Files are whole or absent, and the next run completes.
func TestKilledAtAnyMoment(t *testing.T) {
	host := names[2]
	path := playbook(t, many())
	fresh(t, host)
	began := time.Now()
	holdfast(t, on(host, "apply", path, "--yes")...).want(t, 0)
	takes := time.Since(began)
	for round := range 6 {
		fresh(t, host)
		u := start(t, on(host, "apply", path, "--yes")...)
		delay := time.Duration(rand.Int64N(int64(takes)))
		if round > 0 {
			u.begun("file /etc/many-00")
			delay = time.Duration(rand.Int64N(int64(400 * time.Millisecond)))
		}
		time.Sleep(delay)
		victim := "the controller"
		if round%3 == 2 {
			victim = "the helper"
			try(t, host, "kill -9 $(ps -eo pid,args | awk '/holdfast-helper/ && !/awk/ {print $1}')")
		} else {
			_ = u.cmd.Process.Kill() // it may be done by now, which is a moment too
		}
		u.wait()
		if victim == "the controller" {
			time.Sleep(time.Second) // the run goes on to the end of its task, and waits there
		} else {
			waitQuiet(t, host)
		}
		got := console(t, host, whole)
		t.Logf("%s killed after %s: %s", victim, delay, strings.Join(strings.Fields(got), " "))
		if strings.Contains(got, "damaged") {
			t.Errorf("%s", got)
		}
		next(t, on(host, "apply", path, "--yes")...).want(t, 0)
		if got := strings.Join(strings.Fields(console(t, host, whole)), " "); got != "40 whole" {
			t.Errorf("after the next run: got %s, want 40 whole", got)
		}
		wantClean(t, host, time.Second)
		if got := console(t, host, "sort -u /var/tmp/many-notes"); got != "note" {
			t.Errorf("got %q, want that the handler ran", got)
		}
	}
}

// waitQuiet waits until no helper runs.
func waitQuiet(t *testing.T, host string) {
	t.Helper()
	for range 100 {
		if _, status := try(t, host, "ps -eo args | grep -q '[h]oldfast-helper'"); status != 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s: a helper runs 10 s after its end", host)
}

// next runs the program when the host is free: the run of a controller that was killed
// goes on to the end of its task, and gives way then.
func next(t *testing.T, argv ...string) (o outcome) {
	t.Helper()
	for range 60 {
		if o = holdfast(t, argv...); o.code != 5 || !strings.Contains(o.failures(), "another run works on this host") {
			return o
		}
		time.Sleep(200 * time.Millisecond)
	}
	return o
}
