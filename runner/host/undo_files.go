package host

import (
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

// The operations that only an undo needs.
const (
	opTree  = "restore-tree"
	opRmdir = "remove-dir"
)

// file takes back an entry about a path.
func (u *undo) file(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	before, err := decode[image](e.Before)
	if err != nil {
		return step{}, err
	}
	want, err := decode[fileWant](e.Want)
	if err != nil {
		return step{}, err
	}
	u.sweep(w, e, want.Temp)
	look := contentLook
	switch expected := u.expect[e.Resource].content; {
	case before.Kind == task.KindDir && before.Digest != "", strings.HasPrefix(expected, treeContent):
		look = treeLook
	case e.Finished && before.Digest == "" && expected == "" && u.origin[e.Resource].content == "":
		look = plainLook
	}
	now, err := w.present(e.Resource, look)
	if err != nil {
		return step{}, err
	}
	s := u.restore(ctx, w, e, &before)
	expected := u.expect[e.Resource]
	if !e.Finished {
		// The act happened, in part or not at all.
		if before.imprint().differs(now.imprint()) == "" {
			return step{}, nil
		}
		expected = parseImprint(want.Print)
		if want.Print == "" {
			expected = now.imprint()
		}
	}
	if why := expected.differs(now.imprint()); why != "" {
		if before.imprint().differs(now.imprint()) == "" || u.origin[e.Resource].differs(now.imprint()) == "" {
			return step{}, nil
		}
		s.refused = why
		return s, nil
	}
	// What remains of this run on the path is what the entries before this one left.
	u.expect[e.Resource] = before.imprint().over(expected)
	return s, nil
}

// sweep removes what an act that was cut off left beside the file.
func (u *undo) sweep(w *writer, e *journal.Entry, temp string) {
	if e.Finished || !strings.HasPrefix(temp, tempPrefix) || u.o.Plan {
		return
	}
	p, _, err := w.open(e.Resource)
	if err != nil {
		return
	}
	defer p.close()
	for _, name := range []string{temp, temp + "-old"} {
		_ = w.as(func(*identity) error { return os.RemoveAll(p.proc(name)) }) // mostly not there
	}
}

// Sweep removes the half-made files that a run which died left beside the files it
// was about to replace. Whole files stay as they are.
func (m *Machine) Sweep(rec *journal.Record) {
	u := &undo{m: m, rec: rec}
	for _, e := range rec.Entries {
		if want, err := decode[fileWant](e.Want); err == nil && (e.Op == opWrite || e.Op == opLink || e.Op == opUnpack) {
			w := &writer{reader: reader{m: m, user: rec.Task(e.Task).RunAs}}
			u.sweep(w, e, want.Temp)
		}
	}
}

// look is how closely a path is looked at.
type look int

const (
	plainLook   look = iota
	contentLook      // what a file holds
	treeLook         // what is below a directory, too
)

// present describes a path as it is now.
func (w *writer) present(name string, how look) (*image, error) {
	p, now, err := w.open(name)
	if absent(err) {
		return &image{Kind: task.KindNone}, nil
	}
	if err != nil {
		return nil, err
	}
	defer p.close()
	switch {
	case how == treeLook && now.Kind == task.KindDir:
		now.Digest, err = p.tree(p.name)
	case how != plainLook:
		err = p.digest(now)
	}
	return now, err
}

// restore says how the image of before comes back.
func (u *undo) restore(ctx context.Context, w *writer, e *journal.Entry, before *image) step {
	name := e.Resource
	switch {
	case e.Op == opMode:
		return step{action: "set its mode back to " + before.Mode.String(), act: func() error {
			return w.SetMode(ctx, name, before.Mode)
		}}
	case e.Op == opOwner:
		return step{action: fmt.Sprintf("give it back to %d:%d", before.UID, before.GID), act: func() error {
			return w.setOwner(ctx, name, &before.UID, &before.GID)
		}}
	case e.Op == opDir:
		s := step{action: "remove the directory", act: func() error { return w.removeDir(ctx, name) }}
		if names, err := os.ReadDir(name); err == nil && len(names) > 0 && !u.o.Plan {
			s.refused = fmt.Sprintf("it holds %s", someNames(names))
			s.act = func() error { return w.Remove(ctx, name) }
		}
		return s
	case e.Op == opUnpack && before.Tree != "":
		return step{action: "put the former directory back", act: func() error {
			if err := w.Remove(ctx, name); err != nil {
				return err
			}
			return w.restoreTree(ctx, name, u.rec.Tree(before.Tree))
		}}
	case before.Kind == task.KindNone:
		return step{action: "remove it", act: func() error { return w.removeKept(ctx, name, before.Secret) }}
	case before.Kind == task.KindFile && before.Blob == "":
		return step{action: "put the former content back", refused: "the former content was too large to be kept", act: func() error {
			return fmt.Errorf("cannot put %s back: its former content was too large to be kept", name)
		}}
	case before.Kind == task.KindFile:
		return step{action: "put the former content back", act: func() error { return u.putBack(ctx, w, name, before) }}
	case before.Kind == task.KindLink:
		return step{action: "put the former link back", act: func() error { return w.makeLink(ctx, name, before.Target, before) }}
	case before.Tree != "":
		return step{action: "put the directory back", act: func() error {
			return w.restoreTree(ctx, name, u.rec.Tree(before.Tree))
		}}
	case before.Kind == task.KindDir:
		return step{action: "make the directory again", act: func() error {
			return w.makeDir(ctx, name, before.Mode, &before.UID, &before.GID)
		}}
	}
	return step{action: "put it back", refused: fmt.Sprintf("a %s cannot be put back", before.Kind)}
}

func someNames(entries []os.DirEntry) string {
	var out []string
	for i, e := range entries {
		if i == 3 {
			return fmt.Sprintf("%s and %d more", strings.Join(out, ", "), len(entries)-3)
		}
		out = append(out, e.Name())
	}
	return strings.Join(out, ", ")
}

// putBack writes a before-image with all that belonged to it. The image is opened here,
// with our own rights: the journal is closed to the account of the task.
func (u *undo) putBack(ctx context.Context, w *writer, name string, i *image) error {
	f := fileWrite{path: name, digest: i.Digest, mode: &i.Mode, uid: &i.UID, gid: &i.GID, attrs: i.Attrs, secret: i.Secret}
	try := func() error {
		in, err := u.rec.Open(i.Blob)
		if err != nil {
			return err
		}
		defer in.Close() //nolint:errcheck // only read
		f.open = func() (io.ReadCloser, error) { return io.NopCloser(in), nil }
		return w.writeFile(ctx, f)
	}
	err := try()
	if errors.Is(err, unix.ENOSPC) && w.s.Journal.Store().FreeReserve() {
		err = try()
	}
	if err != nil {
		return fmt.Errorf("cannot put %s back: %w", name, err)
	}
	return nil
}

// removeDir removes an empty directory.
func (w *writer) removeDir(ctx context.Context, name string) error {
	p, now, err := w.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	e := journal.Entry{Op: opRmdir, Resource: name, Before: encode(now), Want: encode(fileWant{})}
	return w.change(ctx, e, func(*journal.Entry) (string, error) {
		err := w.as(func(*identity) error { return unix.Unlinkat(p.fd, p.name, unix.AT_REMOVEDIR) })
		if err != nil {
			return "", fmt.Errorf("cannot remove the directory %s: %w", name, explain(p, err))
		}
		return imprint{kind: task.KindNone}.String(), p.sync()
	})
}

// restoreTree brings a directory back from a journal: whole by a rename where that
// is possible, else as a copy that leaves alone what is there.
func (w *writer) restoreTree(ctx context.Context, name, from string) error {
	p, now, err := w.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	id, err := w.m.identity(w.user)
	if err != nil {
		return err
	}
	e := journal.Entry{Op: opTree, Resource: name, Before: encode(now), Want: encode(fileWant{})}
	return w.change(ctx, e, func(*journal.Entry) (string, error) {
		whole := id == nil && now.Kind == task.KindNone &&
			unix.Renameat2(unix.AT_FDCWD, from, p.fd, p.name, unix.RENAME_NOREPLACE) == nil
		if !whole {
			if err := w.copyBack(p, now, from); err != nil {
				return "", fmt.Errorf("cannot put the directory %s back: %w", name, err)
			}
		}
		made, err := p.look()
		if err != nil {
			return "", err
		}
		return made.imprint().String(), p.sync()
	})
}

func (w *writer) copyBack(p *place, now *image, from string) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	src, err := unix.Open(from, flags, 0) // with our own rights: the journal is closed to others
	if err != nil {
		return fmt.Errorf("its copy in the journal: %w", err)
	}
	defer unix.Close(src) //nolint:errcheck // only read
	return w.as(func(*identity) error {
		if now.Kind == task.KindNone {
			if err := unix.Mkdirat(p.fd, p.name, 0o700); err != nil {
				return err
			}
		}
		dst, err := unix.Openat(p.fd, p.name, flags, 0)
		if err != nil {
			return err
		}
		defer unix.Close(dst) //nolint:errcheck // synced below
		if err := copyDir(src, dst); err != nil {
			return err
		}
		return unix.Syncfs(dst)
	})
}
