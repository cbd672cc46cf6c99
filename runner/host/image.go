package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// image is the state of a path as the journal keeps it.
type image struct {
	Kind     task.FileKind     `json:"kind"`
	Mode     task.Mode         `json:"mode,omitempty"`
	UID      uint32            `json:"uid"`
	GID      uint32            `json:"gid"`
	Size     int64             `json:"size,omitempty"`
	Digest   string            `json:"digest,omitempty"` // of a file's content, or of a directory's tree
	Blob     string            `json:"blob,omitempty"`   // where the content is kept
	Secret   bool              `json:"secret,omitempty"`
	Target   string            `json:"target,omitempty"` // of a link
	Tree     string            `json:"tree,omitempty"`   // where a removed directory is kept
	Attrs    map[string][]byte `json:"attrs,omitempty"`  // extended attributes
	linked   bool              // a file with several hard links
	modified time.Time         // what is there now; an image that is kept has none
}

func (i *image) imprint() imprint {
	p := imprint{kind: i.Kind}
	if i.Kind == task.KindNone {
		return p
	}
	p.owner = strconv.FormatUint(uint64(i.UID), 10) + ":" + strconv.FormatUint(uint64(i.GID), 10)
	switch i.Kind {
	case task.KindLink:
		p.content = "-> " + i.Target
	case task.KindFile:
		if i.Digest != "" {
			p.content = "sha256=" + i.Digest
		}
		p.mode = i.Mode.String()
	case task.KindDir:
		if i.Digest != "" {
			p.content = treeContent + i.Digest
		}
		p.mode = i.Mode.String()
	default:
		p.mode = i.Mode.String()
	}
	return p
}

// meta is imprint without what the content says.
func (i *image) meta() string {
	p := i.imprint()
	p.content = ""
	return p.String()
}

// look describes the path without its content.
func (p *place) look() (*image, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd, p.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return &image{Kind: task.KindNone}, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "stat", Path: p.path, Err: err}
	}
	i := imageOf(&st)
	if i.Kind == task.KindLink {
		if i.Target, err = readlinkat(p.fd, p.name); err != nil {
			return nil, &os.PathError{Op: "readlink", Path: p.path, Err: err}
		}
	}
	return i, nil
}

func imageOf(st *unix.Stat_t) *image {
	i := &image{Mode: task.Mode(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid, Size: st.Size, linked: st.Nlink > 1, modified: time.Unix(st.Mtim.Unix())}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		i.Kind = task.KindFile
	case unix.S_IFDIR:
		i.Kind, i.Size = task.KindDir, 0
	case unix.S_IFLNK:
		i.Kind, i.Mode = task.KindLink, 0
	default:
		i.Kind = task.KindOther
	}
	return i
}

// file opens the regular file that is there, never a link and never a pipe.
func (p *place) file() (*os.File, error) {
	fd, err := unix.Openat(p.fd, p.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.path, Err: err}
	}
	f := os.NewFile(uintptr(fd), p.path)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("cannot read %s: it is not a regular file", p.path)
	}
	return f, nil
}

// digest fills in the digest of the content.
func (p *place) digest(i *image) error {
	if i.Kind != task.KindFile {
		return nil
	}
	f, err := p.file()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return &os.PathError{Op: "read", Path: p.path, Err: err}
	}
	i.Digest = hex.EncodeToString(h.Sum(nil))
	return nil
}

// private reports whether not everybody may read a file, so that a copy of it must not
// lie about in clear: whoever removes or replaces a key need not say that it is one.
func (i *image) private() bool { return i.Kind == task.KindFile && i.Mode&0o004 == 0 }

// keep puts the content of a file into the journal and completes the image with
// what a later restore needs. It reads with our own rights: the folder is open, and
// an account may replace a file that it cannot read.
func (p *place) keep(i *image, j *journal.Journal, secret bool) error {
	i.Secret = secret
	if i.Kind != task.KindFile {
		return nil
	}
	f, err := p.file()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if i.Attrs, err = attrs(int(f.Fd())); err != nil {
		return err
	}
	h := sha256.New()
	in := io.TeeReader(f, h)
	if secret || i.private() {
		i.Blob, err = j.KeepSecretFile(in)
	} else {
		i.Blob, err = j.KeepFile(in)
	}
	i.Digest = hex.EncodeToString(h.Sum(nil))
	return err
}

// attrs returns the extended attributes that belong to a file's meaning: access
// lists, capabilities, and what users set.
func attrs(fd int) (map[string][]byte, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Flistxattr(fd, buf)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the extended attributes: %w", err)
	}
	var out map[string][]byte
	for _, name := range strings.Split(string(bytes.TrimRight(buf[:n], "\x00")), "\x00") {
		if name != "system.posix_acl_access" && name != "system.posix_acl_default" &&
			name != "security.capability" && !strings.HasPrefix(name, "user.") {
			continue
		}
		val := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(fd, name, val)
		if err != nil {
			continue // gone, or not ours to read
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = val[:n]
	}
	return out, nil
}

func setAttrs(fd int, attrs map[string][]byte) error {
	for name, val := range attrs {
		err := unix.Fsetxattr(fd, name, val, 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("cannot set the extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("internal error: " + err.Error()) // only our own plain structs get here
	}
	return b
}
