package host

import (
	"context"
	"fmt"
	"path"
	"strconv"

	"holdfast/tasks/task"
)

func (v *overlayWriter) moveHome(from, to string) {
	v.put(from, &node{info: task.FileInfo{Kind: task.KindNone}})
	v.put(to, &node{info: task.FileInfo{Kind: task.KindDir}, why: fmt.Sprintf("%s moves to %s", from, to)})
}

// makeHome predicts a home with what the skeleton puts there.
func (v *overlayWriter) makeHome(ctx context.Context, u *task.User, mode *task.Mode) error {
	real, err := v.resolve(ctx, u.Home, false)
	if err != nil {
		return err
	}
	now, err := v.lstat(ctx, real)
	if err != nil {
		return err
	}
	perm := task.Mode(0o755)
	if s := v.setting(ctx, "/etc/login.defs", "HOME_MODE", ""); s != "" {
		if err := perm.UnmarshalText([]byte(s)); err != nil {
			return err
		}
	} else if n, err := strconv.ParseUint(v.setting(ctx, "/etc/login.defs", "UMASK", "022"), 8, 32); err == nil {
		perm = task.Mode(0o777 &^ n)
	}
	if mode != nil {
		perm = *mode
	}
	info := task.FileInfo{Kind: task.KindDir, Mode: perm, Owner: u.Name, Group: u.Group}
	if now.Exists() {
		if mode != nil && now.Kind == task.KindDir {
			now.Mode = *mode
			v.nodes[real] = &node{info: now}
		}
		return nil
	}
	for dir := path.Dir(real); ; dir = path.Dir(dir) {
		parent, err := v.lstat(ctx, dir)
		if err != nil {
			return err
		}
		if parent.Exists() || dir == "/" {
			break
		}
		v.put(dir, &node{info: task.FileInfo{Kind: task.KindDir, Mode: 0o755, Owner: "root", Group: "root"}, cut: true})
	}
	v.put(real, &node{info: info, cut: true})
	return v.copySkeleton(ctx, "/etc/skel", real, u)
}

func (v *overlayWriter) copySkeleton(ctx context.Context, from, to string, u *task.User) error {
	info, err := v.base.Stat(ctx, from)
	if err != nil || info.Kind != task.KindDir {
		return err
	}
	names, err := v.base.ReadDir(ctx, from)
	if err != nil {
		return err
	}
	for _, name := range names {
		src, dst := path.Join(from, name), path.Join(to, name)
		info, err := v.base.Stat(ctx, src)
		if err != nil {
			return err
		}
		info.Owner, info.Group = u.Name, u.Group
		n := &node{info: info, cut: true}
		if info.Kind == task.KindFile {
			if n.data, err = v.base.ReadFile(ctx, src, 1<<20); err != nil {
				return err
			}
			n.known = true
		}
		v.put(dst, n)
		if info.Kind == task.KindDir {
			if err := v.copySkeleton(ctx, src, dst, u); err != nil {
				return err
			}
		}
	}
	return nil
}
