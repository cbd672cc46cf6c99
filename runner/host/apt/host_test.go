//go:build hosts

package apt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/host/apt"
	"holdfast/runner/sandbox/sandboxtest"
)

// TestOnHost installs and breaks packages.
func TestOnHost(t *testing.T) { sandboxtest.Inside(t, "apt", trials) }

func trials(t *testing.T) {
	makeRepository(t)
	t.Run("refresh", tryRefresh)
	t.Run("install, upgrade, downgrade, remove, purge", tryLifeOfAPackage)
	t.Run("a name that nobody knows", tryUnknown)
	t.Run("simulate and look up", trySimulate)
	t.Run("a script of a package breaks", tryBrokenScript)
	t.Run("another process holds the lock", tryLock)
	t.Run("cancelled while it works", tryCancel)
	t.Run("an interrupted dpkg is repaired", tryInterrupted)
	t.Run("marks", tryMarks)
	t.Run("an unreachable source", tryUnreachable)
}

// runner runs commands as the host's core does: in a session of their own.
func runner(ctx context.Context, argv, env []string, onLine func(string)) (status int, out string, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return 0, "", errors.Join(err, r.Close(), w.Close())
	}
	_ = w.Close()
	var all strings.Builder
	var rest []byte
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		all.Write(buf[:n])
		rest = append(rest, buf[:n]...)
		for {
			line, after, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				break
			}
			if rest = after; onLine != nil {
				onLine(string(line))
			}
		}
		if err != nil {
			break
		}
	}
	err = errors.Join(r.Close(), ignoreExit(cmd.Wait()))
	return cmd.ProcessState.ExitCode(), all.String(), err
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// told collects progress.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (p *told) say(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, s)
}

func (p *told) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func wantStatus(t *testing.T, name string, want apt.Info) {
	t.Helper()
	got, err := apt.Status(name)
	got.Name, got.Arch = "", ""
	if err != nil || got != want {
		t.Errorf("Status(%q) = %+v, %v; want %+v", name, got, err, want)
	}
}

const repository = `
mkdir -p /srv/repo /srv/build && cd /srv/build
pack() { # name version depends postinst
	rm -rf p && mkdir -p p/DEBIAN p/etc
	printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Trial <trial@localhost>\nDescription: trial\n' "$1" "$2" >p/DEBIAN/control
	if [ -n "$3" ]; then echo "Depends: $3" >>p/DEBIAN/control; fi
	echo "shipped with $2" >p/etc/$1.conf
	echo /etc/$1.conf >p/DEBIAN/conffiles
	if [ -n "$4" ]; then printf '#!/bin/sh\n%s\n' "$4" >p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst; fi
	dpkg-deb --build --root-owner-group p "/srv/repo/$1_$2.deb" >/dev/null
	{ dpkg-deb -f "/srv/repo/$1_$2.deb"; echo "Filename: ./$1_$2.deb"; echo "Size: $(stat -c %s "/srv/repo/$1_$2.deb")"
	  echo "SHA256: $(sha256sum "/srv/repo/$1_$2.deb" | cut -d' ' -f1)"; echo; } >>/srv/repo/Packages
}
: >/srv/repo/Packages
pack hf-lib 1.0 "" ""
pack hf-demo 1.0 hf-lib ""
pack hf-demo 2.0 hf-lib ""
pack hf-slow 1.0 "" "sleep 3"
pack hf-slow 2.0 "" "sleep 3"
pack hf-broken 1.0 "" "echo the sky is green; exit 7"
pack hf-stuck 1.0 "" "[ -e /srv/go ] || sleep 100"
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
`

func makeRepository(t *testing.T) { shell(t, repository) }

