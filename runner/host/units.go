package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"holdfast/runner/host/systemd"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// managers are the open connections to service managers, by account.
type managers struct {
	mu   sync.Mutex
	open map[string]*systemd.Manager
}

func (c *managers) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, name := range sortedKeys(c.open) {
		errs = append(errs, c.open[name].Close())
	}
	c.open = nil
	return errors.Join(errs...)
}

// manager returns the service manager of an account, or the system's for "".
func (m *Machine) manager(ctx context.Context, user string) (*systemd.Manager, error) {
	m.managers.mu.Lock()
	defer m.managers.mu.Unlock()
	if sm := m.managers.open[user]; sm != nil {
		return sm, nil
	}
	sm, err := m.connect(ctx, user)
	if err != nil {
		return nil, err
	}
	sm.Run = systemd.Runner(m.runTool)
	if m.managers.open == nil {
		m.managers.open = map[string]*systemd.Manager{}
	}
	m.managers.open[user] = sm
	return sm, nil
}

func (m *Machine) connect(ctx context.Context, user string) (*systemd.Manager, error) {
	if user == "" {
		return systemd.Connect(ctx)
	}
	db, err := m.accounts.load(m)
	if err != nil {
		return nil, err
	}
	p := db.user(user)
	if p == nil {
		if p, err = m.foreignUser(user); err != nil {
			return nil, err
		}
	}
	if p == nil {
		return nil, fmt.Errorf("cannot reach the service manager of %q: there is no such account", user)
	}
	return systemd.ConnectUser(ctx, uint32(p.uid), uint32(p.gid))
}

// dropManager forgets a connection, because the account's manager is about to end.
func (m *Machine) dropManager(user string) {
	m.managers.mu.Lock()
	defer m.managers.mu.Unlock()
	if sm := m.managers.open[user]; sm != nil {
		_ = sm.Close() // nothing is under way on it
		delete(m.managers.open, user)
	}
}

// managerGone reports whether an account has no service manager, or is itself gone.
func (m *Machine) managerGone(ctx context.Context, user string) bool {
	m.dropManager(user)
	if uid, _, err := m.owner(user); err != nil || len(processesOf(int64(uid))) == 0 {
		return true
	}
	_, err := m.manager(ctx, user)
	return errors.Is(err, systemd.ErrNotRunning)
}

// Unit returns the state of a service manager's unit. Where an account's manager
// does not run, the unit's files tell.
func (r *reader) Unit(ctx context.Context, ref task.UnitRef) (task.Unit, error) {
	sm, err := r.m.manager(ctx, ref.User)
	if err == nil {
		var st systemd.State
		if st, err = sm.State(ctx, ref.Name); err == nil {
			return unitOf(st), nil
		}
	}
	if ref.User != "" && errors.Is(err, systemd.ErrNotRunning) {
		r.m.dropManager(ref.User)
		u, err := r.LookupUser(ctx, ref.User)
		if err != nil || u == nil {
			return task.Unit{}, err
		}
		return r.unitFromFiles(ctx, u.Home, ref.Name)
	}
	return task.Unit{}, err
}

func unitOf(st systemd.State) task.Unit {
	return task.Unit{
		Exists: st.Exists(), Enabled: st.UnitFileState, Active: st.ActiveState, Sub: st.SubState,
		Masked: st.Masked(), NeedReload: st.NeedReload, MainPID: st.MainPID,
	}
}

// userUnitDirs returns where an account's units come from, the strongest first
// (systemd.unit(5)).
func userUnitDirs(home string) []string {
	return []string{
		path.Join(home, ".config/systemd/user"), "/etc/systemd/user", "/run/systemd/user",
		path.Join(home, ".local/share/systemd/user"), "/usr/local/lib/systemd/user", "/usr/lib/systemd/user",
	}
}

// systemUnitDirs returns where the system's units come from, the strongest first.
var systemUnitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

func (r *reader) unitFromFiles(ctx context.Context, home, name string) (task.Unit, error) {
	u := task.Unit{Active: "inactive", Sub: "dead"}
	for _, dir := range userUnitDirs(home) {
		file := path.Join(dir, unitFileName(name))
		info, err := r.Stat(ctx, file)
		if err != nil || !info.Exists() {
			continue
		}
		u.Exists, u.Enabled = true, "disabled"
		if info.Kind == task.KindLink && info.Target == "/dev/null" {
			u.Enabled, u.Masked = "masked", true
			return u, nil
		}
		if data, err := r.ReadFile(ctx, file, 1<<20); err == nil && !hasInstall(data) {
			u.Enabled = "static"
		}
		break
	}
	wants, _ := filepath.Glob(path.Join(home, ".config/systemd/user/*.wants", name)) // the pattern is ours
	if u.Exists && len(wants) > 0 {
		u.Enabled = "enabled"
	}
	return u, nil
}

// unitFileName returns the file that a unit is read from: an instance has its template's.
func unitFileName(name string) string {
	before, after, ok := strings.Cut(name, "@")
	if !ok {
		return name
	}
	return before + "@" + path.Ext(after)
}

// hasInstall reports whether the text of a unit says how to enable it.
func hasInstall(text []byte) bool {
	for _, l := range strings.Split(string(text), "\n") {
		if strings.TrimSpace(l) == "[Install]" {
			return true
		}
	}
	return false
}

