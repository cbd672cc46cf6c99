package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
	// Secret returns the secret that a host has by a name, which may begin with a
	// provider: env:NAME, file:/path. It is called by several goroutines. The zero Text
	// stands for one that is there and not read now. Without it, no secret is known.
	Secret func(h *inventory.Host, name string) (secret.Text, error)
	Blobs  *Blobs
}

// Host is a playbook that was checked for one host, ready to run there.
type Host struct {
	Inventory *inventory.Host
	Playbook  *Playbook
	Params    map[string]any
	Given     map[string]*Given
	opts      *BindOptions
	values    map[string]any // what expressions see of it
	fleet     map[string]any
	made      *Blobs // content that was made for this host alone
}

// Content returns content by its digest: what was made for this host, or what all
// hosts share.
func (h *Host) Content(digest string) ([]byte, error) {
	if data, err := h.made.Get(digest); err == nil {
		return data, nil
	}
	return h.opts.Blobs.Get(digest)
}

// Release forgets the content that was made for this host, when it is done with.
func (h *Host) Release() { h.made.clear() }

// noValue stands for a parameter whose value is faulty, so that what depends on it
// is not faulted again.
var noValue = expr.Unknown{Reason: "it has a value"}

// Bind joins a playbook with hosts and checks it for each of them as far as values
// are known without contact. The faults are sorted and name the hosts that they
// were found for, or none when that is every host.
func Bind(pb *Playbook, hosts []*inventory.Host, opts BindOptions) ([]*Host, source.Faults) {
	if opts.Blobs == nil {
		opts.Blobs = NewBlobs()
	}
	all := make([]any, len(hosts))
	for i, h := range hosts {
		all[i] = hostValues(h)
	}
	fleet := map[string]any{"hosts": all}
	faults := pb.unknownParams(opts.Params)
	out := make([]*Host, len(hosts))
	found := make([]source.Faults, len(hosts))
	inParallel(len(hosts), func(i int) {
		out[i] = &Host{Inventory: hosts[i], Playbook: pb, opts: &opts, fleet: fleet, values: all[i].(map[string]any), made: NewBlobs()}
		if found[i] = out[i].params(); len(found[i]) == 0 {
			found[i] = out[i].check()
		}
	})
	for i, h := range hosts {
		for _, f := range found[i] {
			f.Hosts = []string{h.Name}
			faults.Add(f)
		}
	}
	faults = faults.Sorted()
	for _, f := range faults {
		if len(f.Hosts) == len(hosts) {
			f.Hosts = nil // every host: none has to be named
		}
	}
	return out, faults
}

