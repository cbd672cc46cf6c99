package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"holdfast/tasks/secret"
)

// Vars is what one evaluation reads.
type Vars struct {
	// Values are the values of the names in scope: Go structs of the declared
	// types, maps of their fields, plain values as encoding/json decodes them,
	// a secret.Text where a secret is declared, or [Unknown] anywhere. A name
	// that is missing is null if it is optional and a failure if not.
	Values map[string]any
	// Secret looks up a secret by name and returns a secret.Text or an
	// [Unknown]. Nil means that there are none.
	Secret func(name string) (any, error)
}

// Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	usage
	c    *compiled
	want *Type
}

// Type returns the static type of the expression, which may say more or less
// than the type that was wanted of it.
func (p *Program) Type() *Type { return p.c.typ }

// Eval returns the value: nil, bool, int64, float64, string, []any,
// map[string]any or secret.Text, converted to the type that was wanted, or
// [Unknown]. Durations are strings such as 1m30s. The error is a [*Failure];
// an evaluation that costs too much or whose context ends is one.
func (p *Program) Eval(ctx context.Context, vars Vars) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, interrupted(context.Cause(ctx))
	}
	v, _, err := p.c.prg.ContextEval(ctx, &activation{env: p.c.env, vars: vars})
	if err != nil {
		return nil, p.c.failure(err, vars)
	}
	want := p.want
	if want == nil {
		want = p.c.typ
	}
	out := output{nullable: p.want == nil}
	got, err := out.value(v, want)
	switch {
	case err != nil && p.reveals:
		return nil, hidden(startOffset(p.c.text))
	case err != nil:
		return nil, &Failure{Offset: startOffset(p.c.text), Message: err.Error()}
	case len(out.unknowns) > 0:
		return mergeUnknown(out.unknowns...), nil
	}
	return got, nil
}

// activation gives CEL the values of names and the function secret.
type activation struct {
	env  *Env
	vars Vars
	seen map[string]ref.Val // lists and maps, which are costly to make
}

var _ interpreter.FunctionActivation = (*activation)(nil)

// Parent implements interpreter.Activation.
func (a *activation) Parent() interpreter.Activation { return nil }

// ResolveName implements interpreter.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	name = strings.TrimPrefix(name, ".")
	t, ok := a.env.scope[name]
	if !ok {
		return nil, false
	}
	if v, ok := a.seen[name]; ok {
		return v, true
	}
	v, ok := a.vars.Values[name]
	if !ok && (t.isDyn() || !t.Optional) {
		return types.WrapErr(&plainError{fmt.Sprintf("%q has no value here", name)}), true
	}
	out := a.env.schema.value(v, t)
	if err, ok := out.(*types.Err); ok {
		return types.NewErr("%s: %w", name, err), true
	}
	if !t.isDyn() && (t.Kind == List || t.Kind == Map) {
		if a.seen == nil {
			a.seen = map[string]ref.Val{}
		}
		a.seen[name] = out
	}
	return out, true
}

// ResolveFunction implements interpreter.FunctionActivation.
func (a *activation) ResolveFunction(name string) (functions.LateBoundOp, bool) {
	return a.secret, name == "secret"
}

func (a *activation) secret(_ string, args ...ref.Val) ref.Val {
	name, ok := args[0].(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	if a.vars.Secret == nil {
		return types.WrapErr(&plainError{fmt.Sprintf("cannot read secret %q: there are no secrets here", string(name))})
	}
	v, err := a.vars.Secret(string(name))
	if err != nil {
		return types.WrapErr(&secretError{string(name), err})
	}
	switch v := v.(type) {
	case secret.Text:
		return &secretVal{v}
	case Unknown:
		return celUnknown(v)
	}
	return types.NewErr("internal error: secret %q is a %T", string(name), v)
}

// plainError is a failure whose text names no values.
type plainError struct{ message string }

func (e *plainError) Error() string { return e.message }

// secretError is why a secret could not be had.
type secretError struct {
	name string
	err  error
}

func (e *secretError) Error() string { return fmt.Sprintf("cannot read secret %q: %v", e.name, e.err) }
func (e *secretError) Unwrap() error { return e.err }

// Advice returns what an error says to do about it, or "".
func Advice(err error) string {
	var a interface {
		error
		Advice() string
	}
	if errors.As(err, &a) {
		return a.Advice()
	}
	return ""
}

func interrupted(cause error) *Failure {
	return &Failure{Message: "the evaluation was interrupted: " + cause.Error(), Err: cause}
}

func hidden(offset int) *Failure {
	return &Failure{Offset: offset, Message: "the expression failed; its values are not shown because it reveals a secret"}
}

// failure explains an error of an evaluation.
func (c *compiled) failure(err error, vars Vars) *Failure {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded {
		return &Failure{Message: "the expression takes too many steps",
			Hint: fmt.Sprintf("the limit is a cost of %d; loops inside of loops over long lists reach it", costLimit)}
	}
	if errors.Is(err, interpreter.InterruptError{}) {
		cause := err
		for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, end) {
				cause = end
			}
		}
		return interrupted(cause)
	}
	f := &Failure{Offset: startOffset(c.text), Message: firstLine(err.Error())}
	node := c.failedNode(err, f)
	var plain *plainError
	var unread *secretError
	var null *nullError
	switch {
	case errors.As(err, &unread):
		f.Err, f.Hint = unread.err, Advice(unread.err)
	case errors.As(err, &plain):
	case errors.As(err, &null):
		f.Message = fmt.Sprintf("cannot read %q of %s: it is null", null.field, owner(node, null.field))
		f.Hint = "test it first: x != null && …, or x.?" + null.field + ".orValue(…)"
	case c.usage.reveals:
		return hidden(f.Offset)
	case strings.HasPrefix(f.Message, "no such key: "):
		c.missingKey(f, node, strings.TrimPrefix(f.Message, "no such key: "), vars)
	case strings.HasPrefix(f.Message, "no such overload"):
		f.Message = "a value has a type that this operation does not take"
		f.Hint = "a value that may be absent is null: test it with != null"
	}
	return f
}

