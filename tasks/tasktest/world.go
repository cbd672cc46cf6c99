package tasktest

import (
	"path"
	"slices"
	"strings"
	"time"

	"holdfast/tasks/task"
)

// NewHost returns a small Debian 12 server as it is before anybody managed it:
// the usual folders and a few files of /etc, the accounts root, nobody, www-data
// and admin, an SSH server that listens on port 22, and units and kernel
// parameters to play with. Every package can be installed.
func NewHost() *Host {
	h := &Host{
		facts: debian(),
		blobs: map[string][]byte{},
		sums:  map[string]string{},
		state: state{
			Files: map[string]node{}, Users: map[string]account{}, Groups: map[string]task.Group{},
			Packages: map[string]task.Package{}, Units: map[string]unit{}, Linger: map[string]bool{},
			Kernel: map[string]string{}, Refreshed: map[string]time.Time{},
		},
	}
	h.addAccounts()
	h.addFiles()
	for _, name := range []string{"openssh-server", "sudo", "cron", "systemd"} {
		h.AddPackage(task.Package{Name: name, Installed: true, Version: "1.0"})
	}
	for _, name := range []string{"ssh", "cron", "systemd-journald"} {
		h.AddUnit(task.UnitRef{Name: name + ".service"}, task.Unit{Exists: true, Enabled: "enabled", Active: "active", Sub: "running", MainPID: 100})
	}
	for _, name := range []string{"fail2ban", "nginx", "ufw"} {
		h.AddUnit(task.UnitRef{Name: name + ".service"}, task.Unit{Exists: true, Enabled: "disabled", Active: "inactive", Sub: "dead"})
	}
	for name, value := range map[string]string{
		"net.ipv4.ip_forward": "0", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.tcp_syncookies": "1",
		"net.ipv4.conf.all.accept_redirects": "1", "net.ipv4.ip_local_port_range": "32768 60999",
		"net.core.somaxconn": "4096", "kernel.kptr_restrict": "0", "kernel.dmesg_restrict": "0",
		"vm.swappiness": "60", "fs.inotify.max_user_watches": "8192",
	} {
		h.AddKernelParam(name, value)
	}
	h.AddListener(task.Listener{Proto: "tcp", Address: "0.0.0.0", Port: 22})
	h.AddListener(task.Listener{Proto: "tcp", Address: "::", Port: 22})
	h.AddListener(task.Listener{Proto: "udp", Address: "127.0.0.1", Port: 323})
	return h
}

func debian() task.Facts {
	return task.Facts{
		Hostname: "fake", Kernel: "6.1.0", Arch: "amd64", CPUs: 2, MemoryMB: 2048, Init: "systemd",
		OS:        task.OS{ID: "debian", Version: "12", Codename: "bookworm", Name: "Debian GNU/Linux 12 (bookworm)"},
		Addresses: []string{"192.0.2.10"}, BootID: "boot", MachineID: "machine", User: "root", Packages: "apt",
		Login: task.Login{User: "root", PeerAddr: "192.0.2.1", PeerPort: 50000, ServerAddr: "192.0.2.10", ServerPort: 22},
	}
}

func (h *Host) addAccounts() {
	for name, gid := range map[string]int64{"root": 0, "adm": 4, "sudo": 27, "www-data": 33, "users": 100, "admin": 1000, "nogroup": 65534} {
		h.AddGroup(task.Group{Name: name, GID: gid})
	}
	for _, u := range []task.User{
		{Name: "root", Group: "root", Home: "/root", Shell: "/bin/bash"},
		{Name: "www-data", UID: 33, GID: 33, Group: "www-data", Home: "/var/www", Shell: "/usr/sbin/nologin", Locked: true},
		{Name: "admin", UID: 1000, GID: 1000, Group: "admin", Groups: []string{"sudo"}, Home: "/home/admin", Shell: "/bin/bash"},
		{Name: "nobody", UID: 65534, GID: 65534, Group: "nogroup", Home: "/nonexistent", Shell: "/usr/sbin/nologin", Locked: true},
	} {
		h.AddUser(u)
	}
}

func (h *Host) addFiles() {
	for _, dir := range []string{
		"/etc/apt/apt.conf.d", "/etc/apt/keyrings", "/etc/apt/sources.list.d", "/etc/cron.d", "/etc/fail2ban", "/etc/nginx", "/etc/ssh/sshd_config.d", "/etc/sudoers.d", "/etc/sysctl.d",
		"/etc/systemd/system", "/etc/systemd/journald.conf.d", "/lib/systemd/system", "/opt", "/proc", "/run", "/srv", "/tmp",
		"/usr/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/usr/share", "/var/cache", "/var/lib", "/var/log", "/var/www",
	} {
		h.AddDir(dir, 0o755)
	}
	h.AddDir("/root", 0o700)
	h.AddDir("/home/admin", 0o700)
	h.own("/home/admin", "admin", "admin")
	h.AddLink("/bin", "usr/bin")
	h.AddFile("/usr/bin/true", "\x7fELF", 0o755)
	h.AddFile("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n", 0o644)
	h.AddFile("/etc/hostname", "fake\n", 0o644)
	h.AddFile("/etc/motd", "Welcome.\n", 0o644)
	h.AddFile("/etc/issue.net", "Debian GNU/Linux 12\n", 0o644)
	h.AddFile("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n", 0o644)
	h.AddFile("/etc/sysctl.conf", "#net.ipv4.ip_forward=1\n", 0o644)
	h.AddFile("/etc/sudoers", "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n", 0o440)
	h.AddFile("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n#Port 22\n#PermitRootLogin prohibit-password\n"+
		"UsePAM yes\n\n# Example\nMatch User anoncvs\n\tX11Forwarding no\n", 0o644)
	h.AddFile("/etc/default/ufw", "IPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_OUTPUT_POLICY=\"ACCEPT\"\nDEFAULT_FORWARD_POLICY=\"DROP\"\n", 0o644)
	h.AddFile("/etc/ufw/ufw.conf", "ENABLED=no\nLOGLEVEL=low\n", 0o644)
	for _, name := range []string{"ufw", "ufw6"} {
		file := strings.Replace(name, "ufw", "/etc/ufw/user", 1) + ".rules"
		h.AddFile(file, "*filter\n:"+name+"-user-input - [0:0]\n### RULES ###\nCOMMIT\n", 0o640)
	}
}

