package systemd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/host/systemd"
)

func TestStateReadsTheManager(t *testing.T) {
	_, m := newFake(t, 0, map[string]*fakeUnit{
		"ssh.service": {load: "loaded", active: "active", sub: "running", file: "enabled"},
		"x.timer":     {load: "loaded", active: "inactive", sub: "dead", file: "static"},
		"off.service": {load: "masked", active: "inactive", sub: "dead", file: "masked"},
		"a.mount":     {load: "loaded", active: "active", sub: "mounted"},
	})
	for _, c := range []struct {
		unit, enabled, active string
		exists, masked        bool
		pid                   int64
	}{
		{"ssh.service", "enabled", "active", true, false, 42},
		{"x.timer", "static", "inactive", true, false, 0},
		{"off.service", "masked", "inactive", true, true, 42},
		{"a.mount", "stale", "active", true, false, 0},
		{"none.service", "stale", "inactive", false, false, 0},
	} {
		st, err := m.State(context.Background(), c.unit)
		if err != nil || st.UnitFileState != c.enabled || st.ActiveState != c.active || st.Exists() != c.exists || st.Masked() != c.masked || st.MainPID != c.pid {
			t.Errorf("State(%s) = %+v, %v; want %+v", c.unit, st, err, c)
		}
	}
}

func TestManagerThatIsReexecutedIsWaitedFor(t *testing.T) {
	f, m := newFake(t, 0, map[string]*fakeUnit{"ssh.service": {load: "loaded", active: "active"}})
	f.away = 4
	if st, err := m.State(context.Background(), "ssh.service"); err != nil || st.ActiveState != "active" {
		t.Errorf("got %+v, %v; want it active", st, err)
	}
}

func TestAbandonedUnitsRunWithoutAFile(t *testing.T) {
	_, m := newFake(t, 0, map[string]*fakeUnit{
		"ssh.service":  {load: "loaded", active: "active", sub: "running"},
		"gone.service": {load: "not-found", active: "active", sub: "running"},
		"none.service": {load: "not-found", active: "inactive", sub: "dead"},
	})
	got, err := m.Abandoned(context.Background())
	if err != nil || strings.Join(got, " ") != "gone.service" {
		t.Errorf("got %v, error %v; want gone.service", got, err)
	}
}

func TestActionsWaitForTheirOwnJob(t *testing.T) {
	f, m := newFake(t, 0, map[string]*fakeUnit{"ssh.service": {load: "loaded", active: "inactive", onJob: up}})
	ctx := context.Background()
	for _, act := range []func(context.Context, string) error{m.Start, m.Stop, m.Restart, m.Reload, m.ReloadOrRestart} {
		if err := act(ctx, "ssh.service"); err != nil {
			t.Error(err)
		}
	}
	want := "StartUnit ssh.service replace, StopUnit ssh.service replace, RestartUnit ssh.service replace, " +
		"ReloadUnit ssh.service replace, ReloadOrRestartUnit ssh.service replace"
	if got := f.said(); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	if err := m.Act(ctx, "dance", "ssh.service"); err == nil {
		t.Error("an action that does not exist is no error, want one")
	}
	err := m.Start(ctx, "none.service")
	if err == nil || err.Error() != "cannot start none.service: it is so" {
		t.Errorf("got %v, want the manager's words", err)
	}
}

func TestFailuresSayWhy(t *testing.T) {
	for _, c := range []struct{ name, result, want string }{
		{"failed", "", "cannot start x.service: it failed (exit status 3); its last log lines:\n  first line\n  second line"},
		{"timeout", "timeout", "cannot start x.service: it took too long; its last log lines:\n  first line\n  second line"},
		{"dependency", "dependency", "cannot start x.service: a unit that it needs failed; its last log lines:\n  first line\n  second line"},
		{"canceled", "canceled", "cannot start x.service: the job ended as canceled; its last log lines:\n  first line\n  second line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			job := breaks
			if c.result != "" {
				job = func(*fakeUnit, string) string { return c.result }
			}
			_, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {load: "loaded", active: "inactive", onJob: job}})
			var r recorder
			m.Run = r.run
			err := m.Start(context.Background(), "x.service")
			var failure *systemd.Failure
			if !errors.As(err, &failure) || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestFailureWithoutARunnerHasNoLog(t *testing.T) {
	_, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {load: "loaded", active: "inactive", onJob: breaks}})
	err := m.Start(context.Background(), "x.service")
	if want := "cannot start x.service: it failed (exit status 3)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLogOfAnAccountsUnitIsItsOwn(t *testing.T) {
	for uid, want := range map[uint32]string{
		0:    "_SYSTEMD_UNIT=x.service + UNIT=x.service _PID=1 + _PID=99",
		1001: "_SYSTEMD_USER_UNIT=x.service _UID=1001 + USER_UNIT=x.service _UID=1001 + _PID=99",
	} {
		_, m := newFake(t, uid, map[string]*fakeUnit{"x.service": {load: "loaded", active: "inactive", onJob: breaks}})
		var r recorder
		m.Run = r.run
		if err := m.Start(context.Background(), "x.service"); err == nil {
			t.Fatal("a failing unit is no error, want one")
		}
		if len(r.argv) != 2 || r.argv[0] != "journalctl --sync" || !strings.HasSuffix(r.argv[1], want) {
			t.Errorf("account %d: ran %q, want journalctl with %s", uid, r.argv, want)
		}
	}
}

