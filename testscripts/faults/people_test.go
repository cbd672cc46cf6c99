//go:build hosts

package faults_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/event"
)

// ask calls holdfast guard.
func (l *lab) ask(action string, more ...string) outcome {
	l.Helper()
	return l.holdfast(append([]string{"guard", action, l.host, "-i", l.as(reach{})}, more...)...)
}

// abandoned leaves a guard on the host whose run is gone.
func (l *lab) abandoned(wait string) {
	l.Helper()
	u := l.start(l.play(reach{}, fmt.Sprintf(`
tasks:
  - guard: {%swithin: %s}
    tasks:
      - file: {path: /etc/attack-inside, content: "guarded\n"}
`, nowhere, wait))...)
	l.awaitVerdict("armed", 20*time.Second)
	time.Sleep(time.Second)
	u.signal(syscall.SIGKILL)
	u.wait(10 * time.Second)
}

// TestPersonDecides: the run is gone and its guard waits. A person sees it, lets it
// wait longer, keeps the change or takes it back; what is decided cannot be decided
// again.
func TestPersonDecides(t *testing.T) {
	t.Run("confirm", func(t *testing.T) {
		l := enter(t)
		l.abandoned("12s")
		l.says(0, l.ask("status"), "armed")
		l.says(0, l.ask("extend", "--by", "40s"), "armed")
		time.Sleep(14 * time.Second)
		l.says(0, l.ask("status"), "armed")
		l.says(0, l.ask("confirm"), "confirmed")
		l.says(1, l.ask("abort"), "confirmed")
		l.says(1, l.ask("confirm"), "confirmed")
		l.wantClean()
		if got := l.console("cat /etc/attack-inside"); got != "guarded" {
			t.Errorf("got %q, want the change kept", got)
		}
		o := l.wantNext(reach{})
		if strings.Contains(o.told(), "taken back") {
			t.Errorf("got %s want nothing taken back", o.told())
		}
		l.console("cat /etc/attack-inside && rm /etc/attack-inside")
	})
	t.Run("abort", func(t *testing.T) {
		l := enter(t)
		before := l.state()
		l.says(0, l.ask("status"), "")
		l.abandoned("10m")
		l.says(0, l.ask("abort"), "undone")
		l.wantClean()
		l.wantState(before)
		l.says(1, l.ask("confirm"), "undone")
		l.says(1, l.ask("extend"), "undone")
		l.wantNext(reach{})
	})
}

// says fails the test when the answer has another status or lacks a word.
func (l *lab) says(code int, o outcome, word string) {
	l.Helper()
	if o.code != code || !strings.Contains(o.stdout, word) {
		l.Errorf("got status %d and %q, want %d and the word %q\n%s", o.code, o.stdout, code, word, o.stderr)
	}
}

// TestExtendedWhileTheRunWaits: the run goes on trying for as long as a person lets
// the guard wait, and keeps the change when the way is open at last.
func TestExtendedWhileTheRunWaits(t *testing.T) {
	l := enter(t)
	u := l.start(l.play(reach{}, `
tasks:
  - guard: {via: {port: 223}, within: 10s}
    tasks:
      - file: {path: /etc/attack-inside, content: "stays\n"}
`)...)
	l.awaitVerdict("armed", 20*time.Second)
	l.says(0, l.ask("extend", "--by", "60s"), "armed")
	time.Sleep(14 * time.Second)
	l.console("/usr/sbin/sshd -p 223 -o PidFile=/run/attack.pid")
	o := u.wait(30*time.Second).want(l, 0)
	if got, want := o.guard(), "armed proved confirmed"; got != want {
		t.Errorf("got the guard told as %q, want %q", got, want)
	}
	l.wantClean()
	l.console("kill $(cat /run/attack.pid); rm /etc/attack-inside")
}

