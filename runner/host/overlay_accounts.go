package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// unassigned is the number of an account or group that the system will choose.
const unassigned = -1

// own sets the owners of a path. Names must exist by then, unless a package or a
// command may bring them.
func (v *overlayWriter) own(ctx context.Context, real string, i *task.FileInfo, owner, group string) error {
	if owner != "" {
		u, err := v.user(ctx, owner)
		if err != nil {
			return err
		}
		if i.Owner, err = v.name("account", owner, u != nil, true); err != nil {
			return err
		}
	}
	if group != "" {
		g, err := v.group(ctx, group)
		if err != nil {
			return err
		}
		if i.Group, err = v.name("group", group, g != nil, false); err != nil {
			return err
		}
	}
	if i.Owner != "" && i.Group != "" {
		return nil
	}
	self := v.s.RunAs
	if self == "" {
		self = v.base.Facts().User
	}
	u, err := v.user(ctx, self)
	if err != nil {
		return err
	}
	if i.Owner == "" {
		i.Owner = self
	}
	if i.Group == "" && u != nil {
		i.Group = u.Group
	}
	if dir, err := v.lstat(ctx, path.Dir(real)); err == nil && dir.Mode&0o2000 != 0 && group == "" {
		i.Group = dir.Group // a new file in a setgid folder
	}
	return nil
}

// name returns how an owner will be shown.
func (v *overlayWriter) name(kind, s string, known, isUser bool) (string, error) {
	if known {
		return s, nil
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		if r, ok := v.base.(*reader); ok {
			owner, group, err := r.m.names(uint32(n), uint32(n))
			if isUser {
				return owner, err
			}
			return group, err
		}
		return s, nil
	}
	if len(v.planned) == 0 && len(v.opaque) == 0 {
		return "", fmt.Errorf("cannot find the %s %q", kind, s)
	}
	v.doubt("the %s %s may come with a package or a command of the plan", kind, s)
	return s, nil
}

func (v *overlayWriter) user(ctx context.Context, name string) (*task.User, error) {
	if u, ok := v.users[name]; ok {
		return u, nil
	}
	return v.base.LookupUser(ctx, name)
}

func (v *overlayWriter) group(ctx context.Context, name string) (*task.Group, error) {
	if g, ok := v.groups[name]; ok {
		return g, nil
	}
	return v.base.LookupGroup(ctx, name)
}

// LookupUser returns the account as it would be.
func (v *overlayWriter) LookupUser(ctx context.Context, name string) (*task.User, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return nil, err
	}
	u, err := v.user(ctx, name)
	if u == nil || err != nil {
		v.expect("account", name)
		return nil, err
	}
	out := *u
	out.Groups = slices.Clone(u.Groups)
	return &out, nil
}

// LookupGroup returns the group as it would be.
func (v *overlayWriter) LookupGroup(ctx context.Context, name string) (*task.Group, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return nil, err
	}
	g, err := v.group(ctx, name)
	if g == nil || err != nil {
		v.expect("group", name)
		return nil, err
	}
	out := *g
	out.Members = slices.Clone(g.Members)
	return &out, nil
}

// expect doubts the absence of a name that a planned package may bring.
func (v *overlayWriter) expect(kind, name string) {
	for _, pkg := range v.planned {
		if first, _, _ := strings.Cut(pkg, "-"); strings.TrimPrefix(name, "_") == pkg || strings.TrimPrefix(name, "_") == first {
			v.doubt("the %s %s may come with the package %s, which the plan installs", kind, name, pkg)
		}
	}
}

// PutUser remembers an account.
func (v *overlayWriter) PutUser(ctx context.Context, spec task.UserSpec) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.putUser(ctx, spec); err != nil {
		return fmt.Errorf("cannot set up the account %s: %w", spec.Name, err)
	}
	return nil
}

