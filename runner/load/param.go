package load

import (
	"fmt"
	"math"
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
	lang   *lang.Param
	typ    *expr.Type
	check  *Expr
	secret bool // its values hold secrets
	// unnamed faults the secrets of its default that nothing is behind. They matter only
	// where no other value is given.
	unnamed source.Faults
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
		cp := &param{lang: p, typ: exprType(p.Type), secret: holdsSecret(p.Type)}
		path := "params." + p.Name
		if p.Check != nil {
			sc := &scope{compiler: c, names: expr.Scope{"value": cp.typ}}
			cp.check = c.condition(sc, p.Check, path+".check")
		}
		if p.Default != nil {
			v, faults := value(p.Default, p.Type, path+".default")
			if len(faults) == 0 {
				faults = cp.accept(v, p.Default, path)
			}
			c.faults = append(c.faults, faults...)
			cp.unnamed = c.namedSecrets(v, p.Default, path+".default")
		}
		out = append(out, cp)
	}
	return out
}

// namedSecrets faults what a value of a parameter names and nothing is behind. The
// name is not repeated: it may be a secret by mistake.
func (c *compiler) namedSecrets(v any, n *source.Node, path string) source.Faults {
	var out source.Faults
	switch v := v.(type) {
	case secretParam:
		if err := c.secretNamed(string(v)); err != nil {
			out.Addf(n.Pos, path, "%s", err).Hint = expr.Advice(err)
		}
	case []any:
		for i, item := range v {
			out = append(out, c.namedSecrets(item, n.Items[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
	case map[string]any:
		for _, kv := range n.Entries {
			out = append(out, c.namedSecrets(v[kv.Key.Text], kv.Value, path+"."+kv.Key.Text)...)
		}
	}
	return out
}

func holdsSecret(t lang.Type) bool {
	return t.Kind == "secret" || t.Elem != nil && holdsSecret(*t.Elem)
}

// value reads a node as a value of a parameter's type: bool, int64, float64,
// string, []any, map[string]any, and secretParam for the name of a secret.
func value(n *source.Node, t lang.Type, path string) (any, source.Faults) {
	var faults source.Faults
	v := readValue(n, t, path, &faults)
	return v, faults
}

func readValue(n *source.Node, t lang.Type, path string, faults *source.Faults) any {
	wrong := func() any {
		got := n.Kind.String()
		switch {
		case n.IsNull():
			got = "nothing"
		case n.Kind == source.Scalar:
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
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	case "bool":
		return n.Text == "true", n.Text == "true" || n.Text == "false"
	case "duration":
		var d task.Duration
		err := d.UnmarshalText([]byte(n.Text))
		return time.Duration(d).String(), err == nil
	case "secret":
		return secretParam(n.Text), true
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
	return coreValue(n)
}

// coreValue reads a scalar without quotes as null, a bool or a number. What a
// number would not keep stays text: 0644, 1.10 and 0x1f mean their digits to
// modes, versions and identifiers.
func coreValue(n *source.Node) any {
	switch n.Type {
	case source.Null:
		return nil
	case source.Bool:
		return strings.EqualFold(n.Text, "true")
	case source.Int:
		if i, err := strconv.ParseInt(n.Text, 10, 64); err == nil && strconv.FormatInt(i, 10) == n.Text {
			return i
		}
	case source.Float:
		if f, err := strconv.ParseFloat(n.Text, 64); err == nil && strconv.FormatFloat(f, 'f', -1, 64) == n.Text {
			return f
		}
	}
	return n.Text
}

// Given is a value for a parameter with where it comes from.
type Given struct {
	Node  *source.Node
	Level string // "command line", `host "web1"`, `group "eu"`, "every host", "playbook"
}

// ParseFlag reads name=value as given on the command line. A value that begins like
// a list, a mapping or a quoted text is YAML, read by parse; any other is taken as
// it is, so that nothing in it has to be quoted twice.
func ParseFlag(flag string, parse func(name string, data []byte) (*source.Node, source.Faults)) (string, *source.Node, *source.Fault) {
	name, text, ok := strings.Cut(flag, "=")
	if !ok || name == "" {
		return "", nil, &source.Fault{Pos: source.Pos{File: "-p " + flag}, Message: "want name=value"}
	}
	at := source.Pos{File: "-p " + name}
	n, faults := parse(at.File, []byte(text))
	switch {
	case strings.ContainsAny(firstByte(text), "[{\"'"):
		if len(faults) > 0 {
			return "", nil, &source.Fault{Pos: at, Path: "params." + name, Message: "cannot read the value: " + faults[0].Message,
				Hint: "a value that begins with [ { \" or ' is YAML; put a text that does into quotes"}
		}
	case len(faults) > 0 || n == nil || n.Kind != source.Scalar || n.Text != text:
		n = source.NewScalar(at, source.Str, text)
	}
	relocate(n, at)
	return name, n, nil
}

func firstByte(s string) string { return s[:min(1, len(s))] }

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

// oneOf reports whether a value is among those that are allowed.
func (p *param) oneOf(v any) bool {
	return len(p.lang.OneOf) == 0 || slices.Contains(p.lang.OneOf, fmt.Sprint(v))
}
