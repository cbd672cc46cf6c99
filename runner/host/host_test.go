//go:build hosts

package host_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/sandbox/sandboxtest"
	"holdfast/tasks/task"
)

// TestOnHost changes accounts, packages and units.
func TestOnHost(t *testing.T) {
	sandboxtest.Inside(t, "core", func(t *testing.T) {
		t.Run("a whole server and back", tryServer)
		t.Run("packages removed and back", tryRemoval)
		t.Run("an install that was cut off", tryCutOff)
		t.Run("units keep their state", tryUnits)
		t.Run("an orphan without a marker is stopped", tryOrphan)
	})
}

// rewritten are files that machines rewrite: backups and locks of the account tools,
// and the linker's cache.
var rewritten = []string{
	"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock", "/etc/ld.so.cache",
}

// etc lists /etc with mode, owner and digest.
func etc(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	r := machine(t).Reader()
	err := filepath.WalkDir("/etc", func(name string, d fs.DirEntry, err error) error {
		if err != nil || slices.Contains(rewritten, name) {
			return err
		}
		info, err := r.Stat(ctx, name)
		if err != nil {
			return err
		}
		line := []string{string(info.Kind), info.Mode.String(), info.Owner, info.Group, info.Target}
		if d.Type().IsRegular() {
			c, err := r.Digest(ctx, name)
			if err != nil {
				return err
			}
			line = append(line, c.Digest[:12])
		}
		out[name] = strings.Join(line, " ")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s: got %q, want %q", name, got[name], w)
		}
	}
	for name, g := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: got %q, want nothing there", name, g)
		}
	}
}

func machine(t *testing.T) *host.Machine {
	t.Helper()
	m, err := host.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func newTrial(t *testing.T) *bench {
	t.Helper()
	return newBenchOn(t, machine(t), "/root")
}

// installed lists the packages with their versions and marks.
func installed(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	text, err := exec.Command("dpkg-query", "-W", "-f", "${Package} ${Status} ${Version}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	marks, err := exec.Command("apt-mark", "showmanual").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		name, rest, _ := strings.Cut(l, " ")
		out[name] = rest
	}
	for _, name := range strings.Fields(string(marks)) {
		out[name] += " manual"
	}
	return out
}

func tryServer(t *testing.T) {
	b := newTrial(t)
	beforeEtc, beforePackages := etc(t), installed(t)
	w := b.writer()
	b.must(w.InstallPackages(ctx, []task.PackageSpec{{Name: "chrony"}, {Name: "uuid-runtime"}}))
	if len(installed(t)) <= len(beforePackages) {
		t.Error("nothing was installed")
	}
	b.must(w.PutGroup(ctx, task.GroupSpec{Name: "gateway", System: true}))
	b.must(w.PutUser(ctx, task.UserSpec{
		Name: "admin", Groups: &[]string{"sudo", "gateway"}, Shell: ptr("/bin/bash"), CreateHome: true, PasswordHash: ptr("*"),
	}))
	b.must(b.writer().MakeDir(ctx, "/home/admin/.ssh", 0o700, "admin", "admin"))
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: "/home/admin/.ssh/authorized_keys", Data: []byte("ssh-ed25519 AAAA\n"), Mode: mode(0o600), Owner: "admin", Group: "admin"}))
	b.must(b.writer().WriteFile(ctx, task.FileWrite{
		Path: "/etc/sudoers.d/admin", Data: []byte("admin ALL=(ALL) NOPASSWD: ALL\n"), Mode: mode(0o440), Validate: []string{"visudo", "-cf", "%s"},
	}))
	b.must(b.writer().SetKernelParam(ctx, "net.ipv4.conf.all.log_martians", "1"))
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: "/etc/systemd/system/tide.service", Data: []byte("[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")}))
	w = b.writer()
	b.must(w.ReloadUnits(ctx, ""))
	b.must(w.SetUnit(ctx, task.UnitRef{Name: "tide.service"}, task.UnitChange{Enable: ptr(true), Action: task.UnitStart}))
	b.must(w.SetLinger(ctx, "admin", true))
	as := b.writerAs("admin")
	for _, dir := range []string{".config", ".config/systemd", ".config/systemd/user"} {
		b.must(as.MakeDir(ctx, "/home/admin/"+dir, 0o755, "", ""))
	}
	b.must(as.WriteFile(ctx, task.FileWrite{Path: "/home/admin/.config/systemd/user/gw.service", Data: []byte("[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=default.target\n")}))
	b.must(as.ReloadUnits(ctx, "admin"))
	b.must(as.SetUnit(ctx, task.UnitRef{Name: "gw.service", User: "admin"}, task.UnitChange{Enable: ptr(true), Action: task.UnitStart}))
	u, err := as.Unit(ctx, task.UnitRef{Name: "gw.service", User: "admin"})
	if err != nil || u.Active != "active" || u.Enabled != "enabled" {
		t.Errorf("got %+v and error %v, want the unit of the account enabled and active", u, err)
	}
	for name, r := range b.undo(host.UndoOptions{}) {
		if r.Status != host.Undone && r.Status != host.Already {
			t.Errorf("%s: got %+v", name, r)
		}
	}
	compare(t, etc(t), beforeEtc)
	compare(t, installed(t), beforePackages)
	if u, err := w.Unit(ctx, task.UnitRef{Name: "tide.service"}); u.Exists || err != nil {
		t.Errorf("got %+v and error %v, want no unit", u, err)
	}
	if v, _, _ := w.KernelParam(ctx, "net.ipv4.conf.all.log_martians"); v != "0" {
		t.Errorf("got %q, want 0", v)
	}
	if _, err := os.Stat("/home/admin"); !os.IsNotExist(err) {
		t.Errorf("got error %v, want no home", err)
	}
}

