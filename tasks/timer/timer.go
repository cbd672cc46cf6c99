// Package timer runs a command at times: a timer and a service of systemd.
package timer

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Name        string            `yaml:"name" validate:"required" doc:"Name of both units, without a suffix: backup."`
	State       string            `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether they are there."`
	Command     []string          `yaml:"command" validate:"min=1" doc:"Program, with its whole path, and arguments; no shell is asked."`
	Calendar    []string          `yaml:"calendar" validate:"min=1" doc:"When, as OnCalendar= has it: daily, Mon *-*-* 04:30, *:0/15."`
	AfterBoot   *task.Duration    `yaml:"after_boot" doc:"How long after each start of the host."`
	Every       *task.Duration    `yaml:"every" doc:"How long after it was last started; give after_boot too."`
	RandomDelay *task.Duration    `yaml:"random_delay" doc:"By how much at most it is put off, so that not all hosts run at once."`
	Persistent  bool              `yaml:"persistent" default:"true" doc:"Whether what was missed while the host was off is made up for; for calendar."`
	Description *string           `yaml:"description" doc:"What people see in systemctl."`
	User        *string           `yaml:"user" doc:"Account whose own service manager runs it; without it, the system's."`
	RunAs       *string           `yaml:"run_as" validate:"excludes=user" doc:"Account that the system's service manager runs it as; root when absent."`
	Env         map[string]string `yaml:"env" doc:"Variables of its environment; secrets belong into a file of env_files."`
	EnvFiles    []task.Path       `yaml:"env_files" doc:"Files of variables, which the env_file module makes."`
	Dir         *task.Path        `yaml:"dir" doc:"The folder that it runs in."`
	Timeout     *task.Duration    `yaml:"timeout" doc:"After which time it is stopped; without it, never."`
	Service     map[string]string `yaml:"service" doc:"Other settings of the service: ProtectSystem: strict."`
}

// State is what the host has.
type State struct {
	Timer      task.Content `yaml:"timer" json:"timer" doc:"What is in the timer's file."`
	Service    task.Content `yaml:"service" json:"service" doc:"What is in the service's file."`
	Enabled    string       `yaml:"enabled" json:"enabled" doc:"As systemctl is-enabled says it of the timer."`
	Active     string       `yaml:"active" json:"active" doc:"As systemctl is-active says it of the timer."`
	NeedReload bool         `yaml:"need_reload" json:"need_reload" doc:"A file changed since the service manager read it."`
	folder     folder       `yaml:"-"`
}

// folder is where the files are.
type folder struct {
	dir   string
	group string   // of the account
	make  []string // folders that are missing, outermost first
}

