package timer_test

import (
	"os/exec"
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/timer"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, timer.Module) }

const args = `{name: look, command: [/bin/look, "a b", "5%", "$X"], calendar: [daily]}`

func TestDiff(t *testing.T) {
	there := tasktest.NewHost()
	if _, err := tasktest.Apply(t, there, timer.Module, args); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, args, want string }{
		{"there", args, ""},
		{"other times", strings.Replace(args, "daily", "weekly", 1), "timer update"},
		{"other command", strings.Replace(args, "/bin/look", "/bin/see", 1), "service update"},
		{"absent", "{name: look, state: absent}", "timer delete; service delete"},
		{"absent already", "{name: none, state: absent}", ""},
		{"absent of nobody", "{name: none, state: absent, user: nobody-there}", ""},
		{"new", strings.Replace(args, "name: look", "name: new", 1), "service create; timer create; enabled update; active update"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, there, timer.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
	text, _ := there.File("/etc/systemd/system/look.service")
	if want := `ExecStart=/bin/look "a b" 5%% $$X`; !strings.Contains(text, want) {
		t.Errorf("the service lacks %q:\n%s", want, text)
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Kind)
	}
	return strings.Join(out, "; ")
}

func TestSystemdHasTheLastWord(t *testing.T) {
	h := tasktest.NewHost()
	h.OnQuery = func(task.Command) (task.Output, error) { return task.Output{Status: 1, Stderr: "Failed to parse"}, nil }
	before := h.Snapshot()
	if _, err := tasktest.Apply(t, h, timer.Module, args); err == nil || !strings.Contains(err.Error(), `systemd refuses the time "daily": Failed to parse`) {
		t.Errorf("got %v, want what systemd says", err)
	}
	if string(before) != string(h.Snapshot()) {
		t.Error("something was written")
	}
}

// times are expressions and whether systemd takes them; where it is on this machine, it judges the table.
var times = map[string]bool{
	"daily": true, "Daily": true, "weekly UTC": true, "*:0/15": true, "04:30": true, "*-*-* 04:30": true, "Mon *-*-* 04:30": true,
	"Mon..Fri 10:00": true, "Sat,Sun 1:2:3.5": true, "Mon,Wed..Fri *-1..6-1,15 0,12:00:00": true, "2026-02-28": true, "*-02~03": true,
	"monday": true, "10:00 Europe/Berlin": true, "*-*-1/2 3:00": true, "02-03 4:05": true,
	"": false, "sometimes": false, "25:00": false, "10:60": false, "*-13-01": false, "*-1-32": false, "10": false, "*:*/0": false,
	"Mon-Foo 10:00": false, "1:2:3:4": false, "10:00 11:00": false, "*:-5": false, "daily daily": false, "4:30 am": false,
}

func TestCalendar(t *testing.T) {
	for text, fine := range times {
		got := tasktest.Fault(timer.Module, `{name: x, command: [/x], calendar: ["`+text+`"]}`)
		if (got == "") != fine {
			t.Errorf("%q: got %q, want it to be fine: %t", text, got, fine)
		}
	}
}

func TestSystemdAgreesOnTheTable(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("no systemd here: the host test asks one")
		return
	}
	for text, fine := range times {
		if err := exec.Command("systemd-analyze", "calendar", text).Run(); (err == nil) != fine {
			t.Errorf("%q: systemd says %v, the table says %t", text, err, fine)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{name: x}":                "say what is run",
		"{name: x, command: [/x]}": "say when",
		"{name: x.timer, command: [/x], calendar: [daily]}":               "is no name",
		"{name: x, command: [look], calendar: [daily]}":                   "is no whole path",
		"{name: x, state: absent, command: [/x]}":                         "has no command",
		"{name: x, command: [/x], calendar: [daily], service: {User: y}}": "field of its own",
		"{name: x, command: [/x], calendar: [daily], service: {user: y}}": "want a setting",
		"{name: x, command: [/x], calendar: [daily], user: a, run_as: b}": "cannot be combined",
		"{name: x, command: [/x, \"a\\nb\"], calendar: [daily]}":          "a line break",
		"{name: x, command: [/x], calendar: [daily], every: tomorrow}":    "invalid duration",
	} {
		if got := tasktest.Fault(timer.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
