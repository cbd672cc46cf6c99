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
)

// The kinds of file systems in memory, as statfs(2) names them.
const (
	tmpfs = 0x01021994
	ramfs = 0x858458f6
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
	var where syscall.Statfs_t
	return syscall.Statfs(dir, &where) == nil && (where.Type == tmpfs || where.Type == ramfs)
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
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.Write(make([]byte, min(st.Size(), 4*maxSize)))
	}
	return errors.Join(err, f.Close())
}
