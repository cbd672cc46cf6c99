package lang

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/playbooks/source"
)

var namePattern = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// reserved are the names in scope of every expression.
var reserved = []string{"params", "host", "facts", "item", "fleet", "secret", "reveal", "value", "result", "true", "false", "null", "in"}

// keywords cannot stand behind a dot in an expression.
var keywords = []string{"true", "false", "null", "in"}

func (p *parser) params(pb *Playbook, n *source.Node) {
	if n.Kind != source.Map {
		p.faults.Addf(n.Pos, "params", "want a mapping, got %s", describe(n))
		return
	}
	for _, e := range n.Entries {
		path := "params." + e.Key.Text
		switch {
		case !namePattern.MatchString(e.Key.Text):
			p.faults.Addf(e.Key.Pos, path, "%q is not a name", e.Key.Text).Hint = "small letters, digits and underscores"
		case slices.Contains(keywords, e.Key.Text):
			p.faults.Addf(e.Key.Pos, path, "the name %q is taken", e.Key.Text)
		}
		param := &Param{Name: e.Key.Text, Pos: e.Key.Pos, Type: Type{Kind: "any"}}
		p.param(param, e.Value, path)
		pb.Params = append(pb.Params, param)
	}
}

func (p *parser) param(param *Param, n *source.Node, path string) {
	var oneOf, keys *source.Node
	p.keys(n, path, map[string]func(*source.Node){
		"type":     func(v *source.Node) { p.paramType(param, v, path+".type") },
		"default":  func(v *source.Node) { param.Default = v },
		"required": p.flag(path+".required", &param.Required),
		"doc":      p.text(path+".doc", &param.Doc),
		"check":    func(v *source.Node) { param.Check = v },
		"oneof": func(v *source.Node) {
			oneOf = v
			for _, name := range p.texts(v, path+".oneof") {
				param.OneOf = append(param.OneOf, name.Text)
			}
		},
		"keys": func(v *source.Node) {
			keys = v
			for _, name := range p.texts(v, path+".keys") {
				param.Keys = append(param.Keys, name.Text)
			}
		},
	})
	if n.Kind == source.Map {
		p.wholeParam(param, n, oneOf, path)
		if keys != nil && param.Type.Kind != "map" {
			p.faults.Addf(keys.Pos, path+".keys", "a parameter of type %s has no keys", param.Type)
			param.Keys = nil
		}
	}
}

// wholeParam applies the rules about which keys of a parameter go together.
func (p *parser) wholeParam(param *Param, n, oneOf *source.Node, path string) {
	kind := param.Type.Kind
	if n.Get("type") == nil {
		p.faults.Addf(param.Pos, path+".type", "missing, it is required")
	}
	if param.Required && param.Default != nil {
		p.faults.Addf(param.Default.Pos, path, "a required parameter cannot have a default")
	}
	if !param.Required && param.Default == nil && n.Get("type") != nil {
		p.faults.Addf(param.Pos, path, "want a default, or required: true")
	}
	if oneOf != nil && !slices.Contains([]string{"string", "int", "float", "duration"}, kind) {
		p.faults.Addf(oneOf.Pos, path+".oneof", "a parameter of type %s cannot be one of a list of words", param.Type)
		param.OneOf = nil
	}
	if param.Check != nil && param.Type.holdsSecret() {
		p.faults.Addf(param.Check.Pos, path+".check", "a secret cannot be looked at")
		param.Check = nil
	}
}

func (p *parser) flag(path string, dst *bool) func(*source.Node) {
	return func(n *source.Node) {
		if n.Kind != source.Scalar || n.Text != "true" && n.Text != "false" {
			p.faults.Addf(n.Pos, path, "want true or false, got %s", quote(n))
			return
		}
		*dst = n.Text == "true"
	}
}

func (p *parser) paramType(param *Param, n *source.Node, path string) {
	t, err := ParseType(n.Text)
	if err != nil || n.Kind != source.Scalar {
		p.faults.Addf(n.Pos, path, "%s is not a type", quote(n)).Hint = "string, int, float, bool, duration, secret, list(T), map(T)"
		// What the other keys say cannot be compared with it.
		t = Type{Kind: "any"}
	}
	param.Type = t
}

// maxNested bounds how deep types nest.
const maxNested = 8

// ParseType reads a parameter's type, such as list(string).
func ParseType(s string) (Type, error) { return parseType(s, 0) }

func parseType(s string, depth int) (Type, error) {
	s = strings.TrimSpace(s)
	for _, kind := range []string{"list", "map"} {
		inner, ok := strings.CutPrefix(s, kind+"(")
		if !ok || !strings.HasSuffix(inner, ")") || depth == maxNested {
			continue
		}
		elem, err := parseType(strings.TrimSuffix(inner, ")"), depth+1)
		if err != nil {
			return Type{}, err
		}
		return Type{Kind: kind, Elem: &elem}, nil
	}
	if !slices.Contains([]string{"string", "int", "float", "bool", "duration", "secret", "any"}, s) {
		return Type{}, fmt.Errorf("%.40q is not a type", s)
	}
	return Type{Kind: s}, nil
}
