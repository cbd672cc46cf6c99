package finding_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/tasks/finding"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, finding.Module) }

const base = "id: a-line, section: S, title: T, looked: L, found: F, wanted: W, hint: H, settings: [x]"

const risksFile = "/etc/holdfast/accepted-risks.json"

func host(t *testing.T, risks, owner string, mode task.Mode) *tasktest.Host {
	t.Helper()
	h := tasktest.NewHost()
	if risks != "" {
		h.AddDir("/etc/holdfast", 0o755)
		h.AddUser(task.User{Name: "openclaw", UID: 1000, GID: 1000, Group: "openclaw"})
		h.AddFile(risksFile, risks, mode)
		if err := h.SetOwner(t.Context(), risksFile, owner, "root"); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestStates(t *testing.T) {
	today := time.Now().UTC().Format(time.DateOnly)
	tests := []struct{ name, args, risks, want, reason string }{
		{"as wanted", "ok: true", "", "pass", ""},
		{"not as wanted", "ok: false", "", "fail", ""},
		{"not as wanted, which is no more than a warning", "ok: false, severity: warning", "", "warning", ""},
		{"in doubt", "ok: true, doubt: true", "", "warning", ""},
		{"about nothing here", "ok: true, applies: false, missing: no Docker", "", "not applicable", "no Docker"},
		{"not looked at", "ok: true, known: false, unknown: sshd said nothing", "", "not known", "sshd said nothing"},
		{"not looked at, not said why", "ok: true, known: false", "", "not known", "it could not be looked at"},
		{"accepted", "ok: false", `{"x": "it must be so"}`, "accepted risk", "x: it must be so"},
		{"accepted, as the baseline writes it", "ok: false", `{"profile": "strict", "accepted": {"x": "it must be so"}}`, "accepted risk", "x: it must be so"},
		{"accepted without a reason", "ok: false", `{"x": " "}`, "fail", ""},
		{"another risk was accepted", "ok: false", `{"y": "it must be so"}`, "fail", ""},
		{"the file is garbage", "ok: false", `{"x": `, "fail", ""},
		{"the file has another shape", "ok: false", `{"x": 5}`, "fail", ""},
		{"what was not looked at is not accepted", "ok: false, known: false", `{"x": "it must be so"}`, "not known", "it could not be looked at"},
		{"a look that was made", "ok: true, look: all is well", "", "pass", ""},
		{"a look that could not be made", "ok: true, look: 'unknown: only root may'", "", "not known", "only root may"},
		{"a look that printed nothing", "ok: true, look: ''", "", "not known", "the look printed nothing"},
		{"a look at what is not there", "ok: false, look: 'missing: no Docker'", "", "not applicable", "no Docker"},
		{"attested", `attested: "` + today + ` Ada: restored"`, "", "pass", ""},
		{"attested long ago", `attested: "2019-01-01 Ada: restored"`, "", "fail", "more than 365 days ago"},
		{"attested for a day that has not come", `attested: "2999-01-01 Ada: restored"`, "", "fail", "has not come yet"},
		{"seen, and not attested", `ok: true, attested: ""`, "", "pass", ""},
		{"not seen, and attested", `ok: false, attested: "` + today + ` Ada: restored"`, "", "pass", ""},
		{"not seen, and attested long ago", `ok: false, attested: "2019-01-01 Ada: restored"`, "", "fail", "more than 365 days ago"},
		{"attested on no date", `attested: "2026-13-01 Ada: restored"`, "", "fail", "is no date"},
		{"attested by nobody", `attested: "2026-01-01"`, "", "fail", "not of the form"},
		{"not attested", `attested: ""`, "", "fail", "nobody has said so"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, changed, err := tasktest.Run(t, host(t, tt.risks, "root", 0o644), finding.Module, "{"+base+", "+tt.args+"}")
			if err != nil || changed {
				t.Fatalf("got changed %v, %v", changed, err)
			}
			line := r.(task.Found).Line()
			if string(line.State) != tt.want || !strings.Contains(line.Reason, tt.reason) {
				t.Errorf("%s with %s: got %q because of %q, want %q because of %q", tt.args, tt.risks, line.State, line.Reason, tt.want, tt.reason)
			}
		})
	}
}

// A file that others may write says nothing.
func TestRisksOfOthers(t *testing.T) {
	for name, h := range map[string]*tasktest.Host{
		"writable": host(t, `{"x": "it must be so"}`, "root", 0o666),
		"foreign":  host(t, `{"x": "it must be so"}`, "openclaw", 0o644),
	} {
		r, _, err := tasktest.Run(t, h, finding.Module, "{"+base+", ok: false}")
		if err != nil {
			t.Fatal(err)
		}
		if line := r.(task.Found).Line(); line.State != task.FindingFail || !strings.Contains(line.Hint, "others than root may write it") {
			t.Errorf("%s: got %q, hint %q", name, line.State, line.Hint)
		}
	}
}

// A line is short, whatever a host prints.
func TestLongText(t *testing.T) {
	r, _, err := tasktest.Run(t, tasktest.NewHost(), finding.Module, "{id: a-line, section: S, title: T, looked: L, ok: true, found: "+strings.Repeat("x", 9000)+"}")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.(task.Found).Line().Found); n > 2100 {
		t.Errorf("got %d bytes", n)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}": "finding.id: missing",
		"{id: A, section: S, title: T, looked: L, ok: true}":                     "is no name for a line",
		"{id: a-line, section: S, title: T, looked: L}":                          "give ok or attested",
		"{id: a-line, section: S, title: T, looked: L, ok: maybe}":               "want true or false",
		"{id: a-line, section: S, title: T, looked: L, ok: true, severity: bad}": "severity",
	} {
		if got := tasktest.Fault(finding.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
