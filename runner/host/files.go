package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// The operations on files, as the journal names them.
const (
	opWrite = "write-file"
	opDir   = "make-dir"
	opLink  = "make-link"
	opMode  = "set-mode"
	opOwner = "set-owner"
)

// fileWant is what an entry of a file operation is about to do. Temp is the name
// beside the file under which the new content comes into being.
type fileWant struct {
	Temp  string `json:"temp,omitempty"`
	Print string `json:"print,omitempty"` // the fingerprint that it will have
}

const tempPrefix = ".holdfast-"

// fileWrite is a WriteFile with numbers for owners and any source of content.
type fileWrite struct {
	path     string
	open     func() (io.ReadCloser, error)
	write    func(io.Writer) error // instead of open
	digest   string                // "" when it becomes known by writing
	mode     *task.Mode
	uid, gid *uint32
	attrs    map[string][]byte // nil: those of the old file
	secret   bool
	large    bool // what it replaces may be too large to keep
	validate []string
}

// WriteFile creates or replaces a regular file atomically.
func (w *writer) WriteFile(ctx context.Context, f task.FileWrite) error {
	fw := fileWrite{path: f.Path, digest: task.DigestOf(f.Data), mode: f.Mode, secret: f.Secret || w.s.Hidden, validate: f.Validate}
	fw.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.Data)), nil }
	var err error
	if fw.uid, fw.gid, err = w.owners(f.Owner, f.Group); err == nil {
		err = w.writeFile(ctx, fw)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	return nil
}

// owners turns names into numbers; nil leaves one alone.
func (w *writer) owners(owner, group string) (uid, gid *uint32, err error) {
	u, ok, err := w.m.owner(owner)
	if err != nil {
		return nil, nil, err
	}
	if ok {
		uid = &u
	}
	g, ok, err := w.m.group(group)
	if err != nil {
		return nil, nil, err
	}
	if ok {
		gid = &g
	}
	return uid, gid, nil
}

// open opens the folder of a path and looks at what is there.
func (w *writer) open(name string) (p *place, now *image, err error) {
	if err := w.guard(name); err != nil {
		return nil, nil, err
	}
	err = w.as(func(id *identity) error {
		if p, err = at(name, id); err != nil {
			return plain(err)
		}
		if now, err = p.look(); err != nil {
			p.close()
		}
		return plain(err)
	})
	return p, now, err
}

// guard keeps tasks away from the journal that takes them back.
func (w *writer) guard(name string) error {
	if w.s.Journal == nil {
		return nil
	}
	dir := w.s.Journal.Store().Dir()
	if name == dir || strings.HasPrefix(name, dir+"/") || strings.HasPrefix(dir, name+"/") {
		return fmt.Errorf("%s belongs to the journal of this host", dir)
	}
	return nil
}

func (w *writer) writeFile(ctx context.Context, f fileWrite) error {
	p, now, err := w.open(f.path)
	if err != nil {
		return err
	}
	defer p.close()
	if now.Kind == task.KindDir || now.Kind == task.KindOther {
		return fmt.Errorf("there is a %s", now.Kind)
	}
	if err := w.ready(ctx); err != nil {
		return err
	}
	if f.large && now.Size > journal.DefaultLimits().Bytes {
		w.Progress("the former file is too large to be kept for an undo")
		now.Secret = f.secret
	} else if err := p.keep(now, w.s.Journal, f.secret); err != nil {
		return err
	}
	want := f.want(now, w)
	if now.Kind == task.KindFile && f.digest != "" && want.differs(now.imprint()) == "" && f.attrs == nil {
		return nil
	}
	temp := tempPrefix + newTag()
	e := journal.Entry{Op: opWrite, Resource: f.path, Before: encode(now), Want: encode(fileWant{temp, want.String()})}
	return w.change(ctx, e, func(*journal.Entry) (after string, err error) {
		var made *image
		err = w.as(func(*identity) error {
			made, err = p.fill(temp, f, now)
			return err
		})
		if err == nil {
			err = w.putInPlace(ctx, p, temp, f, now)
		}
		if err != nil {
			_ = unix.Unlinkat(p.fd, temp, 0)
			return "", explain(p, err)
		}
		return made.imprint().String(), nil
	})
}

// want predicts the fingerprint of the file.
func (f *fileWrite) want(now *image, w *writer) imprint {
	i := image{Kind: task.KindFile, Mode: 0o644, Digest: f.digest}
	if now.Kind == task.KindFile {
		i.Mode, i.UID, i.GID = now.Mode, now.UID, now.GID
	} else if id, err := w.m.identity(w.user); err == nil && id != nil {
		i.UID, i.GID = id.uid, id.gid
	}
	if f.mode != nil {
		i.Mode = *f.mode
	}
	if f.uid != nil {
		i.UID = *f.uid
	}
	if f.gid != nil {
		i.GID = *f.gid
	}
	return i.imprint()
}