// inParallel calls f for each number below n, on all processors.
func inParallel(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

func (pb *Playbook) unknownParams(params map[string]*source.Node) source.Faults {
	var faults source.Faults
	var known []string
	for _, p := range pb.params {
		known = append(known, p.lang.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(known, name) {
			f := faults.Addf(params[name].Pos, "params."+name, "the playbook %q has no such parameter", pb.Lang.Name)
			f.Hint = source.DidYouMean(name, known)
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

// given decides which value a parameter has: command line over host over group over
// playbook. Nil means that there is none.
func (h *Host) given(p *param) *Given {
	if n := h.opts.Params[p.lang.Name]; n != nil {
		return &Given{n, "command line"}
	}
	if v, ok := h.Inventory.Vars[p.lang.Name]; ok {
		return &Given{v.Node, v.Where()}
	}
	if p.lang.Default != nil {
		return &Given{p.lang.Default, "playbook"}
	}
	return nil
}

// params gives every parameter its value.
func (h *Host) params() source.Faults {
	var faults source.Faults
	h.Params, h.Given = map[string]any{}, map[string]*Given{}
	for _, p := range h.Playbook.params {
		name := p.lang.Name
		g := h.given(p)
		h.Params[name] = noValue
		switch {
		case g == nil && p.lang.Required:
			faults.Addf(p.lang.Pos, "params."+name, "no value was given and it is required").Hint =
				fmt.Sprintf("give it with -p %s=…, or as a var in the inventory: %s", name, p.lang.Doc)
			continue
		case g == nil:
			continue // faulted with the playbook
		}
		h.Given[name] = g
		v, found := value(g.Node, p.lang.Type, "params."+name)
		switch {
		case len(found) > 0 && g.Level == "playbook":
			continue // faulted with the playbook
		case len(found) == 0:
			h.Params[name] = v
			found = p.accept(v, g.Node, "params."+name)
		}
		for _, f := range found {
			if g.Level != "playbook" {
				f.Also = append(f.Also, p.lang.Pos)
			}
			faults.Add(f)
		}
	}
	return faults
}

// accept applies a parameter's rules to a value that has its type.
func (p *param) accept(v any, n *source.Node, path string) source.Faults {
	var faults source.Faults
	if !p.oneOf(v) {
		f := faults.Addf(n.Pos, path, "%q is none of the values that are allowed", fmt.Sprint(v))
		if f.Hint = source.DidYouMean(fmt.Sprint(v), p.lang.OneOf); f.Hint == "" {
			f.Hint = "they are " + strings.Join(p.lang.OneOf, ", ")
		}
	}
	if len(p.lang.Keys) > 0 {
		p.closed(n, path, &faults)
	}
	if p.check == nil {
		return faults
	}
	ok, _, err := p.check.Eval(context.Background(), expr.Vars{Values: map[string]any{"value": v}})
	switch {
	case err != nil:
		var why *source.Fault
		if errors.As(err, &why) {
			err = errors.New(why.Message) // the place is that of the value
		}
		faults.Addf(n.Pos, path, "the check %q cannot be made: %s", p.lang.Check.Text, err)
	case !ok:
		faults.Addf(n.Pos, path, "the value does not pass the check %q", p.lang.Check.Text)
	}
	return faults
}

// closed applies the list of keys that a map may hold.
func (p *param) closed(n *source.Node, path string, faults *source.Faults) {
	for _, kv := range n.Entries {
		if slices.Contains(p.lang.Keys, kv.Key.Text) {
			continue
		}
		f := faults.Addf(kv.Key.Pos, path+"."+kv.Key.Text, "%q is none of the keys that are allowed", kv.Key.Text)
		if f.Hint = source.DidYouMean(kv.Key.Text, p.lang.Keys); f.Hint == "" {
			f.Hint = "they are " + strings.Join(p.lang.Keys, ", ")
		}
	}
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
	if err := n.content(args, r, sc.host); err != nil || r.unknown != nil {
		return nil, r.unknown, err
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode the arguments of %s: %w", n.Path, err)
	}
	return &Resolved{Args: b, Hidden: n.Args.reveals}, nil, nil
}

// Risky reports whether a task could cut the connection with resolved arguments, and
// where it moves the port of the SSH server to, if it does.
func (n *Node) Risky(res *Resolved, secrets *SecretTable) (risky bool, port int64, err error) {
	b := n.bound
	switch {
	case n.Module.Action:
		return n.Module.Risk == task.Connectivity, 0, nil
	case b == nil:
		if b, err = n.bind(res, secrets); err != nil {
			return false, 0, err
		}
	}
	return b.Risk == task.Connectivity, b.Port, nil
}

func (n *Node) bind(res *Resolved, secrets *SecretTable) (*task.Bound, error) {
	args, err := source.FromJSON(n.Entry.ModulePos, res.Args)
	if err != nil {
		return nil, err
	}
	all := secrets.All()
	return n.Module.Bind(args, func(id int) (secret.Text, bool) { t, ok := all[id]; return t, ok })
}

// OnlyReads reports whether a module changes nothing with resolved arguments.
func (n *Node) OnlyReads(res *Resolved, secrets *SecretTable) (bool, error) {
	m := n.Module
	if m.ReadOnly || m.Wait || !m.MayRead {
		return m.ReadOnly || m.Wait, nil
	}
	b, err := n.bind(res, secrets)
	if err != nil {
		return false, err
	}
	return b.ReadOnly, nil
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
