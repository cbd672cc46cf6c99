package inventory

import (
	"cmp"
	"slices"
	"strings"
)

// relateGroups finds which group is inside which.
func (r *reader) relateGroups() {
	for _, g := range r.inv.Groups {
		path := "groups." + g.Name + ".groups"
		for i, n := range g.decl.groups {
			if child := r.groupNamed(n, index(path, i)); child != nil && !slices.Contains(g.children, child) {
				g.children = append(g.children, child)
			}
		}
		if h := r.inv.hosts[g.Name]; h != nil {
			r.clash(h.Pos, g.Pos, "groups."+g.Name, "rename one of them", "%q is also a host", g.Name)
		}
	}
	state := make([]visit, len(r.inv.Groups))
	for _, g := range r.inv.Groups {
		r.visit(g, state, nil)
	}
	// Outer groups have all inner ones below them, so they come first here.
	byHeight := slices.Clone(r.inv.Groups)
	slices.SortStableFunc(byHeight, func(a, b *Group) int { return cmp.Compare(b.height, a.height) })
	for _, g := range byHeight {
		for _, child := range g.children {
			child.ancestors = child.ancestors.with(g.index).union(g.ancestors)
		}
	}
	for _, g := range r.inv.Groups {
		if g.dynamic && g.decl.labels != nil {
			r.fault(g.decl.labels.Pos, "groups."+g.Name+".labels", "give the labels to the hosts",
				"a group with a selection in it cannot give labels, since selections read them")
		}
	}
}

// maxNesting is how many groups may stand inside each other.
const maxNesting = 64

// visit is how far the search for groups that contain themselves has come.
type visit uint8

const (
	unseen visit = iota
	open
	done
)

// visit sets height and dynamic, and cuts and reports circles.
func (r *reader) visit(g *Group, state []visit, trail []string) {
	if state[g.index] == done {
		return
	}
	state[g.index] = open
	trail = append(trail, g.Name)
	g.dynamic = g.decl.sel != nil
	kept := g.children[:0]
	for _, child := range g.children {
		if state[child.index] == open {
			start := slices.Index(trail, child.Name)
			circle := strings.Join(append(slices.Clone(trail[start:]), child.Name), " → ")
			r.clash(child.Pos, g.Pos, "groups."+g.Name, "remove one of these steps", "the group contains itself: %s", circle)
			continue
		}
		r.visit(child, state, trail)
		kept = append(kept, child)
		g.height = max(g.height, child.height+1)
		g.dynamic = g.dynamic || child.dynamic
	}
	if g.height == maxNesting {
		r.fault(g.Pos, "groups."+g.Name, "", "groups are nested deeper than %d levels", maxNesting)
		kept, g.height = nil, 0
	}
	g.children = kept
	state[g.index] = done
}
