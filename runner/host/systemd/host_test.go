//go:build hosts

package systemd_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/host/systemd"
	"holdfast/runner/sandbox/sandboxtest"
)

// TestOnHost needs systemd as process 1.
func TestOnHost(t *testing.T) { sandboxtest.Inside(t, "systemd", trials) }

func trials(t *testing.T) {
	shell(t, units)
	m, err := systemd.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m.Run = runner
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, trial := range []struct {
		name string
		run  func(*testing.T, *systemd.Manager)
	}{
		{"start, reload, restart, stop", tryActions},
		{"enable, disable, mask, unmask", tryFiles},
		{"changed unit files", tryDaemonReload},
		{"a unit fails", tryFailure},
		{"a start condition does not hold", tryCondition},
		{"the start limit is hit", tryStartLimit},
		{"what is not there", tryAbsent},
		{"a script in init.d", trySysv},
		{"the manager is re-executed", tryReexec},
		{"an account's units", tryUser},
		{"looking starts no process", tryNoProcess},
	} {
		t.Run(trial.name, func(t *testing.T) { trial.run(t, m) })
	}
}

const units = `
cd /etc/systemd/system
unit() { cat >"$1"; }
unit hf-ok.service <<-'E'
	[Service]
	ExecStart=/bin/sleep infinity
	ExecReload=/bin/touch /run/hf-reloaded
	[Install]
	WantedBy=multi-user.target
E
unit hf-static.service <<-'E'
	[Service]
	ExecStart=/bin/sleep infinity
E
unit hf-early.service <<-'E'
	[Service]
	ExecStart=/bin/sh -c 'echo the moon is in the wrong house >&2; exit 3'
E
unit hf-once.service <<-'E'
	[Service]
	Type=oneshot
	ExecStart=/bin/sh -c 'echo no such tide; exit 4'
E
unit hf-loop.service <<-'E'
	[Unit]
	StartLimitIntervalSec=0
	[Service]
	ExecStart=/bin/sh -c 'sleep 0.1; exit 5'
	Restart=always
	RestartSec=30
E
unit hf-limit.service <<-'E'
	[Unit]
	StartLimitIntervalSec=600
	StartLimitBurst=1
	[Service]
	ExecStart=/bin/sleep infinity
E
unit hf-never.service <<-'E'
	[Unit]
	ConditionPathExists=!/etc/passwd
	[Service]
	ExecStart=/bin/sleep infinity
E
unit hf-bad.service <<-'E'
	[Service]
	Type=nonsense
E
cat >/etc/init.d/hf-old <<'E'
#!/bin/sh
### BEGIN INIT INFO
# Provides: hf-old
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: trial
### END INIT INFO
exit 0
E
chmod 755 /etc/init.d/hf-old
systemctl daemon-reload
`

func runner(ctx context.Context, argv, env []string, _ func(string)) (status int, out string, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return cmd.ProcessState.ExitCode(), string(text), err
}

func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func do(t *testing.T, f func(context.Context, string) error, unit string) {
	t.Helper()
	if err := f(context.Background(), unit); err != nil {
		t.Error(err)
	}
}

