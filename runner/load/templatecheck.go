package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
)

// templateCheck looks for fields that are not there, without a host: the types of
// everything that a template reads are known when the playbook is loaded. Where it
// loses track, such as behind a function, it says nothing.
type templateCheck struct {
	t     *tmpl
	root  *expr.Type
	named func(secret string) error // faults the name of a secret
	fault *source.Fault
}

// check returns the first fault of the template's names.
func (t *tmpl) check(sc *scope) *source.Fault {
	c := &templateCheck{t: t, root: &expr.Type{Kind: expr.Struct, Object: &expr.Object{Fields: sc.all()}}, named: sc.compiler.secretNamed}
	if t.parsed.Tree != nil && t.parsed.Root != nil {
		c.list(t.parsed.Root, c.root)
	}
	return c.fault
}

func (c *templateCheck) list(l *parse.ListNode, dot *expr.Type) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			c.pipe(n.Pipe, dot)
		case *parse.TemplateNode:
			c.pipe(n.Pipe, dot)
		case *parse.IfNode:
			c.pipe(n.Pipe, dot)
			c.list(n.List, dot)
			c.list(n.ElseList, dot)
		case *parse.WithNode:
			c.list(n.List, c.pipe(n.Pipe, dot))
			c.list(n.ElseList, dot)
		case *parse.RangeNode:
			var elem *expr.Type
			if t := c.pipe(n.Pipe, dot); t != nil && (t.Kind == expr.List || t.Kind == expr.Map) {
				elem = t.Elem
			}
			c.list(n.List, elem)
			c.list(n.ElseList, dot)
		}
	}
}

// pipe returns the type of a pipeline, or nil when it is not known.
func (c *templateCheck) pipe(p *parse.PipeNode, dot *expr.Type) *expr.Type {
	if p == nil {
		return nil
	}
	var typ *expr.Type
	for _, cmd := range p.Cmds {
		typ = nil
		c.secret(cmd)
		for _, arg := range cmd.Args {
			t := c.arg(arg, dot)
			if len(cmd.Args) == 1 && len(p.Cmds) == 1 {
				typ = t
			}
		}
	}
	return typ
}

// secret looks at a call of the function of that name.
func (c *templateCheck) secret(cmd *parse.CommandNode) {
	if len(cmd.Args) != 2 {
		return
	}
	f, called := cmd.Args[0].(*parse.IdentifierNode)
	name, literal := cmd.Args[1].(*parse.StringNode)
	if !called || !literal || f.Ident != "secret" {
		return
	}
	if err := c.named(name.Text); err != nil {
		c.report(int(name.Position()), expr.Advice(err), "cannot read secret %q: %s", name.Text, err)
	}
}

func (c *templateCheck) arg(n parse.Node, dot *expr.Type) *expr.Type {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		return c.fields(n, dot, n.Ident, "")
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			return c.fields(n, c.root, n.Ident[1:], "$")
		}
	case *parse.PipeNode:
		return c.pipe(n, dot)
	case *parse.ChainNode:
		return c.fields(n, c.arg(n.Node, dot), n.Field, "")
	}
	return nil
}

// fields follows names from a type.
func (c *templateCheck) fields(n parse.Node, t *expr.Type, names []string, before string) *expr.Type {
	for i, name := range names {
		at := chain{n, before, names, i}
		switch {
		case t == nil || t.Kind == expr.Dyn:
			return nil
		case t.Kind == expr.Map:
			t = t.Elem
		case t.Kind == expr.Struct && t.Object == nil:
			return nil
		case t.Kind != expr.Struct:
			c.report(at.offset(string(c.t.file.data)), "", "cannot read %q: %s has no fields", name, t)
			return nil
		case t.Object.Fields[name] == nil:
			known := slices.Sorted(maps.Keys(t.Object.Fields))
			c.report(at.offset(string(c.t.file.data)), source.DidYouMean(name, known), "undefined field %q", name)
			return nil
		default:
			t = t.Object.Fields[name]
		}
	}
	return t
}

// chain is one name in a chain such as $.a.b.
type chain struct {
	node   parse.Node
	before string
	names  []string
	i      int
}

// offset returns where the name stands in the template. The library's position of a
// chain is somewhere inside of it.
func (c chain) offset(data string) int {
	pos := min(int(c.node.Position()), len(data))
	whole := c.before + "." + strings.Join(c.names, ".")
	start := strings.LastIndex(data[:min(pos+len(whole), len(data))], whole)
	if start < 0 {
		return pos
	}
	start += len(c.before) + 1
	for _, name := range c.names[:c.i] {
		start += len(name) + 1
	}
	return start
}

func (c *templateCheck) report(at int, hint, format string, args ...any) {
	if c.fault != nil {
		return
	}
	pos := source.Pos{File: c.t.file.shown, Line: 1, Col: 1}
	data := string(c.t.file.data)
	for _, r := range data[:min(at, len(data))] {
		pos.Col++
		if r == '\n' {
			pos.Line, pos.Col = pos.Line+1, 1
		}
	}
	c.fault = &source.Fault{Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint}
}
