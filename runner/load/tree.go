package load

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// Tree is a value as written whose expressions are compiled.
type Tree struct {
	node    *source.Node
	path    string
	texts   map[*source.Node]*expr.Text
	reveals bool
}

// args compiles the arguments of a module. The module's own decoder walks them and
// asks about every scalar, so each expression is checked against its field.
func (c *compiler) args(sc *scope, n *Node, args *source.Node, at source.Pos) *Tree {
	t := &Tree{node: args, path: n.Path + "." + n.Module.Name, texts: map[*source.Node]*expr.Text{}}
	hole := func(v *source.Node, path string, want reflect.Type, f *task.Field) (bool, source.Faults) {
		return c.hole(sc, n, t, v, path, want, f)
	}
	bound, faults := n.Module.Check(args, at, n.Path, hole)
	n.bound = bound
	c.faults = append(c.faults, faults...)
	return t
}

func (c *compiler) hole(sc *scope, n *Node, t *Tree, v *source.Node, path string, want reflect.Type, f *task.Field) (bool, source.Faults) {
	if v.Kind != source.Scalar {
		return false, nil
	}
	isBlob := f != nil && f.Type == reflect.TypeFor[task.Blob]()
	if !strings.Contains(v.Text, "${") && !isBlob {
		return false, nil
	}
	wantType := &expr.Type{Kind: expr.String}
	if !isBlob {
		var err error
		if wantType, err = fieldType(want, f); err != nil {
			return true, source.Faults{{Pos: v.Pos, Path: path, Message: err.Error()}}
		}
	}
	if f != nil && f.Optional && want == f.Type {
		wantType.Optional = true
	}
	text, faults := compile(sc, v.Text, wantType, (*expr.Env).CompileText)
	var out source.Faults
	for _, fault := range faults {
		out.Add(sc.fault(v, path, fault))
	}
	if len(out) > 0 {
		return true, out
	}
	t.texts[v] = text
	t.reveals = t.reveals || text.Reveals()
	if isBlob && f.Blob != "text" {
		if fault := c.blobFile(sc, n, v, text, f); fault != nil {
			fault.Path = path
			if fault.Pos.File != v.Pos.File {
				fault.Also = append(fault.Also, v.Pos)
			}
			return true, source.Faults{fault}
		}
	}
	return true, nil
}

// fieldType returns the type that expressions must have for a field, or for what is
// inside of it. Of an object, what has a default or may be absent may be left out.
func fieldType(t reflect.Type, f *task.Field) (*expr.Type, error) {
	kind := t.Kind()
	if f == nil || len(f.Fields) == 0 || kind != reflect.Struct && kind != reflect.Slice && kind != reflect.Map {
		return expr.FromGo(t)
	}
	if kind != reflect.Struct {
		elem, err := fieldType(t.Elem(), f)
		if kind == reflect.Slice {
			return &expr.Type{Kind: expr.List, Elem: elem}, err
		}
		return &expr.Type{Kind: expr.Map, Elem: elem}, err
	}
	fields := map[string]*expr.Type{}
	for i := range f.Fields {
		inner := &f.Fields[i]
		typ, err := fieldType(inner.Type, inner)
		if err != nil {
			return nil, err
		}
		if !inner.Required {
			typ = optional(typ)
		}
		fields[inner.Name] = typ
	}
	return &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: f.Name, Fields: fields}}, nil
}

// text compiles a scalar that must give a text that everybody may see.
func (c *compiler) text(sc *scope, n *source.Node, path string) *Tree {
	t := c.value(sc, n, path, &expr.Type{Kind: expr.String})
	switch {
	case n.IsNull():
		c.faults.Addf(n.Pos, path, "want a text, got nothing")
	case n.Kind != source.Scalar:
		c.faults.Addf(n.Pos, path, "want a text, got %s", n.Kind)
	case t.reveals:
		c.faults.Addf(n.Pos, path, "this cannot reveal a secret, because everybody sees it")
	}
	return t
}

