package tasktest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/tasks/task"
)

// newest is the version that an install brings when none is asked for.
const newest = "2.0"

// RefreshPackages implements [task.Writer].
func (h *Host) RefreshPackages(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "refresh", "package lists", nil); err != nil {
		return err
	}
	put(h, h.state.Refreshed, "apt", time.Now().UTC())
	return nil
}

// InstallPackages implements [task.Writer].
func (h *Host) InstallPackages(ctx context.Context, specs []task.PackageSpec) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
	}
	if err := h.write(ctx, "install", strings.Join(names, " "), specs); err != nil {
		return err
	}
	for _, s := range specs {
		p := h.state.Packages[s.Name]
		p.Name, p.Config, p.Broken = s.Name, false, false
		switch {
		case s.Version != "":
			p.Version = s.Version
		case s.Latest || !p.Installed:
			p.Version = newest
		}
		p.Installed = true
		put(h, h.state.Packages, s.Name, p)
	}
	return nil
}

// RemovePackages implements [task.Writer].
func (h *Host) RemovePackages(ctx context.Context, names []string, purge bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "remove package", strings.Join(names, " "), nil); err != nil {
		return err
	}
	for _, name := range names {
		p, there := h.state.Packages[name]
		switch {
		case !there:
		case purge:
			drop(h, h.state.Packages, name)
		default:
			p.Installed, p.Version, p.Config = false, "", true
			put(h, h.state.Packages, name, p)
		}
	}
	return nil
}

// SetUnit implements [task.Writer].
func (h *Host) SetUnit(ctx context.Context, ref task.UnitRef, c task.UnitChange) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "set unit", ref.Name, c); err != nil {
		return err
	}
	u := h.unit(ref)
	if !u.Exists && (c.Mask == nil || !*c.Mask) {
		return fmt.Errorf("cannot set unit %s: there is no such unit", ref.Name)
	}
	u.NeedReload = false // computed, not kept
	if c.Mask != nil {
		u.mask(*c.Mask)
	}
	if c.Enable != nil {
		if u.Masked {
			return fmt.Errorf("cannot enable unit %s: it is masked", ref.Name)
		}
		u.Enabled = map[bool]string{true: "enabled", false: "disabled"}[*c.Enable]
		u.Was = u.Enabled
	}
	if err := u.act(c.Action); err != nil {
		return fmt.Errorf("cannot %s unit %s: %w", c.Action, ref.Name, err)
	}
	put(h, h.state.Units, unitKey(ref), u)
	return nil
}

func (u *unit) mask(on bool) {
	if on == u.Masked {
		return
	}
	u.Masked, u.Exists = on, true
	if on {
		u.Was, u.Enabled = u.Enabled, "masked"
		return
	}
	u.Enabled = u.Was
	u.Exists = u.BuiltIn || u.Loaded != ""
}

func (u *unit) act(a task.UnitAction) error {
	switch a {
	case "":
		return nil
	case task.UnitStop:
		u.Active, u.Sub, u.MainPID = "inactive", "dead", 0
		return nil
	}
	if u.Masked {
		return errors.New("it is masked")
	}
	if a == task.UnitReload && u.Active != "active" {
		return errors.New("it is not active")
	}
	if u.Active != "active" || a == task.UnitRestart {
		u.MainPID++
	}
	u.Active, u.Sub = "active", "running"
	return nil
}

// ReloadUnits implements [task.Writer].
func (h *Host) ReloadUnits(ctx context.Context, user string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "reload units of", "the manager", user); err != nil {
		return err
	}
	for _, key := range sorted(h.state.Units) {
		u := h.state.Units[key]
		if u.User != user {
			continue
		}
		digest := h.unitFile(task.UnitRef{Name: u.Name, User: u.User})
		switch {
		case digest == u.Loaded:
		case digest == "" && !u.BuiltIn && u.Active != "active":
			drop(h, h.state.Units, key)
		default:
			u.Loaded = digest
			put(h, h.state.Units, key, u)
		}
	}
	return nil
}
