package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/tasks/task"
)

// sprout is a directory that grows from archives. Nothing of it leads out of it:
// names are relative and without "..", no name goes through a link, and a link leads
// up only at its beginning and never past the directory, so that no chain of links
// does.
type sprout struct {
	root     *os.Root
	uid, gid *uint32
	links    map[string]bool
	dirs     []string
	left     int64 // bytes
	files    int64
	into     string
	strip    int
}

var zeroTime time.Time

// where returns the place of a name of the archive, "" for one that is stripped away.
// Its folders are there.
func (t *sprout) where(name string) (string, error) {
	short, err := shortOf(name, t.strip, t.into)
	if err != nil || short == "" {
		return "", err
	}
	if t.files--; t.files < 0 {
		return "", errors.New("it holds more files than allowed")
	}
	return short, t.folders(path.Dir(short))
}

// folders makes the folders of a path.
func (t *sprout) folders(dir string) error {
	if dir == "." {
		return nil
	}
	if t.links[dir] {
		return fmt.Errorf("it puts something behind the link %s", dir)
	}
	if st, err := t.root.Lstat(dir); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("it puts something into %s, which is no folder", dir)
		}
		return nil
	}
	if err := t.folders(path.Dir(dir)); err != nil {
		return err
	}
	t.dirs = append(t.dirs, dir)
	if err := t.root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return t.own(dir)
}

func (t *sprout) dir(name string) error {
	short, err := t.where(name)
	if err != nil || short == "" {
		return err
	}
	return t.folders(short)
}

// clear makes room for a file or a link: the last of two with one name counts.
func (t *sprout) clear(short string) error {
	delete(t.links, short)
	if err := t.root.Remove(short); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (t *sprout) file(name string, mode fs.FileMode, size int64, modified time.Time, in io.Reader) error {
	short, err := t.where(name)
	if err != nil || short == "" {
		return err
	}
	if t.left -= max(size, 0); t.left < 0 {
		return errors.New("what it holds is larger than allowed")
	}
	if err := t.clear(short); err != nil {
		return err
	}
	out, err := t.root.OpenFile(short, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("the size of %s is not what it says", name)
	}
	if err == nil {
		err = out.Chmod(mode.Perm()&^0o022 | 0o400) // no more for others than the usual umask gives
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil && !modified.IsZero() {
		err = t.root.Chtimes(short, modified, modified)
	}
	if err != nil {
		return err
	}
	return t.own(short)
}

// link makes a symbolic link that stays inside.
func (t *sprout) link(name, target string) error {
	short, err := t.where(name)
	if err != nil || short == "" {
		return err
	}
	down := false
	for _, part := range strings.Split(target, "/") {
		if part == ".." && down {
			return fmt.Errorf("the link %s leads to %q, up after it went down", name, target)
		}
		down = down || part != ".." && part != "." && part != ""
	}
	if path.IsAbs(target) || target == "" || strings.HasPrefix(path.Join(path.Dir(short), target)+"/", "../") {
		return fmt.Errorf("the link %s leads out of the directory, to %q", name, target)
	}
	if err := t.clear(short); err != nil {
		return err
	}
	t.links[short] = true
	if err := t.root.Symlink(target, short); err != nil {
		return err
	}
	return t.own(short)
}

// same makes a second name of a file that was unpacked before.
func (t *sprout) same(name, of string) error {
	short, err := t.where(name)
	if err != nil || short == "" {
		return err
	}
	other, err := shortOf(of, t.strip, t.into)
	if err != nil {
		return err
	}
	st, err := t.root.Lstat(other)
	if err != nil || !st.Mode().IsRegular() || t.links[path.Dir(other)] {
		return fmt.Errorf("%s is a second name of %s, which is no file of it", name, of)
	}
	if err := t.clear(short); err != nil {
		return err
	}
	return t.root.Link(other, short)
}

func (t *sprout) own(short string) error {
	if t.uid == nil && t.gid == nil {
		return nil
	}
	u, g := -1, -1
	if t.uid != nil {
		u = int(*t.uid)
	}
	if t.gid != nil {
		g = int(*t.gid)
	}
	return t.root.Lchown(short, u, g)
}

// finish gives the directory itself its owner and mode.
func (t *sprout) finish(mode task.Mode) error {
	if err := t.own("."); err != nil {
		return err
	}
	return t.root.Chmod(".", mode.FS())
}

// summed is a file that is read once, and its checksum.
type summed struct {
	*os.File
	ctx context.Context
	sum hash.Hash
}

func (s *summed) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.File.Read(p)
	s.sum.Write(p[:n])
	return n, err
}

// WriteTo keeps io.Copy from going around Read.
func (s *summed) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{s})
}

func (s *summed) check(part task.Part) error {
	if part.Sum == "" {
		return nil
	}
	if got, ok := part.Sum.Holds(s.sum); !ok {
		return fmt.Errorf("it has %s, want %s", got, part.Sum)
	}
	return nil
}

// tree describes all that is below a directory without reading files: names, kinds,
// modes, owners, sizes, times and where links lead.
func (p *place) tree(name string) (string, error) {
	fd, err := unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path.Join(path.Dir(p.path), name), Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	h := sha256.New()
	if err := describe(h, fd, ""); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func describe(h io.Writer, fd int, prefix string) error {
	names, err := namesIn(fd)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		size, when, target := st.Size, st.Mtim.Sec, ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			size, when = 0, 0
		case unix.S_IFLNK:
			when = 0
			if target, err = readlinkat(fd, name); err != nil {
				return err
			}
		}
		_, _ = fmt.Fprintf(h, "%q %o %d %d %d %d %q\n", prefix+name, st.Mode, st.Uid, st.Gid, size, when, target) // a hash takes everything
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = describe(h, sub, prefix+name+"/")
		_ = unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}
