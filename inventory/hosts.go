package inventory

import (
	"fmt"
	"strings"

	"holdfast/playbooks/source"
)

var hostKeys = []string{"address", "connection", "labels", "vars", "groups", "ssh", "sudo"}

// hostDecl is what stands behind one key of hosts.
type hostDecl struct {
	address    *source.Node
	connection string
	groups     []*source.Node
	own        layer
}

func (r *reader) hosts(n *source.Node) {
	if !r.isMap(n, "hosts", "write {web1: {address: 203.0.113.5}}") {
		return
	}
	for _, e := range n.Entries {
		path := "hosts." + e.Key.Text
		decl := r.host(e.Value, path)
		names, err := expand(e.Key.Text)
		if err != nil {
			r.fault(e.Key.Pos, path, "", "%v", err)
			continue
		}
		if decl.address != nil && len(names) > 1 {
			r.fault(decl.address.Pos, path+".address", "leave it out, or write the hosts one by one", "one address for %d hosts", len(names))
		}
		r.define(names, e.Key.Pos, path, decl)
	}
}

func (r *reader) host(n *source.Node, path string) hostDecl {
	d := hostDecl{connection: ConnectionSSH}
	if !r.isMap(n, path, "write {address: 203.0.113.5}, or {} when the name is the address") {
		return d
	}
	for _, e := range n.Entries {
		at := join(path, e.Key.Text)
		switch e.Key.Text {
		case "address":
			r.address(e.Value, at, &d)
		case "connection":
			r.connection(e.Value, at, &d)
		case "groups":
			d.groups = r.list(e.Value, at)
		case "labels", "vars", "ssh", "sudo":
			d.own = append(d.own, r.settings(e, path)...)
		default:
			r.unknown(e.Key, path, hostKeys)
		}
	}
	if d.connection == ConnectionLocal && d.address != nil {
		r.fault(d.address.Pos, join(path, "address"), "remove address or connection", "a host with a local connection has no address")
	}
	return d
}

func (r *reader) address(n *source.Node, path string, d *hostDecl) {
	text, ok := r.text(n, path)
	if !ok {
		return
	}
	if !isAddress(text) {
		hint := ""
		switch {
		case strings.Contains(text, "@"):
			hint = "the user goes to ssh: {users: [...]}"
		case strings.Contains(text, ":"):
			hint = "the port goes to ssh: {ports: [...]}"
		}
		r.fault(n.Pos, path, hint, "%q is neither a host name nor an IP address", text)
		return
	}
	d.address = n
	d.own = append(d.own, setting{"host.address", n, func(h *Host) { h.Address = text }})
}

func (r *reader) connection(n *source.Node, path string, d *hostDecl) {
	text, ok := r.text(n, path)
	if !ok {
		return
	}
	if text != ConnectionSSH && text != ConnectionLocal {
		hint := source.DidYouMean(text, []string{ConnectionSSH, ConnectionLocal})
		r.fault(n.Pos, path, hint, "%q is neither ssh nor local", text)
		return
	}
	d.connection = text
	d.own = append(d.own, setting{"host.connection", n, func(h *Host) { h.Connection = text }})
}

// define adds the hosts that one key stands for. Names that are taken are reported
// once per key, however many there are.
func (r *reader) define(names []string, pos source.Pos, path string, d hostDecl) {
	var taken []string
	first := len(r.inv.Hosts)
	for _, name := range names {
		if !isHostName(name) {
			r.fault(pos, path, "use letters, digits, \".\", \"-\" and \"_\", or an IP address", "%q cannot be the name of a host", name)
			return
		}
		if name == "all" {
			r.fault(pos, path, "choose another name", "all means every host and cannot be the name of one")
			return
		}
		if r.inv.hosts[name] != nil {
			taken = append(taken, name)
			continue
		}
		if len(r.inv.Hosts) == maxHosts {
			r.fault(pos, path, "split the inventory", "more than %d hosts", maxHosts)
			return
		}
		h := &Host{Name: name, Connection: d.connection, Pos: pos, index: len(r.inv.Hosts), own: d.own}
		switch {
		case d.address != nil:
			h.Address = d.address.Text
		case h.Connection == ConnectionSSH:
			h.Address = name
		}
		r.inv.hosts[name] = h
		r.inv.Hosts = append(r.inv.Hosts, h)
	}
	if len(d.groups) > 0 {
		r.joins = append(r.joins, joining{first, len(r.inv.Hosts), d.groups, path + ".groups"})
	}
	if len(taken) > 0 {
		more := ""
		if len(taken) > 1 {
			more = fmt.Sprintf(" (and %d more of this range)", len(taken)-1)
		}
		r.clash(r.inv.hosts[taken[0]].Pos, pos, path, "remove one of them", "the host %q is defined twice%s", taken[0], more)
	}
}
