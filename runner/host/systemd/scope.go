package systemd

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// property and extra are what StartTransientUnit takes (org.freedesktop.systemd1(5)).
type property struct {
	Name  string
	Value dbus.Variant
}

type extra struct {
	Name       string
	Properties []property
}

// Adopt moves a process into a scope of its own, which no login's end takes along.
func (m *Manager) Adopt(ctx context.Context, unit string, pid int, description string) error {
	properties := []property{
		{"Description", dbus.MakeVariant(description)},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(pid)})},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	var job dbus.ObjectPath
	if err := m.files(ctx, "StartTransientUnit", []any{unit, "replace", properties, []extra{}}, &job); err != nil {
		return fmt.Errorf("cannot make %s: %w", unit, err)
	}
	return nil
}
