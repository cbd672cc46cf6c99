package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

const opHome = "make-home"

// homeMade is what a new home held: name below it to fingerprint.
type homeMade struct {
	Home string            `json:"home"`
	Has  map[string]string `json:"has,omitempty"`
}

// makeHome makes the home of an account from the skeleton, where there is none.
func (w *writer) makeHome(ctx context.Context, name string, mode *task.Mode) error {
	db, err := w.m.accounts.load(w.m)
	if err != nil {
		return err
	}
	u := db.user(name)
	if u == nil {
		return errors.New("it is not there")
	}
	home := w.m.sys(path.Clean(u.home))
	if err := w.makeParents(ctx, path.Dir(home)); err != nil {
		return err
	}
	p, now, err := w.open(home)
	if err != nil {
		return err
	}
	defer p.close()
	switch {
	case now.Kind == task.KindDir && mode != nil:
		return w.setMode(ctx, home, *mode)
	case now.Kind == task.KindDir:
		return nil
	case now.Kind != task.KindNone:
		return fmt.Errorf("its home %s is a %s", u.home, now.Kind)
	}
	perm := w.m.homeMode()
	if mode != nil {
		perm = *mode
	}
	e := journal.Entry{Op: opHome, Resource: "user:" + name, Before: encode(homeMade{Home: home}), Want: encode(perm)}
	return w.change(ctx, e, func(e *journal.Entry) (string, error) {
		made, err := p.home(w.m.sys("/etc/skel"), uint32(u.uid), uint32(u.gid), perm)
		if err != nil {
			if !errors.Is(err, unix.EEXIST) {
				_ = os.RemoveAll(p.proc(p.name)) // half a home is none
			}
			return "", fmt.Errorf("cannot make the home %s: %w", u.home, err)
		}
		e.Result = encode(homeMade{home, made})
		return imprint{task.KindDir, perm.String(), fmt.Sprintf("%d:%d", u.uid, u.gid), ""}.String(), nil
	})
}

func (w *writer) makeParents(ctx context.Context, dir string) error {
	if i, err := lookAt(dir); err != nil || i.Kind != task.KindNone {
		return err
	}
	if err := w.makeParents(ctx, path.Dir(dir)); err != nil {
		return err
	}
	return w.makeDir(ctx, dir, 0o755, nil, nil)
}

// home makes the directory from the skeleton. It belongs to root until it is
// complete, so that its account cannot interfere.
func (p *place) home(skel string, uid, gid uint32, mode task.Mode) (map[string]string, error) {
	if err := unix.Mkdirat(p.fd, p.name, 0o700); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(p.fd, p.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // synced below
	if src, err := unix.Open(skel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		err = copyDir(src, fd)
		_ = unix.Close(src)
		if err != nil {
			return nil, err
		}
	}
	if err := chownTree(fd, func(*unix.Stat_t) (int, int) { return int(uid), int(gid) }); err != nil {
		return nil, err
	}
	made, err := contents(p.path)
	if err != nil {
		return nil, err
	}
	if err := own(fd, &uid, &gid); err != nil {
		return nil, err
	}
	if err := unix.Fchmod(fd, uint32(mode)); err != nil {
		return nil, err
	}
	if err := unix.Syncfs(fd); err != nil {
		return nil, err
	}
	return made, p.sync()
}

// chownTree gives all that is below an open directory the owners that to names;
// -1 leaves one alone.
func chownTree(fd int, to func(*unix.Stat_t) (uid, gid int)) error {
	names, err := namesIn(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			err = chownTree(sub, to)
			_ = unix.Close(sub)
			if err != nil {
				return err
			}
		}
		uid, gid := to(&st)
		if uid < 0 && gid < 0 {
			continue
		}
		if err := unix.Fchownat(fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return nil
}

// contents returns the fingerprints of all that is below a directory.
func contents(dir string) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		i, err := lookAt(name)
		if err != nil {
			return err
		}
		if i.Kind == task.KindFile {
			p, err := at(name, nil)
			if err != nil {
				return err
			}
			err = p.digest(i)
			p.close()
			if err != nil {
				return err
			}
		}
		rel, err := filepath.Rel(dir, name)
		out[rel] = i.imprint().String()
		return err
	})
	return out, err
}

// byMachines are files that a login makes by itself and nobody misses: the note that
// the message of the day was shown, sudo's note of a first use, and our own helper.
var byMachines = []string{".cache", ".cache/motd.legal-displayed", ".sudo_as_admin_successful", ".cache/holdfast"}

// additions returns what a home holds that did not come from the skeleton.
func (h homeMade) additions() (out []string, err error) {
	now, err := contents(h.Home)
	for _, name := range sortedKeys(now) {
		if slices.Contains(byMachines, name) || strings.HasPrefix(name, ".cache/holdfast/") {
			continue
		}
		if now[name] != h.Has[name] {
			out = append(out, name)
		}
	}
	return out, err
}

// homeMode is the mode of new homes by login.defs(5).
func (m *Machine) homeMode() task.Mode {
	b, _ := os.ReadFile(m.sys("/etc/login.defs"))
	mode := task.Mode(0o755)
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseUint(f[1], 8, 32)
		switch {
		case err != nil:
		case f[0] == "HOME_MODE":
			return task.Mode(n)
		case f[0] == "UMASK":
			mode = task.Mode(0o777 &^ n)
		}
	}
	return mode
}

// endProcesses waits for the last processes of an account to end, after its service
// manager was stopped. Those that somebody started otherwise are named in the error. The
// login that we serve ends with us, so that an account can be deleted by a run that
// came in over it.
func (w *writer) endProcesses(ctx context.Context, name string, uid int64) error {
	w.m.dropManager(name)
	others := func() []string { return processesOf(uid, append(ancestors(), os.Getpid())...) }
	left := others()
	if len(left) == 0 || w.m.root != "" {
		return nil
	}
	if sm, err := w.m.manager(ctx, ""); err == nil {
		if err := sm.Stop(ctx, fmt.Sprintf("user@%d.service", uid)); err != nil {
			w.Progress(err.Error())
		}
	}
	for end := time.Now().Add(grace); len(left) > 0; left = others() {
		if time.Now().After(end) {
			return fmt.Errorf("it still runs %s", strings.Join(left, ", "))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// ancestors are the processes that we descend from.
func ancestors() (out []int) {
	for pid := os.Getppid(); pid > 1 && len(out) < 64; {
		out = append(out, pid)
		_, parent, _, ok := procStat(pid)
		if !ok {
			break
		}
		pid = parent
	}
	return out
}

func processesOf(uid int64, but ...int) (out []string) {
	names, _ := os.ReadDir("/proc")
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil || slices.Contains(but, pid) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+n.Name(), &st) != nil || int64(st.Uid) != uid {
			continue
		}
		if state, _, _, ok := procStat(pid); ok && state != "Z" {
			comm, _ := os.ReadFile("/proc/" + n.Name() + "/comm")
			out = append(out, fmt.Sprintf("%s (%d)", bytes.TrimSpace(comm), pid))
		}
	}
	return out
}
