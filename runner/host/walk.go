package host

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// place is a name in an open folder. Working through the folder's descriptor means
// that nobody can put a link in the way between the look and the act.
type place struct {
	fd   int // of the folder, opened with O_PATH
	name string
	path string // as it was asked for
}

func (p *place) close() { _ = unix.Close(p.fd) }

// proc returns a path to name in the folder that other programs and calls without
// an "at" form understand.
func (p *place) proc(name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", p.fd, name)
}

// maxLinks is how many symbolic links a path may go through (path_resolution(7)).
const maxLinks = 40

// at opens the folder that path lies in. When we have root's rights, symbolic links
// on the way are followed only where nobody but root could have made them: else an
// account could lead us to any file. With an account's own rights the kernel's
// rules are enough.
func at(name string, id *identity) (*place, error) {
	if !path.IsAbs(name) || name != path.Clean(name) {
		return nil, fmt.Errorf("cannot use the path %q: want an absolute path without \"..\"", name)
	}
	if name == "/" {
		return nil, errors.New("cannot work on the path /")
	}
	w := walk{careful: id == nil && os.Geteuid() == 0}
	fd, err := w.open(path.Dir(name))
	if err != nil {
		return nil, err
	}
	return &place{fd: fd, name: path.Base(name), path: name}, nil
}

type walk struct {
	careful bool
	links   int
}

const openDir = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

func (w *walk) open(dir string) (fd int, err error) {
	fd, err = unix.Open("/", openDir, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/", Err: err}
	}
	seen := "/"
	todo := strings.Split(strings.Trim(dir, "/"), "/")
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == "" || name == "." {
			continue
		}
		seen = path.Join(seen, name)
		next, target, err := w.step(fd, name, seen)
		if err == nil && target != "" {
			todo = append(strings.Split(target, "/"), todo...)
			seen = path.Dir(seen)
			if !strings.HasPrefix(target, "/") {
				continue
			}
			seen = "/"
			next, err = unix.Open("/", openDir, 0)
		}
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// step opens name in the folder, or returns the target of the link that it is.
func (w *walk) step(fd int, name, seen string) (next int, target string, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, "", &os.PathError{Op: "open", Path: seen, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		next, err = unix.Openat(fd, name, openDir, 0)
		if err != nil {
			return -1, "", &os.PathError{Op: "open", Path: seen, Err: err}
		}
		return next, "", nil
	}
	if w.links++; w.links > maxLinks {
		return -1, "", &os.PathError{Op: "open", Path: seen, Err: unix.ELOOP}
	}
	if w.careful {
		if err := trustLink(fd, &st, seen); err != nil {
			return -1, "", err
		}
	}
	target, err = readlinkat(fd, name)
	if err != nil {
		return -1, "", &os.PathError{Op: "readlink", Path: seen, Err: err}
	}
	return -1, target, nil
}

// trustLink refuses a link that somebody other than root can have put there.
func trustLink(fd int, link *unix.Stat_t, seen string) error {
	var dir unix.Stat_t
	if err := unix.Fstat(fd, &dir); err != nil {
		return &os.PathError{Op: "stat", Path: path.Dir(seen), Err: err}
	}
	open := dir.Mode&0o002 != 0 || dir.Mode&0o020 != 0 && dir.Gid != 0
	sticky := dir.Mode&unix.S_ISVTX != 0
	if dir.Uid == 0 && link.Uid == 0 && (!open || sticky) {
		return nil
	}
	return fmt.Errorf("cannot follow the link %s as root: another account can change where it leads; run the task as that account", seen)
}

func readlinkat(fd int, name string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(fd, name, buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}