// failedNode finds the node that an error belongs to and its place.
func (c *compiled) failedNode(err error, f *Failure) ast.Expr {
	var celErr *types.Err
	if !errors.As(err, &celErr) {
		return nil
	}
	rep := c.ast.NativeRep()
	node := nodesOf(rep.Expr())[celErr.NodeID()]
	if node != nil {
		at := rep.SourceInfo().GetStartLocation(node.ID())
		if at.Line() > 0 {
			f.Offset = nameOffset(c.text, byteOffset(c.text, at.Line(), at.Column()))
		}
	}
	return node
}

// errNoLabel marks the failure of reading a label that a host does not have.
var errNoLabel = errors.New("no such label")

// missingKey explains a key that a map does not have.
func (c *compiled) missingKey(f *Failure, node ast.Expr, key string, vars Vars) {
	path := owner(node, key)
	f.Message = fmt.Sprintf("%s has no key %q", path, key)
	if path == "host.labels" {
		name := "host"
		if t := c.env.scope["host"]; !t.isDyn() && t.Kind == Struct {
			if o, ok := c.env.schema.value(vars.Values["host"], t).(*objectVal); ok {
				if s, ok := o.Get(types.String("name")).(types.String); ok && s != "" {
					name = "host " + string(s)
				}
			}
		}
		f.Message, f.Err = fmt.Sprintf("%s has no label %q", name, key), errNoLabel
	}
	if strings.Contains(path, " ") {
		return // not something that can be written
	}
	step := ".?" + key
	if !isName(key) {
		step = fmt.Sprintf("[?%q]", key)
	}
	f.Hint = fmt.Sprintf("use %s%s.orValue(\"\"), or ask first: %q in %s", path, step, key, path)
}

// owner writes down what the key was looked for in. The node of an error is the
// last step of a chain a.b.c, so the step with that key is searched from there.
func owner(node ast.Expr, key string) string {
	for node != nil {
		operand, step := stepOf(node)
		if operand == nil {
			break
		}
		if step == key || step == "" {
			return pathOf(operand)
		}
		node = operand
	}
	return "the value"
}

// stepOf splits a selection or an index into what it is applied to and the key;
// the key is "" if it is not a literal.
func stepOf(x ast.Expr) (operand ast.Expr, key string) {
	switch x.Kind() {
	case ast.SelectKind:
		return x.AsSelect().Operand(), x.AsSelect().FieldName()
	case ast.CallKind:
		args := x.AsCall().Args()
		switch x.AsCall().FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			key, _ = literalText(args[1])
			return args[0], key
		}
	}
	return nil, ""
}

// pathOf writes a chain of names, or says "the value" for anything else.
func pathOf(x ast.Expr) string {
	if x.Kind() == ast.IdentKind {
		return strings.TrimPrefix(x.AsIdent(), ".")
	}
	operand, key := stepOf(x)
	if operand == nil {
		return "the value"
	}
	path := pathOf(operand)
	switch {
	case path == "the value":
		return path
	case isName(key):
		return path + "." + key
	case key != "":
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if index := x.AsCall().Args()[1]; index.Kind() == ast.LiteralKind {
		return fmt.Sprintf("%s[%v]", path, index.AsLiteral())
	}
	return "the value"
}
