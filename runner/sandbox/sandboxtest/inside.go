// Package sandboxtest runs tests of packages inside throwaway hosts. Tests alone import it.
package sandboxtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/runner/sandbox"
)

// insideHost is set in the throwaway host, where the test runs a second time.
const insideHost = "HOLDFAST_TEST_INSIDE_HOST"

// Inside boots a throwaway host of that name, copies the program of the test into it and
// runs the test again there, where it calls trials: they change accounts, packages and
// units, and need systemd as process 1.
func Inside(t *testing.T, name string, trials func(t *testing.T)) {
	t.Helper()
	if os.Getenv(insideHost) != "" {
		trials(t)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	sb, err := sandbox.Open(sandbox.Options{Dir: t.TempDir(), Suite: os.Getenv("HOLDFAST_TEST_SUITE"), Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sb.Down(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := sb.Up(ctx, sandbox.UpOptions{Names: []string{name}}); err != nil {
		t.Fatal(err)
	}
	put := []string{"sh", "-c", "cat >/root/trial && chmod 755 /root/trial"}
	if status, err := sb.Exec(ctx, name, bytes.NewReader(build(ctx, t)), nil, nil, put...); err != nil || status != 0 {
		t.Fatalf("copying the test program: status %d, %v", status, err)
	}
	var out bytes.Buffer
	status, err := sb.Exec(ctx, name, nil, &out, &out, "env", insideHost+"=1", "sh", "-c", enter, t.Name())
	t.Logf("in the host:\n%s", out.String())
	if err != nil || status != 0 {
		t.Fatalf("the trials ended with status %d, %v", status, err)
	}
}

// build makes the test program of the package in the working folder, which is where go
// test runs it.
func build(ctx context.Context, t *testing.T) []byte {
	t.Helper()
	program := filepath.Join(t.TempDir(), "trial")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "hosts", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// enter moves the trials into a cgroup of the host's own: logind of systemd 257
// does not talk to processes that come from outside.
const enter = `
for d in /sys/fs/cgroup/systemd /sys/fs/cgroup; do
	if [ -e $d/cgroup.procs ]; then
		mkdir -p $d/trial.slice
		echo $$ >$d/trial.slice/cgroup.procs
		break
	fi
done
exec /root/trial "-test.run=^$0$" -test.v`
