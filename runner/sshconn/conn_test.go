package sshconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
	"holdfast/runner/sshconn"
)

func start(t *testing.T, c remoteConn, command string) remote.Process {
	t.Helper()
	p, err := c.Start(t.Context(), command)
	if err != nil {
		t.Fatalf("Start(%q): %v", command, err)
	}
	return p
}

// pidOf reads a process number that a program writes to a file.
func pidOf(t *testing.T, file string) int {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && strings.HasSuffix(string(text), "\n") {
			return pid
		}
	}
	t.Fatalf("%s: no process number", file)
	return 0
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(3 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Errorf("process %d is still there", pid)
			return
		}
	}
}

func TestStats(t *testing.T) {
	b := newBench(t)
	var counter sshconn.Counter
	c := dial(t, b.target, sshconn.Options{Counter: &counter})
	setUp := counter.Stats()
	if setUp.RoundTrips < 3 || setUp.RoundTrips > 10 || setUp.BytesUp == 0 || setUp.BytesDown == 0 || setUp.Channels != 0 {
		t.Errorf("after the log-in: got %+v", setUp)
	}
	p := start(t, c, "cat")
	buffer := make([]byte, 5)
	for range 10 {
		if _, err := io.WriteString(p.Stdin(), "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.Stdout(), buffer); err != nil {
			t.Fatal(err)
		}
	}
	_ = p.Close()
	got := counter.Stats()
	trips := got.RoundTrips - setUp.RoundTrips
	if got.Channels != 1 || trips < 12 || trips > 18 {
		t.Errorf("ten exchanges over one channel: got %d round trips in %d channels", trips, got.Channels)
	}
	if up := got.BytesUp - setUp.BytesUp; up < 50 || up > 4000 {
		t.Errorf("ten exchanges: got %d bytes up", up)
	}
}

func TestManyProgramsAtOnce(t *testing.T) {
	b := newBench(t)
	c := dial(t, b.target, sshconn.Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			text := strings.Repeat(strconv.Itoa(i), 20000)
			out, _, status := run(t, c, "cat; exit "+strconv.Itoa(i), text)
			if out != text || status != i {
				t.Errorf("program %d: got %d bytes and status %d", i, len(out), status)
			}
		})
	}
	wg.Wait()
}

func TestCloseLadder(t *testing.T) {
	cases := []struct{ name, command string }{
		{"ends with its input", `cat`},
		{"ends on a signal", `sleep 60`},
		{"ignores the signal", `trap "" TERM; while :; do sleep 0.02; done`},
		{"writes and is not read", `trap "" TERM; yes; sleep 60`},
	}
	b := newBench(t)
	c := dial(t, b.target, sshconn.Options{})
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			p := start(t, c, "echo $$ >"+file+"; "+tc.command)
			pid := pidOf(t, file)
			began := time.Now()
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("Close took %v", took)
			}
			waitGone(t, pid)
			_, _ = p.Wait()
		})
	}
	if out, _, _ := run(t, c, "echo still here", ""); out != "still here\n" {
		t.Errorf("the connection after the ladders: got %q", out)
	}
}

func TestCloseWhileWriting(t *testing.T) {
	b := newBench(t)
	c := dial(t, b.target, sshconn.Options{})
	p := start(t, c, `trap "" TERM; sleep 60`)
	stuck := make(chan error)
	go func() {
		_, err := p.Stdin().Write(make([]byte, 16<<20))
		stuck <- err
	}()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	_ = p.Close()
	if err := <-stuck; err == nil {
		t.Error("a write that was stuck: got no error")
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v", took)
	}
	if _, err := p.Stdin().Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write after Close: got %v", err)
	}
}

func TestEndedBySignal(t *testing.T) {
	b := newBench(t)
	p := start(t, dial(t, b.target, sshconn.Options{}), "kill -KILL $$")
	if status, err := p.Wait(); status != -1 || err == nil || !strings.Contains(err.Error(), "KILL") {
		t.Errorf("Wait: got %d, %v, want -1 and an error that names the signal", status, err)
	}
	_ = p.Close()
}

