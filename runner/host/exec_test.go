package host_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

func sh(script string) task.Command { return task.Command{Argv: []string{"sh", "-c", script}} }

func TestCommand(t *testing.T) {
	r := newBench(t).m.Reader()
	for _, tt := range []struct {
		name string
		cmd  task.Command
		want task.Output
	}{
		{"both streams and a status", sh("echo out; echo err >&2; exit 3"), task.Output{Status: 3, Stdout: "out\n", Stderr: "err\n"}},
		{"a signal", sh("kill -9 $$"), task.Output{Status: 137}},
		{"stdin", task.Command{Argv: []string{"cat"}, Stdin: []byte("in")}, task.Output{Stdout: "in"}},
		{"no stdin", task.Command{Argv: []string{"cat"}}, task.Output{}},
		{"a folder", task.Command{Argv: []string{"pwd"}, Dir: "/usr"}, task.Output{Stdout: "/usr\n"}},
		{"an environment", task.Command{Argv: []string{"sh", "-c", "echo $A $B $HOME"}, Env: map[string]string{"A": "1"},
			Secrets: map[string]task.SecretText{"B": secret.New("two")}}, task.Output{Stdout: "1 two /root\n"}},
		{"another account", task.Command{Argv: []string{"id", "-un"}, User: "nobody"}, task.Output{Stdout: "nobody\n"}},
		{"its own session", sh("ps -o sid= -p $$ | tr -d ' ' | grep -qx $$"), task.Output{}},
		{"no open files of ours", sh("ls /proc/self/fd | wc -l"), task.Output{Stdout: "4\n"}},
	} {
		got, err := r.Query(ctx, tt.cmd)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v and error %v, want %+v", tt.name, got, err, tt.want)
		}
	}
	t.Setenv("LEAK", "x")
	if got, _ := r.Query(ctx, sh("env")); strings.Contains(got.Stdout, "LEAK") {
		t.Error("the helper's own environment leaks into commands")
	}
	if _, err := r.Query(ctx, task.Command{Argv: []string{"no-such-program"}}); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got error %v, want not found", err)
	}
}

func TestFloodOfOutput(t *testing.T) {
	r := newBench(t).m.Reader()
	got, err := r.Query(ctx, sh("echo first; head -c 50000000 /dev/zero; echo last"))
	if err != nil || !got.Truncated {
		t.Fatalf("got truncated %t and error %v, want a cut output", got.Truncated, err)
	}
	if n := len(got.Stdout); n > task.DefaultMaxOutput+100 {
		t.Errorf("got %d bytes, want about %d", n, task.DefaultMaxOutput)
	}
	if !strings.HasPrefix(got.Stdout, "first\n") || !strings.HasSuffix(got.Stdout, "last\n") {
		t.Errorf("got %.10q…%.10q, want the first and the last line", got.Stdout, got.Stdout[len(got.Stdout)-10:])
	}
}

func TestDaemonThatKeepsTheOutputOpen(t *testing.T) {
	r := newBench(t).m.Reader()
	start := time.Now()
	got, err := r.Query(ctx, sh("setsid sleep 30 & echo started $!"))
	if took := time.Since(start); err != nil || took > 25*time.Second {
		t.Errorf("got error %v after %s, want none long before the daemon ends", err, took)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(got.Stdout, "started ")))
	if err != nil {
		t.Fatalf("got %q, want the number of the daemon", got.Stdout)
	}
	p, _ := os.FindProcess(pid)
	if err := p.Kill(); err != nil {
		t.Errorf("got error %v, want that the daemon lives on", err)
	}
}

// alive reports whether a process with this marker in its arguments lives.
func alive(marker string) bool {
	names, _ := os.ReadDir("/proc")
	for _, n := range names {
		b, _ := os.ReadFile("/proc/" + n.Name() + "/cmdline")
		if strings.Contains(string(b), marker) {
			return true
		}
	}
	return false
}

func TestWholeTreeIsStopped(t *testing.T) {
	r := newBench(t).m.Reader()
	for _, tt := range []struct{ name, script string }{
		{"a child", "sleep 4711.1"},
		{"a child that waits", "sleep 4711.1; true"},
		{"a child in another session", "setsid sleep 4711.1 & wait"},
		{"an orphan in another session", "(setsid sleep 4711.1 &) ; sleep 4711.1"},
	} {
		c, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		start := time.Now()
		_, err := r.Query(c, sh(tt.script))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got error %v, want the time limit", tt.name, err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: took %s", tt.name, took)
		}
		if alive("4711.1") {
			t.Errorf("%s: a process is left", tt.name)
		}
	}
}

func TestCommandThatIgnoresSIGTERM(t *testing.T) {
	r := newBench(t).m.Reader()
	c, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := r.Query(c, sh("trap '' TERM; echo x; while :; do sleep 4711.2; done"))
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Minute {
		t.Errorf("got error %v after %s, want the time limit", err, took)
	}
	if alive("4711.2") {
		t.Error("a process is left")
	}
}

func TestStreamedLines(t *testing.T) {
	b := newBench(t)
	w := b.writer()
	_, err := w.Run(ctx, task.Command{Argv: []string{"printf", `a\nb\n\nc`}, Stream: true})
	b.must(err)
	rec, err := b.store.Load("r1")
	b.must(err)
	if e := rec.Entries[0]; e.Op != "run" || !e.Finished {
		t.Errorf("got entry %+v, want a finished run", e)
	}
}
