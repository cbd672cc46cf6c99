//go:build hosts

package openclaw_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const older = params + `version: 2026.9.4
integrity: sha512-lTQpEEe1Xm3u2PCHaPEr+vP8paGk1vLdHuzdItsNToaLI6hAqRVvgJYg+GxukJhETJp4tPy/S1Gftl4KuB8n7A==
`

// beside is the snapshot of a host with a healthy gateway of 2026.9.4 to which a device
// is paired, and 2026.9.6 installed beside it.
const beside = "beside"

// updatable gives hosts with a healthy gateway of 2026.9.4 to which a device is paired,
// and 2026.9.6 installed beside it.
func updatable(t *testing.T, hosts ...string) *site {
	t.Helper()
	s := open(t)
	s.hosts(t, hosts...)
	for name, text := range map[string]string{"older.yml": older, "device.yml": device} {
		s.write(t, name, text)
	}
	missing := slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		_, err := os.Stat(filepath.Join(siteDir, "hosts", host, "layers", beside+".json"))
		return err == nil
	})
	if len(missing) > 0 {
		s.makeUpdatable(t, missing...)
	}
	for _, host := range hosts {
		if slices.Contains(missing, host) {
			continue
		}
		if err := project.Restore(t.Context(), host, beside); err != nil {
			t.Fatal(err)
		}
	}
	for _, host := range hosts {
		s.answers(t, host, "ok")
	}
	return s
}

func (s *site) makeUpdatable(t *testing.T, hosts ...string) {
	t.Helper()
	all := strings.Join(hosts, ",")
	s.run(t, 0, "", "apply", "openclaw", "--params", "older.yml", "-l", all)
	s.run(t, 0, "", "apply", "./device.yml", "-l", all)
	for _, host := range hosts {
		out := s.update(t, 5, host, "-p", "check_only=true")
		for _, want := range []string{"nothing was touched", "2026.9.4 to 2026.9.6: state database 17 to 18", "Highlights: "} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not said beforehand:\n%s", want, out)
			}
		}
		if err := project.Snapshot(t.Context(), host, beside); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *site) update(t *testing.T, status int, host string, more ...string) string {
	t.Helper()
	return s.run(t, status, "", append([]string{"apply", "update-openclaw", "-l", host, "-p", "device=device_key"}, more...)...)
}

// is fails unless a healthy gateway of the version runs with databases of that schema,
// and the device connects.
func (s *site) is(t *testing.T, host, version, schema string) {
	t.Helper()
	s.answers(t, host, "ok")
	out := s.must(t, host, `readlink /opt/openclaw/current; openclaw --version
/opt/node/current/bin/node -e 'const { DatabaseSync } = require("node:sqlite");
console.log("schema " + new DatabaseSync("/home/openclaw/.openclaw/state/openclaw.sqlite", { readOnly: true }).prepare("pragma user_version").get().user_version)'`)
	if !strings.HasPrefix(out, version+"\n") || !strings.Contains(out, "OpenClaw "+version) || !strings.Contains(out, "schema "+schema+"\n") {
		t.Errorf("want %s with schema %s, got\n%s", version, schema, out)
	}
}

// TestUpdate updates over a schema change: with a release that does not start, without
// room, and for good; and back by hand.
func TestUpdate(t *testing.T) {
	const host = "gw3"
	s := updatable(t, host)

	// Releases that are complete and pass their checksums: one does not start, the other
	// starts, migrates the state, and dies when somebody connects.
	for _, broken := range []string{
		`process.exit(3);`,
		`import http from "node:http"; const emit = http.Server.prototype.emit; http.Server.prototype.emit = function (name) { if (name === "upgrade") process.exit(3); return emit.apply(this, arguments); };`,
	} {
		s.must(t, host, `cd /opt/openclaw/2026.9.6/node_modules/openclaw/dist && cp -p index.js /root/ && { echo '`+broken+`'; grep -v '^#!' /root/index.js; } >index.js`)
		if out := s.update(t, 7, host); !strings.Contains(out, "2026.9.4 runs with the state it had") {
			t.Errorf("the end of a failed update is not said:\n%s", out)
		}
		s.is(t, host, "2026.9.4", "17")
		s.must(t, host, `cp -p /root/index.js /opt/openclaw/2026.9.6/node_modules/openclaw/dist/`)
	}

	// No room for the copy: refused before anything is touched.
	if out := s.update(t, 5, host, "-p", "spare_mb=100000000"); !strings.Contains(out, "MB are free in") {
		t.Errorf("too little room is not said:\n%s", out)
	}

	s.update(t, 0, host)
	s.is(t, host, "2026.9.6", "18")
	if out := s.update(t, 0, host); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second update changes something:\n%s", out)
	}
	if out := s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", host); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the playbook openclaw finds something to do after an update:\n%s", out)
	}
	s.must(t, host, `test -d /opt/openclaw/2026.9.4 && test -d /home/openclaw/.openclaw-states/2026.9.4 && grep -q '"from": "2026.9.4"' /var/lib/openclaw-updates.json`)

	// What would be lost is said, and is lost only when somebody agrees.
	s.write(t, "stranger.yml", strings.ReplaceAll(device, "device_key", "stranger_key"))
	s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
	back := []string{"apply", "rollback-openclaw", "-l", host, "-p", "device=device_key", "-p", "to=2026.9.4"}
	if out := s.run(t, 5, "", back...); !strings.Contains(out, "lost: the pairing of device") {
		t.Errorf("the loss of a device is not said:\n%s", out)
	}
	s.is(t, host, "2026.9.6", "18")
	s.run(t, 0, "", append(back, "-p", "accept_loss=true")...)
	s.is(t, host, "2026.9.4", "17")
	if out := s.run(t, 0, "", back...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second rollback changes something:\n%s", out)
	}
	s.noSecrets(t, host, "gateway_token", "device_key")
}
