package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/runner"
	"holdfast/runner/wire"
)

func TestRunsThatEndedAlikeAreOneRow(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	old := wire.Run{ID: "r1", Started: at, Status: "succeeded"}
	died := old
	died.Status = "died"
	next := wire.Run{ID: "r2", Started: at.Add(time.Hour), Status: "succeeded", UndoOf: "r1"}
	var answers []answer
	for host, runs := range map[string][]wire.Run{"a": {next, old}, "b": {next, old}, "c": {died}} {
		answers = append(answers, answer{host: host, Answer: wire.Answer{Runs: runs}})
	}
	var got []string
	for _, row := range foldRuns(answers) {
		got = append(got, row[0]+" "+row[5])
		if n := strings.Count(row[7], ",") + 1; n != map[string]int{"succeeded": 2, "died": 1, "succeeded, undo of r1": 2}[row[5]] {
			t.Errorf("%s: got hosts %s", row[5], row[7])
		}
	}
	if len(got) != 3 || got[0] != "r2 succeeded, undo of r1" {
		t.Errorf("got %q, want three rows, the newest first", got)
	}
}

func TestSomeHosts(t *testing.T) {
	if got, want := someHosts([]string{"a", "b", "c", "d", "e"}), "a, b, c and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFingerprintsForPeople(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	tests := []struct {
		before, after string
		unfinished    bool
		want          string
	}{
		{"absent - - -", "file 0640 0:0 sha256=" + digest, false, "absent → file 0640 0:0 sha256=0a0a0a0a0a0a"},
		{"file 0640 0:0 -", "", true, "file 0640 0:0 → cut off, not known"},
		{"", "", true, "cut off"},
		{"", "status 0", false, "status 0"},
		{"absent", "", false, "absent → not known"},
		{"gid=27 members=", "gid=27 members=bob", false, "gid=27 → gid=27 members=bob"},
		{"1", "1", false, "1"},
	}
	for _, tt := range tests {
		if got := fromTo(tt.before, tt.after, tt.unfinished); got != tt.want {
			t.Errorf("%q and %q: got %q, want %q", tt.before, tt.after, got, tt.want)
		}
	}
}

func TestAFailureIsWorseThanSilence(t *testing.T) {
	failed, silent := error(&exit{runner.CodeFailed}), error(&exit{runner.CodeUnreachable})
	for _, pair := range [][2]error{{failed, silent}, {silent, failed}, {nil, failed}} {
		var e *exit
		if got := worse(pair[0], pair[1]); !errors.As(got, &e) || e.code != runner.CodeFailed {
			t.Errorf("%v and %v: got %v, want status %d", pair[0], pair[1], got, runner.CodeFailed)
		}
	}
}

func TestVerdictOfALedger(t *testing.T) {
	tests := []struct {
		look wire.LedgerLook
		want string
	}{
		{wire.LedgerLook{}, "empty"},
		{wire.LedgerLook{Receipts: 3}, "whole"},
		{wire.LedgerLook{Receipts: 3, Line: 2, Why: "it was changed", Missing: []string{"r1"}}, "broken at line 2: it was changed; lacks receipts of r1"},
	}
	for _, tt := range tests {
		if got := verdict(&tt.look); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