// Module manages timers.
var Module = task.New(task.Def[Params, State]{
	Name: "timer", Doc: doc,
	Validate: validate,
	Resource: resource,
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

var (
	nameRule    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9:_.-]*$`)
	settingRule = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	varRule     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ours are settings of the service that have fields of their own.
var ours = []string{"Type", "ExecStart", "User", "Environment", "EnvironmentFile", "WorkingDirectory", "TimeoutStartSec"}

func validate(p Params) error {
	if !nameRule.MatchString(p.Name) || strings.HasSuffix(p.Name, ".timer") || strings.HasSuffix(p.Name, ".service") {
		return task.FieldErrorf("name", "%q is no name: want letters, digits, _ - . and no suffix such as .timer", p.Name)
	}
	if p.State == "absent" {
		if len(p.Command)+len(p.Calendar) > 0 || p.AfterBoot != nil || p.Every != nil {
			return task.FieldErrorf("state", "what is to be absent has no command and no times")
		}
		return nil
	}
	if len(p.Command) == 0 {
		return task.FieldErrorf("command", "say what is run")
	}
	if !path.IsAbs(p.Command[0]) || path.Clean(p.Command[0]) != p.Command[0] {
		return task.FieldErrorf("command[0]", "%q is no whole path: a service has no search path of yours", p.Command[0])
	}
	if len(p.Calendar) == 0 && p.AfterBoot == nil {
		return task.FieldErrorf("calendar", "say when: with calendar, or with after_boot and every")
	}
	for i, when := range p.Calendar {
		if err := checkCalendar(when); err != nil {
			return task.FieldErrorf(fmt.Sprintf("calendar[%d]", i), "%s", err)
		}
	}
	return p.checkService()
}

func (p *Params) checkService() error {
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		if !varRule.MatchString(name) {
			return task.FieldErrorf("env."+name, "%q is no name of a variable", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Service)) {
		switch {
		case !settingRule.MatchString(name) || strings.ContainsAny(p.Service[name], "\n\x00"):
			return task.FieldErrorf("service."+name, "want a setting of one line, such as ProtectSystem: strict")
		case slices.Contains(ours, name):
			return task.FieldErrorf("service."+name, "there is a field of its own for it")
		}
	}
	for _, text := range append(slices.Collect(maps.Values(p.Env)), p.Command...) {
		if strings.ContainsAny(text, "\n\x00") {
			return task.FieldErrorf("command", "a line break in it or in env is more than a unit file holds")
		}
	}
	if p.Description != nil && strings.ContainsAny(*p.Description, "\n\x00") {
		return task.FieldErrorf("description", "want one line")
	}
	return nil
}

func resource(p Params) string {
	if p.User != nil {
		return p.Name + ".timer of " + *p.User
	}
	return p.Name + ".timer"
}

func (p *Params) ref() task.UnitRef {
	ref := task.UnitRef{Name: p.Name + ".timer"}
	if p.User != nil {
		ref.User = *p.User
	}
	return ref
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	var s State
	there, err := s.locate(ctx, r, &p)
	if err != nil || !there {
		return s, err
	}
	for file, into := range map[string]*task.Content{p.Name + ".timer": &s.Timer, p.Name + ".service": &s.Service} {
		full := path.Join(s.folder.dir, file)
		info, err := r.Stat(ctx, full)
		if err != nil {
			return s, err
		}
		switch info.Kind {
		case task.KindNone:
		case task.KindFile:
			if *into, err = r.Digest(ctx, full); err != nil {
				return s, err
			}
		default:
			return s, fmt.Errorf("cannot manage %s: there is a %s at %s", resource(p), info.Kind, full)
		}
	}
	if s.Timer.Digest == "" {
		s.Enabled, s.Active = "disabled", "inactive"
		return s, nil
	}
	u, err := r.Unit(ctx, p.ref())
	s.Enabled, s.Active, s.NeedReload = u.Enabled, u.Active, u.NeedReload
	return s, err
}

// locate finds the folder of the files; there is none for an account that is not there.
func (s *State) locate(ctx context.Context, r task.Reader, p *Params) (bool, error) {
	if p.User == nil {
		s.folder.dir = "/etc/systemd/system"
		return true, nil
	}
	u, err := r.LookupUser(ctx, *p.User)
	if err != nil {
		return false, err
	}
	if u == nil {
		if p.State == "absent" {
			return false, nil
		}
		return false, fmt.Errorf("cannot place %s: there is no such account; make it with a user task first", resource(*p))
	}
	s.folder.dir, s.folder.group = path.Join(u.Home, ".config/systemd/user"), u.Group
	for dir := s.folder.dir; len(dir) > len(u.Home); dir = path.Dir(dir) {
		info, err := r.Stat(ctx, dir)
		if err != nil {
			return false, err
		}
		if !info.Exists() {
			s.folder.make = append([]string{dir}, s.folder.make...)
		}
	}
	return true, nil
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if p.State == "absent" {
		for _, f := range []struct {
			attr string
			have task.Content
		}{{"timer", s.Timer}, {"service", s.Service}} {
			if f.have.Digest != "" {
				out = append(out, task.ContentChange(f.attr, p.Name+"."+f.attr, f.have, task.Content{}))
			}
		}
		return out
	}
	if want := task.ContentOf([]byte(p.serviceText())); want.Digest != s.Service.Digest {
		out = append(out, task.ContentChange("service", p.Name+".service", s.Service, want))
	}
	if want := task.ContentOf([]byte(p.timerText())); want.Digest != s.Timer.Digest {
		out = append(out, task.ContentChange("timer", p.Name+".timer", s.Timer, want))
	}
	if s.Enabled != "enabled" {
		out = append(out, task.Set("enabled", s.Enabled, "enabled"))
	}
	if s.Active != "active" {
		out = append(out, task.Set("active", s.Active, "active"))
	}
	if s.NeedReload {
		out = append(out, task.Set("need_reload", "true", "false"))
	}
	return out
}

// seconds writes a duration as unit files have it.
func seconds(d task.Duration) string { return fmt.Sprintf("%gs", d.Std().Seconds()) }
