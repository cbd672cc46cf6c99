package lang

import (
	"strconv"

	"holdfast/playbooks/source"
)

func (p *parser) handlers(pb *Playbook, n *source.Node) {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, "handlers", "want a mapping from name to task, got %s", describe(n))
		return
	}
	for _, e := range n.Entries {
		path := "handlers[" + strconv.Quote(e.Key.Text) + "]"
		h := &Handler{Name: e.Key.Text, Pos: e.Key.Pos}
		p.name(path, &h.Name)(e.Key)
		if e.Value.Kind == source.List {
			h.Tasks = p.entries(e.Value, path)
		} else if entry := p.entry(e.Value, path); entry != nil {
			h.Tasks = []*Entry{entry}
		}
		for _, t := range h.Tasks {
			p.handlerTask(t)
		}
		pb.Handlers = append(pb.Handlers, h)
	}
}

// handlerTask refuses what a handler cannot have because the host keeps it and the
// next run, which may be of another playbook, finishes it.
func (p *parser) handlerTask(e *Entry) {
	const hint = "handlers are stored on the host, so that the next run can finish them"
	if e.Block || e.Use != "" || e.Register.Text != "" || e.Each != nil {
		p.faults.Addf(e.Pos, e.Path, "a handler is a plain task: no block, use, each or register").Hint = hint
	}
	var until *source.Node
	if e.Retry != nil {
		until = e.Retry.Until
	}
	for _, k := range []struct {
		name string
		node *source.Node
	}{{"changed_if", e.ChangedIf}, {"fail_if", e.FailIf}, {"retry.until", until}} {
		if k.node != nil {
			p.faults.Addf(k.node.Pos, e.Path+"."+k.name, "a handler cannot look at its result").Hint = hint
		}
	}
	if e.OnController {
		p.faults.Addf(e.OnPos, e.Path+".on", "a handler works on its host").Hint = hint
	}
	if e.Once {
		p.faults.Addf(e.OncePos, e.Path+".once", "a handler runs on every host that notified it").Hint = hint
	}
	if len(e.Notify) > 0 {
		p.faults.Addf(e.Notify[0].Pos, e.Path+".notify", "a handler cannot notify another one").Hint = "notify both in the task"
	}
	if len(e.Satisfies) > 0 {
		p.faults.Addf(e.Satisfies[0].Pos, e.Path+".satisfies", "a handler cannot satisfy another one").Hint = hint
	}
}