func TestContextEndsTheProcessOnly(t *testing.T) {
	b := newBench(t)
	c := dial(t, b.target, sshconn.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	p, err := c.Start(ctx, "sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if status, err := p.Wait(); status != -1 || err == nil {
		t.Errorf("Wait: got %d, %v, want -1 and an error", status, err)
	}
	if _, err := c.Start(ctx, "true"); err == nil {
		t.Error("Start with an ended context: got no error")
	}
	if out, _, _ := run(t, c, "echo on", ""); out != "on\n" {
		t.Errorf("the connection after the context ended: got %q", out)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	b := newBench(t)
	before := runtime.NumGoroutine()
	c := dial(t, b.target, sshconn.Options{})
	file := b.file("pid")
	p := start(t, c, "echo $$ >"+file+"; exec sleep 60")
	pid := pidOf(t, file)
	_ = c.Close()
	waitGone(t, pid)
	if _, err := c.Start(t.Context(), "true"); err == nil {
		t.Error("Start after Close: got no error")
	}
	if status, err := p.Wait(); status != -1 || err == nil {
		t.Errorf("Wait: got %d, %v, want -1 and an error", status, err)
	}
	_ = c.Close()
	for until := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d goroutines more than before the dial", runtime.NumGoroutine()-before)
		}
	}
}

func TestServerThatRunsNothing(t *testing.T) {
	b := newBench(t)
	b.rejectExec.Store(true)
	c := dial(t, b.target, sshconn.Options{})
	if _, err := c.Start(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "does not run commands") {
		t.Errorf("got %v", err)
	}
}

func TestLostConnection(t *testing.T) {
	b := newBench(t)
	p := newProxy(t, b.port)
	b.target.Ports = []int{p.port}
	write(t, b.file(".ssh/known_hosts"), knownLine(p.port, b.hostKey.PublicKey()))
	b.target.KeepAlive = 50 * time.Millisecond
	c := dial(t, b.target, sshconn.Options{})
	proc := start(t, c, "cat")
	// While the far end answers, the connection stays.
	time.Sleep(300 * time.Millisecond)
	if _, err := io.WriteString(proc.Stdin(), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(proc.Stdout(), make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p.frozen.Store(true)
	began := time.Now()
	status, err := proc.Wait()
	if status != -1 || err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("Wait: got %d, %v, want a lost connection", status, err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v to find out", took)
	}
	if _, err := c.Start(t.Context(), "true"); err == nil {
		t.Error("Start on a lost connection: got no error")
	}
}

func TestFrozenConnectionHoldsNobodyUp(t *testing.T) {
	b := newBench(t)
	p := newProxy(t, b.port)
	b.target.Ports = []int{p.port}
	b.target.StepTimeout = 300 * time.Millisecond
	write(t, b.file(".ssh/known_hosts"), knownLine(p.port, b.hostKey.PublicKey()))
	began := time.Now()
	c := dial(t, b.target, sshconn.Options{})
	proc := start(t, c, "cat")
	p.frozen.Store(true)
	_ = proc.Close()
	if _, err := c.Start(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "300ms") {
		t.Errorf("Start: got %v, want the time limit", err)
	}
	_ = c.Close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
}

// jumps returns a bench behind two jump hosts, and the hosts.
func jumps(t *testing.T) (b *bench, first, second *server) {
	b = newBench(t)
	k1, k2 := ed25519Key(t), ed25519Key(t)
	first, second = newServer(t, k1), newServer(t, k2)
	for _, s := range []*server{first, second} {
		s.allow("hop", account{keys: []ssh.PublicKey{b.key.PublicKey()}})
	}
	write(t, b.file(".ssh/known_hosts"), knownLine(b.port, b.hostKey.PublicKey())+
		knownLine(first.port, k1.PublicKey())+knownLine(second.port, k2.PublicKey()))
	for i, s := range []*server{first, second} {
		b.target.Jump = append(b.target.Jump, sshconn.Target{
			Name: fmt.Sprintf("hop%d", i+1), Address: "127.0.0.1", Users: []string{"hop"}, Ports: []int{s.port},
		})
	}
	return b, first, second
}

func TestTwoJumpHosts(t *testing.T) {
	b, first, second := jumps(t)
	before := runtime.NumGoroutine()
	c, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("through two hops ", 100000)
	if out, _, _ := run(t, c, "cat", text); out != text {
		t.Errorf("got %d bytes, want %d", len(out), len(text))
	}
	if got := c.Describe(); got.Via != "hop1 > hop2" || got.User != "me" {
		t.Errorf("Describe: got %+v", got)
	}
	for _, s := range []*server{first, second, b.server} {
		if _, dials := s.seen(); dials != 1 {
			t.Errorf("got %d dials, want 1", dials)
		}
	}
	_ = c.Close()
	for until := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d goroutines more than before the dial", runtime.NumGoroutine()-before)
		}
	}
}

