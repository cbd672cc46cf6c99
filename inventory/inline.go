package inventory

import (
	"strconv"
	"strings"

	"holdfast/playbooks/source"
)

// InlineFile stands where a file's name would in the places of an inventory that
// was written on the command line.
const InlineFile = "-i"

// Inline reads an inventory written on the command line: hosts separated by commas,
// each [user@]host[:port]. Ranges are expanded, and IPv6 addresses stand in brackets
// when a port follows. The word localhost alone is this machine, without SSH. A host
// is named after itself; when it is there several times with different ports, after
// itself and the port.
//
// A trailing comma tells an inventory of one host from the name of a file; Inline
// does not need it.
func Inline(list string) (*Inventory, source.Faults) {
	r := newReader(Options{})
	pos := source.Pos{File: InlineFile}
	var targets []target
	times := map[string]int{}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		for _, text := range r.inlineNames(pos, item) {
			user, host, port, ok := splitTarget(text)
			if !ok {
				r.fault(pos, "", "want host, user@host, host:port or [IPv6 address]:port", "%q is not a host", text)
				continue
			}
			targets = append(targets, target{text, user, host, port})
			times[host]++
		}
	}
	if len(targets) == 0 && len(r.faults) == 0 {
		r.fault(pos, "", "write host1,host2", "no host is named")
	}
	for _, t := range targets {
		r.inlineHost(pos, t, times[t.host] > 1)
	}
	return r.finish()
}

type target struct {
	text, user, host string
	port             int
}

// inlineNames expands ranges; brackets around an address are none.
func (r *reader) inlineNames(pos source.Pos, item string) []string {
	_, host, found := strings.Cut(item, "@")
	if !found {
		host = item
	}
	if strings.HasPrefix(host, "[") && strings.Count(host, ":") > 1 {
		return []string{item}
	}
	names, err := expand(item)
	if err != nil {
		r.fault(pos, "", "", "%v", err)
	}
	return names
}

func (r *reader) inlineHost(pos source.Pos, t target, several bool) {
	h := &Host{Name: t.host, Address: t.host, Connection: ConnectionSSH, Pos: pos, index: len(r.inv.Hosts)}
	port := strconv.Itoa(t.port)
	if several && t.port != 0 {
		h.Name += ":" + port
	}
	if old := r.inv.hosts[h.Name]; old != nil {
		r.fault(pos, "", "remove one of them", "the host %q is named twice", h.Name)
		return
	}
	if len(r.inv.Hosts) == maxHosts {
		if !r.full {
			r.fault(pos, "", "", "more than %d hosts", maxHosts)
		}
		r.full = true
		return
	}
	if t.text == "localhost" {
		h.Connection, h.Address = ConnectionLocal, ""
	}
	if t.user != "" {
		node := inlineList(pos, source.Str, t.user)
		h.own = append(h.own, setting{"ssh.users", node, func(h *Host) { h.SSH.Users = []string{t.user} }})
	}
	if t.port != 0 {
		node := inlineList(pos, source.Int, port)
		h.own = append(h.own, setting{"ssh.ports", node, func(h *Host) { h.SSH.Ports = []int{t.port} }})
	}
	r.inv.hosts[h.Name] = h
	r.inv.Hosts = append(r.inv.Hosts, h)
}

func inlineList(pos source.Pos, typ source.Type, text string) *source.Node {
	return &source.Node{Kind: source.List, Pos: pos, Items: []*source.Node{source.NewScalar(pos, typ, text)}}
}
