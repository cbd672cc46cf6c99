package guard

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// UnitName is the service that waits for the deadline, and that a reboot starts.
const UnitName = "holdfast-guard.service"

const (
	unitFile = "/etc/systemd/system/" + UnitName
	wantFile = "/etc/systemd/system/multi-user.target.wants/" + UnitName
)

// Program returns where the guard keeps its own copy of the helper, which a purge of
// the cache does not take away.
func (g *Guard) Program() string { return g.path("holdfast-helper") }

// InstallProgram copies the running program for the guard.
func (g *Guard) InstallProgram() error {
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the guard's folder: %w", err)
	}
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("cannot copy the helper for the guard: %w", err)
	}
	defer in.Close() //nolint:errcheck // only read
	if err := replace(g.Program(), in, 0o700); err != nil {
		return fmt.Errorf("cannot copy the helper for the guard: %w", err)
	}
	return nil
}

// Unit returns the service's text. args follow the program's name.
func (g *Guard) Unit(args string) string {
	return fmt.Sprintf(`[Unit]
Description=Holdfast guard: takes back a change unless it is confirmed in time
DefaultDependencies=no
After=local-fs.target systemd-remount-fs.service dbus.socket
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
ExecStart=%s %s
Restart=on-failure
RestartSec=2
OOMScoreAdjust=-900
TimeoutStopSec=5

[Install]
WantedBy=multi-user.target
`, g.Program(), args)
}

// InstallUnit writes and enables the service, so that a reboot starts it too. What
// starts it now is the caller's service manager.
func (g *Guard) InstallUnit(args string) error {
	if err := replace(unitFile, strings.NewReader(g.Unit(args)), 0o644); err != nil {
		return fmt.Errorf("cannot install the guard's unit: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(wantFile), 0o755); err != nil {
		return fmt.Errorf("cannot enable the guard's unit: %w", err)
	}
	if err := os.Symlink(unitFile, wantFile); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot enable the guard's unit: %w", err)
	}
	return syncDir(filepath.Dir(wantFile))
}

// removeUnit takes the service's files away again. What is not there is no error.
func removeUnit() error {
	var errs []error
	for _, f := range []string{wantFile, unitFile} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Detach starts the guard's process where there is no systemd: in a session of its
// own, so that the end of the run does not end it. It does not outlive a reboot.
func (g *Guard) Detach(args ...string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close() //nolint:errcheck // nothing is written
	cmd := exec.Command(g.Program(), args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the guard: %w", err)
	}
	return cmd.Process.Release()
}
