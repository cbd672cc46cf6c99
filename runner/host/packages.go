package host

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/runner/host/apt"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

const (
	opInstall = "install-packages"
	opDrop    = "remove-packages"
)

// Package returns the state of one package.
func (r *reader) Package(ctx context.Context, name string) (task.Package, error) {
	if err := ctx.Err(); err != nil {
		return task.Package{}, err
	}
	i, err := r.m.apt.Status(name)
	return task.Package{
		Name: name, Installed: i.Installed, Version: i.Version, Held: i.Held, Config: i.Config, Broken: i.Broken,
	}, err
}

// PackagesRefreshed says when the package lists were last refreshed.
func (r *reader) PackagesRefreshed(context.Context) (time.Time, error) {
	return r.m.apt.ListsRefreshed()
}

// runTool starts a process for the packages apt and systemd.
func (m *Machine) runTool(ctx context.Context, argv, env []string, onLine func(string)) (status int, out string, err error) {
	o, err := m.spawn(ctx, spawn{argv: argv, env: env, onLine: onLine, limit: 8 << 20})
	return o.Status, o.Stdout + o.Stderr, err
}

// RefreshPackages refreshes the package lists. There is nothing to take back.
func (w *writer) RefreshPackages(ctx context.Context) error {
	if err := w.root(); err != nil {
		return fmt.Errorf("cannot refresh the package lists: %w", err)
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	return w.m.apt.Refresh(ctx, w.m.runTool, w.Progress)
}

// packagesBefore is the state before a change of packages.
type packagesBefore struct {
	Snapshot  string   `json:"snapshot"` // blob: name to version, of everything
	Accounts  string   `json:"accounts"` // blob: the account databases
	Auto      []string `json:"auto,omitempty"`
	Conffiles []saved  `json:"conffiles,omitempty"`
}

// saved is a file with its before-image.
type saved struct {
	Path  string `json:"path"`
	Image *image `json:"image"`
}

// packagesDelta is what a change of packages did, dependencies included.
type packagesDelta struct {
	Installed map[string]string    `json:"installed,omitempty"` // name to version
	Changed   map[string][2]string `json:"changed,omitempty"`   // name to versions before and after
	Removed   map[string]string    `json:"removed,omitempty"`
	Manual    []string             `json:"manual,omitempty"`   // had been there for others' sake only
	Accounts  []string             `json:"accounts,omitempty"` // lines of databases that appeared, as file:line
	Settings  map[string]string    `json:"settings,omitempty"` // what scripts of packages left below /etc, to its imprint
}

func delta(before, after map[string]string) packagesDelta {
	d := packagesDelta{Installed: map[string]string{}, Changed: map[string][2]string{}, Removed: map[string]string{}}
	for name, v := range after {
		old, there := before[name]
		switch {
		case !there:
			d.Installed[name] = v
		case old != v:
			d.Changed[name] = [2]string{old, v}
		}
	}
	for name, v := range before {
		if _, there := after[name]; !there {
			d.Removed[name] = v
		}
	}
	return d
}

// InstallPackages installs, upgrades or downgrades packages in one transaction.
func (w *writer) InstallPackages(ctx context.Context, specs []task.PackageSpec) error {
	list := make([]apt.Spec, len(specs))
	for i, s := range specs {
		list[i] = apt.Spec{Name: s.Name, Version: s.Version, Latest: s.Latest, Lean: s.Lean}
	}
	return w.installPackages(ctx, list)
}

func (w *writer) installPackages(ctx context.Context, list []apt.Spec) error {
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	if err := w.root(); err != nil {
		return fmt.Errorf("cannot install %s: %w", strings.Join(names, ", "), err)
	}
	if done, err := w.satisfied(list); done || err != nil {
		return err
	}
	return w.changePackages(ctx, opInstall, names, nil, func() error {
		return w.m.apt.Install(ctx, list, w.m.runTool, w.Progress)
	})
}

func (w *writer) satisfied(specs []apt.Spec) (bool, error) {
	for _, s := range specs {
		i, err := w.m.apt.Status(s.Name)
		if err != nil {
			return false, err
		}
		if !i.Installed || s.Latest || s.Version != "" && s.Version != i.Version {
			return false, nil
		}
	}
	return true, nil
}

// RemovePackages removes packages, with their configuration when purge is set.
func (w *writer) RemovePackages(ctx context.Context, names []string, purge bool) error {
	what := strings.Join(names, ", ")
	if err := w.root(); err != nil {
		return fmt.Errorf("cannot remove %s: %w", what, err)
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	gone := slices.Clone(names)
	if purge {
		actions, err := w.m.apt.SimulateRemove(ctx, names, purge, w.m.runTool)
		if err != nil {
			return err
		}
		for _, a := range actions {
			gone = append(gone, a.Name)
		}
	}
	return w.removePackages(ctx, names, gone, purge)
}

// removePackages removes packages of which it is known what goes along with them.
func (w *writer) removePackages(ctx context.Context, names, gone []string, purge bool) (err error) {
	var files []saved
	if purge {
		slices.Sort(gone)
		if files, err = w.keepConffiles(slices.Compact(gone)); err != nil {
			return fmt.Errorf("cannot remove %s: %w", strings.Join(names, ", "), err)
		}
	}
	return w.changePackages(ctx, opDrop, names, files, func() error {
		return w.m.apt.Remove(ctx, names, purge, w.m.runTool, w.Progress)
	})
}

// keepConffiles keeps the configuration files of packages that are about to be
// purged: those that dpkg knows, those that ucf manages for them, and what lies in
// a folder of the package's name.
func (w *writer) keepConffiles(names []string) (out []saved, err error) {
	files := w.m.ucfFiles(names)
	for _, name := range names {
		known, err := w.m.apt.Conffiles(name)
		if err != nil {
			return nil, err
		}
		for _, f := range known {
			files = append(files, f.Path)
		}
		name, _, _ = strings.Cut(name, ":")
		_ = filepath.WalkDir(w.m.sys("/etc/"+name), func(file string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, file)
			}
			return nil // mostly there is no such folder
		})
	}
	for _, file := range sorted(files) {
		p, now, err := w.open(file)
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = p.keep(now, w.s.Journal, false)
		p.close()
		if err != nil {
			return nil, err
		}
		if now.Kind == task.KindFile || now.Kind == task.KindLink {
			out = append(out, saved{file, now})
		}
	}
	return out, nil
}

