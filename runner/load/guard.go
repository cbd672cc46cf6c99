package load

import (
	"context"
	"strconv"
	"time"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/runner/expr"
)

// Guard is a guard that was compiled.
type Guard struct {
	within time.Duration
	lasts  *Tree // says what within is, unless nil
	via    []via
}

type via struct{ user, port, address *Tree }

// Via is a path that a guard wants proved; empty fields are as the inventory has them.
type Via struct {
	User, Address string
	Port          int
}

func (c *compiler) guard(sc *scope, g *lang.Guard, path string) *Guard {
	if c.guards > 0 {
		c.faults.Addf(g.Pos, path, "a guard cannot be inside a guard").Hint = "put them one after the other"
	}
	out := &Guard{within: g.Within}
	if g.Lasts != nil {
		out.lasts = c.value(sc, g.Lasts, path+".within", &expr.Type{Kind: expr.String})
	}
	for i, v := range g.Via {
		at := path + ".via[" + strconv.Itoa(i) + "]"
		one := func(n *source.Node, key string, kind expr.Kind) *Tree {
			if n == nil {
				return nil
			}
			return c.value(sc, n, at+"."+key, &expr.Type{Kind: kind})
		}
		out.via = append(out.via, via{one(v.User, "user", expr.String), one(v.Port, "port", expr.Int), one(v.Address, "address", expr.String)})
	}
	return out
}

// reboots finds tasks that reboot the host where nobody could wait for it.
func (c *compiler) reboots(n *Node) {
	if !n.Module.Reboots {
		return
	}
	add := func(message, hint string) {
		c.faults.Addf(n.Entry.ModulePos, n.Path+"."+n.Module.Name, "%s", message).Hint = hint
	}
	switch {
	case c.guards > 0:
		add("a guard does not outlive a reboot in its block", "reboot before the guard or after it")
	case c.stored > 0:
		add("a handler cannot reboot the host: another run may have to finish it", "make it a task after those that notify")
	case n.Entry.OnController:
		add("the machine that runs the play cannot be rebooted by it", "take the key on away")
	case n.Entry.Retry != nil:
		add("a reboot is not tried again", "say with timeout how long to wait for the host")
	}
}

// Within evaluates how long the guard waits.
func (g *Guard) Within(ctx context.Context, sc *Scope) (time.Duration, *expr.Unknown, error) {
	if g.lasts == nil {
		return g.within, nil, nil
	}
	n, res, err := g.lasts.resolve(ctx, sc.Vars(), &SecretTable{})
	if err != nil || res.unknown != nil {
		return 0, res.unknown, err
	}
	d, err := lang.ParseWithin(n.Text)
	if err != nil {
		return 0, nil, &source.Fault{Pos: n.Pos, Path: g.lasts.path, Message: err.Error()}
	}
	return d, nil, nil
}

// Resolve evaluates the paths.
func (g *Guard) Resolve(ctx context.Context, sc *Scope) ([]Via, *expr.Unknown, error) {
	var out []Via
	for _, v := range g.via {
		var r Via
		for _, t := range []*Tree{v.user, v.port, v.address} {
			if t == nil {
				continue
			}
			n, res, err := t.resolve(ctx, sc.Vars(), &SecretTable{})
			if err != nil || res.unknown != nil {
				return nil, res.unknown, err
			}
			switch t {
			case v.user:
				r.User = n.Text
			case v.address:
				r.Address = n.Text
			default:
				if r.Port, err = strconv.Atoi(n.Text); err != nil || r.Port < 1 || r.Port > 65535 {
					return nil, nil, &source.Fault{Pos: n.Pos, Path: t.path, Message: "want a port, got " + strconv.Quote(n.Text)}
				}
			}
		}
		out = append(out, r)
	}
	return out, nil, nil
}
