package secrets

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// EnsureText faults a text that cannot be a secret.
func EnsureText(text secret.Text) error {
	s := text.Reveal()
	switch {
	case len(s) < secret.MinLength:
		return &Fault{Message: fmt.Sprintf("a secret has at least %d bytes: masking a shorter one would shred the output", secret.MinLength)}
	case len(s) > maxSize:
		return &Fault{Message: fmt.Sprintf("a secret has at most %d KiB", maxSize>>10)}
	case !utf8.ValidString(s):
		return &Fault{Message: "a secret is UTF-8 text", Hint: "encode what is not, for example with base64"}
	}
	return nil
}

// Set encrypts a text and puts it into the store, in place of an earlier one.
// rotateAfter is a duration, [Never], or empty: that of the earlier one, else
// [DefaultRotate]. It is for whoever holds the lock.
func (s *Store) Set(ref Ref, text secret.Text, rotateAfter string) error {
	if err := errors.Join(ensureName("secret", ref.Name), EnsureText(text)); err != nil {
		return err
	}
	r, to, err := s.writable()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // what was written is closed by itself
	n := &note{Set: s.Now().UTC().Truncate(time.Second), RotateAfter: rotateAfter}
	if old, _ := readNote(r, ref); old != nil && rotateAfter == "" { // a bad note is replaced
		n.RotateAfter = old.RotateAfter
	}
	if _, err := n.due(); err != nil {
		return &Fault{Message: err.Error(), Hint: "such as 90d, or never"}
	}
	defer s.forget()
	return s.put(r, ref, text, to, n)
}

// writable opens the store with those to encrypt to.
func (s *Store) writable() (*os.Root, *recipients, error) {
	r, err := s.root()
	if err != nil {
		return nil, nil, err
	}
	to, err := s.recipients(r)
	if err != nil {
		_ = r.Close() // nothing was written
		return nil, nil, err
	}
	return r, to, nil
}

// put writes the encrypted file and then its note, so that a cut in between leaves a
// new value with an old date, never the other way round.
func (s *Store) put(r *os.Root, ref Ref, text secret.Text, to *recipients, n *note) error {
	data, err := to.seal(text.Reveal())
	if err != nil {
		return err
	}
	n.Digest, n.Recipients = task.DigestOf(data), slices.Clone(to.keys)
	about, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	if err := r.MkdirAll(ref.Scope.folder(), 0o700); err != nil {
		return fmt.Errorf("cannot write %s: %w", s.shown(ref.file()), plain(err))
	}
	if err := replace(r, ref.file(), data); err != nil {
		return fmt.Errorf("cannot write %s: %w", s.shown(ref.file()), plain(err))
	}
	if err := replace(r, ref.note(), append(about, '\n')); err != nil {
		return fmt.Errorf("cannot write %s: %w", s.shown(ref.note()), plain(err))
	}
	return nil
}

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".new-"

// replace puts a file into the store whole or not at all, for its owner's eyes only.
func replace(r *os.Root, name string, data []byte) error {
	// A link or a folder in its place was put there by somebody else.
	if st, err := r.Lstat(name); err == nil && !st.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	temp := path.Join(path.Dir(name), tempPrefix+rand.Text())
	f, err := r.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = r.Rename(temp, name)
	}
	if err != nil {
		_ = r.Remove(temp)
		return err
	}
	return syncDir(r, path.Dir(name))
}

func syncDir(r *os.Root, dir string) error {
	d, err := r.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove takes a secret out of the store. It is for whoever holds the lock.
func (s *Store) Remove(ref Ref) error {
	if err := s.Has(ref); err != nil {
		return err
	}
	r, err := s.root()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // nothing is open
	defer s.forget()
	for _, name := range []string{ref.file(), ref.note()} {
		if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove %s: %w", s.shown(name), plain(err))
		}
	}
	if ref.Scope.Kind != KindFleet {
		_ = r.Remove(ref.Scope.folder()) // when it was the last one there
	}
	return nil
}

// Rekeyed is what became of one secret.
type Rekeyed struct {
	Ref  Ref
	Done bool // false: it was encrypted to the present recipients already
	Err  error
}

// Rekey encrypts every secret to the present recipients and tells of each. Those that
// are fine already stay as they are, unless all is set; so a rekey that was cut off is
// finished by the next. It is for whoever holds the lock.
func (s *Store) Rekey(all bool, tell func(Rekeyed)) error {
	refs, err := s.Refs()
	if err != nil {
		return err
	}
	r, to, err := s.writable()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // what was written is closed by itself
	for _, ref := range refs {
		done, err := s.rekey(r, ref, to, all)
		tell(Rekeyed{ref, done, err})
	}
	return nil
}

func (s *Store) rekey(r *os.Root, ref Ref, to *recipients, all bool) (bool, error) {
	n, _ := readNote(r, ref) // a bad note is replaced
	data, err := s.sealed(ref)
	if err != nil {
		return false, err
	}
	if n != nil && !all && n.Digest == task.DigestOf(data) {
		if drift, err := to.drift(n, data); err == nil && drift == "" {
			return false, nil
		}
	}
	text, err := s.Read(ref)
	if err != nil {
		return false, err
	}
	if n == nil {
		// When it was set is not known, and that it was long ago is the safe guess.
		n = &note{}
	}
	return true, s.put(r, ref, text, to, n)
}
