//go:build hosts

package acceptance_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
)

// nothing is a playbook that costs the set-up, one program, and no more.
const nothing = `
playbook: nothing
version: 1.0.0
tasks:
  - stat: {path: /}
`

// barriers are the places of the shipped playbook where the run has to wait for an
// answer: after what it looks at first, before, between and after its two guards.
const barriers = 4

// wantShort holds a converged run to its budget on the wire: the set-up and at most
// three round trips, one more for each barrier, at most 1 KB for a task, one SSH channel.
func wantShort(t *testing.T) {
	host := names[0]
	empty := holdfast(t, on(host, "apply", playbook(t, nothing), "--yes")...).want(t, 0).finished()[host]
	before := sessions(t, host)
	run := holdfast(t, baseline(host, "apply", "--yes")...).want(t, 0)
	full := run.finished()[host]
	if empty.RoundTrips == 0 || empty.BytesDown == 0 || full.RoundTrips == 0 || full.BytesDown == 0 {
		t.Fatalf("got %+v and %+v, want traffic that was counted", empty, full)
	}
	setUp := empty.RoundTrips - 1
	if trips := full.RoundTrips - setUp; trips > 3+barriers {
		t.Errorf("got %d round trips after the set-up's %d, want at most %d", trips, setUp, 3+barriers)
	}
	tasks := int64(0)
	for _, e := range run.events {
		if e.TaskFinished != nil && e.TaskFinished.Status != event.Skipped {
			tasks++
		}
	}
	bytes := full.BytesUp + full.BytesDown - empty.BytesUp - empty.BytesDown
	if tasks < 20 || bytes/tasks > 1024 {
		t.Errorf("got %d bytes for %d tasks, want at most 1024 for each of at least 20", bytes, tasks)
	}
	if got := sessions(t, host) - before; got != 1 {
		t.Errorf("got %d SSH channels, want 1", got)
	}
	t.Logf("%d round trips after the set-up's %d, %d bytes for each of %d tasks", full.RoundTrips-setUp, setUp, bytes/tasks, tasks)
}

// sessions counts the channels that the SSH server has opened so far; it logs them
// verbosely, as the playbook says.
func sessions(t *testing.T, host string) int {
	t.Helper()
	time.Sleep(200 * time.Millisecond) // the journal is written behind the server's back
	n, err := strconv.Atoi(console(t, host, "journalctl --sync; journalctl -q -t sshd -o cat | grep -c '^Starting session:' || true"))
	if err != nil || n == 0 {
		t.Fatalf("got %d sessions in the server's log, error %v, want those of this test", n, err)
	}
	return n
}

// wantNoProcess watches a converged plan and a converged run from the kernel's side.
// The helper starts nothing to look at files, accounts, packages, units and kernel
// parameters; the one command of the playbook's verify section is all there is.
func wantNoProcess(t *testing.T) {
	host := names[0]
	w := watch(t)
	holdfast(t, baseline(host, "plan")...).want(t, 0)
	plan := w.stop()
	w = watch(t)
	holdfast(t, baseline(host, "apply", "--yes")...).want(t, 0)
	run := w.stop()
	for _, c := range []struct {
		what string
		tree helperTree
		want string
		// Before its first command, Go tries with a copy of the process what the kernel can do.
	}{{"plan", plan, ""}, {"run", run, neverExecuted + "; sshd -T"}} {
		if c.tree.helpers != 1 {
			t.Errorf("%s: got %d helpers, want to have seen exactly one start", c.what, c.tree.helpers)
		}
		if got := strings.Join(c.tree.started, "; "); got != c.want {
			t.Errorf("%s: got processes %q, want %q", c.what, got, c.want)
		}
	}
}
