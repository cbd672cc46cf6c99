//go:build hosts

package openclaw_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
)

// cut is a moment of a run, and what happens then. The program is killed unless it is left
// alive, which cannot be caught.
type cut struct {
	task     string
	finished bool   // not when it begins but when it has ended
	unplug   bool   // the cable is pulled before the program is killed
	helper   bool   // what works on the host is killed too
	alive    bool   // the program lives on and must end with status 7
	inside   string // a script that ends when the moment within the task has come
	// host does something to the host.
	host func(ctx context.Context, host string) error
}

func (c *cut) is(e *event.Event) bool {
	if c.finished {
		return e.TaskFinished != nil && e.TaskFinished.Name == c.task
	}
	return e.TaskStarted != nil && e.TaskStarted.Name == c.task
}

var cuts = []cut{
	{task: "the gateway is there"},
	{task: "put into place"},
	{task: "put into place", finished: true},
	{task: "the gateway reads it"},
	{task: "the gateway reads it", unplug: true},
	{task: "the gateway reads it", helper: true},
	{task: "the gateway reads it", finished: true},
	{task: "ask with the new token", unplug: true},
	{task: "new tokens for all devices"},
	{task: "new tokens for all devices", finished: true, unplug: true},
	{task: restarts},
}

// which looks which of two tokens counts, for the host and for a device.
const which = `playbook: which
version: 1.0.0
tasks: []
verify:
  - openclaw_health: {token: '${secret("gateway_token")}', expect: [ok, wrong token]}
    register: one
    retry: {times: 40, delay: 3s}
  - openclaw_health: {token: '${secret("other_token")}', expect: [ok, wrong token]}
    register: other
  - openclaw_health: {token: '${one.outcome == "ok" ? secret("gateway_token") : secret("other_token")}', device: '${secret("device_key")}', scopes: [operator.read, operator.write], forwarded: 203.0.113.7}
  - finding:
      id: which
      section: S
      title: one of them counts
      looked: the gateway
      found: "${one.outcome}, ${other.outcome}"
      ok: ${(one.outcome == "ok") != (other.outcome == "ok")}
`

// accepted is the one token that counts; that it is the only one, and that the device
// gets in with it, is checked as well.
func (s *site) accepted(t *testing.T, host string) (is, not string) {
	t.Helper()
	s.write(t, "which.yml", which)
	out, status := s.try(t, "", "verify", "./which.yml", "-l", host, "--output", "json")
	// It may change while it is looked at: what was cut off finishes its task.
	for tries := 0; status != 0 && tries < 10; tries++ {
		out, status = s.try(t, "", "verify", "./which.yml", "-l", host, "--output", "json")
	}
	switch {
	case status != 0:
	case strings.Contains(out, `"found":"ok, wrong token"`):
		return "gateway_token", "other_token"
	case strings.Contains(out, `"found":"wrong token, ok"`):
		return "other_token", "gateway_token"
	}
	t.Fatalf("not one token counts, for the host and for the device:\n%s", out)
	return "", ""
}

// TestRotationIsCut kills rotations at many moments. The gateway then has the old token or
// the new one and the device, the host remembers which, and the next run goes on.
func TestRotationIsCut(t *testing.T) {
	const host = "gw1"
	s := gateways(t, host)
	s.watch(t, "gateway_token", "other_token", "device_key")
	s.write(t, "device.yml", device)
	s.run(t, 0, "", "apply", "./device.yml", "-l", host)
	for _, c := range cuts {
		from, to := s.accepted(t, host)
		run := s.strike(t, host, c, rotation(host, from, to, "-p", "reason=leak", "-p", "search=[/etc]")...)
		s.remembers(t, host, run, to)
	}
	from, to := s.accepted(t, host)
	out, status := s.try(t, "", rotation(host, from, to)...)
	for range 120 {
		if !strings.Contains(out, busy) {
			break
		}
		time.Sleep(time.Second)
		out, status = s.try(t, "", rotation(host, from, to)...)
	}
	if status != 0 {
		t.Fatal(out)
	}
	if is, _ := s.accepted(t, host); is != to {
		t.Errorf("in the end the gateway accepts %s, want %s", is, to)
	}
	s.noSecrets(t, host, from, to, "device_key")
}

