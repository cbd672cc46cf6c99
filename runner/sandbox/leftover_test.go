//go:build hosts

package sandbox_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/sandbox"
)

// The same program, started with this variable, brings hosts up and is killed.
const crashVariable = "HOLDFAST_TEST_SANDBOX_CRASH"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashVariable); dir != "" {
		upUntilKilled(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func upUntilKilled(dir string) {
	s, err := sandbox.Open(sandbox.Options{Dir: dir, Progress: func(msg string) { fmt.Println(msg) }})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = s.Up(context.Background(), sandbox.UpOptions{Count: 2})
	fmt.Println("up", err)
	time.Sleep(time.Minute)
}

// Two sandboxes exist side by side; neither they nor anybody outside reach the
// hosts of another.
func TestSandboxesAreApart(t *testing.T) {
	one, _ := open(t)
	two, _ := open(t)
	errs := make(chan error, 1)
	var hosts []sandbox.Host
	go func() {
		var err error
		hosts, err = one.Up(t.Context(), sandbox.UpOptions{Count: 1, Prefix: "a"})
		errs <- err
	}()
	others := up(t, two, sandbox.UpOptions{Count: 1, Prefix: "b"})
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	knock := func(address string) string { return "timeout 2 bash -c '</dev/tcp/" + address + "/22'" }
	if _, status := inside(t, one, "a1", knock(others[0].Address)); status != 124 {
		t.Errorf("from one sandbox to another: got status %d, want 124, silence", status)
	}
	if _, status := inside(t, two, "b1", knock(hosts[0].Address)); status != 124 {
		t.Errorf("from one sandbox to another: got status %d, want 124, silence", status)
	}
	if _, status := inside(t, one, "a1", "getent hosts deb.debian.org"); status != 0 {
		t.Errorf("a host does not find deb.debian.org: status %d", status)
	}
}

func TestCancelledUpLeavesNothing(t *testing.T) {
	s, dir := open(t)
	for i, after := range []time.Duration{50, 250, 600} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		_, err := s.Up(ctx, sandbox.UpOptions{Count: 2})
		cancel()
		if err == nil && i == 0 {
			t.Errorf("Up with a limit of %d ms: got no error", after)
		}
		if err == nil { // a quiet machine boots two hosts within the last limit
			if err := s.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantNoTraces(t, dir)
		if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("after a cancelled Up: got hosts %+v, %v, want none", list, err)
		}
	}
}

func TestDownAfterKilledUp(t *testing.T) {
	s, dir := open(t)
	for _, after := range []time.Duration{0, 100, 300, 700} {
		for _, stateToo := range []bool{false, true} {
			killUp(t, dir, after*time.Millisecond)
			if stateToo {
				if err := os.RemoveAll(filepath.Join(dir, "hosts")); err != nil {
					t.Logf("%v", err)
				}
				_ = os.Remove(filepath.Join(dir, "network.json"))
			}
			if err := s.Down(t.Context()); err != nil {
				t.Fatalf("Down after a kill at %d ms: %v", after, err)
			}
			wantNoTraces(t, dir)
		}
	}
	// And Up goes on where a killed one ended.
	killUp(t, dir, 200*time.Millisecond)
	up(t, s, sandbox.UpOptions{Count: 2})
	wantInside(t, s, "sb2", "hostname", "sb2")
}

// killUp starts a process that brings hosts up and kills it some time after it
// has begun to boot them.
func killUp(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "booting") {
		t.Log(lines.Text())
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Read to the end: it comes only when no host holds our pipe.
	for lines.Scan() {
		t.Log(lines.Text())
	}
	_ = cmd.Wait()
}
