package host

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/tasks/task"
)

// learn gathers the facts from files and system calls.
func (m *Machine) learn() (*task.Facts, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("cannot learn about this machine: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot learn about this machine: %w", err)
	}
	f := &task.Facts{
		Hostname: name, Kernel: unix.ByteSliceToString(uts.Release[:]), Arch: runtime.GOARCH,
		CPUs: int64(runtime.NumCPU()), MemoryMB: m.memoryMB(), OS: m.osRelease(),
		Init: m.line("/proc/1/comm"), Virtual: m.virtual(), Addresses: addresses(),
		BootID: m.line("/proc/sys/kernel/random/boot_id"), MachineID: m.line("/etc/machine-id"),
		UID: int64(os.Geteuid()),
	}
	db, err := m.accounts.load(m)
	if err != nil {
		return nil, err
	}
	f.User = strconv.FormatInt(f.UID, 10)
	if p := db.uid(f.UID); p != nil {
		f.User = p.name
	}
	if _, err := os.Stat(m.sys("/var/lib/dpkg/status")); err == nil {
		f.Packages = "apt"
	}
	f.Login = login(f.User)
	return f, nil
}

func (m *Machine) line(file string) string {
	b, err := os.ReadFile(m.sys(file))
	if err != nil {
		return ""
	}
	s, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(s)
}

func (m *Machine) memoryMB() int64 {
	b, _ := os.ReadFile(m.sys("/proc/meminfo"))
	for _, l := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(l, "MemTotal:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb / 1024
		}
	}
	return 0
}

func (m *Machine) osRelease() task.OS {
	b, err := os.ReadFile(m.sys("/etc/os-release"))
	if err != nil {
		b, _ = os.ReadFile(m.sys("/usr/lib/os-release"))
	}
	v := map[string]string{}
	for _, l := range strings.Split(string(b), "\n") {
		if key, val, ok := strings.Cut(strings.TrimSpace(l), "="); ok && !strings.HasPrefix(key, "#") {
			v[key] = strings.Trim(val, `"'`)
		}
	}
	return task.OS{ID: v["ID"], Version: v["VERSION_ID"], Codename: v["VERSION_CODENAME"], Name: v["PRETTY_NAME"], Like: v["ID_LIKE"]}
}

// virtual names the container or the hypervisor, as systemd-detect-virt does.
func (m *Machine) virtual() string {
	if s := m.line("/run/systemd/container"); s != "" {
		return s
	}
	env, _ := os.ReadFile(m.sys("/proc/1/environ"))
	for _, kv := range strings.Split(string(env), "\x00") {
		if s, ok := strings.CutPrefix(kv, "container="); ok && s != "" {
			return s
		}
	}
	if _, err := os.Stat(m.sys("/.dockerenv")); err == nil {
		return "docker"
	}
	vendors := []struct{ text, name string }{
		{"QEMU", "kvm"}, {"KVM", "kvm"}, {"Amazon", "amazon"}, {"Google", "google"}, {"VMware", "vmware"},
		{"VirtualBox", "oracle"}, {"innotek", "oracle"}, {"Microsoft", "microsoft"}, {"Xen", "xen"},
		{"Hetzner", "kvm"}, {"OpenStack", "kvm"},
	}
	for _, file := range []string{"product_name", "sys_vendor", "bios_vendor"} {
		text := m.line("/sys/class/dmi/id/" + file)
		for _, v := range vendors {
			if strings.Contains(text, v.text) {
				return v.name
			}
		}
	}
	return m.line("/sys/hypervisor/type")
}

func addresses() []string {
	out := []string{}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// login finds the SSH connection that we serve. sudo takes SSH_CONNECTION out of the
// environment, so the processes above us are asked too.
func login(self string) task.Login {
	l := task.Login{User: self}
	if u := os.Getenv("SUDO_USER"); u != "" {
		l.User = u
	}
	conn := os.Getenv("SSH_CONNECTION")
	for pid, depth := os.Getppid(), 0; conn == "" && pid > 1 && depth < 16; depth++ {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for _, kv := range strings.Split(string(env), "\x00") {
			if v, ok := strings.CutPrefix(kv, "SSH_CONNECTION="); ok {
				conn = v
			}
		}
		pid = parentOf(pid)
	}
	f := strings.Fields(conn)
	if len(f) == 4 {
		l.PeerAddr, l.ServerAddr = f[0], f[2]
		l.PeerPort, _ = strconv.ParseInt(f[1], 10, 64)
		l.ServerPort, _ = strconv.ParseInt(f[3], 10, 64)
	}
	return l
}

func parentOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, l := range strings.Split(string(b), "\n") {
		if s, ok := strings.CutPrefix(l, "PPid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(s))
			return n
		}
	}
	return 0
}
