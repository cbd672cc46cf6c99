package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"holdfast/runner/host/apt"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// packages takes back a change of packages: what came with it is purged in one
// transaction, what it changed or removed comes back in its former version where
// that can still be obtained.
func (u *undo) packages(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	before, err := decode[packagesBefore](e.Before)
	if err != nil {
		return step{}, err
	}
	d, err := u.packagesDelta(e, before)
	if err != nil {
		return step{}, err
	}
	asked, err := decode[[]string](e.Want)
	if err != nil {
		return step{}, err
	}
	p, err := u.plan(d)
	if err != nil || p.empty() {
		return step{}, err
	}
	if len(p.moved) == 0 { // apt does not even want to try with a package that is held
		if err := u.spare(ctx, p, asked); err != nil {
			return step{}, err
		}
	}
	s := step{action: p.String()}
	if len(p.kept) > 0 {
		s.message = "what came since needs these, and they stay: " + strings.Join(p.kept, ", ")
	}
	if len(p.also) > 0 {
		p.moved = append(p.moved, "these came since and need them: "+strings.Join(p.also, ", "))
	}
	s.refused = strings.Join(p.moved, ", ")
	if p.empty() {
		return s, nil
	}
	if u.o.Plan {
		if _, missing, err := u.obtainable(ctx, p.install); err != nil || len(missing) > 0 {
			return step{}, errors.Join(err, gone(missing))
		}
	}
	s.act = func() error { return u.packagesBack(ctx, w, p, d, before) }
	return s, nil
}

func (u *undo) packagesDelta(e *journal.Entry, before packagesBefore) (d packagesDelta, err error) {
	if e.Finished {
		return decode[packagesDelta](e.Result)
	}
	was, err := blobOf[map[string]string](u.rec, before.Snapshot)
	if err != nil {
		return d, err
	}
	lines, err := blobOf[accountLines](u.rec, before.Accounts)
	if err != nil {
		return d, err
	}
	auto := map[string]bool{}
	for _, name := range before.Auto {
		auto[name] = true
	}
	return u.m.packagesDelta(was, auto, lines)
}

// packagePlan is what is to be done to the packages of today.
type packagePlan struct {
	purge   []string
	also    []string // goes along with them
	kept    []string // came with the run and stays, because others need it by now
	install []apt.Spec
	moved   []string // why the whole is refused
}

func (p *packagePlan) empty() bool {
	return len(p.purge) == 0 && len(p.install) == 0 && len(p.moved) == 0
}

func (p *packagePlan) String() string {
	var parts []string
	if len(p.purge) > 0 {
		parts = append(parts, "purge "+strings.Join(p.purge, ", "))
	}
	for _, s := range p.install {
		parts = append(parts, "install "+s.Name+" "+s.Version)
	}
	return strings.Join(parts, ", ")
}

func (u *undo) plan(d packagesDelta) (*packagePlan, error) {
	now, err := u.m.apt.Snapshot()
	if err != nil {
		return nil, err
	}
	p := &packagePlan{}
	for _, name := range sortedKeys(d.Installed) {
		info, err := u.m.apt.Status(name)
		if err != nil {
			return nil, err
		}
		_, there := now[name]
		switch {
		case there && info.Held:
			p.moved = append(p.moved, held(name))
		case there || info.Config:
			p.purge = append(p.purge, name)
		}
	}
	for _, name := range sortedKeys(d.Changed) {
		v := d.Changed[name]
		switch now[name] {
		case v[0]:
		case v[1]:
			info, err := u.m.apt.Status(name)
			if err != nil {
				return nil, err
			}
			if info.Held {
				p.moved = append(p.moved, held(name))
				continue
			}
			p.install = append(p.install, apt.Spec{Name: name, Version: v[0]})
		default:
			p.moved = append(p.moved, fmt.Sprintf("%s is now at %q, not at %s", name, now[name], v[1]))
		}
	}
	for _, name := range sortedKeys(d.Removed) {
		if _, there := now[name]; !there {
			p.install = append(p.install, apt.Spec{Name: name, Version: d.Removed[name]})
		}
	}
	return p, nil
}

func held(name string) string {
	return name + " is held ('apt-mark unhold " + name + "' lets go of it)"
}

// spare leaves out of what is purged the packages that came along with the run and that
// others need by now: they are no longer the run's alone. A package that the run was
// asked for is not spared, so that what needs it is named instead.
func (u *undo) spare(ctx context.Context, p *packagePlan, asked []string) error {
	for len(p.purge) > 0 {
		also, err := u.alsoRemoved(ctx, p.purge)
		if p.also = also; err != nil || len(also) == 0 {
			return err
		}
		var spared []string
		for _, name := range p.purge {
			if slices.Contains(asked, name) {
				continue
			}
			takes, err := u.alsoRemoved(ctx, []string{name})
			if err != nil {
				return err
			}
			if slices.ContainsFunc(takes, func(t string) bool { return slices.Contains(also, t) }) {
				spared = append(spared, name)
			}
		}
		if len(spared) == 0 {
			return nil
		}
		p.kept = append(p.kept, spared...)
		p.purge = slices.DeleteFunc(p.purge, func(name string) bool { return slices.Contains(spared, name) })
	}
	return nil
}

