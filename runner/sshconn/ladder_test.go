package sshconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
	"holdfast/runner/sshconn"
)

type remoteConn = remote.Conn

// closedPort returns a port on which nothing listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// listener calls serve with each connection until the test ends.
func listener(t *testing.T, serve func(net.Conn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, c)
			mu.Unlock()
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range all {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

// swallow reads until the other side hangs up, and says nothing.
func swallow(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func attempts(t *testing.T, err error) []*sshconn.Attempt {
	t.Helper()
	var far *remote.Unreachable
	var ladder *sshconn.LadderError
	if !errors.As(err, &far) || !errors.As(err, &ladder) {
		t.Fatalf("got error %v (%T), want an Unreachable with a LadderError", err, err)
	}
	return ladder.Attempts
}

func TestRunsAProgram(t *testing.T) {
	b := newBench(t)
	c := dial(t, b.target, sshconn.Options{})
	out, errs, status := run(t, c, "cat; echo no >&2; exit 3", "hello")
	if out != "hello" || errs != "no\n" || status != 3 {
		t.Errorf("got %q, %q, %d, want hello, no, 3", out, errs, status)
	}
	want := remote.Endpoint{Host: "web1", Address: fmt.Sprintf("127.0.0.1:%d", b.port), User: "me"}
	got := c.Describe()
	if !strings.HasPrefix(got.Key, "SHA256:") {
		t.Errorf("Describe: got the key %q, want the fingerprint of the one that logged in", got.Key)
	}
	want.Key = got.Key
	if got != want {
		t.Errorf("Describe: got %+v, want %+v", got, want)
	}
}

func TestLadderOrder(t *testing.T) {
	b := newBench(t)
	shut := closedPort(t)
	b.target.Users = []string{"admin", "me", "root"}
	b.target.Ports = []int{shut, b.port}
	c := dial(t, b.target, sshconn.Options{})
	if got := c.Describe(); got.User != "me" || got.Address != fmt.Sprintf("127.0.0.1:%d", b.port) {
		t.Errorf("Describe: got %+v", got)
	}
	f := ssh.FingerprintSHA256(b.key.PublicKey())
	offered, dials := b.seen()
	if want := []string{"admin " + f, "me " + f}; !slices.Equal(offered[:2], want) || dials != 2 {
		t.Errorf("offered: got %v in %d dials, want %v in 2", offered, dials, want)
	}
}

func TestLadderErrorNamesEachRung(t *testing.T) {
	b := newBench(t)
	shut := closedPort(t)
	b.target.Users, b.target.Ports = []string{"a", "b"}, []int{shut, b.port}
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	var got []string
	for _, a := range attempts(t, err) {
		got = append(got, fmt.Sprint(a.Rung.User, " ", a.Rung.Port == shut, " ", a.Kind))
	}
	want := []string{"a true refused", "b true refused", "a false denied", "b false denied"}
	if !slices.Equal(got, want) {
		t.Errorf("attempts: got %v, want %v", got, want)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "cannot reach web1: ") ||
		!strings.Contains(lines[1], fmt.Sprintf("a@127.0.0.1:%d: connection refused", shut)) ||
		!strings.Contains(lines[3], "permission denied (offered "+b.file("key")) {
		t.Errorf("the error does not name each rung on a line:\n%v", err)
	}
	var far *remote.Unreachable
	if errors.As(err, &far); far.Hint == "" {
		t.Error("the error has no hint")
	}
}

func TestMemoryTriesTheLastRungFirst(t *testing.T) {
	b := newBench(t)
	b.target.Users = []string{"admin", "me"}
	file := b.file("state/rungs.json")
	dial(t, b.target, sshconn.Options{Memory: sshconn.OpenMemory(file)})
	if _, dials := b.seen(); dials != 2 {
		t.Errorf("first time: got %d dials, want 2", dials)
	}
	dial(t, b.target, sshconn.Options{Memory: sshconn.OpenMemory(file)})
	if _, dials := b.seen(); dials != 1 {
		t.Errorf("second time: got %d dials, want 1", dials)
	}
	// What is remembered of a rung that is no longer in the ladder is no rung.
	b.target.Users = []string{"admin"}
	if _, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{Memory: sshconn.OpenMemory(file)}); err == nil {
		t.Error("a remembered user outside the ladder: got no error")
	}
}

func TestMemorySharedByProcesses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rungs.json")
	var wg sync.WaitGroup
	for i := range 40 {
		m := sshconn.OpenMemory(file)
		wg.Go(func() {
			m.Remember(fmt.Sprintf("host%d", i), sshconn.Rung{User: "u", Port: i + 1})
			if err := m.Err(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m := sshconn.OpenMemory(file)
	for i := range 40 {
		if got, ok := m.Last(fmt.Sprintf("host%d", i)); !ok || got.Port != i+1 {
			t.Errorf("host%d: got %+v, %v", i, got, ok)
		}
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v, want one file", left, err)
	}
}

func TestMemoryThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rungs.json")
	for _, text := range []string{"", "{", "null", "[1]", `{"a":3}`} {
		write(t, file, text)
		m := sshconn.OpenMemory(file)
		m.Remember("b", sshconn.Rung{User: "u", Port: 1})
		if got, ok := sshconn.OpenMemory(file).Last("b"); !ok || got.User != "u" || m.Err() != nil {
			t.Errorf("after %q: got %+v, %v, %v", text, got, ok, m.Err())
		}
	}
	m := sshconn.OpenMemory(filepath.Join(file, "below-a-file"))
	m.Remember("b", sshconn.Rung{User: "u", Port: 1})
	if m.Err() == nil {
		t.Error("a file that cannot be written: got no error")
	}
	var none *sshconn.Memory
	none.Remember("b", sshconn.Rung{})
	if _, ok := none.Last("b"); ok || none.Err() != nil {
		t.Error("a nil memory remembers something")
	}
}

func TestFarEndsThatDoNotSpeakSSH(t *testing.T) {
	garbage := strings.Repeat("\x00\xff\x1b[2Jx", 4<<10)
	cases := []struct {
		name  string
		serve func(net.Conn)
		kind  sshconn.Kind
	}{
		{"says nothing", swallow, sshconn.TimedOut},
		{"one byte at a time", func(c net.Conn) {
			for _, err := c.Write([]byte("S")); err == nil; _, err = c.Write([]byte("S\n")) {
				time.Sleep(20 * time.Millisecond)
			}
		}, sshconn.TimedOut},
		{"sends garbage", func(c net.Conn) {
			for _, err := c.Write([]byte(garbage)); err == nil; _, err = c.Write([]byte(garbage)) {
			}
		}, sshconn.Protocol},
		{"sends garbage after its version", func(c net.Conn) {
			_, _ = c.Write([]byte("SSH-2.0-x\r\n"))
			for _, err := c.Write([]byte(garbage)); err == nil; _, err = c.Write([]byte(garbage)) {
			}
		}, sshconn.Protocol},
		{"stops after its version", func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-x\r\n")); swallow(c) }, sshconn.TimedOut},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.target.Ports, b.target.StepTimeout = []int{listener(t, tc.serve)}, 300*time.Millisecond
			b.target.Users = []string{"me", "root"}
			began := time.Now()
			_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			all := attempts(t, err)
			if len(all) != 2 || all[0].Kind != tc.kind || all[1].Kind != tc.kind {
				t.Errorf("got %v, want two of kind %q", err, tc.kind)
			}
			if strings.ContainsAny(err.Error(), "\x00\x1b") {
				t.Errorf("the error holds control characters: %q", err)
			}
		})
	}
}

func TestSlowLogIn(t *testing.T) {
	b := newBench(t)
	b.target.StepTimeout = 300 * time.Millisecond
	hold := make(chan struct{})
	b.configure(func(c *ssh.ServerConfig) {
		c.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			<-hold
			return nil, errDenied
		}
	})
	t.Cleanup(func() { close(hold) })
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.TimedOut || !strings.Contains(err.Error(), "log-in") {
		t.Errorf("got %v, want a timeout of the log-in", err)
	}
}

func TestContextEndsTheDial(t *testing.T) {
	b := newBench(t)
	b.target.Ports = []int{listener(t, swallow)}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := sshconn.Dial(ctx, b.target, sshconn.Options{})
	var far *remote.Unreachable
	if !errors.As(err, &far) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want Unreachable with the cause of the context", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestNameWithoutAddress(t *testing.T) {
	b := newBench(t)
	b.target.Address = "no-such-host.invalid"
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.NoName {
		t.Errorf("got %v, want kind %q", err, sshconn.NoName)
	}
}

func TestHangUpsAreTriedAgain(t *testing.T) {
	b := newBench(t)
	b.hangUps.Store(2)
	dial(t, b.target, sshconn.Options{})
	if _, dials := b.seen(); dials != 3 {
		t.Errorf("got %d dials, want 3", dials)
	}
}

func TestDialsPerAddressAreLimited(t *testing.T) {
	b := newBench(t)
	b.configure(func(config *ssh.ServerConfig) {
		check := config.PublicKeyCallback
		config.PublicKeyCallback = func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			time.Sleep(5 * time.Millisecond)
			return check(c, k)
		}
	})
	limiter := sshconn.NewLimiter(2)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			c, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{Limiter: limiter})
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	// The server may count one as waiting for a moment after we know better.
	if most := b.mostWait.Load(); most > 3 {
		t.Errorf("at most %d log-ins were under way, want 2", most)
	}
}

