package command_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/tasks/command"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, command.Module) }

func TestWords(t *testing.T) {
	tests := []struct{ line, want string }{
		{"true", `["true"]`},
		{"  a   b\t c ", `["a" "b" "c"]`},
		{`a 'b  c' "d e"`, `["a" "b  c" "d e"]`},
		{`a b'c d'"e f"`, `["a" "bc de f"]`},
		{`a '' ""`, `["a" "" ""]`},
		{`a b\ c \"`, `["a" "b c" "\""]`},
		{`a "b\"c\\d\e"`, `["a" "b\"c\\d\\e"]`},
		{`a 'b\c'`, `["a" "b\\c"]`},
		{`a $HOME *.txt`, `["a" "$HOME" "*.txt"]`},
		{"a 'x | y > z'", `["a" "x | y > z"]`},
		{"a\nb", `["a" "b"]`},
	}
	for _, tt := range tests {
		h := tasktest.NewHost()
		if _, _, err := tasktest.Run(t, h, command.Module, fmt.Sprintf("{cmd: %q}", tt.line)); err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if got := fmt.Sprintf("%q", h.Writes()[0].Args.(task.Command).Argv); got != tt.want {
			t.Errorf("words of %s: got %s, want %s", tt.line, got, tt.want)
		}
	}
}

func TestRun(t *testing.T) {
	tests := []struct {
		name, args string
		out        task.Output
		changed    bool
		want       string // of the failure
	}{
		{"success", "{cmd: a}", task.Output{}, true, ""},
		{"success that only reads", "{cmd: a, changed: false}", task.Output{}, false, ""},
		{"failure", "{cmd: /bin/a b}", task.Output{Status: 3, Stderr: "no such b\n"}, false, "a exited with status 3: no such b"},
		{"failure that speaks on the wrong stream", "{cmd: a}", task.Output{Status: 1, Stdout: "sorry\n"}, false, "a exited with status 1: sorry"},
		{"silent failure", "{cmd: a}", task.Output{Status: 1}, false, "a exited with status 1 and said nothing"},
		{"accepted status", "{cmd: a, status: [0, 3]}", task.Output{Status: 3}, true, ""},
		{"zero is not accepted by itself", "{cmd: a, status: [3]}", task.Output{}, false, "a exited with status 0"},
		{"long failure", "{cmd: a}", task.Output{Status: 1, Stderr: strings.Repeat("early\n", 50) + "last\n"}, false, "…\nearly"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			answer := func(task.Command) (task.Output, error) { return tt.out, nil }
			h.OnRun, h.OnQuery = answer, answer
			result, changed, err := tasktest.Run(t, h, command.Module, tt.args)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if changed != tt.changed {
				t.Errorf("changed: got %t, want %t", changed, tt.changed)
			}
			if got := result.(task.Ran).Status; got != int64(tt.out.Status) {
				t.Errorf("status: got %d, want %d", got, tt.out.Status)
			}
		})
	}
}

func TestReadingUsesAQuery(t *testing.T) {
	h := tasktest.NewHost()
	h.OnQuery = func(task.Command) (task.Output, error) { return task.Output{Stdout: "6.1\n\n"}, nil }
	result, _, err := tasktest.Run(t, h, command.Module, "{cmd: uname -r, changed: false}")
	if err != nil || result.(task.Ran).Stdout != "6.1" {
		t.Errorf("got %v (%v), want the output without line ends", result, err)
	}
	if w := h.Writes(); len(w) > 0 {
		t.Errorf("got the writes %v, want none", w)
	}
}

func TestCommandGetsWhatWasAsked(t *testing.T) {
	h := tasktest.NewHost()
	args := "argv: [a, 'b c']\ndir: /srv\nenv: {X: y}\nstdin: text\nsecret_env: " + secretEnv
	if _, _, err := tasktest.Run(t, h, command.Module, args); err != nil {
		t.Fatal(err)
	}
	c := h.Writes()[0].Args.(task.Command)
	if c.Dir != "/srv" || c.Env["X"] != "y" || string(c.Stdin) != "text" || c.Secrets["KEY"].Reveal() != tasktest.Canary || len(c.Argv) != 2 {
		t.Errorf("got %+v, want all that was asked for", c)
	}
}

