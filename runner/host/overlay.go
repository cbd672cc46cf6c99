package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"time"

	"holdfast/tasks/task"
)

// Overlay remembers what tasks would do and answers as the host would look after
// them. Nothing is touched. Answers that may be wrong because of something that
// cannot be predicted make it tentative; what cannot be known is [task.ErrUnknown].
type Overlay struct {
	base task.Reader

	mu        sync.Mutex
	tentative string
	opaque    []string // commands that would have run
	changed   bool     // anything would have been changed
	services  bool     // something may listen that did not, or the other way round
	nodes     map[string]*node
	dirty     map[string]bool // unit files changed since the manager read them
	users     map[string]*task.User
	groups    map[string]*task.Group
	packages  map[string]task.Package
	planned   []string // packages that would be installed
	refreshed time.Time
	units     map[task.UnitRef]task.Unit
	linger    map[string]bool
	params    map[string]string
}

// NewOverlay returns an overlay over a host.
func NewOverlay(base task.Reader) *Overlay {
	return &Overlay{
		base: base, nodes: map[string]*node{}, dirty: map[string]bool{}, users: map[string]*task.User{},
		groups: map[string]*task.Group{}, packages: map[string]task.Package{}, units: map[task.UnitRef]task.Unit{},
		linger: map[string]bool{}, params: map[string]string{},
	}
}

// Writer returns the overlay for one task. Of the session it uses RunAs and Blobs.
func (o *Overlay) Writer(s Session) task.Writer {
	v := &overlayWriter{Overlay: o, s: s, base: o.base}
	r, ok := o.base.(*reader)
	if !ok {
		return v
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	as := *r
	as.blobs = s.Blobs
	if _, planned := o.users[s.RunAs]; s.RunAs != "" && !planned {
		as.user = s.RunAs // an account that would only just exist has no rights to look with
	}
	v.base = &as
	return v
}

// Opaque returns the commands that would have run, in order.
func (o *Overlay) Opaque() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.opaque)
}

// Tentative says why an answer since the last reset may be wrong; "" when none may.
func (o *Overlay) Tentative() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tentative
}

// ResetTentative forgets the reason.
func (o *Overlay) ResetTentative() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tentative = ""
}

// doubt makes the answers tentative; the first reason stays. The lock is held.
func (o *Overlay) doubt(format string, args ...any) {
	if o.tentative == "" {
		o.tentative = fmt.Sprintf(format, args...)
	}
}

// look begins every observation. The lock is held.
func (o *Overlay) look(ctx context.Context) error {
	if n := len(o.opaque); n > 0 {
		o.doubt("it may depend on what %q does", o.opaque[n-1])
	}
	return ctx.Err()
}

// overlayWriter is the overlay as one task sees it. Its exported methods take the
// lock; the others want it held.
type overlayWriter struct {
	*Overlay
	s    Session
	base task.Reader
}

var _ task.Writer = (*overlayWriter)(nil)

// Facts returns what was learned when the helper started.
func (v *overlayWriter) Facts() *task.Facts { return v.base.Facts() }

// Progress says nothing: a plan has no long steps.
func (v *overlayWriter) Progress(string) {}

// Blob returns content that the controller holds.
func (v *overlayWriter) Blob(ctx context.Context, b task.Blob) ([]byte, error) {
	return v.base.Blob(ctx, b)
}

// Run remembers that a command would run; nobody knows what it would do.
func (v *overlayWriter) Run(ctx context.Context, cmd task.Command) (task.Output, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(cmd.Argv) == 0 {
		return task.Output{}, errors.New("cannot run a command without a name")
	}
	v.opaque = append(v.opaque, cmd.Argv[0])
	if n := v.nodes[cmd.Dir]; n != nil && n.cut {
		n.why = fmt.Sprintf("what is in %s comes from what %q does", cmd.Dir, cmd.Argv[0])
	}
	v.changed, v.services = true, true
	return task.Output{}, ctx.Err()
}

// Query runs a command that changes nothing on the host as it is. What the plan did
// before may change its answer.
func (v *overlayWriter) Query(ctx context.Context, cmd task.Command) (task.Output, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return task.Output{}, err
	}
	for _, a := range cmd.Argv {
		if n := v.nodes[a]; n != nil {
			return task.Output{}, task.Unknownf("the command %s reads %s, which the plan changes", cmd.Argv[0], a)
		}
	}
	if u, ok := v.users[cmd.User]; ok && cmd.User != "" && u != nil {
		return task.Output{}, task.Unknownf("the command %s runs as %s, which the plan sets up", cmd.Argv[0], cmd.User)
	}
	out, err := v.base.Query(ctx, cmd)
	if errors.Is(err, exec.ErrNotFound) && len(v.planned) > 0 {
		return out, task.Unknownf("the command %s comes with a package that the plan installs", cmd.Argv[0])
	}
	if v.changed {
		v.doubt("the command %s was asked before the changes of this plan", cmd.Argv[0])
	}
	return out, err
}

// Listeners returns the open sockets of the host as it is.
func (v *overlayWriter) Listeners(ctx context.Context) ([]task.Listener, error) {
	if err := v.lookOut(ctx); err != nil {
		return nil, err
	}
	return v.base.Listeners(ctx)
}

