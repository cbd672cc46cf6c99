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
  - assert:
      that:
        - ${size(right.agents) == 2}
        - ${right.agents.exists(a, a.name == "main" && a.model == "anthropic/claude-sonnet-4-6" && a.fallbacks == ["anthropic/claude-opus-4-6"])}
        - ${right.agents.exists(a, a.name == "ops" && a.model == "anthropic/claude-opus-4-6")}
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
      origin: https://gw.example.com
      expect: ${params.expect}
    retry: {times: 40, delay: 3s}
`

const reboot = `playbook: reboot
version: 1.0.0
tasks:
  - reboot: {delay: 1}
    timeout: 10m
`

// before is what an account, a package or a folder would show in.
const before = "cut -d: -f1 /etc/passwd | sort; ls -A /opt /home /tmp /usr/local/bin | grep -v '^systemd-private'"

// TestGateway takes a bare host to a gateway that a paired device connects to, and back
// to what another bare host has.
func TestGateway(t *testing.T) {
	s := open(t)
	s.watch(t, "gateway_token", "device_key", "anthropic_key")
	s.hosts(t, "gw2")
	was, _ := s.console(t, "gw2", before)
	s.refusals(t)
	s.run(t, 0, "", "plan", "openclaw", "--params", "params.yml", "-l", "gw2", "--diff", "-v", "--output", "json")
	if is, _ := s.console(t, "gw2", before); is != was {
		t.Errorf("refused and planned, the host has\n%s\nwant\n%s", is, was)
	}

	s.gateways(t, "gw1")
	installed := s.lastRun(t, "openclaw", "gw1")
	s.run(t, 0, "", "plan", "openclaw", "--params", "params.yml", "-l", "gw1", "--diff", "-v")
	s.settles(t)
	s.names(t)
	for name, text := range map[string]string{"outcomes.yml": outcomes, "device.yml": device, "connects.yml": connects, "reboot.yml": reboot} {
		s.write(t, name, text)
	}
	s.run(t, 0, "", "apply", "./outcomes.yml", "-l", "gw1", "-v")

	// Only the device's own request is approved; the stranger's goes on waiting.
	s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1")
	if out := s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1"); !strings.Contains(out, "0 tasks changed") {
		t.Errorf("a paired device is paired again:\n%s", out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1")
	s.restart(t, "gw1")
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1")
	s.run(t, 0, "", "apply", "./outcomes.yml", "-l", "gw1")
	s.run(t, 0, "", "apply", "./reboot.yml", "-l", "gw1")
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1", "--output", "json")
	if out, _ := s.console(t, "gw1", "loginctl show-user openclaw -p Linger -p State"); !strings.Contains(out, "Linger=yes") {
		t.Errorf("after a boot the account's units run by chance: %s", out)
	}
	const others = "cd /home/openclaw/.openclaw && test -s logs/gateway.log && find . -perm /077 ! -type l"
	if out, status := s.console(t, "gw1", others); status != 0 || out != "" {
		t.Errorf("others can read of the gateway's folder, or it has no log: status %d, %s", status, out)
	}
	s.doors(t)
	s.run(t, 0, "", "runs", "show", installed, "--diff", "-v")
	s.run(t, 0, "", "runs", "show", installed, "--output", "json")
	s.noSecrets(t, "gw1", "gateway_token", "device_key", "anthropic_key")

	s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1", "-p", "state=absent")
	s.run(t, 0, "", "apply", "./connects.yml", "-l", "gw1", "-p", "expect=[not paired]")
	s.run(t, 0, "", "undo", installed, "-l", "gw1")
	if is, _ := s.console(t, "gw1", before); is != was {
		t.Errorf("taken back, the host has\n%s\nwant\n%s", is, was)
	}
}

// refusals asks for settings that OpenClaw would refuse: the controller knows before a
// host has anything of it.
func (s *site) refusals(t *testing.T) {
	t.Helper()
	const wrong = `{"gateway": {"trustedProxys": [], "tailscale": {"resetOnExit": true}, "auth": {"allowTailscale": "yes"}}, "commands": {"ownerDisplay": "raw"}, "agents": {"entries": {"main": {"model": 5}}}}`
	out := s.run(t, 5, "", "plan", "openclaw", "--params", "params.yml", "-l", "gw2", "-p", "settings='"+wrong+"'")
	for _, want := range []string{`gateway.trustedProxys: unknown key (did you mean "trustedProxies"?)`, "gateway.tailscale.resetOnExit: unknown key",
		"gateway.auth.allowTailscale: ", "commands.ownerDisplay: unknown key", "agents.entries.main.model: "} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %q", out, want)
		}
	}
	out = s.run(t, 5, "", "apply", "openclaw", "--params", "params.yml", "-l", "gw2", "-p", `settings='{"wizard": {}}'`)
	if !strings.Contains(out, "wizard: is not for a playbook") {
		t.Error(out)
	}
	for param, want := range map[string]string{"memory_mb=9000000": "9000000 MB are wanted (memory_mb)", "disk_mb=900000000": "900000000 MB are wanted (disk_mb)"} {
		if out = s.run(t, 5, "", "apply", "openclaw", "--params", "params.yml", "-l", "gw2", "-p", param); !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %q", out, want)
		}
	}
}

const named = `playbook: named
version: 1.0.0
tasks:
  - openclaw_health: {token: '${secret("gateway_token")}'}
    register: gateway
  - assert:
      that:
        - ${gateway.agents.exists(a, a.name == "main" && a.model == "anthropic/claude-sonnet-5" && a.fallbacks == ["anthropic/claude-opus-4-6"])}
        - ${gateway.agents.exists(a, a.name == "ops" && a.model == "anthropic/claude-opus-4-6")}
        - ${gateway.agents.all(a, size(a.unknown) == 0)}
      message: the gateway says ${gateway.agents.map(a, a.name + " has " + a.model).join(", ")}
