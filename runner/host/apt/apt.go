// Package apt looks at and changes the packages of a Debian system.
//
// Looking reads dpkg's own files and starts no process. Changing goes through
// apt-get, always without questions, keeping configuration files that somebody
// edited. Before a change it waits for whoever holds dpkg's locks, says who that
// is, and finishes a dpkg run that was interrupted. A change that has begun is
// never stopped half-way: cancelling the context ends the waiting, not the work.
package apt

import (
	"context"
	"time"
)

// Runner starts a command and waits for it. argv[0] is looked up in the system's
// folders, stdin is empty, env is added to a small fixed environment. onLine may
// be nil and gets each line of both streams; out is what was printed, bounded. A
// non-zero status is not an error. The context that this package hands to a Runner
// for a change cannot be cancelled.
type Runner func(ctx context.Context, argv, env []string, onLine func(string)) (status int, out string, err error)

// Info is the state of one package as dpkg knows it. The zero state with a name
// is a package that is not there.
type Info struct {
	Name      string
	Arch      string
	Version   string // of what is unpacked or installed; empty when only configuration is left
	Installed bool   // fully: unpacked and configured
	Held      bool
	Config    bool // removed, configuration left behind
	Broken    bool // half installed, unpacked or half configured; then Installed is false
	// ProvidedBy names the installed package that provides this name when no
	// package of the name itself is installed; Installed is then true and Version
	// is the provided version, often empty. Removing such a name does nothing.
	ProvidedBy string
}

// Spec asks for a package: exactly Version when that is set, the newest when
// Latest is, any version otherwise.
type Spec struct {
	Name    string
	Version string
	Latest  bool
	// Lean leaves out what the package merely recommends. One lean spec makes the
	// whole transaction lean.
	Lean bool
	// File is where the package lies on this machine; apt gets it from a source otherwise.
	File string
}

// Action is one step of a transaction that apt would make.
type Action struct {
	Name string
	Kind string // install, upgrade, downgrade, remove or purge
	From string // version before, empty when new
	To   string // version after, empty when removed
}

// Policy is what the package lists offer for one name.
type Policy struct {
	Installed string
	Candidate string   // what a plain install would bring
	Versions  []string // those that can be downloaded, best first
}

// Conffile is a configuration file that a package owns, with the MD5 sum of the
// text that it shipped.
type Conffile struct {
	Path string
	MD5  string
}

// Status returns the state of a package of this machine. The name may carry an
// architecture ("libc6:i386"); without one the machine's own is meant.
func Status(name string) (Info, error) { return machine.Status(name) }

// Snapshot returns the version of every package that is unpacked or installed.
// Packages of a foreign architecture have the key "name:arch".
func Snapshot() (map[string]string, error) { return machine.Snapshot() }

// Conffiles returns the configuration files of an installed package.
func Conffiles(name string) ([]Conffile, error) { return machine.Conffiles(name) }

// Auto returns the packages that were installed only because others need them,
// with the same keys as Snapshot.
func Auto() (map[string]bool, error) { return machine.Auto() }

// ListsRefreshed says when the package lists were last refreshed; the zero time
// means that there are none.
func ListsRefreshed() (time.Time, error) { return machine.ListsRefreshed() }

// Busy returns who holds one of dpkg's or APT's locks now, or nil.
func Busy() (*Locked, error) { return machine.Busy() }

// Interrupted reports whether an earlier dpkg run was cut off and must be finished.
func Interrupted() (bool, error) { return machine.Interrupted() }

// Refresh fetches the package lists. A source that cannot be fetched is an error.
// progress may be nil.
func Refresh(ctx context.Context, run Runner, progress func(string)) error {
	return machine.Refresh(ctx, run, progress)
}

// Install installs, upgrades or downgrades packages in one transaction. A package
// that already is as asked is left alone. progress may be nil.
func Install(ctx context.Context, specs []Spec, run Runner, progress func(string)) error {
	return machine.Install(ctx, specs, run, progress)
}

// Remove removes packages in one transaction, with their configuration when purge
// is set. What is not there is no error. progress may be nil.
func Remove(ctx context.Context, names []string, purge bool, run Runner, progress func(string)) error {
	return machine.Remove(ctx, names, purge, run, progress)
}

// Simulate returns what Install would do. It takes no lock.
func Simulate(ctx context.Context, specs []Spec, run Runner) ([]Action, error) {
	return machine.Simulate(ctx, specs, run)
}

// SimulateRemove returns what Remove would do. It takes no lock.
func SimulateRemove(ctx context.Context, names []string, purge bool, run Runner) ([]Action, error) {
	return machine.SimulateRemove(ctx, names, purge, run)
}

// MarkAuto records that packages are there only because others need them, or
// that they were asked for when auto is false.
func MarkAuto(ctx context.Context, names []string, auto bool, run Runner) error {
	return machine.MarkAuto(ctx, names, auto, run)
}

// Lookup asks the package lists about several names at once. Names that the lists
// do not know are missing from the answer.
func Lookup(ctx context.Context, names []string, run Runner) (map[string]Policy, error) {
	return machine.Lookup(ctx, names, run)
}

// Candidate returns the version that a plain install would bring, "" when none.
func Candidate(ctx context.Context, name string, run Runner) (string, error) {
	p, err := machine.Lookup(ctx, []string{name}, run)
	return p[name].Candidate, err
}

// Available reports whether the version can be downloaded.
func Available(ctx context.Context, name, version string, run Runner) (bool, error) {
	p, err := machine.Lookup(ctx, []string{name}, run)
	if err != nil {
		return false, err
	}
	for _, v := range p[name].Versions {
		if v == version {
			return true, nil
		}
	}
	return false, nil
}