// alsoRemoved returns what would have to go along with packages.
func (u *undo) alsoRemoved(ctx context.Context, names []string) (more []string, err error) {
	actions, err := u.m.apt.SimulateRemove(ctx, names, true, u.m.runTool)
	for _, a := range actions {
		if (a.Kind == "remove" || a.Kind == "purge") && !slices.Contains(names, a.Name) {
			more = append(more, a.Name)
		}
	}
	return more, err
}

func (u *undo) packagesBack(ctx context.Context, w *writer, p *packagePlan, d packagesDelta, before packagesBefore) error {
	if len(p.purge) > 0 {
		if err := w.purge(ctx, p); err != nil {
			return err
		}
	}
	specs, missing, err := u.obtainable(ctx, p.install)
	if err != nil {
		return err
	}
	if len(specs) > 0 {
		if err := w.installPackages(ctx, specs); err != nil {
			return err
		}
	}
	var errs []error
	if len(p.kept) == 0 { // else it may be theirs
		errs = append(errs, w.leftSettings(ctx, d.Settings))
	}
	for _, f := range before.Conffiles {
		errs = append(errs, u.conffile(ctx, w, f))
	}
	if auto := again(specs, d.Manual, before.Auto); len(auto) > 0 {
		errs = append(errs, u.m.apt.MarkAuto(ctx, auto, true, u.m.runTool))
	}
	errs = append(errs, u.packageAccounts(ctx, w, d.Accounts))
	return errors.Join(append(errs, gone(missing))...)
}

// leftSettings removes what the scripts of packages left below /etc and what a purge
// does not know: rules that were made for this host, copies beside a file that was
// changed. What somebody changed since stays, and so does the folder that it is in.
func (w *writer) leftSettings(ctx context.Context, came map[string]string) error {
	names := sortedKeys(came)
	slices.Reverse(names) // what is in a folder before the folder
	var errs []error
	for _, name := range names {
		now, err := w.present(name, contentLook)
		switch was := parseImprint(came[name]); {
		case err != nil:
			errs = append(errs, err)
		case now.Kind == task.KindNone || was.differs(now.imprint()) != "":
		case now.Kind != task.KindDir:
			errs = append(errs, w.removeKept(ctx, name, true))
		default:
			if entries, err := os.ReadDir(name); err == nil && len(entries) == 0 {
				errs = append(errs, w.removeDir(ctx, name))
			}
		}
	}
	return errors.Join(errs...)
}

// gone is the error of packages that cannot be had any more.
func gone(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("cannot get back %s: no package source has that version any more, and apt keeps no copy of it", strings.Join(missing, ", "))
}

// obtainable splits packages into those that can be had and those that cannot.
func (u *undo) obtainable(ctx context.Context, want []apt.Spec) (specs []apt.Spec, missing []string, err error) {
	if len(want) == 0 {
		return nil, nil, nil
	}
	var names []string
	for _, s := range want {
		names = append(names, s.Name)
	}
	offers, err := u.m.apt.Lookup(ctx, names, u.m.runTool)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range want {
		if !slices.Contains(offers[s.Name].Versions, s.Version) {
			if s.File, err = u.m.apt.Cached(s.Name, s.Version); err != nil {
				return nil, nil, err
			}
			if s.File == "" {
				missing = append(missing, s.Name+" "+s.Version)
				continue
			}
		}
		specs = append(specs, s)
	}
	return specs, missing, nil
}

// again returns the packages that are to count as installed for others' sake only.
func again(back []apt.Spec, manual, auto []string) []string {
	out := slices.Clone(manual)
	for _, s := range back {
		if slices.Contains(auto, s.Name) {
			out = append(out, s.Name)
		}
	}
	return sorted(out)
}

func (u *undo) conffile(ctx context.Context, w *writer, f saved) error {
	now, err := w.present(f.Path, contentLook)
	if err != nil || f.Image.imprint().differs(now.imprint()) == "" {
		return err
	}
	if err := w.makeParents(ctx, path.Dir(f.Path)); err != nil {
		return err
	}
	if f.Image.Kind == task.KindLink {
		return w.makeLink(ctx, f.Path, f.Image.Target, f.Image)
	}
	return u.putBack(ctx, w, f.Path, f.Image)
}

// packageAccounts removes the accounts and groups that came with packages which are
// purged now. Those that are in use stay.
func (u *undo) packageAccounts(ctx context.Context, w *writer, came []string) error {
	lines, err := u.m.accountLines()
	if err != nil {
		return err
	}
	var changes []lineChange
	for _, c := range came {
		file, key, _ := strings.Cut(c, ":")
		_, line := lines.find(file, key)
		if line == "" {
			continue
		}
		change := lineChange{File: file, Key: key, After: line, At: -1}
		if uid, ok := createdUser([]lineChange{change}); ok && len(processesOf(uid)) > 0 {
			return fmt.Errorf("cannot delete the account %s, which came with a package: it runs %s", key, strings.Join(processesOf(uid), ", "))
		}
		changes = append(changes, change)
	}
	trial := lines.clone()
	for _, c := range changes {
		trial.set(c.File, c.Key, "", -1)
	}
	if len(changes) == 0 || len(orphans(trial, changes)) > 0 {
		return nil
	}
	return w.restoreLines(ctx, "accounts", "", changes, accountDone{}, false)
}
