//go:build hosts

package openclaw_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/sandbox"
	"holdfast/runner/sandbox/sandboxtest"
	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/secret"
)

// siteDir is the sandbox of these tests alone. With HOLDFAST_TEST_KEEP=1 its hosts, their
// snapshots and the project stay for the next run, which then starts in seconds.
var (
	siteDir = cmp.Or(os.Getenv("HOLDFAST_TEST_SANDBOX"), "/var/lib/holdfast-sandbox-gateway")
	keep    = os.Getenv("HOLDFAST_TEST_KEEP") != ""
)

// project is the program, the folder with the store of secrets, and the hosts that all
// tests share. They run one after another.
var project struct {
	*sandbox.Sandbox
	dir, binary string
}

// ready is the snapshot of a host on which the playbook openclaw was applied.
const ready = "ready"

func TestMain(m *testing.M) {
	code, err := prepared(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot test on hosts:", err)
		code = 1
	}
	os.Exit(code)
}

// prepared builds the program, opens the sandbox, calls run and takes all away again.
func prepared(run func() int) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("throwaway hosts take root")
	}
	ctx := context.Background()
	say := func(msg string) { fmt.Fprintln(os.Stderr, msg) }
	if project.Sandbox, err = sandbox.Open(sandbox.Options{Dir: siteDir, Progress: say}); err != nil {
		return 1, err
	}
	project.dir = siteDir + "-project"
	clean := func() error { return errors.Join(project.Down(ctx), os.RemoveAll(project.dir)) }
	if err := project.Install(ctx); err != nil {
		return 1, err
	}
	if !keep {
		if err := clean(); err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, clean()) }()
	}
	project.binary = filepath.Join(project.dir, "holdfast")
	if err := errors.Join(os.MkdirAll(project.dir, 0o700), sandboxtest.Build("../..", project.binary)); err != nil {
		return 1, err
	}
	return run(), nil
}

// site is the project as one test uses it.
type site struct {
	shown bytes.Buffer // all that was printed but for secrets
	env   []string     // what the program finds besides
}

// params are those of the playbook openclaw on every host.
const params = `provider_keys: {anthropic: anthropic_key}
agents: {main: "", ops: anthropic/claude-opus-4-6}
origins: [https://gw.example.com]
settings: '{"logging": {"level": "info"}}'
`

// open returns the project. Its store has a token and another, the keys of two devices
// and of a provider.
func open(t *testing.T) *site {
	t.Helper()
	s := &site{}
	if _, err := os.Stat(filepath.Join(project.dir, "params.yml")); err == nil {
		return s
	}
	s.run(t, 0, "", "secret", "init")
	for _, name := range []string{"gateway_token", "other_token"} {
		s.run(t, 0, "", "secret", "generate", name)
	}
	for _, name := range []string{"device_key", "stranger_key"} {
		s.run(t, 0, "", "secret", "generate", name, "--kind", "hex")
	}
	s.run(t, 0, "sk-ant-canary-90d1c2e7", "secret", "set", "anthropic_key")
	s.write(t, "params.yml", params)
	return s
}

// hosts boots those of the named hosts that do not run, as they are.
func (s *site) hosts(t *testing.T, names ...string) {
	t.Helper()
	if _, err := project.Up(t.Context(), sandbox.UpOptions{Names: names}); err != nil {
		t.Fatal(err)
	}
}

// gateways gives hosts with a healthy gateway, as the playbook openclaw leaves them. The
// first test that asks for a host pays for it; for others it is taken back to that state.
func gateways(t *testing.T, names ...string) *site {
	t.Helper()
	s := open(t)
	s.gateways(t, names...)
	return s
}