func tryRemoval(t *testing.T) {
	b := newTrial(t)
	b.must(b.writer().InstallPackages(ctx, []task.PackageSpec{{Name: "chrony"}}))
	b.must(os.WriteFile("/etc/chrony/chrony.conf", []byte("# by a person\n"), 0o644))
	beforeEtc, beforePackages := etc(t), installed(t)
	b.begin("r2", "")
	b.must(b.writer().RemovePackages(ctx, []string{"chrony"}, true))
	if _, err := os.Stat("/etc/chrony/chrony.conf"); !os.IsNotExist(err) {
		t.Errorf("got error %v, want that the configuration is gone", err)
	}
	for name, r := range b.undo(host.UndoOptions{}) {
		if r.Status != host.Undone {
			t.Errorf("%s: got %+v", name, r)
		}
	}
	compare(t, etc(t), beforeEtc)
	compare(t, installed(t), beforePackages)
	b.begin("r3", "")
	b.must(b.writer().RemovePackages(ctx, []string{"chrony"}, true))
}

// tryCutOff loses the end of an install, as when the helper died in it.
func tryCutOff(t *testing.T) {
	b := newTrial(t)
	beforePackages := installed(t)
	b.must(b.writer().InstallPackages(ctx, []task.PackageSpec{{Name: "uuid-runtime"}}))
	file := filepath.Join(b.store.Dir(), "runs/r1/journal.jsonl")
	text := readAll(t, file)
	b.must(os.WriteFile(file, text[:bytes.LastIndex(text, []byte(`{"kind":"done"`))], 0o600))
	rec, err := b.store.Load("r1")
	b.must(err)
	b.begin("u1", "r1")
	results, err := b.m.Undo(ctx, rec, host.UndoOptions{Into: b.j})
	if err != nil || len(results) != 1 || results[0].Status != host.Undone {
		t.Errorf("got %+v and error %v, want undone", results, err)
	}
	compare(t, installed(t), beforePackages)
}

func tryUnits(t *testing.T) {
	b := newTrial(t)
	ref := task.UnitRef{Name: "cron.service"}
	b.must(b.writer().InstallPackages(ctx, []task.PackageSpec{{Name: "cron"}}))
	before, err := b.m.Reader().Unit(ctx, ref)
	b.must(err)
	b.begin("r2", "")
	w := b.writer()
	b.must(w.SetUnit(ctx, ref, task.UnitChange{Action: task.UnitRestart}))
	b.must(w.SetUnit(ctx, ref, task.UnitChange{Enable: ptr(false), Action: task.UnitStop}))
	b.must(w.SetUnit(ctx, ref, task.UnitChange{Mask: ptr(true)}))
	if u, err := w.Unit(ctx, ref); !u.Masked || u.Active != "inactive" || err != nil {
		t.Errorf("got %+v and error %v, want masked and stopped", u, err)
	}
	got := b.undo(host.UndoOptions{})
	if r := got["unit:cron.service"]; r.Status != host.Undone {
		t.Errorf("got %+v, want undone", r)
	}
	now, err := b.m.Reader().Unit(ctx, ref)
	if err != nil || now.Enabled != before.Enabled || now.Active != before.Active || now.Masked {
		t.Errorf("got %+v and error %v, want %+v", now, err, before)
	}
	b.must(b.j.Close(journal.Succeeded))
	b.begin("r3", "")
	b.must(b.writer().SetUnit(ctx, ref, task.UnitChange{Enable: ptr(false)}))
	b.must(exec.Command("systemctl", "enable", "cron").Run())
	if r := b.undo(host.UndoOptions{})["unit:cron.service"]; r.Status != host.Already {
		t.Errorf("got %+v, want already", r)
	}
}

func tryOrphan(t *testing.T) {
	r := machine(t).Reader()
	c, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := r.Query(c, sh("(setsid env -i /bin/sleep 4711.3 &) ; exec sleep 60"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want the time limit", err)
	}
	if alive("4711.3") {
		t.Error("a process is left")
	}
}
