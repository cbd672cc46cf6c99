package user_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/user"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, user.Module) }

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"new", "{name: eve}", "state absent > present"},
		{"new with fields", "{name: eve, uid: 2000, shell: /bin/bash, home_mode: 750}", "state absent > present; uid  > 2000; shell  > /bin/bash; home_mode  > 0750"},
		{"new in groups", "{name: eve, groups: [sudo, adm]}", "state absent > present; groups  > adm,sudo"},
		{"there already", "{name: admin}", ""},
		{"groups are added", "{name: admin, groups: [adm]}", "groups sudo > adm,sudo"},
		{"in the group already", "{name: admin, groups: [sudo]}", ""},
		{"exactly these groups", "{name: admin, groups: [adm], append: false}", "groups sudo > adm"},
		{"no group at all", "{name: admin, groups: [], append: false}", "groups sudo > "},
		{"the primary group is not another group", "{name: admin, groups: [admin, sudo], append: false}", ""},
		{"primary group by number", "{name: admin, group: 1000}", ""},
		{"primary group", "{name: admin, group: users}", "group admin > users"},
		{"comment, shell and number", "{name: admin, comment: Ada, shell: /bin/sh, uid: 7}", "uid 1000 > 7; comment  > Ada; shell /bin/bash > /bin/sh"},
		{"mode of the home", "{name: admin, home_mode: 0755}", "home_mode 0700 > 0755"},
		{"another home is made", "{name: admin, home: /srv/admin}", "home /home/admin > /srv/admin; create_home  > /srv/admin"},
		{"another home is moved", "{name: admin, home: /srv/admin, move_home: true}", "home /home/admin > /srv/admin"},
		{"another home is not made", "{name: admin, home: /srv/admin, create_home: false}", "home /home/admin > /srv/admin"},
		{"no home is made for nobody", "{name: nobody}", ""},
		{"lock", "{name: admin, locked: true}", "locked false > true"},
		{"locked already", "{name: nobody, locked: true}", ""},
		{"password", `{name: admin, password: "${secret('x')}"}`, "password  > "},
		{"absent", "{name: admin, state: absent}", "state present > absent"},
		{"absent with home", "{name: admin, state: absent, remove_home: true}", "state present > absent; remove_home /home/admin > "},
		{"absent already", "{name: eve, state: absent, remove_home: true}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, tasktest.NewHost(), user.Module, tt.args)); got != tt.want {
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

func TestApplySettles(t *testing.T) {
	for _, args := range []string{
		"{name: eve, uid: 2000, group: users, groups: [sudo], comment: Eve, shell: /bin/bash, home_mode: 0750}",
		"{name: eve, home: /srv/eve, create_home: false}",
		"{name: admin, home: /srv/admin, home_mode: 0711}",
		"{name: admin, home: /srv/admin, move_home: true, home_mode: 0711}",
		"{name: admin, groups: [adm], append: false, comment: Ada}",
		`{name: admin, password: "${secret('x')}"}`,
		"{name: www-data, groups: [adm]}",
		"{name: admin, state: absent, remove_home: true}",
	} {
		if _, err := tasktest.Apply(t, tasktest.NewHost(), user.Module, args); err != nil {
			t.Errorf("user %s: %v", args, err)
		}
	}
}

func TestApplySetsOnlyWhatDiffers(t *testing.T) {
	h := tasktest.NewHost()
	if _, err := tasktest.Apply(t, h, user.Module, "{name: admin, shell: /bin/sh, comment: '', groups: [sudo]}"); err != nil {
		t.Fatal(err)
	}
	writes := h.Writes()
	if len(writes) != 1 {
		t.Fatalf("got the writes %v, want one", writes)
	}
	spec := writes[0].Args.(task.UserSpec)
	if spec.Shell == nil || *spec.Shell != "/bin/sh" || spec.Comment != nil || spec.Groups != nil || spec.PasswordHash != nil {
		t.Errorf("got %+v, want the shell alone", spec)
	}
}

func TestHomeModeAloneDoesNotTouchTheAccount(t *testing.T) {
	h := tasktest.NewHost()
	if _, err := tasktest.Apply(t, h, user.Module, "{name: admin, home_mode: 0750}"); err != nil {
		t.Fatal(err)
	}
	if w := h.Writes(); len(w) != 1 || w[0].Method == "put user" {
		t.Errorf("got the writes %v, want one to the home", w)
	}
}

func TestMissingHomeIsMade(t *testing.T) {
	h := tasktest.NewHost()
	h.AddUser(task.User{Name: "eve", UID: 2000, GID: 100, Group: "users", Home: "/home/eve", Shell: "/bin/sh"})
	if _, err := tasktest.Apply(t, h, user.Module, "{name: eve, home_mode: 0711}"); err != nil {
		t.Fatal(err)
	}
	info, err := h.Stat(t.Context(), "/home/eve")
	if err != nil || info.Kind != task.KindDir || info.Owner != "eve" || info.Group != "users" || info.Mode != 0o711 {
		t.Errorf("got %+v (%v), want a directory of eve", info, err)
	}
}

func TestUnknownIsPassedOn(t *testing.T) {
	b := tasktest.Bind(t, tasktest.NewHost(), user.Module, "{name: eve}")
	if _, _, err := b.Observe(t.Context(), unknown{tasktest.NewHost()}); !errors.Is(err, task.ErrUnknown) {
		t.Errorf("got %v, want %v", err, task.ErrUnknown)
	}
}

// unknown is a host on which nobody knows yet which accounts there will be.
type unknown struct{ *tasktest.Host }

func (unknown) LookupUser(context.Context, string) (*task.User, error) {
	return nil, task.Unknownf("a script ran before")
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                         "user.name: missing, it is required",
		"{name: a b}":                "is no name for an account",
		"{name: a, password: plain}": "want ${secret(",
		`{name: a, locked: true, password: "${secret('x')}"}`:    `cannot be combined with "locked"`,
		"{name: a, locked: false}":                               "only a password unlocks",
		"{name: a, comment: 'x:y'}":                              "must not contain a colon",
		"{name: a, groups: ['x,y']}":                             "is no name for a group",
		"{name: a, home: srv}":                                   "want an absolute path",
		"{name: a, move_home: true}":                             `needs "home" too`,
		"{name: a, remove_home: true}":                           "only an account with state absent",
		"{name: a, state: absent, shell: /bin/sh}":               "user.shell: an account that is to be absent has none",
		"{name: a, state: absent, groups: [sudo], home: /srv/a}": "user.groups: an account that is to be absent has none",
	} {
		if got := tasktest.Fault(user.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

func TestStateIsWhatAPlaybookMayRegister(t *testing.T) {
	state, _, err := tasktest.Bind(t, tasktest.NewHost(), user.Module, "{name: admin}").Observe(t.Context(), tasktest.NewHost())
	if err != nil {
		t.Fatal(err)
	}
	s := state.(user.State)
	if !s.Exists || s.UID != 1000 || s.Home != "/home/admin" || !slices.Equal(s.Groups, []string{"sudo"}) {
		t.Errorf("got %+v, want the account admin", s)
	}
}
