// Package guard is the dead man's switch of a host: before a run's first risky
// change it is armed, and unless somebody proves over a fresh connection that the
// host can still be reached, the change is taken back by the host alone.
//
// The state is one file, changed under a lock and replaced as a whole. Whoever
// confirms and whoever undoes take that lock first, so exactly one of them wins:
//
//	armed ──► confirmed
//	      └─► undoing ──► undone | broken
//
// Deadlines count by the clock that runs through suspend and that nobody can set
// (CLOCK_BOOTTIME, clock_gettime(2)). A guard that is found armed after a reboot is
// overdue: the run that it belonged to is gone.
package guard

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Status says how a guard stands.
type Status string

// The states of a guard.
const (
	None      Status = ""
	Armed     Status = "armed"
	Confirmed Status = "confirmed"
	Undoing   Status = "undoing"
	Undone    Status = "undone"
	Broken    Status = "broken" // the undo went wrong: look at the host
)

// Final reports whether the guard has spoken its verdict.
func (s Status) Final() bool { return s == Confirmed || s == Undone || s == Broken }

// Word returns the state as people read it.
func (s Status) Word() string {
	if s == None {
		return "not armed"
	}
	return string(s)
}

// State is everything that a guard knows.
type State struct {
	Status  Status        `json:"status"`
	Run     string        `json:"run"`
	Steps   []int         `json:"steps"`  // the steps of the run that are taken back
	Digest  string        `json:"digest"` // SHA-256 of the nonce in hex
	Paths   []string      `json:"paths"`  // what must be proved, in words
	Proved  []int         `json:"proved,omitempty"`
	Within  time.Duration `json:"within"`
	Due     time.Duration `json:"due"` // by CLOCK_BOOTTIME
	Boot    string        `json:"boot"`
	Since   time.Time     `json:"since"` // by the wall clock, for people
	Message string        `json:"message,omitempty"`
}

// Left returns how long the guard still waits.
func (s *State) Left() time.Duration { return max(0, s.Due-Now()) }

// Guard is the guard of a host.
type Guard struct{ dir string }

// Open returns the guard that keeps its state in a folder of the state directory.
func Open(stateDir string) *Guard { return &Guard{filepath.Join(stateDir, "guard")} }

// Dir returns the guard's folder.
func (g *Guard) Dir() string { return g.dir }

// Now returns the time since boot, suspend included.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // Linux has had this clock since 2.6.39
	}
	return time.Duration(ts.Nano())
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// DigestOf returns what is stored of a nonce.
func DigestOf(nonce string) string {
	sum := sha256.Sum256([]byte(nonce))
	return hex.EncodeToString(sum[:])
}

func (g *Guard) path(name string) string { return filepath.Join(g.dir, name) }

