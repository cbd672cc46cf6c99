// Package journal keeps on a host what a run did there: a write-ahead journal from
// which the run can be taken back, the ledger of receipts, the handlers that are
// still to be run, and the lock that keeps two runs apart.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DefaultDir is where the state of a host lives.
const DefaultDir = "/var/lib/holdfast"

// Status of a run, in RunInfo. A run without a status has not ended: it runs, or it
// died. Who holds the lock knows that it died.
const (
	Succeeded   = "succeeded"
	Failed      = "failed"
	Interrupted = "interrupted"
	Undone      = "undone"
)

// Store is the state folder of one host. Its methods may be called from several
// goroutines; between processes the lock keeps order.
type Store struct {
	dir     string
	mu      sync.Mutex
	running map[string]bool // runs begun by this process and not closed
	undoing atomic.Bool     // the reserve may be used

	readOnly bool // nothing is made that is missing
}

// RunInfo describes one run.
type RunInfo struct {
	ID         string    `json:"id"`
	Playbook   string    `json:"playbook,omitempty"`
	Version    string    `json:"version,omitempty"`
	Command    string    `json:"command,omitempty"`
	Started    time.Time `json:"started"`
	Controller string    `json:"controller,omitempty"`
	User       string    `json:"user,omitempty"`
	UndoOf     string    `json:"undo_of,omitempty"` // the run that this one takes back
	Status     string    `json:"status,omitempty"`
	Ended      time.Time `json:"ended,omitzero"`
}

// Open returns the store in dir, made with mode 0700 when it is not there. A folder
// that belongs to somebody else, that others can enter, or that is a link is refused.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "runs"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the state folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("cannot use the state folder %s: it must be a directory of the account with number %d", dir, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot close the state folder to others: %w", err)
		}
	}
	s := &Store{dir: dir, running: map[string]bool{}}
	s.keepReserve()
	return s, nil
}

// Dir returns the folder of the store.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Store) runDir(id string) string { return filepath.Join(s.dir, "runs", id) }

var runID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

// Runs returns all recorded runs, oldest first.
func (s *Store) Runs() ([]RunInfo, error) {
	names, err := os.ReadDir(s.path("runs"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the runs: %w", err)
	}
	var out []RunInfo
	for _, n := range names {
		info, err := s.info(n.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // died before it began
		}
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	sort.SliceStable(out, func(i, k int) bool {
		if !out[i].Started.Equal(out[k].Started) {
			return out[i].Started.Before(out[k].Started)
		}
		return out[i].ID < out[k].ID
	})
	return out, nil
}

func (s *Store) info(id string) (RunInfo, error) {
	var info RunInfo
	if !runID.MatchString(id) {
		return info, fmt.Errorf("cannot use %q as the name of a run", id)
	}
	b, err := os.ReadFile(filepath.Join(s.runDir(id), "run.json"))
	if err != nil {
		return info, fmt.Errorf("cannot read the run %s: %w", id, err)
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return info, fmt.Errorf("cannot read the run %s: %w", id, err)
	}
	return info, nil
}

// Limits say how many runs are kept; whatever is reached first counts, and 0 is no limit.
type Limits struct {
	Runs  int
	Age   time.Duration
	Bytes int64
}

// DefaultLimits are 20 runs, 30 days and 500 MB.
func DefaultLimits() Limits {
	return Limits{Runs: 20, Age: 30 * 24 * time.Hour, Bytes: 500 << 20}
}

// Prune removes old runs beyond the limits and returns their names. The newest run
// and those that this process has open stay.
func (s *Store) Prune(l Limits) ([]string, error) {
	runs, err := s.Runs()
	if err != nil {
		return nil, err
	}
	var removed []string
	var kept int
	var bytes int64
	for i := len(runs) - 1; i >= 0; i-- {
		r := runs[i]
		bytes += treeSize(s.runDir(r.ID))
		over := l.Runs > 0 && kept >= l.Runs || l.Bytes > 0 && bytes > l.Bytes ||
			l.Age > 0 && time.Since(r.Started) > l.Age
		s.mu.Lock()
		running := s.running[r.ID]
		s.mu.Unlock()
		if kept++; !over || running || i == len(runs)-1 {
			continue
		}
		if err := os.RemoveAll(s.runDir(r.ID)); err != nil {
			return removed, fmt.Errorf("cannot remove the run %s: %w", r.ID, err)
		}
		removed = append(removed, r.ID)
	}
	return removed, nil
}

func treeSize(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a size is an estimate; what cannot be seen counts as nothing
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
