package script_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"holdfast/tasks/script"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, script.Module) }

// really runs a command on this machine, so that the way a script reaches its
// interpreter is tried and not assumed.
func really(t *testing.T) *tasktest.Host {
	t.Helper()
	h := tasktest.NewHost()
	h.OnRun = func(c task.Command) (task.Output, error) {
		cmd := exec.CommandContext(t.Context(), c.Argv[0], c.Argv[1:]...)
		cmd.Stdin, cmd.Dir = bytes.NewReader(c.Stdin), c.Dir
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return task.Output{}, err
		}
		return task.Output{Status: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}, nil
	}
	h.OnQuery = h.OnRun
	return h
}

func TestRun(t *testing.T) {
	tests := []struct{ name, args, want, fails string }{
		{"output", "text: echo hello", "hello", ""},
		{"arguments", "text: 'echo \"$2|$1\"'\nargs: [a b, c]", "c|a b", ""},
		{"several lines", "text: |\n  a=1\n  if test $a = 1; then\n    echo yes\n  fi\n", "yes", ""},
		{"a command that reads does not swallow the rest", "text: |\n  cat\n  echo after\n", "after", ""},
		{"a text in the script", "text: |\n  cat <<END\n  $HOME stays\n  END\n  echo done\n", " stays\ndone", ""},
		{"status", "text: exit 7", "", "the script exited with status 7 and said nothing"},
		{"accepted status", "text: exit 7\nstatus: [7]", "", ""},
		{"set -e", "text: |\n  set -e\n  false\n  echo no\n", "", "status 1"},
		{"last lines of a failure", "text: |\n  echo why >&2\n  exit 1\n", "", "status 1: why"},
		{"mistake in the script", "text: if", "", "the script exited with status"},
		{"directory", "text: pwd\ndir: /", "/", ""},
		{"only reads", "text: echo hello\nchanged: false", "hello", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result, _, err := tasktest.Run(t, really(t), script.Module, tt.args)
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Fatalf("got %v, want %q", err, tt.fails)
			}
			if got := result.(task.Ran).Stdout; !strings.HasSuffix(got, tt.want) {
				t.Errorf("output: got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestScriptIsNeverAnArgument(t *testing.T) {
	for args, want := range map[string]string{
		"text: echo 4711\nargs: [x]":                                  "/bin/sh -c script=$(cat) && exec </dev/null && eval \"$script\" script x",
		"text: echo 4711\nargs: [x]\ninterpreter: /usr/bin/python3":   "/usr/bin/python3 - x",
		"text: echo 4711\ninterpreter: /usr/bin/bash\nunless: x 4711": "/usr/bin/bash -c script=$(cat) && exec </dev/null && eval \"$script\" script",
	} {
		h := tasktest.NewHost()
		if _, _, err := tasktest.Run(t, h, script.Module, args); err != nil {
			t.Fatal(err)
		}
		c := h.Writes()[0].Args.(task.Command)
		if got := strings.Join(c.Argv, " "); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
		if string(c.Stdin) != "echo 4711" {
			t.Errorf("%s: got the input %q, want the script", args, c.Stdin)
		}
	}
}

func TestSkip(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"creates exists", "{text: a, creates: /etc/motd}", "/etc/motd exists"},
		{"creates does not", "{text: a, creates: /etc/new}", ""},
		{"removes exists", "{text: a, removes: /etc/motd}", ""},
		{"removes does not", "{text: a, removes: /etc/new}", "/etc/new does not exist"},
		{"unless succeeds", "{text: a, unless: 'true'}", "the script in unless exits 0"},
		{"unless fails", "{text: a, unless: 'false | false'}", ""},
		{"onlyif succeeds", "{text: a, onlyif: 'false || true'}", ""},
		{"onlyif fails", "{text: a, onlyif: exit 2}", "the script in onlyif exits 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := really(t)
			got, err := tasktest.Bind(t, h, script.Module, tt.args).Skip(t.Context(), h)
			if err != nil || got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestUndo(t *testing.T) {
	h := really(t)
	b := tasktest.Bind(t, h, script.Module, "{text: a, undo: echo stuck; exit 3}")
	if !b.Reversible || b.Undo == nil {
		t.Fatal("want it to be reversible: there is an undo")
	}
	err := b.Undo(t.Context(), h, []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), "the script in undo exited with status 3: stuck") {
		t.Errorf("got %v, want the failure of the undo", err)
	}
	if tasktest.Bind(t, h, script.Module, "{text: a}").Reversible {
		t.Error("a script without undo is not reversible")
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                 "there is nothing to run",
		"{text: a, src: b}":                  `cannot be combined with "src"`,
		"{text: a, interpreter: bash}":       "want an absolute path",
		"{text: a, undo: b, changed: false}": "has nothing to take back",
		"{text: a, status: [-1]}":            "-1 is no exit status",
	} {
		if got := tasktest.Fault(script.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
