// Package sandbox makes throwaway hosts on this machine: systemd as PID 1, real
// OpenSSH, a netfilter and kernel parameters of their own, a copy-on-write root
// over a base that is built once. They serve to try a playbook before a fleet
// sees it, and to test against something that behaves like a server.
//
// # Use
//
// [Open] names a state folder and touches nothing. [Sandbox.Check] says what is
// missing on this machine, [Sandbox.Install] installs it. [Sandbox.Up] boots
// hosts (after [Sandbox.Base], which it calls itself) and returns when each
// answers on port 22. Log in as root, or as the ordinary account "debian"
// ("ubuntu" on Ubuntu) with sudo without a password, with the key at
// [Sandbox.KeyPath]; the host keys are in [Sandbox.KnownHostsPath];
// [Sandbox.Inventory] writes both and the addresses into an inventory.
// [Sandbox.Down] takes everything away again, whatever state it is in.
//
// # What a host is
//
// A host is booted by systemd-nspawn, which needs root and Linux but neither a
// running systemd nor a daemon. Every host has a mount namespace for as long as
// it has power and a network namespace for every boot. Both are held by its
// processes only: when those are gone, so are its mounts, its link and its
// addresses. What lives outside of processes is named after the folder of the
// sandbox (see below) and is found again by that name alone.
//
// The hosts of one folder share a bridge and a /24 of 10.213.0.0/16. They reach
// the outside through address translation; nothing outside of this machine can
// open a connection to them, nor can the hosts of another folder.
//
// kernel.*, vm.*, fs.* and most of net.core.* belong to the machine: a host has
// private copies, which can be set and read back and have no effect. There are
// no kernel modules, no udev, no kernel audit. A host has all capabilities, as
// root on a server has: it is like a server, and no jail for what is hostile.
// The root is an overlay, on which a second one, such as Docker's, does not work.
//
// Packages that a host has fetched are kept for the next one when it goes down
// or is reset, and the base has apt's lists. apt's periodic jobs are off.
//
// # Several sandboxes
//
// Everything that is visible on the machine carries the same eight hexadecimal
// digits of the folder's name: the bridge and links "hf<id>…", the nftables
// tables "hf<id>", the cgroups "holdfast-<id>". So two folders never meet, and
// Down can clean up what a killed process began, with or without its state
// files. Operations on one folder exclude each other, also between processes.
package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// DefaultDir is where state, bases and packages are kept unless [Options] says
// otherwise.
const DefaultDir = "/var/lib/holdfast-sandbox"

// Options say where a sandbox lives.
type Options struct {
	// Dir is the state folder; [DefaultDir] when empty. It is made when needed.
	Dir string
	// Cache holds the bases and the fetched packages, which several sandboxes may
	// share; [DefaultDir] when empty.
	Cache string
	// Suite is what hosts run unless [UpOptions] says otherwise: a code name
	// ("bookworm", the default) or a distribution and its version ("debian-12",
	// "ubuntu-24.04").
	Suite string
	// Progress, when set, is told what happens, in short sentences. It may be
	// called from several goroutines, one at a time.
	Progress func(msg string)
}

// Sandbox is a set of throwaway hosts in one folder. Its methods may be used by
// several goroutines and by several processes at once.
type Sandbox struct {
	dir, cache string
	id         string // of everything on the machine that has a name
	suite      suite
	report     func(string)
}

// Host is one throwaway host.
type Host struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	State   State  `json:"state"`
	Suite   string `json:"suite"`
	// Leader is the process on this machine that is PID 1 of the host; 0 when it
	// does not run.
	Leader int `json:"leader,omitempty"`
}

// State says how a host is.
type State string

// The states of a host. A broken host is one that was begun and not finished, or
// of which only traces are left; Down removes it.
const (
	Running State = "running"
	Stopped State = "stopped"
	Broken  State = "broken"
)

var (
	plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._+@-]*$`)
	plainName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
)

// Open names a sandbox. It touches nothing on the machine.
func Open(o Options) (*Sandbox, error) {
	dir, err := folder(o.Dir)
	if err != nil {
		return nil, err
	}
	cache, err := folder(o.Cache)
	if err != nil {
		return nil, err
	}
	if o.Suite == "" {
		o.Suite = "bookworm"
	}
	st, err := findSuite(o.Suite)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(dir))
	return &Sandbox{dir: dir, cache: cache, id: hex.EncodeToString(sum[:4]), suite: st, report: serialised(o.Progress)}, nil
}

// folder checks a path that will stand in mount options and shell settings.
func folder(path string) (string, error) {
	if path == "" {
		path = DefaultDir
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot use %q for a sandbox: %w", path, err)
	}
	if !plainPath.MatchString(abs) {
		return "", fmt.Errorf("cannot use %q for a sandbox: only letters, digits and /._+@- may stand in its path", abs)
	}
	for _, bad := range []string{"/", "/run", "/proc", "/sys", "/dev"} {
		if abs == bad || bad != "/" && strings.HasPrefix(abs, bad+"/") {
			return "", fmt.Errorf("cannot use %q for a sandbox: it has to be a folder on a disk", abs)
		}
	}
	return abs, nil
}

func (s *Sandbox) say(format string, args ...any) { s.report(fmt.Sprintf(format, args...)) }

// KeyPath is the private key that every host lets in. It exists after Up.
func (s *Sandbox) KeyPath() string { return filepath.Join(s.dir, "key") }

// KnownHostsPath is the file with the keys of all hosts. It exists after Up.
func (s *Sandbox) KnownHostsPath() string { return filepath.Join(s.dir, "known_hosts") }

// Names of things on the machine.
func (s *Sandbox) bridge() string             { return "hf" + s.id }
func (s *Sandbox) link(index int) string      { return fmt.Sprintf("hf%s-%d", s.id, index) }
func (s *Sandbox) table() string              { return "hf" + s.id }
func (s *Sandbox) cgroup() string             { return "holdfast-" + s.id }
func (s *Sandbox) machine(name string) string { return "hf" + s.id + "-" + name }

// Names of things in the folder.
func (s *Sandbox) hostsDir() string             { return filepath.Join(s.dir, "hosts") }
func (s *Sandbox) hostDir(name string) string   { return filepath.Join(s.dir, "hosts", name) }
func (s *Sandbox) inventoryPath() string        { return filepath.Join(s.dir, "inventory.yml") }
func (s *Sandbox) archives(suite string) string { return filepath.Join(s.cache, "packages", suite) }

// find returns the state of a host that must exist.
func (s *Sandbox) find(name string) (hostState, error) {
	if !plainName.MatchString(name) {
		return hostState{}, fmt.Errorf("cannot find host %q: want a name of small letters, digits and dashes", name)
	}
	h, err := s.readHost(name)
	if err != nil {
		return hostState{}, fmt.Errorf("cannot find host %q: %w", name, err)
	}
	return h, nil
}

// leaderOf returns PID 1 of a host that must run.
func (s *Sandbox) leaderOf(name string) (int, error) {
	if _, err := s.find(name); err != nil {
		return 0, err
	}
	leader := s.leader(name)
	if leader == 0 {
		return 0, fmt.Errorf("host %q does not run", name)
	}
	return leader, nil
}
