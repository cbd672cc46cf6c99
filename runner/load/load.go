// Package load joins playbooks, modules, expressions and inventory into programs
// that are checked before any host is contacted. Compile finds what is wrong with a
// playbook whatever the host; Bind finds what is wrong with it for each host.
package load

import (
	"fmt"
	"maps"
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
	// Secret faults the name of a secret that no host can have. Nil looks at none.
	Secret func(name string) error
	// Given reports whether a parameter has a value other than its default, for any host.
	// A secret that only such a default names need not exist. Nil: none has.
	Given func(param string) bool
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
	Count    int        // tasks that a run of it comes to, those of used playbooks included
	// OneWay are the tasks that on_failure: rollback could not take back.
	OneWay []*Node
	params []*param
	folder *folder
}

// Verifies reports whether there is anything to verify, used playbooks included.
func (pb *Playbook) Verifies() bool {
	return len(pb.Verify) > 0 || slices.ContainsFunc(pb.Tasks, (*Node).Verifies)
}

// Verifies reports whether an entry uses a playbook that has something to verify.
func (n *Node) Verifies() bool {
	return n.Use != nil && n.Use.Verifies() || slices.ContainsFunc(slices.Concat(n.Tasks, n.Rescue, n.Always), (*Node).Verifies)
}

// TLS reports whether a module of it may speak TLS from a host.
func (pb *Playbook) TLS() bool { return pb.any(func(m *task.Module) bool { return m.TLS }) }

// Controller reports whether a module of it works on the controller alone.
func (pb *Playbook) Controller() bool {
	return pb.any(func(m *task.Module) bool { return m.Controller })
}

// any reports whether something is true of a module of it, or of a playbook that it uses.
func (pb *Playbook) any(is func(*task.Module) bool) bool {
	within := func(n *Node) bool { return n.any(is) }
	for _, h := range pb.Handlers {
		if slices.ContainsFunc(h.Tasks, within) {
			return true
		}
	}
	return slices.ContainsFunc(pb.Tasks, within) || slices.ContainsFunc(pb.Verify, within)
}

func (n *Node) any(is func(*task.Module) bool) bool {
	return n.Module != nil && is(n.Module) || n.Use != nil && n.Use.any(is) ||
		slices.ContainsFunc(slices.Concat(n.Tasks, n.Rescue, n.Always), func(n *Node) bool { return n.any(is) })
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
	Satisfies     []string
	Use           *Playbook
	With          map[string]*Tree
	Guard         *Guard
	Tasks         []*Node
	Rescue        []*Node
	Always        []*Node
	Path          string      // of the entry; inside a used playbook with its name in front
	bound         *task.Bound // the module with its arguments, where they are the same for every host
	folder        *folder
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
	opts     Options
	modules  map[string]*task.Module
	faults   source.Faults
	using    []*lang.Playbook // that are being compiled, outermost first
	prefixes map[string]int   // how often handlers got a prefix
	guards   int              // how many guards are around what is being compiled
	stored   int              // how many handlers are around what is being compiled
	tagged   int              // how many entries around it have a tag that was asked for
	tags     map[string]bool  // that were seen
	count    int              // tasks so far
	rolls    int              // how many rollbacks are around what is being compiled
	oneWay   []*Node
}

// Compile checks a playbook by itself: names, types, references, files. It collects
// every fault.
func Compile(pb *lang.Playbook, opts Options) (*Playbook, source.Faults) {
	c := &compiler{opts: opts, modules: map[string]*task.Module{}, prefixes: map[string]int{}, tags: map[string]bool{}}
	for _, m := range opts.Modules {
		c.modules[m.Name] = m
	}
	out := c.playbook(pb, "", "", nil)
	for _, p := range out.params {
		if opts.Given == nil || !opts.Given(p.lang.Name) {
			c.faults = append(c.faults, p.unnamed...)
		}
	}
	out.OneWay = c.oneWay
	out.Count = count(out.Tasks) + count(out.Verify)
	for _, tag := range opts.Tags {
		if !c.tags[tag] {
			f := c.faults.Addf(source.Pos{File: "--tags " + tag}, "", "no task has the tag %q", tag)
			f.Hint = source.DidYouMean(tag, slices.Sorted(maps.Keys(c.tags)))
		}
	}
	if r := pb.Rollout; r != nil && r.Soak > 0 && !out.Verifies() {
		c.faults.Addf(r.SoakPos, "rollout.soak", "nothing is looked at after the wait").Hint = "add a verify section"
	}
	return out, c.faults
}

func count(nodes []*Node) int {
	out := 0
	for _, n := range nodes {
		switch {
		case n.Module != nil:
			out++
		case n.Use != nil:
			out += count(n.Use.Tasks)
		}
		out += count(n.Tasks) + count(n.Rescue) + count(n.Always)
	}
	return out
}

