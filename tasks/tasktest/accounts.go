package tasktest

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// PutUser implements [task.Writer].
func (h *Host) PutUser(ctx context.Context, spec task.UserSpec) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "put user", spec.Name, spec); err != nil {
		return err
	}
	a, there := h.state.Users[spec.Name]
	if !there {
		var err error
		if a, err = h.newAccount(spec); err != nil {
			return err
		}
	}
	home := a.Home
	if err := h.change(&a, spec); err != nil {
		return err
	}
	slices.Sort(a.Groups)
	put(h, h.state.Users, spec.Name, a)
	if there && spec.MoveHome && home != a.Home {
		h.moveTree(home, a.Home)
	}
	if _, made := h.state.Files[a.Home]; spec.CreateHome && !made {
		return h.makeHome(a, spec.HomeMode)
	}
	return nil
}

func (h *Host) newAccount(spec task.UserSpec) (account, error) {
	a := account{User: task.User{Name: spec.Name, Home: "/home/" + spec.Name, Shell: "/bin/sh"}}
	a.setPassword("!")
	if spec.UID != nil {
		a.UID = *spec.UID
	} else {
		a.UID = h.free(spec.System, func(id int64) bool {
			return slices.ContainsFunc(sorted(h.state.Users), func(n string) bool { return h.state.Users[n].UID == id })
		})
	}
	for _, name := range sorted(h.state.Users) {
		if h.state.Users[name].UID == a.UID {
			return a, fmt.Errorf("cannot put user %s: number %d is that of %s", spec.Name, a.UID, name)
		}
	}
	if spec.Group != nil {
		return a, nil
	}
	g, there := h.state.Groups[spec.Name]
	if !there {
		g = task.Group{Name: spec.Name, GID: h.freeGroup(spec.System)}
		put(h, h.state.Groups, spec.Name, g)
	}
	a.Group, a.GID = g.Name, g.GID
	return a, nil
}

func (h *Host) freeGroup(system bool) int64 {
	return h.free(system, func(id int64) bool {
		return slices.ContainsFunc(sorted(h.state.Groups), func(n string) bool { return h.state.Groups[n].GID == id })
	})
}

func (h *Host) free(system bool, taken func(int64) bool) int64 {
	id := int64(1000)
	if system {
		id = 101
	}
	for taken(id) {
		id++
	}
	return id
}

func (a *account) setPassword(hash string) {
	a.Password, a.PasswordDigest = hash, task.DigestOf([]byte(hash))
	a.Locked = strings.HasPrefix(hash, "!")
}

func (h *Host) change(a *account, spec task.UserSpec) error {
	if spec.UID != nil {
		a.UID = *spec.UID
	}
	if spec.Group != nil {
		g, there := h.state.Groups[*spec.Group]
		if !there {
			return fmt.Errorf("cannot put user %s: there is no group %s", spec.Name, *spec.Group)
		}
		a.Group, a.GID = g.Name, g.GID
	}
	if spec.Groups != nil {
		for _, name := range *spec.Groups {
			if _, there := h.state.Groups[name]; !there {
				return fmt.Errorf("cannot put user %s: there is no group %s", spec.Name, name)
			}
		}
		a.Groups = slices.Clone(*spec.Groups)
	}
	for to, from := range map[*string]*string{&a.Comment: spec.Comment, &a.Home: spec.Home, &a.Shell: spec.Shell} {
		if from != nil {
			*to = *from
		}
	}
	if spec.PasswordHash != nil {
		a.setPassword(*spec.PasswordHash)
	}
	return nil
}

func (h *Host) makeHome(a account, mode *task.Mode) error {
	if h.state.Files[path.Dir(a.Home)].Kind != task.KindDir {
		return fmt.Errorf("cannot make home %s of user %s: its directory is missing", a.Home, a.Name)
	}
	n := node{Kind: task.KindDir, Mode: 0o755, Owner: a.Name, Group: a.Group}
	if mode != nil {
		n.Mode = *mode
	}
	put(h, h.state.Files, a.Home, n)
	return nil
}

func (h *Host) moveTree(from, to string) {
	for _, p := range sorted(h.state.Files) {
		if p == from || strings.HasPrefix(p, from+"/") {
			n := h.state.Files[p]
			drop(h, h.state.Files, p)
			put(h, h.state.Files, to+strings.TrimPrefix(p, from), n)
		}
	}
}

// DeleteUser implements [task.Writer]. Like userdel it removes the group that
// was made with the account.
func (h *Host) DeleteUser(ctx context.Context, name string, home bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "delete user", name, home); err != nil {
		return err
	}
	a, there := h.state.Users[name]
	if !there {
		return nil
	}
	drop(h, h.state.Users, name)
	drop(h, h.state.Linger, name)
	if a.Group == name && !h.inUse(name) {
		drop(h, h.state.Groups, name)
	}
	if home {
		h.removeTree(a.Home)
	}
	return nil
}

func (h *Host) inUse(group string) bool {
	return slices.ContainsFunc(sorted(h.state.Users), func(n string) bool {
		u := h.state.Users[n]
		return u.Group == group || slices.Contains(u.Groups, group)
	})
}

// PutGroup implements [task.Writer].
func (h *Host) PutGroup(ctx context.Context, spec task.GroupSpec) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "put group", spec.Name, spec); err != nil {
		return err
	}
	g, there := h.state.Groups[spec.Name]
	if !there {
		g = task.Group{Name: spec.Name, GID: h.freeGroup(spec.System)}
	}
	if spec.GID != nil {
		g.GID = *spec.GID
	}
	for _, name := range sorted(h.state.Groups) {
		if name != spec.Name && h.state.Groups[name].GID == g.GID {
			return fmt.Errorf("cannot put group %s: number %d is that of %s", spec.Name, g.GID, name)
		}
	}
	put(h, h.state.Groups, spec.Name, g)
	return nil
}

// DeleteGroup implements [task.Writer].
func (h *Host) DeleteGroup(ctx context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "delete group", name, nil); err != nil {
		return err
	}
	for _, user := range sorted(h.state.Users) {
		u := h.state.Users[user]
		if u.Group == name {
			return fmt.Errorf("cannot delete group %s: it is the primary group of %s", name, user)
		}
		if i := slices.Index(u.Groups, name); i >= 0 {
			u.Groups = slices.Delete(slices.Clone(u.Groups), i, i+1)
			put(h, h.state.Users, user, u)
		}
	}
	drop(h, h.state.Groups, name)
	return nil
}

// SetLinger implements [task.Writer].
func (h *Host) SetLinger(ctx context.Context, user string, on bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "set linger of", user, on); err != nil {
		return err
	}
	if _, there := h.state.Users[user]; !there {
		return fmt.Errorf("cannot set linger of %s: no such user", user)
	}
	if on {
		put(h, h.state.Linger, user, true)
	} else {
		drop(h, h.state.Linger, user)
	}
	return nil
}
