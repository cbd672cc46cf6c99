package secrets

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

const lockFile = ".lock"

// patience is how long a change waits for another one to end.
const patience = 10 * time.Second

// Lock keeps others from changing the store until unlock is called. It ends with the
// process, however that ends.
func (s *Store) Lock() (unlock func(), err error) {
	r, err := s.root()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // the lock has a file of its own
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		f, err := r.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot lock the store of secrets %s: %w", s.Shown, plain(err))
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && stillThere(r, f) {
			return s.locked(f), nil
		}
		holder := holderOf(f)
		_ = f.Close() // nothing was written
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock the store of secrets %s: %w", s.Shown, err)
		}
		if time.Now().After(deadline) {
			return nil, &Fault{Message: "somebody else is changing the store of secrets: " + holder, Hint: "wait until that has ended"}
		}
	}
}

// stillThere reports whether the file that was locked is the one that others find:
// the one before removed it at its end.
func stillThere(r *os.Root, f *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := r.Lstat(lockFile)
	return err == nil && os.SameFile(a, b)
}

// locked says in the lock who holds it.
func (s *Store) locked(f *os.File) (unlock func()) {
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%s, process %d, since %s\n", s.Who, os.Getpid(), s.Now().Format("15:04:05"))
	return func() {
		if r, err := s.root(); err == nil {
			_ = r.Remove(lockFile)
			_ = r.Close()
		}
		_ = f.Close()
	}
}

func holderOf(f *os.File) string {
	buf := make([]byte, 200)
	n, _ := f.ReadAt(buf, 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line = strings.ToValidUTF8(strings.TrimSpace(line), "?"); line == "" {
		return "it does not say who"
	}
	return line
}
