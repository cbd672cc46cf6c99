//go:build hosts

package openclaw_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/sandbox"
)

// siteDir is the sandbox of these tests alone.
const siteDir = "/var/lib/holdfast-sandbox-gateway"

// site is a project with a store of secrets, and one host.
type site struct {
	*sandbox.Sandbox
	binary, dir, inventory string
	shown                  bytes.Buffer // all that was printed
}

const host = "gw1"

// open builds the program and boots the host. It fails where there can be none.
func open(t *testing.T) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("throwaway hosts take root")
	}
	s := &site{dir: t.TempDir()}
	s.binary = filepath.Join(s.dir, "holdfast")
	for _, step := range [][]string{{"../../runner/helperbin", "go", "generate", "."}, {"../..", "go", "build", "-o", s.binary, "./cmd/holdfast"}} {
		cmd := exec.Command(step[1], step[2:]...)
		cmd.Dir, cmd.Env = step[0], append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", step, err, out)
		}
	}
	ctx := context.Background()
	var err error
	if s.Sandbox, err = sandbox.Open(sandbox.Options{Dir: siteDir, Progress: func(msg string) { t.Log(msg) }}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Install(ctx), s.Down(ctx)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Up(ctx, sandbox.UpOptions{Names: []string{host}}); err != nil {
		t.Fatal(err)
	}
	if s.inventory, err = s.Inventory(); err != nil {
		t.Fatal(err)
	}
	return s
}

// run calls the program, which must end with the status, and returns what it printed.
func (s *site) run(t *testing.T, code int, stdin string, argv ...string) string {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, argv...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.dir, strings.NewReader(stdin), &out, &out
	cmd.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOLDFAST_INVENTORY=" + s.inventory}
	start := time.Now()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("%s: %d in %.0f s", strings.Join(argv, " "), cmd.ProcessState.ExitCode(), time.Since(start).Seconds())
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("got status %d, want %d, of holdfast %s\n%s", got, code, strings.Join(argv, " "), out.String())
	}
	if argv[0] != "secret" {
		s.shown.Write(out.Bytes())
	}
	return out.String()
}

// console runs a script in the host, not over SSH.
func (s *site) console(t *testing.T, script string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status, err := s.Exec(t.Context(), host, nil, &out, &out, "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), status
}

func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const params = `provider_keys: {anthropic: anthropic_key}
agents: {main: "", ops: anthropic/claude-opus-4-6}
origins: [https://gw.example.com]
`

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

// TestGateway takes a bare host to a gateway that a paired device connects to, and back.
func TestGateway(t *testing.T) {
	s := open(t)
	s.run(t, 0, "", "secret", "init")
	for _, name := range []string{"gateway_token", "other_token"} {
		s.run(t, 0, "", "secret", "generate", name)
	}
	for _, name := range []string{"device_key", "stranger_key"} {
		s.run(t, 0, "", "secret", "generate", name, "--kind", "hex")
	}
	const canary = "sk-ant-canary-90d1c2e7"
	s.run(t, 0, canary, "secret", "set", "anthropic_key")
	for name, text := range map[string]string{"params.yml": params, "outcomes.yml": outcomes, "device.yml": device, "connects.yml": connects} {
		s.write(t, name, text)
	}

	before, _ := s.console(t, "cut -d: -f1 /etc/passwd | sort; ls -A /opt /home /tmp /usr/local/bin | grep -v '^systemd-private'")
	s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", host, "--diff", "-v")
	if out := s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", host); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	s.run(t, 0, "", "apply", "./outcomes.yml", "-l", host, "-v")

	// Only the device's own request is approved; the stranger's goes on waiting.
	s.run(t, 0, "", "apply", "./device.yml", "-l", host)
	if out := s.run(t, 0, "", "apply", "./device.yml", "-l", host); !strings.Contains(out, "0 tasks changed") {
		t.Errorf("a paired device is paired again:\n%s", out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
	s.run(t, 0, "", "apply", "./outcomes.yml", "-l", host)
	const restart = "u=$(id -u openclaw); runuser -u openclaw -- env XDG_RUNTIME_DIR=/run/user/$u systemctl --user restart openclaw-gateway"
	if out, status := s.console(t, restart); status != 0 {
		t.Fatal(out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
	s.noSecrets(t, canary)

	s.run(t, 0, "", "apply", "./device.yml", "-l", host, "-p", "state=absent")
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host, "-p", "expect=[not paired]")
	run := ""
	for _, line := range strings.Split(s.shown.String(), "\n") {
		if fields := strings.Fields(line); run == "" && len(fields) > 3 && fields[0] == "run" && fields[3] == "openclaw" {
			run = fields[1]
		}
	}
	s.run(t, 0, "", "undo", run, "-l", host)
	after, _ := s.console(t, "cut -d: -f1 /etc/passwd | sort; ls -A /opt /home /tmp /usr/local/bin | grep -v '^systemd-private'")
	if before != after {
		t.Errorf("taken back, the host has\n%s\nwant\n%s", after, before)
	}
}

// noSecrets looks for the secrets wherever somebody could see them.
func (s *site) noSecrets(t *testing.T, canary string) {
	t.Helper()
	token := strings.TrimSpace(s.run(t, 0, "", "secret", "get", "gateway_token"))
	key := strings.TrimSpace(s.run(t, 0, "", "secret", "get", "device_key"))
	if len(token) < 24 || len(key) != 64 {
		t.Fatal("the secrets are not what the test takes them for")
	}
	for name, secret := range map[string]string{"token": token, "device key": key, "provider key": canary} {
		if strings.Contains(s.shown.String(), secret) {
			t.Errorf("the %s is shown", name)
		}
		if out, err := exec.Command("grep", "-rlF", "--exclude-dir=secrets", "-e", secret, s.dir).Output(); err == nil {
			t.Errorf("the %s is in %s", name, out)
		}
		// The secret goes in on standard input, so that this look leaves none of its own.
		script := `mkdir -p /run/look; cat >/run/look/secret
for p in /proc/[0-9]*/cmdline; do tr '\0' ' ' <$p; echo; done >/run/look/argv 2>/dev/null
journalctl --no-pager -o cat >/run/look/journal
grep -lF -f /run/look/secret /run/look/argv /run/look/journal
grep -rlF --exclude-dir=secrets -f /run/look/secret /home/openclaw /var/lib/holdfast /var/log /tmp /etc /root
rm -rf /run/look`
		var out bytes.Buffer
		if _, err := s.Exec(t.Context(), host, strings.NewReader(secret+"\n"), &out, &out, "sh", "-c", script); err != nil {
			t.Fatal(err)
		}
		if out.Len() > 0 {
			t.Errorf("the %s is in %s", name, out.String())
		}
	}
}
