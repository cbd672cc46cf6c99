package load

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/task"
)

// check walks the playbook with what is known of a host before contact, and looks
// at every value that is decided by that.
func (h *Host) check() source.Faults {
	c := &hostCheck{ctx: context.Background()}
	sc := h.NewScope(nil)
	c.nodes(h.Playbook.Tasks, sc)
	for _, handler := range h.Playbook.Handlers {
		c.nodes(handler.Tasks, sc)
	}
	c.verify = true
	c.nodes(h.Playbook.Verify, h.NewScope(nil))
	return c.faults
}

type hostCheck struct {
	ctx    context.Context
	faults source.Faults
	verify bool // these are the tasks of verify, which only read
	unsure int  // how many conditions around are not known yet
}

// add keeps a fault of an evaluation; anything else would be a bug of ours. An
// evaluation that goes wrong is no fault of what may not run: its condition may be
// there to keep that from happening.
func (c *hostCheck) add(n *Node, err error) {
	if err == nil || c.unsure > 0 {
		return
	}
	var fs source.Faults
	var f *source.Fault
	switch {
	case errors.As(err, &fs):
		c.faults = append(c.faults, fs...)
	case errors.As(err, &f):
		copied := *f
		c.faults.Add(&copied)
	default:
		c.faults.Addf(n.Entry.Pos, n.Path, "%s", err)
	}
}

func (c *hostCheck) nodes(list []*Node, sc *Scope) {
	for _, n := range list {
		c.node(n, sc)
	}
}

func (c *hostCheck) node(n *Node, sc *Scope) {
	if name := n.Entry.Register.Text; name != "" {
		defer sc.SetResult(name, expr.Unknown{Reason: n.Entry.Name})
	}
	if n.faulty {
		return
	}
	if n.Each == nil {
		c.once(n, sc)
		return
	}
	items, unknown, err := n.Items(c.ctx, sc)
	c.add(n, err)
	if unknown != nil && items == nil || err != nil {
		return
	}
	for i, item := range items {
		c.once(n, sc.Turn(n.Entry.As, item, i))
	}
}

func (c *hostCheck) once(n *Node, sc *Scope) {
	holds, unknown, err := n.When.Eval(c.ctx, sc.Vars())
	c.add(n, err)
	if err != nil || !holds && unknown == nil {
		return
	}
	if unknown != nil {
		c.unsure++
		defer func() { c.unsure-- }()
	}
	switch {
	case n.Module != nil:
		c.args(n, sc)
	case n.Use != nil:
		inner, unknown, err := n.Enter(c.ctx, sc)
		c.add(n, err)
		if err == nil && unknown == nil {
			c.nodes(n.Use.Tasks, inner)
			for _, h := range n.Use.Handlers {
				c.nodes(h.Tasks, inner)
			}
			within := c.verify
			c.verify = true
			c.nodes(n.Use.Verify, inner)
			c.verify = within
		}
	default:
		if n.Guard != nil {
			_, _, err := n.Guard.Resolve(c.ctx, sc)
			c.add(n, err)
			_, _, err = n.Guard.Within(c.ctx, sc)
			c.add(n, err)
		}
		c.nodes(n.Tasks, sc)
		c.nodes(n.Rescue, sc)
		c.nodes(n.Always, sc)
	}
}

// args lets the module look at the arguments whose values are known.
func (c *hostCheck) args(n *Node, sc *Scope) {
	if len(n.Args.texts) == 0 && n.RunAs == nil && !(c.verify && n.Module.MayRead) {
		return // the same for every host, and looked at with the playbook
	}
	args, r, err := n.Args.resolve(c.ctx, sc.Vars(), &SecretTable{})
	if err != nil {
		c.add(n, err)
		return
	}
	if !args.IsNull() {
		c.add(n, n.content(args, r, nil))
	}
	hole := func(v *source.Node, _ string, want reflect.Type, _ *task.Field) (bool, source.Faults) {
		return r.open[v] || r.revealed[v] || want == reflect.TypeFor[task.Blob](), nil
	}
	bound, faults := n.Module.Check(args, n.Entry.ModulePos, n.Path, openSecrets(hole))
	c.faults = append(c.faults, faults...)
	if c.verify && n.Module.MayRead && len(faults) == 0 && bound != nil && !bound.ReadOnly {
		c.faults.Add(writesInVerify(n))
	}
	_, _, err = n.RunAsUser(c.ctx, sc)
	c.add(n, err)
}

// openSecrets lets references to secrets and content pass, which have no text here.
func openSecrets(hole task.Hole) task.Hole {
	return func(v *source.Node, path string, want reflect.Type, f *task.Field) (bool, source.Faults) {
		if v.Get(task.SecretKey) != nil || v.Get(task.BlobKey) != nil || v.Get(task.TextKey) != nil {
			return true, nil
		}
		if v.Kind != source.Scalar {
			return false, nil
		}
		return hole(v, path, want, f)
	}
}

// compareVersions compares dotted numbers.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		var x, y int
		if i < len(as) {
			x, _ = strconv.Atoi(as[i])
		}
		if i < len(bs) {
			y, _ = strconv.Atoi(bs[i])
		}
		if x != y {
			return x - y
		}
	}
	return 0
}
