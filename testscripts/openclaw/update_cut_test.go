//go:build hosts

package openclaw_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// slowly makes the copying of the state take its time, with half of it done: whoever is
// killed then leaves a copy that is not whole.
const slowly = `cat >/usr/local/bin/cp <<'END'
#!/bin/sh
/usr/bin/cp "$@" || exit
case "$*" in
*.openclaw-next*)
	rm -r /home/openclaw/.openclaw-next/state
	sleep 20
	;;
esac
END
chmod 755 /usr/local/bin/cp`

// copying ends when half of the copy is there.
const copying = `until [ -e /home/openclaw/.openclaw-next ] && ! [ -e /home/openclaw/.openclaw-next/state ]; do sleep 0.05; done`

// updateCuts are in the order of the update. All but the last one end with the old
// version: they come before its guard was confirmed, which the device that connects does.
func updateCuts() []cut {
	return []cut{
		{task: "a backup, verified", helper: true},
		{task: "stop", finished: true, unplug: true},
		{task: "keep the old state", inside: copying, helper: true},
		{task: "keep the old state", inside: copying, host: project.PowerCut},
		{task: "keep the old state", finished: true, host: project.PowerCut},
		{task: "switch", finished: true, helper: true},
		{task: "start"},
		{task: "start", finished: true, alive: true, host: project.Reboot},
		{task: "ready", alive: true, unplug: true, host: plugWhenDecided},
		{task: "the paired device connects"},
		{task: "what was done", finished: true, helper: true},
		{task: "the last versions stay"},
	}
}

// guardSays prints how the guard of a host stands.
const guardSays = `sed 's/.*"status":"\([a-z]*\)".*/\1/' /var/lib/holdfast/guard/state.json`

// plugWhenDecided leaves the cable pulled until the host has decided alone.
func plugWhenDecided(ctx context.Context, host string) error {
	_, err := project.Exec(ctx, host, nil, nil, nil, "sh", "-c", `for i in $(seq 600); do [ "$(`+guardSays+`)" != undone ] || break; sleep 0.5; done`)
	if err != nil {
		return err
	}
	return project.Plug(ctx, host)
}

// TestUpdateIsCut cuts updates off at many moments. Nobody helps by hand. The gateway is
// then healthy, with the old version and the old state or with the new ones, and the host
// remembers which.
func TestUpdateIsCut(t *testing.T) {
	const host = "gw3"
	s := updatable(t, host)
	for _, c := range updateCuts() {
		s.cutUpdate(t, host, c)
	}

	s.update(t, 0, host)
	s.is(t, host, "2026.9.6", "18")
	s.must(t, host, `grep -q '"from": "2026.9.4"' /var/lib/openclaw-updates.json`)
	s.noSecrets(t, host, "gateway_token", "device_key")
}

// cutUpdate begins an update, cuts it off and looks at what comes of it.
func (s *site) cutUpdate(t *testing.T, host string, c cut) {
	t.Helper()
	if c.inside == copying {
		s.must(t, host, slowly)
	}
	argv := []string{"apply", "update-openclaw", "-l", host, "-p", "device=device_key"}
	if c.unplug && c.alive {
		argv = append(argv, "-p", "within=20s")
	}
	began := time.Now()
	run := s.strike(t, host, c, argv...)
	s.must(t, host, "rm -f /usr/local/bin/cp")
	said := strings.Contains(s.comesBack(t, host), "was never confirmed and was taken back")
	updated := s.updated(t, host, run)
	if last := c.task == "the last versions stay"; updated != last {
		t.Errorf("cut at %q: the host remembers that it was updated: %t", c.task, updated)
	}
	if _, status := s.console(t, host, `grep -q '"2026.9.6"' /var/lib/openclaw-updates.json`); (status == 0) != updated {
		t.Errorf("cut at %q: what was done is written down: %t, want %t", c.task, status == 0, updated)
	}
	// Without a guard there is nothing to say, and what the host has done by itself is over.
	if want := c.host == nil && c.task != "a backup, verified" && !updated; said != want {
		t.Errorf("cut at %q: the next run says that it takes something back: %t", c.task, said)
	}
	if updated {
		s.is(t, host, "2026.9.6", "18")
	} else {
		s.is(t, host, "2026.9.4", "17")
	}
	t.Logf("cut at %q took %.0f s", c.task, time.Since(began).Seconds())
}

// comesBack waits until a run may work on the host, and returns what that one said.
func (s *site) comesBack(t *testing.T, host string) string {
	t.Helper()
	s.write(t, "look.yml", "playbook: look\nversion: 1.0.0\ntasks:\n  - stat: {path: /etc/hostname}\n")
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
		out, status := s.try(t, "", "apply", "./look.yml", "-l", host)
		if status == 0 {
			return out
		}
		if !strings.Contains(out, busy) || time.Now().After(end) {
			t.Fatalf("the host does not make way for the next run:\n%s", out)
		}
	}
}

// updated is whether the host remembers that a run left it with the new version: that it
// has switched, and that its guard did not take that back.
func (s *site) updated(t *testing.T, host, run string) bool {
	t.Helper()
	var answer struct {
		Runs []struct {
			ID, Command string
			UndoOf      string `json:"undo_of"`
		}
	}
	out := s.run(t, 0, "", "runs", "list", "--hosts", "-l", host, "--output", "json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, r := range answer.Runs {
		if r.UndoOf == run && r.Command == "guard" {
			return false
		}
	}
	return slices.Contains(s.past(t, host, run), "switch: changed")
}