func tryRefresh(t *testing.T) {
	ctx := context.Background()
	start := time.Now().Add(-time.Second)
	for range 2 { // the second time all lists are current
		if err := apt.Refresh(ctx, runner, nil); err != nil {
			t.Fatal(err)
		}
		got, err := apt.ListsRefreshed()
		if err != nil || got.Before(start) {
			t.Errorf("ListsRefreshed() = %v, %v; want after %v", got, err, start)
		}
		start = time.Now().Add(-time.Millisecond)
		time.Sleep(50 * time.Millisecond)
	}
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes("/var/lib/apt/lists", old, old); err != nil {
		t.Fatal(err)
	}
	if err := apt.Install(ctx, []apt.Spec{{Name: "hf-lib"}}, runner, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := apt.ListsRefreshed(); err != nil || time.Since(got) < 47*time.Hour {
		t.Errorf("after an install ListsRefreshed() = %v, %v; want two days ago", got, err)
	}
	if err := apt.Remove(ctx, []string{"hf-lib"}, true, runner, nil); err != nil {
		t.Fatal(err)
	}
}

func tryLifeOfAPackage(t *testing.T) {
	ctx := context.Background()
	before, err := apt.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	install := func(s apt.Spec) {
		t.Helper()
		if err := apt.Install(ctx, []apt.Spec{s}, runner, nil); err != nil {
			t.Fatal(err)
		}
	}
	install(apt.Spec{Name: "hf-demo", Version: "1.0"})
	wantStatus(t, "hf-demo", apt.Info{Version: "1.0", Installed: true})
	wantStatus(t, "hf-lib", apt.Info{Version: "1.0", Installed: true})
	if err := os.WriteFile("/etc/hf-demo.conf", []byte("edited by hand\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	install(apt.Spec{Name: "hf-demo"})
	wantStatus(t, "hf-demo", apt.Info{Version: "1.0", Installed: true})
	install(apt.Spec{Name: "hf-demo", Latest: true})
	wantStatus(t, "hf-demo", apt.Info{Version: "2.0", Installed: true})
	if got, err := os.ReadFile("/etc/hf-demo.conf"); err != nil || string(got) != "edited by hand\n" {
		t.Errorf("after an upgrade the edited file is %q, %v; want it kept", got, err)
	}
	install(apt.Spec{Name: "hf-demo", Version: "1.0"})
	wantStatus(t, "hf-demo", apt.Info{Version: "1.0", Installed: true})
	shell(t, "apt-mark hold hf-demo")
	wantStatus(t, "hf-demo", apt.Info{Version: "1.0", Installed: true, Held: true})
	err = apt.Install(ctx, []apt.Spec{{Name: "hf-demo", Version: "2.0"}}, runner, nil)
	if err == nil || !strings.Contains(err.Error(), "eld packages") {
		t.Errorf("upgrading a held package = %v, want a refusal", err)
	}
	shell(t, "apt-mark unhold hf-demo")
	if err := apt.Remove(ctx, []string{"hf-demo", "hf-never"}, false, runner, nil); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "hf-demo", apt.Info{Config: true})
	if err := apt.Remove(ctx, []string{"hf-demo", "hf-lib"}, true, runner, nil); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "hf-demo", apt.Info{})
	if _, err := os.Stat("/etc/hf-demo.conf"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a purge /etc/hf-demo.conf: %v, want it gone", err)
	}
	after, err := apt.Snapshot()
	if err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("packages before and after differ: %d and %d, %v", len(before), len(after), err)
	}
}

func tryUnknown(t *testing.T) {
	err := apt.Install(context.Background(), []apt.Spec{{Name: "hf-nonsense"}}, runner, nil)
	if want := "cannot install hf-nonsense: Unable to locate package hf-nonsense"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	err = apt.Install(context.Background(), []apt.Spec{{Name: "hf-demo", Version: "9.9"}}, runner, nil)
	if want := "cannot install hf-demo 9.9: Version '9.9' for 'hf-demo' was not found"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func trySimulate(t *testing.T) {
	ctx := context.Background()
	got, err := apt.Simulate(ctx, []apt.Spec{{Name: "hf-demo"}}, runner)
	want := []apt.Action{{Name: "hf-demo", Kind: "install", To: "2.0"}, {Name: "hf-lib", Kind: "install", To: "1.0"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Simulate(hf-demo) = %v, %v; want %v", got, err, want)
	}
	if c, err := apt.Candidate(ctx, "hf-demo", runner); err != nil || c != "2.0" {
		t.Errorf("Candidate(hf-demo) = %q, %v; want 2.0", c, err)
	}
	for version, want := range map[string]bool{"1.0": true, "2.0": true, "3.0": false} {
		if got, err := apt.Available(ctx, "hf-demo", version, runner); err != nil || got != want {
			t.Errorf("Available(hf-demo, %s) = %v, %v; want %v", version, got, err, want)
		}
	}
	if got, err := apt.Available(ctx, "hf-nonsense", "1", runner); err != nil || got {
		t.Errorf("Available(hf-nonsense) = %v, %v; want false", got, err)
	}
}

func tryBrokenScript(t *testing.T) {
	ctx := context.Background()
	err := apt.Install(ctx, []apt.Spec{{Name: "hf-broken"}}, runner, nil)
	if err == nil || !strings.Contains(err.Error(), "the sky is green") || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v, want the script's words and status", err)
	}
	wantStatus(t, "hf-broken", apt.Info{Version: "1.0", Broken: true})
	err = apt.Install(ctx, []apt.Spec{{Name: "hf-lib"}}, runner, nil)
	if err == nil || !strings.Contains(err.Error(), "the sky is green") {
		t.Errorf("an install beside a package that cannot be configured = %v, want an error that says so", err)
	}
	if err := apt.Remove(ctx, []string{"hf-broken", "hf-lib"}, true, runner, nil); err != nil {
		t.Errorf("the broken package cannot be removed: %v", err)
	}
	wantStatus(t, "hf-broken", apt.Info{})
}

func tryLock(t *testing.T) {
	other := exec.Command("apt-get", "install", "-y", "hf-slow=1.0")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the other apt-get to take the lock", func() bool { b, err := apt.Busy(); return err == nil && b != nil })
	var p told
	start := time.Now()
	if err := apt.Install(context.Background(), []apt.Spec{{Name: "hf-lib"}}, runner, p.say); err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf("waiting: apt-get (process %d", other.Process.Pid)
	if !strings.Contains(p.String(), want) || time.Since(start) < time.Second {
		t.Errorf("after %s told %q, want %q", time.Since(start), p.String(), want)
	}
	t.Log(p.String())
	if err := other.Wait(); err != nil {
		t.Errorf("the other apt-get: %v", err)
	}
	wantStatus(t, "hf-slow", apt.Info{Version: "1.0", Installed: true})
	if err := apt.Remove(context.Background(), []string{"hf-lib"}, true, runner, nil); err != nil {
		t.Error(err)
	}
}

func tryCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var p told
	err := apt.Install(ctx, []apt.Spec{{Name: "hf-slow", Version: "2.0"}}, runner, func(s string) {
		p.say(s)
		if strings.HasPrefix(s, "Setting up hf-slow") {
			cancel()
		}
	})
	if err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.String(), "apt-get is finished first") {
		t.Errorf("told %q, want that apt-get is finished first", p.String())
	}
	wantStatus(t, "hf-slow", apt.Info{Version: "2.0", Installed: true})
	if err := apt.Remove(ctx, []string{"hf-slow"}, true, runner, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a removal after the cancel = %v, want %v", err, context.Canceled)
	}
	wantStatus(t, "hf-slow", apt.Info{Version: "2.0", Installed: true})
}

