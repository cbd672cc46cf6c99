package load

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"holdfast/inventory"
	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// BindOptions say what a playbook is joined with.
type BindOptions struct {
	Params map[string]*source.Node // from the command line
	// Secret returns a secret by its name, provider included: env:NAME, file:/path.
	Secret func(name string) (secret.Text, error)
	Blobs  *Blobs
}

// Host is a playbook that was checked for one host, ready to run there.
type Host struct {
	Inventory *inventory.Host
	Playbook  *Playbook
	Params    map[string]any
	Given     map[string]*Given
	opts      *BindOptions
	fleet     map[string]any
}

// Bind joins a playbook with hosts and checks it for each of them as far as values
// are known without contact. The faults carry the hosts that they were found for.
func Bind(pb *Playbook, hosts []*inventory.Host, opts BindOptions) ([]*Host, source.Faults) {
	var faults source.Faults
	if opts.Blobs == nil {
		opts.Blobs = NewBlobs()
	}
	faults = append(faults, pb.unknownParams(opts.Params)...)
	var all []any
	for _, h := range hosts {
		all = append(all, hostValues(h))
	}
	fleet := map[string]any{"hosts": all}
	var out []*Host
	for _, h := range hosts {
		bound := &Host{Inventory: h, Playbook: pb, opts: &opts, fleet: fleet, Given: map[string]*Given{}}
		found := bound.params()
		if len(found) == 0 {
			found = bound.check()
		}
		for _, f := range found {
			f.Hosts = []string{h.Name}
			faults.Add(f)
		}
		out = append(out, bound)
	}
	faults = faults.Sorted()
	for _, f := range faults {
		if len(f.Hosts) == len(hosts) {
			f.Hosts = nil // every host: none has to be named
		}
	}
	return out, faults
}

func (pb *Playbook) unknownParams(params map[string]*source.Node) source.Faults {
	var faults source.Faults
	var known []string
	for _, p := range pb.params {
		known = append(known, p.lang.Name)
	}
	for name, n := range params {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			faults.Addf(n.Pos, "params."+name, "the playbook %q has no such parameter", pb.Lang.Name).Hint = source.DidYouMean(name, known)
		}
	}
	return faults
}

func hostValues(h *inventory.Host) map[string]any {
	labels := map[string]any{}
	for k, v := range h.Labels {
		labels[k] = v
	}
	groups := make([]any, len(h.Groups))
	for i, g := range h.Groups {
		groups[i] = g
	}
	return map[string]any{"name": h.Name, "address": h.Address, "labels": labels, "groups": groups}
}

// params gives every parameter its value: command line over host over group over
// playbook.
func (h *Host) params() source.Faults {
	var faults source.Faults
	levels := []func(string) *Given{
		func(name string) *Given {
			if n := h.opts.Params[name]; n != nil {
				return &Given{n, "command line"}
			}
			return nil
		},
		func(name string) *Given {
			if v, ok := h.Inventory.Vars[name]; ok {
				return &Given{v.Node, v.Where()}
			}
			return nil
		},
	}
	h.Params = map[string]any{}
	for _, p := range h.Playbook.params {
		g := p.given(levels)
		if g == nil {
			// What is neither required nor has a default was faulted with the playbook.
			h.Params[p.lang.Name] = expr.Unknown{Reason: "it has a value"}
			if !p.lang.Required {
				continue
			}
			faults.Addf(p.lang.Pos, "params."+p.lang.Name, "no value was given and it is required").Hint =
				fmt.Sprintf("give it with -p %s=…, or as a var in the inventory: %s", p.lang.Name, p.lang.Doc)
			continue
		}
		h.Given[p.lang.Name] = g
		v, found := value(g.Node, p.lang.Type, "params."+p.lang.Name)
		if len(found) > 0 {
			v = expr.Unknown{Reason: "it has a value"}
			if g.Level == "playbook" {
				found = nil // faulted with the playbook
			}
		} else {
			v, found = h.accept(p, v, g.Node)
		}
		for _, f := range found {
			if g.Level != "playbook" {
				f.Also = append(f.Also, p.lang.Pos)
			}
			faults.Add(f)
		}
		h.Params[p.lang.Name] = v
	}
	return faults
}

