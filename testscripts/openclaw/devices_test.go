//go:build hosts

package openclaw_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// repair is the command that repairs, with a receiver of alerts on the host itself: the
// controller of the tests is no server.
func repair(host string, more ...string) []string {
	return append([]string{"apply", "repair-devices", "-l", host, "-p", "devices={platform: device_key}", "-p", "webhook=[alert_url]"}, more...)
}

// alerts takes alerts as a webhook does, on this machine.
type alerts struct{ got chan string }

func (a *alerts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	_, _ = bufio.NewReader(r.Body).WriteTo(&b) // half a message fails the test as well
	a.got <- b.String()
	w.WriteHeader(http.StatusNoContent)
}

// told is what was told since it was asked last.
func (a *alerts) told() (out []string) {
	for {
		select {
		case text := <-a.got:
			out = append(out, text)
		default:
			return out
		}
	}
}

// TestRepairDevices takes a device away, in ways that happen, and has it repaired, with a
// stranger who waits beside it.
func TestRepairDevices(t *testing.T) {
	const host = "gw1"
	s := gateways(t, host)
	s.watch(t, "gateway_token", "device_key", "stranger_key")
	a := &alerts{got: make(chan string, 100)}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	s.run(t, 0, server.URL+"/alert", "secret", "set", "alert_url")
	for name, text := range map[string]string{"device.yml": device, "connects.yml": connects, "stranger.yml": stranger, "revoke.yml": revoke} {
		s.write(t, name, text)
	}

	out := s.run(t, 0, "", repair(host)...)
	if told := a.told(); len(told) != 1 || !strings.Contains(told[0], "platform: not paired") || !strings.Contains(told[0], "nobody") {
		t.Errorf("a device that was not paired is told as %q\n%s", told, out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
	if out := s.run(t, 0, "", repair(host)...); !strings.Contains(out, " 0 tasks changed") || len(a.told()) > 0 {
		t.Errorf("all is well, and something is done or told:\n%s", out)
	}

	// Somebody with the token and a key of their own waits, with every scope that there is.
	s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
	for _, take := range [][]string{{"./device.yml", "-p", "state=absent"}, {"./revoke.yml"}} {
		s.run(t, 0, "", append([]string{"apply", "-l", host}, take...)...)
		s.run(t, 0, "", "apply", "./connects.yml", "-l", host, "-p", "expect=[not paired]")
		if out := s.run(t, 5, "", repair(host, "-p", "repair=false")...); !strings.Contains(out, "every device gets in") {
			t.Errorf("looking alone does not end with what is wrong:\n%s", out)
		}
		s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
		a.told()
		out := s.run(t, 0, "", repair(host)...)
		told := strings.Join(a.told(), "\n")
		for _, want := range []string{"platform: not paired", "gateway-client from 203.0.113.9 since ", "operator.admin", "not approved"} {
			if !strings.Contains(told, want) {
				t.Errorf("%q lacks %q\n%s", told, want, out)
			}
		}
		s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
	}
	s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
	if n := len(s.deviceTokens(t, host)); n != 1 {
		t.Errorf("%d devices are paired, want 1", n)
	}
	s.restart(t, host)
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)

	// A gateway that cannot be asked is told too, and ends the run as failed.
	out = s.run(t, 5, "", repair(host, "-p", "gateway_token=other_token")...)
	if told := strings.Join(a.told(), "\n"); !strings.Contains(told, "cannot be looked at") || !strings.Contains(told, "critical") {
		t.Errorf("told %q\n%s", told, out)
	}
	s.noSecrets(t, host, "gateway_token", "device_key", "stranger_key", "alert_url")
}

// stranger leaves a request, or finds that it may not come in.
const stranger = `playbook: stranger
version: 1.0.0
tasks:
  - openclaw_health:
      token: ${secret("gateway_token")}
      device: ${secret("stranger_key")}
      scopes: [operator.read, operator.write, operator.admin]
      forwarded: 203.0.113.9
      expect: [not paired]
`

const revoke = `playbook: revoke
version: 1.0.0
tasks:
  - openclaw_device: {device: '${secret("device_key")}', token: '${secret("gateway_token")}', state: revoked}
`
