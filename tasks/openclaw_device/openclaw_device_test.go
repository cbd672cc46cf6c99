package openclawdevice

import (
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

func TestSettled(t *testing.T) {
	paired, absent := Params{State: "paired"}, Params{State: "absent"}
	for name, tt := range map[string]struct {
		p    Params
		s    State
		want string
	}{
		"no gateway":     {paired, State{}, "no gateway runs"},
		"paired":         {paired, State{Running: true, Outcome: "ok", Known: true}, "the device is paired"},
		"unknown":        {paired, State{Running: true, Outcome: "not paired"}, ""},
		"known for less": {paired, State{Running: true, Outcome: "not paired", Known: true}, ""},
		"to go":          {absent, State{Running: true, Known: true}, ""},
		"gone":           {absent, State{Running: true}, "the device is not known"},
	} {
		if got := tt.s.settled(&tt.p); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestOnlyItsOwnRequestIsApproved(t *testing.T) {
	h := tasktest.NewHost()
	for _, id := range []string{"", "--latest", "a b", "x;y"} {
		err := apply(t.Context(), h, Params{State: "paired", Program: "/bin/openclaw"}, State{Running: true, RequestID: id})
		if err == nil || !strings.Contains(err.Error(), "no request that waits has its name, its key and no other scopes") || len(h.Writes()) > 0 {
			t.Errorf("%q: got %v and %v", id, err, h.Writes())
		}
	}
}

func TestCommands(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(h *tasktest.Host) error
		want string
	}{
		"approve": {func(h *tasktest.Host) error {
			return apply(t.Context(), h, Params{State: "paired", User: "admin", Program: "/p"}, State{RequestID: "r-1"})
		}, "/p devices approve r-1 --json"},
		"remove": {func(h *tasktest.Host) error {
			return apply(t.Context(), h, Params{State: "absent", User: "admin", Program: "/p"}, State{DeviceID: "d"})
		}, "/p devices remove d --json"},
	} {
		h, got := tasktest.NewHost(), ""
		h.OnRun = func(c task.Command) (task.Output, error) {
			if got = strings.Join(c.Argv, " "); c.User != "admin" {
				t.Errorf("%s runs as %q", name, c.User)
			}
			return task.Output{}, nil
		}
		if err := tt.do(h); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, tt.want)
		}
		h.OnRun = func(task.Command) (task.Output, error) { return task.Output{Status: 1, Stderr: "no\x1b such"}, nil }
		if err := tt.do(h); tt.want != "" && (err == nil || !strings.Contains(err.Error(), "openclaw exits 1: no  such")) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestFaults(t *testing.T) {
	const keys = `device: "${secret('d')}", token: "${secret('t')}"`
	for args, want := range map[string]string{
		"{" + keys + "}":                                     "scopes",
		"{" + keys + ", scopes: [all]}":                      `"all" is no scope`,
		"{" + keys + ", scopes: [operator.read], state: on}": "state",
		"{device: abc, scopes: [operator.read]}":             "want ${secret(",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
