package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Locked says that another process works on the packages.
type Locked struct {
	Path   string
	Holder Holder
	Waited time.Duration // zero when nobody waited
}

func (e *Locked) Error() string {
	text := fmt.Sprintf("%s holds %s", e.Holder, e.Path)
	if e.Waited > 0 {
		text = fmt.Sprintf("%s still holds %s after %s", e.Holder, e.Path, e.Waited.Round(time.Second))
	}
	return text
}

// Holder is the process that holds a lock. PID is 0 when it cannot be seen from
// this PID namespace.
type Holder struct {
	PID     int
	Command string
	Unit    string // the systemd unit that it belongs to, when known
}

func (h Holder) String() string {
	if h.PID <= 0 {
		return "a process outside this container"
	}
	name := h.Command
	if name == "" {
		name = "a program"
	}
	text := fmt.Sprintf("%s (process %d", name, h.PID)
	if h.Unit != "" {
		text += ", " + h.Unit
	}
	return text + ")"
}

// locks are all that apt and dpkg take, in the order in which they matter.
var locks = []string{
	"var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock",
	"var/lib/apt/lists/lock", "var/cache/apt/archives/lock",
}

const (
	lockPoll    = 200 * time.Millisecond
	lockLimit   = 15 * time.Minute
	lockReminds = 30 * time.Second
)

// Busy: see the function of the same name.
func (s *System) Busy() (*Locked, error) {
	for _, l := range locks {
		path := s.path(l)
		pid, held, err := holderOf(path)
		if err != nil {
			return nil, fmt.Errorf("cannot see who holds %s: %w", path, err)
		}
		if held {
			return &Locked{Path: path, Holder: describe(pid)}, nil
		}
	}
	return nil, nil
}

// holderOf asks the kernel who would stand in the way of the lock that apt takes.
// It sees what /proc/locks shows, without its device numbers, which are wrong on
// stacked file systems.
func holderOf(path string) (pid int, held bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: 0}
	err = syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, false, err
	}
	return int(lock.Pid), lock.Type != syscall.F_UNLCK, nil
}

func describe(pid int) Holder {
	h := Holder{PID: pid}
	if pid <= 0 {
		return h
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		h.Command = strings.TrimSpace(string(comm))
	}
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return h
	}
	for _, line := range strings.Split(string(groups), "\n") {
		_, path, _ := strings.Cut(line, ":/")
		for _, part := range strings.Split(path, "/") {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				h.Unit = part
			}
		}
		if h.Unit != "" {
			return h
		}
	}
	return h
}

// waitLocks returns when nobody holds a lock. The caller may still lose the race
// to take it; apt-get then waits by itself.
func (s *System) waitLocks(ctx context.Context, say func(string)) error {
	start := time.Now()
	var last Holder
	var said time.Time
	for {
		busy, err := s.Busy()
		if err != nil || busy == nil {
			return err
		}
		busy.Waited = time.Since(start)
		if busy.Waited > lockLimit {
			return busy
		}
		if busy.Holder != last || time.Since(said) > lockReminds {
			say(fmt.Sprintf("waiting: %s", &Locked{Path: busy.Path, Holder: busy.Holder}))
			last, said = busy.Holder, time.Now()
		}
		if err := sleep(ctx, lockPoll); err != nil {
			return errors.Join(busy, err)
		}
	}
}

const (
	firstBoot      = 30 * time.Minute
	firstBootLimit = 10 * time.Minute
)

// waitFirstBoot lets cloud-init finish on a machine that was just made: it
// installs packages between moments in which no lock is held.
func (s *System) waitFirstBoot(ctx context.Context, say func(string)) error {
	start, said := time.Now(), false
	for s.cloudInitRuns() && time.Since(start) < firstBootLimit {
		if !said {
			say("waiting: cloud-init is still setting up this machine")
			said = true
		}
		if err := sleep(ctx, time.Second); err != nil {
			return fmt.Errorf("cannot wait for cloud-init: %w", err)
		}
	}
	if said && s.cloudInitRuns() {
		say(fmt.Sprintf("cloud-init did not finish within %s; going on without it", firstBootLimit))
	}
	return nil
}

// cloudInitRuns reads what `cloud-init status` reads. A program that cloud-init
// itself started must not wait for it.
func (s *System) cloudInitRuns() bool {
	if _, err := os.Stat(s.path("run/cloud-init/enabled")); err != nil {
		return false
	}
	if _, err := os.Stat(s.path("run/cloud-init/result.json")); err == nil {
		return false
	}
	if up, err := uptime(); err != nil || up > firstBoot {
		return false
	}
	return !strings.HasPrefix(describe(os.Getpid()).Unit, "cloud-")
}

func uptime() (time.Duration, error) {
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	text, _, _ := strings.Cut(string(data), " ")
	seconds, err := strconv.ParseFloat(text, 64)
	return time.Duration(seconds * float64(time.Second)), err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
