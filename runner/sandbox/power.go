package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Signals that systemd as PID 1 takes for orders; the C library counts its
// real-time signals from 34 on.
const (
	sigPowerOff = syscall.Signal(34 + 4)
	sigReboot   = syscall.Signal(34 + 5)
)

// Reboot asks a host to reboot in good order and returns when it answers again.
// A host that does not run is booted.
func (s *Sandbox) Reboot(ctx context.Context, name string) error {
	return s.again(ctx, name, func(leader int) error { return syscall.Kill(leader, sigReboot) })
}

// PowerCut takes the power from a host without warning, gives it back and returns
// when the host answers again.
func (s *Sandbox) PowerCut(ctx context.Context, name string) error {
	return s.again(ctx, name, func(leader int) error {
		if err := os.WriteFile(filepath.Join(s.hostDir(name), "again"), nil, 0o600); err != nil {
			return err
		}
		return syscall.Kill(leader, syscall.SIGKILL)
	})
}

func (s *Sandbox) again(ctx context.Context, name string, stop func(leader int) error) error {
	unlock, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	h, err := s.find(name)
	if err != nil {
		return err
	}
	leader := s.leader(name)
	if leader == 0 {
		if _, err := s.networkUp(ctx); err != nil {
			return err
		}
		return wrapHost("boot", name, s.powerOn(ctx, h))
	}
	if err := stop(leader); err != nil {
		return wrapHost("stop", name, err)
	}
	return wrapHost("reboot", name, s.waitReady(ctx, h, leader))
}

func wrapHost(what, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s host %s: %w", what, name, err)
}

// Unplug pulls the cable of a host: packets vanish in both directions, and
// nothing is told about it, until Plug. It outlasts reboots of the host.
func (s *Sandbox) Unplug(ctx context.Context, name string) error {
	h, err := s.find(name)
	if err != nil {
		return err
	}
	_, err = run(ctx, "", "nft", "add", "element", "bridge", s.table(), "unplugged", "{ "+s.link(h.Index)+" }")
	return wrapHost("unplug", name, err)
}

// Plug puts the cable back. A host whose cable is in is left alone.
func (s *Sandbox) Plug(ctx context.Context, name string) error {
	h, err := s.find(name)
	if err != nil {
		return err
	}
	return wrapHost("plug in", name, s.plug(ctx, h))
}

func (s *Sandbox) plug(ctx context.Context, h hostState) error {
	element := "element bridge " + s.table() + " unplugged { " + s.link(h.Index) + " }\n"
	// Adding it first makes the deletion succeed either way. Without a table, no
	// cable is pulled.
	if _, err := run(ctx, "", "nft", "list", "table", "bridge", s.table()); err != nil {
		return nil
	}
	_, err := run(ctx, "add "+element+"delete "+element, "nft", "-f", "-")
	return err
}

// Reset gives hosts a fresh root, as at their first boot, and boots them. They
// keep names, addresses and host keys; their snapshots are gone.
func (s *Sandbox) Reset(ctx context.Context, names ...string) error {
	return s.rebuild(ctx, names, func(h *hostState) error {
		h.Layers = nil
		return nil
	})
}

// Snapshot saves the disk of a host under a label. The host is switched off in
// good order for it and booted again. Snapshots cost what is written after them.
func (s *Sandbox) Snapshot(ctx context.Context, name, label string) error {
	if !plainName.MatchString(label) {
		return fmt.Errorf("cannot save a snapshot %q: want a label of small letters, digits and dashes", label)
	}
	unlock, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	h, err := s.find(name)
	if err != nil {
		return err
	}
	dir := s.hostDir(name)
	saved := filepath.Join(dir, "layers", label)
	if _, err := os.Stat(saved); err == nil {
		return fmt.Errorf("cannot save snapshot %q of %s: there is one", label, name)
	}
	if err := s.switchOff(ctx, name); err != nil {
		return wrapHost("switch off", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(saved), 0o755); err != nil {
		return err
	}
	h.Layers = slices.Insert(slices.Clone(h.Layers), 0, label)
	// Its list stands beside a layer before the layer does, and the host's state
	// names it only after that.
	if err := writeJSON(saved+".json", h.Layers); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "upper"), saved); err != nil {
		return err
	}
	if err := s.writeHost(h); err != nil {
		return err
	}
	if err := (layer{upper: filepath.Join(dir, "upper"), lower: []string{saved}}).dir("/"); err != nil {
		return err
	}
	return wrapHost("boot", name, s.powerOn(ctx, h))
}

// Restore takes a host back to a snapshot and boots it.
func (s *Sandbox) Restore(ctx context.Context, name, label string) error {
	return s.rebuild(ctx, []string{name}, func(h *hostState) error {
		var layers []string
		err := readJSON(filepath.Join(s.hostDir(name), "layers", label+".json"), &layers)
		if errors.Is(err, fs.ErrNotExist) || !plainName.MatchString(label) {
			return fmt.Errorf("there is no snapshot %q", label)
		}
		h.Layers = layers
		return err
	})
}

// rebuild drops the topmost layers of hosts, lets change say which layers come
// below, and boots them.
func (s *Sandbox) rebuild(ctx context.Context, names []string, change func(*hostState) error) error {
	unlock, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var hosts []hostState
	if len(names) == 0 {
		if hosts, _, err = s.readHosts(); err != nil {
			return err
		}
	}
	for _, name := range names {
		h, err := s.find(name)
		if err != nil {
			return err
		}
		hosts = append(hosts, h)
	}
	if len(hosts) == 0 {
		return nil
	}
	if _, err := s.networkUp(ctx); err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, len(hosts))
	for i, h := range hosts {
		group.Go(func() { errs[i] = wrapHost("reset", h.Name, s.rebuildOne(ctx, h, change)) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *Sandbox) rebuildOne(ctx context.Context, h hostState, change func(*hostState) error) error {
	before := h
	if err := change(&h); err != nil {
		return err
	}
	if err := s.cutPower(ctx, h.Name); err != nil {
		return err
	}
	if err := errors.Join(s.plug(ctx, h), s.keepPackages(h)); err != nil {
		return err
	}
	dir := s.hostDir(h.Name)
	old := []string{"upper", "work", "archives", "archives-work"}
	if len(h.Layers) == 0 {
		old = append(old, "layers")
	}
	for _, name := range old {
		if err := removeTree(ctx, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if !slices.Equal(before.Layers, h.Layers) {
		if err := s.writeHost(h); err != nil {
			return err
		}
	}
	if err := s.makeIdentity(ctx, h.Name); err != nil {
		return err
	}
	if err := s.powerOn(ctx, h); err != nil {
		return err
	}
	s.say("%s answers at %s again", h.Name, h.address())
	return nil
}

// switchOff asks a host to power off, and takes the power when it does not.
func (s *Sandbox) switchOff(ctx context.Context, name string) error {
	leader := s.leader(name)
	if leader != 0 {
		if err := syscall.Kill(leader, sigPowerOff); err != nil {
			return err
		}
		_ = poll(ctx, 30*time.Second, "switching off", func() (bool, error) { return !s.watched(name), nil })
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.cutPower(ctx, name)
}
