package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// Download remembers a file of which only the checksum is known.
func (v *overlayWriter) Download(ctx context.Context, d task.Download) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := task.FileWrite{Path: d.Path, Mode: d.Mode, Owner: d.Owner, Group: d.Group}
	if err := v.arrive(ctx, w, task.Content{Digest: d.Sum.SHA256()}); err != nil {
		return fmt.Errorf("cannot download %s: %w", d.Path, err)
	}
	return nil
}

// Pack remembers an archive of which only is known what it holds.
func (v *overlayWriter) Pack(ctx context.Context, p task.Pack) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := task.FileWrite{Path: p.Path, Mode: p.Mode, Owner: p.Owner, Group: p.Group}
	if err := v.arrive(ctx, w, task.Content{}); err != nil {
		return fmt.Errorf("cannot pack %s: %w", p.Path, err)
	}
	return nil
}

// arrive remembers a file that a plan cannot have.
func (v *overlayWriter) arrive(ctx context.Context, f task.FileWrite, sum task.Content) error {
	if err := v.writeFile(ctx, f); err != nil {
		return err
	}
	real, err := v.resolve(ctx, f.Path, false)
	if err != nil {
		return err
	}
	v.nodes[real].known, v.nodes[real].sum = false, &sum
	return nil
}

// Packed compares archives and files of the host as it is.
func (v *overlayWriter) Packed(ctx context.Context, p task.Pack) (want, have task.Content, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return want, have, err
	}
	for changed := range v.nodes {
		for _, name := range append(slices.Clone(p.Names), p.Path) {
			full := path.Join(p.Base, name)
			if name == p.Path {
				full = p.Path
			}
			if changed == full || strings.HasPrefix(changed, full+"/") || strings.HasPrefix(full, changed+"/") {
				return want, have, task.Unknownf("the plan changes %s, which %s would hold", changed, p.Path)
			}
		}
	}
	return v.base.Packed(ctx, p)
}

// Unpack remembers a directory of which only is known what is put into it beside the
// archives.
func (v *overlayWriter) Unpack(ctx context.Context, u task.Unpack) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.unpack(ctx, u); err != nil {
		return fmt.Errorf("cannot unpack into %s: %w", u.Dir, err)
	}
	return nil
}

func (v *overlayWriter) unpack(ctx context.Context, u task.Unpack) error {
	real, now, err := v.target(ctx, u.Dir)
	if err != nil {
		return err
	}
	if now.Exists() && now.Kind != task.KindDir {
		return fmt.Errorf("there is a %s", now.Kind)
	}
	for _, part := range u.Parts {
		if part.Request != nil {
			continue
		}
		if _, _, err := v.file(ctx, part.Archive); err != nil {
			return err
		}
	}
	info := task.FileInfo{Kind: task.KindDir, Mode: u.Mode}
	if err := v.own(ctx, real, &info, u.Owner, u.Group); err != nil {
		return err
	}
	for p := range v.nodes {
		if strings.HasPrefix(p, real+"/") {
			delete(v.nodes, p)
		}
	}
	v.put(real, &node{info: info, cut: true, why: fmt.Sprintf("what is in %s comes from an archive", u.Dir)})
	file := info
	file.Kind, file.Mode = task.KindFile, 0o644
	for name, data := range u.Add {
		file.Size = int64(len(data))
		v.put(path.Join(real, name), &node{info: file, data: data, known: true})
	}
	for name, target := range u.Links {
		v.put(path.Join(real, name), &node{info: task.FileInfo{Kind: task.KindLink, Target: target, Owner: info.Owner, Group: info.Group}})
	}
	return nil
}
