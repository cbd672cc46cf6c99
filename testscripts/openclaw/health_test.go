//go:build hosts

package openclaw_test

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const healthParams = `disk: {}
memory: {}
load: {}
provider_keys: {anthropic: anthropic_key}
backup_dirs: [/var/backups/healthy]
certificates: [/etc/healthy/*.crt]
`

// TestHealth looks at a gateway that is fine, and then at one with a fault of each kind.
func TestHealth(t *testing.T) {
	s := gateways(t, "gw1")
	// A provider that knows the key of the store and refuses it later.
	key, status := strings.TrimSpace(s.run(t, 0, "", "secret", "get", "anthropic_key")), http.StatusOK
	route, _ := s.console(t, "gw1", "ip -4 route show default | awk '{print $3}'")
	ln, err := net.Listen("tcp", strings.TrimSpace(route)+":0")
	if err != nil {
		t.Fatal(err)
	}
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != key || r.Header.Get("Anthropic-Version") == "" {
			t.Error("the provider is not asked with the key")
		}
		w.WriteHeader(status)
	}))
	provider.Listener = ln
	provider.Start()
	t.Cleanup(provider.Close)
	urls := "provider_urls: {anthropic: \"" + provider.URL + "\"}\n"
	s.write(t, "health.yml", healthParams+urls)
	do := func(script string) {
		t.Helper()
		if out, status := s.console(t, "gw1", "set -e\n"+script); status != 0 {
			t.Fatal(out)
		}
	}
	do("systemctl reset-failed; mkdir -p /var/backups/healthy /etc/healthy; echo x >/var/backups/healthy/one; echo " +
		base64.StdEncoding.EncodeToString([]byte(certificate(t, 10, 80))) + " | base64 -d >/etc/healthy/a.crt")
	before, _ := s.console(t, "gw1", "find /etc /home/openclaw/.openclaw/openclaw.json /var/backups -newer /var/backups/healthy/one -type f | sort")
	s.run(t, 0, "", "verify", "health", "--params", "health.yml", "-l", "gw1", "-p", "lint=true")
	if after, _ := s.console(t, "gw1", "find /etc /home/openclaw/.openclaw/openclaw.json /var/backups -newer /var/backups/healthy/one -type f | sort"); before != after {
		t.Errorf("a look changes\n%s\nwant\n%s", after, before)
	}

	// What belongs to no agent has an owner: a gateway with two agents says it where it has none.
	do("journalctl -q -o cat _SYSTEMD_USER_UNIT=openclaw-gateway.service >/run/said; grep -q 'heartbeat' /run/said; ! grep -E 'no (ambient heartbeat|resolvable) owner' /run/said")

	status = http.StatusUnauthorized
	// A key that OpenClaw does not know: the gateway goes on, and would not start again.
	const settings = "/home/openclaw/.openclaw/openclaw.json"
	do("cp -p " + settings + " /root/settings; sed -i '0,/{/s//{\"bogus\": 1,/' " + settings)
	do("touch -d '60 hours ago' /var/backups/healthy/one; echo " + base64.StdEncoding.EncodeToString([]byte(certificate(t, 80, 2))) +
		" | base64 -d >/etc/healthy/b.crt; systemd-run -q --unit=broken false || true; for n in 1 2 3 4 5 6 7 8 9 10; do systemctl is-failed -q broken && break; sleep 1; done")
	s.write(t, "sick.yml", "disk: {fail: 1}\nmemory: {fail: 1}\nload: {}\nservices: [nothere.service]\n"+healthParams[strings.Index(healthParams, "provider_keys"):]+urls+
		"gateway_token: other_token\nlint: true\n")
	out := s.run(t, 5, "", "verify", "health", "--params", "sick.yml", "-l", "gw1")
	for _, want := range []string{"There is room on every file system", "There is memory left", "No unit failed, and those that must be active are", "inactive nothere.service",
		"failed broken.service", "The newest backup is young enough", "60 hours old", "No certificate ends soon", "/etc/healthy/b.crt", "wrong token", "The providers accept the keys", "anthropic 401",
		"Its own doctor finds nothing", "error core/doctor/final-config-validation"} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing is said of %q:\n%s", want, out)
		}
	}
	do("cp -p /root/settings " + settings)
	do(bus + "bus stop openclaw-gateway")
	out = s.run(t, 5, "", "verify", "health", "--params", "health.yml", "-l", "gw1")
	for _, want := range []string{"The gateway is ready and does what it is asked", "unreachable", "unit inactive"} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing is said of %q:\n%s", want, out)
		}
	}
	s.noSecrets(t, "gw1", "gateway_token", "other_token", "anthropic_key")
}
