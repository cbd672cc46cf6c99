package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// bootLimit is how long a host may take until it answers. It takes about two
// seconds; a machine under load gets more.
const bootLimit = 2 * time.Minute

// UpOptions say which hosts Up brings up.
type UpOptions struct {
	// Names of hosts. When empty, they are Prefix and a number from 1 to Count.
	Names  []string
	Count  int    // 1 when 0
	Prefix string // "sb" when empty
	// Suite of hosts that are new; that of the sandbox when empty.
	Suite string
}

func (o UpOptions) names() ([]string, error) {
	names := slices.Clone(o.Names)
	if len(names) == 0 {
		prefix := o.Prefix
		if prefix == "" {
			prefix = "sb"
		}
		for i := range max(o.Count, 1) {
			names = append(names, fmt.Sprintf("%s%d", prefix, i+1))
		}
	}
	for i, name := range names {
		if !plainName.MatchString(name) {
			return nil, fmt.Errorf("cannot make a host %q: want a name of at most 31 small letters, digits and dashes that begins with a letter", name)
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("cannot make a host %q twice", name)
		}
	}
	return names, nil
}

// Up makes the named hosts that do not exist, boots those that do not run, and
// returns all of the named when each answers on port 22. Hosts that run already
// are left alone. When it fails or is cancelled, it takes away what it made.
func (s *Sandbox) Up(ctx context.Context, o UpOptions) ([]Host, error) {
	names, err := o.names()
	if err != nil {
		return nil, err
	}
	st := s.suite
	if o.Suite != "" {
		if st, err = findSuite(o.Suite); err != nil {
			return nil, err
		}
	}
	base, err := s.base(ctx, st)
	if err != nil {
		return nil, err
	}
	if err := s.useBase(base); err != nil {
		return nil, err
	}
	unlock, err := s.hold(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	made, hosts, err := s.up(ctx, names, st, base, o.Suite != "")
	if err != nil {
		// The context may be over; cleaning up is due all the same.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if downErr := s.down(clean, made); downErr != nil {
			err = errors.Join(err, downErr)
		}
		return nil, err
	}
	return hosts, nil
}

// up does the work of Up and returns also the names of hosts it began to make.
func (s *Sandbox) up(ctx context.Context, names []string, st suite, base string, strict bool) (made []string, up []Host, err error) {
	if err := s.makeKey(ctx); err != nil {
		return nil, nil, err
	}
	plan, made, err := s.allocate(ctx, names, st, base, strict)
	if err != nil {
		return made, nil, err
	}
	var idle []hostState
	for _, h := range plan {
		if leader := s.leader(h.Name); leader == 0 {
			idle = append(idle, h)
		}
	}
	if len(idle) > 0 {
		s.say("booting %s", joinNames(idle))
	}
	group, groupCtx := errgroup.WithContext(ctx)
	var mu sync.Mutex // over the inventory's files
	for _, h := range idle {
		group.Go(func() error { return s.bootNew(groupCtx, h, &mu) })
	}
	if err := group.Wait(); err != nil {
		return made, nil, err
	}
	if _, err := s.Inventory(); err != nil {
		return made, nil, err
	}
	for _, h := range plan {
		h.Ready = true
		up = append(up, s.describe(h))
	}
	return made, up, nil
}

// allocate finds or makes the state of each host, on disk before anything else.
func (s *Sandbox) allocate(ctx context.Context, names []string, st suite, base string, strict bool) (plan []hostState, made []string, err error) {
	n, err := s.networkUp(ctx)
	if err != nil {
		return nil, nil, err
	}
	existing, _, err := s.readHosts()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		i := slices.IndexFunc(existing, func(h hostState) bool { return h.Name == name })
		if i >= 0 && existing[i].Ready {
			if strict && existing[i].Suite != st.code {
				return nil, made, fmt.Errorf("cannot bring up %s as %s: it exists and is %s (take it down first)", name, st.code, existing[i].Suite)
			}
			plan = append(plan, existing[i])
			continue
		}
		// What a crash left under this name goes first.
		if err := s.removeHost(ctx, name); err != nil {
			return nil, made, err
		}
		existing = slices.DeleteFunc(existing, func(h hostState) bool { return h.Name == name })
		index, err := freeIndex(existing)
		if err != nil {
			return nil, made, err
		}
		h := hostState{Name: name, Suite: st.code, Base: base, Index: index, Network: n.Network}
		made = append(made, name)
		if err := s.writeHost(h); err != nil {
			return nil, made, err
		}
		existing, plan = append(existing, h), append(plan, h)
	}
	return plan, made, nil
}

// bootNew boots a host for the first time, or one that was switched off.
func (s *Sandbox) bootNew(ctx context.Context, h hostState, mu *sync.Mutex) error {
	if err := s.makeIdentity(ctx, h.Name); err != nil {
		return fmt.Errorf("cannot make host %s: %w", h.Name, err)
	}
	if err := s.powerOn(ctx, h); err != nil {
		return fmt.Errorf("cannot boot host %s: %w", h.Name, err)
	}
	s.say("%s answers at %s", h.Name, h.address())
	if h.Ready {
		return nil
	}
	h.Ready = true
	mu.Lock()
	defer mu.Unlock()
	return s.writeHost(h)
}

