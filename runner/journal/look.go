package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Look returns the store in dir for reading, or nil when there is none. It makes and
// changes nothing, and needs no lock: what others write meanwhile is seen whole or
// not at all.
func Look(dir string) (*Store, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the state folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("cannot trust the state folder %s: it must be a directory of the account with number %d", dir, os.Geteuid())
	}
	return &Store{dir: dir, running: map[string]bool{}, readOnly: true}, nil
}

// Holder returns who holds the lock now, or nil. It does not take it.
func (s *Store) Holder() *Holder {
	path := s.path("lock")
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !locked(st) {
		return nil
	}
	h := &Holder{}
	if b, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(bytes.TrimSpace(b), h) // its writer may be in the middle of it
	}
	return h
}

// locked looks the file up among the locks that the kernel knows (proc_locks(5)).
func locked(st *syscall.Stat_t) bool {
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false
	}
	inode := fmt.Sprintf(":%d", st.Ino)
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && strings.HasSuffix(f[5], inode) {
			return true
		}
	}
	return false
}