// accept applies a parameter's rules to a value that has its type.
func (h *Host) accept(p *param, v any, n *source.Node) (any, source.Faults) {
	var faults source.Faults
	path := "params." + p.lang.Name
	if !p.oneOf(v) {
		faults.Addf(n.Pos, path, "%q is none of the values that are allowed", fmt.Sprint(v)).Hint = source.DidYouMean(fmt.Sprint(v), p.lang.OneOf)
	}
	if p.check != nil {
		ok, _, err := p.check.Eval(context.Background(), expr.Vars{Values: map[string]any{"value": v}})
		switch {
		case err != nil:
			faults.Addf(n.Pos, path, "the check %q cannot be made: %s", p.lang.Check.Text, err)
		case !ok:
			faults.Addf(n.Pos, path, "the value does not pass the check %q", p.lang.Check.Text)
		}
	}
	if p.lang.Type.Kind == "secret" {
		return h.secretParam(p, fmt.Sprint(v)), faults
	}
	return v, faults
}

// secretParam stands for a secret that is fetched when it is used.
type secretParam struct{ name string }

func (h *Host) secretParam(_ *param, name string) any { return secretParam{name} }

// Scope is what expressions read on one host inside one playbook: the parameters,
// and the results so far. The engine keeps one for the playbook and one for each use.
type Scope struct {
	host    *Host
	params  map[string]any
	results map[string]any
	facts   any
}

// NewScope returns the scope of the outermost playbook. Facts may be nil while they
// are not known.
func (h *Host) NewScope(facts *task.Facts) *Scope {
	sc := &Scope{host: h, params: h.Params, results: map[string]any{}}
	sc.facts = expr.Unknown{Reason: "the host was contacted"}
	if facts != nil {
		sc.facts = *facts
	}
	return sc
}

// SetResult makes the result of a task known: a value of the module's result type,
// a list of such, or an [expr.Unknown].
func (sc *Scope) SetResult(name string, v any) { sc.results[name] = v }

// Forget takes a result out of the scope, because its task gave none.
func (sc *Scope) Forget(name string) { delete(sc.results, name) }

// Bind returns a copy of the scope in which name is v, for a loop variable or a
// task's own result.
func (sc *Scope) Bind(name string, v any) *Scope {
	out := *sc
	out.results = map[string]any{}
	for k, old := range sc.results {
		out.results[k] = old
	}
	out.results[name] = v
	return &out
}

// Vars returns the scope as expressions read it.
func (sc *Scope) Vars() expr.Vars {
	values := map[string]any{"params": sc.secrets(sc.params), "host": hostValues(sc.host.Inventory), "facts": sc.facts, "fleet": sc.host.fleet}
	for k, v := range sc.results {
		values[k] = v
	}
	return expr.Vars{Values: values, Secret: sc.secret}
}

func (sc *Scope) secret(name string) (any, error) {
	if sc.host.opts.Secret == nil {
		return expr.Unknown{Reason: "the secrets were read"}, nil
	}
	return sc.host.opts.Secret(name)
}

// secrets replaces the parameters that are secrets by their text, or by unknown
// while secrets are not read.
func (sc *Scope) secrets(params map[string]any) map[string]any {
	out := make(map[string]any, len(params))
	for k, v := range params {
		if p, ok := v.(secretParam); ok {
			text, err := sc.secret(p.name)
			if err != nil {
				text = expr.Unknown{Reason: err.Error()}
			}
			v = text
		}
		out[k] = v
	}
	return out
}

// Enter returns the scope inside a used playbook, with its parameters from with.
func (n *Node) Enter(ctx context.Context, sc *Scope) (inner *Scope, unknown *expr.Unknown, err error) {
	inner = &Scope{host: sc.host, params: map[string]any{}, results: map[string]any{}, facts: sc.facts}
	for _, p := range n.Use.params {
		t := n.With[p.lang.Name]
		if t == nil {
			if p.lang.Default == nil {
				continue
			}
			v, _ := value(p.lang.Default, p.lang.Type, "params."+p.lang.Name)
			inner.params[p.lang.Name] = v
			if p.lang.Type.Kind == "secret" {
				inner.params[p.lang.Name] = secretParam{fmt.Sprint(v)}
			}
			continue
		}
		v, u, err := t.paramValue(ctx, sc, p)
		if err != nil || u != nil {
			return nil, u, err
		}
		inner.params[p.lang.Name] = v
	}
	return inner, nil, nil
}