func state(t *testing.T, m *systemd.Manager, unit string) systemd.State {
	t.Helper()
	st, err := m.State(context.Background(), unit)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func wantActive(t *testing.T, m *systemd.Manager, unit, want string) systemd.State {
	t.Helper()
	st := state(t, m, unit)
	if st.ActiveState != want {
		t.Errorf("%s is %s (%s), want %s", unit, st.ActiveState, st.SubState, want)
	}
	return st
}

func tryActions(t *testing.T, m *systemd.Manager) {
	const unit = "hf-ok.service"
	wantActive(t, m, unit, "inactive")
	do(t, m.Start, unit)
	first := wantActive(t, m, unit, "active")
	if pid := shell(t, "systemctl show -P MainPID hf-ok"); first.SubState != "running" || strconv.FormatInt(first.MainPID, 10) != pid {
		t.Errorf("got %+v, want it running as process %s", first, pid)
	}
	do(t, m.Start, unit)
	do(t, m.Reload, unit)
	if _, err := os.Stat("/run/hf-reloaded"); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	do(t, m.ReloadOrRestart, unit)
	if st := state(t, m, unit); st.MainPID != first.MainPID {
		t.Errorf("reload-or-restart of a unit that can reload changed its process from %d to %d", first.MainPID, st.MainPID)
	}
	do(t, m.Restart, unit)
	if st := wantActive(t, m, unit, "active"); st.MainPID == first.MainPID {
		t.Errorf("a restart kept process %d", st.MainPID)
	}
	do(t, m.Stop, unit)
	if st := wantActive(t, m, unit, "inactive"); st.MainPID != 0 {
		t.Errorf("after a stop the main process is %d, want none", st.MainPID)
	}
	do(t, m.Stop, unit)
	if err := m.Reload(context.Background(), unit); err == nil {
		t.Error("reloading a unit that is down is no error, want one")
	}
}

func tryFiles(t *testing.T, m *systemd.Manager) {
	const unit = "hf-ok.service"
	want := func(file string) {
		t.Helper()
		st := state(t, m, unit)
		said, _ := exec.Command("systemctl", "is-enabled", unit).Output()
		if st.UnitFileState != file || strings.TrimSpace(string(said)) != file {
			t.Errorf("got %q, systemctl says %q, want %q", st.UnitFileState, said, file)
		}
	}
	want("disabled")
	do(t, m.Enable, unit)
	want("enabled")
	do(t, m.Enable, unit)
	do(t, m.Disable, unit)
	want("disabled")
	do(t, m.Disable, unit)
	err := m.Mask(context.Background(), unit)
	if err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("masking a unit whose file is in /etc = %v, want that the file is in the way", err)
	}
	st := state(t, m, "cron.service")
	if !st.Exists() || st.UnitFileState != "enabled" {
		t.Fatalf("cron.service is %+v, want it enabled", st)
	}
	do(t, m.Mask, "cron.service")
	if st := state(t, m, "cron.service"); !st.Masked() || !st.Exists() || st.UnitFileState != "masked" {
		t.Errorf("a masked unit is %+v", st)
	}
	do(t, m.Stop, "cron.service")
	if err := m.Start(context.Background(), "cron.service"); err == nil || !strings.Contains(err.Error(), "masked") {
		t.Errorf("starting a masked unit = %v, want an error that says so", err)
	}
	do(t, m.Unmask, "cron.service")
	if st := state(t, m, "cron.service"); st.Masked() || st.UnitFileState != "enabled" {
		t.Errorf("after unmasking it is %+v, want enabled", st)
	}
	do(t, m.Start, "cron.service")
	err = m.Enable(context.Background(), "hf-static.service")
	if st := state(t, m, "hf-static.service"); err == nil || !strings.Contains(err.Error(), "[Install]") || st.UnitFileState != "static" {
		t.Errorf("enabling a static unit = %v, it is %q; want an error that names [Install]", err, st.UnitFileState)
	}
	// An alias of another unit.
	if st := state(t, m, "sshd.service"); st.Exists() && st.UnitFileState != "alias" {
		t.Errorf("sshd.service is %q, want alias", st.UnitFileState)
	}
}

