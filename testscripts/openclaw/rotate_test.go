//go:build hosts

package openclaw_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// knows says what the gateway answers to whoever has a token, and to a device with it.
const knows = `playbook: knows
version: 1.0.0
params:
  token: {type: secret, required: true, doc: Who asks.}
  expect: {type: list(string), default: [ok], doc: What comes of it.}
tasks:
  - openclaw_health: {token: '${params.token}', expect: '${params.expect}'}
    retry: {times: 40, delay: 3s}
  - openclaw_health:
      token: ${params.token}
      device: ${secret("device_key")}
      scopes: [operator.read, operator.write]
      forwarded: 203.0.113.7
      expect: ${params.expect}
    retry: {times: 40, delay: 3s}
`

// knows fails the test unless the gateway accepts one token, the device with it, and
// refuses the other.
func (s *site) knows(t *testing.T, host, accepted, refused string) {
	t.Helper()
	s.write(t, "knows.yml", knows)
	s.run(t, 0, "", "apply", "./knows.yml", "-l", host, "-p", "token="+accepted)
	s.run(t, 0, "", "apply", "./knows.yml", "-l", host, "-p", "token="+refused, "-p", "expect=[wrong token]")
}

// unit is the process of the gateway, which a restart changes.
func (s *site) unit(t *testing.T, host string) string {
	t.Helper()
	out, status := s.console(t, host, bus+"bus show -p MainPID openclaw-gateway")
	if status != 0 || !strings.HasPrefix(out, "MainPID=") {
		t.Fatal(out)
	}
	return out
}

// rotation is the command that rotates from one token to another.
func rotation(host, from, to string, more ...string) []string {
	return append([]string{"apply", "rotate-gateway-token", "-l", host, "-p", "gateway_token=" + to, "-p", "old_token=[" + from + "]", "-p", "devices={platform: device_key}"}, more...)
}

// TestRotateGatewayToken rotates because of age, takes it back, and rotates after a leak.
func TestRotateGatewayToken(t *testing.T) {
	const host, old, new = "gw1", "gateway_token", "other_token"
	s := gateways(t, host)
	s.watch(t, old, new, "device_key", "stranger_key")
	s.write(t, "device.yml", device)
	s.run(t, 0, "", "apply", "./device.yml", "-l", host)

	plan := s.run(t, 0, "", append([]string{"plan"}, rotation(host, old, new)[1:]...)...)
	if !strings.Contains(plan, "would change  put into place") {
		t.Errorf("the plan does not say what would change:\n%s", plan)
	}
	s.knows(t, host, old, new)
	before := s.unit(t, host)
	out := s.run(t, 0, "", rotation(host, old, new)...)
	if !strings.Contains(out, `found "the new one: ok, the old one: wrong token"`) {
		t.Errorf("the report does not say which token counts:\n%s", out)
	}
	s.knows(t, host, new, old)
	if after := s.unit(t, host); after != before {
		t.Errorf("the gateway was restarted: %s, then %s", before, after)
	}
	if out := s.run(t, 0, "", rotation(host, old, new)...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second run changes something:\n%s", out)
	}
	s.run(t, 0, "", "verify", "rotate-gateway-token", "-l", host, "-p", "gateway_token="+new)

	s.run(t, 0, "", "undo", s.lastRun(t, "rotate-gateway-token", host), "-l", host)
	s.knows(t, host, old, new)
	if restarted := s.unit(t, host); restarted == before {
		t.Error("the undo did not restart the gateway, and no secret was there to ask it otherwise")
	}
	s.leaks(t, host, old, new)
	s.noSecrets(t, host, old, new, "device_key", "stranger_key")
	s.cannotBePlaced(t, host, new, old)
}

// leaks rotates after a leak, on a host with a stranger and a note of the old token.
func (s *site) leaks(t *testing.T, host, old, new string) {
	t.Helper()
	s.write(t, "stranger.yml", strings.ReplaceAll(device, "device_key", "stranger_key"))
	s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
	s.write(t, "note.yml", `playbook: note
version: 1.0.0
params:
  state: {type: string, default: present, doc: Whether it is there.}
tasks:
  - file: {path: /root/old-notes, secret: '${secret("gateway_token")}', mode: "0600"}
    when: params.state == "present"
  - file: {path: /root/old-notes, state: absent}
    when: params.state == "absent"
`)
	s.run(t, 0, "", "apply", "./note.yml", "-l", host)
	tokens := s.deviceTokens(t, host)
	out := s.run(t, 0, "", rotation(host, old, new, "-p", "reason=leak")...)
	for _, want := range []string{"warning    nobody else is paired", "gateway-client from 203.0.113.7", "warning    nobody else has the old token", `found "/root/old-notes"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	s.knows(t, host, new, old)
	rotated := s.deviceTokens(t, host)
	if len(tokens) != 2 || len(rotated) != 2 {
		t.Fatalf("got tokens of %d devices, then of %d, want 2", len(tokens), len(rotated))
	}
	for id, at := range rotated {
		if at <= tokens[id] {
			t.Errorf("the token of the device %s is the old one", id)
		}
	}
	if out := s.run(t, 0, "", rotation(host, old, new, "-p", "reason=leak")...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second run changes something:\n%s", out)
	}
	s.run(t, 0, "", "apply", "./note.yml", "-l", host, "-p", "state=absent")
}

// deviceTokens says when the token of each device was made, as OpenClaw's own program tells.
func (s *site) deviceTokens(t *testing.T, host string) map[string]int64 {
	t.Helper()
	out, status := s.console(t, host, "runuser -u openclaw -- env HOME=/home/openclaw openclaw devices list --json")
	var lists struct {
		Paired []struct {
			DeviceID string
			Tokens   []struct{ CreatedAtMs, RotatedAtMs int64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &lists); status != 0 || err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made := map[string]int64{}
	for _, d := range lists.Paired {
		for _, token := range d.Tokens {
			made[d.DeviceID] = max(token.CreatedAtMs, token.RotatedAtMs)
		}
	}
	return made
}

// cannotBePlaced rotates where one of the places cannot be written: all of it is taken back.
func (s *site) cannotBePlaced(t *testing.T, host, old, new string) {
	t.Helper()
	out := s.run(t, 7, "", rotation(host, old, new, "-p", "places=[{path: /nowhere/token}]")...)
	if !strings.Contains(out, `found "the new one: wrong token, the old one: ok"`) {
		t.Errorf("the report does not say which token counts:\n%s", out)
	}
	s.knows(t, host, old, new)
}
