package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

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

// adoptLimit is how long a scope may take to have its process.
const adoptLimit = 5 * time.Second

// Adopt moves a process into a scope of its own, which no login's end takes along. It
// returns when the process is there: what that starts meanwhile would begin in a
// control group that goes away.
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
	for end := time.Now().Add(adoptLimit); time.Now().Before(end); {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || strings.Contains(string(b), "/"+unit) {
			return err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("cannot move into %s: it took longer than %s", unit, adoptLimit)
}