`

// names uses all kinds of names that models may have, and one that is not there.
func (s *site) names(t *testing.T) {
	t.Helper()
	const aliases = `{"agents": {"defaults": {"models": {"anthropic/claude-opus-4-6": {"alias": "big"}}}, "entries": {"ops": {"model": {"primary": "big"}}}}}`
	s.write(t, "named.yml", named)
	s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", "gw1", "-p", "model=anthropic/sonnet", "-p", "settings='"+aliases+"'")
	s.run(t, 0, "", "apply", "./named.yml", "-l", "gw1")
	there := s.lastRun(t, "openclaw", "gw1")
	out := s.run(t, 5, "", "apply", "openclaw", "--params", "params.yml", "-l", "gw1", "-p", "model=anthropic/claude-of-nobody")
	if !strings.Contains(out, "the gateway has no entry for anthropic/claude-of-nobody") {
		t.Errorf("a model that is not there is not told:\n%s", out)
	}
	for _, run := range []string{s.lastRun(t, "openclaw", "gw1"), there} {
		s.run(t, 0, "", "undo", run, "-l", "gw1")
	}
	s.restart(t, "gw1")
	s.run(t, 0, "", "apply", "./ready.yml", "-l", "gw1")
}

// doors switches on behind the playbook's back what goes past the pairing. Verify tells,
// and the gateway's way for administrators stays shut.
func (s *site) doors(t *testing.T) {
	t.Helper()
	const settings = "/home/openclaw/.openclaw/openclaw.json"
	s.must(t, "gw1", "cp -p "+settings+` /root/settings && /opt/node/current/bin/node -e '
const fs = require("node:fs"), s = JSON.parse(fs.readFileSync("`+settings+`"));
s.gateway.controlUi.dangerouslyDisableDeviceAuth = true;
fs.writeFileSync("`+settings+`", JSON.stringify(s, null, 2));'`)
	if out := s.run(t, 5, "", "verify", "openclaw", "--params", "params.yml", "-l", "gw1"); !strings.Contains(out, "dangerouslyDisableDeviceAuth") {
		t.Errorf("verify does not tell what goes past the pairing:\n%s", out)
	}
	// It would start again by itself, at a time of its own.
	s.must(t, "gw1", "cp -p /root/settings "+settings)
	s.restart(t, "gw1")
	s.run(t, 0, "", "apply", "./ready.yml", "-l", "gw1")
}

// settles applies the playbook again: nothing changes, and what the file of settings has
// that the playbook does not ask for stays.
func (s *site) settles(t *testing.T) {
	t.Helper()
	out := s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", "gw1", "-p", "settings='{}'")
	if !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	if out, _ := s.console(t, "gw1", "tr -d ' ' </home/openclaw/.openclaw/openclaw.json"); !strings.Contains(out, `"level":"info"`) || !strings.Contains(out, `"allowTailscale":false`) || strings.Contains(out, `"meta"`) {
		t.Errorf("the settings lost or got something: %s", out)
	}
}
