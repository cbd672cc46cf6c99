package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	busName          = "org.freedesktop.systemd1"
	managerPath      = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerInterface = "org.freedesktop.systemd1.Manager"
	unitInterface    = "org.freedesktop.systemd1.Unit"
	serviceInterface = "org.freedesktop.systemd1.Service"
)

// State is what a service manager knows about a unit. UnitFileState follows
// systemctl is-enabled, also for scripts in /etc/init.d, and is empty for units
// without a file.
type State struct {
	Name          string
	LoadState     string // loaded, not-found, masked, error, bad-setting
	ActiveState   string
	SubState      string
	UnitFileState string
	FragmentPath  string
	MainPID       int64
	NeedReload    bool // its files changed since the manager read them

	sysv      bool
	job       uint32
	result    string // of a service: success, exit-code, start-limit-hit, …
	kind      string // of a service: simple, notify, oneshot, …
	exitCode  int32
	execPID   uint32 // of the last main process
	condition string // the start conditions that do not hold, or all when that is not known
	dropIns   []string
}

// Exists reports whether the unit is known at all; a masked one is.
func (s State) Exists() bool { return s.LoadState != "" && s.LoadState != "not-found" }

// Masked reports whether the unit is kept from starting.
func (s State) Masked() bool {
	return strings.HasPrefix(s.UnitFileState, "masked") || s.UnitFileState == "" && s.LoadState == "masked"
}

// State looks at a unit, given with its suffix. A unit that is not there is no
// error.
func (m *Manager) State(ctx context.Context, unit string) (State, error) {
	return m.look(ctx, unit, false)
}

// look returns the state, with the details of a service when asked: those cost
// more than all else, since the manager reads its cgroup for them.
func (m *Manager) look(ctx context.Context, unit string, details bool) (State, error) {
	st, err := m.state(ctx, unit, details)
	if isCut(err) {
		st, err = m.lookAgain(ctx, unit, details)
	}
	if err != nil {
		return State{}, fmt.Errorf("cannot look at unit %s: %w", unit, err)
	}
	return st, nil
}

// lookAgain looks once the manager is back that was re-executed, as an upgrade of systemd
// does. While it is away its socket may still take a connection, which is then cut, or
// refuse one.
func (m *Manager) lookAgain(ctx context.Context, unit string, details bool) (State, error) {
	for end := time.Now().Add(reexecLimit); ; {
		st, err := m.state(ctx, unit, details)
		if err == nil || errors.Is(err, ErrNotRunning) || time.Now().After(end) || sleep(ctx, 50*time.Millisecond) != nil {
			return st, err
		}
	}
}

func (m *Manager) state(ctx context.Context, unit string, details bool) (State, error) {
	l, err := m.connected(ctx)
	if err != nil {
		return State{}, err
	}
	var object dbus.ObjectPath
	if err := l.ask(ctx, managerPath, managerInterface+".LoadUnit", unit).Store(&object); err != nil {
		return State{}, err
	}
	var props map[string]dbus.Variant
	if err := l.ask(ctx, object, "org.freedesktop.DBus.Properties.GetAll", unitInterface).Store(&props); err != nil {
		return State{}, err
	}
	st := State{Name: unit}
	st.fill(props)
	if strings.HasSuffix(unit, ".service") && st.Exists() {
		if err := st.service(ctx, l, object, details); err != nil {
			return State{}, err
		}
	}
	if !st.Exists() {
		return st, nil
	}
	if !st.NeedReload && st.LoadState == "loaded" {
		st.NeedReload = m.newDropIns(ctx, l, st)
	}
	// The property of the same name may be older than the links on disk.
	var file string
	err = l.ask(ctx, managerPath, managerInterface+".GetUnitFileState", unit).Store(&file)
	switch {
	case err == nil:
		st.UnitFileState = file
	case errors.Is(err, dbus.ErrClosed) || ctx.Err() != nil:
		return State{}, err
	}
	if st.sysv {
		st.UnitFileState = sysvState("/", strings.TrimSuffix(unit, ".service"))
	}
	return st, nil
}

// Abandoned returns the units that run although nothing on disk defines them any
// more: their package was removed and did not stop them.
func (m *Manager) Abandoned(ctx context.Context) ([]string, error) {
	return m.withoutFile(ctx, "active", "activating", "reloading")
}

// Remembered returns the units that failed and of which nothing on disk is left: the
// manager lists them until it is told to forget.
func (m *Manager) Remembered(ctx context.Context) ([]string, error) {
	return m.withoutFile(ctx, "failed")
}

func (m *Manager) withoutFile(ctx context.Context, states ...string) ([]string, error) {
	l, err := m.connected(ctx)
	if err != nil {
		return nil, err
	}
	var units []listed
	err = l.ask(ctx, managerPath, managerInterface+".ListUnitsFiltered", states).Store(&units)
	if err != nil {
		return nil, fmt.Errorf("cannot list the units: %w", err)
	}
	var out []string
	for _, u := range units {
		if u.LoadState == "not-found" {
			out = append(out, u.Name)
		}
	}
	return out, nil
}

