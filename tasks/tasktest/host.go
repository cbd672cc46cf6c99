// Package tasktest tests task modules without a machine: a host in memory that
// journals like the real one, and the conformance suite that every module passes.
package tasktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"holdfast/tasks/task"
)

// ErrInjected is wrapped by the failure that [Host.FailAt] asks for.
var ErrInjected = errors.New("injected failure")

// Host is a machine in memory and a [task.Writer]. Every write first records its
// inverse, as the journal does; [Host.Restore] runs them. Methods may be called
// from several goroutines; the On functions must be set before.
//
// Commands do nothing unless scripted: without OnRun or OnQuery they exit 0 and
// print nothing, but for the few programs that programs.go plays; and without OnFetch every request is answered with 200 and "ok".
type Host struct {
	OnRun          func(task.Command) (task.Output, error)
	OnQuery        func(task.Command) (task.Output, error)
	OnFetch        func(task.Request) (task.Response, error)
	OnResolve      func(task.Question) (task.Records, error)
	OnConnect      func(network, address string) (io.ReadWriteCloser, error)
	OnCertificates func(task.CertificateSource) (task.Chain, error)
	// OnDownload may refuse a download, or an archive that is unpacked while it arrives.
	OnDownload func(task.Download) error
	// OnValidate is asked about the validation command of a file write.
	OnValidate func(task.FileWrite) error

	mu       sync.Mutex
	facts    task.Facts
	state    state
	blobs    map[string][]byte
	modified map[string]time.Time
	sums     map[string]string // content that was downloaded, and the digest that it stands for
	inverses []func()
	calls    []Call
	failAt   int
	progress []string
}

// state is all that a snapshot compares.
type state struct {
	Files     map[string]node
	Users     map[string]account
	Groups    map[string]task.Group // without members: the accounts know their groups
	Packages  map[string]task.Package
	Units     map[string]unit // by user/name
	Linger    map[string]bool
	Kernel    map[string]string
	Refreshed map[string]time.Time // one entry, so that put can take it back
	Listeners []task.Listener
}

// node is one path. Nodes are replaced, never changed.
type node struct {
	Kind         task.FileKind
	Mode         task.Mode
	Owner, Group string
	Data         []byte
	Target       string
}

type account struct {
	task.User
	Password string
}

type unit struct {
	task.Unit
	User    string
	Name    string
	Loaded  string // digest of the unit file when it was read
	Was     string // Enabled before it was masked
	BuiltIn bool   // there without a unit file
}

// Call is one call of a Reader or Writer method.
type Call struct {
	Method  string
	Subject string // the path, name or address that the call is about
	Write   bool
	Args    any // the FileWrite, Command, Request or …Spec, where the method takes one
}

var _ task.Writer = (*Host)(nil)

// Calls returns the calls so far, without Facts and Progress.
func (h *Host) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// Writes returns those calls that may change the host.
func (h *Host) Writes() []Call {
	return slices.DeleteFunc(h.Calls(), func(c Call) bool { return !c.Write })
}

// Forget drops the record of calls and progress, and a failure that is still to come.
func (h *Host) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls, h.progress, h.failAt = nil, nil, 0
}

// FailAt makes the nth call from now fail before it does anything; 0 makes none fail.
func (h *Host) FailAt(n int) {
	h.Forget()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failAt = n
}

// Snapshot returns all that a module could change, in a form that is equal byte
// for byte when the hosts are.
func (h *Host) Snapshot() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	out, err := json.MarshalIndent(h.state, "", " ")
	if err != nil {
		panic("internal error: a snapshot does not marshal: " + err.Error())
	}
	return out
}

// Restore takes back every write since the host was made or last restored, last
// first. What OnRun did is not taken back.
func (h *Host) Restore() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, inverse := range slices.Backward(h.inverses) {
		inverse()
	}
	h.inverses = nil
}

// enter records a call and decides whether it fails.
func (h *Host) enter(ctx context.Context, c Call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.calls = append(h.calls, c)
	if len(h.calls) == h.failAt {
		return fmt.Errorf("cannot %s %s: %w", c.Method, c.Subject, ErrInjected)
	}
	return nil
}

func (h *Host) read(ctx context.Context, method, subject string) error {
	return h.enter(ctx, Call{Method: method, Subject: subject})
}

func (h *Host) write(ctx context.Context, method, subject string, args any) error {
	return h.enter(ctx, Call{Method: method, Subject: subject, Write: true, Args: args})
}

// put sets a map's entry and records the inverse.
func put[V any](h *Host, m map[string]V, key string, v V) {
	old, had := m[key]
	h.inverses = append(h.inverses, func() {
		if had {
			m[key] = old
		} else {
			delete(m, key)
		}
	})
	m[key] = v
}

// drop deletes a map's entry and records the inverse.
func drop[V any](h *Host, m map[string]V, key string) {
	old, had := m[key]
	if !had {
		return
	}
	h.inverses = append(h.inverses, func() { m[key] = old })
	delete(m, key)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