func (v *overlayWriter) putUser(ctx context.Context, spec task.UserSpec) error {
	if err := checkName(spec.Name); err != nil {
		return err
	}
	now, err := v.user(ctx, spec.Name)
	if err != nil {
		return err
	}
	var u task.User
	if now != nil {
		u = *now
	} else if u, err = v.newUser(ctx, spec); err != nil {
		return err
	}
	if spec.UID != nil {
		u.UID = *spec.UID
	}
	if spec.Group != nil {
		g, err := v.group(ctx, *spec.Group)
		if err != nil {
			return err
		}
		if u.Group, err = v.name("group", *spec.Group, g != nil, false); err != nil {
			return err
		}
		if u.GID = unassigned; g != nil {
			u.GID, u.Group = g.GID, g.Name
		}
	}
	if spec.Groups != nil {
		if err := v.join(ctx, &u, *spec.Groups); err != nil {
			return err
		}
	}
	setIf(&u.Comment, spec.Comment)
	setIf(&u.Shell, spec.Shell)
	if spec.Home != nil && *spec.Home != u.Home {
		if spec.MoveHome && now != nil {
			v.moveHome(u.Home, *spec.Home)
		}
		u.Home = *spec.Home
	}
	if spec.PasswordHash != nil {
		u.Locked = strings.HasPrefix(*spec.PasswordHash, "!") || strings.HasPrefix(*spec.PasswordHash, "*")
		u.PasswordDigest = task.DigestOf([]byte(*spec.PasswordHash))
	}
	v.users[spec.Name], v.changed = &u, true
	if spec.CreateHome {
		return v.makeHome(ctx, &u, spec.HomeMode)
	}
	return nil
}

func setIf(to, from *string) {
	if from != nil {
		*to = *from
	}
}

// newUser predicts what useradd fills in by itself.
func (v *overlayWriter) newUser(ctx context.Context, spec task.UserSpec) (task.User, error) {
	u := task.User{
		Name: spec.Name, UID: unassigned, GID: unassigned, Group: spec.Name, Locked: true,
		Home:  path.Join(v.setting(ctx, "/etc/default/useradd", "HOME", "/home"), spec.Name),
		Shell: v.setting(ctx, "/etc/default/useradd", "SHELL", "/bin/sh"), PasswordDigest: task.DigestOf([]byte("!")),
	}
	if spec.Group != nil {
		return u, nil
	}
	g, err := v.group(ctx, spec.Name)
	if err != nil {
		return u, err
	}
	if g == nil {
		g = &task.Group{Name: spec.Name, GID: unassigned}
		v.groups[spec.Name] = g
	}
	u.GID = g.GID
	return u, nil
}

// setting reads NAME=value or NAME value from a file of settings.
func (v *overlayWriter) setting(ctx context.Context, file, name, otherwise string) string {
	b, err := v.base.ReadFile(ctx, file, 1<<20)
	if err != nil {
		return otherwise
	}
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.FieldsFunc(l, func(r rune) bool { return r == '=' || r == ' ' || r == '\t' })
		if len(f) >= 2 && f[0] == name {
			return f[1]
		}
	}
	return otherwise
}

// join makes the account a member of exactly these groups beside its primary one.
func (v *overlayWriter) join(ctx context.Context, u *task.User, names []string) error {
	names = sorted(names)
	for _, name := range sorted(slices.Concat(names, u.Groups)) {
		g, err := v.group(ctx, name)
		if err != nil {
			return err
		}
		if g == nil {
			if _, err := v.name("group", name, false, false); err != nil {
				return err
			}
			continue
		}
		changed := *g
		changed.Members = slices.DeleteFunc(slices.Clone(g.Members), func(s string) bool { return s == u.Name })
		if slices.Contains(names, name) {
			changed.Members = append(changed.Members, u.Name)
		}
		v.groups[name] = &changed
	}
	u.Groups = names
	return nil
}

// DeleteUser remembers that an account is gone.
func (v *overlayWriter) DeleteUser(ctx context.Context, name string, home bool) error {
	v.mu.Lock()
	u, err := v.user(ctx, name)
	if err != nil || u == nil {
		v.mu.Unlock()
		return err
	}
	gone := *u
	err = v.join(ctx, &gone, nil)
	v.users[name], v.changed = nil, true
	if g, _ := v.group(ctx, name); g != nil && gone.Group == name && len(g.Members) == 0 {
		v.groups[name] = nil // userdel takes the account's own group along
	}
	v.mu.Unlock()
	if err != nil || !home || u.Home == "" {
		return err
	}
	return v.Remove(ctx, u.Home)
}

// PutGroup remembers a group.
func (v *overlayWriter) PutGroup(ctx context.Context, spec task.GroupSpec) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := checkName(spec.Name); err != nil {
		return fmt.Errorf("cannot set up the group %s: %w", spec.Name, err)
	}
	now, err := v.group(ctx, spec.Name)
	if err != nil {
		return err
	}
	g := task.Group{Name: spec.Name, GID: unassigned}
	if now != nil {
		g = *now
	}
	if spec.GID != nil {
		g.GID = *spec.GID
	}
	v.groups[spec.Name], v.changed = &g, true
	return nil
}

// DeleteGroup remembers that a group is gone.
func (v *overlayWriter) DeleteGroup(ctx context.Context, name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, err := v.group(ctx, name)
	if err != nil || g == nil {
		return err
	}
	v.groups[name], v.changed = nil, true
	return nil
}
