package local_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/local"
	"holdfast/runner/remote"
)

const grace = 150 * time.Millisecond

func open(t *testing.T) *local.Conn {
	t.Helper()
	c := local.New("here", grace)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func start(t *testing.T, c *local.Conn, command string) remote.Process {
	t.Helper()
	p, err := c.Start(t.Context(), command)
	if err != nil {
		t.Fatalf("Start(%q): %v", command, err)
	}
	return p
}

func TestStreamsAndStatus(t *testing.T) {
	p := start(t, open(t), "cat; echo complaint >&2; exit 7")
	if _, err := io.WriteString(p.Stdin(), "hello"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	status, err := p.Wait()
	if status != 7 || err != nil {
		t.Errorf("Wait: got %d, %v, want 7", status, err)
	}
	// Output must outlive the end of the program.
	out, _ := io.ReadAll(p.Stdout())
	errs, _ := io.ReadAll(p.Stderr())
	if string(out) != "hello" || string(errs) != "complaint\n" {
		t.Errorf("output: got %q and %q, want hello and complaint", out, errs)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestEndedBySignal(t *testing.T) {
	p := start(t, open(t), "kill -9 $$")
	status, err := p.Wait()
	if status != -1 || err == nil || !strings.Contains(err.Error(), "signal") {
		t.Errorf("Wait: got %d, %v, want -1 and an error that names a signal", status, err)
	}
	_ = p.Close()
}

func TestDescribe(t *testing.T) {
	e := open(t).Describe()
	if !e.Local || e.Host != "here" || e.Address != "local" || e.User == "" {
		t.Errorf("Describe: got %+v", e)
	}
}

// pids starts a command that writes process numbers to a file, one per line.
func pids(t *testing.T, file string, want int) []int {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		lines := strings.Fields(string(text))
		if len(lines) < want {
			continue
		}
		var all []int
		for _, l := range lines {
			n, err := strconv.Atoi(l)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
		return all
	}
	t.Fatalf("%s: fewer than %d process numbers", file, want)
	return nil
}

func gone(t *testing.T, all []int) {
	t.Helper()
	for _, pid := range all {
		deadline := time.Now().Add(2 * time.Second)
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Errorf("process %d is still there", pid)
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// alive does not count what has ended and was not waited for: the orphans of
// this test belong to a process that may wait late.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestCloseEndsTreesThatIgnoreTerm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	p := start(t, open(t), `trap "" TERM; (trap "" TERM; echo $$ >>`+file+`; while :; do sleep 0.05; done) & `+
		`sh -c 'trap "" TERM; echo $$ >>`+file+`; while :; do sleep 0.05; done' & echo $! >>`+file+`; while :; do sleep 0.05; done`)
	all := pids(t, file, 3)
	began := time.Now()
	_ = p.Close()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("Close took %v", took)
	}
	gone(t, all)
}

func TestCloseEndsWhatTheShellLeftBehind(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	p := start(t, open(t), `sleep 60 & echo $! >`+file)
	if status, err := p.Wait(); status != 0 || err != nil {
		t.Fatalf("Wait: got %d, %v", status, err)
	}
	all := pids(t, file, 1)
	_ = p.Close()
	gone(t, all)
}

func TestContextEndsTheProcessOnly(t *testing.T) {
	c := open(t)
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
	q := start(t, c, "true")
	if status, err := q.Wait(); status != 0 || err != nil {
		t.Errorf("the connection after the context ended: got %d, %v", status, err)
	}
}

func TestCloseOfTheConnection(t *testing.T) {
	c := open(t)
	file := filepath.Join(t.TempDir(), "pids")
	for range 3 {
		start(t, c, `echo $$ >>`+file+`; exec sleep 60`)
	}
	all := pids(t, file, 3)
	_ = c.Close()
	gone(t, all)
	if _, err := c.Start(t.Context(), "true"); err == nil {
		t.Error("Start after Close: got no error")
	}
}

func TestCloseWithUnreadOutput(t *testing.T) {
	p := start(t, open(t), "yes | head -c 5000000; cat")
	began := time.Now()
	_ = p.Close()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("Close took %v", took)
	}
}

func TestConcurrentUse(t *testing.T) {
	c := open(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			p, err := c.Start(t.Context(), "echo "+strconv.Itoa(i))
			if err != nil {
				t.Error(err)
				return
			}
			out, _ := io.ReadAll(p.Stdout())
			if got, want := strings.TrimSpace(string(out)), strconv.Itoa(i); got != want {
				t.Errorf("output: got %q, want %q", got, want)
			}
			_ = p.Close()
		})
	}
	wg.Wait()
}
