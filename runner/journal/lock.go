package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Holder says who holds the lock of a host.
type Holder struct {
	Run        string    `json:"run"`
	Controller string    `json:"controller,omitempty"`
	User       string    `json:"user,omitempty"`
	Since      time.Time `json:"since"`
	Command    string    `json:"command,omitempty"`
	PID        int       `json:"pid,omitempty"`
}

// String describes the holder in words.
func (h Holder) String() string {
	s := "run " + h.Run
	if h.User != "" || h.Controller != "" {
		s += " of " + h.User + "@" + h.Controller
	}
	if h.Command != "" {
		s += " (" + h.Command + ")"
	}
	if !h.Since.IsZero() {
		s += ", since " + h.Since.UTC().Format(time.RFC3339)
	}
	return s
}

// Locked is the failure to get a lock that another run holds.
type Locked struct{ Holder Holder }

func (e *Locked) Error() string {
	if e.Holder.Run == "" {
		return "another run works on this host"
	}
	return "another run works on this host: " + e.Holder.String()
}

// Lock is the right to change the host. The kernel takes it back when the process
// ends, however that happens.
type Lock struct {
	// Fence rises with every lock that was ever given out on this host.
	Fence uint64
	store *Store
	file  *os.File
}

// Lock takes the lock or fails with [*Locked], at once.
func (s *Store) Lock(h Holder) (*Lock, error) {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the host: %w", err)
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close() //nolint:errcheck // only read
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock the host: %w", err)
		}
		locked := &Locked{}
		if b, err := os.ReadFile(s.path("lock")); err == nil {
			_ = json.Unmarshal(b, &locked.Holder) // its writer may be in the middle of it
		}
		return nil, locked
	}
	l := &Lock{store: s, file: f}
	h.PID = os.Getpid()
	if err := l.take(h); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock the host: %w", err)
	}
	return l, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// take overwrites both files in place and keeps their sizes, so that a host whose
// disk is full can still be locked, which an undo needs.
func (l *Lock) take(h Holder) error {
	now, err := l.store.fence()
	if err != nil {
		return err
	}
	l.Fence = now + 1
	if err := overwrite(l.store.path("fence"), fmt.Appendf(nil, "%020d\n", l.Fence)); err != nil {
		return err
	}
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return overwrite(l.store.path("lock"), fmt.Appendf(nil, "%-1023s\n", b))
}

func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return full(err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return full(errors.Join(err, f.Close()))
}

func (s *Store) fence() (uint64, error) {
	b, err := os.ReadFile(s.path("fence"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return 0, nil // a disk that was full when the first lock was to be given out
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", s.path("fence"), err)
	}
	return n, nil
}

// Check fails when a later lock was given out, so that a process which was stopped
// or whose state folder was replaced does not go on writing.
func (l *Lock) Check() error {
	now, err := l.store.fence()
	if err != nil {
		return fmt.Errorf("cannot check the lock: %w", err)
	}
	if now != l.Fence {
		return fmt.Errorf("cannot go on: this run had the lock number %d, the host is at %d", l.Fence, now)
	}
	return nil
}

// Seize takes the right to write from whoever holds the lock, without waiting: the
// holder's next Check fails. It is what a guard does whose deadline has passed.
func (s *Store) Seize() (*Lock, error) {
	now, err := s.fence()
	if err != nil {
		return nil, fmt.Errorf("cannot seize the host: %w", err)
	}
	l := &Lock{store: s, Fence: now + 1}
	if err := overwrite(s.path("fence"), fmt.Appendf(nil, "%020d\n", l.Fence)); err != nil {
		return nil, fmt.Errorf("cannot seize the host: %w", err)
	}
	return l, nil
}

// Renew gives the holder of the lock a new number.
func (s *Store) Renew() (uint64, error) {
	l, err := s.Seize()
	if err != nil {
		return 0, err
	}
	return l.Fence, nil
}

// Release gives the lock back.
func (l *Lock) Release() error {
	_, _ = l.file.WriteAt(fmt.Appendf(nil, "%-1023s\n", "{}"), 0) // the name of a holder that is gone only confuses
	return l.file.Close()
}
