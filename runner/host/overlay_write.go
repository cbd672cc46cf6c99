package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// put remembers a node. What was planned below a path that is no directory any more goes.
func (v *overlayWriter) put(real string, n *node) {
	if n.info.Kind != task.KindDir {
		for p := range v.nodes {
			if strings.HasPrefix(p, real+"/") {
				delete(v.nodes, p)
			}
		}
	}
	v.nodes[real] = n
	v.dirty[real] = true
	v.changed = true
}

// WriteFile remembers a file.
func (v *overlayWriter) WriteFile(ctx context.Context, f task.FileWrite) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.writeFile(ctx, f); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	return nil
}

func (v *overlayWriter) writeFile(ctx context.Context, f task.FileWrite) error {
	real, now, err := v.target(ctx, f.Path)
	if err != nil {
		return err
	}
	if now.Kind == task.KindDir || now.Kind == task.KindOther {
		return fmt.Errorf("there is a %s", now.Kind)
	}
	info := task.FileInfo{Kind: task.KindFile, Mode: 0o644, Size: int64(len(f.Data))}
	if now.Kind == task.KindFile {
		info.Mode, info.Owner, info.Group = now.Mode, now.Owner, now.Group
	}
	if f.Mode != nil {
		info.Mode = *f.Mode
	}
	if err := v.own(ctx, real, &info, f.Owner, f.Group); err != nil {
		return err
	}
	v.put(real, &node{info: info, data: slices.Clone(f.Data), known: true, secret: f.Secret})
	return nil
}

// MakeDir remembers a directory.
func (v *overlayWriter) MakeDir(ctx context.Context, name string, mode task.Mode, owner, group string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	real, now, err := v.target(ctx, name)
	if err == nil && now.Exists() && now.Kind != task.KindDir {
		err = fmt.Errorf("there is a %s", now.Kind)
	}
	info := task.FileInfo{Kind: task.KindDir, Mode: mode, Owner: now.Owner, Group: now.Group}
	if err == nil {
		err = v.own(ctx, real, &info, owner, group)
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory %s: %w", name, err)
	}
	n := v.nodes[real]
	v.put(real, &node{info: info, cut: !now.Exists() || n != nil && n.cut})
	return nil
}

// MakeLink remembers a symbolic link.
func (v *overlayWriter) MakeLink(ctx context.Context, name, target string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	real, now, err := v.target(ctx, name)
	if err == nil && (now.Kind == task.KindDir || now.Kind == task.KindOther) {
		err = fmt.Errorf("there is a %s", now.Kind)
	}
	info := task.FileInfo{Kind: task.KindLink, Target: target}
	if err == nil {
		err = v.own(ctx, real, &info, "", "")
	}
	if err != nil {
		return fmt.Errorf("cannot make the link %s: %w", name, err)
	}
	v.put(real, &node{info: info})
	return nil
}

// Remove remembers that a path is gone.
func (v *overlayWriter) Remove(ctx context.Context, name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if isVital(path.Clean(name)) {
		return fmt.Errorf("cannot remove %s: the system cannot do without it", name)
	}
	real, err := v.resolve(ctx, name, false)
	if err != nil {
		return err
	}
	info, err := v.lstat(ctx, real)
	if err != nil || !info.Exists() {
		return err
	}
	v.put(real, &node{info: task.FileInfo{Kind: task.KindNone}})
	return nil
}

// SetMode remembers the permission bits of a path.
func (v *overlayWriter) SetMode(ctx context.Context, name string, mode task.Mode) error {
	return v.adjust(ctx, name, "mode", func(_ string, i *task.FileInfo) error {
		if i.Kind == task.KindLink {
			return fmt.Errorf("want a file or a directory, there is: %s", i.Kind)
		}
		i.Mode = mode
		return nil
	})
}

// SetOwner remembers owner and group of a path.
func (v *overlayWriter) SetOwner(ctx context.Context, name, owner, group string) error {
	return v.adjust(ctx, name, "owner", func(real string, i *task.FileInfo) error {
		return v.own(ctx, real, i, owner, group)
	})
}

func (v *overlayWriter) adjust(ctx context.Context, name, what string, act func(string, *task.FileInfo) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	real, now, err := v.target(ctx, name)
	if err == nil && !now.Exists() {
		if len(v.planned) > 0 || len(v.opaque) > 0 {
			return task.Unknownf("%s is not there yet", name)
		}
		err = errors.New("it is not there")
	}
	if err == nil {
		err = act(real, &now)
	}
	if err != nil {
		return fmt.Errorf("cannot set the %s of %s: %w", what, name, err)
	}
	n := node{}
	if old := v.nodes[real]; old != nil {
		n = *old
	}
	n.info = now
	v.nodes[real] = &n
	v.changed = true
	return nil
}
