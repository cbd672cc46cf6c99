package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"holdfast/tasks/task"
)

// DefaultRotate is the age at which a secret is overdue where its note says nothing.
const DefaultRotate = 90 * 24 * time.Hour

// Never is the rotate_after of a secret that is never overdue.
const Never = "never"

// note is what everybody may know of a secret. It stands beside the encrypted file,
// so that the age of a secret is known without an identity.
type note struct {
	Set         time.Time `json:"set"`                    // when the value was given
	RotateAfter string    `json:"rotate_after,omitempty"` // a duration, or never; empty is the default
	Digest      string    `json:"sha256"`                 // of the encrypted file that this note is about
	Recipients  []string  `json:"recipients"`             // whom it is encrypted to
}

const maxNote = 64 << 10

// readNote returns the note of a secret, or nil when there is none or it cannot be read.
func readNote(r *os.Root, ref Ref) (*note, error) {
	data, err := readRegular(r, ref.note(), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n := &note{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(n); err != nil {
		return nil, err
	}
	if _, err := n.due(); err != nil {
		return nil, err
	}
	return n, nil
}

// due returns when the secret is overdue, the zero time for never.
func (n *note) due() (time.Time, error) {
	switch n.RotateAfter {
	case Never:
		return time.Time{}, nil
	case "":
		return n.Set.Add(DefaultRotate), nil
	}
	var d task.Duration
	err := d.UnmarshalText([]byte(n.RotateAfter))
	return n.Set.Add(d.Std()), err
}

// Info is what can be told of a secret without an identity.
type Info struct {
	Ref         Ref
	Set         time.Time // zero when it is not known
	RotateAfter string
	Due         time.Time // zero for never
	Overdue     bool
	Strange     string // why the note cannot be relied on, or ""
}

// Info returns what the store tells of a secret.
func (s *Store) Info(ref Ref) (Info, error) {
	r, err := s.root()
	if err != nil {
		return Info{}, err
	}
	defer r.Close() //nolint:errcheck // only read
	return s.info(r, ref)
}

func (s *Store) info(r *os.Root, ref Ref) (Info, error) {
	// Of what age a secret without a date is, nobody knows: it counts as overdue.
	out := Info{Ref: ref, Overdue: true}
	n, err := readNote(r, ref)
	switch {
	case err != nil:
		out.Strange = "its note cannot be read: " + plain(err).Error()
		return out, nil
	case n == nil:
		out.Strange = "it has no note"
		return out, nil
	}
	out.Set, out.RotateAfter = n.Set, n.RotateAfter
	out.Due, _ = n.due() // looked at when it was read
	now := s.Now()
	out.Overdue = !out.Due.IsZero() && !now.Before(out.Due) || out.Set.IsZero()
	data, err := readRegular(r, ref.file(), maxSealed)
	if err != nil {
		return out, err
	}
	switch {
	case task.DigestOf(data) != n.Digest:
		out.Strange = "it was changed by something else since, or a change was cut off"
	case n.Set.After(now.Add(24 * time.Hour)):
		out.Strange = "its note is from the future"
	}
	return out, nil
}
