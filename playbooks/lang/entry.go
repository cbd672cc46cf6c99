package lang

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/playbooks/source"
)

// commonKeys are the keys that every task may have, whatever its module.
var commonKeys = []string{"name", "when", "each", "as", "register", "notify", "satisfies", "retry", "timeout", "run_as",
	"on", "once", "changed_if", "fail_if", "ignore_failure", "tags"}

// blockKeys make an entry a block.
var blockKeys = []string{"tasks", "rescue", "always"}

// maxEntries bounds the tasks of one playbook, so that what is made of each stays
// in memory.
const maxEntries = 10_000

func (p *parser) entries(n *source.Node, path string) []*Entry {
	if n.Kind != source.List {
		p.faults.Addf(n.Pos, path, "want a list of tasks, got %s", describe(n))
		return nil
	}
	var out []*Entry
	for i, item := range n.Items {
		if p.count++; p.count > maxEntries {
			if p.count == maxEntries+1 {
				p.faults.Addf(item.Pos, path, "the playbook has more than %d tasks", maxEntries).Hint = "loop with each, or split it and use the parts"
			}
			return out
		}
		if e := p.entry(item, path+"["+strconv.Itoa(i)+"]"); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// entry reads one task. It returns nil when nothing can be made of it.
func (p *parser) entry(n *source.Node, path string) *Entry {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, path, "want a task, got %s", describe(n)).Hint = "a task is a mapping with a module: file: {path: …}"
		return nil
	}
	e := &Entry{Pos: n.Pos, Path: path, As: "item"}
	table := p.common(e, path)
	for _, kv := range n.Entries {
		key := kv.Key.Text
		if read, ok := table[key]; ok {
			read(kv.Value)
			continue
		}
		switch {
		case key == "guard":
			e.Guard = p.guard(kv.Value, path+".guard")
		case key == "on_failure":
			e.FailPos = kv.Value.Pos
			p.oneOf(path+".on_failure", &e.OnFailure, "stop", "rollback")(kv.Value)
		case slices.Contains(blockKeys, key):
			p.block(e, key, kv.Value, path)
		case key == "use":
			e.UsePos = kv.Value.Pos
			p.name(path+".use", &e.Use)(kv.Value)
		case key == "with":
			e.With = kv.Value
		default:
			p.module(e, kv, path)
		}
	}
	p.whole(e, n, path)
	return e
}

func (p *parser) common(e *Entry, path string) map[string]func(*source.Node) {
	keep := func(dst **source.Node) func(*source.Node) { return func(n *source.Node) { *dst = n } }
	return map[string]func(*source.Node){
		"name":           p.name(path+".name", &e.Name),
		"when":           keep(&e.When),
		"each":           keep(&e.Each),
		"as":             p.identifier(path+".as", func(name Name) { e.As, e.AsPos = name.Text, name.Pos }),
		"register":       p.identifier(path+".register", func(name Name) { e.Register = name }),
		"notify":         func(n *source.Node) { e.Notify = p.texts(n, path+".notify") },
		"satisfies":      func(n *source.Node) { e.Satisfies = p.texts(n, path+".satisfies") },
		"retry":          func(n *source.Node) { e.Retry = p.retry(n, path+".retry") },
		"timeout":        p.duration(path+".timeout", time.Second, maxDuration, &e.Timeout),
		"run_as":         keep(&e.RunAs),
		"on":             func(n *source.Node) { p.on(e, n, path+".on") },
		"once":           func(n *source.Node) { p.once(e, n, path+".once") },
		"changed_if":     keep(&e.ChangedIf),
		"fail_if":        keep(&e.FailIf),
		"ignore_failure": keep(&e.IgnoreFailure),
		"tags": func(n *source.Node) {
			for _, name := range p.texts(n, path+".tags") {
				e.Tags = append(e.Tags, name.Text)
			}
		},
	}
}

