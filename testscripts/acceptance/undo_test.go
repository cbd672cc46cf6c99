//go:build hosts

package acceptance_test

import (
	"strings"
	"testing"

	"holdfast/runner/event"
)

// several is a playbook with resources of several kinds and nothing slow.
const several = `
playbook: several
version: 1.0.0
tasks:
  - directory: {path: /etc/several, mode: "0750"}
  - file: {path: /etc/several/one, content: "one\n"}
  - file: {path: /etc/several/two, content: "two\n", mode: "0600"}
  - file: {path: /etc/motd, content: "several\n"}
  - line: {path: /etc/hosts, line: 192.0.2.1 several}
  - group: {name: several}
  - user: {name: severin, groups: [several], home_mode: "0700"}
  - sysctl: {name: 70-several, values: {net.ipv4.tcp_synack_retries: 3}}
  - service: {name: cron, state: stopped, enabled: false}
`

// TestUndoRefusesWhatOthersChanged changes some of what a run did by hand. The undo
// names exactly that and leaves it alone, and takes back the rest.
func TestUndoRefusesWhatOthersChanged(t *testing.T) {
	host := names[2]
	fresh(t, host)
	holdfast(t, on(host, "facts")...)
	before := state(t, host)
	path := playbook(t, several)
	run := holdfast(t, on(host, "apply", path, "--yes")...).want(t, 0).run()
	console(t, host, `echo mine >>/etc/motd; chmod 0644 /etc/several/two; sysctl -qw net.ipv4.tcp_synack_retries=4; usermod -s /bin/sh severin`)

	undo := holdfast(t, on(host, "undo", run)...).want(t, 5)
	refused := map[string]bool{}
	for _, e := range undo.events {
		if u := e.Undone; u != nil && u.Status == "refused" {
			refused[u.Resource] = true
			if u.Message == "" {
				t.Errorf("%s is refused without a reason", u.Resource)
			}
		}
	}
	for _, resource := range []string{"/etc/motd", "/etc/several/two", "sysctl:net.ipv4.tcp_synack_retries"} {
		if !refused[resource] {
			t.Errorf("%s: got it taken back, want it refused: somebody changed it", resource)
		}
	}
	for _, c := range []struct{ script, want string }{
		{"tail -1 /etc/motd", "mine"},
		{"stat -c %a /etc/several/two", "644"},
		{"sysctl -n net.ipv4.tcp_synack_retries", "4"},
		{"ls /etc/several", "two"},
		{"ls /etc/sysctl.d/70-several.conf 2>/dev/null | wc -l", "0"},
		{"grep -c several /etc/hosts || true", "0"},
		{"systemctl is-active cron; systemctl is-enabled cron", "active\nenabled"},
	} {
		if got := console(t, host, c.script); got != c.want {
			t.Errorf("%s: got %q, want %q", c.script, got, c.want)
		}
	}
	if got := undo.finished()[host].Status; got != event.HostFailed {
		t.Errorf("got the host %s, want %s", got, event.HostFailed)
	}

	// With force the rest goes too, and the changes of others with it.
	holdfast(t, on(host, "undo", run, "--force")...).want(t, 0)
	wantState(t, host, before)
}

// TestUndoShowsFirst looks at an undo before it happens, and takes one resource back alone.
func TestUndoShowsFirst(t *testing.T) {
	host := names[2]
	fresh(t, host)
	run := holdfast(t, on(host, "apply", playbook(t, several), "--yes")...).want(t, 0).run()
	applied := state(t, host)
	plan := holdfast(t, on(host, "undo", run, "--plan")...).want(t, 0)
	wantState(t, host, applied)
	done := holdfast(t, on(host, "undo", run, "--only", "/etc/motd")...).want(t, 0)
	if got := resources(done); got != "/etc/motd" {
		t.Errorf("got %s taken back, want /etc/motd alone", got)
	}
	rest := holdfast(t, on(host, "undo", run)...).want(t, 0)
	if got, want := resources(rest)+" /etc/motd", resources(plan); len(strings.Fields(got)) != len(strings.Fields(want)) {
		t.Errorf("got %s taken back in two parts, the plan said %s", got, want)
	}
}

// resources returns what an undo took back, or would.
func resources(o outcome) string {
	var out []string
	for _, e := range o.events {
		if e.Undone != nil && e.Undone.Status == "undone" {
			out = append(out, e.Undone.Resource)
		}
	}
	return strings.Join(out, " ")
}
