package sshconn_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/runner/sshconn"
)

// An SSH server that is reloaded listens to nobody for a moment. One that let us in
// before is waited for; a port that never did is not, or each ladder would be slow.
func TestServerThatIsReloaded(t *testing.T) {
	t.Cleanup(sshconn.ReloadPausesForTest(slices.Repeat([]time.Duration{50 * time.Millisecond}, 600)))
	b := newBench(t)
	port := closedPort(t)
	write(t, b.file(".ssh/known_hosts"), knownLine(port, b.hostKey.PublicKey()))
	b.target.Ports = []int{port}
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{Memory: sshconn.OpenMemory(b.file("none.json"))})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("a port that never let us in: got %v", err)
	}
	memory := sshconn.OpenMemory(b.file("rungs.json"))
	memory.Remember("web1", sshconn.Rung{User: "me", Port: port})
	result := make(chan error, 1)
	go func() {
		conn, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{Memory: memory})
		if err == nil {
			err = conn.Close()
		}
		result <- err
	}()
	time.Sleep(200 * time.Millisecond) // so that it is refused first; early is as right
	b.listen(port)
	if err := <-result; err != nil {
		t.Errorf("a server that came back: %v", err)
	}
}

// The wait is bounded, and the error names each rung once.
func TestServerThatStaysAway(t *testing.T) {
	t.Cleanup(sshconn.ReloadPausesForTest([]time.Duration{time.Millisecond, time.Millisecond}))
	b := newBench(t)
	b.target.Ports = []int{closedPort(t), closedPort(t)}
	memory := sshconn.OpenMemory(b.file("rungs.json"))
	memory.Remember("web1", sshconn.Rung{User: "me", Port: b.target.Ports[1]})
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{Memory: memory})
	if got := attempts(t, err); len(got) != 2 {
		t.Errorf("got %d attempts, want 2: %v", len(got), err)
	}
}