// TestInterrupted: one interrupt keeps what a login proves and ends with 130. After
// two the program goes at once, and the host takes the change back at the deadline.
func TestInterrupted(t *testing.T) {
	t.Run("once", func(t *testing.T) {
		l := enter(t)
		u := l.start(l.play(reach{}, attack("", slow))...)
		u.begun("slow")
		u.signal(syscall.SIGINT)
		o := u.wait(20*time.Second).want(l, 130)
		if got, want := o.guard(), "armed proved confirmed"; got != want {
			t.Errorf("got the guard told as %q, want %q\n%s", got, want, o.told())
		}
		if got := o.finished().Status; got != event.HostInterrupted {
			t.Errorf("got the host %q, want %s", got, event.HostInterrupted)
		}
		l.wantClean()
		if got := l.console("ls /etc/attack-*"); got != "/etc/attack-before\n/etc/attack-inside\n/etc/attack-slow" {
			t.Errorf("got %q, want what was done, kept", got)
		}
		l.wantNext(reach{})
		l.console("rm /etc/attack-*")
	})
	t.Run("between programs of a guard", func(t *testing.T) {
		l := enter(t)
		u := l.start(l.play(reach{}, `
tasks:
  - guard: {within: 30s}
    tasks:
      - {name: first, command: {argv: [sh, -c, "echo one >/etc/attack-one; sleep 2; echo 1"], undo: rm -f /etc/attack-one}, register: first}
      - {name: second, when: "first.stdout == '1'", file: {path: /etc/attack-two, content: "never\n"}}
`)...)
		u.begun("first")
		u.signal(syscall.SIGINT)
		o := u.wait(20*time.Second).want(l, 130)
		if got, want := o.guard(), "armed proved confirmed"; got != want {
			t.Errorf("got the guard told as %q, want %q\n%s", got, want, o.told())
		}
		l.wantClean()
		l.console("rm /etc/attack-one && ! test -e /etc/attack-two")
	})
	t.Run("twice", func(t *testing.T) {
		l := enter(t)
		l.console("printf 'stays\\n' >/etc/attack-before")
		before := l.state()
		l.console("rm /etc/attack-before")
		u := l.start(l.play(reach{}, attack(nowhere, slow))...)
		u.begun("slow")
		u.signal(syscall.SIGINT)
		time.Sleep(300 * time.Millisecond)
		u.signal(syscall.SIGINT)
		o := u.wait(10*time.Second).want(l, 130)
		if !strings.Contains(o.told(), "the guard still waits") {
			t.Errorf("got %s want to be told what the host will do", o.told())
		}
		l.awaitVerdict("undone", within+10*time.Second)
		l.wantClean()
		l.wantState(before)
		l.wantNext(reach{})
	})
}

// TestRiskyOutsideOfAGuard: a task that can cut the login has a guard without its
// author's doing. It costs nothing when all is well. When it cuts the login, it alone
// is taken back; what the playbook did beside it stays.
func TestRiskyOutsideOfAGuard(t *testing.T) {
	t.Run("all well", func(t *testing.T) {
		l := enter(t)
		o := l.apply(0, reach{}, `
tasks:
  - user: {name: somebody}
  - sudoers: {name: somebody, user: somebody}
`)
		if got, want := o.guard(), "armed proved confirmed"; got != want {
			t.Errorf("got the guard told as %q, want %q", got, want)
		}
		l.wantClean()
		if o := l.apply(0, reach{}, "\ntasks: [{user: {name: somebody}}]\n"); o.guard() != "" {
			t.Errorf("got %q although nothing changed, want no guard", o.guard())
		}
		l.console("userdel -r somebody 2>/dev/null; rm /etc/sudoers.d/somebody")
	})
	t.Run("cut", func(t *testing.T) {
		l := enter(t)
		l.console("printf 'stays\\n' | tee /etc/attack-before >/etc/attack-beside")
		before := l.state()
		l.console("rm /etc/attack-be*")
		// A guard of the engine's own waits 90 s, so a person does not wait for it here.
		u := l.start(l.play(reach{user: "debian"}, `
tasks:
  - file: {path: /etc/attack-before, content: "stays\n"}
  - user: {name: debian, shell: /usr/sbin/nologin}
  - file: {path: /etc/attack-beside, content: "stays\n"}
`)...)
		l.awaitVerdict("armed", 20*time.Second)
		u.until("the armed guard", func(e event.Event) bool { return e.Guard != nil })
		time.Sleep(2 * time.Second)
		l.says(0, l.ask("abort"), "undone") // over the login of root
		o := u.wait(20*time.Second).want(l, 7)
		if got, want := o.guard(), "armed unproved undone"; got != want {
			t.Errorf("got the guard told as %q, want %q\n%s", got, want, o.told())
		}
		l.wantClean()
		l.wantState(before)
		l.wantNext(reach{user: "debian"})
		l.console("rm /etc/attack-be*")
	})
}