func TestSkip(t *testing.T) {
	fails := func(task.Command) (task.Output, error) { return task.Output{Status: 1}, nil }
	tests := []struct {
		name, args string
		onQuery    func(task.Command) (task.Output, error)
		want       string
	}{
		{"creates exists", "{cmd: a, creates: /etc/motd}", nil, "/etc/motd exists"},
		{"creates does not", "{cmd: a, creates: /etc/new}", nil, ""},
		{"removes exists", "{cmd: a, removes: /etc/motd}", nil, ""},
		{"removes does not", "{cmd: a, removes: /etc/new}", nil, "/etc/new does not exist"},
		{"unless succeeds", "{cmd: a, unless: b}", nil, "the command in unless exits 0"},
		{"unless fails", "{cmd: a, unless: b}", fails, ""},
		{"onlyif succeeds", "{cmd: a, onlyif: b}", nil, ""},
		{"onlyif fails", "{cmd: a, onlyif: b}", fails, "the command in onlyif exits 1"},
		{"the first reason counts", "{cmd: a, creates: /etc/new, onlyif: b}", fails, "the command in onlyif exits 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			h.OnQuery = tt.onQuery
			got, err := tasktest.Bind(t, h, command.Module, tt.args).Skip(t.Context(), h)
			if err != nil || got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestUndo(t *testing.T) {
	h := tasktest.NewHost()
	var ran []string
	h.OnRun = func(c task.Command) (task.Output, error) {
		ran = append(ran, strings.Join(c.Argv, " "))
		return task.Output{Status: len(ran) - 1, Stderr: "stuck"}, nil
	}
	b := tasktest.Bind(t, h, command.Module, "{cmd: mesh join, undo: mesh leave}")
	if !b.Reversible || b.Undo == nil {
		t.Fatal("want it to be reversible: there is an undo")
	}
	if err := b.Undo(t.Context(), h, []byte(`{"status":0}`)); err != nil {
		t.Errorf("got %v, want none", err)
	}
	if err := b.Undo(t.Context(), h, []byte(`{"status":0}`)); err == nil || !strings.Contains(err.Error(), "mesh exited with status 1: stuck") {
		t.Errorf("got %v, want the failure of the undo", err)
	}
	if want := "mesh leave; mesh leave"; strings.Join(ran, "; ") != want {
		t.Errorf("got %q, want %q", ran, want)
	}
}

func TestReversible(t *testing.T) {
	for args, want := range map[string]bool{
		"{cmd: a}":                 false,
		"{cmd: a, undo: b}":        true,
		"{cmd: a, changed: false}": true,
	} {
		if got := tasktest.Bind(t, tasktest.NewHost(), command.Module, args).Reversible; got != want {
			t.Errorf("command %s reversible: got %t, want %t", args, got, want)
		}
	}
}

func TestUnknownIsPassedOn(t *testing.T) {
	h := tasktest.NewHost()
	h.OnQuery = func(task.Command) (task.Output, error) {
		return task.Output{}, task.Unknownf("a script ran before")
	}
	if _, err := tasktest.Bind(t, h, command.Module, "{cmd: a, unless: b}").Skip(t.Context(), h); !errors.Is(err, task.ErrUnknown) {
		t.Errorf("got %v, want %v", err, task.ErrUnknown)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                "there is nothing to run",
		"{cmd: a, argv: [b]}":               `cannot be combined with "argv"`,
		"{argv: []}":                        "0 entries is less than 1",
		"{cmd: ''}":                         "names no program",
		"{argv: ['']}":                      "names no program",
		"{cmd: a | b}":                      "is for a shell, and there is none",
		"{cmd: a > b}":                      "is for a shell",
		"{cmd: a && b}":                     "is for a shell",
		"{cmd: \"a 'b\"}":                   "is never closed",
		"{cmd: 'a \\'}":                     "ends in a backslash",
		"{cmd: a, unless: b; c}":            "command.unless: \";\" is for a shell",
		"{cmd: a, undo: ' '}":               "command.undo: names no program",
		"{cmd: a, undo: b, changed: false}": "has nothing to take back",
		"{cmd: a, status: [256]}":           "256 is no exit status",
		"{cmd: a, creates: b}":              "want an absolute path",
		"env: {KEY: a}\ncmd: a\nsecret_env: " + secretEnv:                                                    "is in env",
		"cmd: a\nsecret_env: [" + strings.Trim(secretEnv, "[]") + ", " + strings.Trim(secretEnv, "[]") + "]": "is given twice",
	} {
		if got := tasktest.Fault(command.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

const secretEnv = `[{name: KEY, value: "${secret('x')}"}]`