func (s *site) gateways(t *testing.T, names ...string) {
	t.Helper()
	s.hosts(t, names...)
	missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := os.Stat(filepath.Join(siteDir, "hosts", name, "layers", ready+".json"))
		return err == nil
	})
	if len(missing) > 0 {
		s.run(t, 0, "", "apply", "openclaw", "--params", "params.yml", "-l", strings.Join(missing, ","))
	}
	for _, name := range names {
		var err error
		if slices.Contains(missing, name) {
			err = project.Snapshot(t.Context(), name, ready)
		} else {
			err = project.Restore(t.Context(), name, ready)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.write(t, "ready.yml", `playbook: ready
version: 1.0.0
tasks:
  - wait: {http: "http://127.0.0.1:18789/readyz"}
    timeout: 10m
`)
	s.run(t, 0, "", "apply", "./ready.yml", "-l", strings.Join(names, ","))
}

// run calls the program in the project's folder. It must end with the status; what it
// printed is returned.
func (s *site) run(t *testing.T, status int, stdin string, argv ...string) string {
	t.Helper()
	out, got := s.try(t, stdin, argv...)
	if got != status {
		t.Fatalf("got status %d, want %d, of holdfast %s\n%s", got, status, strings.Join(argv, " "), out)
	}
	return out
}

// try is run for whoever expects more than one status.
func (s *site) try(t *testing.T, stdin string, argv ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	cmd := s.command(ctx, t, argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	start := time.Now()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("%s: %d in %.0f s", strings.Join(argv, " "), cmd.ProcessState.ExitCode(), time.Since(start).Seconds())
	if argv[0] != "secret" {
		s.shown.Write(out.Bytes())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// command is the program in the project's folder, not started.
func (s *site) command(ctx context.Context, t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	inventory, err := project.Inventory()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, project.binary, argv...)
	cmd.Dir = project.dir
	cmd.Env = []string{"HOME=" + project.dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOLDFAST_INVENTORY=" + inventory}
	cmd.Env = append(cmd.Env, s.env...)
	return cmd
}

// lastRun is the newest run of a playbook that changed a host, as the host remembers it:
// the history here also knows what a restore has undone.
func (s *site) lastRun(t *testing.T, playbook, host string) string {
	t.Helper()
	var answer struct {
		Runs []struct {
			ID, Playbook string
			UndoOf       string `json:"undo_of"`
		}
	}
	out := s.run(t, 0, "", "runs", "list", "--hosts", "-l", host, "--output", "json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	for _, run := range answer.Runs {
		if run.Playbook == playbook && run.UndoOf == "" {
			return run.ID
		}
	}
	t.Fatalf("%s remembers no run of %s:\n%s", host, playbook, out)
	return ""
}

// console runs a script in a host, not over SSH.
func (s *site) console(t *testing.T, host, script string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status, err := project.Exec(t.Context(), host, nil, &out, &out, "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), status
}

// bus talks to the service manager of the gateway's account, in a script on a host.
const bus = `bus() { runuser -u openclaw -- env XDG_RUNTIME_DIR=/run/user/$(id -u openclaw) systemctl --user "$@"; }
`

// restart restarts the gateway of a host, behind the program's back.
func (s *site) restart(t *testing.T, host string) {
	t.Helper()
	if out, status := s.console(t, host, bus+"bus restart openclaw-gateway"); status != 0 {
		t.Fatal(out)
	}
}

// write puts a file into the project's folder.
func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(project.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// noSecrets looks for secrets of the store wherever somebody could see them: in what was
// printed, in the project, its history included, and on a host.
func (s *site) noSecrets(t *testing.T, host string, names ...string) {
	t.Helper()
	for _, name := range names {
		secret := s.secret(t, name)
		if strings.Contains(s.shown.String(), secret) {
			t.Errorf("%s is shown", name)
		}
		// The secret goes in on standard input, so that this look leaves none of its own.
		look := exec.Command("grep", "-arlF", "--exclude-dir=secrets", "-f", "-", project.dir)
		look.Stdin = strings.NewReader(secret + "\n")
		if out, err := look.Output(); err == nil {
			t.Errorf("%s is in %s", name, out)
		}
		script := `mkdir -p /run/look; cat >/run/look/secret
for p in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do tr '\0' ' ' <$p; echo; done >/run/look/argv 2>/dev/null
journalctl --no-pager -o export >/run/look/journal
grep -alF -f /run/look/secret /run/look/secret /run/look/argv /run/look/journal
grep -arlF -D skip --exclude-dir=secrets --exclude-dir=look -f /run/look/secret /home /var/lib/holdfast /var/lib/systemd /var/log /tmp /etc /root /run
rm -rf /run/look`
		var out bytes.Buffer
		if _, err := project.Exec(t.Context(), host, strings.NewReader(secret+"\n"), &out, &out, "sh", "-c", script); err != nil {
			t.Fatal(err)
		}
		if places := strings.Fields(out.String()); !slices.Equal(places, []string{"/run/look/secret"}) {
			t.Errorf("%s is in %q, want only in the file that it was looked for with", name, places)
		}
	}
}

// secret is what a secret of the store holds.
func (s *site) secret(t *testing.T, name string) string {
	t.Helper()
	// Of a key in PEM the line that is it: the first and the short ones are in every key.
	lines := strings.Fields(strings.ReplaceAll(s.run(t, 0, "", "secret", "get", name), "PRIVATE KEY", ""))
	slices.Reverse(lines)
	secret := slices.MaxFunc(append(lines, ""), func(a, b string) int { return len(a) - len(b) })
	if len(secret) < 16 {
		t.Fatalf("%s is not what the test takes it for", name)
	}
	return secret
}

// identity is the device whose key is a secret of the store.
func (s *site) identity(t *testing.T, name string) *gateway.Identity {
	t.Helper()
	id, err := gateway.NewIdentity(secret.New(s.secret(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// watch looks at the command lines of all processes, here and on all hosts, until the
// test ends: none may hold one of the secrets.
func (s *site) watch(t *testing.T, names ...string) {
	t.Helper()
	secrets := map[string]string{}
	for _, name := range names {
		secrets[name] = s.secret(t, name)
	}
	ctx, stop := context.WithCancel(context.Background())
	decoy := exec.CommandContext(ctx, "sleep", "1h")
	decoy.Args[0] = "a decoy of " + t.Name()
	secrets[""] = decoy.Args[0]
	if err := decoy.Start(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var done sync.WaitGroup
	done.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range lines {
				line, _ := os.ReadFile(file) // the process may be gone
				for name, secret := range secrets {
					seen[name] = seen[name] || bytes.Contains(line, []byte(secret))
				}
			}
		}
	})
	t.Cleanup(func() {
		stop()
		done.Wait()
		_ = decoy.Wait() // it was killed
		for name := range secrets {
			if (name == "") != seen[name] {
				t.Errorf("on a command line: %q is %t", name, seen[name])
			}
		}
	})
}
