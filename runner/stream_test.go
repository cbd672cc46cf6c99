package runner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"holdfast/runner/event"
)

// checkStream holds a stream of events to the rules of package event.
func checkStream(t testing.TB, events []event.Event, fin event.RunFinished) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("the stream breaks a rule: %s\n%s", fmt.Sprintf(format, args...), tell(events))
	}
	if len(events) < 2 || events[0].RunStarted == nil || events[len(events)-1].RunFinished == nil {
		bad("it does not go from RunStarted to RunFinished")
		return
	}
	if got := *events[len(events)-1].RunFinished; got != fin {
		bad("RunFinished says %+v, Run returned %+v", got, fin)
	}
	open := map[string]*event.Task{}
	counts := map[string]*event.Counts{}
	ended := map[string]bool{}
	for i, e := range events {
		middle := i > 0 && i < len(events)-1
		whole := !middle || e.Wave != nil || e.Warning != nil && e.Host == "" // it concerns all of the run
		if e.Kind() == "" || e.Time.IsZero() || whole != (e.Host == "") {
			bad("event %d has kind %q, time %v, host %q", i, e.Kind(), e.Time, e.Host)
		}
		if ended[e.Host] {
			bad("%s of %s comes after its HostFinished", e.Kind(), e.Host)
		}
		if counts[e.Host] == nil {
			counts[e.Host] = &event.Counts{}
		}
		switch {
		case e.TaskStarted != nil:
			if open[e.Host] != nil {
				bad("task %d of %s begins while task %d runs", e.TaskStarted.Step, e.Host, open[e.Host].Step)
			}
			open[e.Host] = &e.TaskStarted.Task
		case e.TaskFinished != nil:
			if o := open[e.Host]; o != nil {
				if o.Step != e.TaskFinished.Step {
					bad("task %d of %s ends while task %d runs", e.TaskFinished.Step, e.Host, o.Step)
				}
				open[e.Host] = nil
			}
			tally(counts[e.Host], e.TaskFinished.Status)
		case e.Undone != nil:
			counts[e.Host].Undone++ // the tests take back what can be
		case e.HostFinished != nil:
			ended[e.Host] = true
			if open[e.Host] != nil {
				bad("task %d of %s has no end", open[e.Host].Step, e.Host)
			}
			if got := e.HostFinished.Counts; got != *counts[e.Host] {
				bad("the counts of %s are %+v, its tasks come to %+v", e.Host, got, *counts[e.Host])
			}
		}
	}
	for _, name := range events[0].RunStarted.Hosts {
		if !ended[name] {
			bad("%s has no HostFinished", name)
		}
	}
}

func tally(c *event.Counts, s event.Status) {
	for status, n := range map[event.Status]*int{event.Unchanged: &c.Unchanged, event.Changed: &c.Changed, event.Ran: &c.Ran,
		event.Skipped: &c.Skipped, event.Failed: &c.Failed, event.Unknown: &c.Unknown, event.Ignored: &c.Ignored} {
		if s == status {
			*n++
		}
	}
}

// tell writes events down, one a line, as tests compare them: without times.
func tell(events []event.Event) string {
	var b strings.Builder
	for _, e := range events {
		if s := line(e); s != "" {
			b.WriteString(s + "\n")
		}
	}
	return b.String()
}

func line(e event.Event) string {
	host := e.Host + ": "
	switch {
	case e.TaskStarted != nil:
		return fmt.Sprintf("%sstart %d %s", host, e.TaskStarted.Step, e.TaskStarted.Name)
	case e.TaskFinished != nil:
		f := e.TaskFinished
		s := fmt.Sprintf("%s%s %d %s", host, f.Status, f.Step, f.Name)
		for _, more := range []string{f.Handler, f.Reason, f.Error} {
			if more != "" {
				s += " | " + more
			}
		}
		if f.Attempts > 0 {
			s += fmt.Sprintf(" | %d attempts", f.Attempts)
		}
		return s
	case e.HandlerQueued != nil:
		return host + "queue " + e.HandlerQueued.Handler
	case e.Undone != nil:
		return host + e.Undone.Status + " " + e.Undone.Resource
	case e.HostUnreached != nil:
		return host + "unreached | " + e.HostUnreached.Error
	case e.HostFinished != nil:
		return host + string(e.HostFinished.Status)
	case e.Warning != nil:
		return host + "warning | " + e.Warning.Message
	case e.RunFinished != nil:
		return fmt.Sprintf("code %d", e.RunFinished.Code)
	}
	return ""
}

// ends returns how the tasks of a host ended, without their beginnings.
func (o outcome) ends(host string) string {
	var out []string
	for _, e := range o.events {
		if e.Host == host && e.TaskStarted == nil {
			if s := line(e); s != "" {
				out = append(out, strings.TrimPrefix(s, host+": "))
			}
		}
	}
	return strings.Join(out, "\n")
}

func (o outcome) status(host string) event.HostStatus {
	for _, e := range o.events {
		if e.Host == host && e.HostFinished != nil {
			return e.HostFinished.Status
		}
	}
	return ""
}

// hosts makes fake hosts a, b, c, ….
func hosts(t testing.TB, n int) []*world {
	var out []*world
	for i := range n {
		name := fmt.Sprintf("h%d", i+1)
		if n <= 26 {
			name = string(rune('a' + i))
		}
		out = append(out, newWorld(t, name))
	}
	return out
}

// texts returns every text in a stream that a person might see.
func texts(events []event.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%+v", e), line(e))
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

func hostile(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	})
}
