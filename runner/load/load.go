// Package load joins playbooks, modules, expressions and inventory into programs
// that are checked before any host is contacted. Compile finds what is wrong with a
// playbook whatever the host; Bind finds what is wrong with it for each host.
package load

import (
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/task"
)

// Options of Compile.
type Options struct {
	Modules []*task.Module
	// Find returns the playbook that a use names, or a fault without a place.
	Find func(name string) (*lang.Playbook, source.Faults)
	// Version is this program's version, for needs.
	Version string
	// Tags keeps only the tasks that have one of them; empty keeps all.
	Tags []string
}

// Playbook is a playbook whose every name, type and expression is checked.
type Playbook struct {
	Lang     *lang.Playbook
	Tasks    []*Node
	Verify   []*Node
	Handlers []*Handler // of this playbook; those of used playbooks are with them
	Count    int        // entries that are tasks, used playbooks included
	params   []*param
	compiler *compiler
}

// Handler is a handler with the name that it has on hosts: that of a used playbook
// begins with the playbook's name.
type Handler struct {
	Name  string
	Tasks []*Node
}

// Node is an entry that was compiled.
type Node struct {
	Entry         *lang.Entry
	When          *Expr
	ChangedIf     *Expr
	FailIf        *Expr
	IgnoreFailure *Expr
	Until         *Expr
	Each          *Tree
	RunAs         *Tree
	Module        *task.Module
	Args          *Tree
	Notify        []string // full names
	Use           *Playbook
	With          map[string]*Tree
	Guard         *Guard
	Tasks         []*Node
	Rescue        []*Node
	Always        []*Node
	Path          string // of the entry; inside a used playbook with its name in front
	fs            fs.FS
	templates     map[string]*tmpl
	faulty        bool // something is wrong with it whatever the host
}

// Expr is a compiled expression with its place.
type Expr struct {
	Program *expr.Program
	node    *source.Node
	path    string
}

// compiler holds what is the same for a playbook and those that it uses.
type compiler struct {
	opts    Options
	modules map[string]*task.Module
	names   []string
	faults  source.Faults
	envs    map[string]*expr.Env
	using   []*lang.Playbook // that are being compiled, outermost first
	count   int
	guards  int // how many guards are around what is being compiled
}

// Compile checks a playbook by itself: names, types, references, files. It collects
// every fault.
func Compile(pb *lang.Playbook, opts Options) (*Playbook, source.Faults) {
	c := &compiler{opts: opts, modules: map[string]*task.Module{}, envs: map[string]*expr.Env{}}
	for _, m := range opts.Modules {
		c.modules[m.Name] = m
		c.names = append(c.names, m.Name)
	}
	out := c.playbook(pb, "", "")
	out.Count = c.count
	return out, c.faults
}

// scope is the names in reach while a list of entries is compiled.
type scope struct {
	compiler *compiler
	pb       *Playbook
	prefix   string // of handler names and paths
	names    expr.Scope
	env      *expr.Env
	results  map[string]source.Pos // registered names
}

func (c *compiler) playbook(pb *lang.Playbook, prefix, path string) *Playbook {
	out := &Playbook{Lang: pb, compiler: c}
	c.using = append(c.using, pb)
	defer func() { c.using = c.using[:len(c.using)-1] }()
	c.needs(pb)
	out.params = c.params(pb)
	sc := c.scope(out, prefix)
	for _, h := range pb.Handlers {
		out.Handlers = append(out.Handlers, &Handler{Name: prefix + h.Name})
	}
	out.Tasks = c.entries(sc, pb.Tasks, path)
	for i, h := range pb.Handlers {
		out.Handlers[i].Tasks = c.entries(c.scope(out, prefix), h.Tasks, path)
	}
	before := c.count
	out.Verify = c.entries(c.scope(out, prefix), pb.Verify, path)
	c.verifyReads(out.Verify)
	c.count = before + len(out.Verify)
	return out
}

// needs checks the constraint on this program's version.
func (c *compiler) needs(pb *lang.Playbook) {
	if pb.Needs.Holdfast == "" {
		return
	}
	want, err := semver.NewConstraint(pb.Needs.Holdfast)
	if err != nil {
		c.faults.Addf(pb.Needs.HoldfastPos, "needs.holdfast", "%q is not a constraint on versions", pb.Needs.Holdfast).Hint = "write >=0.1.0"
		return
	}
	have, err := semver.NewVersion(c.opts.Version)
	if err != nil {
		return // a development build satisfies everything
	}
	if !want.Check(have) {
		c.faults.Addf(pb.Needs.HoldfastPos, "needs.holdfast", "the playbook needs %s, this is %s", pb.Needs.Holdfast, c.opts.Version)
	}
}

// hostType is what expressions see of a host.
var hostType = &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: "host", Fields: map[string]*expr.Type{
	"name":    {Kind: expr.String},
	"address": {Kind: expr.String},
	"labels":  {Kind: expr.Map, Elem: &expr.Type{Kind: expr.String}},
	"groups":  {Kind: expr.List, Elem: &expr.Type{Kind: expr.String}},
}}}