// ucfFiles reads which files ucf(1) manages for packages.
func (m *Machine) ucfFiles(names []string) (out []string) {
	b, _ := os.ReadFile(m.sys("/var/lib/ucf/registry"))
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) == 2 && slices.Contains(names, f[0]) {
			out = append(out, f[1])
		}
	}
	return out
}

// changePackages journals a change of packages. What it did beyond what was asked
// shows by comparing the whole before and after.
func (w *writer) changePackages(ctx context.Context, op string, names []string, files []saved, act func() error) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	before, err := w.m.apt.Snapshot()
	if err != nil {
		return err
	}
	auto, err := w.m.apt.Auto()
	if err != nil {
		return err
	}
	b := packagesBefore{Conffiles: files, Auto: sortedKeys(auto)}
	if b.Snapshot, err = w.s.Journal.Keep(encode(before)); err != nil {
		return err
	}
	lines, err := w.m.accountLines()
	if err != nil {
		return err
	}
	if b.Accounts, err = w.s.Journal.KeepSecret(encode(lines)); err != nil {
		return err
	}
	settings := w.m.settings()
	names = slices.Clone(names)
	slices.Sort(names)
	e := journal.Entry{Op: op, Resource: "packages:" + strings.Join(names, ","), Before: encode(b), Want: encode(names)}
	return w.change(ctx, e, func(e *journal.Entry) (string, error) {
		actErr := act()
		w.m.accounts.forget()
		d, err := w.m.packagesDelta(before, auto, lines)
		if err == nil {
			d.Settings, err = w.appeared(settings, d)
			e.Result = encode(d)
		}
		if actErr != nil {
			return "", actErr
		}
		return d.String(), err
	})
}

// settings returns every path below /etc.
func (m *Machine) settings() map[string]bool {
	out := map[string]bool{}
	_ = filepath.WalkDir(m.sys("/etc"), func(file string, _ fs.DirEntry, err error) error {
		if err == nil {
			out[file] = true
		}
		return nil // what cannot be read was not put there by a package just now
	})
	return out
}

// appeared returns what came below /etc with packages and is not in their lists, so
// that a purge may leave it. Of folders all count: one with a file in it stays, too.
func (w *writer) appeared(before map[string]bool, d packagesDelta) (map[string]string, error) {
	listed := map[string]bool{}
	for name := range d.Installed {
		for _, file := range w.m.apt.Files(name) {
			listed[file] = true
		}
	}
	out := map[string]string{}
	for _, file := range sortedKeys(w.m.settings()) {
		if before[file] {
			continue
		}
		now, err := w.present(file, contentLook)
		if err != nil {
			return nil, err
		}
		if now.Kind == task.KindDir || !listed[file] {
			out[file] = now.imprint().String()
		}
	}
	return out, nil
}

// packagesDelta compares the packages with a state from before.
func (m *Machine) packagesDelta(before map[string]string, auto map[string]bool, lines accountLines) (packagesDelta, error) {
	after, err := m.apt.Snapshot()
	if err != nil {
		return packagesDelta{}, err
	}
	d := delta(before, after)
	now, err := m.apt.Auto()
	if err != nil {
		return d, err
	}
	for _, name := range sortedKeys(auto) {
		if _, there := after[name]; there && !now[name] {
			d.Manual = append(d.Manual, name)
		}
	}
	nowLines, err := m.accountLines()
	d.Accounts = nowLines.since(lines)
	return d, err
}

// String is the fingerprint of what was done.
func (d packagesDelta) String() string {
	b, err := json.Marshal(d)
	if err != nil {
		panic("internal error: " + err.Error()) // maps of strings
	}
	return "sha256=" + task.DigestOf(b)
}