func TestUnmetConditionIsAnError(t *testing.T) {
	f, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {
		load: "loaded", active: "inactive",
		conditions: []condition{{Name: "ConditionHost", Parameter: "a", Result: 1}, {Name: "ConditionPathExists", Negate: true, Parameter: "/x", Result: -1}},
	}})
	f.skipped = true
	err := m.Start(context.Background(), "x.service")
	if want := "cannot start x.service: a condition for its start does not hold (ConditionPathExists=!/x)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestStartLimitOfEarlierTriesIsLifted(t *testing.T) {
	tries := 0
	f, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {load: "loaded", active: "failed", onJob: func(u *fakeUnit, method string) string {
		if tries++; tries == 1 {
			u.active, u.result = "failed", "start-limit-hit"
			return "failed"
		}
		return up(u, method)
	}}})
	if err := m.Start(context.Background(), "x.service"); err != nil {
		t.Error(err)
	}
	if want := "StartUnit x.service replace, ResetFailedUnit x.service, StartUnit x.service replace"; f.said() != want {
		t.Errorf("asked for %s, want %s", f.said(), want)
	}
}

func TestManagerThatWasReexecutedIsReachedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		job  func(*fakeUnit, string) string
		want bool
	}{"comes up": {up, true}, "fails": {breaks, false}} {
		f, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {load: "loaded", active: "inactive", onJob: c.job}})
		f.cutOnJob = true
		if err := m.Start(context.Background(), "x.service"); (err == nil) != c.want {
			t.Errorf("a unit that %s after the connection was cut: %v", name, err)
		}
		if st, err := m.State(context.Background(), "x.service"); err != nil || !st.Exists() {
			t.Errorf("afterwards State = %+v, %v", st, err)
		}
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	hold := make(chan struct{})
	_, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {load: "loaded", active: "inactive", onJob: func(*fakeUnit, string) string {
		<-hold
		return "done"
	}}})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := m.Start(ctx, "x.service")
	close(hold)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestUnitFiles(t *testing.T) {
	f, m := newFake(t, 0, map[string]*fakeUnit{"x.service": {load: "loaded", active: "inactive", file: "disabled"}})
	ctx := context.Background()
	for _, do := range []func(context.Context, string) error{m.Enable, m.Disable, m.Mask, m.Unmask} {
		if err := do(ctx, "x.service"); err != nil {
			t.Error(err)
		}
	}
	want := "EnableUnitFiles, Reload, DisableUnitFiles, Reload, MaskUnitFiles, Reload, UnmaskUnitFiles, UnmaskUnitFiles, Reload"
	if got := f.said(); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	f.installable = false
	if err := m.Enable(ctx, "x.service"); err == nil || !strings.Contains(err.Error(), "no [Install] section") {
		t.Errorf("enabling a unit without [Install] = %v, want an error that names it", err)
	}
}

func TestScriptsInInitDGoThroughSystemctl(t *testing.T) {
	f, m := newFake(t, 0, map[string]*fakeUnit{"old.service": {load: "loaded", active: "inactive", file: "generated", source: "/etc/init.d/old"}})
	ctx := context.Background()
	if err := m.Enable(ctx, "old.service"); err == nil || !strings.Contains(err.Error(), "/etc/init.d") {
		t.Errorf("without a runner got %v, want an error that says why", err)
	}
	var r recorder
	m.Run = r.run
	if err := errors.Join(m.Enable(ctx, "old.service"), m.Disable(ctx, "old.service")); err != nil {
		t.Error(err)
	}
	if got := strings.Join(r.argv, ", "); got != "systemctl enable -- old.service, systemctl disable -- old.service" || f.said() != "" {
		t.Errorf("ran %s and asked for %q, want systemctl and nothing", got, f.said())
	}
}

func TestSysvStateReadsTheLinks(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "etc/rc3.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"S02on", "K01off", "S02online"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for script, want := range map[string]string{"on": "enabled", "off": "disabled", "none": "disabled", "line": "disabled"} {
		if got := systemd.SysvState(root, script); got != want {
			t.Errorf("state of %s is %s, want %s", script, got, want)
		}
	}
}

func TestEndlessLoginIsCutOff(t *testing.T) {
	var wg sync.WaitGroup
	m := systemd.Over(1001, func() (net.Conn, error) {
		ours, theirs := net.Pipe()
		wg.Add(1)
		go func() {
			defer wg.Done()
			sent := 0
			for noise := make([]byte, 4096); sent < 64<<20; sent += len(noise) {
				if _, err := ours.Write(noise); err != nil {
					break
				}
			}
			if sent > 1<<20 {
				t.Errorf("%d bytes were read before the login was done", sent)
			}
		}()
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, _ = io.Copy(io.Discard, ours) // so that the client can write
		}()
		return theirs, nil
	})
	if _, err := m.State(context.Background(), "x.service"); err == nil || !strings.Contains(err.Error(), "too much") {
		t.Errorf("got %v, want an error that says why", err)
	}
	wg.Wait()
}

func TestLingerRefusesPaths(t *testing.T) {
	for _, name := range []string{"", "../x", "a/b", "."} {
		if _, err := systemd.Linger(name); err == nil {
			t.Errorf("Linger(%q) is no error, want one", name)
		}
	}
	if on, err := systemd.Linger("nobody-of-that-name"); err != nil || on {
		t.Errorf("Linger of an unknown account = %v, %v; want false", on, err)
	}
}

// TestWithoutSystemd shows what is said where something else is process 1.
func TestWithoutSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return
	}
	ctx := context.Background()
	_, err1 := systemd.Connect(ctx)
	_, err2 := systemd.ConnectUser(ctx, 1000, 1000)
	for _, err := range []error{err1, err2, systemd.SetLinger(ctx, 1000, true)} {
		if !errors.Is(err, systemd.ErrNotBooted) {
			t.Errorf("got %v, want %v", err, systemd.ErrNotBooted)
		}
	}
}
