package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// replace puts data into the file at path so that after a crash either the old or
// the new content is there, and the new one once replace has returned.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return full(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return full(err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only read
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// full explains the errors of a file system without room.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("no room for the journal, nothing was changed: %w", err)
	}
	return err
}

const reserveSize = 1 << 20

// keepReserve sets room aside that an undo may use when the disk is full. It is
// only a precaution, so a disk that is full already is no error.
func (s *Store) keepReserve() {
	path := s.path("reserve")
	if s.hasReserve() {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // a reserve that is not there is not used
	var st syscall.Statfs_t
	if syscall.Fstatfs(int(f.Fd()), &st) != nil || int64(st.Bavail)*st.Bsize < 2*reserveSize ||
		syscall.Fallocate(int(f.Fd()), 0, 0, reserveSize) != nil {
		_ = os.Remove(path)
	}
}

func (s *Store) hasReserve() bool {
	st, err := os.Stat(s.path("reserve"))
	return err == nil && st.Size() == reserveSize
}

// ensureReserve fails where nothing could be set aside: what cannot be taken back on a
// disk that fills up is not begun.
func (s *Store) ensureReserve() error {
	s.keepReserve()
	if s.hasReserve() {
		return nil
	}
	return fmt.Errorf("it could not be taken back, because %s has less than %d MiB of room: %w", s.dir, 2*reserveSize>>20, syscall.ENOSPC)
}

// relieve runs f again with the reserve freed when the disk is full and a run is
// being taken back.
func (s *Store) relieve(f func() error) error {
	err := f()
	if errors.Is(err, syscall.ENOSPC) && s.undoing.Load() && s.FreeReserve() {
		err = f()
	}
	return err
}

// FreeReserve gives the reserve back to the file system and reports whether there
// was one. The next Open sets a new one aside.
func (s *Store) FreeReserve() bool { return os.Remove(s.path("reserve")) == nil }