// paramValue resolves what with says for a parameter.
func (t *Tree) paramValue(ctx context.Context, sc *Scope, p *param) (any, *expr.Unknown, error) {
	if text := t.texts[t.node]; text != nil && p.lang.Type.Kind == "secret" {
		v, err := text.Eval(ctx, sc.Vars())
		if err != nil {
			return nil, nil, failureAt(t.node, t.path, err)
		}
		return v, nil, nil
	}
	node, r, err := t.resolve(ctx, sc.Vars(), &SecretTable{})
	if err != nil || r.unknown != nil {
		return nil, r.unknown, err
	}
	v, faults := value(node, p.lang.Type, t.path)
	if len(faults) > 0 {
		return nil, nil, faults.Err()
	}
	if p.lang.Type.Kind == "secret" {
		return secretParam{fmt.Sprint(v)}, nil, nil
	}
	v, faults = sc.host.accept(p, v, node)
	return v, nil, faults.Err()
}

// Items returns what a loop goes over, and false when that is not known yet.
func (n *Node) Items(ctx context.Context, sc *Scope) (items []any, unknown *expr.Unknown, err error) {
	t := n.Each
	if text := t.texts[t.node]; text != nil {
		v, err := text.Eval(ctx, sc.Vars())
		if err != nil {
			return nil, nil, failureAt(t.node, t.path, err)
		}
		switch v := v.(type) {
		case expr.Unknown:
			return nil, &v, nil
		case []any:
			return v, nil, nil
		}
		return nil, nil, &source.Fault{Pos: t.node.Pos, Path: t.path, Message: fmt.Sprintf("want a list, got %T", v)}
	}
	node, r, err := t.resolve(ctx, sc.Vars(), &SecretTable{})
	if err != nil || r.unknown != nil {
		return nil, r.unknown, err
	}
	for _, item := range node.Items {
		items = append(items, anyValue(item))
	}
	return items, nil, nil
}

// RunAsUser returns the account that the task runs as, "" for the helper's own.
func (n *Node) RunAsUser(ctx context.Context, sc *Scope) (string, *expr.Unknown, error) {
	if n.RunAs == nil {
		return "", nil, nil
	}
	node, r, err := n.RunAs.resolve(ctx, sc.Vars(), &SecretTable{})
	if err != nil || r.unknown != nil {
		return "", r.unknown, err
	}
	return node.Text, nil, nil
}

// Resolved are a task's arguments as they go to the host.
type Resolved struct {
	Args   json.RawMessage
	Hidden bool // an expression revealed a secret
}

// Resolve evaluates a task's arguments. unknown is set, and resolved is not, when
// they depend on what is not known yet.
func (n *Node) Resolve(ctx context.Context, sc *Scope, secrets *SecretTable) (resolved *Resolved, unknown *expr.Unknown, err error) {
	args, r, err := n.Args.resolve(ctx, sc.Vars(), secrets)
	if err != nil {
		return nil, nil, err
	}
	if r.unknown != nil {
		return nil, r.unknown, nil
	}
	if args.IsNull() {
		args = &source.Node{Kind: source.Map, Pos: n.Entry.ModulePos}
	}
	if err := n.content(args, r, sc.host.opts.Blobs); err != nil || r.unknown != nil {
		return nil, r.unknown, err
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode the arguments of %s: %w", n.Path, err)
	}
	return &Resolved{Args: b, Hidden: n.Args.reveals}, nil, nil
}

// ResultValue reads the result of a module as expressions see it.
func (n *Node) ResultValue(state json.RawMessage) (any, error) {
	v := reflect.New(n.Module.ResultType)
	if err := json.Unmarshal(state, v.Interface()); err != nil {
		return nil, fmt.Errorf("cannot read the result of %q: %w", n.Entry.Name, err)
	}
	return v.Elem().Interface(), nil
}

// Needs returns why the playbook cannot run on a host, or "".
func (pb *Playbook) Needs(facts *task.Facts) string {
	list := pb.Lang.Needs.OS
	if len(list) == 0 {
		return ""
	}
	var want string
	for i, need := range list {
		if satisfies(need, facts.OS) {
			return ""
		}
		if i > 0 {
			want += " or "
		}
		want += need.ID + need.Op + need.Version
	}
	return fmt.Sprintf("the playbook %q needs %s, the host is %s %s", pb.Lang.Name, want, facts.OS.ID, facts.OS.Version)
}

func satisfies(need lang.OSNeed, os task.OS) bool {
	if need.ID != os.ID {
		return false
	}
	c := compareVersions(os.Version, need.Version)
	switch need.Op {
	case ">=":
		return c >= 0
	case ">":
		return c > 0
	case "<=":
		return c <= 0
	case "<":
		return c < 0
	case "=":
		return c == 0
	}
	return true
}
