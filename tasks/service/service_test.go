package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"holdfast/tasks/service"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, service.Module) }

// host has units in the states that their names say.
func host() *tasktest.Host {
	h := tasktest.NewHost()
	for name, u := range map[string]task.Unit{
		"failed":   {Enabled: "enabled", Active: "failed", Sub: "failed"},
		"looping":  {Enabled: "enabled", Active: "activating", Sub: "auto-restart"},
		"starting": {Enabled: "enabled", Active: "activating", Sub: "start"},
		"static":   {Enabled: "static", Active: "active", Sub: "running"},
		"indirect": {Enabled: "indirect", Active: "inactive", Sub: "dead"},
		"masked":   {Enabled: "masked", Active: "inactive", Sub: "dead", Masked: true},
	} {
		u.Exists = true
		h.AddUnit(task.UnitRef{Name: name + ".service"}, u)
	}
	h.AddUnit(task.UnitRef{Name: "backup.timer"}, task.Unit{Exists: true, Enabled: "disabled", Active: "inactive", Sub: "dead"})
	h.AddUnit(task.UnitRef{Name: "agent.service", User: "admin"}, task.Unit{Exists: true, Enabled: "disabled", Active: "inactive", Sub: "dead"})
	return h
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"started", "{name: nginx, state: started}", "state inactive > started"},
		{"started already", "{name: ssh, state: started, enabled: true}", ""},
		{"the suffix may be there", "{name: ssh.service, state: started}", ""},
		{"a timer", "{name: backup.timer, state: started, enabled: true}", "enabled disabled > true; state inactive > started"},
		{"started after a failure", "{name: failed, state: started}", "state failed > started"},
		{"started while it dies again and again", "{name: looping, state: started}", "state auto-restart > started"},
		{"started while it starts", "{name: starting, state: started}", ""},
		{"stopped", "{name: ssh, state: stopped}", "state active > stopped"},
		{"stopped already", "{name: nginx, state: stopped}", ""},
		{"stopped after a failure", "{name: failed, state: stopped}", ""},
		{"stopped between two attempts", "{name: looping, state: stopped}", "state auto-restart > stopped"},
		{"restarted acts always", "{name: ssh, state: restarted}", "act: state active > restarted"},
		{"reloaded acts always", "{name: nginx, state: reloaded}", "act: state inactive > reloaded"},
		{"enabled", "{name: nginx, enabled: true}", "enabled disabled > true"},
		{"disabled", "{name: ssh, enabled: false}", "enabled enabled > false"},
		{"disabled already", "{name: static, enabled: false}", ""},
		{"indirect is as enabled as it gets", "{name: indirect, enabled: true}", ""},
		{"masked", "{name: nginx, masked: true}", "masked false > true"},
		{"masked though there is no such unit", "{name: nothing, masked: true}", "masked false > true"},
		{"unmasked and started", "{name: masked, masked: false, state: started}", "masked true > false; state inactive > started"},
		{"a unit of an account", "{name: agent, user: admin, state: started, lingering: true}", "lingering false > true; state inactive > started"},
		{"lingering off already", "{name: agent, user: admin, lingering: false}", ""},
		{"no such unit and that is all right", "{name: nothing, state: stopped, if_exists: true}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out []string
			for _, c := range tasktest.Diff(t, host(), service.Module, tt.args) {
				text := c.Attr + " " + c.Before + " > " + c.After
				if c.Kind == task.Act {
					text = "act: " + text
				}
				out = append(out, text)
			}
			if got := strings.Join(out, "; "); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestActions(t *testing.T) {
	for args, want := range map[string]task.UnitAction{
		"{name: ssh, state: restarted}":   task.UnitRestart,
		"{name: nginx, state: restarted}": task.UnitRestart,
		"{name: ssh, state: reloaded}":    task.UnitReload,
		"{name: nginx, state: reloaded}":  task.UnitStart,
		"{name: nginx, state: started}":   task.UnitStart,
		"{name: ssh, state: stopped}":     task.UnitStop,
	} {
		h := host()
		act(t, h, args)
		w := h.Writes()
		if len(w) != 1 || w[0].Args.(task.UnitChange).Action != want {
			t.Errorf("service %s: got the writes %v, want %s", args, w, want)
		}
	}
}

// act observes and applies once; a restart is never settled.
func act(t *testing.T, h *tasktest.Host, args string) {
	t.Helper()
	b := tasktest.Bind(t, h, service.Module, args)
	state, _, err := b.Observe(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), h, state); err != nil {
		t.Fatal(err)
	}
}

