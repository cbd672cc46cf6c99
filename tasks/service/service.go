// Package service is the module that starts, stops, enables and masks units.
package service

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Name      string  `yaml:"name" doc:"Name of the unit; without a suffix it is a service." validate:"required"`
	State     *string `yaml:"state" doc:"What the unit does; restarted and reloaded act every time." validate:"oneof=started stopped restarted reloaded"`
	Enabled   *bool   `yaml:"enabled" doc:"Whether the unit starts at boot, or with what it is installed into."`
	Masked    *bool   `yaml:"masked" doc:"Whether the unit can be started at all."`
	User      *string `yaml:"user" doc:"Account whose own service manager holds the unit; the system's when absent."`
	Lingering *bool   `yaml:"lingering" doc:"Whether the units of that account run without a login." validate:"requires=user"`
	IfExists  bool    `yaml:"if_exists" doc:"Do nothing where there is no such unit, instead of failing." default:"false"`
}

// State is what the host has.
type State struct {
	Exists     bool   `yaml:"exists" json:"exists" doc:"Whether there is such a unit."`
	Enabled    string `yaml:"enabled" json:"enabled" doc:"As systemctl is-enabled says it: enabled, disabled, static, masked."`
	Active     string `yaml:"active" json:"active" doc:"As systemctl is-active says it: active, inactive, failed."`
	Sub        string `yaml:"sub" json:"sub" doc:"The finer state: running, exited, dead, auto-restart."`
	Masked     bool   `yaml:"masked" json:"masked" doc:"Whether the unit is masked."`
	Lingering  bool   `yaml:"lingering" json:"lingering" doc:"Whether the account's units run without a login; looked up when asked for."`
	NeedReload bool   `yaml:"need_reload" json:"need_reload" doc:"The unit's files changed since the service manager read them."`
	MainPID    int64  `yaml:"main_pid" json:"main_pid" doc:"Number of the main process, or 0."`
}

// settle is how long a process must live to count as started. Type=simple units
// are active as soon as they were forked, also when they die at once.
const settle = 300 * time.Millisecond

//go:embed doc.md
var doc string

// Module manages units of the service manager.
var Module = task.New(task.Def[Params, State]{
	Name: "service", Doc: doc, Validate: validate, Resource: resource,
	RiskOf: func(p Params) task.Risk {
		if p.User == nil && task.RisksUnit(p.Name) {
			return task.Connectivity
		}
		return ""
	},
	Observe: observe, Diff: diff, Apply: apply,
})

var (
	nameRule = regexp.MustCompile(`^[a-zA-Z0-9:_.\\@-]+$`)
	suffixes = []string{".service", ".socket", ".timer", ".target", ".path", ".mount", ".automount", ".swap", ".slice", ".scope", ".device"}
)

func validate(p Params) error {
	if !nameRule.MatchString(p.Name) || strings.HasPrefix(p.Name, "-") {
		return task.FieldErrorf("name", "%q is no name for a unit", p.Name)
	}
	if strings.HasSuffix(strings.TrimSuffix(ref(p).Name, path.Ext(ref(p).Name)), "@") {
		return task.FieldErrorf("name", "%q is a template: name an instance, such as %s", p.Name, strings.Replace(ref(p).Name, "@", "@x", 1))
	}
	if p.State == nil && p.Enabled == nil && p.Masked == nil && p.Lingering == nil {
		return task.FieldErrorf("name", "there is nothing to do: give state, enabled, masked or lingering")
	}
	if p.Masked == nil || !*p.Masked {
		return nil
	}
	if p.State != nil && *p.State != "stopped" {
		return task.FieldErrorf("state", "a masked unit can only be stopped")
	}
	if p.Enabled != nil && *p.Enabled {
		return task.FieldErrorf("enabled", "a masked unit cannot be enabled")
	}
	return nil
}

// ref names the unit with its suffix. A dot alone is no suffix: a service may be
// called node-22.1.
func ref(p Params) task.UnitRef {
	name := p.Name
	if !slices.Contains(suffixes, path.Ext(name)) {
		name += ".service"
	}
	if p.User != nil {
		return task.UnitRef{Name: name, User: *p.User}
	}
	return task.UnitRef{Name: name}
}

func resource(p Params) string {
	if p.User != nil {
		return ref(p).Name + " of " + *p.User
	}
	return ref(p).Name
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	u, err := r.Unit(ctx, ref(p))
	if err != nil {
		return State{}, err
	}
	s := State{
		Exists: u.Exists, Enabled: u.Enabled, Active: u.Active, Sub: u.Sub,
		Masked: u.Masked, NeedReload: u.NeedReload, MainPID: u.MainPID,
	}
	if p.Lingering != nil {
		if s.Lingering, err = r.Linger(ctx, *p.User); err != nil {
			return State{}, err
		}
	}
	if p.IfExists && !s.Exists {
		return s, nil
	}
	return s, possible(p, s)
}

