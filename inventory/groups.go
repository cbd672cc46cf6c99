package inventory

import (
	"strings"

	"holdfast/playbooks/source"
)

var groupKeys = []string{"hosts", "groups", "select", "vars", "labels", "ssh", "sudo"}

// groupDecl is how a group says who is in it.
type groupDecl struct {
	hosts  []*source.Node
	groups []*source.Node
	sel    *source.Node
	labels *source.Node // the key, when the group gives labels
}

func (r *reader) groups(n *source.Node) {
	if !r.isMap(n, "groups", "write {eu: {hosts: [web1]}}") {
		return
	}
	for _, e := range n.Entries {
		name, path := e.Key.Text, "groups."+e.Key.Text
		g := &Group{Name: name, Pos: e.Key.Pos, index: len(r.inv.Groups)}
		r.group(g, e.Value, path)
		old := r.inv.groups[name]
		switch {
		case !isName(name):
			r.fault(e.Key.Pos, path, "use letters, digits, \".\", \"-\" and \"_\"", "%q cannot be the name of a group", name)
		case name == "all":
			r.fault(e.Key.Pos, path, "what is said for every host stands at the top of the file", "all means every host and is not defined")
		case old != nil:
			r.clash(old.Pos, e.Key.Pos, path, "make it one", "the group %q is defined twice", name)
		case len(r.inv.Groups) == maxGroups:
			r.fault(e.Key.Pos, path, "", "more than %d groups", maxGroups)
			return
		default:
			r.inv.groups[name] = g
			r.inv.Groups = append(r.inv.Groups, g)
		}
	}
}

func (r *reader) group(g *Group, n *source.Node, path string) {
	if !r.isMap(n, path, "write {hosts: [web1]}") {
		return
	}
	for _, e := range n.Entries {
		at := join(path, e.Key.Text)
		switch e.Key.Text {
		case "hosts":
			g.decl.hosts = r.list(e.Value, at)
		case "groups":
			g.decl.groups = r.list(e.Value, at)
		case "select":
			if _, ok := r.text(e.Value, at); ok {
				g.decl.sel = e.Value
			}
		case "vars", "ssh", "sudo":
			g.own = append(g.own, r.settings(e, path)...)
		case "labels":
			g.decl.labels = e.Key
			g.own = append(g.own, r.settings(e, path)...)
		case "children":
			r.fault(e.Key.Pos, at, `write groups: [name]`, "unknown key")
		default:
			r.unknown(e.Key, path, groupKeys)
		}
	}
	if g.decl.sel != nil && (g.decl.hosts != nil || g.decl.groups != nil) {
		r.fault(g.decl.sel.Pos, join(path, "select"), "make it a group of its own and name both in a third one", "a group with select has neither hosts nor groups")
	}
}

// membersOf returns the hosts that a name, range or glob in a list stands for.
func (r *reader) membersOf(n *source.Node, path string) []int {
	pattern := strings.TrimSpace(n.Text)
	if isGlob(pattern) {
		var out []int
		for i, h := range r.inv.Hosts {
			if glob(pattern, h.Name) {
				out = append(out, i)
			}
		}
		if len(out) == 0 {
			r.fault(n.Pos, path, "", "no host matches %q", pattern)
		}
		return out
	}
	names, err := expand(pattern)
	if err != nil {
		r.fault(n.Pos, path, "", "%v", err)
		return nil
	}
	out := make([]int, 0, len(names))
	for _, name := range names {
		h := r.inv.hosts[name]
		if h == nil {
			hint := r.didYouMean(name, r.inv.hostNames)
			switch {
			case r.inv.groups[name] != nil:
				hint = "it is a group: write groups: [" + name + "]"
			case name == "all":
				hint = `write "*" for every host`
			}
			r.fault(n.Pos, path, hint, "no host is named %q", name)
			return out
		}
		out = append(out, h.index)
	}
	return out
}

// groupNamed returns the group that a list names, or nil and a fault.
func (r *reader) groupNamed(n *source.Node, path string) *Group {
	g := r.inv.groups[n.Text]
	if g == nil {
		hint := r.didYouMean(n.Text, r.inv.groupNames)
		switch {
		case r.inv.hosts[n.Text] != nil:
			hint = "it is a host"
		case hint == "":
			hint = "define it: groups: {" + n.Text + ": {}}"
		}
		r.fault(n.Pos, path, hint, "no group is named %q", n.Text)
	}
	return g
}