func tryDaemonReload(t *testing.T, m *systemd.Manager) {
	do(t, m.Start, "hf-ok.service")
	if st := state(t, m, "hf-ok.service"); st.NeedReload {
		t.Errorf("before its files changed NeedReload is true: %+v", st)
	}
	shell(t, "mkdir -p /etc/systemd/system/hf-ok.service.d; printf '[Service]\\nNice=3\\n' >/etc/systemd/system/hf-ok.service.d/x.conf")
	if st := state(t, m, "hf-ok.service"); !st.NeedReload {
		t.Errorf("after its files changed NeedReload is false: %+v", st)
	}
	if err := m.DaemonReload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := state(t, m, "hf-ok.service"); st.NeedReload || st.ActiveState != "active" {
		t.Errorf("after a reload of the manager it is %+v", st)
	}
	// A new file is seen without a reload.
	shell(t, "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/hf-new.service")
	if st := state(t, m, "hf-new.service"); !st.Exists() || st.UnitFileState != "static" {
		t.Errorf("a new unit file is seen as %+v, want static", st)
	}
	shell(t, "rm /etc/systemd/system/hf-new.service")
	if err := m.DaemonReload(context.Background()); err != nil {
		t.Fatal(err)
	}
	if st := state(t, m, "hf-new.service"); st.Exists() {
		t.Errorf("a removed unit file is seen as %+v", st)
	}
}

func wantFailure(t *testing.T, err error, result string, words ...string) {
	t.Helper()
	var f *systemd.Failure
	if !errors.As(err, &f) || f.Result != result {
		t.Fatalf("got %v, want a failure %q", err, result)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v, want %q in it", err, w)
		}
	}
	t.Log(err)
}

func tryFailure(t *testing.T, m *systemd.Manager) {
	ctx := context.Background()
	wantFailure(t, m.Start(ctx, "hf-early.service"), "failed", "exit status 3", "the moon is in the wrong house")
	wantFailure(t, m.Start(ctx, "hf-once.service"), "failed", "exit status 4", "no such tide")
	wantFailure(t, m.Restart(ctx, "hf-loop.service"), "failed", "exit status 5")
	do(t, m.Stop, "hf-loop.service")
	err := m.Start(ctx, "hf-bad.service")
	if st := state(t, m, "hf-bad.service"); err == nil || st.LoadState != "bad-setting" {
		t.Errorf("starting a broken unit file = %v, it is %s", err, st.LoadState)
	}
	t.Log(err)
}

func tryCondition(t *testing.T, m *systemd.Manager) {
	err := m.Start(context.Background(), "hf-never.service")
	if err == nil || !strings.Contains(err.Error(), "ConditionPathExists=!/etc/passwd") {
		t.Errorf("got %v, want the condition", err)
	}
}

func tryStartLimit(t *testing.T, m *systemd.Manager) {
	for range 3 {
		do(t, m.Restart, "hf-limit.service")
	}
	wantActive(t, m, "hf-limit.service", "active")
	do(t, m.Stop, "hf-limit.service")
}

