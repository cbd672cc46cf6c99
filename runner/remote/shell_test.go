package remote_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// account is who logs in where a test needs one without rights.
const account = 12345

// target is a machine of its own as far as the bootstrap can see: the places for
// helpers are empty folders in memory, and the login shell is whatever the test says.
type target struct {
	home  string
	root  bool     // root logs in
	login []string // the login shell; its -c and the command follow
	prep  string   // run by root before the login
	after string   // run by root behind it
	path  string   // put before PATH
}

func newTarget(t *testing.T) *target {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests mount file systems and log in as another account: they need root")
	}
	home := t.TempDir()
	for _, dir := range []string{filepath.Dir(home), home} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, account, account); err != nil {
		t.Fatal(err)
	}
	return &target{home: home, login: []string{"/bin/sh"}}
}

// file writes an executable and returns its name.
func (c *target) file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(c.home, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func (c *target) Close() error { return nil }

func (c *target) Describe() remote.Endpoint { return remote.Endpoint{Host: "target", Local: true} }

func (c *target) Start(_ context.Context, command string) (remote.Process, error) {
	script := `for d in /var/cache /var/lib /run; do mount -t tmpfs -o mode=755 none $d || exit 9; done
for d in /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 none $d || exit 9; done
` + c.prep + "\n"
	if !c.root {
		script += fmt.Sprintf("setpriv --reuid %[1]d --regid %[1]d --clear-groups ", account)
	}
	script += `"$@"` + "\nstatus=$?\n" + c.after + "\nexit $status\n"
	argv := append([]string{"--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"}, c.login...)
	cmd := exec.Command("unshare", append(argv, "-c", command)...)
	cmd.Dir = c.home
	cmd.Env = []string{"HOME=" + c.home, "PATH=" + c.path + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "SSH_CONNECTION=192.0.2.1 4711 192.0.2.2 22"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return launch(cmd)
}

// process is a command in a session of its own.
type process struct {
	cmd       *exec.Cmd
	in        io.WriteCloser
	out, errs *os.File
	done      chan struct{}
	closing   sync.Once
}

func launch(cmd *exec.Cmd) (remote.Process, error) {
	inR, inW, err := os.Pipe()
	outR, outW, err2 := os.Pipe()
	errR, errW, err3 := os.Pipe()
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, errW
	err = cmd.Start()
	_, _, _ = inR.Close(), outW.Close(), errW.Close()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: inW, out: outR, errs: errR, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // the status is in ProcessState
	}()
	return p, nil
}

func (p *process) Stdin() io.WriteCloser { return p.in }
func (p *process) Stdout() io.Reader     { return p.out }
func (p *process) Stderr() io.Reader     { return p.errs }

func (p *process) Wait() (int, error) {
	<-p.done
	return p.cmd.ProcessState.ExitCode(), nil
}

func (p *process) Abandon() error { return p.Close() }

func (p *process) Close() error {
	p.closing.Do(func() {
		_ = p.in.Close()
		select {
		case <-p.done:
		case <-time.After(300 * time.Millisecond):
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.done
		}
		_, _ = p.out.Close(), p.errs.Close()
	})
	return nil
}

// script makes a helper out of a shell script, which is a program for all that the
// bootstrap knows. It greets with facts that carry a mark and says why it runs.
func script(t *testing.T, mark string) remote.Binary {
	t.Helper()
	m := &wire.Message{Welcome: &wire.Welcome{Min: 1, Max: 1, Platform: platform(), Facts: &task.Facts{Hostname: mark}}}
	payload, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var frame bytes.Buffer
	if err := wire.NewStream(nil, &frame).WriteFrame(wire.JSON, payload); err != nil {
		t.Fatal(err)
	}
	var octal strings.Builder
	for _, b := range frame.Bytes() {
		fmt.Fprintf(&octal, `\%03o`, b)
	}
	return binary(t, "#!/bin/sh\n"+
		"[ \"$1\" = serve ] || exit 4\n"+
		"printf '\\000HOLDFAST-HELPER 1\\n'; printf '"+octal.String()+"'\n"+
		"echo \"login $HOLDFAST_LOGIN\" >&2\nexec cat >/dev/null\n")
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

func binary(t *testing.T, content string) remote.Binary {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	return remote.Binary{Platform: platform(), Name: "helper", Args: "serve", Hash: hex.EncodeToString(sum[:]), Size: int64(len(content)),
		Gzip: func() ([]byte, error) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, err := z.Write([]byte(content))
			err = errors.Join(err, z.Close())
			return b.Bytes(), err
		}}
}

// opened is what came of an attempt to start a helper.
type opened struct {
	session *remote.Session
	err     error
	pushed  []remote.Pushed
}

func open(t *testing.T, c remote.Conn, bin remote.Binary, root remote.Root) opened {
	t.Helper()
	var o opened
	o.session, o.err = remote.Open(t.Context(), c, remote.Options{Binaries: remote.Binaries{bin}, Root: root,
		Hello: wire.Hello{Run: "r1", Mode: "plan"}, Setup: 10 * time.Second, Grace: 2 * time.Second,
		Pushed: func(p remote.Pushed) { o.pushed = append(o.pushed, p) }})
	if o.err == nil {
		t.Cleanup(func() { _ = o.session.Close() })
	}
	return o
}

// works fails the test unless the helper with that mark answered.
func (o opened) works(t *testing.T, mark string) {
	t.Helper()
	if o.err != nil {
		t.Fatalf("Open: %v", o.err)
	}
	if got := o.session.Welcome.Facts.Hostname; got != mark {
		t.Errorf("got the helper %q, want %q", got, mark)
	}
	if err := o.session.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// fails fails the test unless the error has all the texts and nothing that a
// terminal would obey.
func (o opened) fails(t *testing.T, texts ...string) {
	t.Helper()
	if o.err == nil {
		t.Fatal("Open: got no error")
	}
	for _, text := range texts {
		if !strings.Contains(o.err.Error(), text) {
			t.Errorf("Open: got %q, want %q in it", o.err, text)
		}
	}
	if strings.ContainsFunc(o.err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
		t.Errorf("Open: got %q, which no terminal should see", o.err)
	}
}
