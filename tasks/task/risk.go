package task

import (
	"path"
	"slices"
	"strings"
)

// loginFiles are the files and folders that decide who may log in and become root, and
// whether the host is on the network at all. One that ends in a slash counts with all
// that is below it.
var loginFiles = []string{
	"/etc/ssh/", "/etc/default/ssh", "/etc/sudoers", "/etc/sudoers.d/", "/etc/pam.d/", "/etc/security/", "/etc/passwd", "/etc/shadow",
	"/etc/group", "/etc/gshadow", "/etc/nologin", "/etc/shells", "/etc/nsswitch.conf", "/etc/hosts.allow", "/etc/hosts.deny",
	"/etc/nftables.conf", "/etc/nftables.d/", "/etc/iptables/", "/etc/ufw/", "/etc/default/ufw", "/etc/network/", "/etc/netplan/",
	"/etc/systemd/network/", "/etc/NetworkManager/", "/etc/wireguard/",
}

// loginUnits are the units without which nobody could log in, or that load what decides
// who may.
var loginUnits = []string{"ssh", "sshd", "nftables", "ufw", "iptables", "netfilter-persistent", "firewalld", "networking",
	"systemd-networkd", "NetworkManager", "tailscaled", "systemd-logind", "nscd", "sssd"}

// loginPackages are the packages whose removal takes such a unit or program away.
var loginPackages = []string{"openssh-server", "sudo", "sudo-ldap", "ufw", "nftables", "iptables", "iptables-persistent", "ifupdown", "netplan.io",
	"network-manager", "tailscale", "libpam-runtime", "libpam-modules"}

// RisksLogin reports whether a file, given by its path, has a say in who can log in.
func RisksLogin(file string) bool {
	file = path.Clean(file)
	if dir := path.Dir(file); path.Base(file) == ".ssh" || path.Base(dir) == ".ssh" {
		return true
	}
	base := strings.TrimSuffix(path.Base(file), ".d")
	if strings.HasPrefix(file, "/etc/systemd/system/") && (RisksUnit(base) || RisksUnit(strings.TrimSuffix(path.Base(path.Dir(file)), ".d"))) {
		return true
	}
	return slices.ContainsFunc(loginFiles, func(f string) bool {
		return file == strings.TrimSuffix(f, "/") || strings.HasSuffix(f, "/") && strings.HasPrefix(file, f)
	})
}

// RisksUnit reports whether a unit has a say in who can log in.
func RisksUnit(name string) bool {
	for _, suffix := range []string{".service", ".socket"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return slices.Contains(loginUnits, name) || strings.HasPrefix(name, "wg-quick@") || strings.HasPrefix(name, "ifup@")
}

// RisksPackages reports whether the removal of one of the packages could cut the
// connection that the run depends on.
func RisksPackages(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		name, _, _ = strings.Cut(name, ":")
		return slices.Contains(loginPackages, name)
	})
}

// Way is a way into the host that has to stay open: the account, and the port of the SSH
// server, 0 for the one of the connection.
type Way struct {
	User string `json:"user"`
	Port int64  `json:"port,omitempty"`
}

// Each returns the logins that have to stay possible: those that a guard declares, or
// the one that there is.
func (l Login) Each() []Login {
	if len(l.Ways) == 0 {
		return []Login{l}
	}
	var out []Login
	for _, w := range l.Ways {
		one := l
		one.User, one.Ways = w.User, nil
		if w.Port != 0 {
			one.ServerPort = w.Port
		}
		out = append(out, one)
	}
	return out
}
