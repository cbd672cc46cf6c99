package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// link changes on disk as D-Bus returns them: kind, path, target.
type fileChange struct{ Kind, Path, Target string }

// Enable makes a unit start by itself, and the manager know that. A unit that
// has nothing to say about when (no [Install] section) is an error.
func (m *Manager) Enable(ctx context.Context, unit string) error {
	st, err := m.State(ctx, unit)
	if err != nil {
		return err
	}
	if st.sysv {
		return m.systemctl(ctx, "enable", unit)
	}
	var installable bool
	var changes []fileChange
	err = m.files(ctx, "EnableUnitFiles", []any{[]string{unit}, false, false}, &installable, &changes)
	if err == nil && !installable && len(changes) == 0 {
		err = errors.New("its unit file has no [Install] section, so that it cannot start by itself")
	}
	return m.finish(ctx, "enable", unit, err)
}

// Disable keeps a unit from starting by itself. It goes on running.
func (m *Manager) Disable(ctx context.Context, unit string) error {
	st, err := m.State(ctx, unit)
	if err != nil {
		return err
	}
	if st.sysv {
		return m.systemctl(ctx, "disable", unit)
	}
	var changes []fileChange
	err = m.files(ctx, "DisableUnitFiles", []any{[]string{unit}, false}, &changes)
	return m.finish(ctx, "disable", unit, err)
}

// Mask keeps a unit from being started by anything. It goes on running.
func (m *Manager) Mask(ctx context.Context, unit string) error {
	var changes []fileChange
	err := m.files(ctx, "MaskUnitFiles", []any{[]string{unit}, false, false}, &changes)
	return m.finish(ctx, "mask", unit, err)
}

// Unmask takes Mask back, also a mask that lasts until the next boot.
func (m *Manager) Unmask(ctx context.Context, unit string) error {
	var changes []fileChange
	err := m.files(ctx, "UnmaskUnitFiles", []any{[]string{unit}, false}, &changes)
	if err == nil {
		err = m.files(ctx, "UnmaskUnitFiles", []any{[]string{unit}, true}, &changes)
	}
	return m.finish(ctx, "unmask", unit, err)
}

func (m *Manager) files(ctx context.Context, method string, args []any, results ...any) error {
	l, err := m.connected(ctx)
	if err != nil {
		return err
	}
	return l.ask(ctx, managerPath, managerInterface+"."+method, args...).Store(results...)
}

func (m *Manager) finish(ctx context.Context, verb, unit string, err error) error {
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, unit, explain(err))
	}
	return m.DaemonReload(ctx)
}

// explain says what systemd's shortest answers mean.
func explain(err error) error {
	var reply dbus.Error
	if !errors.As(err, &reply) {
		return err
	}
	switch reply.Name {
	case "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.FileNotFound", "System.Error.ENOENT":
		return fmt.Errorf("no such unit: %w", err)
	case "org.freedesktop.systemd1.UnitExists", "org.freedesktop.DBus.Error.FileExists", "System.Error.EEXIST":
		return fmt.Errorf("a file of the administrator is in the way: %w", err)
	}
	return err
}

// systemctl does what needs update-rc.d.
func (m *Manager) systemctl(ctx context.Context, verb, unit string) error {
	if m.Run == nil {
		return fmt.Errorf("cannot %s %s: it has only a script in /etc/init.d", verb, unit)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callLimit)
	defer cancel()
	status, out, err := m.Run(ctx, []string{"systemctl", verb, "--", unit}, []string{"LC_ALL=C.UTF-8"}, nil)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, unit, err)
	}
	if status != 0 {
		return fmt.Errorf("cannot %s %s: %s", verb, unit, strings.TrimSpace(out))
	}
	return nil
}
