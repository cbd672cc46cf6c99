package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// sample returns one valid message of each kind.
func sample() []*wire.Message {
	digest := strings.Repeat("0a", 32)
	step := wire.Step{N: 1, Path: "tasks[0]", Name: "motd", Module: "file", Args: json.RawMessage(`{"path":"/etc/motd"}`), Timeout: time.Minute,
		Notify: []string{"reload"}, RunAs: "root", Register: true, Retries: 2, Delay: time.Second}
	later := step
	later.N = 7
	return []*wire.Message{
		{Hello: &wire.Hello{Min: 1, Max: 1, Build: "b", Run: "r1", Mode: "apply", Playbook: "p", Version: "1.0.0", Controller: "c", User: "u", Command: "x",
			Reattach: time.Minute, Token: "t", Attach: &wire.Attach{Run: "r0", Seen: 3, Action: wire.AttachFollow}}},
		{Leave: &wire.Leave{}},
		{Welcome: &wire.Welcome{Min: 1, Max: 2, Build: "b", Platform: "linux/amd64", Facts: &task.Facts{Hostname: "h"}, Fence: 3,
			Attached: &wire.Attached{Run: "r0", From: 2, Program: &wire.Program{ID: 2, Steps: []wire.Step{step}}},
			Pending:  []wire.PendingHandler{{Name: "reload", Run: "r0"}}, Runs: []wire.Run{{ID: "r0", Playbook: "p", Status: "succeeded"}}}},
		{Program: &wire.Program{ID: 1, Steps: []wire.Step{step, later}, Handlers: []wire.Handler{{Name: "reload", Steps: []wire.Step{step}}}, Queue: []string{"reload"}, Flush: true, Final: true,
			Rollback: &wire.Rollback{From: 1, To: 7, Whole: true}}},
		{Undo: &wire.Undo{Run: "r0", Only: []string{"/etc/motd"}}},
		{Cancel: &wire.Cancel{Now: true}},
		{NoBlob: &wire.NoBlob{Digest: digest, Error: "gone"}},
		{Started: &wire.Started{N: 1, Handler: "reload"}},
		{Result: &wire.Result{N: 1, Status: "changed", Resource: "/etc/motd", Changes: []task.Change{task.Set("mode", "0600", "0644")},
			State: json.RawMessage(`{"exists":true}`), Queued: []string{"reload"}, Attempts: 2, Took: time.Second, Output: "out"}},
		{Undone: &wire.Undone{Resource: "/etc/motd", Task: "motd", Action: "put back", Status: "undone"}},
		{Progress: &wire.Progress{N: 1, Message: "half"}},
		{NeedBlob: &wire.NeedBlob{Digest: digest}},
		{Warning: &wire.Warning{Message: "careful", Hint: "look"}},
		{Done: &wire.Done{ID: 1, Failed: 2, Pending: []string{"reload"}}},
		{Ask: &wire.Ask{What: wire.AskBlame, Run: "r0", Resource: "/etc/motd", Limit: 3, From: 2}},
		{Answer: &wire.Answer{Runs: []wire.Run{{ID: "r0", Status: "died", User: "u"}}, Tasks: []wire.PastTask{{ID: 1, Module: "file", Status: "changed"}},
			Changes:  []wire.Change{{Task: 1, Resource: "/etc/motd", Did: "write", Before: "absent", After: "file"}},
			Receipts: []wire.Receipt{{Run: "r0", Did: "write", Drift: "its content was changed since"}},
			Resource: &wire.Resource{Name: "/etc/motd", State: wire.Others, Now: "file"},
			Ledger:   &wire.LedgerLook{Receipts: 3, Line: 2, Why: "it was changed", Missing: []string{"r0"}}, Next: 5}},
		{Guard: &wire.Guard{Action: wire.GuardProve, Nonce: "n", Path: 1}},
		{GuardState: &wire.GuardState{Status: "armed", Run: "r0", Left: time.Second, Paths: []string{"root@h:22"}, Proved: []int{0}}},
		{Refused: &wire.Refused{Error: "no", Locked: true}},
		{Unsupported: &wire.Unsupported{Kind: "future"}},
	}
}

func TestEveryKindComesBack(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range sample() {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.EnsureValid(); err != nil {
			t.Errorf("%s: got %v, want a valid message", b, err)
		}
		back, err := wire.DecodeMessage(b)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s: came back as %+v, %v", b, back, err)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(string(b), `{"`), `"`)
		seen[kind] = true
	}
	if got, want := len(seen), reflect.TypeFor[wire.Message]().NumField(); got != want {
		t.Errorf("the sample has %d kinds of messages, there are %d", got, want)
	}
}

// mutate returns the sample of a kind after a change.
func mutate(t *testing.T, kind string, change func(*wire.Message)) *wire.Message {
	t.Helper()
	for _, m := range sample() {
		if !reflect.ValueOf(m).Elem().FieldByName(kind).IsNil() {
			change(m)
			return m
		}
	}
	t.Fatalf("there is no kind %s", kind)
	return nil
}

