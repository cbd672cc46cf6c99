package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/task"
)

// param is a declared parameter with its check compiled.
type param struct {
	lang  *lang.Param
	typ   *expr.Type
	check *Expr
}

// kinds maps the types of parameters to those of expressions.
var kinds = map[string]expr.Kind{"string": expr.String, "int": expr.Int, "float": expr.Double, "bool": expr.Bool,
	"duration": expr.String, "secret": expr.Secret, "list": expr.List, "map": expr.Map, "any": expr.Dyn}

func exprType(t lang.Type) *expr.Type {
	out := &expr.Type{Kind: kinds[t.Kind]}
	if t.Elem != nil {
		out.Elem = exprType(*t.Elem)
	}
	return out
}

func (c *compiler) params(pb *lang.Playbook) []*param {
	var out []*param
	for _, p := range pb.Params {
		cp := &param{lang: p, typ: exprType(p.Type)}
		path := "params." + p.Name
		if p.Check != nil {
			sc := &scope{compiler: c, env: mustEnv(expr.Scope{"value": cp.typ})}
			cp.check = c.condition(sc, p.Check, path+".check")
		}
		if p.Default != nil {
			_, faults := value(p.Default, p.Type, path+".default")
			c.faults = append(c.faults, faults...)
		}
		out = append(out, cp)
	}
	return out
}

// value reads a node as a value of a parameter's type: bool, int64, float64,
// string, []any, map[string]any; a secret is the name of one, as a string.
func value(n *source.Node, t lang.Type, path string) (any, source.Faults) {
	var faults source.Faults
	v := readValue(n, t, path, &faults)
	return v, faults
}

func readValue(n *source.Node, t lang.Type, path string, faults *source.Faults) any {
	wrong := func() any {
		got := n.Kind.String()
		if n.Kind == source.Scalar {
			got = strconv.Quote(n.Text)
		}
		f := faults.Addf(n.Pos, path, "want %s, got %s", t, got)
		if n.Anchor != nil {
			f.Also = []source.Pos{*n.Anchor}
		}
		return nil
	}
	switch t.Kind {
	case "list":
		if n.Kind != source.List {
			return wrong()
		}
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = readValue(item, *t.Elem, fmt.Sprintf("%s[%d]", path, i), faults)
		}
		return out
	case "map":
		if n.Kind != source.Map {
			return wrong()
		}
		out := map[string]any{}
		for _, kv := range n.Entries {
			out[kv.Key.Text] = readValue(kv.Value, *t.Elem, path+"."+kv.Key.Text, faults)
		}
		return out
	case "any":
		return anyValue(n)
	}
	if n.Kind != source.Scalar || n.IsNull() {
		return wrong()
	}
	v, ok := scalarValue(n, t.Kind)
	if !ok {
		return wrong()
	}
	return v
}

func scalarValue(n *source.Node, kind string) (any, bool) {
	switch kind {
	case "int":
		i, err := strconv.ParseInt(n.Text, 10, 64)
		return i, err == nil
	case "float":
		f, err := strconv.ParseFloat(n.Text, 64)
		return f, err == nil
	case "bool":
		return n.Text == "true", n.Text == "true" || n.Text == "false"
	case "duration":
		var d task.Duration
		err := d.UnmarshalText([]byte(n.Text))
		return time.Duration(d).String(), err == nil
	}
	return n.Text, true
}

// anyValue reads a node by what YAML makes of it.
func anyValue(n *source.Node) any {
	switch n.Kind {
	case source.List:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = anyValue(item)
		}
		return out
	case source.Map:
		out := map[string]any{}
		for _, kv := range n.Entries {
			out[kv.Key.Text] = anyValue(kv.Value)
		}
		return out
	}
	for typ, kind := range map[source.Type]string{source.Int: "int", source.Float: "float", source.Bool: "bool"} {
		if n.Type == typ {
			if v, ok := scalarValue(n, kind); ok {
				return v
			}
		}
	}
	if n.Type == source.Null {
		return nil
	}
	return n.Text
}

// Given is a value for a parameter with where it comes from.
type Given struct {
	Node  *source.Node
	Level string // "command line", `host "web1"`, `group "eu"`, "every host", "playbook"
}

// ParseFlag reads name=value as given on the command line. The value is read as
// YAML's flow style by parse, so lists and mappings can be given too.
func ParseFlag(flag string, parse func(name string, data []byte) (*source.Node, source.Faults)) (string, *source.Node, *source.Fault) {
	name, text, ok := strings.Cut(flag, "=")
	at := source.Pos{File: "-p " + name}
	if !ok {
		return "", nil, &source.Fault{Pos: source.Pos{File: "-p " + flag}, Message: "want name=value"}
	}
	n, faults := parse("-p "+name, []byte(text))
	if len(faults) > 0 || n == nil {
		n = source.NewScalar(at, source.Str, text)
	}
	relocate(n, at)
	return name, n, nil
}

func relocate(n *source.Node, at source.Pos) {
	n.Pos, n.Columns, n.Anchor = at, nil, nil
	for _, item := range n.Items {
		relocate(item, at)
	}
	for _, kv := range n.Entries {
		relocate(kv.Key, at)
		relocate(kv.Value, at)
	}
}

// given decides which value a parameter of the outermost playbook has.
func (p *param) given(levels []func(string) *Given) *Given {
	for _, level := range levels {
		if g := level(p.lang.Name); g != nil {
			return g
		}
	}
	if p.lang.Default != nil {
		return &Given{p.lang.Default, "playbook"}
	}
	return nil
}

// oneOf reports whether a value is among those that are allowed.
func (p *param) oneOf(v any) bool {
	return len(p.lang.OneOf) == 0 || slices.Contains(p.lang.OneOf, fmt.Sprint(v))
}
