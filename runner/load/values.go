package load

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// Items returns what a loop goes over. unknown is set when something of it is not
// known yet; items are then those that can be looked at all the same, if any.
func (n *Node) Items(ctx context.Context, sc *Scope) (items []any, unknown *expr.Unknown, err error) {
	v, unknown, err := n.Each.value(ctx, sc, anyValue)
	if err != nil {
		return nil, nil, err
	}
	switch v := v.(type) {
	case []any:
		return v, unknown, nil
	case expr.Unknown:
		return nil, unknown, nil
	}
	return nil, nil, &source.Fault{Pos: n.Each.node.Pos, Path: n.Each.path, Message: fmt.Sprintf("want a list, got %T", v)}
}

// value returns the tree as a Go value, in which secrets are secret.Text and what
// is not known is an [expr.Unknown]. literal reads the scalars without expressions.
func (t *Tree) value(ctx context.Context, sc *Scope, literal func(*source.Node) any) (v any, unknown *expr.Unknown, err error) {
	r := &valuation{ctx: ctx, vars: sc.Vars(), tree: t, literal: literal}
	v, err = r.node(t.node, t.path)
	return v, r.unknown, err
}

// valuation is one evaluation of a tree to a Go value.
type valuation struct {
	ctx     context.Context
	vars    expr.Vars
	tree    *Tree
	literal func(*source.Node) any
	unknown *expr.Unknown
}

func (r *valuation) node(n *source.Node, path string) (any, error) {
	switch n.Kind {
	case source.List:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			v, err := r.node(item, path+"["+strconv.Itoa(i)+"]")
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case source.Map:
		out := make(map[string]any, len(n.Entries))
		for _, kv := range n.Entries {
			v, err := r.node(kv.Value, path+"."+kv.Key.Text)
			if err != nil {
				return nil, err
			}
			out[kv.Key.Text] = v
		}
		return out, nil
	}
	text := r.tree.texts[n]
	if text == nil {
		return r.literal(n), nil
	}
	v, err := text.Eval(r.ctx, r.vars)
	if u, ok := v.(expr.Unknown); ok && err == nil {
		if r.unknown, err = orFailure(u); err == nil {
			return u, nil
		}
	}
	if err != nil {
		return nil, failureAt(n, path, err)
	}
	return v, nil
}

// referenced replaces the secrets in a value by references, which travel in its place.
func (t *SecretTable) referenced(v any) any {
	switch v := v.(type) {
	case secret.Text:
		return map[string]any{task.SecretKey: strconv.Itoa(t.add(v))}
	case []any:
		return mapped(v, t.referenced)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = t.referenced(item)
		}
		return out
	}
	return v
}