// playbook compiles a playbook; outer is the scope that uses it, or nil.
func (c *compiler) playbook(pb *lang.Playbook, prefix, path string, outer *scope) *Playbook {
	out := &Playbook{Lang: pb, folder: newFolder(pb)}
	c.using = append(c.using, pb)
	defer func() { c.using = c.using[:len(c.using)-1] }()
	c.needs(pb)
	out.params = c.params(pb)
	sc := c.scope(out, prefix)
	sc.hideAll(outer, "a used playbook sees its own parameters only: hand it over using with")
	for _, h := range pb.Handlers {
		out.Handlers = append(out.Handlers, &Handler{Name: prefix + h.Name})
	}
	c.rolling(pb.OnFailure, func() { out.Tasks = c.entries(sc, pb.Tasks, path) })
	for i, h := range pb.Handlers {
		in := c.scope(out, prefix)
		in.hideAll(sc, "handlers are stored on the host, so that the next run can finish them, and read no results: put the condition on the task that notifies")
		c.tagged++ // a handler is wanted when its task is
		c.stored++
		out.Handlers[i].Tasks = c.entries(in, h.Tasks, path)
		c.stored--
		c.tagged--
	}
	in := c.scope(out, prefix)
	in.hideAll(sc, "verify also runs by itself and sees no results of the tasks: register one in verify")
	out.Verify = c.entries(in, pb.Verify, path)
	c.verifyReads(out.Verify)
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

func (c *compiler) entries(sc *scope, list []*lang.Entry, path string) []*Node {
	var out []*Node
	for _, e := range list {
		if n := c.entry(sc, e, path); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// match reports whether an entry has one of the tags that were asked for.
func (c *compiler) match(e *lang.Entry) bool {
	for _, t := range e.Tags {
		c.tags[t] = true
	}
	return len(c.opts.Tags) == 0 || slices.Contains(e.Tags, "always") ||
		slices.ContainsFunc(e.Tags, func(t string) bool { return slices.Contains(c.opts.Tags, t) })
}

func (c *compiler) entry(sc *scope, e *lang.Entry, path string) *Node {
	n := &Node{Entry: e, Path: path + e.Path, folder: sc.pb.folder}
	if c.match(e) {
		c.tagged++
		defer func() { c.tagged-- }()
	}
	if e.Module != "" && !e.Block && c.tagged == 0 {
		sc.hide(e.Register, "the tags that were asked for leave its task out")
		return nil
	}
	before := len(c.faults)
	inner := sc
	if e.Each != nil {
		inner = c.loop(sc, n)
	}
	n.When = c.condition(inner, e.When, n.Path+".when")
	n.faulty = len(c.faults) > before && !e.Block
	switch {
	case e.Block:
		c.block(sc, n, path)
	case e.Use != "":
		c.use(inner, n)
	case e.Module != "":
		c.module(inner, n)
		c.register(sc, n)
		n.faulty = len(c.faults) > before
	default:
		return nil // the parser said why
	}
	return n
}

// loop compiles a loop's list and returns the scope of its turns.
func (c *compiler) loop(sc *scope, n *Node) *scope {
	e := n.Entry
	tree, elem := c.each(sc, e.Each, n.Path+".each")
	n.Each = tree
	if tree.reveals {
		c.faults.Addf(e.Each.Pos, n.Path+".each", "a list to loop over cannot reveal a secret").Hint = "put the secret itself into the list, and reveal it where it is used"
	}
	pos := e.AsPos
	if pos.Line == 0 {
		pos = e.Each.Pos
	}
	if old, taken := sc.results[e.As]; taken {
		c.faults.Addf(pos, n.Path+".as", "the name %q is that of a registered result", e.As).Also = []source.Pos{old}
	}
	return sc.with(e.As, elem, pos, n.Path+".as")
}

func (c *compiler) block(sc *scope, n *Node, path string) {
	e := n.Entry
	if e.Guard != nil {
		n.Guard = c.guard(sc, e.Guard, n.Path+".guard")
		c.guards++
		defer func() { c.guards-- }()
	}
	if e.OnFailure == lang.Rollback && c.guards > 0 && e.Guard == nil {
		c.faults.Addf(e.FailPos, n.Path+".on_failure", "a block inside a guard is taken back by the guard").Hint = "leave it out, or put the guard inside the block"
	}
	c.rolling(e.OnFailure, func() { n.Tasks = c.entries(sc, e.Tasks, path) })
	n.Rescue = c.entries(sc, e.Rescue, path)
	n.Always = c.entries(sc, e.Always, path)
}

// rolling compiles what is taken back when it fails, if its on_failure says so.
func (c *compiler) rolling(onFailure string, compile func()) {
	if onFailure != lang.Rollback {
		compile()
		return
	}
	c.rolls++
	compile()
	c.rolls--
}

// mark notes a task that a rollback could not take back. Expressions stand for
// themselves in the arguments: what matters is whether there is an undo.
func (c *compiler) mark(n *Node, args *source.Node) {
	m := n.Module
	if c.rolls == 0 || m.ReadOnly || m.Wait {
		return
	}
	as := func(*source.Node, string, reflect.Type, *task.Field) (bool, source.Faults) { return false, nil }
	bound, _ := m.Check(args, n.Entry.ModulePos, n.Path, as)
	if bound != nil && bound.ReadOnly {
		return
	}
	if bound != nil && !bound.Reversible || m.Action && !m.HasUndo || n.Entry.OnController {
		c.oneWay = append(c.oneWay, n)
	}
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
	p, faults := compile(sc, n.Text, &expr.Type{Kind: expr.Bool}, (*expr.Env).Compile)
	for _, f := range faults {
		c.faults.Add(sc.fault(n, path, f))
	}
	if p == nil || len(faults) > 0 {
		return nil
	}
	return &Expr{p, n, path}
}

// module compiles the arguments and the keys that go with a module.
func (c *compiler) module(sc *scope, n *Node) {
	e := n.Entry
	if n.Module = c.modules[e.Module]; n.Module == nil {
		c.faults.Addf(e.ModulePos, n.Path+"."+e.Module, "this program has no such module")
		return
	}
	if n.Module.Controller && !e.OnController {
		c.faults.Addf(e.ModulePos, n.Path+"."+e.Module, "%s works on the controller alone", e.Module).Hint = "add on: controller to the task"
	}
	if c.count++; c.count == maxTasks+1 {
		c.faults.Addf(e.Pos, n.Path, "with those that they use, the playbooks have more than %d tasks", maxTasks)
	}
	n.Args = c.args(sc, n, e.Args, e.ModulePos)
	c.mark(n, e.Args)
	c.reboots(n)
	n.IgnoreFailure = c.condition(sc, e.IgnoreFailure, n.Path+".ignore_failure")
	if e.ChangedIf != nil || e.FailIf != nil || e.Retry != nil && e.Retry.Until != nil {
		result := sc.with("result", mustType(n.Module.ResultType), e.Pos, n.Path)
		n.ChangedIf = c.condition(result, e.ChangedIf, n.Path+".changed_if")
		n.FailIf = c.condition(result, e.FailIf, n.Path+".fail_if")
		if e.Retry != nil {
			n.Until = c.condition(result, e.Retry.Until, n.Path+".retry.until")
		}
	}
	if e.RunAs != nil {
		n.RunAs = c.text(sc, e.RunAs, n.Path+".run_as")
	}
	n.Notify = c.handlers(sc, e.Notify, n.Path+".notify")
	n.Satisfies = c.handlers(sc, e.Satisfies, n.Path+".satisfies")
	if len(n.Satisfies) > 0 && e.OnController {
		c.faults.Addf(e.Satisfies[0].Pos, n.Path+".satisfies", "a task on the controller satisfies no handler of the host")
	}
}

// handlers returns the full names of handlers.
func (c *compiler) handlers(sc *scope, names []lang.Name, path string) []string {
	var out []string
	for _, name := range names {
		if full, ok := c.handler(sc, name, path); ok {
			out = append(out, full)
		}
	}
	return out
}

func (c *compiler) handler(sc *scope, name lang.Name, path string) (full string, ok bool) {
	var known []string
	for _, h := range sc.pb.Lang.Handlers {
		if h.Name == name.Text {
			return sc.prefix + h.Name, true
		}
		known = append(known, h.Name)
	}
	f := c.faults.Addf(name.Pos, path, "no handler is called %q", name.Text)
	if f.Hint = source.DidYouMean(name.Text, known); f.Hint == "" && len(known) > 0 {
		f.Hint = "the handlers are " + strings.Join(known, ", ")
	}
	return "", false
}

// register brings the result of a task into scope for what follows.
func (c *compiler) register(sc *scope, n *Node) {
	name := n.Entry.Register
	if name.Text == "" {
		return
	}
	if n.Module == nil {
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
	sc.register(name, t, n.Path+".register")
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
		if len(n.Satisfies) > 0 {
			c.faults.Addf(n.Entry.Satisfies[0].Pos, n.Path+".satisfies", "verify changes nothing, so it satisfies no handler")
		}
		c.verifyReads(n.Tasks)
		c.verifyReads(n.Rescue)
		c.verifyReads(n.Always)
		if n.Use != nil {
			c.verifyReads(n.Use.Tasks)
		}
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
