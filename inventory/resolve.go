package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/playbooks/source"
)

// resolved is what hosts in the same groups have in common.
type resolved struct {
	in        set
	groups    []*Group // inner before outer, then by name: the order in which values count
	base      Host     // the values of the groups and of the top of the file
	conflicts []conflict
}

// conflict is a value that two groups give differently.
type conflict struct {
	name          string
	first, second Value
}

// maxClashes is how many differences to one group are shown for one value.
const maxClashes = 20

func (r *reader) resolve() {
	r.relateGroups()
	for _, g := range r.inv.Groups {
		for i, n := range g.decl.hosts {
			for _, k := range r.membersOf(n, index("groups."+g.Name+".hosts", i)) {
				r.inv.Hosts[k].joins(g)
			}
		}
	}
	for _, j := range r.joins {
		for i, n := range j.groups {
			path := index(j.path, i)
			g := r.groupNamed(n, path)
			if g == nil {
				continue
			}
			if g.decl.sel != nil {
				r.clash(g.Pos, n.Pos, path, "change the host's labels", "the group %q chooses its hosts by itself", g.Name)
				continue
			}
			for k := j.first; k < j.end; k++ {
				r.inv.Hosts[k].joins(g)
			}
		}
	}
	r.inv.assign()
	if r.selections() {
		r.inv.assign()
	}
	r.conflicts()
	r.inv.settle()
	r.checkJumps()
}

func (h *Host) joins(g *Group) { h.direct = h.direct.with(g.index) }

// assign gives each host the values of the groups that it is in by now.
func (inv *Inventory) assign() {
	cache := map[string]*resolved{}
	for _, h := range inv.Hosts {
		key := h.direct.key()
		res := cache[key]
		if res == nil {
			res = inv.combine(inv.reach(h.direct))
			cache[key] = res
		}
		h.resolved = res
		h.Groups = res.base.Groups
		h.Labels = res.base.Labels
		if h.own.has("labels.") {
			h.Labels = maps.Clone(h.Labels)
			h.own.apply(h, func(s setting) bool { return strings.HasPrefix(s.name, "labels.") }, Value{})
		}
	}
}

// reach adds to a set of groups all that those are in.
func (inv *Inventory) reach(direct set) set {
	var out set
	for i, g := range inv.Groups {
		if direct.has(i) {
			out = out.with(i).union(g.ancestors)
		}
	}
	return out
}

// combine works out what a set of groups and the top of the file give.
func (inv *Inventory) combine(in set) *resolved {
	res := &resolved{in: in}
	base := &res.base
	base.Groups = []string{}
	for i, g := range inv.Groups {
		if in.has(i) {
			res.groups = append(res.groups, g)
			base.Groups = append(base.Groups, g.Name)
		}
	}
	slices.Sort(base.Groups)
	base.Labels, base.Vars, base.SSH.From = map[string]string{}, map[string]Value{}, map[string]Value{}
	inv.all.apply(base, every, Value{Level: LevelAll})

	slices.SortFunc(res.groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(a.height, b.height), cmp.Compare(a.Name, b.Name))
	})
	givers := map[string][]*Group{}
	var names []string
	for _, g := range res.groups {
		for _, s := range g.own {
			if givers[s.name] == nil {
				names = append(names, s.name)
			}
			givers[s.name] = append(givers[s.name], g)
		}
	}
	for _, name := range names {
		gs := givers[name]
		first := gs[0].own.find(name)
		one := layer{*first}
		one.apply(base, every, Value{Level: LevelGroup, Name: gs[0].Name})
		clashes := 0
		for i, g := range gs[1:] {
			if clashes == maxClashes {
				break
			}
			second := g.own.find(name)
			if sameValue(first.node, second.node) || slices.ContainsFunc(gs[:i+1], func(in *Group) bool { return in.ancestors.has(g.index) }) {
				continue
			}
			clashes++
			res.conflicts = append(res.conflicts, conflict{
				name, Value{first.node, LevelGroup, gs[0].Name}, Value{second.node, LevelGroup, g.Name},
			})
		}
	}
	return res
}

func every(setting) bool { return true }

func (l layer) has(prefix string) bool {
	return slices.ContainsFunc(l, func(s setting) bool { return strings.HasPrefix(s.name, prefix) })
}

