package load

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/task"
)

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

// scope is the names in reach while a list of entries is compiled.
type scope struct {
	compiler *compiler
	pb       *Playbook
	prefix   string // of handler names
	names    expr.Scope
	env      *expr.Env             // of names, when it was needed
	results  map[string]source.Pos // registered names
	hidden   map[string]hidden     // names that somebody may expect to see
}

// hidden is a name that is out of reach.
type hidden struct {
	pos source.Pos // where it is registered
	why string
}

func (c *compiler) scope(pb *Playbook, prefix string) *scope {
	fields := map[string]*expr.Type{}
	for _, p := range pb.params {
		fields[p.lang.Name] = p.typ
	}
	return &scope{compiler: c, pb: pb, prefix: prefix, results: map[string]source.Pos{}, hidden: map[string]hidden{}, names: expr.Scope{
		"params": {Kind: expr.Struct, Object: &expr.Object{Name: "params", Fields: fields}},
		"host":   hostType, "facts": factsType, "fleet": fleetType,
	}}
}

// environment compiles over the names of the scope. It is costly and made when the
// first expression needs it.
func (sc *scope) environment() *expr.Env {
	if sc.env == nil {
		env, err := expr.NewEnv(sc.names)
		if err != nil {
			panic(fmt.Sprintf("internal error: %v", err)) // with looks at each name
		}
		sc.env = env
	}
	return sc.env
}

// with returns a scope with one more name, for a loop variable or a result. A name
// that the expression language has already is a fault at pos.
func (sc *scope) with(name string, t *expr.Type, pos source.Pos, path string) *scope {
	out := *sc
	if _, err := expr.NewEnv(expr.Scope{name: {}}); err != nil {
		sc.compiler.faults.Addf(pos, path, "%s", err)
		return &out
	}
	out.names, out.env = maps.Clone(sc.names), nil
	out.names[name] = t
	return &out
}

// hide notes a name that is registered out of reach, for the hint of a fault.
func (sc *scope) hide(name lang.Name, why string) {
	if name.Text != "" {
		sc.hidden[name.Text] = hidden{name.Pos, why}
	}
}

// hideAll notes the results of another scope.
func (sc *scope) hideAll(other *scope, why string) {
	if other == nil {
		return
	}
	for name, pos := range other.results {
		sc.hidden[name] = hidden{pos, why}
	}
}

// fault places a fault of an expression, and says why a name is out of reach.
func (sc *scope) fault(n *source.Node, path string, f *expr.Fault) *source.Fault {
	out := expr.FaultAt(n, path, f)
	name, ok := strings.CutPrefix(f.Message, `undeclared reference "`)
	if h, is := sc.hidden[strings.TrimSuffix(name, `"`)]; ok && is {
		out.Hint, out.Also = h.why, append(out.Also, h.pos)
	}
	return out
}
