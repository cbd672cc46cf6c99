package inventory

import (
	"net"
	"slices"
	"strings"
	"time"

	"holdfast/playbooks/source"
)

var (
	sshKeys  = []string{"users", "ports", "jump", "keys", "known_hosts", "agent", "config", "connect_timeout"}
	sudoKeys = []string{"method", "password"}
)

func (r *reader) ssh(n *source.Node, path string) layer {
	if !r.isMap(n, path, "write {users: [root], ports: [22]}") {
		return nil
	}
	var out layer
	for _, e := range n.Entries {
		at := join(path, e.Key.Text)
		if slices.Contains(sshKeys, e.Key.Text) && e.Value.IsNull() {
			r.fault(e.Value.Pos, at, "", "a value is missing")
			continue
		}
		var set func(*Host)
		switch e.Key.Text {
		case "users":
			set = r.sshUsers(e.Value, at)
		case "ports":
			set = r.sshPorts(e.Value, at)
		case "jump":
			set = r.sshJump(e.Value, at)
		case "keys":
			list := texts(r.list(e.Value, at))
			set = func(h *Host) { h.SSH.Keys = list }
		case "known_hosts":
			text, _ := r.text(e.Value, at)
			set = func(h *Host) { h.SSH.KnownHosts = text }
		case "config":
			text, _ := r.text(e.Value, at)
			set = func(h *Host) { h.SSH.Config = text }
		case "agent":
			set = r.sshAgent(e.Value, at)
		case "connect_timeout":
			set = r.sshTimeout(e.Value, at)
		default:
			r.unknown(e.Key, path, sshKeys)
			continue
		}
		out = append(out, setting{"ssh." + e.Key.Text, e.Value, set})
	}
	return out
}

func texts(nodes []*source.Node) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.Text
	}
	return out
}

func (r *reader) sshUsers(n *source.Node, path string) func(*Host) {
	users := r.list(n, path)
	for i, u := range users {
		if !isUser(u.Text) {
			r.fault(u.Pos, index(path, i), "", "%q cannot be the name of a user", u.Text)
		}
	}
	list := texts(users)
	return func(h *Host) { h.SSH.Users = list }
}

func (r *reader) sshPorts(n *source.Node, path string) func(*Host) {
	var ports []int
	for i, p := range r.list(n, path) {
		port, ok := parsePort(p.Text)
		if !ok {
			r.fault(p.Pos, index(path, i), "want a number from 1 to 65535", "%q is not a port", p.Text)
			continue
		}
		ports = append(ports, port)
	}
	return func(h *Host) { h.SSH.Ports = ports }
}

func (r *reader) sshJump(n *source.Node, path string) func(*Host) {
	jump := r.list(n, path)
	for i, j := range jump {
		if _, _, _, ok := splitTarget(j.Text); !ok {
			r.fault(j.Pos, index(path, i), "want the name of a host, or user@address:port", "%q is not a host to jump through", j.Text)
		}
	}
	list := texts(jump)
	return func(h *Host) { h.SSH.Jump = list }
}

func (r *reader) sshAgent(n *source.Node, path string) func(*Host) {
	if n.Kind != source.Scalar || n.Type != source.Bool {
		r.fault(n.Pos, path, "", "want true or false")
	}
	off := strings.EqualFold(n.Text, "false")
	return func(h *Host) { h.SSH.NoAgent = off }
}

func (r *reader) sshTimeout(n *source.Node, path string) func(*Host) {
	text, ok := r.text(n, path)
	d, err := time.ParseDuration(text)
	if ok && (err != nil || d <= 0) {
		r.fault(n.Pos, path, "write a number with a unit, such as 10s or 1m30s", "%q is not a length of time", text)
	}
	return func(h *Host) { h.SSH.ConnectTimeout = d }
}

func (r *reader) sudo(n *source.Node, path string) layer {
	if !r.isMap(n, path, "write {method: auto}") {
		return nil
	}
	var out layer
	for _, e := range n.Entries {
		at := join(path, e.Key.Text)
		if slices.Contains(sudoKeys, e.Key.Text) && e.Value.IsNull() {
			r.fault(e.Value.Pos, at, "", "a value is missing")
			continue
		}
		var set func(*Host)
		switch e.Key.Text {
		case "method":
			text, ok := r.text(e.Value, at)
			if ok && text != "auto" && text != "none" {
				r.fault(e.Value.Pos, at, source.DidYouMean(text, []string{"auto", "none"}), "%q is neither auto nor none", text)
			}
			set = func(h *Host) { h.Sudo.Method = text }
		case "password":
			text := r.reference(e.Value, at)
			set = func(h *Host) { h.Sudo.Password = text }
		default:
			r.unknown(e.Key, path, sudoKeys)
			continue
		}
		out = append(out, setting{"sudo." + e.Key.Text, e.Value, set})
	}
	return out
}

// reference reads where a password is to be found. The fault must not show the text,
// since it may well be the password.
func (r *reader) reference(n *source.Node, path string) string {
	text, ok := r.text(n, path)
	if !ok {
		return ""
	}
	name, isEnv := strings.CutPrefix(text, "env:")
	file, isFile := strings.CutPrefix(text, "file:")
	_, stored := strings.CutPrefix(text, "secret:")
	if isEnv && isIdentifier(name) || isFile && strings.HasPrefix(file, "/") || stored {
		return text
	}
	r.fault(n.Pos, path, "write secret:NAME, env:NAME or file:/path", "a password is not written here, only where to find it")
	return ""
}

// splitTarget takes [user@]host[:port] apart. IPv6 addresses stand in brackets when a
// port follows.
func splitTarget(s string) (user, host string, port int, ok bool) {
	if before, after, found := strings.Cut(s, "@"); found {
		if !isUser(before) {
			return "", "", 0, false
		}
		user, s = before, after
	}
	host = s
	switch {
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
		return user, host, 0, strings.Contains(host, ":") && isAddress(host)
	case strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1:
		h, p, err := net.SplitHostPort(s)
		if err != nil {
			return "", "", 0, false
		}
		if port, ok = parsePort(p); !ok {
			return "", "", 0, false
		}
		host = h
	}
	return user, host, port, isAddress(host)
}