func TestEnsureValid(t *testing.T) {
	long := strings.Repeat("x", 4097)
	text := strings.Repeat("x", 1<<20+1)
	tests := []struct {
		kind, name string
		change     func(*wire.Message)
	}{
		{"Hello", "no protocol", func(m *wire.Message) { m.Hello.Min = 0 }},
		{"Hello", "empty range", func(m *wire.Message) { m.Hello.Min = 3 }},
		{"Hello", "no run", func(m *wire.Message) { m.Hello.Run = "" }},
		{"Hello", "no mode", func(m *wire.Message) { m.Hello.Mode = "" }},
		{"Hello", "long command", func(m *wire.Message) { m.Hello.Command = long }},
		{"Welcome", "no facts", func(m *wire.Message) { m.Welcome.Facts = nil }},
		{"Welcome", "empty range", func(m *wire.Message) { m.Welcome.Max = 0 }},
		{"Welcome", "long platform", func(m *wire.Message) { m.Welcome.Platform = long }},
		{"Welcome", "long name of a handler", func(m *wire.Message) { m.Welcome.Pending[0].Name = long }},
		{"Welcome", "long name of a run", func(m *wire.Message) { m.Welcome.Runs[0].ID = long }},
		{"Welcome", "many addresses", func(m *wire.Message) { m.Welcome.Facts.Addresses = make([]string, 10_001) }},
		{"Welcome", "many runs", func(m *wire.Message) { m.Welcome.Runs = make([]wire.Run, 10_001) }},
		{"Program", "steps out of order", func(m *wire.Message) { m.Program.Steps[1].N = 1 }},
		{"Program", "step 0", func(m *wire.Message) { m.Program.Steps[0].N = 0 }},
		{"Program", "number of a step that an earlier run left", func(m *wire.Message) { m.Program.Steps[1].N = wire.Left }},
		{"Program", "no module", func(m *wire.Message) { m.Program.Steps[0].Module = "" }},
		{"Program", "no time limit", func(m *wire.Message) { m.Program.Steps[0].Timeout = 0 }},
		{"Program", "endless time limit", func(m *wire.Message) { m.Program.Steps[0].Timeout = 1 << 62 }},
		{"Program", "negative retries", func(m *wire.Message) { m.Program.Steps[0].Retries = -1 }},
		{"Program", "negative delay", func(m *wire.Message) { m.Program.Steps[0].Delay = -1 }},
		{"Program", "long name", func(m *wire.Message) { m.Program.Steps[0].Name = long }},
		{"Program", "handler without a name", func(m *wire.Message) { m.Program.Handlers[0].Name = "" }},
		{"Program", "wrong step of a handler", func(m *wire.Message) { m.Program.Handlers[0].Steps[0].Timeout = 0 }},
		{"Program", "rollback of no step", func(m *wire.Message) { m.Program.Rollback.From = 0 }},
		{"Program", "rollback that ends before it begins", func(m *wire.Message) { m.Program.Rollback.From = 8 }},
		{"Program", "rollback of what an earlier run left", func(m *wire.Message) { m.Program.Rollback.To = wire.Left }},
		{"Program", "many handlers to queue", func(m *wire.Message) { m.Program.Queue = make([]string, 10_001) }},
		{"Undo", "no run", func(m *wire.Message) { m.Undo.Run = "" }},
		{"Undo", "many resources", func(m *wire.Message) { m.Undo.Only = make([]string, 10_001) }},
		{"NoBlob", "short digest", func(m *wire.Message) { m.NoBlob.Digest = "00" }},
		{"NoBlob", "long error", func(m *wire.Message) { m.NoBlob.Error = text }},
		{"Started", "step 0", func(m *wire.Message) { m.Started.N = 0 }},
		{"Started", "long handler", func(m *wire.Message) { m.Started.Handler = long }},
		{"Result", "step 0", func(m *wire.Message) { m.Result.N = 0 }},
		{"Result", "unknown status", func(m *wire.Message) { m.Result.Status = "splendid" }},
		{"Result", "no status", func(m *wire.Message) { m.Result.Status = "" }},
		{"Result", "many changes", func(m *wire.Message) { m.Result.Changes = make([]task.Change, 10_001) }},
		{"Result", "many handlers", func(m *wire.Message) { m.Result.Queued = make([]string, 10_001) }},
		{"Result", "long handler", func(m *wire.Message) { m.Result.Queued[0] = long }},
		{"Result", "negative duration", func(m *wire.Message) { m.Result.Took = -1 }},
		{"Result", "negative attempts", func(m *wire.Message) { m.Result.Attempts = -1 }},
		{"Result", "long output", func(m *wire.Message) { m.Result.Output = text }},
		{"Result", "long error", func(m *wire.Message) { m.Result.Error = text }},
		{"Result", "long hint", func(m *wire.Message) { m.Result.Hint = text }},
		{"Result", "long resource", func(m *wire.Message) { m.Result.Resource = long }},
		{"Undone", "unknown status", func(m *wire.Message) { m.Undone.Status = "perhaps" }},
		{"Undone", "long resource", func(m *wire.Message) { m.Undone.Resource = long }},
		{"Undone", "long message", func(m *wire.Message) { m.Undone.Message = text }},
		{"Progress", "negative step", func(m *wire.Message) { m.Progress.N = -1 }},
		{"Progress", "long message", func(m *wire.Message) { m.Progress.Message = text }},
		{"NeedBlob", "no digest", func(m *wire.Message) { m.NeedBlob.Digest = "" }},
		{"NeedBlob", "path for a digest", func(m *wire.Message) { m.NeedBlob.Digest = strings.Repeat("../", 21) + "x" }},
		{"NeedBlob", "capitals", func(m *wire.Message) { m.NeedBlob.Digest = strings.Repeat("0A", 32) }},
		{"Warning", "long message", func(m *wire.Message) { m.Warning.Message = text }},
		{"Done", "negative step", func(m *wire.Message) { m.Done.Failed = -1 }},
		{"Done", "many handlers", func(m *wire.Message) { m.Done.Pending = make([]string, 10_001) }},
		{"Done", "long handler", func(m *wire.Message) { m.Done.Pending[0] = long }},
		{"Done", "long error", func(m *wire.Message) { m.Done.Error = text }},
		{"Ask", "nothing", func(m *wire.Message) { m.Ask.What = "" }},
		{"Ask", "something unknown", func(m *wire.Message) { m.Ask.What = strings.Repeat("x", 9999) }},
		{"Ask", "no resource", func(m *wire.Message) { m.Ask.Resource = "" }},
		{"Ask", "no run", func(m *wire.Message) { m.Ask.What, m.Ask.Run = wire.AskRun, "" }},
		{"Ask", "long resource", func(m *wire.Message) { m.Ask.Resource = long }},
		{"Ask", "negative page", func(m *wire.Message) { m.Ask.From = -1 }},
		{"Answer", "negative page", func(m *wire.Message) { m.Answer.Next = -1 }},
		{"Answer", "many runs", func(m *wire.Message) { m.Answer.Runs = make([]wire.Run, 10_001) }},
		{"Answer", "many tasks", func(m *wire.Message) { m.Answer.Tasks = make([]wire.PastTask, 10_001) }},
		{"Answer", "many changes", func(m *wire.Message) { m.Answer.Changes = make([]wire.Change, 10_001) }},
		{"Answer", "many receipts", func(m *wire.Message) { m.Answer.Receipts = make([]wire.Receipt, 10_001) }},
		{"Answer", "many missing runs", func(m *wire.Message) { m.Answer.Ledger.Missing = make([]string, 10_001) }},
		{"Answer", "negative changes", func(m *wire.Message) { m.Answer.Runs[0].Changes = -1 }},
		{"Answer", "task 0", func(m *wire.Message) { m.Answer.Tasks[0].ID = 0 }},
		{"Answer", "long error of a task", func(m *wire.Message) { m.Answer.Tasks[0].Error = text }},
		{"Answer", "long fingerprint", func(m *wire.Message) { m.Answer.Changes[0].After = long }},
		{"Answer", "long user", func(m *wire.Message) { m.Answer.Receipts[0].User = long }},
		{"Answer", "unknown state", func(m *wire.Message) { m.Answer.Resource.State = "splendid" }},
		{"Answer", "long drift", func(m *wire.Message) { m.Answer.Resource.Drift = long }},
		{"Answer", "negative line", func(m *wire.Message) { m.Answer.Ledger.Line = -1 }},
		{"Answer", "long reason", func(m *wire.Message) { m.Answer.Ledger.Why = long }},
		{"Refused", "long error", func(m *wire.Message) { m.Refused.Error = text }},
		{"Unsupported", "long kind", func(m *wire.Message) { m.Unsupported.Kind = long }},
		{"Cancel", "two kinds", func(m *wire.Message) { m.Done = &wire.Done{} }},
	}
	for _, tt := range tests {
		m := mutate(t, tt.kind, tt.change)
		err := m.EnsureValid()
		if err == nil {
			t.Errorf("%s, %s: got no error", tt.kind, tt.name)
			continue
		}
		if len(err.Error()) > 500 {
			t.Errorf("%s, %s: got an error of %d bytes, which a peer could fill", tt.kind, tt.name, len(err.Error()))
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.DecodeMessage(b); err == nil {
			t.Errorf("%s, %s: it was taken in", tt.kind, tt.name)
		}
	}
	// Encoding turns no arguments into null, which a module may take.
	if err := mutate(t, "Program", func(m *wire.Message) { m.Program.Steps[0].Args = nil }).EnsureValid(); err == nil {
		t.Error("Program, no arguments: got no error")
	}
}
