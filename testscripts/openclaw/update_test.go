//go:build hosts

package openclaw_test

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const older = params + `version: 2026.9.4
integrity: sha512-lTQpEEe1Xm3u2PCHaPEr+vP8paGk1vLdHuzdItsNToaLI6hAqRVvgJYg+GxukJhETJp4tPy/S1Gftl4KuB8n7A==
`

// updatable gives a host with a healthy gateway of 2026.9.4 to which a device is paired,
// and 2026.9.6 installed beside it.
func updatable(t *testing.T, host string) *site {
	t.Helper()
	s := open(t)
	s.hosts(t, host)
	for name, text := range map[string]string{"older.yml": older, "device.yml": device} {
		s.write(t, name, text)
	}
	const snapshot = "older"
	if _, err := os.Stat(filepath.Join(siteDir, "hosts", host, "layers", snapshot+".json")); err == nil {
		if err := project.Restore(t.Context(), host, snapshot); err != nil {
			t.Fatal(err)
		}
		s.answers(t, host, "ok")
		return s
	}
	s.run(t, 0, "", "apply", "openclaw", "--params", "older.yml", "-l", host)
	s.run(t, 0, "", "apply", "./device.yml", "-l", host)
	out := s.update(t, 5, host, "-p", "check_only=true")
	for _, want := range []string{"nothing was touched", "2026.9.4 to 2026.9.6: state database 17 to 18", "Highlights: "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said beforehand:\n%s", want, out)
		}
	}
	if err := project.Snapshot(t.Context(), host, snapshot); err != nil {
		t.Fatal(err)
	}
	s.answers(t, host, "ok")
	return s
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

// killed starts an update and kills the controller when it has said a word. The host
// ends the task at which it is, and lets nobody in before.
func (s *site) killed(t *testing.T, host, word string) {
	t.Helper()
	cmd := s.command(t.Context(), t, "apply", "update-openclaw", "-l", host, "-p", "device=device_key")
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		_ = w.Close()
		close(done)
	}()
	seen := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if !seen && strings.Contains(lines.Text(), word) {
			seen = true
			_ = cmd.Process.Kill()
		}
	}
	<-done
	if !seen {
		t.Fatalf("the update never says %q", word)
	}
	s.write(t, "look.yml", "playbook: look\nversion: 1.0.0\ntasks:\n  - stat: {path: /etc/hostname}\n")
	for end := time.Now().Add(10 * time.Minute); ; time.Sleep(2 * time.Second) {
		out, status := s.try(t, "", "apply", "./look.yml", "-l", host)
		if status == 0 && strings.Contains(out, "was never confirmed and was taken back") {
			return
		}
		if status == 0 || time.Now().After(end) {
			t.Fatalf("nothing is taken back by the next run:\n%s", out)
		}
	}
}

// TestUpdate updates over a schema change: with a release that does not start, with a
// controller that dies half way, without room, and for good; and back by hand.
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

	// The controller dies when the new version runs; whoever comes next finds the old one.
	s.killed(t, host, "  start (service")
	s.is(t, host, "2026.9.4", "17")

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
