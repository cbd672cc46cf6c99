package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

const opUnpack = "unpack"

// Unpack makes a directory that holds what is in archives. It comes into being under
// a temporary name, and a directory that is there goes into the journal as a whole.
func (w *writer) Unpack(ctx context.Context, u task.Unpack) error {
	if err := w.unpack(ctx, u); err != nil {
		return fmt.Errorf("cannot unpack into %s: %w", u.Dir, err)
	}
	return nil
}

func (w *writer) unpack(ctx context.Context, u task.Unpack) error {
	uid, gid, err := w.owners(u.Owner, u.Group)
	if err != nil {
		return err
	}
	p, now, err := w.open(u.Dir)
	if err != nil {
		return err
	}
	defer p.close()
	if err := w.ready(ctx); err != nil {
		return err
	}
	away := func() error { return nil }
	switch {
	case now.Kind == task.KindNone:
	case now.Kind != task.KindDir:
		return fmt.Errorf("there is a %s", now.Kind)
	case isVital(u.Dir):
		return errors.New("the system cannot do without what is there")
	default:
		if now.Digest, err = p.tree(p.name); err != nil {
			return err
		}
		if away, err = w.uproot(p, now); err != nil {
			return err
		}
	}
	temp := tempPrefix + newTag()
	e := journal.Entry{Op: opUnpack, Resource: u.Dir, Before: encode(now), Want: encode(fileWant{Temp: temp})}
	return w.change(ctx, e, func(*journal.Entry) (after string, err error) {
		var made *image
		err = w.as(func(*identity) error {
			if err := w.grow(ctx, p, temp, u, uid, gid); err != nil {
				return err
			}
			sum, err := p.tree(temp)
			if err == nil {
				err = away()
			}
			if err == nil {
				err = unix.Renameat2(p.fd, temp, p.fd, p.name, unix.RENAME_NOREPLACE)
			}
			if err != nil {
				return err
			}
			made, err = p.look()
			made.Digest = sum
			return err
		})
		if err != nil {
			_ = os.RemoveAll(p.proc(temp))
			w.restoreMoved(p, now)
			return "", plain(explain(p, err))
		}
		return made.imprint().String(), p.sync()
	})
}

// restoreMoved brings a directory back that was moved away in vain.
func (w *writer) restoreMoved(p *place, now *image) {
	if now.Tree == "" || w.s.Journal == nil {
		return
	}
	_ = unix.Renameat2(unix.AT_FDCWD, w.s.Journal.Tree(now.Tree), p.fd, p.name, unix.RENAME_NOREPLACE) // else the undo does it
}

// grow makes the new directory under its temporary name, complete with owners and modes.
func (w *writer) grow(ctx context.Context, p *place, temp string, u task.Unpack, uid, gid *uint32) error {
	if err := unix.Mkdirat(p.fd, temp, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(p.proc(temp))
	if err != nil {
		return plain(err)
	}
	defer root.Close() //nolint:errcheck // synced below
	t := &sprout{root: root, uid: uid, gid: gid, links: map[string]bool{}, left: u.MaxSize, files: u.MaxFiles}
	for _, part := range u.Parts {
		if err := w.part(ctx, t, part, u.MaxSize); err != nil {
			return err
		}
	}
	if err := t.additions(u); err != nil {
		return err
	}
	if err := t.finish(u.Mode); err != nil {
		return err
	}
	dir, err := root.Open(".")
	if err != nil {
		return plain(err)
	}
	defer dir.Close() //nolint:errcheck // only synced
	return unix.Syncfs(int(dir.Fd()))
}

// part unpacks one archive. With a checksum all of it is read, also what comes after
// the archive's own end.
func (w *writer) part(ctx context.Context, t *sprout, part task.Part, limit int64) error {
	name := part.Archive
	if part.Request != nil {
		name = part.Request.URL
	}
	t.into, t.strip = part.Into, int(part.Strip)
	in, err := w.source(ctx, part, limit)
	if err == nil {
		err = w.unpackFormat(ctx, t, in, part.Format)
		if err == nil {
			_, err = io.Copy(io.Discard, in)
		}
		if f, ok := in.(*summed); ok && err == nil {
			err = f.check(part)
		}
		_ = in.Close() // only read
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, plain(err))
	}
	return nil
}

func (w *writer) source(ctx context.Context, part task.Part, limit int64) (io.ReadCloser, error) {
	if part.Request != nil {
		d := task.Download{Request: *part.Request, Sum: part.Sum, Tries: part.Tries}
		return &incoming{ctx: ctx, d: d, say: w.Progress, sum: part.Sum.Hash(), total: -1}, nil
	}
	f, err := openRegular(part.Archive)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.Size() > limit && limit > 0 {
		_ = f.Close()
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return &summed{File: f, ctx: ctx, sum: part.Sum.Hash()}, nil
}

// additions puts what does not come from an archive into the directory.
func (t *sprout) additions(u task.Unpack) error {
	t.into, t.strip = "", 0
	for _, name := range sortedKeys(u.Add) {
		if err := t.file(name, 0o644, int64(len(u.Add[name])), zeroTime, strings.NewReader(string(u.Add[name]))); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(u.Links) {
		if err := t.link(name, u.Links[name]); err != nil {
			return err
		}
	}
	return nil
}

// shortOf returns what is left of a name, or "" when nothing is.
func shortOf(name string, strip int, into string) (string, error) {
	if strings.ContainsRune(name, 0) || strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("it names %q, which is no relative path", name)
	}
	var parts []string
	for _, part := range strings.Split(name, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", fmt.Errorf("it names %q, which leads out of the directory", name)
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) <= strip {
		return "", nil
	}
	return path.Join(append([]string{into}, parts[strip:]...)...), nil
}