func (p *parser) identifier(path string, set func(Name)) func(*source.Node) {
	return func(n *source.Node) {
		if n.Kind != source.Scalar || !namePattern.MatchString(n.Text) {
			p.faults.Addf(n.Pos, path, "%s is not a name", quote(n)).Hint = "small letters, digits and underscores"
			return
		}
		if slices.Contains(reserved, n.Text) && n.Text != "item" {
			p.faults.Addf(n.Pos, path, "the name %q is taken", n.Text)
			return
		}
		set(Name{n.Text, n.Pos})
	}
}

// on reads where a task works.
func (p *parser) on(e *Entry, n *source.Node, path string) {
	switch {
	case n.Kind == source.Scalar && n.Text == "host":
	case n.Kind == source.Scalar && n.Text == "controller":
		e.OnController, e.OnPos = true, n.Pos
	default:
		p.faults.Addf(n.Pos, path, "want host or controller, got %s", quote(n)).Hint = "controller is the machine that this program runs on"
	}
}

func (p *parser) once(e *Entry, n *source.Node, path string) {
	value, err := strconv.ParseBool(n.Text)
	if n.Kind != source.Scalar || err != nil || n.Text != "true" && n.Text != "false" {
		p.faults.Addf(n.Pos, path, "want true or false, got %s", quote(n))
		return
	}
	e.Once, e.OncePos = value, n.Pos
}

func (p *parser) retry(n *source.Node, path string) *Retry {
	r := &Retry{Times: 3}
	p.keys(n, path, map[string]func(*source.Node){
		"times": func(v *source.Node) {
			times, err := strconv.Atoi(v.Text)
			if err != nil || times < 1 || times > 1000 {
				p.faults.Addf(v.Pos, path+".times", "want a number from 1 to 1000, got %s", quote(v))
				return
			}
			r.Times = times
		},
		"delay": p.duration(path+".delay", 0, maxDuration, &r.Delay),
		"until": func(v *source.Node) { r.Until = v },
	})
	return r
}

func (p *parser) block(e *Entry, key string, n *source.Node, path string) {
	list := p.entries(n, path+"."+key)
	e.Block = true
	switch key {
	case "tasks":
		e.Tasks = list
	case "rescue":
		e.Rescue = list
	case "always":
		e.Always = list
	}
}

// guard reads via, one path or a list of them, and within.
func (p *parser) guard(n *source.Node, path string) *Guard {
	g := &Guard{Pos: n.Pos, Within: DefaultWithin}
	p.keys(n, path, map[string]func(*source.Node){
		"within": func(v *source.Node) {
			if v.Kind == source.Scalar && strings.Contains(v.Text, "${") {
				g.Lasts = v
				return
			}
			p.duration(path+".within", leastWithin, mostWithin, &g.Within)(v)
		},
		"via": func(v *source.Node) { g.Via = p.via(v, path+".via") },
	})
	if len(g.Via) == 0 {
		g.Via = []Via{{Pos: n.Pos}}
	}
	return g
}

func (p *parser) via(n *source.Node, path string) []Via {
	list := []*source.Node{n}
	if n.Kind == source.List {
		list = n.Items
	}
	var out []Via
	for i, item := range list {
		via := Via{Pos: item.Pos}
		keep := func(dst **source.Node) func(*source.Node) { return func(n *source.Node) { *dst = n } }
		p.keys(item, path+"["+strconv.Itoa(i)+"]", map[string]func(*source.Node){
			"user": keep(&via.User), "port": keep(&via.Port), "address": keep(&via.Address)})
		out = append(out, via)
	}
	return out
}

