package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

const opRemove = "remove"

// Remove removes a file, a link, or a directory with all that is in it.
func (w *writer) Remove(ctx context.Context, name string) error {
	return w.removeKept(ctx, name, false)
}

// removeKept is Remove; what a secret file held is kept encrypted.
func (w *writer) removeKept(ctx context.Context, name string, secret bool) error {
	if err := w.remove(ctx, name, secret); err != nil {
		return fmt.Errorf("cannot remove %s: %w", name, err)
	}
	return nil
}

func (w *writer) remove(ctx context.Context, name string, secret bool) error {
	if isVital(name) {
		return errors.New("the system cannot do without it")
	}
	p, now, err := w.open(name)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	if now.Kind == task.KindNone {
		return nil
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	act := func() error { return unix.Unlinkat(p.fd, p.name, 0) }
	if now.Kind == task.KindDir {
		act, err = w.uproot(p, now)
	} else {
		err = p.keep(now, w.s.Journal, secret)
	}
	if err != nil {
		return err
	}
	e := journal.Entry{Op: opRemove, Resource: name, Before: encode(now), Want: encode(fileWant{})}
	return w.change(ctx, e, func(*journal.Entry) (string, error) {
		if err := w.as(func(*identity) error { return act() }); err != nil {
			return "", explain(p, err)
		}
		return imprint{kind: task.KindNone}.String(), p.sync()
	})
}

// uproot prepares the removal of a directory: it goes into the journal, by a rename
// where that is possible, else as a copy.
func (w *writer) uproot(p *place, now *image) (act func() error, err error) {
	mount, err := mountBelow(p.path)
	if err != nil {
		return nil, err
	}
	if mount != "" {
		return nil, fmt.Errorf("%s is a mount point", mount)
	}
	name, dst, err := w.s.Journal.Place()
	if err != nil {
		return nil, err
	}
	now.Tree = name
	id, err := w.m.identity(w.user)
	if err != nil {
		return nil, err
	}
	if id != nil || !sameDevice(p.path, w.s.Journal.Store().Dir()) {
		return p.removal(dst)
	}
	return func() error {
		err := unix.Renameat(p.fd, p.name, unix.AT_FDCWD, dst)
		// An overlay refuses it for a directory of its lower layers, as the root of a container is.
		if !errors.Is(err, unix.EXDEV) {
			return err
		}
		remove, err := p.removal(dst)
		if err == nil {
			err = remove()
		}
		return err
	}, nil
}

// removal copies a directory to dst; what it returns then removes it.
func (p *place) removal(dst string) (func() error, error) {
	if err := p.copyTo(dst); err != nil {
		_ = os.RemoveAll(dst)
		return nil, fmt.Errorf("cannot keep a copy: %w", err)
	}
	// Go removes trees through descriptors and follows no link.
	return func() error { return plain(os.RemoveAll(p.proc(p.name))) }, nil
}

func sameDevice(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Lstat(a, &x) == nil && unix.Lstat(b, &y) == nil && x.Dev == y.Dev
}

// mountBelow returns a mount point at or below dir, or "".
func mountBelow(dir string) (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	in := bufio.NewScanner(f)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) < 5 {
			continue
		}
		if mount := fields[4]; mount == dir || strings.HasPrefix(mount, dir+"/") {
			return mount, nil
		}
	}
	return "", in.Err()
}

// copyTo copies the directory that is there to the new path dst.
func (p *place) copyTo(dst string) error {
	src, err := unix.Openat(p.fd, p.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src) //nolint:errcheck // only read
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	out, err := unix.Open(dst, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(out) //nolint:errcheck // synced below
	if err := copyDir(src, out); err != nil {
		return err
	}
	return unix.Syncfs(out)
}

// copyDir copies what is in one open directory into another, then its owner, mode
// and attributes. What is there already stays.
func copyDir(src, dst int) error {
	names, err := namesIn(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyOne(src, dst, name); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return likeOpen(src, dst)
}

func namesIn(fd int) ([]string, error) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(again), "directory")
	defer d.Close() //nolint:errcheck // only read
	return d.Readdirnames(-1)
}

func copyOne(src, dst int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return copySub(src, dst, name)
	case unix.S_IFREG:
		return copyFile(src, dst, name)
	case unix.S_IFLNK:
		target, err := readlinkat(src, name)
		if err == nil {
			err = unix.Symlinkat(target, dst, name)
		}
		if err != nil {
			return err
		}
	default:
		if err := unix.Mknodat(dst, name, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

func copySub(src, dst int, name string) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	in, err := unix.Openat(src, name, flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(in) //nolint:errcheck // only read
	if err := unix.Mkdirat(dst, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	out, err := unix.Openat(dst, name, flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(out) //nolint:errcheck // synced by the caller
	return copyDir(in, out)
}

func copyFile(src, dst int, name string) error {
	in, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	from := os.NewFile(uintptr(in), name)
	defer from.Close() //nolint:errcheck // only read
	out, err := unix.Openat(dst, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(out), name)
	_, err = io.Copy(to, from)
	if err == nil {
		err = likeOpen(in, out)
	}
	return errors.Join(err, to.Close())
}

// likeOpen gives dst the owner, mode, attributes and times of src.
func likeOpen(src, dst int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	extra, err := attrs(src)
	if err != nil {
		return err
	}
	if err := own(dst, &st.Uid, &st.Gid); err != nil {
		return err
	}
	if err := setAttrs(dst, extra); err != nil {
		return err
	}
	if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", dst), times, 0)
}
