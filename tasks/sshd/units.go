package sshd

import (
	"context"
	"fmt"
	"path"
	"regexp"
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
	tied      bool   // stopping the socket stops the service
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
	if u.socket, err = r.Unit(ctx, task.UnitRef{Name: socketUnit}); err != nil || !active(u.socket) {
		return u, err
	}
	if u.tied, err = tied(ctx, r, u.name); err != nil {
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

var (
	unitDirs = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
	tieRule  = regexp.MustCompile(`(?m)^(Requires|BindsTo|PartOf)=.*\bssh\.socket\b`)
)

// tied reports whether the service needs the socket, by a link that enabling the
// socket made or by its own file.
func tied(ctx context.Context, r task.Reader, service string) (bool, error) {
	link, err := r.Stat(ctx, path.Join(unitDir, service+".requires", socketUnit))
	if err != nil || link.Exists() {
		return link.Exists(), err
	}
	for _, dir := range unitDirs {
		name := path.Join(dir, service)
		info, err := r.Stat(ctx, name)
		if err != nil {
			return false, err
		}
		if info.Kind == task.KindFile {
			data, err := r.ReadFile(ctx, name, maxConf)
			return tieRule.Match(data), err
		}
	}
	return false, nil
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

// loose reports whether the addresses of a socket move whose service is not tied to
// it. Such a socket does not start while its service runs, and every login starts
// the service.
func loose(s State) bool {
	return s.Unit == socketUnit && s.look.moves && !s.look.units.tied
}

// prepare closes a loose socket before its files change. The service is stopped,
// started and stopped again so that the way back has a step that stops it: taken
// back in reverse, that step comes after the files and before the socket.
func prepare(ctx context.Context, w task.Writer, s State) error {
	if !loose(s) {
		return nil
	}
	u := s.look.units
	type step struct {
		name   string
		action task.UnitAction
	}
	steps := []step{{socketUnit, task.UnitStop}, {u.name, task.UnitStart}, {u.name, task.UnitStop}}
	if active(u.service) {
		steps = append([]step{{u.name, task.UnitStop}}, steps...)
	}
	for _, st := range steps {
		if err := w.SetUnit(ctx, task.UnitRef{Name: st.name}, task.UnitChange{Action: st.action}); err != nil {
			return err
		}
	}
	return nil
}

// activate makes the server use its files. A restart ends no connection: each has a
// process of its own.
func activate(ctx context.Context, w task.Writer, s State) error {
	u := s.look.units
	switch {
	case s.Unit == "":
		return nil // it reads them when it starts
	case s.Unit == socketUnit && s.look.moves:
		if err := w.ReloadUnits(ctx, ""); err != nil {
			return err
		}
		action := task.UnitRestart
		if loose(s) {
			action = task.UnitStart
		}
		return w.SetUnit(ctx, task.UnitRef{Name: socketUnit}, task.UnitChange{Action: action})
	case active(u.service):
		action := task.UnitReload
		if s.look.moves {
			action = task.UnitRestart // the job ends when it listens; a reload ends before
		}
		return w.SetUnit(ctx, task.UnitRef{Name: u.name}, task.UnitChange{Action: action})
	}
	return nil
}

// again activates the files that were put back after a failure.
func again(ctx context.Context, w task.Writer, s State) error {
	if err := activate(ctx, w, s); err != nil {
		return fmt.Errorf("cannot make the SSH server read its old files: %w", err)
	}
	return nil
}
