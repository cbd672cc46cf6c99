package guard_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/guard"
)

func TestOneTakesBackAtATime(t *testing.T) {
	dir := t.TempDir()
	done, err := guard.Open(dir).Turn()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		done, err := guard.Open(dir).Turn()
		if err == nil {
			done()
		}
		second <- err
	}()
	select {
	case err := <-second:
		t.Fatalf("got a second turn (error %v) while the first lasts, want it to wait", err)
	case <-time.After(100 * time.Millisecond):
	}
	done()
	select {
	case err := <-second:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("got no turn after the first ended")
	}
}

// Where there is no systemd, the guard is a process in a session of its own, so that
// the end of the login that started it does not end it.
func TestDetachedGuard(t *testing.T) {
	g := guard.Open(t.TempDir())
	if err := os.MkdirAll(g.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(g.Dir(), "out")
	toy := "#!/bin/sh\n{ cut -d' ' -f1,6 /proc/$$/stat; pwd; echo \"$1\"; } >\"$2.new\"\nmv \"$2.new\" \"$2\"\n"
	if err := os.WriteFile(g.Program(), []byte(toy), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := g.Detach("guard", out); err != nil {
		t.Fatal(err)
	}
	var b []byte
	for range 100 {
		var err error
		if b, err = os.ReadFile(out); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	got := strings.Fields(string(b))
	if len(got) != 4 || got[0] != got[1] || got[2] != "/" || got[3] != "guard" {
		t.Errorf("got process, session, folder and argument %q, want the leader of a session in / with its argument", got)
	}
}