// value compiles any tree whose scalars may hold expressions. want is the type of
// the whole; a literal is compared with it when the value is used.
func (c *compiler) value(sc *scope, n *source.Node, path string, want *expr.Type) *Tree {
	t := &Tree{node: n, path: path, texts: map[*source.Node]*expr.Text{}}
	c.valueInto(sc, t, n, path, want)
	return t
}

func (c *compiler) valueInto(sc *scope, t *Tree, n *source.Node, path string, want *expr.Type) {
	var elem *expr.Type
	if want != nil && (want.Kind == expr.List || want.Kind == expr.Map) {
		elem = want.Elem
	}
	switch n.Kind {
	case source.List:
		for i, item := range n.Items {
			c.valueInto(sc, t, item, path+"["+strconv.Itoa(i)+"]", elem)
		}
	case source.Map:
		for _, kv := range n.Entries {
			c.valueInto(sc, t, kv.Value, path+"."+kv.Key.Text, elem)
		}
	case source.Scalar:
		if !strings.Contains(n.Text, "${") {
			return
		}
		text, faults := compile(sc, n.Text, want, (*expr.Env).CompileText)
		for _, f := range faults {
			c.faults.Add(sc.fault(n, path, f))
		}
		if len(faults) == 0 {
			t.texts[n] = text
			t.reveals = t.reveals || text.Reveals()
		}
	}
}

// each compiles the list of a loop and returns the type of its elements.
func (c *compiler) each(sc *scope, n *source.Node, path string) (*Tree, *expr.Type) {
	if n.Kind == source.Scalar {
		t := c.value(sc, n, path, nil)
		text := t.texts[n]
		if text == nil {
			if strings.Contains(n.Text, "${") {
				return t, &expr.Type{Kind: expr.Dyn}
			}
			c.faults.Addf(n.Pos, path, "want a list, got %q", n.Text).Hint = "write a list, or ${an expression that is one}"
			return t, &expr.Type{Kind: expr.Dyn}
		}
		switch typ := text.Type(); typ.Kind {
		case expr.List:
			if typ.Elem != nil {
				return t, typ.Elem
			}
		case expr.Dyn:
		default:
			c.faults.Addf(n.Pos, path, "want a list, got %s", typ)
		}
		return t, &expr.Type{Kind: expr.Dyn}
	}
	if n.Kind != source.List {
		c.faults.Addf(n.Pos, path, "want a list, got %s", n.Kind)
		return &Tree{node: n, path: path}, &expr.Type{Kind: expr.Dyn}
	}
	t := c.value(sc, n, path, nil)
	return t, t.elementType(n)
}

// resolution is one evaluation of a tree.
type resolution struct {
	ctx     context.Context
	vars    expr.Vars
	secrets *SecretTable
	texts   map[*source.Node]*expr.Text
	path    string
	// open are the scalars whose value is not known, revealed those made with one
	// that must not be shown.
	open     map[*source.Node]bool
	revealed map[*source.Node]bool
	unknown  *expr.Unknown
}

// resolve returns the tree with every expression replaced by its value. Scalars
// that are not known stay as they are and are noted in open.
func (t *Tree) resolve(ctx context.Context, vars expr.Vars, secrets *SecretTable) (*source.Node, *resolution, error) {
	r := &resolution{ctx: ctx, vars: vars, secrets: secrets, texts: t.texts, path: t.path,
		open: map[*source.Node]bool{}, revealed: map[*source.Node]bool{}}
	if t.node == nil {
		return &source.Node{Kind: source.Map}, r, nil
	}
	if len(t.texts) == 0 {
		return t.node, r, nil
	}
	n, err := r.node(t.node, t.path)
	return n, r, err
}

func (r *resolution) node(n *source.Node, path string) (*source.Node, error) {
	switch n.Kind {
	case source.List:
		out := *n
		out.Items = make([]*source.Node, len(n.Items))
		for i, item := range n.Items {
			v, err := r.node(item, "["+strconv.Itoa(i)+"]")
			if err != nil {
				return nil, below(path, err)
			}
			out.Items[i] = v
		}
		return &out, nil
	case source.Map:
		out := *n
		out.Entries = make([]source.Entry, len(n.Entries))
		for i, kv := range n.Entries {
			v, err := r.node(kv.Value, "."+kv.Key.Text)
			if err != nil {
				return nil, below(path, err)
			}
			out.Entries[i] = source.Entry{Key: kv.Key, Value: v}
		}
		return &out, nil
	}
	text := r.texts[n]
	if text == nil {
		return n, nil
	}
	return r.scalar(n, path, text)
}

