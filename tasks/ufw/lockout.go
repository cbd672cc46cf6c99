package ufw

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// Firewall is what decides about connections that come in.
type Firewall struct {
	Enabled  bool
	IPv6     bool   // whether ufw deals with IPv6; where not, it drops all of it
	Incoming string // what happens to packets that no rule is about: allow, deny or reject
	Rules    []Rule // for IPv4, in their order
	Rules6   []Rule // for IPv6
}

// answer is what can be said about a rule and a connection.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// Lockout says why another connection like that of the login, from the same address
// to the same port, would certainly be dropped, or "". The connection that is open
// goes on in any case. Where it cannot be known which interface or which of its
// own addresses a host uses, nothing is certain.
func Lockout(fw Firewall, login task.Login) string {
	peer, err := netip.ParseAddr(login.PeerAddr)
	if err != nil || !fw.Enabled {
		return ""
	}
	peer = peer.Unmap().WithZone("")
	if peer.IsLoopback() {
		return "" // ufw lets it through before all rules
	}
	rules := fw.Rules
	if peer.Is6() {
		if !fw.IPv6 {
			return fmt.Sprintf("it comes by IPv6 from %s, and with IPV6=no all of that is dropped", peer)
		}
		rules = fw.Rules6
	}
	server, _ := netip.ParseAddr(login.ServerAddr)
	server = server.Unmap().WithZone("")
	for _, r := range rules {
		switch about := r.about(peer, server, login.ServerPort); {
		case about == no:
		case r.Action == "allow" || r.Action == "limit":
			return ""
		case about == yes:
			return fmt.Sprintf("the rule %q keeps %s from port %d", r, peer, login.ServerPort)
		}
	}
	if fw.Incoming == "allow" {
		return ""
	}
	return fmt.Sprintf("no rule lets %s in on tcp port %d, and the default for incoming is %s", peer, login.ServerPort, fw.Incoming)
}

// about reports whether the rule is about a TCP connection.
func (r Rule) about(peer, server netip.Addr, port int64) answer {
	if r.forwards() || r.direction() != "in" || r.Proto != "any" && r.Proto != "tcp" || !covers(r.Port, port) {
		return no
	}
	out := min(within(peer, r.From), within(server, r.To))
	if r.SrcPort != "any" || r.Iface != "in" {
		out = min(out, maybe)
	}
	return out
}

// within reports whether an address is in a network.
func within(a netip.Addr, network string) answer {
	if network == anywhere4 || network == anywhere6 {
		return yes
	}
	p, err := netip.ParsePrefix(network)
	if err != nil {
		single, err := netip.ParseAddr(network)
		if err != nil {
			return maybe
		}
		p = netip.PrefixFrom(single, single.BitLen())
	}
	switch {
	case !a.IsValid():
		return maybe
	case p.Contains(a):
		return yes
	}
	return no
}

// covers reports whether a list of ports has the port.
func covers(list string, port int64) bool {
	if list == "any" {
		return true
	}
	for part := range strings.SplitSeq(list, ",") {
		low, high, ranged := strings.Cut(part, ":")
		a, err := strconv.ParseInt(low, 10, 32)
		b := a
		if ranged && err == nil {
			b, err = strconv.ParseInt(high, 10, 32)
		}
		if err == nil && a <= port && port <= b {
			return true
		}
	}
	return false
}
