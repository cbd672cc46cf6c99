package lang

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/playbooks/source"
	"holdfast/tasks/task"
)

// Options tell the parser the names it needs for hints.
type Options struct {
	Modules []string // names of task modules
}

// Parse turns the tree of a file into a Playbook. It collects every fault and
// returns what it could read beside them.
func Parse(root *source.Node, file string, opts Options) (*Playbook, source.Faults) {
	p := &parser{opts: opts}
	pb := &Playbook{File: file, OnFailure: "stop"}
	at := source.Pos{File: file, Line: 1, Col: 1}
	if root.IsNull() {
		p.faults.Addf(at, "", "the playbook is empty").Hint = "start with playbook:, version: and tasks:"
		return pb, p.faults
	}
	p.playbook(pb, root)
	return pb, p.faults
}

type parser struct {
	opts   Options
	faults source.Faults
}

// keys calls the function of each key that is there, and faults the others.
func (p *parser) keys(n *source.Node, path string, table map[string]func(*source.Node)) {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, path, "want a mapping, got %s", n.Kind)
		return
	}
	for _, e := range n.Entries {
		read, ok := table[e.Key.Text]
		if !ok {
			names := make([]string, 0, len(table))
			for k := range table {
				names = append(names, k)
			}
			slices.Sort(names)
			f := p.faults.Addf(e.Key.Pos, join(path, e.Key.Text), "unknown key")
			if f.Hint = source.DidYouMean(e.Key.Text, names); f.Hint == "" {
				f.Hint = "the keys are " + strings.Join(names, ", ")
			}
			continue
		}
		read(e.Value)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var versionPattern = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func (p *parser) playbook(pb *Playbook, root *source.Node) {
	p.keys(root, "", map[string]func(*source.Node){
		"playbook":   p.text("playbook", &pb.Name),
		"version":    p.version(pb),
		"summary":    p.text("summary", &pb.Summary),
		"needs":      func(n *source.Node) { p.needs(pb, n) },
		"params":     func(n *source.Node) { p.params(pb, n) },
		"on_failure": p.oneOf("on_failure", &pb.OnFailure, "stop", "continue"),
		"tasks":      func(n *source.Node) { pb.Tasks = p.entries(n, "tasks", true) },
		"handlers":   func(n *source.Node) { p.handlers(pb, n) },
		"verify":     func(n *source.Node) { pb.Verify = p.entries(n, "verify", true) },
	})
	if root.Kind != source.Map {
		return
	}
	if root.Get("playbook") == nil {
		p.faults.Addf(root.Pos, "playbook", "missing, it is required").Hint = "the name of the playbook: playbook: baseline"
	}
	if root.Get("tasks") == nil && root.Get("verify") == nil {
		p.faults.Addf(root.Pos, "tasks", "missing, it is required")
	}
}

func (p *parser) version(pb *Playbook) func(*source.Node) {
	return func(n *source.Node) {
		p.text("version", &pb.Version)(n)
		if n.Kind == source.Scalar && !versionPattern.MatchString(n.Text) {
			p.faults.Addf(n.Pos, "version", "%q is not a semantic version", n.Text).Hint = "write three numbers: 1.0.0"
		}
	}
}

// text reads a scalar into dst.
func (p *parser) text(path string, dst *string) func(*source.Node) {
	return func(n *source.Node) {
		if n.Kind != source.Scalar || n.IsNull() {
			p.faults.Addf(n.Pos, path, "want a text, got %s", describe(n))
			return
		}
		*dst = n.Text
	}
}

func describe(n *source.Node) string {
	if n.IsNull() {
		return "nothing"
	}
	return n.Kind.String()
}

func (p *parser) oneOf(path string, dst *string, words ...string) func(*source.Node) {
	return func(n *source.Node) {
		if n.Kind != source.Scalar || !slices.Contains(words, n.Text) {
			f := p.faults.Addf(n.Pos, path, "want %s, got %q", strings.Join(words, " or "), n.Text)
			f.Hint = source.DidYouMean(n.Text, words)
			return
		}
		*dst = n.Text
	}
}

func (p *parser) duration(path string, dst *time.Duration) func(*source.Node) {
	return func(n *source.Node) {
		var d task.Duration
		if n.Kind != source.Scalar {
			p.faults.Addf(n.Pos, path, "want a duration, got %s", n.Kind)
			return
		}
		if err := d.UnmarshalText([]byte(n.Text)); err != nil {
			p.faults.Addf(n.Pos, path, "%s", err)
			return
		}
		*dst = d.Std()
	}
}

func (p *parser) texts(n *source.Node, path string) []Name {
	if n.Kind == source.Scalar && !n.IsNull() {
		return []Name{{n.Text, n.Pos}}
	}
	if n.Kind != source.List {
		p.faults.Addf(n.Pos, path, "want a list of texts, got %s", describe(n))
		return nil
	}
	var out []Name
	for i, item := range n.Items {
		if item.Kind != source.Scalar || item.IsNull() {
			p.faults.Addf(item.Pos, path+"["+strconv.Itoa(i)+"]", "want a text, got %s", describe(item))
			continue
		}
		out = append(out, Name{item.Text, item.Pos})
	}
	return out
}

var osPattern = regexp.MustCompile(`^([a-z][a-z0-9_-]*)(?:\s*(>=|<=|=|>|<)\s*([0-9][0-9.]*))?$`)

func (p *parser) needs(pb *Playbook, n *source.Node) {
	p.keys(n, "needs", map[string]func(*source.Node){
		"holdfast": func(v *source.Node) {
			p.text("needs.holdfast", &pb.Needs.Holdfast)(v)
			pb.Needs.HoldfastPos = v.Pos
		},
		"os": func(v *source.Node) {
			for i, name := range p.texts(v, "needs.os") {
				m := osPattern.FindStringSubmatch(name.Text)
				if m == nil {
					p.faults.Addf(name.Pos, fmt.Sprintf("needs.os[%d]", i), "%q is not a system", name.Text).Hint = "write debian, or debian>=12"
					continue
				}
				pb.Needs.OS = append(pb.Needs.OS, OSNeed{name.Pos, m[1], m[2], m[3]})
			}
		},
	})
}

var namePattern = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// reserved are the names in scope of every expression.
var reserved = []string{"params", "host", "facts", "item", "fleet", "secret", "reveal", "value", "result", "true", "false", "null", "in"}

func (p *parser) params(pb *Playbook, n *source.Node) {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, "params", "want a mapping, got %s", describe(n))
		return
	}
	for _, e := range n.Entries {
		path := "params." + e.Key.Text
		if !namePattern.MatchString(e.Key.Text) {
			p.faults.Addf(e.Key.Pos, path, "%q is not a name", e.Key.Text).Hint = "small letters, digits and underscores"
		}
		param := &Param{Name: e.Key.Text, Pos: e.Key.Pos, Type: Type{Kind: "string"}}
		p.param(param, e.Value, path)
		pb.Params = append(pb.Params, param)
	}
}

