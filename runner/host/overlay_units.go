package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"holdfast/tasks/task"
)

// Unit returns the state that a unit would have.
func (v *overlayWriter) Unit(ctx context.Context, ref task.UnitRef) (task.Unit, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return task.Unit{}, err
	}
	return v.unit(ctx, ref)
}

func (v *overlayWriter) unit(ctx context.Context, ref task.UnitRef) (task.Unit, error) {
	if u, ok := v.units[ref]; ok {
		u.NeedReload = v.stale(ctx, ref)
		return u, nil
	}
	var u task.Unit
	known := true
	if ref.User != "" {
		was, err := v.base.LookupUser(ctx, ref.User)
		if err != nil {
			return u, err
		}
		known = was != nil // an account of the plan has no service manager yet
	}
	if known {
		var err error
		if u, err = v.base.Unit(ctx, ref); err != nil {
			return u, err
		}
	}
	file, n := v.unitNode(ctx, ref)
	switch {
	case n != nil && n.info.Kind == task.KindLink && n.info.Target == "/dev/null":
		return task.Unit{Exists: true, Enabled: "masked", Masked: true, Active: "inactive", Sub: "dead"}, nil
	case n != nil && n.info.Exists() && !u.Exists:
		u = task.Unit{Exists: true, Enabled: "disabled", Active: "inactive", Sub: "dead"}
		if n.known && !hasInstall(n.data) {
			u.Enabled = "static"
		}
	case n != nil && !n.info.Exists() && u.Exists && !v.otherFile(ctx, ref, file):
		return task.Unit{Active: u.Active, Sub: u.Sub, MainPID: u.MainPID}, nil
	case !u.Exists && ref.User == "" && len(v.planned) > 0:
		return v.fromPackage(ctx, ref)
	}
	u.NeedReload = u.NeedReload || u.Exists && v.stale(ctx, ref)
	return u, nil
}

// fromPackage predicts a unit that a package brings: by Debian Policy §9.3.3 it is
// enabled and started, unless the machine forbids starting with policy-rc.d.
func (v *overlayWriter) fromPackage(ctx context.Context, ref task.UnitRef) (task.Unit, error) {
	v.doubt("the unit %s may come with a package that the plan installs", ref.Name)
	u := task.Unit{Exists: true, Enabled: "enabled", Active: "active", Sub: "running"}
	policy, err := v.lstat(ctx, "/usr/sbin/policy-rc.d")
	if err == nil && policy.Exists() {
		u.Active, u.Sub = "inactive", "dead"
	}
	return u, err
}

// unitDirs returns where the manager of a unit looks for files, the strongest first.
func (v *overlayWriter) unitDirs(ctx context.Context, user string) []string {
	if user == "" {
		return systemUnitDirs
	}
	home := "/home/" + user
	if u, err := v.user(ctx, user); err == nil && u != nil {
		home = u.Home
	}
	return userUnitDirs(home)
}

// unitNode returns the strongest file of the unit that the plan changes.
func (v *overlayWriter) unitNode(ctx context.Context, ref task.UnitRef) (string, *node) {
	for _, dir := range v.unitDirs(ctx, ref.User) {
		file := path.Join(dir, unitFileName(ref.Name))
		if n := v.nodes[file]; n != nil {
			return file, n
		}
	}
	return "", nil
}

func (v *overlayWriter) otherFile(ctx context.Context, ref task.UnitRef, gone string) bool {
	for _, dir := range v.unitDirs(ctx, ref.User) {
		file := path.Join(dir, unitFileName(ref.Name))
		if info, err := v.lstat(ctx, file); file != gone && err == nil && info.Exists() {
			return true
		}
	}
	return false
}

// stale reports whether the plan changes files of the unit and no reload follows.
func (v *overlayWriter) stale(ctx context.Context, ref task.UnitRef) bool {
	for _, dir := range v.unitDirs(ctx, ref.User) {
		file := path.Join(dir, unitFileName(ref.Name))
		if v.dirty[file] {
			return true
		}
		for p := range v.dirty {
			if strings.HasPrefix(p, file+".d/") || strings.HasPrefix(p, path.Join(dir, ref.Name)+".d/") {
				return true
			}
		}
	}
	return false
}

// SetUnit remembers what a unit would be brought to.
func (v *overlayWriter) SetUnit(ctx context.Context, ref task.UnitRef, c task.UnitChange) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	u, err := v.unit(ctx, ref)
	if err == nil && !u.Exists && (c.Mask == nil || !*c.Mask) {
		if len(v.opaque) == 0 {
			err = errors.New("it is not there")
		} else {
			v.doubt("the unit %s may come from what %q does", ref.Name, v.opaque[len(v.opaque)-1])
		}
	}
	if err != nil {
		return fmt.Errorf("cannot change the unit %s: %w", ref.Name, err)
	}
	u.Exists = true
	if c.Mask != nil && *c.Mask != u.Masked {
		u.Masked = *c.Mask
		if u.Enabled = "disabled"; u.Masked {
			u.Enabled = "masked"
		}
	}
	if c.Enable != nil && !u.Masked && changeable(u.Enabled) {
		if u.Enabled = "disabled"; *c.Enable {
			u.Enabled = "enabled"
		}
	}
	switch c.Action {
	case "":
	case task.UnitStop:
		u.Active, u.Sub, u.MainPID = "inactive", "dead", 0
	default:
		if u.Masked {
			return fmt.Errorf("cannot start the unit %s: it is masked", ref.Name)
		}
		u.Active, u.Sub = "active", "running"
	}
	v.units[ref] = u
	v.changed, v.services = true, true
	return nil
}

// changeable reports whether enabling makes a difference; a static unit, say, has
// nothing that could be enabled.
func changeable(state string) bool {
	switch state {
	case "", "enabled", "disabled", "enabled-runtime", "linked", "indirect", "not-found":
		return true
	}
	return false
}

// ReloadUnits remembers that the manager knows all files.
func (v *overlayWriter) ReloadUnits(ctx context.Context, user string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, dir := range v.unitDirs(ctx, user) {
		for p := range v.dirty {
			if strings.HasPrefix(p, dir+"/") {
				delete(v.dirty, p)
			}
		}
	}
	v.changed = true
	return ctx.Err()
}