func (p *parser) module(e *Entry, kv source.Entry, path string) {
	key := kv.Key.Text
	known := slices.Contains(p.opts.Modules, key)
	if known && e.Module == "" {
		e.Module, e.ModulePos, e.Args = key, kv.Key.Pos, kv.Value
		return
	}
	if known {
		p.faults.Addf(kv.Key.Pos, path+"."+key, "a second module in one task, the first is %q", e.Module).Hint = "make two tasks of it"
		return
	}
	f := p.faults.Addf(kv.Key.Pos, path+"."+key, "neither a module nor a key of a task")
	f.Hint = source.DidYouMean(key, slices.Concat(p.opts.Modules, commonKeys, blockKeys, []string{"use", "with", "guard", "on_failure"}))
	if f.Hint == "" {
		f.Hint = "'holdfast doc' lists the modules"
	}
	e.ModulePos = kv.Key.Pos // so that the task is not called empty too
}

// whole applies the rules about which keys go together.
func (p *parser) whole(e *Entry, n *source.Node, path string) {
	kinds := 0
	for _, is := range []bool{e.Module != "", e.Use != "", e.Block} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds == 0 && e.ModulePos.Line == 0 && e.UsePos.Line == 0:
		p.faults.Addf(n.Pos, path, "a task needs a module, a block of tasks, or use").Hint = "'holdfast doc' lists the modules"
	case kinds > 1:
		p.faults.Addf(n.Pos, path, "a task is a module, a block or a use; only one of them")
	}
	if e.With != nil && e.UsePos.Line == 0 {
		p.faults.Addf(e.With.Pos, path+".with", "only goes with use")
	}
	if e.Guard != nil && !e.Block {
		p.faults.Addf(e.Guard.Pos, path+".guard", "only goes with a block of tasks")
	}
	if e.FailPos.Line != 0 && !e.Block {
		p.faults.Addf(e.FailPos, path+".on_failure", "only goes with a block of tasks")
	}
	if e.Guard != nil && e.FailPos.Line != 0 {
		p.faults.Addf(e.FailPos, path+".on_failure", "the guard takes the block back when a task of it fails")
	}
	if e.Guard != nil && len(e.Rescue)+len(e.Always) > 0 {
		p.faults.Addf(e.Guard.Pos, path+".guard", "a block with a guard has no rescue and no always: the guard takes it back")
	}
	if list := n.Get("tasks"); e.Block && (list == nil || list.Kind == source.List && len(list.Items) == 0) {
		p.faults.Addf(n.Pos, path+".tasks", "missing, a block needs it")
	}
	if e.AsPos.Line != 0 && n.Get("each") == nil {
		p.faults.Addf(e.AsPos, path+".as", "only goes with each")
	}
	if e.Once && e.Each != nil {
		p.faults.Addf(e.OncePos, path+".once", "does not go with each").Hint = "give the task its whole list, or leave once away"
	}
	if e.Module == "" && kinds == 1 {
		p.notOnGroups(e, n, path)
	}
	if e.Name == "" {
		e.Name = title(e)
	}
}

// notOnGroups refuses what only a single task can have.
func (p *parser) notOnGroups(e *Entry, n *source.Node, path string) {
	for _, key := range []string{"register", "retry", "changed_if", "fail_if", "ignore_failure", "notify", "timeout", "run_as", "on", "once", "each"} {
		if key == "each" && e.Use != "" {
			continue
		}
		if v := n.Get(key); v != nil {
			p.faults.Addf(v.Pos, path+"."+key, "only goes with a module")
		}
	}
}

// title makes a name for a task that has none, from its module and the first
// argument that tells what it is about.
func title(e *Entry) string {
	switch {
	case e.Use != "":
		return "use " + e.Use
	case e.Block:
		return "block"
	}
	var about []string
	for _, key := range []string{"path", "name", "user", "install", "cmd", "url", "file"} {
		if v := e.Args.Get(key); v != nil && v.Kind == source.Scalar {
			about = append(about, v.Text)
			break
		} else if v != nil && v.Kind == source.List {
			for _, item := range v.Items {
				about = append(about, item.Text)
			}
			break
		}
	}
	text := strings.Join(strings.Fields(e.Module+" "+strings.Join(about, " ")), " ")
	if r := []rune(text); len(r) > 60 {
		text = string(r[:57]) + "…"
	}
	return text
}
