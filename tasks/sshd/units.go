package sshd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

const (
	socketUnit = "ssh.socket"
	unitDir    = "/etc/systemd/system/"
)

// units are the units that can hold the port. Debian and its kin call the service
// ssh, the others sshd.
type units struct {
	socket    task.Unit
	service   task.Unit
	name      string // of the service
	generator bool   // makes the socket's addresses from sshd_config
}

var generators = []string{"/usr/lib/systemd/system-generators/sshd-socket-generator", "/lib/systemd/system-generators/sshd-socket-generator"}

func ownersOf(ctx context.Context, r task.Reader) (units, error) {
	u := units{name: "ssh.service"}
	if r.Facts().Init != "systemd" {
		return u, nil
	}
	var err error
	if u.service, err = r.Unit(ctx, task.UnitRef{Name: u.name}); err != nil {
		return u, err
	}
	if !u.service.Exists {
		u.name = "sshd.service"
		if u.service, err = r.Unit(ctx, task.UnitRef{Name: u.name}); err != nil {
			return u, err
		}
	}
	if u.socket, err = r.Unit(ctx, task.UnitRef{Name: socketUnit}); err != nil || !u.socket.Exists {
		return u, err
	}
	masked, err := r.Stat(ctx, "/etc/systemd/system-generators/sshd-socket-generator")
	if err != nil || masked.Exists() {
		return u, err
	}
	for _, g := range generators {
		info, err := r.Stat(ctx, g)
		if err != nil {
			return u, err
		}
		u.generator = u.generator || info.Exists()
	}
	return u, nil
}

// owner names the unit that holds the port, or "" when the server does not run.
func (u units) owner() string {
	switch {
	case active(u.socket):
		return socketUnit
	case active(u.service):
		return u.name
	}
	return ""
}

func active(u task.Unit) bool {
	return slices.Contains([]string{"active", "activating", "reloading", "refreshing"}, u.Active)
}

// override is the file that moves a socket whose addresses no generator makes.
func override(p Params) string { return path.Join(unitDir, socketUnit+".d", p.Dropin+".conf") }

// listenOverride replaces the addresses of a socket. Without ipv6-only the second
// address would collide with the first.
func listenOverride(port int64, six bool) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s[Socket]\nListenStream=\nListenStream=0.0.0.0:%d\n", mark, port)
	if six {
		fmt.Fprintf(&b, "ListenStream=[::]:%d\nBindIPv6Only=ipv6-only\n", port)
	}
	return []byte(b.String())
}

// activate makes the server use its files. A restart ends no connection: each has a
// process of its own.
func activate(ctx context.Context, w task.Writer, s State) error {
	u := s.look.units
	switch {
	case s.Unit == "":
		return nil // it reads them when it starts
	case s.Unit == socketUnit && s.look.moves:
		return restartSocket(ctx, w, u)
	case active(u.service):
		action := task.UnitReload
		if s.look.moves {
			action = task.UnitRestart // the job ends when it listens; a reload ends before
		}
		return w.SetUnit(ctx, task.UnitRef{Name: u.name}, task.UnitChange{Action: action})
	}
	return nil
}

// restartSocket opens the new addresses. Where the service is not tied to the socket
// it goes on with the old ones, or keeps the socket from starting: then it must go
// first, and the next connection starts it again.
func restartSocket(ctx context.Context, w task.Writer, u units) error {
	if err := w.ReloadUnits(ctx, ""); err != nil {
		return err
	}
	restart := func() error {
		return w.SetUnit(ctx, task.UnitRef{Name: socketUnit}, task.UnitChange{Action: task.UnitRestart})
	}
	err := restart()
	service := task.UnitRef{Name: u.name}
	now, lerr := w.Unit(ctx, service)
	if lerr != nil || !active(now) || err == nil && now.MainPID != u.service.MainPID {
		return errors.Join(err, lerr)
	}
	if serr := w.SetUnit(ctx, service, task.UnitChange{Action: task.UnitStop}); serr != nil {
		return errors.Join(err, serr)
	}
	return restart()
}

// again activates the files that were put back after a failure.
func again(ctx context.Context, w task.Writer, s State) error {
	if err := activate(ctx, w, s); err != nil {
		return fmt.Errorf("cannot make the SSH server read its old files: %w", err)
	}
	return nil
}