func tryAbsent(t *testing.T, m *systemd.Manager) {
	ctx := context.Background()
	if st := state(t, m, "hf-nothing.service"); st.Exists() || st.ActiveState != "inactive" || st.UnitFileState != "" {
		t.Errorf("a unit that is not there is %+v", st)
	}
	for name, f := range map[string]func(context.Context, string) error{"start": m.Start, "enable": m.Enable} {
		err := f(ctx, "hf-nothing.service")
		if err == nil || !strings.HasPrefix(err.Error(), "cannot "+name+" hf-nothing.service: ") {
			t.Errorf("%s of a unit that is not there = %v", name, err)
		}
		t.Log(err)
	}
	if _, err := m.State(ctx, "not a unit"); err == nil {
		t.Error("a name that is no unit's is no error, want one")
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	shell(t, "printf '[Service]\\nType=oneshot\\nExecStart=/bin/sleep 3\\n' >/etc/systemd/system/hf-long.service")
	if err := m.Start(short, "hf-long.service"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a job that takes longer than the caller has = %v, want %v", err, context.DeadlineExceeded)
	}
}

func trySysv(t *testing.T, m *systemd.Manager) {
	const unit = "hf-old.service"
	if st := state(t, m, unit); !st.Exists() || st.UnitFileState != "disabled" {
		t.Errorf("a script in init.d is %+v, want disabled", st)
	}
	do(t, m.Enable, unit)
	if st := state(t, m, unit); st.UnitFileState != "enabled" {
		t.Errorf("after enabling it is %q", st.UnitFileState)
	}
	do(t, m.Disable, unit)
	if st := state(t, m, unit); st.UnitFileState != "disabled" {
		t.Errorf("after disabling it is %q", st.UnitFileState)
	}
}

func tryReexec(t *testing.T, m *systemd.Manager) {
	shell(t, "systemctl daemon-reexec")
	wantActive(t, m, "hf-ok.service", "active")
	do(t, m.Restart, "hf-ok.service")
}

func tryUser(t *testing.T, _ *systemd.Manager) {
	ctx := context.Background()
	shell(t, "useradd -m -s /bin/bash kelp")
	id, err := strconv.ParseUint(shell(t, "id -u kelp"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	uid := uint32(id)
	if on, err := systemd.Linger("kelp"); err != nil || on {
		t.Fatalf("Linger(kelp) = %v, %v; want false", on, err)
	}
	if _, err := systemd.ConnectUser(ctx, uid, uid); !errors.Is(err, systemd.ErrNotRunning) {
		t.Errorf("without lingering ConnectUser = %v, want %v", err, systemd.ErrNotRunning)
	}
	if err := systemd.SetLinger(ctx, uid, true); err != nil {
		t.Fatal(err)
	}
	if on, err := systemd.Linger("kelp"); err != nil || !on {
		t.Errorf("Linger(kelp) = %v, %v; want true", on, err)
	}
	m, err := systemd.ConnectUser(ctx, uid, uid)
	if err != nil {
		t.Fatal(err)
	}
	m.Run = runner
	shell(t, `su kelp -c 'mkdir -p ~/.config/systemd/user && cd ~/.config/systemd/user &&
		printf "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=default.target\n" >mine.service &&
		printf "[Service]\nExecStart=/bin/sh -c \"echo my own fault; exit 9\"\n" >broken.service'`)
	do(t, m.Enable, "mine.service")
	do(t, m.Start, "mine.service")
	st := wantActive(t, m, "mine.service", "active")
	if st.UnitFileState != "enabled" || shell(t, "stat -c %U /proc/"+strconv.FormatInt(st.MainPID, 10)) != "kelp" {
		t.Errorf("the account's unit is %+v, want it enabled and running as kelp", st)
	}
	if owner := shell(t, "stat -c %U /home/kelp/.config/systemd/user/default.target.wants/mine.service"); owner != "kelp" {
		t.Errorf("the link that enables it belongs to %s, want kelp", owner)
	}
	wantFailure(t, m.Start(ctx, "broken.service"), "failed", "exit status 9", "my own fault")
	do(t, m.Stop, "mine.service")
	do(t, m.Disable, "mine.service")
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if got := os.Geteuid(); got != 0 {
		t.Errorf("afterwards this process has euid %d, want 0", got)
	}
	if err := systemd.SetLinger(ctx, uid, false); err != nil {
		t.Error(err)
	}
	if on, err := systemd.Linger("kelp"); err != nil || on {
		t.Errorf("Linger(kelp) = %v, %v; want false", on, err)
	}
}

// tryNoProcess reads the last process number that the kernel gave out in this
// PID namespace; threads of ours and the idle host use a few.
func tryNoProcess(t *testing.T, m *systemd.Manager) {
	last := func() int {
		words := strings.Fields(shell(t, "cat /proc/loadavg"))
		n, err := strconv.Atoi(words[len(words)-1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const looks = 500
	before, start := last(), time.Now()
	for range looks {
		state(t, m, "hf-ok.service")
	}
	t.Logf("%s for one look", time.Since(start)/looks)
	if used := last() - before; used > looks/10 {
		t.Errorf("%d looks used %d process numbers, want none", looks, used)
	}
}
