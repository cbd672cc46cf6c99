package load

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
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
	prefix   string                // of handler names
	names    expr.Scope            // params, host, and what a loop or a result adds
	types    expr.Scope            // of the registered results, as far as they came
	results  map[string]source.Pos // where those are registered
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
	return &scope{compiler: c, pb: pb, prefix: prefix, types: expr.Scope{}, results: map[string]source.Pos{}, hidden: map[string]hidden{}, names: expr.Scope{
		"params": {Kind: expr.Struct, Object: &expr.Object{Name: "params", Fields: fields}},
		"host":   hostType, "facts": factsType, "fleet": fleetType,
	}}
}

// all returns every name in reach.
func (sc *scope) all() expr.Scope {
	out := maps.Clone(sc.types)
	if out == nil {
		out = expr.Scope{}
	}
	maps.Copy(out, sc.names)
	return out
}

var word = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// compile compiles an expression or a text with the registered results that it
// mentions: an environment of all of them would cost their number for each.
// Only a fault needs all, for its suggestions.
func compile[T any](sc *scope, text string, want *expr.Type, with func(*expr.Env, string, *expr.Type) (T, []*expr.Fault)) (T, []*expr.Fault) {
	few := maps.Clone(sc.names)
	for _, name := range word.FindAllString(text, -1) {
		if t := sc.types[name]; t != nil && few[name] == nil {
			few[name] = t
		}
	}
	out, faults := with(environment(few), text, want)
	if len(faults) > 0 && len(few) < len(sc.names)+len(sc.types) {
		out, faults = with(environment(sc.all()), text, want)
	}
	if named, ok := any(out).(interface{ Secrets() []string }); ok && len(faults) == 0 {
		faults = sc.compiler.unknownSecrets(text, named.Secrets())
	}
	return out, faults
}

// unknownSecrets faults the names of secrets in an expression that nothing is behind,
// whatever the host.
func (c *compiler) unknownSecrets(text string, names []string) []*expr.Fault {
	var out []*expr.Fault
	for _, name := range names {
		if err := c.secretNamed(name); err != nil {
			out = append(out, &expr.Fault{Offset: max(0, strings.Index(text, name)), Message: fmt.Sprintf("cannot read secret %q: %s", name, err), Hint: expr.Advice(err)})
		}
	}
	return out
}

func (c *compiler) secretNamed(name string) error {
	if c.opts.Secret == nil {
		return nil
	}
	return c.opts.Secret(name)
}

// environment makes an environment of names that were looked at one by one.
func environment(names expr.Scope) *expr.Env {
	env, err := expr.NewEnv(names)
	if err != nil {
		panic(fmt.Sprintf("internal error: %v", err))
	}
	return env
}

// usable faults a name that the expression language has already.
func (sc *scope) usable(name string, pos source.Pos, path string) bool {
	_, err := expr.NewEnv(expr.Scope{name: {}})
	if err != nil {
		sc.compiler.faults.Addf(pos, path, "%s", err)
	}
	return err == nil
}

// with returns a scope with one more name, for a loop variable or a task's own result.
func (sc *scope) with(name string, t *expr.Type, pos source.Pos, path string) *scope {
	out := *sc
	if sc.usable(name, pos, path) {
		out.names = maps.Clone(sc.names)
		out.names[name] = t
	}
	return &out
}

// register brings a result into this scope and those that were made of it.
func (sc *scope) register(name lang.Name, t *expr.Type, path string) {
	sc.results[name.Text] = name.Pos
	delete(sc.hidden, name.Text)
	if sc.usable(name.Text, name.Pos, path) {
		sc.types[name.Text] = t
	}
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
