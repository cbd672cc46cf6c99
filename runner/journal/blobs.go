package journal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Keep stores data with the run and returns the name to get it back by. It is on
// disk when Keep returns; the same data is stored once.
func (j *Journal) Keep(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	err := j.store.relieve(func() error { return j.putBlob(name, data) })
	if errors.Is(err, syscall.ENOSPC) && j.store.undoing.Load() {
		return name, nil // see imageWriter
	}
	if err != nil {
		return "", fmt.Errorf("cannot keep a before-image: %w", full(err))
	}
	return name, nil
}

func (j *Journal) putBlob(name string, data []byte) error {
	path := filepath.Join(j.blobDir(), name)
	if st, err := os.Lstat(path); err == nil && st.Size() == int64(len(data)) {
		return nil
	}
	return replace(path, data)
}

// KeepFile stores what r gives, like Keep, without holding it in memory.
func (j *Journal) KeepFile(r io.Reader) (string, error) {
	return j.keep("", func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// keep stores what write writes, under a prefix and the digest of that.
func (j *Journal) keep(prefix string, write func(io.Writer) error) (name string, err error) {
	if name, err = j.putStream(prefix, write); err != nil {
		return "", fmt.Errorf("cannot keep a before-image: %w", full(err))
	}
	return name, nil
}

func (j *Journal) putStream(prefix string, write func(io.Writer) error) (name string, err error) {
	f, err := os.CreateTemp(j.blobDir(), ".new-*")
	if errors.Is(err, syscall.ENOSPC) && j.store.undoing.Load() && j.store.FreeReserve() {
		f, err = os.CreateTemp(j.blobDir(), ".new-*")
	}
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	h := sha256.New()
	image := &imageWriter{store: j.store, file: f}
	err = write(io.MultiWriter(image, h))
	if err == nil && image.lost {
		return prefix + hex.EncodeToString(h.Sum(nil)), f.Close()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", err
	}
	name = prefix + hex.EncodeToString(h.Sum(nil))
	if err := os.Rename(f.Name(), filepath.Join(j.blobDir(), name)); err != nil {
		return "", err
	}
	return name, syncDir(j.blobDir())
}

// imageWriter writes a before-image. On a disk that is full an undo frees what was set
// aside for it, and when that is used up too it goes on without the image: to have the
// host back counts more than to be able to undo the undo, which will say what it lacks.
type imageWriter struct {
	store *Store
	file  *os.File
	lost  bool
}

func (w *imageWriter) Write(b []byte) (int, error) {
	done := 0
	for !w.lost {
		n, err := w.file.Write(b[done:])
		done += n
		switch {
		case err == nil:
			return len(b), nil
		case !errors.Is(err, syscall.ENOSPC) || !w.store.undoing.Load():
			return done, err
		}
		w.lost = !w.store.FreeReserve()
	}
	return len(b), nil
}

func (j *Journal) blobDir() string { return filepath.Join(j.store.runDir(j.info.ID), "blobs") }

// Place returns the path of a folder in the run that is not there yet, for a tree
// that is moved out of the way. The same name is never returned twice.
func (j *Journal) Place() (name, path string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	dir := filepath.Join(j.store.runDir(j.info.ID), "trees")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("cannot keep a before-image: %w", full(err))
	}
	j.places++
	name = fmt.Sprintf("%d", j.places)
	return name, filepath.Join(dir, name), nil
}

// Tree returns the path of what was put at a name that Place gave.
func (r *Record) Tree(name string) string {
	return filepath.Join(r.store.runDir(r.ID), "trees", filepath.Base(name))
}

// Tree returns the path of what was put at a name that Place gave.
func (j *Journal) Tree(name string) string {
	return (&Record{RunInfo: j.info, store: j.store}).Tree(name)
}

// Open returns a kept before-image. Damage shows as an error no later than at its end.
func (r *Record) Open(name string) (io.ReadCloser, error) {
	hexsum, secret := strings.CutPrefix(name, sealed)
	want, err := hex.DecodeString(hexsum)
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("cannot read a before-image: %q is not the name of one", name)
	}
	f, err := os.Open(filepath.Join(r.store.runDir(r.ID), "blobs", name))
	if err != nil {
		return nil, fmt.Errorf("cannot read a before-image: %w", err)
	}
	blob := &blob{file: f, sum: sha256.New(), want: want}
	if !secret {
		return blob, nil
	}
	in, err := r.store.unseal(blob)
	if err != nil {
		_ = blob.Close() // only read
		return nil, err
	}
	return in, nil
}

// Open returns a before-image of this run; see [Record.Open].
func (j *Journal) Open(name string) (io.ReadCloser, error) {
	return (&Record{RunInfo: j.info, store: j.store}).Open(name)
}

// Mask returns a stand-in for the digest of something secret. It is the same for the
// same digest on this host, and of no use to try guesses without the host's own key.
func (s *Store) Mask(digest string) (string, error) {
	key, err := s.key()
	if err != nil {
		return "", fmt.Errorf("cannot mask a digest: %w", full(err))
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(digest))
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// blob checks the digest of what it reads.
type blob struct {
	file *os.File
	sum  hash.Hash
	want []byte
}

func (b *blob) Read(p []byte) (int, error) {
	n, err := b.file.Read(p)
	b.sum.Write(p[:n])
	if err == io.EOF && string(b.sum.Sum(nil)) != string(b.want) {
		return n, errors.New("cannot read a before-image: it was damaged")
	}
	return n, err
}

func (b *blob) Close() error { return b.file.Close() }
