package sandbox

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Inventory writes the inventory of the hosts as they are now and returns its
// path. Up, Down and Reset do so too.
func (s *Sandbox) Inventory() (string, error) {
	hosts, _, err := s.readHosts()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	text, err := s.knownHosts(hosts)
	if err != nil {
		return "", err
	}
	if err := writeFile(s.KnownHostsPath(), []byte(text), 0o600); err != nil {
		return "", err
	}
	if err := writeFile(s.inventoryPath(), []byte(s.inventoryText(hosts)), 0o600); err != nil {
		return "", err
	}
	return s.inventoryPath(), nil
}

// inventoryText needs no YAML library: every value is of a plain form that Open
// or a regular expression has checked.
func (s *Sandbox) inventoryText(hosts []hostState) string {
	var b strings.Builder
	b.WriteString("# Written by holdfast sandbox; it is written anew whenever hosts come or go.\n")
	if len(hosts) == 0 {
		b.WriteString("hosts: {}\n")
	} else {
		b.WriteString("hosts:\n")
	}
	for _, h := range hosts {
		fmt.Fprintf(&b, "  %s: {address: %s, labels: {sandbox: \"true\", suite: %s}}\n", h.Name, h.address(), h.Suite)
	}
	// The way in that the shipped baseline leaves, behind the one that a fresh host has.
	fmt.Fprintf(&b, "ssh: {users: [root, adminclaw], ports: [22, 222], keys: [%q], known_hosts: %q}\n", s.KeyPath(), s.KnownHostsPath())
	if len(hosts) > 0 {
		// This machine plays with its hosts faster than people log in.
		fmt.Fprintf(&b, "vars: {never_ban: [%q]}\n", networkState{Network: hosts[0].Network}.gateway())
	}
	return b.String()
}

// knownHosts lists the keys of hosts under their names and addresses.
func (s *Sandbox) knownHosts(hosts []hostState) (string, error) {
	var b strings.Builder
	for _, h := range hosts {
		keys, err := filepath.Glob(filepath.Join(s.identityDir(h.Name), "etc/ssh/ssh_host_*_key.pub"))
		if err != nil {
			return "", err
		}
		for _, path := range keys {
			fields := strings.Fields(readText(path))
			if len(fields) < 2 {
				continue
			}
			fmt.Fprintf(&b, "%s,%s %s %s\n", h.Name, h.address(), fields[0], fields[1])
		}
	}
	return b.String(), nil
}

// isOwn reports whether an address is one of this machine's.
func isOwn(addr netip.Addr) bool {
	all, _ := net.InterfaceAddrs()
	for _, own := range all {
		if prefix, err := netip.ParsePrefix(own.String()); err == nil && prefix.Addr() == addr {
			return true
		}
	}
	return false
}
