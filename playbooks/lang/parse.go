package lang

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

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
	count  int // tasks so far
}

// keys calls the function of each key that is there, and faults the others.
func (p *parser) keys(n *source.Node, path string, table map[string]func(*source.Node)) {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, path, "want a mapping, got %s", describe(n))
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
		"playbook":   p.name("playbook", &pb.Name),
		"version":    p.version(pb),
		"summary":    p.text("summary", &pb.Summary),
		"needs":      func(n *source.Node) { p.needs(pb, n) },
		"params":     func(n *source.Node) { p.params(pb, n) },
		"on_failure": p.oneOf("on_failure", &pb.OnFailure, "stop", "continue", "rollback"),
		"rollout":    func(n *source.Node) { p.rollout(pb, n) },
		"tasks":      func(n *source.Node) { pb.Tasks = p.entries(n, "tasks") },
		"handlers":   func(n *source.Node) { p.handlers(pb, n) },
		"verify":     func(n *source.Node) { pb.Verify = p.entries(n, "verify") },
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

// maxName bounds what is shown and sent as a name, in bytes.
const maxName = 200

// name reads a text that something is called by.
func (p *parser) name(path string, dst *string) func(*source.Node) {
	return func(n *source.Node) {
		switch {
		case n.Kind != source.Scalar || strings.TrimSpace(n.Text) == "" || n.IsNull():
			p.faults.Addf(n.Pos, path, "want a text, got %s", describe(n))
		case len(n.Text) > maxName:
			p.faults.Addf(n.Pos, path, "a name of %d bytes is too long, the limit is %d", len(n.Text), maxName)
		case strings.ContainsFunc(n.Text, unicode.IsControl):
			p.faults.Addf(n.Pos, path, "%q has control characters or several lines", n.Text)
		default:
			*dst = n.Text
		}
	}
}

func describe(n *source.Node) string {
	if n.IsNull() || n.Kind == source.Scalar && strings.TrimSpace(n.Text) == "" {
		return "nothing"
	}
	return n.Kind.String()
}

// quote shows a scalar as it is written and says what anything else is.
func quote(n *source.Node) string {
	if n.Kind == source.Scalar && !n.IsNull() {
		return strconv.Quote(n.Text)
	}
	return describe(n)
}

func (p *parser) oneOf(path string, dst *string, words ...string) func(*source.Node) {
	return func(n *source.Node) {
		if n.Kind != source.Scalar || !slices.Contains(words, n.Text) {
			f := p.faults.Addf(n.Pos, path, "want %s, got %s", alternatives(words), quote(n))
			f.Hint = source.DidYouMean(n.Text, words)
			return
		}
		*dst = n.Text
	}
}

// alternatives lists words to choose from.
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 2 {
		return strings.Join(words, " or ")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// maxDuration bounds what a host is asked to wait for.
const maxDuration = 7 * 24 * time.Hour

// duration reads a time from least to most.
func (p *parser) duration(path string, least, most time.Duration, dst *time.Duration) func(*source.Node) {
	return func(n *source.Node) {
		if n.Kind != source.Scalar {
			p.faults.Addf(n.Pos, path, "want a duration, got %s", n.Kind)
			return
		}
		d, err := between(n.Text, least, most)
		if err != nil {
			p.faults.Addf(n.Pos, path, "%s", err)
			return
		}
		*dst = d
	}
}

func between(text string, least, most time.Duration) (time.Duration, error) {
	var d task.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil {
		return 0, err
	}
	if d.Std() < least || d.Std() > most {
		return 0, fmt.Errorf("%s is out of range: want %s to %s", text, short(least), short(most))
	}
	return d.Std(), nil
}

// short writes a time as playbooks do: 10s, 1h, 7d.
func short(d time.Duration) string {
	switch {
	case d > 0 && d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d > 0 && d%time.Hour == 0:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return d.String()
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