// busy is what a run says while what another one left is still at work for a moment.
const busy = "another run works on this host"

// strike begins a run and cuts it off. It returns the name of the run. What the last
// one left may still work on the host for a moment, and no other run may then.
func (s *site) strike(t *testing.T, host string, c cut, argv ...string) string {
	t.Helper()
	for range 120 {
		run, struck, seen := s.tryStrike(t, host, c, argv)
		switch {
		case struck:
			t.Logf("cut %q, ended: %t", c.task, c.finished)
			return run
		case !strings.Contains(seen, busy):
			t.Fatalf("the run ended before %q, ended %t:\n%s", c.task, c.finished, seen)
		}
		time.Sleep(time.Second)
	}
	t.Fatal("a run that lost its controller does not make way for the next one")
	return ""
}

func (s *site) tryStrike(t *testing.T, host string, c cut, argv []string) (run string, struck bool, seen string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := s.command(ctx, t, append(argv, "--output", "json")...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	// A program that is killed may leave half a line, which is an error to read.
	_ = event.Read(out, func(e event.Event) {
		if e.RunStarted != nil {
			run = e.RunStarted.Run
		}
		if e.TaskFinished != nil {
			seen += e.TaskFinished.Name + ": " + string(e.TaskFinished.Status) + " " + e.TaskFinished.Error + "\n"
		}
		if e.Guard != nil {
			seen += "guard: " + e.Guard.Status + " " + e.Guard.Message + "\n"
		}
		if struck || !c.is(&e) {
			return
		}
		struck = true
		err = s.hit(ctx, t, host, c)
		if !c.alive {
			_ = cmd.Process.Kill() // it may have ended just now
		}
	})
	_ = cmd.Wait() // it was killed, or its status is looked at here
	if code := cmd.ProcessState.ExitCode(); struck && c.alive && code != 7 {
		t.Errorf("got status %d, want 7:\n%s", code, seen)
	}
	if c.unplug && !c.alive && err == nil {
		err = project.Plug(ctx, host)
	}
	if err != nil {
		t.Fatal(err)
	}
	return run, struck, seen
}

// hit is what happens at the moment of a cut, but for the program.
func (s *site) hit(ctx context.Context, t *testing.T, host string, c cut) (err error) {
	t.Helper()
	if c.inside != "" {
		s.must(t, host, c.inside)
	}
	if c.unplug {
		err = project.Unplug(ctx, host)
	}
	if c.helper {
		s.console(t, host, "kill -9 $(ps -eo pid,args | awk '/holdfast-helper serve/ && !/awk/ {print $1}')")
	}
	if c.host != nil && err == nil {
		err = c.host(ctx, host)
	}
	return err
}

// restarts is the handler by which the gateway comes to what its file says as well.
const restarts = "a gateway that wants another token than its file says starts again"

// remembers waits until the host's memory of the run and the gateway agree: that it has
// the new token when it was made to read it, and the old one when not.
func (s *site) remembers(t *testing.T, host, run, to string) {
	t.Helper()
	var tasks []string
	for range 30 {
		tasks = s.past(t, host, run)
		is, _ := s.accepted(t, host)
		unsure := slices.Contains(tasks, "the gateway reads it: died") || slices.Contains(tasks, restarts+": died")
		read := slices.Contains(tasks, "the gateway reads it: changed") || slices.Contains(tasks, restarts+": changed")
		if slices.Equal(tasks, s.past(t, host, run)) && (unsure || read == (is == to)) {
			return
		}
	}
	t.Fatalf("the host remembers of %s\n%s\nand the gateway is otherwise", run, strings.Join(tasks, "\n"))
}

// past is what the host remembers of a run. One that was cut off before it was to change
// something is not remembered.
func (s *site) past(t *testing.T, host, run string) (tasks []string) {
	t.Helper()
	out, status := s.try(t, "", "runs", "show", run, "--hosts", "-l", host, "--output", "json")
	var answer struct {
		Run struct {
			Tasks []struct{ Name, Status string }
		}
	}
	if status == 0 {
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, task := range answer.Run.Tasks {
		tasks = append(tasks, task.Name+": "+task.Status)
	}
	return tasks
}
