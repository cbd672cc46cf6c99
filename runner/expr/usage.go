package expr

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// usage is what an expression reads.
type usage struct {
	names   map[string]map[string]bool // fields by name in scope
	secrets map[string]bool
	reveals bool
}

// References returns the names in scope that are used, in order.
func (u *usage) References() []string { return slices.Sorted(maps.Keys(u.names)) }

// Uses reports whether a name in scope is used.
func (u *usage) Uses(name string) bool { return u.names[name] != nil }

// FieldsOf returns the fields of a name in scope that are used, in order; all of
// them when an object is used as a whole.
func (u *usage) FieldsOf(name string) []string { return slices.Sorted(maps.Keys(u.names[name])) }

// Secrets returns the names that secret() is called with as literals, in order.
func (u *usage) Secrets() []string { return slices.Sorted(maps.Keys(u.secrets)) }

// Reveals reports whether reveal() is called. The value is then to be treated
// as a secret by whoever prints.
func (u *usage) Reveals() bool { return u.reveals }

func newUsage() usage {
	return usage{names: map[string]map[string]bool{}, secrets: map[string]bool{}}
}

// add merges what another expression reads.
func (u *usage) add(o usage) {
	for name, fields := range o.names {
		if u.names[name] == nil {
			u.names[name] = map[string]bool{}
		}
		maps.Copy(u.names[name], fields)
	}
	maps.Copy(u.secrets, o.secrets)
	u.reveals = u.reveals || o.reveals
}

func (e *Env) usageOf(checked *cel.Ast) usage {
	w := &usageWalker{scope: e.scope, usage: newUsage()}
	w.walk(checked.NativeRep().Expr())
	return w.usage
}

type usageWalker struct {
	scope Scope
	bound []string // variables of the comprehensions around
	usage usage
}

// global returns the name in scope that an expression is.
func (w *usageWalker) global(x ast.Expr) (string, bool) {
	if x.Kind() != ast.IdentKind {
		return "", false
	}
	name, absolute := strings.CutPrefix(x.AsIdent(), ".")
	if !absolute && slices.Contains(w.bound, name) {
		return "", false
	}
	_, ok := w.scope[name]
	return name, ok
}

func (w *usageWalker) mark(name string, fields ...string) {
	if w.usage.names[name] == nil {
		w.usage.names[name] = map[string]bool{}
	}
	for _, f := range fields {
		w.usage.names[name][f] = true
	}
}

func (w *usageWalker) walk(xs ...ast.Expr) {
	for _, x := range xs {
		w.walkOne(x)
	}
}

func (w *usageWalker) walkOne(x ast.Expr) {
	switch x.Kind() {
	case ast.IdentKind:
		if name, ok := w.global(x); ok {
			w.mark(name)
			if t := w.scope[name]; t != nil && t.Kind == Struct {
				w.mark(name, t.Object.fieldNames()...)
			}
		}
	case ast.SelectKind:
		w.selection(x.AsSelect().Operand(), x.AsSelect().FieldName())
	case ast.CallKind:
		w.call(x.AsCall())
	case ast.ListKind:
		w.walk(x.AsList().Elements()...)
	case ast.MapKind:
		for _, entry := range x.AsMap().Entries() {
			w.walk(entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		for _, field := range x.AsStruct().Fields() {
			w.walk(field.AsStructField().Value())
		}
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		w.walk(c.IterRange(), c.AccuInit())
		depth := len(w.bound)
		w.bound = append(w.bound, c.AccuVar())
		outer := len(w.bound)
		w.bound = append(w.bound, c.IterVar(), c.IterVar2())
		w.walk(c.LoopCondition(), c.LoopStep())
		w.bound = w.bound[:outer]
		w.walk(c.Result())
		w.bound = w.bound[:depth]
	}
}

func (w *usageWalker) selection(operand ast.Expr, field string) {
	if name, ok := w.global(operand); ok {
		w.mark(name, field)
		return
	}
	w.walk(operand)
}

func (w *usageWalker) call(c ast.CallExpr) {
	args := c.Args()
	switch c.FunctionName() {
	case operators.OptSelect, operators.Index, operators.OptIndex:
		if len(args) == 2 {
			if field, ok := literalText(args[1]); ok {
				w.selection(args[0], field)
				return
			}
		}
	case "secret":
		if name, ok := literalText(args[0]); ok {
			w.usage.secrets[name] = true
		}
	case "reveal":
		w.usage.reveals = true
	}
	if c.IsMemberFunction() {
		w.walk(c.Target())
	}
	w.walk(args...)
}

// literalText returns the value of a string literal.
func literalText(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().(types.String)
	return string(s), ok
}
