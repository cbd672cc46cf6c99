package group_test

import (
	"strings"
	"testing"

	"holdfast/tasks/group"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, group.Module) }

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"new", "{name: web}", "state absent > present"},
		{"new with a number", "{name: web, gid: 2000}", "state absent > present; gid  > 2000"},
		{"there already", "{name: adm}", ""},
		{"there with that number", "{name: adm, gid: 4}", ""},
		{"other number", "{name: adm, gid: 44}", "gid 4 > 44"},
		{"absent", "{name: users, state: absent}", "state present > absent"},
		{"absent already", "{name: web, state: absent}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, tasktest.NewHost(), group.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Before+" > "+c.After)
	}
	return strings.Join(out, "; ")
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                               "group.name: missing, it is required",
		"{name: 4ever}":                    "is no name for a group",
		"{name: a, gid: -1}":               "-1 is less than 0",
		"{name: a, gid: x}":                "want a whole number",
		"{name: a, state: absent, gid: 4}": "has no number",
		"{name: a, members: [b]}":          "unknown field",
		"{name: abcdefghijklmnopqrstuvwxyz01234567}": "is no name for a group",
	} {
		if got := tasktest.Fault(group.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

func TestDeletingThePrimaryGroupOfAnAccountFails(t *testing.T) {
	_, err := tasktest.Apply(t, tasktest.NewHost(), group.Module, "{name: admin, state: absent}")
	if err == nil || !strings.Contains(err.Error(), "primary group") {
		t.Errorf("got %v, want a failure that names the reason", err)
	}
}
