package runner_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/journal"
)

// A task with on: controller works there, between what comes before and after it
// on the host, and what it finds is known to later tasks.
func TestOnController(t *testing.T) {
	h, near := hosts(t, 1), newWorld(t, "controller")
	near.values["zone"] = "10.0.0.1"
	o := run(t, play{hosts: h, near: near, text: `
tasks:
  - put: {key: before}
  - look: {key: zone}
    on: controller
    register: zone
  - put: {key: after, value: "${zone.value}"}
  - say: {text: told}
    on: controller
    notify: [reload]
handlers:
  reload: {say: {text: reloaded}}
`})
	if want := "changed 2 put\nunchanged 3 look\nchanged 4 put\nchanged 5 say\nqueue reload\nchanged 1 say | reload\nok"; o.ends("a") != want {
		t.Errorf("got\n%s\nwant\n%s", o.ends("a"), want)
	}
	if got, want := h[0].done(), "put before=on, put after=10.0.0.1, say reloaded"; got != want {
		t.Errorf("on the host: got %q, want %q", got, want)
	}
	if got, want := near.done(), "look zone, say told"; got != want {
		t.Errorf("on the controller: got %q, want %q", got, want)
	}
	for _, e := range o.events {
		if f := e.TaskFinished; f != nil && (f.On == "controller") != (f.Step == 3 || f.Step == 5) {
			t.Errorf("task %d is said to be on %q", f.Step, f.On)
		}
	}
}

// A plan looks on the controller and does nothing there.
func TestOnControllerInAPlan(t *testing.T) {
	h, near := hosts(t, 1), newWorld(t, "controller")
	o := run(t, play{hosts: h, near: near, mode: event.Plan, text: `
tasks:
  - look: {key: zone}
    on: controller
  - put: {key: k}
    on: controller
  - say: {text: told}
    on: controller
`})
	if got := near.done(); got != "look zone" || o.fin.Code != 0 {
		t.Errorf("got %q and code %d, want that it looked only", got, o.fin.Code)
	}
	if want := "unchanged 1 look\nchanged 2 put\nran 3 say | will run\nok"; o.ends("a") != want {
		t.Errorf("got\n%s\nwant\n%s", o.ends("a"), want)
	}
}

// What goes wrong on the controller is a failure of the host that it was for.
func TestOnControllerFails(t *testing.T) {
	const text = `
tasks:
  - look: {key: zone, want: x}
    on: controller
  - put: {key: k}
`
	h := hosts(t, 2)
	o := run(t, play{hosts: h, near: newWorld(t, "controller"), text: text})
	if want := "failed 1 look | it is \"\"\nfailed"; o.ends("a") != want || o.fin.Code != runner.CodeFailed {
		t.Errorf("got\n%s\nand code %d", o.ends("a"), o.fin.Code)
	}
	o = run(t, play{hosts: hosts(t, 1), text: text})
	if want := "failed 1 look | no controller\nfailed"; o.ends("a") != want || o.fin.Code != runner.CodeFailed {
		t.Errorf("got\n%s\nand code %d", o.ends("a"), o.fin.Code)
	}
}

// Runs that overlap on a bastion both tell people, and only one may change it.
func TestOnControllerWhileAnotherRunWorksThere(t *testing.T) {
	near := newWorld(t, "controller")
	store, err := journal.Open(near.dir)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := store.Lock(journal.Holder{Run: "r-other"})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release() //nolint:errcheck // the folder goes with it
	o := run(t, play{hosts: hosts(t, 1), near: near, text: `
tasks:
  - cry: {}
    on: controller
  - put: {key: k}
    on: controller
`})
	if got := o.ends("a"); near.done() != "cry" || !strings.HasPrefix(got, "ran 1 cry\nfailed 2 put | another run works on this host: run r-other") {
		t.Errorf("got %s, and on the controller %q", got, near.done())
	}
}

// Hosts change the controller one after another, under one lock and journal.
func TestOnControllerChanges(t *testing.T) {
	h, near := hosts(t, 5), newWorld(t, "controller")
	o := run(t, play{hosts: h, near: near, text: `
tasks:
  - put: {key: "${host.name}"}
    on: controller
`})
	if got := strings.Count(near.done(), "put "); got != 5 || o.fin.Code != 0 {
		t.Errorf("got %d changes and code %d, want 5 and 0", got, o.fin.Code)
	}
}

// With once one host does it, and all know what came of it.
func TestOnce(t *testing.T) {
	h, near := hosts(t, 4), newWorld(t, "controller")
	o := run(t, play{hosts: h, near: near, text: `
tasks:
  - say: {text: token}
    on: controller
    once: true
    register: token
  - put: {key: k, value: "${token.text}-${token.times}"}
`})
	if got := near.done(); got != "say token" || o.fin.Code != 0 {
		t.Errorf("got %q and code %d, want one", got, o.fin.Code)
	}
	for _, w := range h {
		if got := w.done(); got != "put k=token-1" {
			t.Errorf("%s: got %q", w.name, got)
		}
	}
}

// A failure is one for all; a host that is lost leaves its turn to another.
func TestOnceGoesWrong(t *testing.T) {
	h := hosts(t, 3)
	o := run(t, play{hosts: h, forks: 1, text: "tasks: [{say: {text: x, fail: true}, once: true}, {put: {key: k}}]"})
	if o.fin.Failed != 3 || !strings.Contains(o.ends("b"), "it failed on a, which did it for all") {
		t.Errorf("got %+v\n%s", o.fin, o.ends("b"))
	}
	h = hosts(t, 3)
	o = run(t, play{hosts: h, forks: 1, unreachable: map[string]error{"a": errors.New("gone")}, text: "tasks: [{say: {text: x}, once: true}, {put: {key: k}}]"})
	if got := h[1].done() + "; " + h[2].done(); got != "say x, put k=on; put k=on" || o.fin.OK != 2 {
		t.Errorf("got %q, %+v", got, o.fin)
	}
}
