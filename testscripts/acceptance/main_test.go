//go:build hosts

package acceptance_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/sandbox"
	"holdfast/runner/sandbox/sandboxtest"
)

// site is the program and the hosts that all tests share. They run one after another.
var site struct {
	*sandbox.Sandbox
	binary    string
	home      string // an empty home for the program, so that nobody's settings count
	inventory string
	address   map[string]string
}

var siteDir = cmp.Or(os.Getenv("HOLDFAST_TEST_SANDBOX"), "/var/lib/holdfast-sandbox-accept")

// names of the hosts.
var names = []string{"sb1", "sb2", "sb3"}

func TestMain(m *testing.M) {
	code, err := prepared(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot test on hosts:", err)
		code = 1
	}
	os.Exit(code)
}

// prepared builds the program, boots the hosts, calls run and takes all away again.
func prepared(run func() int) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("throwaway hosts take root")
	}
	dir, err := os.MkdirTemp("", "holdfast-acceptance-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	site.binary, site.home = filepath.Join(dir, "holdfast"), filepath.Join(dir, "home")
	if err := errors.Join(os.Mkdir(site.home, 0o700), sandboxtest.Build("../..", site.binary)); err != nil {
		return 1, err
	}
	ctx := context.Background()
	say := func(msg string) { fmt.Fprintln(os.Stderr, msg) }
	site.Sandbox, err = sandbox.Open(sandbox.Options{Dir: siteDir, Progress: say})
	if err != nil {
		return 1, err
	}
	if err := errors.Join(site.Install(ctx), site.Down(ctx)); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, site.Down(ctx)) }()
	hosts, err := site.Up(ctx, sandbox.UpOptions{Count: len(names)})
	if err != nil {
		return 1, err
	}
	site.address = map[string]string{}
	for _, h := range hosts {
		site.address[h.Name] = h.Address
	}
	if site.inventory, err = site.Inventory(); err != nil {
		return 1, err
	}
	return run(), nil
}

// outcome is what one call of the program left.
type outcome struct {
	code   int
	events []event.Event
	stderr string
	stdout string
}

// environ is the environment of the program: nothing of ours, and what is given.
func environ(more ...string) []string {
	return append([]string{"HOME=" + site.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, more...)
}

// holdfast calls the program and fails the test when it takes longer than ten minutes.
func holdfast(t *testing.T, argv ...string) outcome {
	t.Helper()
	return holdfastWith(t, nil, argv...)
}

func holdfastWith(t *testing.T, env []string, argv ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, site.binary, argv...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = site.home, environ(env...), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("cannot run holdfast %s: %v\n%s", strings.Join(argv, " "), err, stderr.String())
	}
	o := outcome{code: cmd.ProcessState.ExitCode(), stderr: stderr.String(), stdout: stdout.String()}
	if argv[len(argv)-1] != "json" || o.stdout == "" || argv[0] == "facts" {
		return o
	}
	if err := event.Read(&stdout, func(e event.Event) { o.events = append(o.events, e) }); err != nil {
		t.Fatalf("cannot read the events of holdfast %s: %v", strings.Join(argv, " "), err)
	}
	return o
}

// on returns the arguments of a command about hosts of the site, with events as output.
func on(hosts string, argv ...string) []string {
	return append(argv, "-i", site.inventory, "-l", hosts, "--output", "json")
}

// want fails the test when the program ended with another status.
func (o outcome) want(t *testing.T, code int) outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("got status %d, want %d\n%s%s", o.code, code, o.failures(), o.stderr)
	}
	return o
}

// failures describes what went wrong, for messages.
func (o outcome) failures() string {
	var b strings.Builder
	for _, e := range o.events {
		switch {
		case e.TaskFinished != nil && e.TaskFinished.Error != "":
			fmt.Fprintf(&b, "%s: %s: %s\n", e.Host, e.TaskFinished.Name, e.TaskFinished.Error)
		case e.HostUnreached != nil:
			fmt.Fprintf(&b, "%s: %s\n", e.Host, e.HostUnreached.Error)
		case e.Warning != nil:
			fmt.Fprintf(&b, "%s: warning: %s\n", e.Host, e.Warning.Message)
		case e.Undone != nil && e.Undone.Status != "undone" && e.Undone.Status != "already":
			fmt.Fprintf(&b, "%s: %s %s: %s\n", e.Host, e.Undone.Status, e.Undone.Resource, e.Undone.Message)
		}
	}
	return b.String()
}

// finished returns how each host came out.
func (o outcome) finished() map[string]event.HostFinished {
	out := map[string]event.HostFinished{}
	for _, e := range o.events {
		if e.HostFinished != nil {
			out[e.Host] = *e.HostFinished
		}
	}
	return out
}

// run returns the name of the run.
func (o outcome) run() string {
	for _, e := range o.events {
		if e.RunStarted != nil {
			return e.RunStarted.Run
		}
	}
	return ""
}

// console runs a shell script in a host, not over SSH, and returns what it printed.
func console(t *testing.T, host, script string) string {
	t.Helper()
	out, status := try(t, host, script)
	if status != 0 {
		t.Fatalf("%s: got status %d, want 0, of\n%s\n%s", host, status, script, out)
	}
	return out
}

// try is console for what may fail.
func try(t *testing.T, host, script string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status, err := site.Exec(t.Context(), host, strings.NewReader(script), &out, &out, "bash")
	if err != nil {
		t.Fatalf("console of %s: %v", host, err)
	}
	return strings.TrimSpace(out.String()), status
}

// playbook writes a playbook and returns its path.
func playbook(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "play.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fresh gives hosts a new root.
func fresh(t *testing.T, hosts ...string) {
	t.Helper()
	if err := site.Reset(t.Context(), hosts...); err != nil {
		t.Fatal(err)
	}
}