var fleetType = &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: "fleet", Fields: map[string]*expr.Type{
	"hosts": {Kind: expr.List, Elem: hostType},
}}}

var factsType = mustType(reflect.TypeFor[task.Facts]())

func mustType(t reflect.Type) *expr.Type {
	out, err := expr.FromGo(t)
	if err != nil {
		panic(err)
	}
	return out
}

func (c *compiler) scope(pb *Playbook, prefix string) *scope {
	fields := map[string]*expr.Type{}
	for _, p := range pb.params {
		fields[p.lang.Name] = p.typ
	}
	sc := &scope{compiler: c, pb: pb, prefix: prefix, results: map[string]source.Pos{}}
	sc.names = expr.Scope{
		"params": {Kind: expr.Struct, Object: &expr.Object{Name: "params", Fields: fields}},
		"host":   hostType, "facts": factsType, "fleet": fleetType,
	}
	sc.env = mustEnv(sc.names)
	return sc
}

// mustEnv makes an environment of names that the language has checked already.
func mustEnv(names expr.Scope) *expr.Env {
	env, err := expr.NewEnv(names)
	if err != nil {
		panic(fmt.Sprintf("internal error: %v", err))
	}
	return env
}

// with returns a scope with one more name, for a loop variable or a result. A name
// that the expression language has already is a fault at pos.
func (sc *scope) with(name string, t *expr.Type, pos source.Pos, path string) *scope {
	out := *sc
	env, err := sc.env.With(expr.Scope{name: t})
	if err != nil {
		sc.compiler.faults.Addf(pos, path, "%s", err)
		return &out
	}
	out.env = env
	return &out
}

