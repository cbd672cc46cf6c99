//go:build hosts

package faults_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/sandbox"
	"holdfast/runner/sandbox/sandboxtest"
)

// site is the program and the hosts that all tests share.
var site struct {
	*sandbox.Sandbox
	binary    string
	inventory string
	known     string // host keys on every port that a test may use
	address   map[string]string
	free      chan string // hosts that no test uses at the moment
}

const siteDir = "/var/lib/holdfast-sandbox-faults"

// hosts is how many there are; as many tests run at a time.
const hosts = 4

func TestMain(m *testing.M) {
	// Tests mostly wait for deadlines, so as many run at a time as there are hosts.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(hosts)); err != nil {
		panic(err) // the testing package has this flag
	}
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
	dir, err := os.MkdirTemp("", "holdfast-faults-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	site.binary, site.known = filepath.Join(dir, "holdfast"), filepath.Join(dir, "known_hosts")
	if err := sandboxtest.Build("../..", site.binary); err != nil {
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
	up, err := site.Up(ctx, sandbox.UpOptions{Count: hosts})
	if err != nil {
		return 1, err
	}
	site.address, site.free = map[string]string{}, make(chan string, hosts)
	for _, h := range up {
		site.address[h.Name] = h.Address
		site.free <- h.Name
	}
	if site.inventory, err = site.Inventory(); err != nil {
		return 1, err
	}
	return run(), nil
}

// lab is one test's host and what it needs to work on it.
type lab struct {
	*testing.T
	host string
	home string // of the program, so that nobody's settings count
	dir  string // for playbooks and inventories
}

// enter lets the test run beside others and waits for a host of its own. A host
// whose test failed gets a new root before the next one.
func enter(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	return take(t)
}

// several is held by the one test that takes several hosts, because two that wait for
// one another's would wait for ever.
var several sync.Mutex

// enterSeveral is enter for a test that takes more than one host.
func enterSeveral(t *testing.T, n int) (labs []*lab) {
	t.Helper()
	t.Parallel()
	several.Lock()
	defer several.Unlock()
	for range n {
		labs = append(labs, take(t))
	}
	return labs
}

// take waits for a host, which the test has until it ends.
func take(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t, host: <-site.free, home: t.TempDir(), dir: t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			if err := site.Reset(context.Background(), l.host); err != nil {
				t.Error(err)
			}
		}
		site.free <- l.host
	})
	l.settled()
	return l
}

// settled waits until the host has nothing more to start, and its SSH server is back from
// the reload that a test before may have ended with.
func (l *lab) settled() {
	l.Helper()
	for range 100 {
		if out, status := l.try("systemctl list-jobs --no-legend; systemctl list-units --state=activating --no-legend; ss -Hltn 'sport = :22' | grep -q . || echo no SSH server"); status == 0 && out == "" {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	l.Fatalf("%s: after 20 s it still starts things", l.host)
}

// outcome is what one call of the program left.
type outcome struct {
	code   int
	events []event.Event
	stdout string
	stderr string
	took   time.Duration
}

func (l *lab) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(site.binary, argv...)
	cmd.Dir, cmd.Env = l.dir, []string{"HOME=" + l.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	return cmd
}

// holdfast calls the program and fails the test when it takes longer than two minutes.
func (l *lab) holdfast(argv ...string) outcome {
	l.Helper()
	var stdout, stderr bytes.Buffer
	cmd := l.command(argv...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() }) // it may just have ended
	_ = cmd.Wait()                                                           // its status is looked at by the test
	if !late.Stop() {
		l.Fatalf("holdfast %s goes on after two minutes\n%s", strings.Join(argv, " "), stderr.String())
	}
	o := outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began)}
	if !slices.Contains(argv, "json") {
		return o
	}
	if err := event.Read(&stdout, func(e event.Event) { o.events = append(o.events, e) }); err != nil {
		l.Fatalf("cannot read the events of holdfast %s: %v\n%s", strings.Join(argv, " "), err, o.stderr)
	}
	return o
}

// reach says how a host is logged in to.
type reach struct {
	user  string
	ports string
}

