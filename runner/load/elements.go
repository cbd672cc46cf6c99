package load

import (
	"strings"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
)

var dyn = &expr.Type{Kind: expr.Dyn}

// elementType finds the common type of a literal list's elements.
func (t *Tree) elementType(n *source.Node) *expr.Type {
	var out *expr.Type
	for _, item := range n.Items {
		typ := t.literalType(item)
		if out != nil {
			typ = common(out, typ)
		}
		out = typ
	}
	if out == nil {
		return dyn
	}
	return out
}

// common returns the type of values of either type. Objects are joined: a field
// that one of them lacks is null there.
func common(a, b *expr.Type) *expr.Type {
	switch {
	case a.Kind == expr.List && b.Kind == expr.List:
		return &expr.Type{Kind: expr.List, Elem: common(a.Elem, b.Elem), Optional: a.Optional || b.Optional}
	case a.Kind == expr.Struct && b.Kind == expr.Struct && a.Object != nil && b.Object != nil:
		fields := map[string]*expr.Type{}
		for name, f := range a.Object.Fields {
			fields[name] = optional(f)
			if g := b.Object.Fields[name]; g != nil {
				fields[name] = common(f, g)
			}
		}
		for name, g := range b.Object.Fields {
			if fields[name] == nil {
				fields[name] = optional(g)
			}
		}
		return &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: "item", Fields: fields}, Optional: a.Optional || b.Optional}
	case a.Kind == b.Kind && a.Kind != expr.Struct && a.Kind != expr.List && a.Kind != expr.Map:
		return &expr.Type{Kind: a.Kind, Optional: a.Optional || b.Optional}
	}
	return dyn
}

func optional(t *expr.Type) *expr.Type {
	out := *t
	out.Optional = true
	return &out
}

func (t *Tree) literalType(n *source.Node) *expr.Type {
	switch {
	case n.Kind == source.List:
		return &expr.Type{Kind: expr.List, Elem: t.elementType(n)}
	case n.Kind == source.Map:
		fields := map[string]*expr.Type{}
		for _, kv := range n.Entries {
			if !isName(kv.Key.Text) {
				return &expr.Type{Kind: expr.Map, Elem: dyn} // no expression can write item.key
			}
			fields[kv.Key.Text] = t.literalType(kv.Value)
		}
		return &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: "item", Fields: fields}}
	case t.texts[n] != nil:
		return t.texts[n].Type()
	case strings.Contains(n.Text, "${"):
		return dyn // faulty
	}
	switch coreValue(n).(type) {
	case nil:
		return dyn
	case int64:
		return &expr.Type{Kind: expr.Int}
	case bool:
		return &expr.Type{Kind: expr.Bool}
	case float64:
		return &expr.Type{Kind: expr.Double}
	}
	return &expr.Type{Kind: expr.String}
}

func isName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