// SetFacts changes the host's facts.
func (h *Host) SetFacts(change func(*task.Facts)) { change(&h.facts) }

// SetModified says when the content of a file last changed, until it is written to.
func (h *Host) SetModified(name string, at time.Time) {
	if h.modified == nil {
		h.modified = map[string]time.Time{}
	}
	h.modified[name] = at
}

// AddFile adds a file of root, and the folders above it.
func (h *Host) AddFile(name, data string, mode task.Mode) {
	h.AddDir(path.Dir(name), 0o755)
	h.state.Files[name] = node{Kind: task.KindFile, Mode: mode, Owner: "root", Group: "root", Data: []byte(data)}
}

// AddDir adds a directory of root, and those above it. It changes none that is there.
func (h *Host) AddDir(name string, mode task.Mode) {
	if _, there := h.state.Files[name]; there {
		return
	}
	if name != "/" {
		h.AddDir(path.Dir(name), 0o755)
	}
	h.state.Files[name] = node{Kind: task.KindDir, Mode: mode, Owner: "root", Group: "root"}
}

// AddLink adds a symbolic link, and the folders above it.
func (h *Host) AddLink(name, target string) {
	h.AddDir(path.Dir(name), 0o755)
	h.state.Files[name] = node{Kind: task.KindLink, Owner: "root", Group: "root", Target: target}
}

func (h *Host) own(name, owner, group string) {
	n := h.state.Files[name]
	n.Owner, n.Group = owner, group
	h.state.Files[name] = n
}

// AddUser adds an account, without a home directory and without its group.
func (h *Host) AddUser(u task.User) {
	password := "*"
	if u.Locked {
		password = "!"
	}
	u.PasswordDigest = task.DigestOf([]byte(password))
	h.state.Users[u.Name] = account{u, password}
}

// AddGroup adds a group. Its members are the accounts that name it.
func (h *Host) AddGroup(g task.Group) { g.Members = nil; h.state.Groups[g.Name] = g }

// AddPackage sets the state of a package.
func (h *Host) AddPackage(p task.Package) { h.state.Packages[p.Name] = p }

// AddUnit adds a unit that needs no unit file.
func (h *Host) AddUnit(ref task.UnitRef, u task.Unit) {
	h.state.Units[unitKey(ref)] = unit{Unit: u, Name: ref.Name, User: ref.User, Was: u.Enabled, BuiltIn: true}
}

// AddKernelParam sets a kernel parameter that the kernel knows.
func (h *Host) AddKernelParam(name, value string) { h.state.Kernel[name] = value }

// AddListener adds an open socket.
func (h *Host) AddListener(l task.Listener) { h.state.Listeners = append(h.state.Listeners, l) }

// AddBlob gives the controller content to hold and returns how it is named.
func (h *Host) AddBlob(data string) task.Blob {
	b := task.Blob{Digest: task.DigestOf([]byte(data)), Size: int64(len(data))}
	h.blobs[b.Digest] = []byte(data)
	return b
}

// File returns the content of a file, or "" and false when there is none.
func (h *Host) File(name string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, there := h.state.Files[name]
	return string(n.Data), there && n.Kind == task.KindFile
}

func unitKey(ref task.UnitRef) string { return ref.User + "/" + ref.Name }

// resolve follows the links in the folders of a path, and the last one too when
// asked. It gives up after some, as the kernel does.
func (h *Host) resolve(name string, last bool) string {
	for range 40 {
		next := h.step(name, last)
		if next == name {
			return name
		}
		name = next
	}
	return name
}

func (h *Host) step(name string, last bool) string {
	parts := strings.Split(strings.TrimPrefix(path.Clean(name), "/"), "/")
	for i := range parts {
		if i == len(parts)-1 && !last {
			break
		}
		prefix := "/" + path.Join(parts[:i+1]...)
		n := h.state.Files[prefix]
		if n.Kind != task.KindLink {
			continue
		}
		target := n.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(prefix), target)
		}
		return path.Join(slices.Concat([]string{target}, parts[i+1:])...)
	}
	return path.Clean(name)
}

// AddSocket adds a Unix socket that accepts connections, and the folders above it.
func (h *Host) AddSocket(name string) {
	h.AddDir(path.Dir(name), 0o755)
	h.state.Files[name] = node{Kind: task.KindOther, Mode: 0o666, Owner: "root", Group: "root"}
}
