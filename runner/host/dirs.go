package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// MakeDir makes one directory. One that is there already gets the mode and the owner.
func (w *writer) MakeDir(ctx context.Context, name string, mode task.Mode, owner, group string) error {
	uid, gid, err := w.owners(owner, group)
	if err == nil {
		err = w.makeDir(ctx, name, mode, uid, gid)
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory %s: %w", name, err)
	}
	return nil
}

func (w *writer) makeDir(ctx context.Context, name string, mode task.Mode, uid, gid *uint32) error {
	p, now, err := w.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	switch now.Kind {
	case task.KindDir:
		if err := w.setOwner(ctx, name, uid, gid); err != nil {
			return err
		}
		return w.setMode(ctx, name, mode)
	case task.KindNone:
	default:
		return fmt.Errorf("there is a %s", now.Kind)
	}
	e := journal.Entry{Op: opDir, Resource: name, Before: encode(now), Want: encode(fileWant{})}
	return w.change(ctx, e, func(*journal.Entry) (after string, err error) {
		var made *image
		err = w.as(func(*identity) error {
			if err := unix.Mkdirat(p.fd, p.name, 0o700); err != nil {
				return err
			}
			fd, err := unix.Openat(p.fd, p.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd) //nolint:errcheck // nothing was written to it
			if err := own(fd, uid, gid); err != nil {
				return err
			}
			if err := unix.Fchmod(fd, uint32(mode)); err != nil {
				return err
			}
			var st unix.Stat_t
			err = unix.Fstat(fd, &st)
			made = imageOf(&st)
			return err
		})
		if err != nil {
			return "", explain(p, err)
		}
		return made.imprint().String(), p.sync()
	})
}

// MakeLink makes name a symbolic link to target.
func (w *writer) MakeLink(ctx context.Context, name, target string) error {
	if err := w.makeLink(ctx, name, target, nil); err != nil {
		return fmt.Errorf("cannot make the link %s: %w", name, err)
	}
	return nil
}

func (w *writer) makeLink(ctx context.Context, name, target string, owner *image) error {
	p, now, err := w.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	if now.Kind == task.KindDir || now.Kind == task.KindOther {
		return fmt.Errorf("there is a %s", now.Kind)
	}
	if now.Kind == task.KindLink && now.Target == target && owner == nil {
		return nil
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	if err := p.keep(now, w.s.Journal, false); err != nil {
		return err
	}
	temp := tempPrefix + newTag()
	want := imprint{kind: task.KindLink, content: "-> " + target}
	e := journal.Entry{Op: opLink, Resource: name, Before: encode(now), Want: encode(fileWant{temp, want.String()})}
	return w.change(ctx, e, func(*journal.Entry) (after string, err error) {
		var made *image
		err = w.as(func(*identity) error {
			if err := unix.Symlinkat(target, p.fd, temp); err != nil {
				return err
			}
			if owner != nil {
				if err := unix.Fchownat(p.fd, temp, int(owner.UID), int(owner.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
					return err
				}
			}
			if err := unix.Renameat(p.fd, temp, p.fd, p.name); err != nil {
				return err
			}
			made, err = p.look()
			return err
		})
		if err != nil {
			_ = unix.Unlinkat(p.fd, temp, 0)
			return "", explain(p, err)
		}
		return made.imprint().String(), p.sync()
	})
}

// SetMode changes the permission bits of a file or directory.
func (w *writer) SetMode(ctx context.Context, name string, mode task.Mode) error {
	if err := w.setMode(ctx, name, mode); err != nil {
		return fmt.Errorf("cannot set the mode of %s: %w", name, err)
	}
	return nil
}

func (w *writer) setMode(ctx context.Context, name string, mode task.Mode) error {
	p, now, err := w.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	if now.Kind == task.KindNone || now.Kind == task.KindLink {
		return fmt.Errorf("want a file or a directory, there is: %s", now.Kind)
	}
	if now.Mode == mode {
		return nil
	}
	return w.adjust(ctx, p, now, opMode, func(fd int) error {
		return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode.FS())
	})
}

// SetOwner changes owner and group.
func (w *writer) SetOwner(ctx context.Context, name, owner, group string) error {
	uid, gid, err := w.owners(owner, group)
	if err == nil {
		err = w.setOwner(ctx, name, uid, gid)
	}
	if err != nil {
		return fmt.Errorf("cannot set the owner of %s: %w", name, err)
	}
	return nil
}

func (w *writer) setOwner(ctx context.Context, name string, uid, gid *uint32) error {
	p, now, err := w.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	if now.Kind == task.KindNone {
		return errors.New("it is not there")
	}
	if (uid == nil || *uid == now.UID) && (gid == nil || *gid == now.GID) {
		return nil
	}
	return w.adjust(ctx, p, now, opOwner, func(fd int) error {
		if err := own(fd, uid, gid); err != nil || now.Kind == task.KindLink {
			return err
		}
		// The kernel clears setuid and setgid when the owner changes (chown(2)).
		return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), now.Mode.FS())
	})
}

// adjust changes the inode that the path has now.
func (w *writer) adjust(ctx context.Context, p *place, now *image, op string, act func(fd int) error) error {
	if id, err := w.m.identity(w.user); err != nil {
		return err
	} else if id == nil && now.Kind == task.KindFile && now.linked && !p.trusted() {
		// Anyone may make a hard link to any file in a folder of his own and wait for us.
		return errors.New("it has several hard links and others can write to its folder")
	}
	e := journal.Entry{Op: op, Resource: p.path, Before: encode(now), Want: encode(fileWant{})}
	return w.change(ctx, e, func(*journal.Entry) (after string, err error) {
		var made *image
		err = w.as(func(*identity) error {
			fd, err := unix.Openat(p.fd, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd) //nolint:errcheck // nothing was written to it
			if err := act(fd); err != nil {
				return plain(err)
			}
			made, err = p.look()
			return err
		})
		if err != nil {
			return "", explain(p, err)
		}
		return made.meta(), nil
	})
}

// trusted reports whether only root can put things into the folder.
func (p *place) trusted() bool {
	var dir unix.Stat_t
	if unix.Fstat(p.fd, &dir) != nil {
		return false
	}
	return dir.Uid == 0 && dir.Mode&0o002 == 0 && (dir.Mode&0o020 == 0 || dir.Gid == 0)
}

// vital are directories without which nothing works any more.
var vital = []string{
	"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
	"/usr/bin", "/usr/lib", "/usr/sbin", "/var", "/var/lib", "/var/lib/dpkg", "/etc/ssh", "/etc/systemd", "/etc/pam.d",
}

func isVital(name string) bool { return slices.Contains(vital, name) }