// possible refuses what no call to the service manager could bring about.
func possible(p Params, s State) error {
	masks := p.Masked != nil && *p.Masked
	touches := p.State != nil || p.Enabled != nil
	if !s.Exists && touches && !masks {
		return fmt.Errorf("cannot manage %s: there is no such unit; check the name, or install what brings it first", resource(p))
	}
	starts := p.State != nil && *p.State != "stopped"
	if s.Masked && p.Masked == nil && (starts || isTrue(p.Enabled)) {
		return fmt.Errorf("cannot start or enable %s: it is masked; say masked: false", resource(p))
	}
	if s.Enabled == "static" && isTrue(p.Enabled) {
		return fmt.Errorf("cannot enable %s: it has no [Install] section; something else must start it", resource(p))
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

func diff(p Params, s State) []task.Change {
	if !s.Exists && p.IfExists {
		return nil
	}
	var out []task.Change
	flip := func(attr string, before, after bool) {
		if before != after {
			out = append(out, task.Set(attr, strconv.FormatBool(before), strconv.FormatBool(after)))
		}
	}
	if p.Lingering != nil {
		flip("lingering", s.Lingering, *p.Lingering)
	}
	if s.NeedReload && s.Exists {
		out = append(out, task.Set("need_reload", "true", "false"))
	}
	if p.Masked != nil {
		flip("masked", s.Masked, *p.Masked)
	}
	if p.Enabled != nil && differs(s.Enabled, *p.Enabled) {
		out = append(out, task.Set("enabled", s.Enabled, strconv.FormatBool(*p.Enabled)))
	}
	if p.State == nil {
		return out
	}
	switch want := *p.State; want {
	case "started":
		if !running(s) {
			out = append(out, task.Set("state", active(s), want))
		}
	case "stopped":
		if s.Exists && s.Active != "inactive" && s.Active != "failed" && s.Active != "" {
			out = append(out, task.Set("state", active(s), want))
		}
	default:
		out = append(out, task.Change{Attr: "state", Before: active(s), After: want, Kind: task.Act})
	}
	return out
}

// differs compares what systemctl is-enabled says. What starts by another name,
// through an Also= or from a generator counts as enabled and cannot be told apart
// from disabled; only links of its own can be taken away.
func differs(is string, want bool) bool {
	if want {
		return !slices.Contains([]string{"enabled", "enabled-runtime", "alias", "indirect", "generated"}, is)
	}
	return is == "enabled" || is == "enabled-runtime"
}

// running reports whether the unit is up, or on its way for the first time. A
// service between two attempts is down.
func running(s State) bool {
	switch s.Active {
	case "active", "reloading", "refreshing":
		return true
	case "activating":
		return s.Sub != "auto-restart"
	}
	return false
}

func active(s State) string {
	if s.Sub == "auto-restart" {
		return s.Sub
	}
	return s.Active
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.Lingering != nil && *p.Lingering && !s.Lingering {
		if err := w.SetLinger(ctx, *p.User, true); err != nil {
			return err
		}
	}
	unit := ref(p)
	if s.NeedReload {
		if err := w.ReloadUnits(ctx, unit.User); err != nil {
			return err
		}
	}
	change := changeFor(p, s)
	if change != (task.UnitChange{}) {
		if err := w.SetUnit(ctx, unit, change); err != nil {
			return explain(ctx, w, unit, err)
		}
	}
	switch change.Action {
	case task.UnitStart, task.UnitRestart:
		if err := lives(ctx, w, p, s); err != nil {
			return explain(ctx, w, unit, err)
		}
	}
	if p.Lingering != nil && !*p.Lingering && s.Lingering {
		if err := w.SetLinger(ctx, *p.User, false); err != nil {
			return err
		}
	}
	return nil
}

func changeFor(p Params, s State) task.UnitChange {
	var c task.UnitChange
	for _, change := range diff(p, s) {
		switch change.Attr {
		case "masked":
			c.Mask = p.Masked
		case "enabled":
			c.Enable = p.Enabled
		case "state":
			c.Action = actionFor(*p.State, s)
		}
	}
	return c
}

func actionFor(state string, s State) task.UnitAction {
	switch state {
	case "started":
		return task.UnitStart
	case "stopped":
		return task.UnitStop
	case "restarted":
		return task.UnitRestart
	}
	if running(s) {
		return task.UnitReload
	}
	return task.UnitStart // it reads its files when it starts
}

// lives fails when the main process does not outlive its start.
func lives(ctx context.Context, r task.Reader, p Params, s State) error {
	before, err := r.Unit(ctx, ref(p))
	if err != nil {
		return err
	}
	if before.MainPID == 0 || before.MainPID == s.MainPID {
		return nil // no new process to watch: a socket, a timer, a program that ends by itself
	}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	after, err := r.Unit(ctx, ref(p))
	if err != nil {
		return err
	}
	// A program that ended well is no failure here: a oneshot is inactive or
	// exited then. Whether that is what was asked for the second look says.
	if after.Active == "failed" || after.Sub == "auto-restart" || after.MainPID != 0 && after.MainPID != before.MainPID {
		return fmt.Errorf("cannot keep %s running: it died right after its start (%s, %s)", resource(p), after.Active, after.Sub)
	}
	return nil
}

// explain adds the unit's last words to a failure, where the journal has any.
func explain(ctx context.Context, r task.Reader, unit task.UnitRef, cause error) error {
	if errors.Is(cause, task.ErrUnknown) || ctx.Err() != nil {
		return cause
	}
	argv := []string{"journalctl", "--no-pager", "--quiet", "--lines=8", "--output=cat", "--unit=" + unit.Name}
	if unit.User != "" {
		argv[len(argv)-1] = "_SYSTEMD_USER_UNIT=" + unit.Name
	}
	out, err := r.Query(ctx, task.Command{Argv: argv, MaxOutput: 4 << 10})
	if text := strings.TrimSpace(out.Stdout); err == nil && out.Status == 0 && text != "" {
		return fmt.Errorf("%w\n%s", cause, text)
	}
	return cause
}