func TestJumpHostsAreChecked(t *testing.T) {
	b, _, second := jumps(t)
	file := b.file(".ssh/known_hosts")
	var kept []string
	for _, line := range strings.SplitAfter(read(t, file), "\n") {
		if !strings.HasPrefix(line, fmt.Sprintf("[127.0.0.1]:%d ", second.port)) {
			kept = append(kept, line)
		}
	}
	write(t, file, strings.Join(kept, ""))
	if key := hostKeyError(t, b.target); key.Host != "hop2" || key.Changed {
		t.Errorf("got %+v, want hop2 unknown", key)
	}
}

func TestJumpHostsThatDoNotServe(t *testing.T) {
	b, first, second := jumps(t)
	second.noForward.Store(true)
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.NoRoute || !strings.Contains(err.Error(), "does not forward") {
		t.Errorf("no forwarding: got %v", err)
	}
	second.noForward.Store(false)
	b.target.Ports = []int{closedPort(t), b.port}
	dial(t, b.target, sshconn.Options{})
	b.target.Ports = []int{closedPort(t)}
	_, err = sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.Refused {
		t.Errorf("a closed port behind jump hosts: got %v", err)
	}
	first.allow("hop", account{})
	_, err = sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.Denied || !strings.Contains(err.Error(), "cannot reach web1: no way through the jump host hop1") {
		t.Errorf("a jump host that denies: got %v", err)
	}
}

func TestBlackHoleBehindAJumpHost(t *testing.T) {
	b, _, _ := jumps(t)
	b.target.Ports = []int{listener(t, swallow), b.port}
	b.target.StepTimeout = 300 * time.Millisecond
	began := time.Now()
	// The next rung works over the same jump hosts.
	dial(t, b.target, sshconn.Options{})
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestFrozenJumpHost(t *testing.T) {
	b, first, _ := jumps(t)
	p := newProxy(t, first.port)
	b.target.Jump[0].Ports = []int{p.port, first.port}
	b.target.StepTimeout, b.target.KeepAlive = 300*time.Millisecond, 50*time.Millisecond
	c := dial(t, b.target, sshconn.Options{})
	proc := start(t, c, "cat")
	p.frozen.Store(true)
	began := time.Now()
	_, _ = proc.Wait()
	_ = c.Close()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestScanThroughJumpHosts(t *testing.T) {
	b, _, _ := jumps(t)
	keys, err := sshconn.Scan(t.Context(), b.target)
	if err != nil || len(keys) != 1 || keys[0].Trust != sshconn.TrustKnown {
		t.Errorf("got %+v, %v, want one known key", keys, err)
	}
}

// TestCloseWhileSomebodyReads ends a program whose output two goroutines still wait
// for, which the library alone does not survive.
func TestCloseWhileSomebodyReads(t *testing.T) {
	b := newBench(t)
	for range 5 {
		c := dial(t, b.target, sshconn.Options{})
		p := start(t, c, "cat; echo bye >&2")
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(io.Discard, p.Stdout()) })
		wg.Go(func() { _, _ = io.Copy(io.Discard, p.Stderr()) })
		time.Sleep(20 * time.Millisecond) // for the readers to wait
		closed := make(chan struct{})
		go func() {
			_ = p.Close()
			_ = c.Close()
			wg.Wait()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Fatal("closing never ends")
		}
	}
}
