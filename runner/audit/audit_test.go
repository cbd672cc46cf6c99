package audit_test

import (
	"encoding/json"
	"testing"
	"time"

	"holdfast/runner/audit"
	"holdfast/runner/event"
	"holdfast/tasks/task"
)

func planned(ids ...string) []audit.Planned {
	var out []audit.Planned
	for _, id := range ids {
		out = append(out, audit.Planned{Path: "verify/" + id, Finding: task.Finding{ID: id, Section: "S", Title: "T " + id}})
	}
	return out
}

// collect feeds a collector with the outcomes of tasks on one host.
func collect(plan []audit.Planned, connected bool, events ...event.Event) *audit.Report {
	c := audit.NewCollector(plan)
	c.Emit(event.Event{RunStarted: &event.RunStarted{Run: "r", Playbook: "audit", Version: "1.0.0", Hosts: []string{"a"}}})
	if connected {
		c.Emit(event.Event{Host: "a", HostConnected: &event.HostConnected{OS: "Debian"}})
	}
	for _, e := range events {
		e.Host = "a"
		c.Emit(e)
	}
	return c.Reports()[0]
}

func done(path, module string, status event.Status, f *task.Finding, message string) event.Event {
	return event.Event{TaskFinished: &event.TaskFinished{Task: event.Task{Path: path, Module: module, Name: "N"}, Status: status, Finding: f, Error: message, Reason: message}}
}

func finished(s event.HostStatus) event.Event {
	return event.Event{HostFinished: &event.HostFinished{Status: s}}
}

// states returns the state and the reason of each line.
func states(r *audit.Report) map[string]string {
	out := map[string]string{}
	for _, l := range r.Lines {
		out[l.ID] = string(l.State) + "|" + l.Reason
	}
	return out
}

func TestNothingPassesByBeingLeftOut(t *testing.T) {
	pass := &task.Finding{ID: "seen", Section: "S", Title: "T", State: task.FindingPass}
	r := collect(planned("seen", "broken", "skipped", "never"), true,
		done("verify/seen", "finding", event.Unchanged, pass, ""),
		done("verify/broken", "finding", event.Failed, nil, "it depends on a look, which gave no result"),
		done("verify/skipped", "finding", event.Skipped, nil, "when is false"),
		done("verify/look", "script", event.Ignored, nil, "timed out"),
		done("verify/other", "file", event.Failed, nil, "not as described"), finished(event.HostFailed))
	want := map[string]string{"seen": "pass|", "broken": "not known|it depends on a look, which gave no result", "skipped": "not applicable|when is false",
		"never": "not known|the audit did not come that far", "verify/other": "fail|"}
	got := states(r)
	if len(got) != len(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for id, s := range want {
		if got[id] != s {
			t.Errorf("%s: got %q, want %q", id, got[id], s)
		}
	}
	if !r.Bad() || r.Error != "" {
		t.Errorf("bad %v, error %q", r.Bad(), r.Error)
	}
}

func TestHostThatWasLost(t *testing.T) {
	gone := event.Event{HostUnreached: &event.HostUnreached{Error: "connection refused"}}
	if r := collect(planned("x"), false, gone, finished(event.HostUnreachable)); !r.Lost || r.Error != "connection refused" || len(r.Lines) != 0 {
		t.Errorf("unreachable: %+v", r)
	}
	r := collect(planned("x"), true, gone, finished(event.HostUnreachable))
	if got := states(r)["x"]; !r.Lost || got != "not known|the audit did not come that far" {
		t.Errorf("lost in the middle: %q", got)
	}
	if r := collect(planned("x"), false); r.Error == "" {
		t.Error("a host that was not begun has no error")
	}
	if r := collect(planned("x"), true, finished(event.HostInterrupted)); r.Error == "" {
		t.Error("a host that was interrupted has no error")
	}
}

// A line may be made in two ways of which one applies.
func TestOneLineOfEachName(t *testing.T) {
	plan := planned("x", "x")
	plan[1].Path = "verify/other"
	pass := &task.Finding{ID: "x", Section: "S", Title: "T", State: task.FindingPass}
	for _, paths := range [][2]string{{"verify/x", "verify/other"}, {"verify/other", "verify/x"}} {
		r := collect(plan, true, done(paths[0], "finding", event.Skipped, nil, "when is false"), done(paths[1], "finding", event.Unchanged, pass, ""))
		if len(r.Lines) != 1 || r.Lines[0].State != task.FindingPass {
			t.Errorf("got %+v", r.Lines)
		}
	}
}

func TestCompare(t *testing.T) {
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	line := func(id string, s task.FindingState) task.Finding { return task.Finding{ID: id, Title: id, State: s} }
	old := &audit.Report{Run: "old", Time: at, Lines: []task.Finding{line("a", task.FindingFail), line("b", task.FindingPass), line("c", task.FindingWarning),
		line("d", task.FindingPass), line("e", task.FindingPass), line("f", task.FindingNotApplicable)}}
	now := &audit.Report{Run: "now", Lines: []task.Finding{line("a", task.FindingAccepted), line("b", task.FindingNotKnown), line("c", task.FindingWarning),
		line("d", task.FindingNotApplicable), line("f", task.FindingFail), line("g", task.FindingWarning)}}
	got, err := json.Marshal(audit.Compare(old, now))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"run":"old","time":"2026-10-01T00:00:00Z","better":[{"id":"a","title":"a","was":"fail","is":"accepted risk"}],` +
		`"worse":[{"id":"b","title":"b","was":"pass","is":"not known"},{"id":"f","title":"f","was":"not applicable","is":"fail"}],` +
		`"other":[{"id":"d","title":"d","was":"pass","is":"not applicable"}],"new":[{"id":"g","title":"g","is":"warning"}],"gone":[{"id":"e","title":"e","was":"pass"}],"same":1}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