// Fetch makes one HTTP request from the host as it is.
func (v *overlayWriter) Fetch(ctx context.Context, req task.Request) (task.Response, error) {
	if err := v.lookOut(ctx); err != nil {
		return task.Response{}, err
	}
	return v.base.Fetch(ctx, req)
}

// Dial connects from the host as it is.
func (v *overlayWriter) Dial(ctx context.Context, network, address string) error {
	if err := v.lookOut(ctx); err != nil {
		return err
	}
	return v.base.Dial(ctx, network, address)
}

// Connect opens a connection on the host as it is.
func (v *overlayWriter) Connect(ctx context.Context, network, address string) (io.ReadWriteCloser, error) {
	if err := v.lookOut(ctx); err != nil {
		return nil, err
	}
	return v.base.Connect(ctx, network, address)
}

// Resolve asks the domain name system from the host as it is.
func (v *overlayWriter) Resolve(ctx context.Context, q task.Question) (task.Records, error) {
	if err := v.lookOut(ctx); err != nil {
		return task.Records{}, err
	}
	return v.base.Resolve(ctx, q)
}

// Certificates looks at certificates of the host as it is.
func (v *overlayWriter) Certificates(ctx context.Context, s task.CertificateSource) (task.Chain, error) {
	if err := v.lookOut(ctx); err != nil {
		return task.Chain{}, err
	}
	v.mu.Lock()
	for _, file := range []string{s.File, s.Key} {
		if v.nodes[file] != nil {
			v.mu.Unlock()
			return task.Chain{}, task.Unknownf("the plan changes %s", file)
		}
	}
	v.mu.Unlock()
	return v.base.Certificates(ctx, s)
}

func (v *overlayWriter) lookOut(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.services {
		v.doubt("the plan changes services or packages before it")
	}
	return v.look(ctx)
}

// KernelParam returns the value that a parameter would have.
func (v *overlayWriter) KernelParam(ctx context.Context, name string) (value string, ok bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return "", false, err
	}
	if value, ok = v.params[name]; ok {
		return value, true, nil
	}
	return v.base.KernelParam(ctx, name)
}

// SetKernelParam remembers the value of a parameter.
func (v *overlayWriter) SetKernelParam(ctx context.Context, name, value string) error {
	_, ok, err := v.KernelParam(ctx, name)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !ok {
		if len(v.opaque) == 0 && len(v.planned) == 0 {
			return fmt.Errorf("cannot set the kernel parameter %s: this kernel does not have it", name)
		}
		v.doubt("this kernel does not have the parameter %s yet", name)
	}
	v.params[name], v.changed = blanks(value), true
	return nil
}

// Linger reports whether the account's units would run without a login.
func (v *overlayWriter) Linger(ctx context.Context, user string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return false, err
	}
	if on, ok := v.linger[user]; ok {
		return on, nil
	}
	return v.base.Linger(ctx, user)
}

// SetLinger remembers whether the account's units run without a login.
func (v *overlayWriter) SetLinger(ctx context.Context, user string, on bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	u, err := v.user(ctx, user)
	if err != nil {
		return err
	}
	if u == nil && len(v.planned) == 0 {
		return fmt.Errorf("cannot set the lingering of %s: there is no such account", user)
	}
	v.linger[user], v.changed = on, true
	return nil
}

// Package returns the state that a package would have.
func (v *overlayWriter) Package(ctx context.Context, name string) (task.Package, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.look(ctx); err != nil {
		return task.Package{}, err
	}
	if p, ok := v.packages[name]; ok {
		return p, nil
	}
	return v.base.Package(ctx, name)
}

// PackagesRefreshed says when the lists would have been refreshed.
func (v *overlayWriter) PackagesRefreshed(ctx context.Context) (time.Time, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.refreshed.IsZero() {
		return v.refreshed, nil
	}
	return v.base.PackagesRefreshed(ctx)
}

// RefreshPackages remembers that the lists would be fresh.
func (v *overlayWriter) RefreshPackages(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refreshed = time.Now()
	return ctx.Err()
}

// InstallPackages remembers packages as installed.
func (v *overlayWriter) InstallPackages(ctx context.Context, specs []task.PackageSpec) error {
	for _, s := range specs {
		p, err := v.Package(ctx, s.Name)
		if err != nil {
			return err
		}
		if p.Installed && !s.Latest && (s.Version == "" || s.Version == p.Version) {
			continue
		}
		v.mu.Lock()
		if !p.Installed {
			v.planned = append(v.planned, s.Name)
		}
		if s.Version != "" || !p.Installed {
			p.Version = s.Version
		}
		p.Name, p.Installed, p.Config, p.Broken = s.Name, true, false, false
		v.packages[s.Name] = p
		v.changed, v.services = true, true
		v.mu.Unlock()
	}
	return ctx.Err()
}

// RemovePackages remembers packages as removed.
func (v *overlayWriter) RemovePackages(ctx context.Context, names []string, purge bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range names {
		v.packages[name] = task.Package{Name: name, Config: !purge}
		v.planned = slices.DeleteFunc(v.planned, func(p string) bool { return p == name })
		v.changed, v.services = true, true
	}
	return ctx.Err()
}
