//go:build hosts

package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
)

// calm is a block that cuts nothing, with or without a guard.
func calm(guard, name string) string {
	return fmt.Sprintf(`
tasks:
  - name: calm
%s    tasks:
      - file: {path: /etc/calm-%s, content: "stays\n"}
`, guard, name)
}

// TestAllIsWell: a guard whose paths can all be proved keeps the change, costs one
// login and one program more, and leaves nothing behind.
func TestAllIsWell(t *testing.T) {
	l := enter(t)
	l.apply(0, reach{}, harmless) // the helper is there from now on
	plain := l.apply(0, reach{}, calm("", "plain")).finished()
	o := l.apply(0, reach{}, calm("    guard: {within: 30s}\n", "guarded"))
	if got, want := o.guard(), "armed proved confirmed"; got != want {
		t.Errorf("got the guard told as %q, want %q", got, want)
	}
	if got := o.finished().Status; got != event.HostOK {
		t.Errorf("got the host %q, want %s", got, event.HostOK)
	}
	// The connection that proves is counted too: ten round trips to a helper over SSH and
	// one for the proof. What follows the block is a program of its own.
	extra := o.finished().RoundTrips - plain.RoundTrips
	if plain.RoundTrips == 0 || extra > 12 || extra < 5 {
		t.Errorf("got %d round trips more than the %d without a guard, want a new login and at most 12", extra, plain.RoundTrips)
	}
	t.Logf("%d round trips and %s more than without a guard", extra, (o.finished().Duration - plain.Duration).Round(time.Millisecond))
	if v := l.verdict(); v.Status != "confirmed" {
		t.Errorf("got the verdict %q (%s), want confirmed", v.Status, v.Message)
	}
	l.wantClean()
	l.console("cat /etc/calm-guarded && rm /etc/calm-*")
}

// TestPortMoves: the port of the SSH server moves, is proved by a login over the new
// one, and stays moved; the next run comes over the new port.
func TestPortMoves(t *testing.T) {
	l := enter(t)
	before := l.state()
	o := l.apply(0, reach{}, fmt.Sprintf(`
tasks:
  - guard: {within: %s, via: [{port: 222}, {port: 222, user: debian}]}
    tasks:
      - sshd: {port: 222}
`, within))
	if got, want := o.guard(), "armed proved proved confirmed"; got != want {
		t.Errorf("got the guard told as %q, want %q\n%s", got, want, o.told())
	}
	l.wantNext(reach{ports: "222"})
	if got := l.holdfast("undo", "last", "-i", l.as(reach{ports: "222"}), "-l", l.host); got.code != 0 {
		t.Fatalf("undo: got status %d, want 0\n%s%s", got.code, got.stdout, got.stderr)
	}
	got := l.holdfast("undo", o.run(), "-i", l.as(reach{ports: "222"}), "-l", l.host)
	if got.code != 0 {
		t.Fatalf("undo: got status %d, want 0\n%s%s", got.code, got.stdout, got.stderr)
	}
	l.wantClean()
	l.wantState(before)
	l.wantNext(reach{})
}

// run returns the name of the run.
func (o outcome) run() string {
	for _, e := range o.events {
		if e.RunStarted != nil {
			return e.RunStarted.Run
		}
	}
	return ""
}

// TestNoInverse: a step that could not be taken back is refused before anything of
// its guard is written.
func TestNoInverse(t *testing.T) {
	l := enter(t)
	before := l.state()
	o := l.apply(5, reach{}, `
tasks:
  - guard: {within: 30s}
    tasks:
      - file: {path: /etc/attack-inside, content: "never\n"}
      - {name: no way back, command: {cmd: touch /etc/attack-command}}
`)
	for _, part := range []string{"no way back: failed", "cannot be guarded", "take it out of the guard, or give it an undo"} {
		if !strings.Contains(o.told(), part) {
			t.Errorf("got %s want %q in it", o.told(), part)
		}
	}
	if got := o.guard(); got != "" {
		t.Errorf("got the guard told as %q, want that it was never armed", got)
	}
	l.wantClean()
	l.wantState(before)
	l.wantNext(reach{})
}

// TestOneAfterTheOther: two guards in one run do not meet; the second is taken back
// alone.
func TestOneAfterTheOther(t *testing.T) {
	l := enter(t)
	o := l.apply(7, reach{}, fmt.Sprintf(`
tasks:
  - guard: {within: 30s}
    tasks:
      - file: {path: /etc/calm-first, content: "stays\n"}
  - guard: {%swithin: %s}
    tasks:
      - file: {path: /etc/calm-second, content: "goes\n"}
`, nowhere, within))
	if got, want := o.guard(), "armed proved confirmed armed unproved undone"; got != want {
		t.Errorf("got the guards told as %q, want %q", got, want)
	}
	if got := l.console("ls /etc/calm-*"); got != "/etc/calm-first" {
		t.Errorf("got %q left, want the first guard's change only", got)
	}
	l.wantClean()
	l.wantNext(reach{})
	l.console("rm /etc/calm-*")
}

// TestTwoRuns: a second run neither arms nor touches the guard of one that works.
func TestTwoRuns(t *testing.T) {
	l := enter(t)
	u := l.start(l.play(reach{}, attack("", slow))...)
	u.begun("slow")
	l.home = t.TempDir() // another bastion: it shares nothing with the first
	o := l.apply(5, reach{}, attack("", ""))
	if !strings.Contains(o.told(), "another run works on this host") {
		t.Errorf("got %s want to be told of the other run", o.told())
	}
	if got := u.wait(30 * time.Second); got.code != 0 || got.guard() != "armed proved confirmed" {
		t.Errorf("the first run: got status %d and %q, want 0 and a guard that was confirmed\n%s", got.code, got.guard(), got.told())
	}
	l.wantClean()
	l.console("rm /etc/attack-*")
}
