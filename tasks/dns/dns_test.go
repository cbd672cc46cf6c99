package dns_test

import (
	"strings"
	"testing"

	"holdfast/tasks/dns"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, dns.Module) }

func TestRunJudges(t *testing.T) {
	two := task.Records{Code: "NOERROR", Values: []string{"192.0.2.1", "Mail.Example."}, Server: "s"}
	none := task.Records{Code: "NXDOMAIN", Server: "s"}
	broken := task.Records{Code: "SERVFAIL", Server: "s"}
	tests := []struct {
		args   string
		answer task.Records
		want   string
	}{
		{"{name: x.y}", two, ""},
		{"{name: x.y, equals: [mail.example, 192.0.2.1]}", two, ""},
		{"{name: x.y, equals: [192.0.2.1]}", two, "x.y A: s says 192.0.2.1, Mail.Example. (NOERROR), want 192.0.2.1 and nothing else"},
		{"{name: x.y, contains: [192.0.2.1]}", two, ""},
		{"{name: x.y, contains: [192.0.2.2]}", two, "want 192.0.2.2"},
		{"{name: x.y, absent: true}", two, "want no records"},
		{"{name: x.y}", none, "says nothing (NXDOMAIN), want some"},
		{"{name: x.y, absent: true}", none, ""},
		{"{name: x.y, within: [192.0.2.1, mail.example, 192.0.2.9]}", two, ""},
		{"{name: x.y, within: [192.0.2.1]}", two, "want nothing but 192.0.2.1"},
		{"{name: x.y, within: [192.0.2.1], contains: [mail.example]}", two, "want nothing but 192.0.2.1"},
		{"{name: x.y, within: [192.0.2.1]}", none, "want some"},
		{"{name: x.y, within: [192.0.2.1], optional: true}", two, "want nothing but 192.0.2.1"},
		{"{name: x.y, equals: [192.0.2.1], optional: true}", none, ""},
		{"{name: x.y, contains: [192.0.2.2], optional: true}", two, "want 192.0.2.2"},
		{"{name: x.y, optional: true}", broken, "want an answer"},
		{"{name: x.y, absent: true}", broken, "(SERVFAIL), want an answer"},
	}
	for _, tt := range tests {
		h := tasktest.NewHost()
		h.OnResolve = func(task.Question) (task.Records, error) { return tt.answer, nil }
		_, changed, err := tasktest.Run(t, h, dns.Module, tt.args)
		if changed || tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("dns %s on %v: got %v, want %q", tt.args, tt.answer, err, tt.want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                      "dns.name: missing",
		"{name: 'http://x/'}":                     "is no name to ask for",
		"{name: x, type: a}":                      "is none of A",
		"{name: x, equals: [a], contains: [b]}":   "cannot be combined",
		"{name: x, equals: [a], absent: true}":    "where there must be none",
		"{name: x, within: [a], absent: true}":    "where there must be none",
		"{name: x, optional: true, absent: true}": "where there must be none",
		"{name: x, equals: [a], within: [b]}":     "cannot be combined",
	} {
		if got := tasktest.Fault(dns.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
