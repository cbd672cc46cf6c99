package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Text is a compiled scalar that may hold ${ }. It is safe for concurrent use.
type Text struct {
	usage
	parts []textPart
	whole *Program // the one ${ } that the scalar consists of
}

type textPart struct {
	literal string
	program *Program // nil for a literal
	offset  int
}

// CompileText checks a scalar's text and prepares it. A text that is exactly one
// ${ } has the value of its expression, which has to fit want as in
// [Env.Compile]. In any other text the values are joined as text, so each must
// be a bool, number, string or duration, and want one that takes a text. A text
// without ${ } is not compared with want, because its reader does that. Offsets
// of faults count from the start of the text.
func (e *Env) CompileText(text string, want *Type) (*Text, []*Fault) {
	parts, err := Split(text)
	if err != nil {
		return nil, []*Fault{asFault(err)}
	}
	t := &Text{usage: newUsage()}
	if len(parts) == 1 && parts[0].IsExpr {
		p, faults := e.Compile(parts[0].Text, want)
		if len(faults) > 0 {
			return nil, cloneFaults(faults, parts[0].Offset)
		}
		t.whole, t.usage = p, p.usage
		t.parts = []textPart{{program: p, offset: parts[0].Offset}}
		return t, nil
	}
	var faults []*Fault
	exprs := 0
	for _, part := range parts {
		if !part.IsExpr {
			t.parts = append(t.parts, textPart{literal: part.Text})
			continue
		}
		exprs++
		p, bad := e.Compile(part.Text, nil)
		if len(bad) == 0 && !p.Type().isDyn() && !p.Type().isScalar() {
			bad = []*Fault{notText(p, part, text)}
		}
		if len(bad) > 0 {
			faults = append(faults, cloneFaults(bad, part.Offset)...)
			continue
		}
		t.add(p.usage)
		t.parts = append(t.parts, textPart{program: p, offset: part.Offset})
	}
	if exprs > 0 && len(faults) == 0 && !assignable(&Type{Kind: String}, want) {
		faults = append(faults, &Fault{Message: fmt.Sprintf("want %s, got a text joined from pieces", want),
			Hint: "write the whole value as one ${ } with nothing beside it"})
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return t, nil
}

// notText says why the value of an expression cannot be part of a text.
func notText(p *Program, part Part, text string) *Fault {
	f := &Fault{Offset: startOffset(part.Text)}
	switch p.Type().Kind {
	case Secret:
		f.Message, f.Hint = "a secret cannot be part of a text", "use it alone, or reveal() it"
		return f
	case Null:
		f.Message = "null cannot be part of a text"
	default:
		f.Message = fmt.Sprintf("a value of type %s cannot be part of a text", p.Type())
	}
	switch {
	case strings.TrimSpace(text) == "${"+part.Text+"}":
		f.Hint = "nothing may stand beside the ${ }, not even a line end: write |- instead of |"
	case p.Type().Kind == List:
		f.Hint = `join its elements: .join(", ")`
	}
	return f
}

// Literal returns the text if it holds no expression, with $${ read as ${.
func (t *Text) Literal() (string, bool) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.program != nil {
			return "", false
		}
		b.WriteString(p.literal)
	}
	return b.String(), true
}

// Type returns the static type of the value: that of the one expression, else
// string.
func (t *Text) Type() *Type {
	if t.whole != nil {
		return t.whole.Type()
	}
	return &Type{Kind: String}
}

// Eval returns the value as [Program.Eval] does: the value of the one expression
// or the joined text. It is [Unknown] if any part is.
func (t *Text) Eval(ctx context.Context, vars Vars) (any, error) {
	if t.whole != nil {
		v, err := t.whole.Eval(ctx, vars)
		return v, shift(err, t.parts[0].offset)
	}
	var b strings.Builder
	var unknowns []Unknown
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if p.program == nil {
			continue
		}
		v, err := p.program.evalText(ctx, vars)
		if err != nil {
			return nil, shift(err, p.offset)
		}
		switch v := v.(type) {
		case Unknown:
			unknowns = append(unknowns, v)
		case string:
			b.WriteString(v)
		}
	}
	if len(unknowns) > 0 {
		return mergeUnknown(unknowns...), nil
	}
	return b.String(), nil
}

// evalText evaluates the expression as part of a text.
func (p *Program) evalText(ctx context.Context, vars Vars) (any, error) {
	q := *p
	q.want = &Type{Kind: String}
	return q.Eval(ctx, vars)
}

// asFault returns the fault that an error of Split is.
func asFault(err error) *Fault {
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{Message: err.Error()}
	}
	return f
}
