// Package host is the machine that the helper runs on, seen through the contract of
// task modules: a Reader that starts no process to look at files, accounts,
// packages, units and kernel parameters, a Writer that journals every change before
// it acts, an Overlay that predicts changes for a plan, and Undo.
package host

import (
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/runner/host/apt"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// Options change where a Machine finds things.
type Options struct {
	// Root is a folder that stands for / wherever a system database is meant:
	// accounts, packages, kernel parameters, units, homes. Paths that modules name
	// are used as they are. It is for tests.
	Root string
}

// Machine is the machine that this process runs on. Its methods may be called from
// several goroutines.
type Machine struct {
	root     string
	facts    *task.Facts
	apt      *apt.System
	spawned  atomic.Int64
	running  string // the folder of notes on running commands, or ""
	accounts accountCache
	managers managers
	writing  sync.Mutex // one change of the account databases at a time
}

// Session is what one task needs to change the machine.
type Session struct {
	Task    *journal.Task
	Journal *journal.Journal
	// RunAs is the account whose rights count; "" is the helper's own.
	RunAs string
	// Blobs fetches content that did not travel with the arguments; nil when there is none.
	Blobs    func(context.Context, task.Blob) ([]byte, error)
	Progress func(string)
	// Hidden means that the task's arguments reveal a secret: of its commands only the
	// name is kept, and what its files held before is kept encrypted.
	Hidden bool
	// Fence is asked before each change and fails when the run lost its right to the host.
	Fence func() error
}

// New returns the machine that we run on. It reads files and starts no process.
func New() (*Machine, error) { return NewWith(Options{}) }

// NewWith is New with options.
func NewWith(o Options) (*Machine, error) {
	m := &Machine{root: o.Root, apt: apt.At("/" + strings.Trim(o.Root, "/"))}
	// What we inherited open is nothing for the commands that we start. A kernel
	// without this call (before 5.11) leaves us with Go's own files, which are closed.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	facts, err := m.learn()
	if err != nil {
		return nil, err
	}
	m.facts = facts
	return m, nil
}

// Close ends the connections to service managers.
func (m *Machine) Close() error { return m.managers.close() }

// Facts returns what was learned when the Machine was made. Only what a run says of its
// logins is added later.
func (m *Machine) Facts() *task.Facts { return m.facts }

// Spawned returns how many processes were started so far.
func (m *Machine) Spawned() int64 { return m.spawned.Load() }

// Reader returns the machine as the helper's own account sees it.
func (m *Machine) Reader() task.Reader { return &reader{m: m} }

// ReaderAs returns the machine as an account sees it; "" is the helper's own. An
// account that does not exist is an error of each call. blobs may be nil.
func (m *Machine) ReaderAs(user string, blobs func(context.Context, task.Blob) ([]byte, error)) task.Reader {
	return &reader{m: m, user: user, blobs: blobs}
}

// Writer returns the machine for one task. Every change is journalled in s.Task; a
// session without one can look, but its changes are refused.
func (m *Machine) Writer(s Session) task.Writer {
	return &writer{reader: reader{m: m, user: s.RunAs, blobs: s.Blobs}, s: s}
}

// sys returns where a file of the system itself is.
func (m *Machine) sys(path string) string {
	if m.root == "" {
		return path
	}
	return m.root + path
}
