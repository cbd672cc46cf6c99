package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// jobLimit ends the waiting for a job where neither the caller nor the unit sets
// a limit; the job itself goes on.
const jobLimit = 10 * time.Minute

// Start starts a unit and waits until it is up.
func (m *Manager) Start(ctx context.Context, unit string) error { return m.Act(ctx, "start", unit) }

// Stop stops a unit and waits until it is down.
func (m *Manager) Stop(ctx context.Context, unit string) error { return m.Act(ctx, "stop", unit) }

// Restart stops and starts a unit; one that is down is started.
func (m *Manager) Restart(ctx context.Context, unit string) error { return m.Act(ctx, "restart", unit) }

// Reload makes a running unit read its own configuration again.
func (m *Manager) Reload(ctx context.Context, unit string) error { return m.Act(ctx, "reload", unit) }

// ReloadOrRestart reloads a unit that can, else restarts it.
func (m *Manager) ReloadOrRestart(ctx context.Context, unit string) error {
	return m.Act(ctx, "reload-or-restart", unit)
}

var methods = map[string]string{
	"start": "StartUnit", "stop": "StopUnit", "restart": "RestartUnit",
	"reload": "ReloadUnit", "reload-or-restart": "ReloadOrRestartUnit",
}

// Act does one of start, stop, restart, reload and reload-or-restart and waits
// for the end. A service that breaks in its first moments is a *Failure too.
func (m *Manager) Act(ctx context.Context, action, unit string) error {
	method, ok := methods[action]
	if !ok {
		return fmt.Errorf("internal error: no action %q on units", action)
	}
	ctx, cancel := context.WithTimeout(ctx, jobLimit)
	defer cancel()
	since := time.Now()
	result, err := m.job(ctx, method, unit)
	if err == nil && result == "failed" && m.hitStartLimit(ctx, unit) {
		// Somebody asked for this start; earlier tries do not count against it.
		if err = m.ResetFailed(ctx, unit); err == nil {
			result, err = m.job(ctx, method, unit)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", action, unit, err)
	}
	if result == conditionUnmet {
		return m.unmet(ctx, action, unit)
	}
	if result != "done" && result != "skipped" {
		return m.failure(ctx, action, unit, result, since)
	}
	if action == "stop" {
		return nil
	}
	return m.settle(ctx, action, unit, since)
}

// ResetFailed makes the manager forget that a unit failed.
func (m *Manager) ResetFailed(ctx context.Context, unit string) error {
	l, err := m.connected(ctx)
	if err == nil {
		err = l.ask(ctx, managerPath, managerInterface+".ResetFailedUnit", unit).Err
	}
	if err != nil {
		return fmt.Errorf("cannot reset the failure of %s: %w", unit, err)
	}
	return nil
}

func (m *Manager) hitStartLimit(ctx context.Context, unit string) bool {
	st, err := m.look(ctx, unit, true)
	return err == nil && st.result == "start-limit-hit"
}

// job queues a job and waits for its result. The channel is registered before
// the job exists, so that its end cannot be missed.
func (m *Manager) job(ctx context.Context, method, unit string) (string, error) {
	l, err := m.connected(ctx)
	if err != nil {
		return "", err
	}
	signals := make(chan *dbus.Signal, 64)
	l.Signal(signals)
	defer l.RemoveSignal(signals)
	if !l.private {
		if err := l.ask(ctx, managerPath, managerInterface+".Subscribe").Err; err != nil {
			return "", err
		}
	}
	var object, job dbus.ObjectPath
	if err := l.ask(ctx, managerPath, managerInterface+".LoadUnit", unit).Store(&object); err != nil {
		return "", err
	}
	if err := l.ask(ctx, managerPath, managerInterface+"."+method, unit, "replace").Store(&job); err != nil {
		return "", err
	}
	skipped := false
	for {
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the job still runs, but the time for it is up: %w", ctx.Err())
		case <-l.Context().Done():
			return m.poll(ctx, unit)
		case s, open := <-signals:
			if !open {
				return m.poll(ctx, unit)
			}
			skipped = skipped || sawUnmet(s, object)
			if result, ok := ended(s, job); ok {
				if result == "done" && skipped {
					result = conditionUnmet
				}
				return result, nil
			}
		}
	}
}

// ended reads JobRemoved(id, job, unit, result).
func ended(s *dbus.Signal, job dbus.ObjectPath) (string, bool) {
	if s.Name != managerInterface+".JobRemoved" || len(s.Body) != 4 || s.Body[1] != job {
		return "", false
	}
	result, ok := s.Body[3].(string)
	return result, ok
}

// conditionUnmet stands for the result "done" of a start that was not even tried.
const conditionUnmet = "condition"

// sawUnmet reads PropertiesChanged(interface, changed, invalidated) of the unit. The
// manager may forget an idle unit, and what it knew of it, before it is asked.
func sawUnmet(s *dbus.Signal, object dbus.ObjectPath) bool {
	if s.Path != object || s.Name != "org.freedesktop.DBus.Properties.PropertiesChanged" || len(s.Body) != 3 {
		return false
	}
	props, _ := s.Body[1].(map[string]dbus.Variant)
	if s.Body[0] != unitInterface || text(props, "ActiveState") != "inactive" {
		return false
	}
	met, known := props["ConditionResult"].Value().(bool)
	at, _ := props["ConditionTimestampMonotonic"].Value().(uint64)
	return known && !met && at > 0
}

