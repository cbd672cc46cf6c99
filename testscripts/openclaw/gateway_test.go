//go:build hosts

package openclaw_test

import (
	"strings"
	"testing"
)

const outcomes = `playbook: outcomes
version: 1.0.0
tasks:
  - openclaw_health: {token: '${secret("gateway_token")}'}
    register: right
  - assert: {that: ['${right.live && right.started && right.ready && right.version == "2026.9.6"}']}
  - openclaw_health: {token: '${secret("other_token")}', expect: [wrong token]}
  - openclaw_health: {expect: [not paired]}
  - openclaw_health: {token: '${secret("gateway_token")}', forwarded: 203.0.113.7, expect: [missing scope]}
  - openclaw_health: {token: '${secret("gateway_token")}', forwarded: 203.0.113.7, origin: "https://other.example", expect: [origin]}
  - openclaw_health: {token: '${secret("gateway_token")}', forwarded: 127.0.0.1, expect: [proxy]}
  - openclaw_health: {token: '${secret("gateway_token")}', device: '${secret("stranger_key")}', forwarded: 203.0.113.9, expect: [not paired]}
    register: stranger
  - assert: {that: ['${stranger.request_id != ""}']}
`

const device = `playbook: device
version: 1.0.0
params:
  state: {type: string, default: paired, doc: Whether it is paired.}
tasks:
  - openclaw_device:
      device: ${secret("device_key")}
      token: ${secret("gateway_token")}
      scopes: [operator.read, operator.write]
      state: ${params.state}
    timeout: 5m
`

const connects = `playbook: connects
version: 1.0.0
params:
  expect: {type: list(string), default: [ok], doc: What comes of it.}
tasks:
  - openclaw_health:
      token: ${secret("gateway_token")}
      device: ${secret("device_key")}
      scopes: [operator.read, operator.write]
      forwarded: 203.0.113.7
      expect: ${params.expect}
    retry: {times: 40, delay: 3s}
`

// before is what an account, a package or a folder would show in.
const before = "cut -d: -f1 /etc/passwd | sort; ls -A /opt /home /tmp /usr/local/bin | grep -v '^systemd-private'"

// TestGateway takes a bare host to a gateway that a paired device connects to, and back
// to what another bare host has.
func TestGateway(t *testing.T) {
	s := open(t)
	s.hosts(t, "gw2")
	was, _ := s.console(t, "gw2", before)
	s = gateways(t, "gw1")
	installed := s.lastRun(t, "openclaw", "gw1")
	s.run(t, 0, "", "plan", "openclaw", "--params", "params.yml", "-l", "gw1", "--diff", "-v")
	if out := s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", "gw1"); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	for name, text := range map[string]string{"outcomes.yml": outcomes, "device.yml": device, "connects.yml": connects} {
		s.write(t, name, text)
	}
	s.run(t, 0, "", "apply", "./outcomes.yml", "-l", "gw1", "-v")

	// Only the device's own request is approved; the stranger's goes on waiting.
	s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1")
	if out := s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1"); !strings.Contains(out, "0 tasks changed") {
		t.Errorf("a paired device is paired again:\n%s", out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1")
	s.run(t, 0, "", "apply", "./outcomes.yml", "-l", "gw1")
	s.restart(t, "gw1")
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1")
	s.noSecrets(t, "gw1", "gateway_token", "device_key", "anthropic_key")

	s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1", "-p", "state=absent")
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1", "-p", "expect=[not paired]")
	s.run(t, 0, "", "undo", installed, "-l", "gw1")
	if is, _ := s.console(t, "gw1", before); is != was {
		t.Errorf("taken back, the host has\n%s\nwant\n%s", is, was)
	}
}
