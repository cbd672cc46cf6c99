package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const privatePrefix = "holdfast-edit-"

// Private makes a folder in memory that only we can look into, for a text that must
// not reach a disk. shred overwrites and removes everything in it. What others of
// ours left, because they were killed, is removed as well.
func Private(getenv func(string) string) (dir string, shred func() error, err error) {
	for _, base := range []string{getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if !inMemory(base) {
			continue
		}
		sweep(base)
		dir, err = os.MkdirTemp(base, privatePrefix+strconv.Itoa(os.Getpid())+"-")
		if err == nil {
			return dir, func() error { return shredAll(dir) }, nil
		}
	}
	return "", nil, &Fault{Message: "cannot edit a secret: there is no file system in memory to do that in", Hint: "set XDG_RUNTIME_DIR to one, or use 'holdfast secret get' and 'holdfast secret set'"}
}

// inMemory reports whether a folder is on a file system without a disk, and whether
// nobody but its owner, or nobody at all, may take a file from another there.
func inMemory(dir string) bool {
	if !filepath.IsAbs(dir) {
		return false
	}
	st, err := os.Stat(dir)
	if err != nil || !st.IsDir() || !ours(st) || st.Mode().Perm()&0o022 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return false
	}
	var where unix.Statfs_t
	return unix.Statfs(dir, &where) == nil && (where.Type == unix.TMPFS_MAGIC || where.Type == unix.RAMFS_MAGIC)
}

// sweep removes what a process that is gone left.
func sweep(base string) {
	entries, _ := filepath.Glob(filepath.Join(base, privatePrefix+"*"))
	for _, dir := range entries {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), privatePrefix), "-")
		pid, err := strconv.Atoi(number)
		st, serr := os.Lstat(dir)
		if err != nil || serr != nil || !st.IsDir() || !ours(st) {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = shredAll(dir) // it will be tried again
		}
	}
}

// shredAll overwrites the files below dir, those that an editor left included, and
// removes it.
func shredAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = overwrite(path)
		}
		return err
	})
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("cannot remove %s, which holds a secret: %w", dir, err)
	}
	return nil
}

func overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.Write(make([]byte, min(st.Size(), 4*maxSize)))
	}
	return errors.Join(err, f.Close())
}
