//go:build hosts

package testscripts_test

import (
	"cmp"
	"context"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/runner/sandbox"
)

// hostsDir is the sandbox of these tests alone. Two runs at a time need two.
var hostsDir = cmp.Or(os.Getenv("HOLDFAST_TEST_SANDBOX"), "/var/lib/holdfast-sandbox-scripts")

// TestHosts runs the scripts in hosts/ on throwaway hosts, each on one that it has for
// itself. It fails where there can be no such hosts.
func TestHosts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("throwaway hosts take root; without the build tag hosts these tests are left out")
	}
	s, err := sandbox.Open(sandbox.Options{Dir: hostsDir, Progress: func(msg string) { t.Log(msg) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := s.Install(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Down(ctx); err != nil {
		t.Fatalf("what an earlier test left cannot be removed: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	names := []string{"one", "two"}
	if _, err := s.Up(ctx, sandbox.UpOptions{Names: names}); err != nil {
		t.Fatal(err)
	}
	inventory, err := s.Inventory()
	if err != nil {
		t.Fatal(err)
	}
	free := make(chan string, len(names))
	for _, name := range names {
		free <- name
	}
	p := params(hostFolder)
	p.Deadline = time.Now().Add(20 * time.Minute)
	p.Cmds = scriptCommands(append(commands, hostCommands...))
	p.Setup = func(env *testscript.Env) error {
		host := <-free
		env.Defer(func() { free <- host })
		env.Values[consoleKey{}] = s
		env.Setenv("HOST", host)
		env.Setenv("INVENTORY", inventory)
		env.Setenv("HOLDFAST_INVENTORY", inventory)
		return setup(env)
	}
	// The scripts run in parallel, and all of them before the hosts go.
	t.Run("hosts", func(t *testing.T) { testscript.Run(t, p) })
}
