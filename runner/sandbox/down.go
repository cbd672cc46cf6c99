package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Down removes the named hosts, or all when none is named, in whatever state they
// are, with all they have on this machine. The bases, the fetched packages and
// the key stay. It may be called again and again.
func (s *Sandbox) Down(ctx context.Context, names ...string) error {
	for _, name := range names {
		if !plainName.MatchString(name) {
			return fmt.Errorf("cannot take down %q: want a name of small letters, digits and dashes", name)
		}
	}
	unlock, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if len(names) == 0 {
		if names, err = s.traces(); err != nil {
			return err
		}
	}
	return s.down(ctx, names)
}

// traces are the names of all hosts of which something is left.
func (s *Sandbox) traces() ([]string, error) {
	hosts, broken, err := s.readHosts()
	if err != nil {
		return nil, err
	}
	names := append(broken, s.cgroupNames()...)
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	for _, pid := range allProcesses() {
		if name := s.ownerOf(pid); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// down removes hosts, and the network when none is left. It goes on after an
// error, so that as little as possible stays.
func (s *Sandbox) down(ctx context.Context, names []string) error {
	var errs []error
	for _, name := range names {
		if err := s.removeHost(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("cannot take down %s: %w", name, err))
			continue
		}
		s.say("%s is gone", name)
	}
	left, err := s.traces()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if len(left) == 0 {
		errs = append(errs, s.networkDown(ctx), s.removeSharedCgroups(), os.RemoveAll(s.hostsDir()))
	}
	_, err = s.Inventory()
	return errors.Join(append(errs, err)...)
}

// removeHost removes all there is of a host, its state last.
func (s *Sandbox) removeHost(ctx context.Context, name string) error {
	h, stateErr := s.readHost(name)
	if err := s.cutPower(ctx, name); err != nil {
		return err
	}
	if stateErr == nil {
		if err := s.plug(ctx, h); err != nil {
			return err
		}
		if err := deleteLink(ctx, s.link(h.Index)); err != nil {
			return err
		}
		if err := s.keepPackages(h); err != nil {
			return err
		}
		s.giveKeys(name)
	}
	for _, dir := range s.hostCgroups(name) {
		if err := removeCgroup(dir); err != nil {
			return err
		}
	}
	dir := s.hostDir(name)
	if err := unmountBelow(dir); err != nil {
		return err
	}
	// The state goes with the last of the rest, so that a Down that is killed
	// here can be done again.
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.Name() != "host.json" {
			if err := removeTree(ctx, filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// unmountBelow takes away what somebody has mounted in a folder. Our own mounts
// are in the namespaces of hosts and gone with them.
func unmountBelow(dir string) error {
	var points []string
	for line := range strings.Lines(readText("/proc/self/mountinfo")) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4]+"/", dir+"/") {
			points = append(points, fields[4])
		}
	}
	slices.Reverse(points)
	for _, point := range points {
		if err := syscall.Unmount(point, syscall.MNT_DETACH|0x8 /* UMOUNT_NOFOLLOW */); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", point, err)
		}
	}
	return nil
}

// keepPackages moves what a host has fetched to where later hosts find it.
func (s *Sandbox) keepPackages(h hostState) error {
	paths, err := filepath.Glob(filepath.Join(s.hostDir(h.Name), "archives", "*.deb"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		// Removed packages stand as devices in the layer.
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		target := filepath.Join(s.archives(h.Suite), filepath.Base(path))
		if _, err := os.Lstat(target); err == nil {
			continue
		}
		if err := moveFile(path, target); err != nil {
			return err
		}
	}
	return nil
}

// moveFile moves a file, also to another disk; the target appears whole.
func moveFile(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	temp, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = io.Copy(temp, in)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), to)
}

// List returns the hosts, by number, and then those of which only traces are left.
func (s *Sandbox) List(_ context.Context) ([]Host, error) {
	hosts, _, err := s.readHosts()
	if err != nil {
		return nil, err
	}
	var list []Host
	for _, h := range hosts {
		list = append(list, s.describe(h))
	}
	traces, err := s.traces()
	if err != nil {
		return nil, err
	}
	for _, name := range traces {
		if !slices.ContainsFunc(list, func(h Host) bool { return h.Name == name }) {
			list = append(list, Host{Name: name, State: Broken})
		}
	}
	return list, nil
}

func (s *Sandbox) describe(h hostState) Host {
	host := Host{Name: h.Name, Address: h.address(), Suite: h.Suite, State: Stopped}
	host.Leader = s.leader(h.Name)
	switch {
	case !h.Ready:
		host.State = Broken
	case host.Leader != 0:
		host.State = Running
	case s.watched(h.Name):
		host.State = Running // between two boots
	}
	return host
}
