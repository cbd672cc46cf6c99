package host

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/tasks/task"
)

// Pack creates or replaces an archive.
func (w *writer) Pack(ctx context.Context, p task.Pack) error {
	id, err := w.m.identity(w.user)
	if err != nil {
		return err
	}
	f := fileWrite{path: p.Path, mode: p.Mode, secret: w.s.Hidden, large: true}
	f.write = func(out io.Writer) error {
		z := gzip.NewWriter(out) // without name and time, so that the same content is the same archive
		if err := packTo(ctx, z, p, id); err != nil {
			return err
		}
		return z.Close()
	}
	if f.uid, f.gid, err = w.owners(p.Owner, p.Group); err == nil {
		err = w.writeFile(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("cannot pack %s: %w", p.Path, err)
	}
	return nil
}

// Packed says what an archive would hold now, and what it holds.
func (r *reader) Packed(ctx context.Context, p task.Pack) (want, have task.Content, err error) {
	id, err := r.m.identity(r.user)
	if err != nil {
		return want, have, err
	}
	err = r.as(ctx, func() error {
		h := sha256.New()
		n := &counting{w: h}
		if err := packTo(ctx, n, p, id); err != nil {
			return err
		}
		want = task.Content{Digest: hex.EncodeToString(h.Sum(nil)), Size: n.n}
		have, err = packedIn(ctx, p)
		return err
	})
	if err != nil {
		return want, have, fmt.Errorf("cannot look at what %s would hold: %w", p.Path, err)
	}
	return want, have, nil
}

type counting struct {
	w io.Writer
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.w.Write(b)
}

// packedIn describes what an archive holds. One that cannot be read is one with other
// content.
func packedIn(ctx context.Context, p task.Pack) (task.Content, error) {
	f, err := openRegular(p.Path)
	if absent(err) {
		return task.Content{}, nil
	}
	if err != nil {
		return task.Content{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	var n int64
	z, err := gzip.NewReader(&summed{File: f, ctx: ctx, sum: sha256.New()})
	if err == nil {
		n, err = io.Copy(h, io.LimitReader(z, p.MaxSize+p.MaxSize/2+1<<20))
	}
	if ctx.Err() != nil {
		return task.Content{}, ctx.Err()
	}
	if err != nil {
		return task.Content{Digest: "unreadable"}, nil
	}
	return task.Content{Digest: hex.EncodeToString(h.Sum(nil)), Size: n}, nil
}

// packer writes a tar archive, names in order.
type packer struct {
	ctx  context.Context
	out  *tar.Writer
	p    task.Pack
	left int64
}

func packTo(ctx context.Context, out io.Writer, p task.Pack, id *identity) error {
	k := &packer{ctx: ctx, out: tar.NewWriter(out), p: p, left: p.MaxSize}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(p.Names))) {
		pl, err := at(path.Join(p.Base, name), id)
		if err != nil {
			return err
		}
		err = k.add(pl.fd, pl.name, name)
		pl.close()
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(p.Base, name), err)
		}
	}
	return k.out.Close()
}

func (k *packer) excluded(name string) bool {
	return slices.ContainsFunc(k.p.Exclude, func(pattern string) bool {
		what := path.Base(name)
		if strings.Contains(pattern, "/") {
			what = name
		}
		ok, _ := path.Match(pattern, what) // the module has checked the patterns
		return ok
	})
}

// add packs what an open folder holds under a name.
func (k *packer) add(dir int, base, name string) error {
	if err := k.ctx.Err(); err != nil {
		return err
	}
	if k.excluded(name) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Format: tar.FormatPAX}
	if k.p.Attributes {
		h.Uid, h.Gid, h.ModTime = int(st.Uid), int(st.Gid), time.Unix(st.Mtim.Sec, 0)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return k.file(dir, base, h, &st)
	case unix.S_IFDIR:
		return k.dir(dir, base, h)
	case unix.S_IFLNK:
		target, err := readlinkat(dir, base)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return k.out.WriteHeader(h)
	}
	return fmt.Errorf("%s is neither a file, a folder nor a link: exclude it", name)
}

func (k *packer) file(dir int, base string, h *tar.Header, st *unix.Stat_t) error {
	if k.left -= st.Size; k.left < 0 {
		return fmt.Errorf("all files together are larger than %d bytes", k.p.MaxSize)
	}
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close() //nolint:errcheck // only read
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := k.out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(k.out, io.LimitReader(&summed{File: f, ctx: k.ctx, sum: sha256.New()}, st.Size))
	if err == nil && n != st.Size {
		err = errors.New("it shrank while it was read")
	}
	return err
}

func (k *packer) dir(parent int, base string, h *tar.Header) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	name := h.Name
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	if err := k.out.WriteHeader(h); err != nil {
		return err
	}
	names, err := namesIn(fd)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if err := k.add(fd, n, path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}
