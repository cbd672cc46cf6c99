//go:build hosts

package openclaw_test

import (
	"strings"
	"testing"
)

const (
	levelNow = `/usr/local/bin/node -p 'JSON.parse(fs.readFileSync("/home/openclaw/.openclaw/openclaw.json")).logging?.level ?? "none"'`
	// The gateway logs a call at the level debug alone.
	untilMore = `n=0; until grep -q '"logLevelName":"DEBUG"' /home/openclaw/.openclaw/logs/gateway.log; do n=$((n+1)); [ $n -lt 120 ] || exit 1; sleep 0.5; done`
	untilBack = `n=0; until [ "$(` + levelNow + `)" = info ]; do n=$((n+1)); [ $n -lt 240 ] || exit 1; sleep 1; done`
)

// TestVerboseLog has a gateway say more for a minute.
func TestVerboseLog(t *testing.T) {
	s := gateways(t, "gw1")
	verbose := []string{"apply", "verbose-log", "-l", "gw1", "-p"}
	out, _ := s.console(t, "gw1", "grep -c DEBUG /home/openclaw/.openclaw/logs/gateway.log; sha256sum /home/openclaw/.openclaw/openclaw.json")
	if !strings.HasPrefix(out, "0\n") {
		t.Fatalf("the gateway says more than it is asked for before the test: %s", out)
	}
	was := strings.TrimPrefix(out, "0\n")

	// Taken back before its time, all is as it was.
	s.run(t, 0, "", append(verbose, "minutes=600")...)
	if out := s.run(t, 0, "", append(verbose, "minutes=600")...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	s.must(t, "gw1", untilMore)
	s.run(t, 0, "", "undo", "last", "-l", "gw1")
	const left = "sha256sum /home/openclaw/.openclaw/openclaw.json; ls -d /etc/systemd/system/openclaw-log* 2>/dev/null"
	if out, _ := s.console(t, "gw1", left); out != was {
		t.Errorf("taken back there is\n%swant\n%s", out, was)
	}

	// The host takes it back by itself.
	s.must(t, "gw1", `d=/run/systemd/system/openclaw-log-back.timer.d; mkdir -p $d; printf '[Timer]\nAccuracySec=1s\n' >$d/now.conf`)
	s.run(t, 0, "", append(verbose, "minutes=1")...)
	if out := s.must(t, "gw1", levelNow); out != "debug\n" {
		t.Errorf("the level is %s", out)
	}
	s.must(t, "gw1", untilBack)
	if out := s.run(t, 0, "", "undo", "last", "-l", "gw1"); !strings.Contains(out, "1 already") {
		t.Errorf("what the host has taken back cannot be:\n%s", out)
	}
	if out, _ := s.console(t, "gw1", left); out != was {
		t.Errorf("taken back there is\n%swant\n%s", out, was)
	}
	s.run(t, 0, "", "verify", "openclaw", "--params", "params.yml", "-l", "gw1")
}
