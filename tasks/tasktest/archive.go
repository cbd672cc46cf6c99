package tasktest

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// Download implements [task.Writer]. What arrives is what OnDownload says, or bytes
// that are made from the checksum and then have it for this host.
func (h *Host) Download(ctx context.Context, d task.Download) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "download", d.Path, d); err != nil {
		return err
	}
	if h.OnDownload != nil {
		if err := h.OnDownload(d); err != nil {
			return err
		}
	}
	data := "content with " + string(d.Sum)
	h.sums[data] = d.Sum.SHA256()
	return h.replace("download", task.FileWrite{Path: d.Path, Data: []byte(data), Mode: d.Mode, Owner: d.Owner, Group: d.Group})
}

// replace puts a file in place as a WriteFile would.
func (h *Host) replace(verb string, f task.FileWrite) error {
	name, n, err := h.prepare(verb, f)
	if err == nil {
		put(h, h.state.Files, name, n)
	}
	return err
}

// Unpack implements [task.Writer]. Every archive holds one file, README.
func (h *Host) Unpack(ctx context.Context, u task.Unpack) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "unpack into", u.Dir, u); err != nil {
		return err
	}
	where, old, err := h.place("unpack into", u.Dir)
	if err != nil {
		return err
	}
	if old.Kind != "" && old.Kind != task.KindDir {
		return fmt.Errorf("cannot unpack into %s: there is a %s", u.Dir, old.Kind)
	}
	n := node{Kind: task.KindDir, Mode: u.Mode, Owner: h.facts.User, Group: h.facts.User}
	if err := h.chown(&n, u.Dir, u.Owner, u.Group); err != nil {
		return err
	}
	files, err := h.unpacked(u)
	if err != nil {
		return fmt.Errorf("cannot unpack into %s: %w", u.Dir, err)
	}
	h.removeTree(where)
	put(h, h.state.Files, where, n)
	for _, name := range sorted(files) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			put(h, h.state.Files, path.Join(where, dir), node{Kind: task.KindDir, Mode: 0o755, Owner: n.Owner, Group: n.Group})
		}
		f := files[name]
		f.Owner, f.Group = n.Owner, n.Group
		put(h, h.state.Files, path.Join(where, name), f)
	}
	return nil
}

func (h *Host) unpacked(u task.Unpack) (map[string]node, error) {
	files := map[string]node{}
	for _, part := range u.Parts {
		if part.Request == nil {
			if _, err := h.regular(part.Archive); err != nil {
				return nil, err
			}
		} else if h.OnDownload != nil {
			if err := h.OnDownload(task.Download{Path: u.Dir, Request: *part.Request, Sum: part.Sum, Tries: part.Tries}); err != nil {
				return nil, err
			}
		}
		files[path.Join(part.Into, "README")] = node{Kind: task.KindFile, Mode: 0o644, Data: []byte("unpacked\n")}
	}
	for name, data := range u.Add {
		files[name] = node{Kind: task.KindFile, Mode: 0o644, Data: data}
	}
	for name, target := range u.Links {
		files[name] = node{Kind: task.KindLink, Target: target}
	}
	return files, nil
}

// Pack implements [task.Writer].
func (h *Host) Pack(ctx context.Context, p task.Pack) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.write(ctx, "pack", p.Path, p); err != nil {
		return err
	}
	data, err := h.packed(p)
	if err != nil {
		return err
	}
	return h.replace("pack", task.FileWrite{Path: p.Path, Data: data, Mode: p.Mode, Owner: p.Owner, Group: p.Group})
}

// Packed implements [task.Reader].
func (h *Host) Packed(ctx context.Context, p task.Pack) (want, have task.Content, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.read(ctx, "look at what would be in", p.Path); err != nil {
		return want, have, err
	}
	data, err := h.packed(p)
	if err != nil {
		return want, have, err
	}
	if n := h.state.Files[h.resolve(p.Path, true)]; n.Kind == task.KindFile {
		have = task.Content{Digest: task.DigestOf(n.Data), Size: int64(len(n.Data))}
	}
	return task.Content{Digest: task.DigestOf(data), Size: int64(len(data))}, have, nil
}

// packed is an archive of this host: the names and what they hold, in order.
func (h *Host) packed(p task.Pack) ([]byte, error) {
	var out strings.Builder
	for _, name := range slices.Sorted(slices.Values(p.Names)) {
		full := path.Join(p.Base, name)
		if _, there := h.state.Files[full]; !there {
			return nil, fmt.Errorf("cannot pack %s: %s is not there", p.Path, full)
		}
		for _, f := range sorted(h.state.Files) {
			if f == full || strings.HasPrefix(f, full+"/") {
				fmt.Fprintf(&out, "%s %q\n", f, h.state.Files[f].Data)
			}
		}
	}
	return []byte(out.String()), nil
}
