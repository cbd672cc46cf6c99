package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/tasks/task"
)

// reader looks at the machine with the rights of an account.
type reader struct {
	m     *Machine
	user  string
	blobs func(context.Context, task.Blob) ([]byte, error)
}

var _ task.Reader = (*reader)(nil)

// Facts returns what was learned when the helper started.
func (r *reader) Facts() *task.Facts { return r.m.facts }

// as runs f with the rights of the reader's account.
func (r *reader) as(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id, err := r.m.identity(r.user)
	if err != nil {
		return err
	}
	return id.do(f)
}

func checkPath(name string) error {
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("cannot use the path %q: want an absolute path", name)
	}
	return nil
}

// Stat looks at name itself, not at what a symbolic link points to.
func (r *reader) Stat(ctx context.Context, name string) (info task.FileInfo, err error) {
	if err := checkPath(name); err != nil {
		return info, err
	}
	var i *image
	err = r.as(ctx, func() error {
		i, err = lookAt(name)
		return err
	})
	if err != nil {
		return info, err
	}
	info = task.FileInfo{Kind: i.Kind, Mode: i.Mode, Size: i.Size, Target: i.Target, Modified: i.modified}
	if i.Kind == task.KindNone {
		return info, nil
	}
	info.Owner, info.Group, err = r.m.names(i.UID, i.GID)
	return info, err
}

// lookAt is place.look for a path whose folders need not be trusted, or exist.
func lookAt(name string) (*image, error) {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return &image{Kind: task.KindNone}, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	i := imageOf(&st)
	if i.Kind == task.KindLink {
		if i.Target, err = os.Readlink(name); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// names returns the names of an owner and a group, or their numbers.
func (m *Machine) names(uid, gid uint32) (owner, group string, err error) {
	db, err := m.accounts.load(m)
	if err != nil {
		return "", "", err
	}
	owner, group = strconv.FormatUint(uint64(uid), 10), strconv.FormatUint(uint64(gid), 10)
	if p := db.uid(int64(uid)); p != nil {
		owner = p.name
	}
	if g := db.gid(int64(gid)); g != nil {
		group = g.name
	}
	return owner, group, nil
}

// openRegular opens a regular file for reading and never waits for a pipe's writer.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("cannot read %s: it is not a regular file", name)
	}
	return f, nil
}

// ReadFile returns the content of a regular file of at most limit bytes.
func (r *reader) ReadFile(ctx context.Context, name string, limit int64) (data []byte, err error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	err = r.as(ctx, func() error {
		f, err := openRegular(name)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		if data, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
			return err
		}
		if int64(len(data)) > limit {
			return fmt.Errorf("cannot read %s: it is larger than %d bytes", name, limit)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// ReadDir returns the names in a directory, sorted.
func (r *reader) ReadDir(ctx context.Context, name string) (names []string, err error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	err = r.as(ctx, func() error {
		entries, err := os.ReadDir(name)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return err
	})
	sort.Strings(names)
	return names, err
}

// Digest describes the content of a regular file without keeping it.
func (r *reader) Digest(ctx context.Context, name string) (c task.Content, err error) {
	if err := checkPath(name); err != nil {
		return c, err
	}
	err = r.as(ctx, func() error {
		f, err := openRegular(name)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		head, err := io.ReadAll(io.LimitReader(f, task.MaxText+1))
		if err != nil {
			return err
		}
		if len(head) <= task.MaxText {
			c = task.ContentOf(head)
			return nil
		}
		h := sha256.New()
		h.Write(head)
		n, err := io.Copy(h, f)
		c = task.Content{Digest: hex.EncodeToString(h.Sum(nil)), Size: n + int64(len(head))}
		return err
	})
	return c, err
}

// Blob returns content that the controller holds.
func (r *reader) Blob(ctx context.Context, b task.Blob) ([]byte, error) {
	if data, ok := b.Inline(); ok {
		return data, nil
	}
	if r.blobs == nil {
		return nil, fmt.Errorf("cannot fetch the content %.12s: nobody to ask for it", b.Digest)
	}
	data, err := r.blobs(ctx, b)
	if err != nil {
		return nil, err
	}
	if task.DigestOf(data) != b.Digest {
		return nil, fmt.Errorf("cannot use the content %.12s: what arrived has another digest", b.Digest)
	}
	return data, nil
}

// absent reports whether err says that something is not there.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