// listed is one unit in a list of the manager, in the order of its fields there.
type listed struct {
	Name, Description, LoadState, ActiveState, SubState, Follower string
	Object                                                        dbus.ObjectPath
	Job                                                           uint32
	JobType                                                       string
	JobObject                                                     dbus.ObjectPath
}

func (s *State) fill(props map[string]dbus.Variant) {
	s.LoadState = text(props, "LoadState")
	s.ActiveState = text(props, "ActiveState")
	s.SubState = text(props, "SubState")
	s.UnitFileState = text(props, "UnitFileState")
	s.FragmentPath = text(props, "FragmentPath")
	s.NeedReload, _ = props["NeedDaemonReload"].Value().(bool)
	s.sysv = path.Dir(text(props, "SourcePath")) == "/etc/init.d"
	if job, ok := props["Job"].Value().([]any); ok && len(job) == 2 {
		s.job, _ = job[0].(uint32)
	}
	s.condition = unmet(props["Conditions"].Value())
	s.dropIns, _ = props["DropInPaths"].Value().([]string)
}

func (s *State) service(ctx context.Context, l link, object dbus.ObjectPath, details bool) error {
	var v dbus.Variant
	if err := l.ask(ctx, object, "org.freedesktop.DBus.Properties.Get", serviceInterface, "MainPID").Store(&v); err != nil {
		return err
	}
	pid, _ := v.Value().(uint32)
	s.MainPID = int64(pid)
	if !details {
		return nil
	}
	var props map[string]dbus.Variant
	if err := l.ask(ctx, object, "org.freedesktop.DBus.Properties.GetAll", serviceInterface).Store(&props); err != nil {
		return err
	}
	s.result = text(props, "Result")
	s.kind = text(props, "Type")
	s.execPID, _ = props["ExecMainPID"].Value().(uint32)
	s.exitCode, _ = props["ExecMainStatus"].Value().(int32)
	return nil
}

// unmet reads an array of (name, trigger, negate, parameter, result): a result
// below 0 is a condition that did not hold, 0 one that was not checked since the
// unit was loaded.
func unmet(conditions any) string {
	list, _ := conditions.([][]any)
	var all, failed []string
	for _, c := range list {
		if len(c) != 5 {
			continue
		}
		name, _ := c[0].(string)
		negate, _ := c[2].(bool)
		parameter, _ := c[3].(string)
		result, _ := c[4].(int32)
		if negate {
			parameter = "!" + parameter
		}
		all = append(all, name+"="+parameter)
		if result < 0 {
			failed = append(failed, name+"="+parameter)
		}
	}
	if len(failed) > 0 {
		all = failed
	}
	return strings.Join(all, ", ")
}

// newDropIns reports whether files were put beside the unit's that the manager
// has not read. It does not see a drop-in folder that is newer than its cache of
// paths, and then says that nothing has changed.
func (m *Manager) newDropIns(ctx context.Context, l link, st State) bool {
	seen := map[string]bool{}
	for _, dir := range m.unitPaths(ctx, l) {
		folder := filepath.Join(dir, st.Name+".d")
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := e.Name()
			if !strings.HasSuffix(name, ".conf") || seen[name] {
				continue
			}
			seen[name] = true
			if !slices.Contains(st.dropIns, filepath.Join(folder, name)) && !emptied(filepath.Join(folder, name)) {
				return true
			}
		}
	}
	return false
}

// emptied tells links to /dev/null, which take a drop-in out of use.
func emptied(path string) bool {
	target, err := os.Readlink(path)
	return err == nil && target == os.DevNull
}

func (m *Manager) unitPaths(ctx context.Context, l link) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paths == nil {
		var v dbus.Variant
		err := l.ask(ctx, managerPath, "org.freedesktop.DBus.Properties.Get", managerInterface, "UnitPath").Store(&v)
		if err == nil {
			m.paths, _ = v.Value().([]string)
		}
	}
	return m.paths
}

// sysvState reads the links that update-rc.d makes; systemd's own generator goes
// by the same.
func sysvState(root, script string) string {
	for _, level := range []string{"2", "3", "4", "5"} {
		found, err := filepath.Glob(filepath.Join(root, "etc/rc"+level+".d/S[0-9][0-9]"+script))
		if err == nil && len(found) > 0 {
			return "enabled"
		}
	}
	return "disabled"
}

func text(props map[string]dbus.Variant, name string) string {
	s, _ := props[name].Value().(string)
	return s
}

// ask calls a method within the time limit. A connection that was cut under the
// call reads as dbus.ErrClosed.
func (l link) ask(ctx context.Context, object dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	call := l.Object(busName, object).CallWithContext(ctx, method, 0, args...)
	if call.Err != nil && (!l.Connected() || isCut(call.Err)) {
		call.Err = dbus.ErrClosed
	}
	return call
}

// isCut reports whether the other end hung up, which the library may not know yet.
func isCut(err error) bool {
	return slices.ContainsFunc([]error{dbus.ErrClosed, syscall.EPIPE, syscall.ECONNRESET, io.EOF, io.ErrClosedPipe, net.ErrClosed},
		func(cut error) bool { return errors.Is(err, cut) })
}