// fill makes the new file under a temporary name, complete with owner and mode.
func (p *place) fill(temp string, f fileWrite, old *image) (*image, error) {
	fd, err := unix.Openat(p.fd, temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	out := os.NewFile(uintptr(fd), temp)
	defer out.Close() //nolint:errcheck // synced below
	sum := sha256.New()
	if err := f.content(io.MultiWriter(out, sum)); err != nil {
		return nil, plain(err)
	}
	mode := task.Mode(0o644)
	uid, gid := f.uid, f.gid
	extra := f.attrs
	if old.Kind == task.KindFile {
		mode = old.Mode
		if uid == nil {
			uid = &old.UID
		}
		if gid == nil {
			gid = &old.GID
		}
		if extra == nil {
			extra = old.Attrs
		}
	}
	if f.mode != nil {
		mode = *f.mode
	}
	if err := own(fd, uid, gid); err != nil {
		return nil, err
	}
	if err := setAttrs(fd, extra); err != nil {
		return nil, err
	}
	if err := unix.Fchmod(fd, uint32(mode)); err != nil {
		return nil, err
	}
	if err := out.Sync(); err != nil {
		return nil, plain(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	made := imageOf(&st)
	made.Digest = hex.EncodeToString(sum.Sum(nil))
	return made, nil
}

// content writes the new content.
func (f *fileWrite) content(out io.Writer) error {
	if f.write != nil {
		return f.write(out)
	}
	in, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	_, err = io.Copy(out, in)
	return err
}

// own changes the owner of an open file where it is not right already, because an
// account may not even repeat the owner that is there.
func own(fd int, uid, gid *uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	u, g := -1, -1
	if uid != nil && *uid != st.Uid {
		u = int(*uid)
	}
	if gid != nil && *gid != st.Gid {
		g = int(*gid)
	}
	if u < 0 && g < 0 {
		return nil
	}
	if err := unix.Fchownat(fd, "", u, g, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot set its owner: %w", err)
	}
	return nil
}

// putInPlace validates the new content and gives it its name. A validation that
// needs the final name runs after that, with the old file kept beside.
func (w *writer) putInPlace(ctx context.Context, p *place, temp string, f fileWrite, now *image) error {
	early := false
	for _, a := range f.validate {
		early = early || strings.Contains(a, "%s")
	}
	if early {
		if err := w.valid(ctx, f.validate, path.Join(path.Dir(p.path), temp)); err != nil {
			return err
		}
	}
	late := len(f.validate) > 0 && !early
	old := temp + "-old"
	err := w.as(func(*identity) error {
		if late && now.Kind != task.KindNone {
			if err := unix.Linkat(p.fd, p.name, p.fd, old, 0); err != nil {
				return fmt.Errorf("cannot keep the old file beside: %w", err)
			}
		}
		return unix.Renameat(p.fd, temp, p.fd, p.name)
	})
	if err == nil && late {
		err = w.valid(ctx, f.validate, p.path)
		if uerr := p.settle(old, now, err != nil); uerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot put the old file back: %w", uerr))
		}
	}
	if err != nil {
		return err
	}
	return p.sync()
}

// settle ends a late validation: the old file comes back, or is forgotten.
func (p *place) settle(old string, now *image, back bool) error {
	if now.Kind == task.KindNone {
		if back {
			return unix.Unlinkat(p.fd, p.name, 0)
		}
		return nil
	}
	if back {
		return unix.Renameat(p.fd, old, p.fd, p.name)
	}
	return unix.Unlinkat(p.fd, old, 0)
}

func (w *writer) valid(ctx context.Context, argv []string, file string) error {
	cmd := task.Command{Argv: make([]string, len(argv))}
	for i, a := range argv {
		cmd.Argv[i] = strings.ReplaceAll(a, "%s", file)
	}
	out, err := w.m.command(ctx, cmd, w.user, nil)
	if err != nil {
		return fmt.Errorf("cannot validate it: %w", err)
	}
	if out.Status == 0 {
		return nil
	}
	said := strings.TrimSpace(out.Stderr)
	if said == "" {
		said = strings.TrimSpace(out.Stdout)
	}
	return fmt.Errorf("the new content is not valid: %s exits %d: %s", argv[0], out.Status, said)
}

// sync makes what happened in the folder last. An account may change a folder that
// it cannot read; then the file system's own pace must do.
func (p *place) sync() error {
	fd, err := unix.Openat(p.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd) //nolint:errcheck // only synced
	if err := unix.Fsync(fd); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// plain takes the path out of an error that will be reported with it.
func plain(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) && strings.Contains(pe.Path, tempPrefix) {
		return pe.Err
	}
	return err
}

// Flags of an inode (FS_IMMUTABLE_FL and FS_APPEND_FL in linux/fs.h).
const (
	flagImmutable = 0x10
	flagAppend    = 0x20
)

// explain says why even root may not change a file: something is mounted on it, or
// it is immutable (chattr(1)).
func explain(p *place, err error) error {
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("something is mounted on %s: %w", p.path, err)
	}
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	for _, name := range []string{p.name, "."} {
		fd, oerr := unix.Openat(p.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if oerr != nil {
			continue
		}
		flags, ierr := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		_ = unix.Close(fd)
		if ierr != nil || flags&(flagImmutable|flagAppend) == 0 {
			continue
		}
		what := p.path
		if name == "." {
			what = path.Dir(p.path)
		}
		return fmt.Errorf("%s is immutable (chattr -i would allow the change): %w", what, err)
	}
	return err
}