// State returns the guard's state; None when there never was one.
func (g *Guard) State() (*State, error) {
	b, err := os.ReadFile(g.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return &State{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the guard's state: %w", err)
	}
	s := &State{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("cannot read the guard's state: %w", err)
	}
	return s, nil
}

// Turn waits until nobody else takes the change back: an undo belongs to one process
// from its claim to its verdict. The turn goes with the process that has it.
func (g *Guard) Turn() (done func(), err error) { return g.flock("turn") }

// lock takes the lock of the guard's state, which goes with the process that has it.
func (g *Guard) lock() (unlock func(), err error) { return g.flock("lock") }

func (g *Guard) flock(name string) (unlock func(), err error) {
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the guard's folder: %w", err)
	}
	f, err := os.OpenFile(g.path(name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the guard: %w", err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		_ = f.Close() // it was only opened
		return nil, fmt.Errorf("cannot lock the guard: %w", err)
	}
	return func() { _ = f.Close() }, nil // closing gives the lock back
}

// Retire takes the guard's unit away when nothing is waited for any more. It is
// false when the guard was armed again meanwhile.
func (g *Guard) Retire() (bool, error) {
	unlock, err := g.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	s, err := g.State()
	if err != nil || s.Status == Armed || s.Status == Undoing {
		return false, err
	}
	return true, removeUnit()
}

// change replaces the state under the guard's lock. The function may refuse.
func (g *Guard) change(f func(*State) error) (*State, error) {
	unlock, err := g.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := g.State()
	if err != nil {
		return nil, err
	}
	if err := f(s); err != nil {
		return s, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if err := replace(g.path("state.json"), bytes.NewReader(b), 0o600); err != nil {
		return nil, fmt.Errorf("cannot write the guard's state: %w", err)
	}
	return s, nil
}

// replace puts a file in place as a whole, on disk when it returns.
func replace(path string, data io.Reader, mode fs.FileMode) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Busy is the error of a host whose guard waits for another run.
type Busy struct{ State State }

func (b *Busy) Error() string {
	return fmt.Sprintf("the guard of run %s is %s, %s left", b.State.Run, b.State.Status, b.State.Left().Round(time.Second))
}

// Hint says how to get past it.
func (b *Busy) Hint() string {
	return "wait for its verdict, or decide it: holdfast guard confirm or abort"
}

// Arm makes the guard wait for proof. It is on disk when Arm returns. Guards never
// overlap on a host: one that waits already is [*Busy].
func (g *Guard) Arm(s State) error {
	_, err := g.change(func(old *State) error {
		if old.Status == Armed || old.Status == Undoing {
			return &Busy{*old}
		}
		*old = s
		old.Status, old.Proved, old.Message = Armed, nil, ""
		old.Boot, old.Since, old.Due = bootID(), time.Now().UTC(), Now()+s.Within
		return nil
	})
	return err
}

// Cover adds steps to what an armed guard takes back.
func (g *Guard) Cover(run string, steps []int) error {
	_, err := g.change(func(s *State) error {
		if s.Status != Armed || s.Run != run {
			return fmt.Errorf("cannot go on under the guard: it is %s", s.Status.Word())
		}
		s.Steps = steps
		return nil
	})
	return err
}

// Extend moves the deadline of an armed guard to a span from now, never back.
func (g *Guard) Extend(run string, d time.Duration) (*State, error) {
	return g.change(func(s *State) error {
		if s.Status != Armed || run != "" && s.Run != run {
			return fmt.Errorf("cannot extend the guard: it is %s", s.Status.Word())
		}
		s.Due = max(s.Due, Now()+d)
		return nil
	})
}

// Prove takes the proof for one path. The guard is confirmed when all are proved.
func (g *Guard) Prove(nonce string, path int) (*State, error) {
	return g.change(func(s *State) error {
		if s.Status != Armed || s.Left() == 0 || s.Boot != bootID() {
			return fmt.Errorf("cannot confirm the guard: it is %s", s.Status.Word())
		}
		if subtle.ConstantTimeCompare([]byte(DigestOf(nonce)), []byte(s.Digest)) != 1 {
			return errors.New("cannot confirm the guard: this is another run's proof")
		}
		if path < 0 || path >= len(s.Paths) {
			return fmt.Errorf("cannot confirm the guard: it has no path %d", path)
		}
		if !slices.Contains(s.Proved, path) {
			s.Proved = append(s.Proved, path)
		}
		if len(s.Proved) == len(s.Paths) {
			s.Status, s.Message = Confirmed, "every path was proved"
		}
		return nil
	})
}

// Confirm decides an armed guard by a person's word.
func (g *Guard) Confirm(who string) (*State, error) {
	return g.change(func(s *State) error {
		if s.Status != Armed {
			return fmt.Errorf("cannot confirm the guard: it is %s", s.Status.Word())
		}
		s.Status, s.Message = Confirmed, "confirmed by "+who
		return nil
	})
}

// Claim is asked for by whoever would undo. It gives the state when the guard is
// overdue, or armed at all when now is set, and nil when there is nothing to do.
// The caller has the [Guard.Turn].
func (g *Guard) Claim(now bool, why string) (*State, error) {
	errNo := errors.New("no")
	s, err := g.change(func(s *State) error {
		overdue := s.Status == Armed && (now || s.Left() == 0 || s.Boot != bootID())
		if !overdue && s.Status != Undoing {
			return errNo
		}
		// Undoing is taken up again: we have the turn, so the one that began it is gone.
		s.Status = Undoing
		if s.Message == "" {
			s.Message = why
		}
		return nil
	})
	if errors.Is(err, errNo) {
		return nil, nil
	}
	return s, err
}

// Verdict ends an undo.
func (g *Guard) Verdict(status Status, message string) error {
	_, err := g.change(func(s *State) error {
		if s.Status != Undoing {
			return fmt.Errorf("cannot end the guard: it is %s", s.Status.Word())
		}
		s.Status, s.Message = status, message
		return nil
	})
	return err
}
