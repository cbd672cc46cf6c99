package inventory

import (
	"fmt"
	"slices"
	"time"

	"holdfast/playbooks/source"
)

// Selector tells whether an expression is true for a host. The place is that of the
// expression's first character. A fault ends the evaluation of that expression.
//
// While an inventory is read, the host has its name, address, connection, labels and the
// groups that it has without selections, and nothing else.
type Selector func(expr string, pos source.Pos, host *Host) (bool, *source.Fault)

// Checker finds what is wrong with an expression before there is a host.
type Checker func(expr string, pos source.Pos) *source.Fault

// Options says how selections are evaluated. Without a Selector, a group with a
// selection is a fault; without a Checker, mistakes show when it is evaluated.
type Options struct {
	Select Selector
	Check  Checker
}

// Inventory is a fleet. It is not changed after it was read, and neither may be
// what its hosts hold: hosts with the same values share them.
type Inventory struct {
	Hosts  []*Host  // in the order of the file
	Groups []*Group // in the order of the file

	hosts  map[string]*Host
	groups map[string]*Group
	all    layer
}

// The ways to reach a host.
const (
	ConnectionSSH   = "ssh"
	ConnectionLocal = "local"
)

// Host is one machine of the fleet.
type Host struct {
	Name       string
	Address    string // what to connect to; empty for local connections
	Connection string // ConnectionSSH or ConnectionLocal
	Labels     map[string]string
	Groups     []string // all that it is in, sorted
	Vars       map[string]Value
	SSH        SSH
	Sudo       Sudo
	Pos        source.Pos // where it is defined

	index    int
	own      layer
	direct   set // indexes of the groups that name it, or that it names
	resolved *resolved
}

// Group is a named set of hosts; see [Inventory.Members].
type Group struct {
	Name string
	Pos  source.Pos // where it is defined

	index     int
	own       layer
	decl      groupDecl
	children  []*Group
	ancestors set  // indexes of the groups that it is in, at any distance
	height    int  // 0 without children
	dynamic   bool // it or a group in it has a selection
}

// SSH says how a host is reached over SSH. A field that nothing sets is zero, and the
// connection has its own default for it.
type SSH struct {
	Users          []string
	Ports          []int
	Jump           []string // names of hosts, or [user@]address[:port]
	Keys           []string // paths as written
	KnownHosts     string   // path as written
	NoAgent        bool
	Config         string // path as written, or "none"
	ConnectTimeout time.Duration

	// From tells where each field that is set comes from, under its name in the file.
	From map[string]Value
}

// Sudo says how to become root.
type Sudo struct {
	Method   string // "auto", "none", or empty when nothing sets it
	Password string // secret:NAME, env:NAME or file:/path, or empty
}

// Level is how wide a value was given.
type Level string

// The levels, in the order in which they count.
const (
	LevelHost  Level = "host"
	LevelGroup Level = "group"
	LevelAll   Level = "all"
)

// Value is a value with where it comes from; the node has the place in the file.
type Value struct {
	Node  *source.Node
	Level Level
	Name  string // of the host or group; empty for LevelAll
}

// Where returns the value's origin as users read it.
func (v Value) Where() string {
	if v.Level == LevelAll {
		return "every host"
	}
	return fmt.Sprintf("%s %q", v.Level, v.Name)
}

// Host returns the host of that name, or nil.
func (inv *Inventory) Host(name string) *Host { return inv.hosts[name] }

// Group returns the group of that name, or nil.
func (inv *Inventory) Group(name string) *Group { return inv.groups[name] }

// Members returns the hosts of a group, those of the groups in it included, in the
// order of the inventory. A group that does not exist has none.
func (inv *Inventory) Members(group string) []*Host {
	g := inv.groups[group]
	if g == nil {
		return nil
	}
	var out []*Host
	for _, h := range inv.Hosts {
		if h.resolved.in.has(g.index) {
			out = append(out, h)
		}
	}
	return out
}

// Explain returns all values that were given for one thing of a host, the one that
// counts first. The thing is the name of a var, or one of ssh.FIELD, sudo.FIELD,
// labels.NAME, host.address and host.connection. Nothing given is an empty list.
func (inv *Inventory) Explain(host, param string) ([]Value, error) {
	h := inv.hosts[host]
	if h == nil {
		return nil, &source.Fault{Message: fmt.Sprintf("no host is named %q", host), Hint: source.DidYouMean(host, inv.hostNames())}
	}
	var out []Value
	if s := h.own.find(param); s != nil {
		out = append(out, Value{s.node, LevelHost, h.Name})
	}
	for _, g := range h.resolved.groups {
		if s := g.own.find(param); s != nil {
			out = append(out, Value{s.node, LevelGroup, g.Name})
		}
	}
	if s := inv.all.find(param); s != nil {
		out = append(out, Value{Node: s.node, Level: LevelAll})
	}
	return out, nil
}

func (inv *Inventory) hostNames() []string {
	out := make([]string, len(inv.Hosts))
	for i, h := range inv.Hosts {
		out[i] = h.Name
	}
	return out
}

func (inv *Inventory) groupNames() []string {
	out := make([]string, len(inv.Groups))
	for i, g := range inv.Groups {
		out[i] = g.Name
	}
	return out
}

// layer is what one host, one group or the top of the file says.
type layer []setting

// setting is one value at one level. Its name is that of Explain; set puts it into
// a host, and is nil for vars.
type setting struct {
	name string
	node *source.Node
	set  func(*Host)
}

func (l layer) find(name string) *setting {
	for i := range l {
		if l[i].name == name {
			return &l[i]
		}
	}
	return nil
}

// Innermost returns those of the host's groups among names that have no other one of
// them inside: whose values count first. More than one is left where neither is
// inside of the other.
func (h *Host) Innermost(names []string) []string {
	var among, out []*Group
	for _, g := range h.resolved.groups {
		if slices.Contains(names, g.Name) {
			among = append(among, g)
		}
	}
	for _, g := range among {
		if !slices.ContainsFunc(among, func(inner *Group) bool { return inner.ancestors.has(g.index) }) {
			out = append(out, g)
		}
	}
	found := make([]string, len(out))
	for i, g := range out {
		found[i] = g.Name
	}
	slices.Sort(found)
	return found
}