// as writes an inventory in which the host, and others, are reached in a certain way.
func (l *lab) as(r reach, others ...*lab) string {
	l.Helper()
	if r.user == "" {
		r.user = "root"
	}
	if r.ports == "" {
		r.ports = "22"
	}
	known, err := os.ReadFile(site.KnownHostsPath())
	if err != nil {
		l.Fatal(err)
	}
	// Host keys belong to an address and a port.
	more, names := "", ""
	for _, one := range append([]*lab{l}, others...) {
		address := site.address[one.host]
		names += fmt.Sprintf("%s: {address: %s}, ", one.host, address)
		for line := range strings.Lines(string(known)) {
			if _, key, ok := strings.Cut(line, ","+address+" "); ok {
				more += "[" + address + "]:222 " + key + "[" + address + "]:223 " + key
			}
		}
	}
	knownPath := filepath.Join(l.dir, "known_hosts")
	path := filepath.Join(l.dir, "inventory.yml")
	text := fmt.Sprintf("hosts: {%s}\nssh: {users: [%s], ports: [%s], keys: [%q], known_hosts: %q}\n",
		strings.TrimSuffix(names, ", "), r.user, r.ports, site.KeyPath(), knownPath)
	if err := errors.Join(os.WriteFile(knownPath, append(known, more...), 0o600), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		l.Fatal(err)
	}
	return path
}

// play writes a playbook and returns the arguments that apply it.
func (l *lab) play(r reach, tasks string) []string {
	l.Helper()
	f, err := os.CreateTemp(l.dir, "play-*.yml")
	if err == nil {
		_, err = f.WriteString("playbook: attack\nversion: 1.0.0\n" + tasks)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		l.Fatal(err)
	}
	return []string{"apply", f.Name(), "--yes", "-i", l.as(r), "-l", l.host, "--output", "json"}
}

// apply runs a playbook and fails the test when the program ends with another status.
func (l *lab) apply(code int, r reach, tasks string) outcome {
	l.Helper()
	return l.holdfast(l.play(r, tasks)...).want(l, code)
}

func (o outcome) want(l *lab, code int) outcome {
	l.Helper()
	if o.code != code {
		l.Fatalf("got status %d, want %d\n%s%s", o.code, code, o.told(), o.stderr)
	}
	return o
}

// told describes what happened, for messages.
func (o outcome) told() string {
	var b strings.Builder
	for _, e := range o.events {
		switch {
		case e.TaskFinished != nil:
			fmt.Fprintf(&b, "%s: %s %s %s\n", e.TaskFinished.Name, e.TaskFinished.Status, e.TaskFinished.Error, e.TaskFinished.Hint)
		case e.HostUnreached != nil:
			fmt.Fprintf(&b, "unreached: %s\n", e.HostUnreached.Error)
		case e.Warning != nil:
			fmt.Fprintf(&b, "warning: %s\n", e.Warning.Message)
		case e.Guard != nil:
			fmt.Fprintf(&b, "guard: %s %v %s %s\n", e.Guard.Status, e.Guard.Paths, e.Guard.Message, e.Guard.Error)
		case e.HostFinished != nil:
			fmt.Fprintf(&b, "%s after %s\n", e.HostFinished.Status, e.HostFinished.Duration)
		}
	}
	return b.String()
}

// guard returns what the run told about guards, one word each.
func (o outcome) guard() string {
	var words []string
	for _, e := range o.events {
		if e.Guard != nil {
			words = append(words, e.Guard.Status)
		}
	}
	return strings.Join(words, " ")
}

// finished returns how the host came out.
func (o outcome) finished() event.HostFinished {
	for _, e := range o.events {
		if e.HostFinished != nil {
			return *e.HostFinished
		}
	}
	return event.HostFinished{}
}

// console runs a shell script in the host, not over SSH, and returns what it printed.
func (l *lab) console(script string) string {
	l.Helper()
	out, status := l.try(script)
	if status != 0 {
		l.Fatalf("%s: got status %d, want 0, of\n%s\n%s", l.host, status, script, out)
	}
	return out
}

// try is console for what may not succeed.
func (l *lab) try(script string) (string, int) {
	l.Helper()
	var out bytes.Buffer
	status, err := site.Exec(l.Context(), l.host, strings.NewReader(script), &out, &out, "bash")
	if err != nil {
		l.Fatalf("console of %s: %v", l.host, err)
	}
	return strings.TrimSpace(out.String()), status
}
