package render

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/runner/event"
	"holdfast/tasks/task"
)

// duration rounds d to what a person wants to know: 0.8 s, 12 s, 3 m 20 s, 2 h 5 m.
func duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "0 s"
	case d < 95*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/time.Millisecond)
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d m %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %d m", d/time.Hour, d%time.Hour/time.Minute)
}

// size returns a number of bytes as 512 B, 2.6 MB.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if f /= 1000; f < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// Plural counts things: 1 host, 3 hosts.
func Plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// maxNames is how many hosts a list names before it counts the rest.
const maxNames = 8

// names lists hosts: sb1, sb2, sb3 (3 hosts). It names those that are missing
// instead where they are fewer, unless each is wanted.
func names(hosts, every []string, each bool) string {
	if len(hosts) == 1 {
		return hosts[0]
	}
	if each || len(hosts) <= maxNames {
		return fmt.Sprintf("%s (%d hosts)", strings.Join(hosts, ", "), len(hosts))
	}
	if missing := len(every) - len(hosts); missing <= maxNames/2 {
		if missing == 0 {
			return fmt.Sprintf("all %d hosts", len(hosts))
		}
		return fmt.Sprintf("all but %s (%d hosts)", strings.Join(without(every, hosts), ", "), len(hosts))
	}
	first := maxNames / 2
	return fmt.Sprintf("%s … and %d more (%d hosts)", strings.Join(hosts[:first], ", "), len(hosts)-first, len(hosts))
}

func without(every, hosts []string) []string {
	in := map[string]bool{}
	for _, h := range hosts {
		in[h] = true
	}
	return slices.DeleteFunc(slices.Clone(every), func(h string) bool { return in[h] })
}

// maxValue is how much of a value a line shows.
const maxValue = 160

var summary = regexp.MustCompile(`^\d+ bytes, sha256 [0-9a-f]+$`)

// value shows an attribute's value on one line, quoted unless it describes a content.
func (d detail) value(s string) string {
	if d.redact != nil {
		s = d.redact(s)
	}
	if summary.MatchString(s) {
		return s
	}
	rest := ""
	if r := []rune(s); len(r) > maxValue {
		s, rest = string(r[:maxValue]), fmt.Sprintf("… %d more characters", len(r)-maxValue)
	}
	return strconv.Quote(s) + rest
}

// outcome is what a status is called, and how it looks.
func outcome(mode event.Mode, f *event.TaskFinished) (string, style) {
	switch f.Status {
	case event.Failed:
		return "FAILED", alarm
	case event.Ignored:
		return "ignored", doubt
	case event.Skipped:
		return "skipped", dim
	case event.Changed:
		return label(mode, event.Changed), change
	case event.Ran:
		if mode == event.Plan && strings.HasPrefix(f.Reason, "will ") {
			return f.Reason, act
		}
		return label(mode, event.Ran), act
	case event.Unknown:
		return label(mode, event.Unknown), doubt
	case event.Unchanged:
		if f.Finding != nil && f.Finding.State == task.FindingWarning {
			return string(task.FindingWarning), doubt
		}
		return label(mode, event.Unchanged), good
	}
	return string(f.Status), doubt
}

// label is what a status is called in a count.
func label(mode event.Mode, s event.Status) string {
	switch {
	case mode == event.Plan && s == event.Changed:
		return "would change"
	case mode == event.Plan && s == event.Ran:
		return "will run"
	case s == event.Unknown:
		return "not known"
	case mode == event.Verify && s == event.Unchanged:
		return "as described"
	case undoing(mode) && s == event.Unchanged:
		return "already"
	}
	return string(s)
}

// hostOutcome is what a host's status is called, and how it looks.
func hostOutcome(s event.HostStatus) (string, style) {
	switch s {
	case event.HostOK:
		return "ok", good
	case event.HostFailed:
		return "FAILED", alarm
	case event.HostUnreachable:
		return "UNREACHABLE", alarm
	case event.HostRolledBack:
		return "rolled back", doubt
	case event.HostBroken:
		return "ROLLBACK FAILED", alarm
	case event.HostInterrupted:
		return "interrupted", doubt
	case event.HostNotStarted:
		return "not started", dim
	case event.HostDetached:
		return "goes on alone", good
	}
	return string(s), doubt
}

// undoOutcome is what the outcome of a resource is called, and how it looks.
func undoOutcome(mode event.Mode, s string) (string, style) {
	switch s {
	case "undone":
		return undoneWord(mode), good
	case "already":
		return s, dim
	case "refused":
		return "REFUSED", alarm
	case "failed":
		return "FAILED", alarm
	}
	return s, doubt
}

func undoing(mode event.Mode) bool { return mode == event.Undo || mode == event.UndoPlan }

func undoneWord(mode event.Mode) string {
	if mode == event.UndoPlan {
		return "would undo"
	}
	return "undone"
}

// tally is one number of a host's counts.
type tally struct {
	label  string
	n      int
	always bool // it is told when it is 0, too: "0 changed" is what one hopes for
}

// tallies returns the counts in the order of importance for a reader of the summary.
func tallies(mode event.Mode, c event.Counts) []tally {
	return []tally{
		{undoneWord(mode), c.Undone, undoing(mode)}, {"refused", c.Refused, false},
		{label(mode, event.Unchanged), c.Unchanged, false},
		{label(mode, event.Changed), c.Changed, mode == event.Apply || mode == event.Plan},
		{label(mode, event.Ran), c.Ran, false}, {label(mode, event.Unknown), c.Unknown, false},
		{"skipped", c.Skipped, false}, {"ignored", c.Ignored, false}, {"failed", c.Failed, false},
	}
}

// add returns the sum of two counts.
func add(a, b event.Counts) event.Counts {
	return event.Counts{Unchanged: a.Unchanged + b.Unchanged, Changed: a.Changed + b.Changed, Ran: a.Ran + b.Ran,
		Skipped: a.Skipped + b.Skipped, Failed: a.Failed + b.Failed, Unknown: a.Unknown + b.Unknown,
		Ignored: a.Ignored + b.Ignored, Undone: a.Undone + b.Undone, Refused: a.Refused + b.Refused}
}

// counts is a host's counts in words: 12 unchanged, 5 changed.
func counts(mode event.Mode, c event.Counts) string {
	if c == (event.Counts{}) {
		return "nothing done"
	}
	var out []string
	for _, t := range tallies(mode, c) {
		if t.n > 0 || t.always {
			out = append(out, fmt.Sprintf("%d %s", t.n, t.label))
		}
	}
	return strings.Join(out, ", ")
}
