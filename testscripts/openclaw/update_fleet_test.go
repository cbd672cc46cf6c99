//go:build hosts

package openclaw_test

import (
	"strings"
	"testing"
)

// small gives the home of the gateway a file system of its own, with room for two copies
// of the state and little more.
const small = bus + `set -e
bus stop openclaw-gateway
state=$(du -smx /home/openclaw | cut -f1)
mkdir /run/home && mount -t tmpfs -o size=$((2 * state + 160))m,mode=0750 home /run/home
cp -a /home/openclaw/. /run/home && chown --reference=/home/openclaw /run/home
mount --bind /run/home /home/openclaw
bus start openclaw-gateway`

// fills is a cp that meets a disk which somebody else fills, before or after the copy of
// the state.
const fills = `cat >/usr/local/bin/cp <<'END'
#!/bin/sh
fill() { cat /dev/zero >/home/openclaw/filler 2>/dev/null; }
case "$*" in *.openclaw-next*) BEFORE ;; esac
/usr/bin/cp "$@" || exit
case "$*" in *.openclaw-next*) AFTER ;; esac
true
END
chmod 755 /usr/local/bin/cp`

// TestUpdateOnAFullDisk fills the disk while the old state is copied, and before the new
// version migrates it. The old version then runs with its old state, on the full disk.
func TestUpdateOnAFullDisk(t *testing.T) {
	const host = "gw1"
	s := updatable(t, host)
	s.must(t, host, small)
	s.answers(t, host, "ok")
	for _, tt := range []struct{ before, after, said string }{
		{before: "fill", after: ":", said: "No space left on device"},
		{before: ":", after: "fill", said: "full"},
	} {
		s.must(t, host, strings.NewReplacer("BEFORE", tt.before, "AFTER", tt.after).Replace(fills))
		out := s.update(t, 7, host, "-p", "spare_mb=10")
		if !strings.Contains(out, tt.said) || !strings.Contains(out, "2026.9.4 runs with the state it had") {
			t.Errorf("%q or the end of the update is not said:\n%s", tt.said, out)
		}
		s.must(t, host, `[ "$(df --output=avail /home/openclaw | tail -n 1)" -lt 100000 ]; rm /usr/local/bin/cp`)
		s.is(t, host, "2026.9.4", "17")
		s.must(t, host, "rm -f /home/openclaw/filler")
	}
	s.update(t, 0, host, "-p", "spare_mb=10")
	s.is(t, host, "2026.9.6", "18")
}

// spoil makes the release on a host one that is complete and does not start.
const spoil = `cd /opt/openclaw/2026.9.6/node_modules/openclaw/dist && cp -p index.js /root/ && { echo 'process.exit(3);'; grep -v '^#!' /root/index.js; } >index.js`

const unspoil = `cp -p /root/index.js /opt/openclaw/2026.9.6/node_modules/openclaw/dist/`

// TestUpdateOfAFleet meets a release that does not start with the first gateway alone. A
// good one goes through both, and versions that nobody needs go with their states.
func TestUpdateOfAFleet(t *testing.T) {
	s := updatable(t, "gw1", "gw3")
	unit := s.unit(t, "gw3")
	for _, host := range []string{"gw1", "gw3"} {
		s.must(t, host, spoil)
	}
	out := s.update(t, 7, "gw1,gw3")
	for _, want := range []string{"2026.9.4 runs with the state it had", "not begun: 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if now := s.unit(t, "gw3"); now != unit || len(s.past(t, "gw3", s.lastRun(t, "update-openclaw", "gw1"))) > 0 {
		t.Errorf("the second gateway was touched: %s, then %s", unit, now)
	}
	for _, host := range []string{"gw1", "gw3"} {
		s.is(t, host, "2026.9.4", "17")
		s.must(t, host, unspoil)
	}

	s.update(t, 0, "gw1,gw3")
	for _, host := range []string{"gw1", "gw3"} {
		s.is(t, host, "2026.9.6", "18")
	}

	// Versions of before, as updates leave them. Pruning them is cut off, too.
	for _, old := range []string{"2026.9.1", "2026.9.2", "2026.9.3"} {
		s.must(t, "gw3", `cp -a /opt/openclaw/2026.9.4 /opt/openclaw/`+old+`
sed -i '0,/2026.9.4/s//`+old+`/' /opt/openclaw/`+old+`/.holdfast-npm /opt/openclaw/`+old+`/node_modules/openclaw/package.json
runuser -u openclaw -- mkdir -p /home/openclaw/.openclaw-states/`+old+`/state`)
	}
	s.strike(t, "gw3", cut{task: "the last versions stay", helper: true}, "apply", "update-openclaw", "-l", "gw3", "-p", "device=device_key")
	s.comesBack(t, "gw3")
	s.is(t, "gw3", "2026.9.6", "18")
	s.update(t, 0, "gw3")
	if got := s.must(t, "gw3", "ls -d /opt/openclaw/2*; ls /home/openclaw/.openclaw-states"); got != "/opt/openclaw/2026.9.3\n/opt/openclaw/2026.9.4\n/opt/openclaw/2026.9.6\n2026.9.3\n2026.9.4\n" {
		t.Errorf("with three to keep, there are\n%s", got)
	}
}