// below puts the path of a container in front of that of a failure inside of it.
func below(path string, err error) error {
	var f *source.Fault
	if errors.As(err, &f) {
		f.Path = path + f.Path
	}
	return err
}

func (r *resolution) scalar(n *source.Node, path string, text *expr.Text) (*source.Node, error) {
	v, err := text.Eval(r.ctx, r.vars)
	if u, ok := v.(expr.Unknown); ok && err == nil {
		var unknown *expr.Unknown
		if unknown, err = orFailure(u); err == nil {
			r.open[n] = true
			if r.unknown == nil {
				r.unknown = unknown
			}
			return n, nil
		}
	}
	if err != nil {
		return nil, failureAt(n, path, err)
	}
	out, err := r.literal(n.Pos, v)
	if err != nil {
		return nil, failureAt(n, path, err)
	}
	if n.Anchor != nil {
		out.Anchor = n.Anchor
	}
	if text.Reveals() {
		r.revealed[out] = true
	}
	return out, nil
}

// literal returns a value as a node.
func (r *resolution) literal(pos source.Pos, v any) (*source.Node, error) {
	switch v := v.(type) {
	case string:
		return source.NewScalar(pos, source.Str, v), nil
	case bool:
		return source.NewScalar(pos, source.Bool, strconv.FormatBool(v)), nil
	case int64:
		return source.NewScalar(pos, source.Int, strconv.FormatInt(v, 10)), nil
	}
	return source.FromValue(pos, r.secrets.referenced(v))
}

// failureAt gives the failure of an evaluation its place, if it has none.
func failureAt(n *source.Node, path string, err error) error {
	var placed *source.Fault
	if errors.As(err, &placed) {
		placed.Path = path
		return placed
	}
	var f *expr.Failure
	if errors.As(err, &f) {
		out := &source.Fault{Pos: n.At(f.Offset), Path: path, Message: f.Message, Hint: f.Hint}
		if out.Hint == "" && strings.HasSuffix(f.Message, "has no value here") {
			out.Hint = "the task that registers it was skipped or failed; repeat its condition here"
		}
		return out
	}
	return &source.Fault{Pos: n.Pos, Path: path, Message: err.Error()}
}

// Eval returns whether the condition holds. unknown is set when that cannot be known yet.
func (e *Expr) Eval(ctx context.Context, vars expr.Vars) (holds bool, unknown *expr.Unknown, err error) {
	if e == nil {
		return true, nil, nil
	}
	v, err := e.Program.Eval(ctx, vars)
	if err != nil {
		return false, nil, failureAt(e.node, e.path, err)
	}
	switch v := v.(type) {
	case expr.Unknown:
		if unknown, err = orFailure(v); err != nil {
			return false, nil, failureAt(e.node, e.path, err)
		}
		return false, unknown, nil
	case bool:
		return v, nil, nil
	}
	return false, nil, fmt.Errorf("internal error: %s gave %T", e.path, v)
}

// SecretTable numbers the secrets that travel beside a program, each once.
type SecretTable struct {
	list    []secret.Text
	numbers map[secret.Text]int
}

func (t *SecretTable) add(s secret.Text) int {
	if n, ok := t.numbers[s]; ok {
		return n
	}
	if t.numbers == nil {
		t.numbers = map[secret.Text]int{}
	}
	t.list = append(t.list, s)
	t.numbers[s] = len(t.list)
	return len(t.list)
}

// All returns the secrets by their number.
func (t *SecretTable) All() map[int]secret.Text {
	out := map[int]secret.Text{}
	for i, s := range t.list {
		out[i+1] = s
	}
	return out
}