func TestBannerIsBoundedAndPlain(t *testing.T) {
	b := newBench(t)
	b.target.Users = []string{"nobody-here"}
	b.configure(func(c *ssh.ServerConfig) {
		c.BannerCallback = func(ssh.ConnMetadata) string {
			return "\x1b[31mkeep out\r\n" + strings.Repeat("x", 60<<10)
		}
	})
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if attempts(t, err); !strings.Contains(err.Error(), "keep out") || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 2000 {
		t.Errorf("got an error of %d bytes: %.300q", len(err.Error()), err)
	}
}

func TestTargetsThatMakeNoSense(t *testing.T) {
	b := newBench(t)
	cases := map[string]func(*sshconn.Target){
		"an address with a blank": func(t *sshconn.Target) { t.Address = "a b" },
		"an address like a flag":  func(t *sshconn.Target) { t.Address = "-oProxyCommand=x" },
		"no address at all":       func(t *sshconn.Target) { t.Name, t.Address = "", "" },
		"a port out of range":     func(t *sshconn.Target) { t.Ports = []int{70000} },
		"a key that is missing":   func(t *sshconn.Target) { t.Keys = []string{"/no/such/key"} },
		"a key that is none":      func(t *sshconn.Target) { t.Keys = []string{"/etc/passwd"} },
		"a key that is a device":  func(t *sshconn.Target) { t.Keys = []string{"/dev/zero"} },
		"no such ssh_config":      func(t *sshconn.Target) { t.SSHConfig = "/no/such/config" },
	}
	for name, change := range cases {
		target := b.target
		change(&target)
		if _, err := sshconn.Dial(t.Context(), target, sshconn.Options{}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, dials := b.seen(); dials != 0 {
		t.Errorf("got %d dials, want none", dials)
	}
}
