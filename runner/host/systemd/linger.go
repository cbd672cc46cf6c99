package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const lingerDir = "/var/lib/systemd/linger"

// Linger reports whether the account's units run without a login. It reads the
// file by which logind remembers that.
func Linger(user string) (bool, error) {
	if user == "" || strings.HasPrefix(user, ".") || filepath.Base(user) != user {
		return false, fmt.Errorf("cannot read the lingering of %q: not an account's name", user)
	}
	_, err := os.Lstat(filepath.Join(lingerDir, user))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// SetLinger lets the account's units run without a login, or not. When it turns
// lingering on it returns once the account's service manager is up; off, that
// manager ends a little later unless somebody is logged in.
func SetLinger(ctx context.Context, uid uint32, on bool) error {
	if err := setLinger(ctx, uid, on); err != nil {
		return fmt.Errorf("cannot set the lingering of account %d: %w", uid, err)
	}
	if !on {
		return nil
	}
	m, err := Connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(m.waitUser(ctx, uid), m.Close())
}

func setLinger(ctx context.Context, uid uint32, on bool) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return ErrNotBooted
	}
	bus, err := dialBus(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("logind is reached over D-Bus, and no message bus runs: install dbus: %w", err)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	logind := bus.Object("org.freedesktop.login1", dbus.ObjectPath("/org/freedesktop/login1"))
	call := logind.CallWithContext(ctx, "org.freedesktop.login1.Manager.SetUserLinger", 0, uid, on, false)
	return errors.Join(call.Err, bus.Close())
}

func (m *Manager) waitUser(ctx context.Context, uid uint32) error {
	unit := fmt.Sprintf("user@%d.service", uid)
	since := time.Now()
	for {
		st, err := m.State(ctx, unit)
		if err != nil || st.ActiveState == "active" {
			return err
		}
		if st.ActiveState == "failed" {
			return m.failure(ctx, "start", unit, "failed", since)
		}
		if time.Since(since) > managerLimit {
			return fmt.Errorf("cannot start the service manager of account %d: it is %s after %s", uid, st.ActiveState, managerLimit)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("cannot wait for the service manager of account %d: %w", uid, err)
		}
	}
}
