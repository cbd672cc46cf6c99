package load

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
)

// Limits of what playbooks may come to by using each other.
const (
	maxUses  = 16
	maxTasks = 20_000
)

// use compiles another playbook in this place.
func (c *compiler) use(sc *scope, n *Node) {
	e := n.Entry
	if c.opts.Find == nil {
		c.faults.Addf(e.UsePos, n.Path+".use", "no playbook is called %q", e.Use)
		return
	}
	pb, faults := c.opts.Find(c.beside(e.Use))
	for _, f := range faults {
		if f.Pos.File == "" {
			f.Pos, f.Path = e.UsePos, n.Path+".use"
		}
		c.faults.Add(f)
	}
	if pb == nil || c.circular(n, pb) {
		return
	}
	n.Use = c.playbook(pb, c.prefix(sc, pb), n.Path+"."+pb.Name+".", sc)
	before := len(c.faults)
	n.With = c.with(sc, n)
	n.faulty = n.faulty || len(c.faults) > before
}

// beside returns the name of a used playbook as the program finds it: a path that begins
// with a dot is meant from the folder of the file that says it.
func (c *compiler) beside(name string) string {
	if !strings.HasPrefix(name, "./") && !strings.HasPrefix(name, "../") {
		return name
	}
	joined := path.Join(path.Dir(c.using[len(c.using)-1].File), name)
	if path.IsAbs(joined) || strings.HasPrefix(joined, "../") {
		return joined
	}
	return "./" + joined
}

// prefix returns what the names of a used playbook's handlers begin with: each use
// has its own, because their arguments may differ.
func (c *compiler) prefix(sc *scope, pb *lang.Playbook) string {
	name := sc.prefix + pb.Name
	c.prefixes[name]++
	if i := c.prefixes[name]; i > 1 {
		name += "#" + strconv.Itoa(i)
	}
	return name + "/"
}

// circular faults a playbook that uses itself, also through others, and one that is
// used too deep.
func (c *compiler) circular(n *Node, pb *lang.Playbook) bool {
	var chain []string
	found := false
	for _, outer := range c.using {
		chain = append(chain, outer.Name)
		found = found || outer.File == pb.File || outer.Digest == pb.Digest && outer.Name == pb.Name && pb.Digest != ""
	}
	if found {
		c.faults.Addf(n.Entry.UsePos, n.Path+".use", "%q uses itself: %s", pb.Name, strings.Join(append(chain, pb.Name), " > "))
		return true
	}
	if len(c.using) > maxUses {
		c.faults.Addf(n.Entry.UsePos, n.Path+".use", "playbooks use each other more than %d deep: %s", maxUses, strings.Join(append(chain, pb.Name), " > "))
		return true
	}
	return c.count > maxTasks
}

// with compiles the params that are handed to a used playbook.
func (c *compiler) with(sc *scope, n *Node) map[string]*Tree {
	out := map[string]*Tree{}
	w := n.Entry.With
	if w == nil {
		w = &source.Node{Kind: source.Map}
	}
	if w.Kind != source.Map {
		c.faults.Addf(w.Pos, n.Path+".with", "want a mapping, got %s", w.Kind)
		return out
	}
	var known []string
	for _, p := range n.Use.params {
		known = append(known, p.lang.Name)
	}
	for _, kv := range w.Entries {
		path := n.Path + ".with." + kv.Key.Text
		i := slices.Index(known, kv.Key.Text)
		if i < 0 {
			f := c.faults.Addf(kv.Key.Pos, path, "the playbook %q has no such parameter", n.Entry.Use)
			f.Hint = source.DidYouMean(kv.Key.Text, known)
			continue
		}
		out[kv.Key.Text] = c.given(sc, n.Use.params[i], kv.Value, path)
	}
	for _, p := range n.Use.params {
		if out[p.lang.Name] != nil {
			continue
		}
		c.faults = append(c.faults, p.unnamed...)
		if p.lang.Required {
			c.faults.Addf(n.Entry.UsePos, n.Path+".with."+p.lang.Name, "missing, the playbook %q requires it", n.Entry.Use).Hint = p.lang.Doc
		}
	}
	return out
}

// given compiles the value of one parameter. One without expressions is looked at here.
func (c *compiler) given(sc *scope, p *param, n *source.Node, path string) *Tree {
	before := len(c.faults)
	t := c.value(sc, n, path, p.typ)
	if t.reveals {
		c.faults.Addf(n.Pos, path, "a parameter cannot reveal a secret").Hint = "declare it as a secret, hand over the secret itself, and reveal it where it is used"
	}
	if len(t.texts) > 0 || len(c.faults) > before {
		return t
	}
	v, faults := value(n, p.lang.Type, path)
	if len(faults) == 0 {
		faults = append(p.accept(v, n, path), c.namedSecrets(v, n, path)...)
	}
	for _, f := range faults {
		f.Also = append(f.Also, p.lang.Pos)
	}
	c.faults = append(c.faults, faults...)
	return t
}