func tryInterrupted(t *testing.T) {
	other := exec.Command("apt-get", "install", "-y", "hf-stuck")
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the script to hang", func() bool {
		return exec.Command("pgrep", "-f", "hf-stuck.postinst").Run() == nil
	})
	if err := syscall.Kill(-other.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // killed
	_ = exec.Command("pkill", "-9", "dpkg").Run()
	_ = exec.Command("pkill", "-9", "-f", "hf-stuck.postinst").Run()
	waitFor(t, "the lock to be free", func() bool { b, err := apt.Busy(); return err == nil && b == nil })
	wantStatus(t, "hf-stuck", apt.Info{Version: "1.0", Broken: true})
	if cut, err := apt.Interrupted(); err != nil || !cut {
		t.Errorf("Interrupted() = %v, %v; want true", cut, err)
	}
	if err := os.WriteFile("/srv/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var p told
	if err := apt.Install(context.Background(), []apt.Spec{{Name: "hf-lib"}}, runner, p.say); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.String(), "interrupted: finishing it with dpkg --configure -a") {
		t.Errorf("told %q, want that dpkg was repaired", p.String())
	}
	wantStatus(t, "hf-stuck", apt.Info{Version: "1.0", Installed: true})
	wantStatus(t, "hf-lib", apt.Info{Version: "1.0", Installed: true})
}

func tryMarks(t *testing.T) {
	ctx := context.Background()
	for _, auto := range []bool{true, false} {
		if err := apt.MarkAuto(ctx, []string{"hf-lib"}, auto, runner); err != nil {
			t.Fatal(err)
		}
		if got, err := apt.Auto(); err != nil || got["hf-lib"] != auto {
			t.Errorf("Auto()[hf-lib] = %v, %v; want %v", got["hf-lib"], err, auto)
		}
	}
}

func tryUnreachable(t *testing.T) {
	before, err := apt.ListsRefreshed()
	if err != nil {
		t.Fatal(err)
	}
	shell(t, "echo 'deb [trusted=yes] http://127.0.0.1:9/ ./' >/etc/apt/sources.list.d/gone.list")
	err = apt.Refresh(context.Background(), runner, nil)
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:9") {
		t.Errorf("refreshing with an unreachable source = %v, want an error that names it", err)
	}
	if got, err := apt.ListsRefreshed(); err != nil || got.Sub(before) > time.Minute {
		t.Errorf("after a failed refresh ListsRefreshed() = %v, %v; it was %v", got, err, before)
	}
	shell(t, "rm /etc/apt/sources.list.d/gone.list")
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 300 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}
