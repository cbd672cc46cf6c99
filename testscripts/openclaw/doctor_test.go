//go:build hosts

package openclaw_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestDoctor makes each snag on a real gateway. It must be named, and nothing else that
// fails; those that have one right answer are mended.
func TestDoctor(t *testing.T) {
	s := gateways(t, "gw1")
	do := func(script string) {
		t.Helper()
		if out, status := s.console(t, "gw1", "set -e\n"+bus+script); status != 0 {
			t.Fatal(out)
		}
	}
	// named runs the doctor; exactly these lines fail, and these are warnings.
	named := func(fails, warns string, argv ...string) map[string]string {
		t.Helper()
		out, status := s.try(t, "", append([]string{"verify", "doctor-openclaw", "-l", "gw1", "--output", "json"}, argv...)...)
		found, states := map[string]string{}, map[string]string{}
		for id, f := range findings(out) {
			found[id], states[id] = f.Found+" "+f.Reason, f.State
			if (f.State == "fail" || f.State == "warning") && f.Hint == "" {
				t.Errorf("%s says not what mends it", id)
			}
		}
		if len(states) < 20 {
			t.Fatalf("the doctor says only %q:\n%s", states, out)
		}
		want := map[string]string{}
		for _, id := range strings.Fields(fails) {
			want[id] = "fail"
		}
		for _, id := range strings.Fields(warns) {
			want[id] = "warning"
		}
		for id, state := range states {
			// What cannot be asked because of the snag is not known.
			if w := want[id]; w != state && (w != "" || state == "fail") {
				t.Errorf("%s is %s, want %q: %s", id, state, w, found[id])
			}
			delete(want, id)
		}
		if len(want) > 0 {
			t.Errorf("nothing is said of %q", want)
		}
		if bad := fails != ""; bad != (status == 5) {
			t.Errorf("the status is %d with %q", status, states)
		}
		return found
	}
	mend := func() {
		t.Helper()
		s.run(t, 0, "", "apply", "doctor-openclaw", "-l", "gw1", "-p", "fix=true")
	}
	// A gateway that is well; a look changes nothing.
	named("", "")
	if out := s.run(t, 0, "", "apply", "doctor-openclaw", "-l", "gw1"); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("a look changes something:\n%s", out)
	}
	if out := s.run(t, 0, "", "apply", "doctor-openclaw", "-l", "gw1", "-p", "fix=true"); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("something is mended where nothing is broken:\n%s", out)
	}

	named("origin pairing", "", "-p", "origin=https://other.example", "-p", "devices={stranger: stranger_key}")

	// What one finds on hosts that were set up by hand, all at once, and mended at once.
	do(`chmod 755 /home/openclaw/.openclaw
rm /var/lib/systemd/linger/openclaw
echo 'export OPENCLAW_GATEWAY_TOKEN=x' >>/home/openclaw/.bashrc
systemd-run -q --wait --unit=caddy sh -c 'echo "could not get certificate: rateLimited: too many failed authorizations"; echo "challenge failed"'`)
	found := named("token state-mode linger", "token-place log-close-1008 log-acme log-acme-limit", "-p", "gateway_token=other_token")
	for _, cause := range []string{"pairing-required", "origin-mismatch"} {
		if !strings.Contains(found["log-close-1008"], cause) {
			t.Errorf("of the closed connections is said %q", found["log-close-1008"])
		}
	}
	do(`/opt/node/current/bin/node -e 'const fs = require("fs"), file = "/home/openclaw/.openclaw/openclaw.json", c = JSON.parse(fs.readFileSync(file))
c.gateway.trustedProxies = []; fs.writeFileSync(file, JSON.stringify(c, null, 2) + "\n")'`)
	for i := 0; ; i++ { // the gateway takes it over within seconds
		out, _ := s.console(t, "gw1", "curl -s -o /dev/null -w '%{http_code}' -H 'X-Forwarded-For: 203.0.113.7' http://127.0.0.1:18789/readyz")
		if out == "403" {
			break
		}
		if i == 120 {
			t.Fatalf("an untrusted proxy is answered %s", out)
		}
		do("sleep 1")
	}
	named("trusted-proxies state-mode linger", "token-place log-close-1008 log-proxy log-acme log-acme-limit")
	if out := s.run(t, 0, "", "plan", "doctor-openclaw", "-l", "gw1", "-p", "fix=true"); !strings.Contains(out, "trustedProxies") && !strings.Contains(out, "the proxy is trusted") {
		t.Errorf("the plan says not what would be mended:\n%s", out)
	}
	mend()
	do("rm /home/openclaw/.bashrc")
	named("", "log-close-1008 log-proxy log-acme log-acme-limit")

	// A key that nobody knows: what runs goes on.
	do("cp -p /home/openclaw/.openclaw/openclaw.json /root/good.json; sed -i '0,/{/s//{\"nonsense\": 1,/' /home/openclaw/.openclaw/openclaw.json\n" +
		"for n in $(seq 120); do journalctl -q -o cat _SYSTEMD_USER_UNIT=openclaw-gateway.service | grep -q 'config reload skipped' && break; sleep 1; done")
	if found = named("config", "log-close-1008 log-proxy log-reload log-acme log-acme-limit"); !strings.Contains(found["config"], "nonsense") {
		t.Errorf("the settings are said to be %s", found["config"])
	}

	// Settings that a root shell left, and the end that follows with the next start.
	do(`cp -p /root/good.json /home/openclaw/.openclaw/openclaw.json; chown root: /home/openclaw/.openclaw/openclaw.json
bus restart openclaw-gateway || true
for n in $(seq 180); do case $(bus is-active openclaw-gateway) in failed) break ;; esac; sleep 1; done`)
	if found = named("config owner unit answers", "log-close-1008 log-proxy log-reload log-acme log-acme-limit"); !strings.Contains(found["unit"], "78") || !strings.Contains(found["config"], "root") {
		t.Errorf("the unit is said to be %s and the settings %s", found["unit"], found["config"])
	}
	mend()

	// Somebody else at its port, and no Node.
	do(`bus stop openclaw-gateway
systemd-run -q --unit=squatter /opt/node/current/bin/node -e 'require("net").createServer(c => c.destroy()).listen(18789, "127.0.0.1")'
for n in $(seq 60); do ss -Hltn 'sport = :18789' | grep -q . && break; sleep 1; done
mv /opt/node/current /opt/node/gone`)
	named("port node config unit answers", "log-close-1008 log-proxy log-reload log-acme log-acme-limit")
	s.noSecrets(t, "gw1", "gateway_token", "other_token", "stranger_key")
}

// finding is a line of a scorecard.
type finding struct{ ID, State, Found, Hint, Reason string }

// findings reads the lines that a verify printed as JSON, by their names.
func findings(out string) map[string]finding {
	all := map[string]finding{}
	for _, line := range strings.Split(out, "\n") {
		var e struct {
			Finished *struct{ Finding *finding } `json:"task_finished"`
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Finished != nil && e.Finished.Finding != nil {
			all[e.Finished.Finding.ID] = *e.Finished.Finding
		}
	}
	return all
}
