package task

import (
	"encoding"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"holdfast/tasks/secret"
)

// SecretText is [secret.Text], so that module authors need one import less.
type SecretText = secret.Text

// Path is an absolute, clean path on the target.
type Path string

// UnmarshalText accepts absolute paths and cleans them.
func (p *Path) UnmarshalText(b []byte) error {
	s := string(b)
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("invalid path %q: want an absolute path", s)
	}
	if strings.ContainsRune(s, 0) {
		return fmt.Errorf("invalid path %q: it contains a zero byte", s)
	}
	*p = Path(path.Clean(s))
	return nil
}

// MarshalText returns the path.
func (p Path) MarshalText() ([]byte, error) { return []byte(p), nil }

// Mode is the twelve permission bits of a file, written in octal.
type Mode uint32

// UnmarshalText accepts octal digits, with or without a leading 0 or 0o.
func (m *Mode) UnmarshalText(b []byte) error {
	s := strings.TrimPrefix(string(b), "0o")
	v, err := strconv.ParseUint(s, 8, 32)
	if err != nil || v > 0o7777 || len(s) < 3 {
		return fmt.Errorf("invalid mode %q: want octal digits such as 0644", string(b))
	}
	*m = Mode(v)
	return nil
}

// MarshalText returns four octal digits.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// String returns four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// FS returns the mode as Go's file functions take it.
func (m Mode) FS() fs.FileMode {
	out := fs.FileMode(m & 0o777)
	for bit, flag := range map[Mode]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			out |= flag
		}
	}
	return out
}

// ModeOf returns the permission bits of a mode as Go's file functions give it.
func ModeOf(f fs.FileMode) Mode {
	out := Mode(f.Perm())
	for bit, flag := range map[Mode]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if f&flag != 0 {
			out |= bit
		}
	}
	return out
}

// Duration is a span of time, written like 90s, 5m, 1h30m or 2d.
type Duration time.Duration

// UnmarshalText accepts Go's durations and whole days such as 30d; never negative.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("invalid duration %q: want a number with a unit, such as 90s, 5m or 30d", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText returns the duration as Go writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Blob is content that the controller holds and the helper fetches when it needs
// it. What stands in the playbook for it depends on the field's blob tag: the
// text itself ("text"), a file beside the playbook ("file"), or a template
// beside the playbook ("template").
type Blob struct {
	Digest string // sha256 in hex
	Size   int64
	Secret bool   // a template or text that revealed a secret
	inline []byte // small content travels with the arguments
}

// NewBlob returns a blob that needs no fetching.
func NewBlob(data []byte) Blob {
	return Blob{Digest: DigestOf(data), Size: int64(len(data)), inline: data}
}

// Inline returns the content when it travelled with the arguments.
func (b Blob) Inline() ([]byte, bool) { return b.inline, b.inline != nil || b.Size == 0 }

// MarshalJSON shows digest and size only.
func (b Blob) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"digest":%q,"size":%d}`, b.Digest, b.Size), nil
}

var (
	_ encoding.TextUnmarshaler = (*Path)(nil)
	_ encoding.TextUnmarshaler = (*Mode)(nil)
	_ encoding.TextUnmarshaler = (*Duration)(nil)
)