func (c *compiler) entries(sc *scope, list []*lang.Entry, path string) []*Node {
	var out []*Node
	for _, e := range list {
		if n := c.entry(sc, e, path); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// wanted reports whether an entry has one of the tags that were asked for, itself
// or by what is in it.
func (c *compiler) wanted(e *lang.Entry) bool {
	if len(c.opts.Tags) == 0 || e.Block || e.Use != "" || slices.Contains(e.Tags, "always") {
		return true
	}
	return slices.ContainsFunc(e.Tags, func(t string) bool { return slices.Contains(c.opts.Tags, t) })
}

func (c *compiler) entry(sc *scope, e *lang.Entry, path string) *Node {
	n := &Node{Entry: e, Path: path + e.Path, fs: sc.pb.Lang.FS}
	before := len(c.faults)
	defer func() { n.faulty = n.Module != nil && len(c.faults) > before }()
	inner := sc
	n.When = c.condition(sc, e.When, n.Path+".when")
	if e.Each != nil {
		var elem *expr.Type
		n.Each, elem = c.each(sc, e.Each, n.Path+".each")
		inner = sc.with(e.As, elem, e.Pos, n.Path+".as")
		n.When = c.condition(inner, e.When, n.Path+".when")
	}
	switch {
	case e.Block:
		if e.Guard != nil {
			n.Guard = c.guard(sc, e.Guard, n.Path+".guard")
			c.guards++
			defer func() { c.guards-- }()
		}
		n.Tasks = c.entries(sc, e.Tasks, path)
		n.Rescue = c.entries(sc, e.Rescue, path)
		n.Always = c.entries(sc, e.Always, path)
	case e.Use != "":
		c.use(inner, n)
	case e.Module != "":
		if !c.wanted(e) {
			return nil
		}
		c.count++
		c.module(inner, n)
		c.register(sc, n)
	default:
		return nil // the parser said why
	}
	return n
}

// condition compiles an expression that must be a bool.
func (c *compiler) condition(sc *scope, n *source.Node, path string) *Expr {
	if n == nil {
		return nil
	}
	if n.Kind != source.Scalar || n.IsNull() {
		c.faults.Addf(n.Pos, path, "want an expression, got %s", n.Kind)
		return nil
	}
	if strings.HasPrefix(n.Text, "${") {
		c.faults.Addf(n.Pos, path, "this is an expression already").Hint = "write it without ${ and }"
		return nil
	}
	p, faults := sc.env.Compile(n.Text, &expr.Type{Kind: expr.Bool})
	for _, f := range faults {
		c.faults.Add(expr.FaultAt(n, path, f))
	}
	if p == nil || len(faults) > 0 {
		return nil
	}
	return &Expr{p, n, path}
}

// module compiles the arguments and the keys that go with a module.
func (c *compiler) module(sc *scope, n *Node) {
	e := n.Entry
	n.Module = c.modules[e.Module]
	n.Args = c.args(sc, n, e.Args, e.ModulePos)
	result := sc.with("result", mustType(n.Module.ResultType), e.Pos, n.Path)
	n.ChangedIf = c.condition(result, e.ChangedIf, n.Path+".changed_if")
	n.FailIf = c.condition(result, e.FailIf, n.Path+".fail_if")
	n.IgnoreFailure = c.condition(sc, e.IgnoreFailure, n.Path+".ignore_failure")
	if e.Retry != nil {
		n.Until = c.condition(result, e.Retry.Until, n.Path+".retry.until")
	}
	if e.RunAs != nil {
		n.RunAs = c.text(sc, e.RunAs, n.Path+".run_as")
	}
	for _, name := range e.Notify {
		c.notify(sc, n, name)
	}
}

func (c *compiler) notify(sc *scope, n *Node, name lang.Name) {
	var known []string
	for _, h := range sc.pb.Lang.Handlers {
		if h.Name == name.Text {
			n.Notify = append(n.Notify, sc.prefix+h.Name)
			return
		}
		known = append(known, h.Name)
	}
	f := c.faults.Addf(name.Pos, n.Path+".notify", "no handler is called %q", name.Text)
	if f.Hint = source.DidYouMean(name.Text, known); f.Hint == "" && len(known) > 0 {
		f.Hint = "the handlers are " + strings.Join(known, ", ")
	}
}

// register brings the result of a task into scope for what follows.
func (c *compiler) register(sc *scope, n *Node) {
	name := n.Entry.Register
	if name.Text == "" {
		return
	}
	if old, ok := sc.results[name.Text]; ok {
		c.faults.Addf(name.Pos, n.Path+".register", "%q is registered already", name.Text).Also = []source.Pos{old}
		return
	}
	t := mustType(n.Module.ResultType)
	if n.Each != nil {
		t = &expr.Type{Kind: expr.List, Elem: t}
	}
	sc.results[name.Text] = name.Pos
	*sc = *sc.with(name.Text, t, name.Pos, n.Path+".register")
}

// use compiles another playbook in this place.
func (c *compiler) use(sc *scope, n *Node) {
	e := n.Entry
	if c.opts.Find == nil {
		c.faults.Addf(e.UsePos, n.Path+".use", "no playbook is called %q", e.Use)
		return
	}
	pb, faults := c.opts.Find(e.Use)
	for _, f := range faults {
		if f.Pos.File == "" {
			f.Pos, f.Path = e.UsePos, n.Path+".use"
		}
		c.faults.Add(f)
	}
	if pb == nil || c.circular(n, pb) {
		return
	}
	n.Use = c.playbook(pb, sc.prefix+pb.Name+"/", n.Path+"."+pb.Name+".")
	n.With = c.with(sc, n)
}

// circular faults a playbook that uses itself, also through others.
func (c *compiler) circular(n *Node, pb *lang.Playbook) bool {
	var chain []string
	found := false
	for _, outer := range c.using {
		chain = append(chain, outer.Name)
		found = found || outer.Digest == pb.Digest && outer.Name == pb.Name
	}
	if found {
		c.faults.Addf(n.Entry.UsePos, n.Path+".use", "%q uses itself: %s", pb.Name, strings.Join(append(chain, pb.Name), " > "))
	}
	return found
}

// with compiles the params that are handed to a used playbook.
func (c *compiler) with(sc *scope, n *Node) map[string]*Tree {
	out := map[string]*Tree{}
	w := n.Entry.With
	if w != nil && w.Kind != source.Map {
		c.faults.Addf(w.Pos, n.Path+".with", "want a mapping, got %s", w.Kind)
		return out
	}
	var known []string
	for _, p := range n.Use.params {
		known = append(known, p.lang.Name)
	}
	if w != nil {
		for _, kv := range w.Entries {
			i := slices.Index(known, kv.Key.Text)
			if i < 0 {
				f := c.faults.Addf(kv.Key.Pos, n.Path+".with."+kv.Key.Text, "the playbook %q has no such parameter", n.Entry.Use)
				f.Hint = source.DidYouMean(kv.Key.Text, known)
				continue
			}
			out[kv.Key.Text] = c.value(sc, kv.Value, n.Path+".with."+kv.Key.Text, n.Use.params[i].typ)
		}
	}
	for _, p := range n.Use.params {
		if p.lang.Required && out[p.lang.Name] == nil && (w == nil || w.Get(p.lang.Name) == nil) {
			c.faults.Addf(n.Entry.UsePos, n.Path+".with."+p.lang.Name, "missing, the playbook %q requires it", n.Entry.Use).Hint = p.lang.Doc
		}
	}
	return out
}

// verifyReads faults whatever in verify could change a host.
func (c *compiler) verifyReads(nodes []*Node) {
	for _, n := range nodes {
		if n.Module != nil && n.Module.Action && !n.Module.ReadOnly && !n.Module.MayRead && !n.Module.Wait {
			c.faults.Add(writesInVerify(n))
		}
		if len(n.Notify) > 0 {
			c.faults.Addf(n.Entry.Notify[0].Pos, n.Path+".notify", "verify changes nothing, so there is nothing to notify")
		}
		c.verifyReads(n.Tasks)
		c.verifyReads(n.Rescue)
		c.verifyReads(n.Always)
	}
}

func writesInVerify(n *Node) *source.Fault {
	hint := "use a state module, which is compared and not applied, or stat, listening, assert"
	if n.Module.MayRead {
		hint = "say so if it only reads: 'holdfast doc " + n.Module.Name + "'"
	}
	return &source.Fault{Pos: n.Entry.ModulePos, Path: n.Path + "." + n.Module.Name, Hint: hint,
		Message: fmt.Sprintf("verify only reads, and %q may change the host", n.Module.Name)}
}