// apply puts the chosen settings of a layer into a host; from says which layer it is.
func (l layer) apply(h *Host, which func(setting) bool, from Value) {
	for _, s := range l {
		if !which(s) {
			continue
		}
		from.Node = s.node
		if s.set == nil {
			h.Vars[s.name] = from
			continue
		}
		s.set(h)
		if field, ok := strings.CutPrefix(s.name, "ssh."); ok {
			h.SSH.From[field] = from
		}
	}
}

// selections evaluates the groups that choose their hosts and reports whether any
// host was chosen. No host joins before all expressions were evaluated.
func (r *reader) selections() bool {
	chosen := map[*Group][]*Host{}
	for _, g := range r.inv.Groups {
		if g.decl.sel != nil {
			chosen[g] = r.selected(g)
		}
	}
	for g, hosts := range chosen {
		for _, h := range hosts {
			h.joins(g)
		}
	}
	return len(chosen) > 0
}

func (r *reader) selected(g *Group) []*Host {
	n := g.decl.sel
	pos, path := n.At(0), "groups."+g.Name+".select"
	if r.opts.Check != nil {
		if f := r.opts.Check(n.Text, pos); f != nil {
			r.addFault(f, path)
			return nil
		}
	}
	if r.opts.Select == nil {
		r.fault(pos, path, "", "expressions cannot be evaluated here")
		return nil
	}
	var out []*Host
	for _, h := range r.inv.Hosts {
		yes, f := r.opts.Select(n.Text, pos, h)
		if f != nil {
			r.addFault(f, path)
			return nil
		}
		if yes {
			out = append(out, h)
		}
	}
	return out
}

// addFault adds a fault of the expression's evaluator, with the path it cannot know.
func (r *reader) addFault(f *source.Fault, path string) {
	c := *f
	c.Path = cmp.Or(c.Path, path)
	r.faults.Add(&c)
}

// conflicts reports what groups give differently and no host decides for itself.
func (r *reader) conflicts() {
	type pair struct {
		name          string
		first, second source.Pos
	}
	found := map[pair]*source.Fault{}
	for _, h := range r.inv.Hosts {
		for _, c := range h.resolved.conflicts {
			if h.own.find(c.name) != nil {
				continue
			}
			key := pair{c.name, c.first.Node.Pos, c.second.Node.Pos}
			f := found[key]
			if f == nil {
				path := "groups." + c.second.Name + "." + settingPath(c.name)
				r.clash(c.first.Node.Pos, c.second.Node.Pos, path, "say it in the host, or put one group into the other",
					"the groups %q and %q give the same host different values", c.first.Name, c.second.Name)
				f = r.faults[len(r.faults)-1]
				found[key] = f
			}
			f.Hosts = append(f.Hosts, h.Name)
		}
	}
}

// settingPath is where a setting stands below its host or group.
func settingPath(name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return "vars." + name
}

// settle gives each host its final values.
func (inv *Inventory) settle() {
	for _, h := range inv.Hosts {
		base := &h.resolved.base
		h.Vars, h.SSH, h.Sudo = base.Vars, base.SSH, base.Sudo
		if slices.ContainsFunc(h.own, func(s setting) bool { return s.set == nil }) {
			h.Vars = maps.Clone(h.Vars)
		}
		if h.own.has("ssh.") {
			h.SSH.From = maps.Clone(h.SSH.From)
		}
		notLabels := func(s setting) bool { return !strings.HasPrefix(s.name, "labels.") }
		h.own.apply(h, notLabels, Value{Level: LevelHost, Name: h.Name})
		if own := h.own.find("ssh.jump"); own == nil {
			if i := slices.Index(h.SSH.Jump, h.Name); i >= 0 {
				h.SSH.Jump = h.SSH.Jump[:i:i]
			}
		}
	}
}

// checkJumps reports hosts that name themselves in their own jump list.
func (r *reader) checkJumps() {
	for _, h := range r.inv.Hosts {
		own := h.own.find("ssh.jump")
		if own == nil {
			continue
		}
		for i, n := range own.node.Items {
			if n.Text == h.Name {
				path := fmt.Sprintf("hosts.%s.ssh.jump[%d]", h.Name, i)
				r.fault(n.Pos, path, "remove it", "the host %q is reached through itself", h.Name)
			}
		}
	}
}
