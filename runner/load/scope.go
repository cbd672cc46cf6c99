package load

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/task"
)

// Scope is what expressions read on one host inside one playbook: the parameters,
// and the results so far. The engine keeps one for the playbook and one for each
// use. It is for one goroutine.
type Scope struct {
	host     *Host
	instance string // tells the handlers of one turn of a loop from those of another
	values   map[string]any
	facts    any
	changes  int // how often a result came or went

	// Inside a loop, the scope around it, whose results may become known while the
	// loop goes on, and what the loop adds.
	outer *Scope
	seen  int // changes of outer when values was made
	name  string
	value any
	turn  string
}

// NewScope returns the scope of the outermost playbook. Facts may be nil while they
// are not known.
func (h *Host) NewScope(facts *task.Facts) *Scope {
	var known any = expr.Unknown{Reason: "the host was contacted"}
	if facts != nil {
		known = *facts
	}
	return h.scope(h.Params, known)
}

func (h *Host) scope(params map[string]any, facts any) *Scope {
	sc := &Scope{host: h, facts: facts}
	sc.values = map[string]any{"params": sc.secrets(params), "host": h.values, "facts": facts, "fleet": h.fleet}
	return sc
}

// SetResult makes the result of a task known: a value of the module's result type,
// a list of such, or an [expr.Unknown].
func (sc *Scope) SetResult(name string, v any) {
	sc.values[name] = v
	sc.changes++
}

// Forget takes a result out of the scope, because its task gave none.
func (sc *Scope) Forget(name string) {
	delete(sc.values, name)
	sc.changes++
}

// Bind returns a scope in which name is v besides what sc has, for a task's own
// result. What becomes known in sc later is seen there too.
func (sc *Scope) Bind(name string, v any) *Scope {
	return &Scope{host: sc.host, instance: sc.instance, facts: sc.facts, outer: sc, seen: -1, name: name, value: v, turn: sc.turn}
}

// Turn is [Scope.Bind] for turn i of a loop, counted from 0.
func (sc *Scope) Turn(name string, v any, i int) *Scope {
	out := sc.Bind(name, v)
	out.turn = fmt.Sprintf("[%d]", i)
	return out
}

// Handler returns the name that a handler has on the host: in a loop over a used
// playbook, each turn has handlers of its own.
func (sc *Scope) Handler(name string) string { return name + sc.instance }

// Handlers is [Scope.Handler] of each name.
func (sc *Scope) Handlers(names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, sc.Handler(name))
	}
	return out
}

// Vars returns the scope as expressions read it. It must not be used after the
// scope has changed.
func (sc *Scope) Vars() expr.Vars {
	sc.refresh()
	return expr.Vars{Values: sc.values, Secret: sc.secret}
}

// refresh takes in what changed in the scope around a loop.
func (sc *Scope) refresh() {
	if sc.outer == nil {
		return
	}
	sc.outer.refresh()
	if sc.seen == sc.outer.changes {
		return
	}
	sc.values, sc.seen = maps.Clone(sc.outer.values), sc.outer.changes
	sc.values[sc.name] = sc.value
	sc.changes++
}

func (sc *Scope) secret(name string) (any, error) {
	unread := expr.Unknown{Reason: "the secrets were read"}
	if sc.host.opts.Secret == nil {
		return unread, nil
	}
	text, err := sc.host.opts.Secret(sc.host.Inventory, name)
	if err == nil && text.IsZero() {
		return unread, nil
	}
	return text, err
}

// secretParam stands for a secret that is fetched when it is used. It is its name.
type secretParam string

// unreadable begins the reason of an unknown that stands for a secret which could
// not be read. Reading it is a failure, see [orFailure].
const unreadable = "unreadable secret: "

// secrets replaces what stands for secrets by their text, or by unknown while
// secrets are not read.
func (sc *Scope) secrets(params map[string]any) map[string]any {
	out := make(map[string]any, len(params))
	for k, v := range params {
		out[k] = sc.fetch(v)
	}
	return out
}

func (sc *Scope) fetch(v any) any {
	switch v := v.(type) {
	case secretParam:
		text, err := sc.secret(string(v))
		if err != nil {
			return expr.Unknown{Reason: unreadable + strings.ReplaceAll(err.Error(), "\n", " ") + "\n" + expr.Advice(err)}
		}
		return text
	case []any:
		return mapped(v, sc.fetch)
	case map[string]any:
		return sc.secrets(v)
	}
	return v
}

func mapped(list []any, f func(any) any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// orFailure tells a value that is not known yet from a secret that cannot be read.
func orFailure(u expr.Unknown) (*expr.Unknown, error) {
	for _, reason := range u.Reasons() {
		if why, ok := strings.CutPrefix(reason, unreadable); ok {
			why, hint, _ := strings.Cut(why, "\n")
			return nil, &expr.Failure{Message: why, Hint: hint}
		}
	}
	return &u, nil
}

// Enter returns the scope inside a used playbook, with its parameters from with.
func (n *Node) Enter(ctx context.Context, sc *Scope) (inner *Scope, unknown *expr.Unknown, err error) {
	params := map[string]any{}
	for _, p := range n.Use.params {
		if t := n.With[p.lang.Name]; t != nil {
			v, u, err := t.paramValue(ctx, sc, p)
			if err != nil || u != nil {
				return nil, u, err
			}
			params[p.lang.Name] = v
		} else if p.lang.Default != nil {
			params[p.lang.Name] = p.initial()
		}
	}
	inner = sc.host.scope(params, sc.facts)
	inner.instance = sc.instance + sc.turn
	return inner, nil, nil
}

// initial returns the default as a value, or unknown when it is faulty.
func (p *param) initial() any {
	v, faults := value(p.lang.Default, p.lang.Type, "")
	if len(faults) > 0 {
		return noValue
	}
	return v
}

// paramValue resolves what with says for a parameter.
func (t *Tree) paramValue(ctx context.Context, sc *Scope, p *param) (any, *expr.Unknown, error) {
	if p.secret {
		// Expressions give secrets, texts are names of secrets.
		v, _, err := t.value(ctx, sc, func(n *source.Node) any { return secretParam(n.Text) })
		return v, nil, err
	}
	node, r, err := t.resolve(ctx, sc.Vars(), &SecretTable{})
	if err != nil || r.unknown != nil {
		return nil, r.unknown, err
	}
	v, faults := value(node, p.lang.Type, t.path)
	if len(faults) == 0 {
		faults = p.accept(v, node, t.path)
	}
	for _, f := range faults {
		f.Also = append(f.Also, p.lang.Pos)
	}
	return v, nil, faults.Err()
}