func (m *Manager) unmet(ctx context.Context, action, unit string) error {
	st, err := m.State(ctx, unit)
	if err != nil {
		return err
	}
	if st.ActiveState != "inactive" {
		return nil
	}
	return fmt.Errorf("cannot %s %s: a condition for its start does not hold (%s)", action, unit, st.condition)
}

// poll waits for a unit's job after the connection was cut. The result is lost
// by then; what became of the unit stands for it.
func (m *Manager) poll(ctx context.Context, unit string) (string, error) {
	for {
		st, err := m.State(ctx, unit)
		switch {
		case err != nil && ctx.Err() != nil:
			return "", err
		case err == nil && st.job == 0 && st.ActiveState == "failed":
			return "failed", nil
		case err == nil && st.job == 0:
			return "done", nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
}

const (
	settleTime = 300 * time.Millisecond
	settlePoll = 30 * time.Millisecond
)

// settle watches a service that systemd calls started as soon as it was forked:
// a mistake in its configuration shows a moment later.
func (m *Manager) settle(ctx context.Context, action, unit string, since time.Time) error {
	for start := time.Now(); ; {
		st, err := m.look(ctx, unit, true)
		if err != nil {
			return err
		}
		if st.ActiveState == "failed" || st.SubState == "auto-restart" {
			return m.failure(ctx, action, unit, "failed", since)
		}
		forked := st.kind == "simple" || st.kind == "exec" || st.kind == "idle"
		if !forked || time.Since(start) > settleTime {
			return nil
		}
		if err := sleep(ctx, settlePoll); err != nil {
			return fmt.Errorf("cannot %s %s: %w", action, unit, err)
		}
	}
}

// Failure is a unit that did not do what it was told.
type Failure struct {
	Action string
	Unit   string
	Result string   // of the job: failed, timeout, dependency, canceled, …
	Detail string   // what the manager says about the unit, may be empty
	Log    []string // the last lines of its journal, oldest first, may be empty
}

func (e *Failure) Error() string {
	text := fmt.Sprintf("cannot %s %s: ", e.Action, e.Unit)
	switch e.Result {
	case "failed":
		text += "it failed"
	case "timeout":
		text += "it took too long"
	case "dependency":
		text += "a unit that it needs failed"
	default:
		text += "the job ended as " + e.Result
	}
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	if len(e.Log) > 0 {
		text += "; its last log lines:\n  " + strings.Join(e.Log, "\n  ")
	}
	return text
}

func (m *Manager) failure(ctx context.Context, action, unit, result string, since time.Time) error {
	f := &Failure{Action: action, Unit: unit, Result: result}
	st, err := m.look(ctx, unit, true)
	if err == nil {
		f.Detail = st.detail()
	}
	f.Log = m.lastLines(ctx, unit, st.execPID, since)
	return f
}

func (s State) detail() string {
	switch {
	case s.LoadState == "error" || s.LoadState == "bad-setting":
		return "its unit file cannot be used"
	case s.result == "exit-code":
		return fmt.Sprintf("exit status %d", s.exitCode)
	case s.result == "success" || s.result == "":
		return ""
	}
	return strings.ReplaceAll(s.result, "-", " ")
}

const (
	logLines  = 10
	lineLimit = 400
)

// lastLines asks journalctl: the journal's files are its own affair. Nothing is
// worth failing for here, since a failure is being told already.
//
// What a process wrote that was gone before journald looked at it carries no unit
// but still its number; pid is that of the last main process, or 0.
func (m *Manager) lastLines(ctx context.Context, unit string, pid uint32, since time.Time) []string {
	if m.Run == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	env := []string{"LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	if _, _, err := m.Run(ctx, []string{"journalctl", "--sync"}, env, nil); err != nil {
		return nil
	}
	argv := []string{"journalctl", "-q", "--no-pager", "-o", "cat", "-n", fmt.Sprint(logLines),
		"--since", fmt.Sprintf("@%d", since.Unix())}
	if m.user {
		id := fmt.Sprintf("_UID=%d", m.uid)
		argv = append(argv, "_SYSTEMD_USER_UNIT="+unit, id, "+", "USER_UNIT="+unit, id)
	} else {
		argv = append(argv, "_SYSTEMD_UNIT="+unit, "+", "UNIT="+unit, "_PID=1")
	}
	if pid > 0 {
		argv = append(argv, "+", fmt.Sprintf("_PID=%d", pid))
	}
	status, out, err := m.Run(ctx, argv, env, nil)
	if err != nil || status != 0 {
		return nil
	}
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if line = strings.TrimSpace(line); len(line) > lineLimit {
			line = line[:lineLimit] + "…"
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// DaemonReload makes the manager read all unit files again.
func (m *Manager) DaemonReload(ctx context.Context) error {
	l, err := m.connected(ctx)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
		defer cancel()
		err = l.Object(busName, managerPath).CallWithContext(ctx, managerInterface+".Reload", 0).Err
		var reply dbus.Error
		if errors.As(err, &reply) && reply.Name == "org.freedesktop.DBus.Error.NoReply" {
			err = nil // older managers drop the reply when they reload
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make the service manager read its unit files again: %w", err)
	}
	return nil
}