// Linger reports whether the account's units run without a login.
func (r *reader) Linger(_ context.Context, user string) (bool, error) {
	if user == "" || path.Base(user) != user {
		return false, fmt.Errorf("cannot use %q as the name of an account", user)
	}
	_, err := os.Lstat(r.m.sys("/var/lib/systemd/linger/" + user))
	if absent(err) {
		return false, nil
	}
	return err == nil, err
}

const (
	opUnit   = "set-unit"
	opReload = "reload-units"
	opLinger = "set-linger"
)

type unitState struct {
	Ref    task.UnitRef    `json:"ref"`
	State  task.Unit       `json:"state"`
	Change task.UnitChange `json:"change"`
}

func unitResource(ref task.UnitRef) string {
	if ref.User != "" {
		return "unit:" + ref.User + "/" + ref.Name
	}
	return "unit:" + ref.Name
}

// unitPrint is the fingerprint of what a change set. Whether the unit runs is left
// out: units start and stop by themselves.
func unitPrint(u task.Unit, c task.UnitChange) string {
	var parts []string
	if c.Enable != nil && !u.Masked {
		parts = append(parts, "enabled="+u.Enabled)
	}
	if c.Mask != nil {
		parts = append(parts, fmt.Sprintf("masked=%t", u.Masked))
	}
	return strings.Join(parts, " ")
}

// mayUnit fails when the task has not the rights to change the account's units.
func (w *writer) mayUnit(user string) error {
	if user != "" && (user == w.user || user == w.m.facts.User && w.user == "") {
		return nil
	}
	return w.root()
}

// SetUnit enables, disables, masks, starts or stops a unit.
func (w *writer) SetUnit(ctx context.Context, ref task.UnitRef, c task.UnitChange) error {
	err := w.mayUnit(ref.User)
	if err == nil {
		err = w.setUnit(ctx, ref, c)
	}
	if err != nil {
		return fmt.Errorf("cannot change the unit %s: %w", ref.Name, err)
	}
	return nil
}

func (w *writer) setUnit(ctx context.Context, ref task.UnitRef, c task.UnitChange) error {
	sm, err := w.m.manager(ctx, ref.User)
	if err != nil {
		return err
	}
	before, err := w.Unit(ctx, ref)
	if err != nil {
		return err
	}
	e := journal.Entry{
		Op: opUnit, Resource: unitResource(ref),
		Before: encode(unitState{Ref: ref, State: before, Change: c}), Want: encode(c),
	}
	return w.change(ctx, e, func(*journal.Entry) (string, error) {
		if err := applyUnit(ctx, sm, ref.Name, c); err != nil {
			return "", err
		}
		now, err := w.Unit(ctx, ref)
		return unitPrint(now, c), err
	})
}

func applyUnit(ctx context.Context, sm *systemd.Manager, name string, c task.UnitChange) error {
	if c.Mask != nil {
		act := sm.Unmask
		if *c.Mask {
			act = sm.Mask
		}
		if err := act(ctx, name); err != nil {
			return err
		}
	}
	if c.Enable != nil {
		act := sm.Disable
		if *c.Enable {
			act = sm.Enable
		}
		if err := act(ctx, name); err != nil {
			return err
		}
	}
	if c.Action == "" {
		return nil
	}
	return sm.Act(ctx, string(c.Action), name)
}

// ReloadUnits makes the service manager read its unit files again.
func (w *writer) ReloadUnits(ctx context.Context, user string) error {
	err := w.mayUnit(user)
	if err == nil {
		err = w.reloadUnits(ctx, user)
	}
	if err != nil {
		return fmt.Errorf("cannot reload the units: %w", err)
	}
	return nil
}

func (w *writer) reloadUnits(ctx context.Context, user string) error {
	sm, err := w.m.manager(ctx, user)
	if err != nil {
		return err
	}
	e := journal.Entry{Op: opReload, Resource: "units", Want: encode(user)}
	return w.change(ctx, e, func(*journal.Entry) (string, error) { return "", sm.DaemonReload(ctx) })
}

type lingerState struct {
	User string `json:"user"`
	On   bool   `json:"on"`
}

// SetLinger lets the account's units run without a login, or not.
func (w *writer) SetLinger(ctx context.Context, user string, on bool) error {
	err := w.root()
	if err == nil {
		err = w.setLinger(ctx, user, on)
	}
	if err != nil {
		return fmt.Errorf("cannot set the lingering of %s: %w", user, err)
	}
	return nil
}

func (w *writer) setLinger(ctx context.Context, user string, on bool) error {
	uid, _, err := w.m.owner(user)
	if err != nil {
		return err
	}
	before, err := w.Linger(ctx, user)
	if err != nil || before == on {
		return err
	}
	e := journal.Entry{Op: opLinger, Resource: "linger:" + user, Before: encode(lingerState{user, before}), Want: encode(lingerState{user, on})}
	return w.change(ctx, e, func(*journal.Entry) (string, error) {
		if !on {
			w.m.dropManager(user)
		}
		return fmt.Sprintf("linger=%t", on), systemd.SetLinger(ctx, uid, on)
	})
}