func TestChangedFilesAreReadFirst(t *testing.T) {
	h := host()
	h.AddFile("/etc/systemd/system/nginx.service.d/limits.conf", "[Service]\nLimitNOFILE=1\n", 0o644)
	changes, err := tasktest.Apply(t, h, service.Module, "{name: nginx, state: started}")
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 2 || changes[0].Attr != "need_reload" {
		t.Errorf("got %v, want need_reload and state", changes)
	}
	if w := h.Writes(); len(w) != 2 || !strings.HasPrefix(w[0].Method, "reload") {
		t.Errorf("got the writes %v, want a reload first", w)
	}
}

func TestImpossible(t *testing.T) {
	for args, want := range map[string]string{
		"{name: nothing, state: started}": "there is no such unit; check the name",
		"{name: nothing, state: stopped}": "there is no such unit",
		"{name: nothing, enabled: false}": "there is no such unit",
		"{name: masked, state: started}":  "it is masked; say masked: false",
		"{name: masked, state: reloaded}": "it is masked",
		"{name: masked, enabled: true}":   "it is masked",
		"{name: static, enabled: true}":   "it has no [Install] section",
	} {
		if _, err := tasktest.Apply(t, host(), service.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("service %s: got %v, want an error with %q", args, err, want)
		}
	}
}

// dying is a host on which nginx starts and is gone at the next look.
type dying struct {
	*tasktest.Host
	after task.Unit
	looks int
}

func (d *dying) Unit(context.Context, task.UnitRef) (task.Unit, error) {
	d.looks++
	switch d.looks {
	case 1:
		return task.Unit{Exists: true, Enabled: "disabled", Active: "inactive"}, nil
	case 2:
		return task.Unit{Exists: true, Enabled: "disabled", Active: "active", Sub: "running", MainPID: 7}, nil
	}
	return d.after, nil
}

func TestUnitThatDiesAfterItsStartIsAFailure(t *testing.T) {
	for _, after := range []task.Unit{
		{Exists: true, Active: "failed", Sub: "failed"},
		{Exists: true, Active: "activating", Sub: "auto-restart"},
		{Exists: true, Active: "active", Sub: "running", MainPID: 8},
	} {
		h := &dying{Host: tasktest.NewHost(), after: after}
		h.OnQuery = func(c task.Command) (task.Output, error) {
			if c.Argv[0] != "journalctl" {
				t.Errorf("got the query %q, want journalctl", c.Argv)
			}
			return task.Output{Stdout: "bind: address already in use\n"}, nil
		}
		b := tasktest.Bind(t, h.Host, service.Module, "{name: nginx, state: started}")
		state, _, err := b.Observe(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		err = b.Apply(t.Context(), h, state)
		if err == nil || !strings.Contains(err.Error(), "died right after its start") || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%v: got %v, want a failure with the last lines of the log", after, err)
		}
	}
}

// unknown is a host on which nobody knows yet which units there will be.
type unknown struct{ *tasktest.Host }

func (unknown) Unit(context.Context, task.UnitRef) (task.Unit, error) {
	return task.Unit{}, task.Unknownf("nginx is not installed yet")
}

func TestUnknownIsPassedOn(t *testing.T) {
	h := unknown{tasktest.NewHost()}
	b := tasktest.Bind(t, h.Host, service.Module, "{name: nginx, state: started}")
	if _, _, err := b.Observe(t.Context(), h); !errors.Is(err, task.ErrUnknown) {
		t.Errorf("got %v, want %v", err, task.ErrUnknown)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{name: ssh}":                               "there is nothing to do",
		"{state: started}":                          "service.name: missing",
		"{name: ssh, state: running}":               "is none of started",
		"{name: 'a b', state: started}":             "is no name for a unit",
		"{name: getty@, state: started}":            "such as getty@x.service",
		"{name: ssh, masked: true, state: started}": "a masked unit can only be stopped",
		"{name: ssh, masked: true, enabled: true}":  "a masked unit cannot be enabled",
		"{name: ssh, lingering: true}":              `needs "user" too`,
	} {
		if got := tasktest.Fault(service.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
