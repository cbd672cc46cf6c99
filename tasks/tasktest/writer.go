package tasktest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// WriteFile implements [task.Writer]. The content passes validation unless
// OnValidate refuses it.
func (h *Host) WriteFile(ctx context.Context, f task.FileWrite) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "write", f.Path, f); err != nil {
		return err
	}
	name, n, err := h.prepare("write", f)
	if err != nil {
		return err
	}
	if len(f.Validate) > 0 && h.OnValidate != nil {
		if err := h.OnValidate(f); err != nil {
			return err
		}
	}
	put(h, h.state.Files, name, n)
	delete(h.modified, name)
	return nil
}

// prepare makes the node that a file write leaves.
func (h *Host) prepare(verb string, f task.FileWrite) (name string, n node, err error) {
	name, old, err := h.place(verb, f.Path)
	if err != nil {
		return "", n, err
	}
	if old.Kind == task.KindDir || old.Kind == task.KindOther {
		return "", n, fmt.Errorf("cannot %s %s: it is a %s", verb, f.Path, old.Kind)
	}
	n = node{Kind: task.KindFile, Mode: 0o644, Owner: h.facts.User, Group: h.facts.User, Data: slices.Clone(f.Data)}
	if old.Kind == task.KindFile {
		n.Mode, n.Owner, n.Group = old.Mode, old.Owner, old.Group
	}
	if f.Mode != nil {
		n.Mode = *f.Mode
	}
	return name, n, h.chown(&n, f.Path, f.Owner, f.Group)
}

// place finds where a path is and what is there; its folder must exist.
func (h *Host) place(verb, name string) (string, node, error) {
	if !path.IsAbs(name) {
		return "", node{}, fmt.Errorf("cannot %s %s: not an absolute path", verb, name)
	}
	where := h.resolve(name, false)
	if h.state.Files[path.Dir(where)].Kind != task.KindDir {
		return "", node{}, fmt.Errorf("cannot %s %s: its directory: %w", verb, name, fs.ErrNotExist)
	}
	return where, h.state.Files[where], nil
}

func (h *Host) chown(n *node, name, owner, group string) error {
	if owner != "" {
		u, ok := h.userNamed(owner)
		if !ok {
			return fmt.Errorf("cannot give %s to %s: no such user", name, owner)
		}
		n.Owner = u
	}
	if group != "" {
		g, ok := h.groupNamed(group)
		if !ok {
			return fmt.Errorf("cannot give %s to group %s: no such group", name, group)
		}
		n.Group = g
	}
	return nil
}

// userNamed answers as stat would: the name for a known number, else the number.
func (h *Host) userNamed(s string) (string, bool) {
	if _, there := h.state.Users[s]; there {
		return s, true
	}
	if _, err := strconv.ParseUint(s, 10, 32); err != nil {
		return "", false
	}
	for _, name := range sorted(h.state.Users) {
		if strconv.FormatInt(h.state.Users[name].UID, 10) == s {
			return name, true
		}
	}
	return s, true
}

func (h *Host) groupNamed(s string) (string, bool) {
	if _, there := h.state.Groups[s]; there {
		return s, true
	}
	if _, err := strconv.ParseUint(s, 10, 32); err != nil {
		return "", false
	}
	for _, name := range sorted(h.state.Groups) {
		if strconv.FormatInt(h.state.Groups[name].GID, 10) == s {
			return name, true
		}
	}
	return s, true
}

// MakeDir implements [task.Writer].
func (h *Host) MakeDir(ctx context.Context, name string, mode task.Mode, owner, group string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "make directory", name, nil); err != nil {
		return err
	}
	where, old, err := h.place("make directory", name)
	if err != nil {
		return err
	}
	if old.Kind != "" {
		return fmt.Errorf("cannot make directory %s: %w", name, fs.ErrExist)
	}
	n := node{Kind: task.KindDir, Mode: mode, Owner: h.facts.User, Group: h.facts.User}
	if err := h.chown(&n, name, owner, group); err != nil {
		return err
	}
	put(h, h.state.Files, where, n)
	return nil
}

// MakeLink implements [task.Writer].
func (h *Host) MakeLink(ctx context.Context, name, target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "make link", name, nil); err != nil {
		return err
	}
	where, old, err := h.place("make link", name)
	if err != nil {
		return err
	}
	if old.Kind == task.KindDir {
		return fmt.Errorf("cannot make link %s: it is a directory", name)
	}
	put(h, h.state.Files, where, node{Kind: task.KindLink, Owner: h.facts.User, Group: h.facts.User, Target: target})
	return nil
}

// Remove implements [task.Writer].
func (h *Host) Remove(ctx context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "remove", name, nil); err != nil {
		return err
	}
	h.removeTree(h.resolve(name, false))
	return nil
}

func (h *Host) removeTree(where string) {
	for _, p := range slices.Backward(sorted(h.state.Files)) {
		if p == where || strings.HasPrefix(p, where+"/") {
			drop(h, h.state.Files, p)
		}
	}
}

// SetMode implements [task.Writer].
func (h *Host) SetMode(ctx context.Context, name string, mode task.Mode) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "set the mode of", name, nil); err != nil {
		return err
	}
	where, n, err := h.attributed("set the mode of", name)
	if err != nil {
		return err
	}
	n.Mode = mode
	put(h, h.state.Files, where, n)
	return nil
}

// SetOwner implements [task.Writer].
func (h *Host) SetOwner(ctx context.Context, name, owner, group string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "set the owner of", name, nil); err != nil {
		return err
	}
	where, n, err := h.attributed("set the owner of", name)
	if err != nil {
		return err
	}
	if err := h.chown(&n, name, owner, group); err != nil {
		return err
	}
	if n.Kind == task.KindFile {
		n.Mode &^= 0o6000 // as the kernel does
	}
	put(h, h.state.Files, where, n)
	return nil
}

func (h *Host) attributed(verb, name string) (string, node, error) {
	where := h.resolve(name, false)
	n, there := h.state.Files[where]
	if !there {
		return "", n, fmt.Errorf("cannot %s %s: %w", verb, name, fs.ErrNotExist)
	}
	if n.Kind == task.KindLink {
		return "", n, fmt.Errorf("cannot %s %s: it is a link", verb, name)
	}
	return where, n, nil
}

// SetKernelParam implements [task.Writer].
func (h *Host) SetKernelParam(ctx context.Context, name, value string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "set kernel parameter", name, value); err != nil {
		return err
	}
	if _, known := h.state.Kernel[name]; !known {
		return fmt.Errorf("cannot set kernel parameter %s: the kernel does not know it", name)
	}
	put(h, h.state.Kernel, name, strings.Join(strings.Fields(value), " "))
	return nil
}

// Run implements [task.Writer].
func (h *Host) Run(ctx context.Context, cmd task.Command) (task.Output, error) {
	h.mu.Lock()
	err := h.write(ctx, "run", argv0(cmd), cmd)
	h.mu.Unlock()
	if err != nil {
		return task.Output{}, err
	}
	if len(cmd.Argv) == 0 {
		return task.Output{}, errors.New("cannot run nothing")
	}
	if h.OnRun == nil {
		return h.program(cmd)
	}
	return h.OnRun(cmd)
}

// Progress implements [task.Writer].
func (h *Host) Progress(message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.progress = append(h.progress, message)
}
