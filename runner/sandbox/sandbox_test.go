//go:build hosts

package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/runner/sandbox"
)

// open returns a sandbox in a folder of its own that shares the machine's base,
// and checks at the end of the test that nothing of it is left.
func open(t *testing.T) (*sandbox.Sandbox, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := sandbox.Open(sandbox.Options{Dir: dir, Progress: func(msg string) { t.Log(msg) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := s.Base(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	t.Logf("the base took %s", time.Since(start).Round(100*time.Millisecond))
	mounts := readMounts(t)
	t.Cleanup(func() {
		if err := s.Down(context.Background()); err != nil {
			t.Errorf("Down: %v", err)
		}
		wantNoTraces(t, dir)
		if got := readMounts(t); !slices.Equal(got, mounts) {
			t.Errorf("mounts after Down: got %q, want %q", got, mounts)
		}
	})
	return s, dir
}

func up(t *testing.T, s *sandbox.Sandbox, o sandbox.UpOptions) []sandbox.Host {
	t.Helper()
	start := time.Now()
	hosts, err := s.Up(t.Context(), o)
	if err != nil {
		t.Fatalf("Up: %v", err)
	}
	t.Logf("Up of %d hosts took %s", len(hosts), time.Since(start).Round(10*time.Millisecond))
	return hosts
}

// inside runs a shell command in a host through the console.
func inside(t *testing.T, s *sandbox.Sandbox, host, command string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status, err := s.Exec(t.Context(), host, nil, &out, &out, "bash", "-c", command)
	if err != nil {
		t.Fatalf("Exec in %s: %v", host, err)
	}
	return strings.TrimSpace(out.String()), status
}

func wantInside(t *testing.T, s *sandbox.Sandbox, host, command, want string) {
	t.Helper()
	if got, status := inside(t, s, host, command); got != want || status != 0 {
		t.Errorf("%s in %s: got %q, status %d, want %q, status 0", command, host, got, status, want)
	}
}

func ssh(t *testing.T, s *sandbox.Sandbox, user string, h sandbox.Host, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh", "-F", "none", "-i", s.KeyPath(), "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+s.KnownHostsPath(), user+"@"+h.Address, command).CombinedOutput()
	if err != nil {
		t.Errorf("ssh %s@%s %s: %v: %s", user, h.Name, command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestHosts(t *testing.T) {
	s, dir := open(t)
	hosts := up(t, s, sandbox.UpOptions{Count: 2})
	if len(hosts) != 2 || hosts[0].Name != "sb1" || hosts[1].Name != "sb2" || hosts[0].State != sandbox.Running {
		t.Fatalf("got hosts %+v, want sb1 and sb2, running", hosts)
	}
	t.Run("banner", func(t *testing.T) {
		conn, err := net.DialTimeout("tcp", hosts[0].Address+":22", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if got, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(got, "SSH-2.0-OpenSSH") {
			t.Errorf("got banner %q (%v), want one of OpenSSH", got, err)
		}
	})
	t.Run("login", func(t *testing.T) {
		if got := ssh(t, s, "root", hosts[0], "id -un; hostname"); got != "root\nsb1" {
			t.Errorf("got %q, want root on sb1", got)
		}
		if got := ssh(t, s, "debian", hosts[1], "id -un; sudo -n id -un"); got != "debian\nroot" {
			t.Errorf("got %q, want debian, who becomes root", got)
		}
	})
	t.Run("systemd", func(t *testing.T) {
		got, _ := inside(t, s, "sb1", "systemctl is-system-running --wait; systemctl --failed --plain --no-legend")
		if got != "running" {
			t.Errorf("got %q, want running and no failed unit", got)
		}
	})
	t.Run("identity", func(t *testing.T) {
		for _, file := range []string{"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub", "/proc/sys/kernel/random/boot_id"} {
			one, _ := inside(t, s, "sb1", "cat "+file)
			two, _ := inside(t, s, "sb2", "cat "+file)
			if one == two || one == "" {
				t.Errorf("%s is %q on both hosts, want two values", file, one)
			}
		}
		wantInside(t, s, "sb1", "getent hosts sb1 | cut -d' ' -f1", "127.0.1.1")
		wantInside(t, s, "sb1", "timedatectl show -p NTP --value >/dev/null; stat -c '%a %U' / /etc /root /root/.ssh /home/debian/.ssh /var/log | paste -sd,",
			"755 root,755 root,700 root,700 root,700 debian,755 root")
	})
	t.Run("exec", func(t *testing.T) { testExec(t, s) })
	t.Run("parameters", func(t *testing.T) { testParameters(t, s) })
	t.Run("packages", func(t *testing.T) {
		// No update before: the base has the lists.
		if out, status := inside(t, s, "sb1", "apt-get install -y less 2>&1 && less --version | head -1 | cut -c1-4"); status != 0 || !strings.HasSuffix(out, "less") {
			t.Errorf("apt-get install: status %d: %s", status, out)
		}
		if out, status := inside(t, s, "sb2", "apt-get update 2>&1"); status != 0 {
			t.Errorf("apt-get update: status %d: %s", status, out)
		}
	})
	t.Run("reboot", func(t *testing.T) { testReboot(t, s) })
	t.Run("unplug", func(t *testing.T) { testUnplug(t, s, hosts[1]) })
	t.Run("snapshot", func(t *testing.T) { testSnapshot(t, s) })
	t.Run("reset", func(t *testing.T) { testReset(t, s, hosts[0], dir) })
	t.Run("power off", func(t *testing.T) { testPowerOff(t, s) })
	t.Run("up again", func(t *testing.T) {
		before, _ := inside(t, s, "sb1", "cat /proc/sys/kernel/random/boot_id")
		again := up(t, s, sandbox.UpOptions{Names: []string{"sb1", "web"}})
		wantInside(t, s, "sb1", "cat /proc/sys/kernel/random/boot_id", before)
		if again[1].Name != "web" || again[1].Address == hosts[0].Address || again[1].Address == hosts[1].Address {
			t.Errorf("got %+v, want web with an address of its own", again)
		}
		if err := s.Down(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		wantInside(t, s, "sb1", "cat /proc/sys/kernel/random/boot_id", before)
	})
}

func testExec(t *testing.T, s *sandbox.Sandbox) {
	var out, errs bytes.Buffer
	status, err := s.Exec(t.Context(), "sb1", strings.NewReader("given"), &out, &errs, "sh", "-c", "cat; echo bad >&2; exit 7")
	if err != nil || status != 7 || out.String() != "given" || errs.String() != "bad\n" {
		t.Errorf("got status %d, %v, %q and %q, want 7, none, given and bad", status, err, out.String(), errs.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if status, err := s.Exec(ctx, "sb1", nil, nil, nil, "sleep", "4321"); err == nil || status != -1 {
		t.Errorf("Exec with a limit: got status %d and no error, want -1 and an error", status)
	}
	// It is killed by now, and gone as soon as its parent has heard.
	if out, _ := inside(t, s, "sb1", "for i in $(seq 100); do pgrep -fx 'sleep 4321' >/dev/null || exit 0; sleep 0.1; done; pgrep -fx 'sleep 4321'"); out != "" {
		t.Errorf("after a cancelled Exec, process %s still runs in the host", out)
	}
	if _, err := s.Exec(t.Context(), "nobody", nil, nil, nil, "true"); err == nil {
		t.Error("Exec in a host that does not exist: got no error")
	}
}

func testParameters(t *testing.T, s *sandbox.Sandbox) {
	for path, want := range map[string]string{
		"vm/swappiness": "13", "kernel/kptr_restrict": "2", "fs/suid_dumpable": "0", "net/core/bpf_jit_harden": "2",
		"net/ipv4/ip_forward": "1",
	} {
		machine, err := os.ReadFile("/proc/sys/" + path)
		if err != nil {
			t.Fatal(err)
		}
		wantInside(t, s, "sb1", fmt.Sprintf("echo %s >/proc/sys/%s && cat /proc/sys/%[2]s", want, path), want)
		if now, _ := os.ReadFile("/proc/sys/" + path); !bytes.Equal(now, machine) {
			t.Errorf("%s of the machine: got %q, want %q", path, now, machine)
		}
		if got, _ := inside(t, s, "sb2", "cat /proc/sys/"+path); path != "fs/suid_dumpable" && got == want {
			t.Errorf("%s of the other host: got %q, want another value", path, got)
		}
	}
	wantInside(t, s, "sb1", "printf 'vm.swappiness=17\\nkernel.sysrq=0\\n' >/etc/sysctl.d/t.conf && /lib/systemd/systemd-sysctl && cat /proc/sys/vm/swappiness", "17")
	one, _ := inside(t, s, "sb1", "cat /proc/sys/kernel/random/uuid; hostname newname; cat /proc/sys/kernel/hostname; hostname sb1")
	two, _ := inside(t, s, "sb1", "cat /proc/sys/kernel/random/uuid")
	if !strings.HasSuffix(one, "\nnewname") || strings.HasPrefix(one, two) {
		t.Errorf("got %q and then %q, want real values of kernel.random and kernel.hostname", one, two)
	}
}

func testReboot(t *testing.T, s *sandbox.Sandbox) {
	boot, _ := inside(t, s, "sb1", "sync; echo kept >/root/kept; nft add table inet mine 2>&1; cat /proc/sys/kernel/random/boot_id")
	for name, restart := range map[string]func(context.Context, string) error{"Reboot": s.Reboot, "PowerCut": s.PowerCut} {
		start := time.Now()
		if err := restart(t.Context(), "sb1"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s took %s", name, time.Since(start).Round(10*time.Millisecond))
		wantInside(t, s, "sb1", "cat /root/kept", "kept")
		// What was written to sysctl.d before is applied by the boot, the rest is
		// as on a fresh machine.
		wantInside(t, s, "sb1", "systemctl is-system-running --wait; cat /proc/sys/vm/swappiness /proc/sys/net/ipv4/ip_forward", "running\n17\n0")
		now, _ := inside(t, s, "sb1", "cat /proc/sys/kernel/random/boot_id")
		if now == boot {
			t.Errorf("%s: the boot id is still %s", name, now)
		}
		boot = now
	}
	// From inside, as a playbook does it.
	inside(t, s, "sb1", "systemctl reboot")
	deadline := time.Now().Add(time.Minute)
	for got := ""; got != "running"; time.Sleep(50 * time.Millisecond) {
		var out bytes.Buffer
		status, err := s.Exec(t.Context(), "sb1", nil, &out, nil, "sh", "-c",
			"test $(cat /proc/sys/kernel/random/boot_id) != "+boot+" && systemctl is-system-running --wait")
		if got = strings.TrimSpace(out.String()); time.Now().After(deadline) {
			t.Fatalf("after a reboot from inside: got %q, status %d, %v, want running", got, status, err)
		}
	}
}

func testUnplug(t *testing.T, s *sandbox.Sandbox, h sandbox.Host) {
	reach := func() error {
		conn, err := net.DialTimeout("tcp", h.Address+":22", time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if err := s.Unplug(t.Context(), h.Name); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if err := reach(); err == nil || !asNetError(err, &timeout) || !timeout.Timeout() {
		t.Errorf("unplugged: got %v, want silence", err)
	}
	if _, status := inside(t, s, h.Name, "ping -c1 -W1 $(ip route show default | cut -d' ' -f3)"); status == 0 {
		t.Error("unplugged: the host still reaches its gateway")
	}
	// A host that flushes its firewall must not put its cable back.
	inside(t, s, h.Name, "nft flush ruleset")
	if err := reach(); err == nil {
		t.Error("unplugged: reached the host after it flushed its rules")
	}
	for range 2 {
		if err := s.Plug(t.Context(), h.Name); err != nil {
			t.Fatal(err)
		}
	}
	if err := reach(); err != nil {
		t.Errorf("plugged in: got %v, want a connection", err)
	}
}

func asNetError(err error, target *net.Error) bool {
	netErr, ok := err.(net.Error)
	*target = netErr
	return ok
}

func testSnapshot(t *testing.T, s *sandbox.Sandbox) {
	inside(t, s, "sb2", "echo one >/root/state; rm /etc/issue")
	if err := s.Snapshot(t.Context(), "sb2", "one"); err != nil {
		t.Fatal(err)
	}
	wantInside(t, s, "sb2", "cat /root/state; test -e /etc/issue || echo none", "one\nnone")
	inside(t, s, "sb2", "echo two >/root/state; touch /etc/issue")
	if err := s.Restore(t.Context(), "sb2", "one"); err != nil {
		t.Fatal(err)
	}
	wantInside(t, s, "sb2", "cat /root/state; test -e /etc/issue || echo none", "one\nnone")
	if err := s.Restore(t.Context(), "sb2", "other"); err == nil {
		t.Error("Restore of a snapshot that does not exist: got no error")
	}
	wantInside(t, s, "sb2", "cat /root/state", "one")
}

func testReset(t *testing.T, s *sandbox.Sandbox, h sandbox.Host, dir string) {
	// What cannot be removed by plain means is no obstacle.
	inside(t, s, "sb1", "mkdir -p /etc/hard; echo x >/etc/hard/file; chattr +i /etc/hard/file /etc/hard; rm /etc/issue")
	if err := s.Reset(t.Context(), "sb1"); err != nil {
		t.Fatal(err)
	}
	wantInside(t, s, "sb1", "ls -d /root/kept /etc/hard /etc/sysctl.d/t.conf 2>/dev/null | wc -l; test -e /etc/issue && echo issue", "0\nissue")
	wantInside(t, s, "sb1", "cat /proc/sys/vm/swappiness; ls /usr/bin/less 2>/dev/null | wc -l", strings.TrimSpace(string(must(os.ReadFile("/proc/sys/vm/swappiness"))))+"\n0")
	if got := ssh(t, s, "root", h, "hostname"); got != "sb1" {
		t.Errorf("after Reset: got %q by SSH, want sb1", got)
	}
	// The package that was fetched before the reset is at hand.
	wantInside(t, s, "sb1", "ls /var/cache/apt/archives/less_*.deb | wc -l", "1")
	text := string(must(os.ReadFile(filepath.Join(dir, "inventory.yml"))))
	if !strings.Contains(text, "sb1: {address: "+h.Address) {
		t.Errorf("got inventory %s, want sb1 at %s in it", text, h.Address)
	}
}

func testPowerOff(t *testing.T, s *sandbox.Sandbox) {
	inside(t, s, "sb2", "echo kept >/root/off; systemctl poweroff")
	deadline := time.Now().Add(time.Minute)
	for state := sandbox.Running; state != sandbox.Stopped; time.Sleep(50 * time.Millisecond) {
		list, err := s.List(t.Context())
		if err != nil || len(list) != 2 || time.Now().After(deadline) {
			t.Fatalf("got %+v, %v, want two hosts, sb2 stopped", list, err)
		}
		state = list[1].State
	}
	if _, err := s.Exec(t.Context(), "sb2", nil, nil, nil, "true"); err == nil {
		t.Error("Exec in a host that is off: got no error")
	}
	up(t, s, sandbox.UpOptions{Count: 2})
	wantInside(t, s, "sb2", "cat /root/off", "kept")
}

// wantNoTraces looks for everything a sandbox could leave on the machine.
func wantNoTraces(t *testing.T, dir string) {
	t.Helper()
	sum := sha256.Sum256([]byte(dir))
	id := hex.EncodeToString(sum[:4])
	var traces []string
	for _, pattern := range []string{
		"/sys/class/net/hf" + id + "*", "/sys/fs/cgroup/holdfast-" + id, "/sys/fs/cgroup/*/holdfast-" + id,
		"/run/netns/*" + id + "*", "/run/systemd/nspawn/*/*" + id + "*", filepath.Join(dir, "hosts", "*"),
	} {
		found, _ := filepath.Glob(pattern)
		traces = append(traces, found...)
	}
	rules, err := exec.CommandContext(t.Context(), "nft", "list", "tables").Output()
	if t.Context().Err() == nil && err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(line, "hf"+id) {
			traces = append(traces, line)
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		words, _ := os.ReadFile(process + "/cmdline")
		mounts, _ := os.ReadFile(process + "/mountinfo")
		if filepath.Base(process) == fmt.Sprint(os.Getpid()) {
			words = nil
		}
		if bytes.Contains(words, []byte(dir)) || bytes.Contains(mounts, []byte(dir)) {
			traces = append(traces, fmt.Sprintf("%s %q", process, words))
		}
	}
	if len(traces) > 0 {
		t.Errorf("left on the machine: %q", traces)
	}
}

func readMounts(t *testing.T) []string {
	t.Helper()
	var mounts []string
	for line := range strings.Lines(string(must(os.ReadFile("/proc/self/mounts")))) {
		mounts = append(mounts, strings.TrimSpace(line))
	}
	return mounts
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
