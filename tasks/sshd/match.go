package sshd

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// answer is what can be said about a condition without asking the server.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// applies reports whether all of the Match blocks around a line hold for a connection.
func applies(blocks [][]string, login task.Login, groups []string) answer {
	out := yes
	for _, criteria := range blocks {
		out = min(out, block(criteria, login, groups))
	}
	return out
}

// block judges the criteria of one Match line; all of them must hold.
func block(criteria []string, login task.Login, groups []string) answer {
	out := yes
	for i := 0; i < len(criteria); i++ {
		name, arg, joined := strings.Cut(criteria[i], "=")
		if name = strings.ToLower(name); name == "all" {
			continue
		}
		if name == "invalid-user" {
			return no // whoever is logged in exists
		}
		if !joined {
			if i++; i == len(criteria) {
				return maybe
			}
			arg = criteria[i]
		}
		out = min(out, criterion(name, arg, login, groups))
	}
	return out
}

func criterion(name, arg string, login task.Login, groups []string) answer {
	switch name {
	case "user":
		return certainly(patternList(login.User, arg) == yes)
	case "group":
		return certainly(slices.ContainsFunc(groups, func(g string) bool { return patternList(g, arg) == yes }))
	case "address":
		return certainly(addressList(login.PeerAddr, arg) == yes)
	case "localaddress":
		return certainly(addressList(login.ServerAddr, arg) == yes)
	case "localport":
		return certainly(arg == strconv.FormatInt(login.ServerPort, 10))
	}
	return maybe // Host, RDomain, Version, and what comes later
}

func certainly(b bool) answer {
	if b {
		return yes
	}
	return no
}

// patternList matches a list of patterns with commas. A negated pattern that
// matches outweighs all others (PATTERNS in ssh_config(5)).
func patternList(s, list string) answer {
	out := no
	for p := range strings.SplitSeq(list, ",") {
		p, negated := strings.CutPrefix(p, "!")
		if wildcard(p, s) {
			if negated {
				return no
			}
			out = yes
		}
	}
	return out
}

// addressList matches a list of networks, addresses and patterns with commas.
func addressList(address, list string) answer {
	out := no
	for p := range strings.SplitSeq(list, ",") {
		p, negated := strings.CutPrefix(p, "!")
		if inNetwork(address, p) || wildcard(strings.ToLower(p), strings.ToLower(address)) {
			if negated {
				return no
			}
			out = yes
		}
	}
	return out
}

func inNetwork(address, network string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	p, err := netip.ParsePrefix(network)
	return err == nil && p.Contains(a.Unmap().WithZone(""))
}

// wildcard matches s against a pattern in which * stands for any run of characters
// and ? for any one.
func wildcard(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := range len(s) + 1 {
				if wildcard(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
		default:
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

// userPattern matches an entry of AllowUsers or DenyUsers: a name, or name@host,
// where the host is a list of addresses, networks and names. Names of hosts are
// only looked up when UseDNS is on; then nobody can tell.
func userPattern(pattern string, login task.Login, dns bool) answer {
	user, host, hosted := strings.Cut(pattern, "@")
	if !wildcard(user, login.User) {
		return no
	}
	if !hosted {
		return yes
	}
	out := addressList(login.PeerAddr, host)
	if out == no && dns {
		return maybe
	}
	return out
}