func (p *parser) param(param *Param, n *source.Node, path string) {
	typed := false
	p.keys(n, path, map[string]func(*source.Node){
		"type": func(v *source.Node) {
			t, err := ParseType(v.Text)
			if err != nil || v.Kind != source.Scalar {
				p.faults.Addf(v.Pos, path+".type", "%q is not a type", v.Text).Hint = "string, int, float, bool, duration, secret, list(T), map(T)"
				return
			}
			param.Type, typed = t, true
		},
		"default": func(v *source.Node) { param.Default = v },
		"required": func(v *source.Node) {
			param.Required = v.Text == "true"
			if v.Text != "true" && v.Text != "false" {
				p.faults.Addf(v.Pos, path+".required", "want true or false, got %q", v.Text)
			}
		},
		"doc":   p.text(path+".doc", &param.Doc),
		"check": func(v *source.Node) { param.Check = v },
		"oneof": func(v *source.Node) {
			for _, name := range p.texts(v, path+".oneof") {
				param.OneOf = append(param.OneOf, name.Text)
			}
		},
	})
	if n.Kind != source.Map {
		return
	}
	if n.Get("type") == nil && !typed {
		p.faults.Addf(param.Pos, path+".type", "missing, it is required")
	}
	if param.Required && param.Default != nil {
		p.faults.Addf(param.Default.Pos, path, "a required parameter cannot have a default")
	}
	if !param.Required && param.Default == nil && n.Get("type") != nil {
		p.faults.Addf(param.Pos, path, "want a default, or required: true")
	}
}

// ParseType reads a parameter's type, such as list(string).
func ParseType(s string) (Type, error) {
	s = strings.TrimSpace(s)
	for _, kind := range []string{"list", "map"} {
		if inner, ok := strings.CutPrefix(s, kind+"("); ok && strings.HasSuffix(inner, ")") {
			elem, err := ParseType(strings.TrimSuffix(inner, ")"))
			return Type{Kind: kind, Elem: &elem}, err
		}
	}
	if !slices.Contains([]string{"string", "int", "float", "bool", "duration", "secret", "any"}, s) {
		return Type{}, fmt.Errorf("%q is not a type", s)
	}
	return Type{Kind: s}, nil
}

func (p *parser) handlers(pb *Playbook, n *source.Node) {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, "handlers", "want a mapping from name to task, got %s", describe(n))
		return
	}
	for _, e := range n.Entries {
		path := "handlers[" + strconv.Quote(e.Key.Text) + "]"
		h := &Handler{Name: e.Key.Text, Pos: e.Key.Pos}
		if e.Value.Kind == source.List {
			h.Tasks = p.entries(e.Value, path, false)
		} else if entry := p.entry(e.Value, path, false); entry != nil {
			h.Tasks = []*Entry{entry}
		}
		for _, t := range h.Tasks {
			if t.Block || t.Use != "" || t.Register.Text != "" || t.Each != nil {
				p.faults.Addf(t.Pos, t.Path, "a handler is a plain task: no block, use, each or register").Hint =
					"handlers are stored on the host, so that the next run can finish them"
			}
		}
		pb.Handlers = append(pb.Handlers, h)
	}
}