// powerOn boots a host that has no processes and waits until it answers.
func (s *Sandbox) powerOn(ctx context.Context, h hostState) error {
	if err := s.cutPower(ctx, h.Name); err != nil {
		return err
	}
	if err := s.furnish(h); err != nil {
		return err
	}
	cgroups, err := s.makeCgroups(h.Name)
	if err != nil {
		return err
	}
	var n networkState
	if err := readJSON(s.networkFile(), &n); err != nil {
		return err
	}
	dir := s.hostDir(h.Name)
	if err := s.writeScripts(h, n, cgroups); err != nil {
		return err
	}
	logPath := filepath.Join(dir, "console.log")
	if err := start(ctx, logPath, "sh", filepath.Join(dir, "host.sh"), filepath.Join(dir, "settings")); err != nil {
		return err
	}
	return s.waitReady(ctx, h, 0)
}

// furnish makes the folders of a host's root and fills a fresh topmost layer.
func (s *Sandbox) furnish(h hostState) error {
	dir := s.hostDir(h.Name)
	for _, name := range []string{"work", "root", "archives", "archives-work"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.archives(h.Suite), 0o755); err != nil {
		return err
	}
	for _, name := range []string{"boot.pid", "watch.pid", "again"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "upper")); err == nil && h.Ready {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "upper"), 0o755); err != nil {
		return err
	}
	return s.personalise(h)
}

// layerPaths are the saved layers of a host's root, topmost first.
func (s *Sandbox) layerPaths(h hostState) []string {
	var paths []string
	for _, label := range h.Layers {
		paths = append(paths, filepath.Join(s.hostDir(h.Name), "layers", label))
	}
	return paths
}

// writeScripts writes the scripts of a host and what they need to know.
func (s *Sandbox) writeScripts(h hostState, n networkState, cgroups []string) error {
	list, err := hierarchies()
	if err != nil {
		return err
	}
	layout := layoutOf(list)
	dir := s.hostDir(h.Name)
	var b strings.Builder
	for _, setting := range [][2]string{
		{"FOLDER", dir},
		{"NAME", h.Name},
		{"MACHINE", s.machine(h.Name)},
		{"BASE", h.Base},
		{"LOWER", strings.Join(append(s.layerPaths(h), h.Base), ":")},
		{"ARCHIVES", s.archives(h.Suite)},
		{"BRIDGE", s.bridge()},
		{"LINK", s.link(h.Index)},
		{"MAC", fmt.Sprintf("02:%s:%s:%s:%s:%02x", s.id[0:2], s.id[2:4], s.id[4:6], s.id[6:8], h.Index)},
		{"MTU", fmt.Sprint(n.MTU)},
		{"ADDRESS", h.address()},
		{"GATEWAY", n.gateway()},
		{"LAYOUT", layout},
		{"CGROUPS", strings.Join(cgroups, " ")},
	} {
		// No value has a quote: Open and Up have checked paths and names.
		fmt.Fprintf(&b, "%s='%s'\n", setting[0], setting[1])
	}
	if err := writeFile(filepath.Join(dir, "settings"), []byte(b.String()), 0o600); err != nil {
		return err
	}
	for _, name := range []string{"host.sh", "boot.sh"} {
		if err := writeFile(filepath.Join(dir, name), script(name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// waitReady waits until a host whose PID 1 is not the old one answers with an
// SSH banner and lets everybody log in.
func (s *Sandbox) waitReady(ctx context.Context, h hostState, old int) error {
	gone := 0
	return poll(ctx, bootLimit, "booting", func() (bool, error) {
		if s.watched(h.Name) || len(s.remains(h.Name)) > 0 {
			gone = 0
		} else if gone++; gone > 10 { // a process cannot be told while it becomes another program
			return false, fmt.Errorf("it has stopped: %s", s.lastWords(h.Name))
		}
		leader := s.leader(h.Name)
		if leader == 0 || leader == old || !hasBanner(ctx, h.address()) {
			return false, nil
		}
		// While this file is there, only root can log in.
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/nologin", leader))
		return os.IsNotExist(err), nil
	})
}

func hasBanner(ctx context.Context, address string) bool {
	dialer := net.Dialer{Timeout: 300 * time.Millisecond}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, "22"))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	banner := make([]byte, 4)
	n, _ := conn.Read(banner)
	return string(banner[:n]) == "SSH-"
}

// lastWords are the end of what a host said on its console. All of it is kept
// where it outlives the host.
func (s *Sandbox) lastWords(name string) string {
	text := readText(filepath.Join(s.hostDir(name), "console.log"))
	var words []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.Contains(line, "dmesg(1)") {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "it said nothing"
	}
	last := words[len(words)-1]
	path := filepath.Join(s.dir, "failed.log")
	if err := writeFile(path, []byte(text), 0o600); err != nil {
		return last
	}
	return fmt.Sprintf("%s (all of it is in %s)", last, path)
}

func joinNames(hosts []hostState) string {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return strings.Join(names, ", ")
}
