package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/secret"
)

// tmpl is a parsed template with the names it reads that may not be known.
type tmpl struct {
	parsed *template.Template
	file   *file
	reads  []string
}

// parseTemplate reads a template of the template module and looks at the names in it.
func parseTemplate(f *file, sc *scope) (*tmpl, *source.Fault) {
	t := &tmpl{file: f}
	if !utf8.Valid(f.data) {
		return nil, &source.Fault{Pos: source.Pos{File: f.shown, Line: 1, Col: 1}, Message: "the template is not UTF-8 text"}
	}
	parsed, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"secret": func(string) (string, error) { return "", errors.New("internal error: secret without a run") },
		"join":   joinAny, "lower": strings.ToLower, "upper": strings.ToUpper, "quote": strconv.Quote,
	}).Parse(string(f.data))
	if err != nil {
		return nil, t.fault(err)
	}
	t.parsed = parsed
	for name := range sc.all() {
		if name != "params" && t.mentions(name) {
			t.reads = append(t.reads, name)
		}
	}
	slices.Sort(t.reads)
	return t, t.check(sc)
}

// joinAny joins the texts, numbers and bools of a list.
func joinAny(list []any, sep string) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = fmt.Sprint(v)
	}
	return strings.Join(out, sep)
}

// mentions reports whether the template may read a name. It may find too many.
func (t *tmpl) mentions(name string) bool {
	return regexp.MustCompile(`\.` + regexp.QuoteMeta(name) + `\b`).Match(t.file.data)
}

var templatePlace = regexp.MustCompile(`^template: ?[^:]*:(\d+)(?::(\d+))?: (?:executing ".*?" at )?(.*)$`)

// fault takes the place out of a template's error. The library counts columns in
// bytes from 0.
func (t *tmpl) fault(err error) *source.Fault {
	f := &source.Fault{Pos: source.Pos{File: t.file.shown}, Message: err.Error()}
	m := templatePlace.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if m == nil {
		return f
	}
	f.Pos.Line, _ = strconv.Atoi(m[1])
	col, _ := strconv.Atoi(m[2])
	lines := bytes.Split(t.file.data, []byte("\n"))
	f.Pos.Line = max(1, min(f.Pos.Line, len(lines)))
	line := lines[f.Pos.Line-1]
	f.Pos.Col = 1 + utf8.RuneCount(line[:min(col, len(line))])
	f.Message = m[3]
	return f
}

// maxRendered bounds what a template makes.
const maxRendered = 16 << 20

// bounded is a buffer with a limit.
type bounded struct{ buf bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxRendered {
		return 0, fmt.Errorf("the template makes more than %d MiB", maxRendered>>20)
	}
	return b.buf.Write(p)
}

// render runs a template with everything that expressions see too. When it reads
// what is not known, it notes that in r.
func (n *Node) render(v *source.Node, r *resolution) (data []byte, revealed bool, err error) {
	t := n.templates[v.Text]
	if t == nil {
		return nil, false, fmt.Errorf("internal error: the template %q was not read", v.Text)
	}
	in := &inputs{t: t, r: r}
	values := in.values()
	if in.unknown != nil {
		if r.unknown, err = orFailure(*in.unknown); err != nil {
			return nil, false, err
		}
		for i := range n.Entry.Args.Entries {
			if kv := n.Entry.Args.Entries[i]; kv.Value.Text == v.Text {
				r.open[kv.Value] = true
			}
		}
		return nil, false, nil
	}
	clone, err := t.parsed.Clone()
	if err != nil {
		return nil, false, err
	}
	clone.Funcs(template.FuncMap{"secret": in.secret})
	var b bounded
	err = clone.Execute(&b, values)
	switch {
	case in.unknown != nil:
		// A secret that is not read yet; everything else went well or depends on it.
		return nil, true, nil
	case err != nil:
		f := t.fault(err)
		f.Also = append(f.Also, v.Pos)
		return nil, in.revealed, f
	}
	return b.buf.Bytes(), in.revealed, nil
}

// inputs makes what a template sees.
type inputs struct {
	t        *tmpl
	r        *resolution
	revealed bool
	unknown  *expr.Unknown
}

func (in *inputs) values() map[string]any {
	out := map[string]any{}
	for name, v := range in.r.vars.Values {
		if name == "params" {
			out[name] = in.params(v)
		} else if _, is := v.(expr.Unknown); !is || slices.Contains(in.t.reads, name) {
			out[name] = in.value(v)
		}
	}
	return out
}

// params leaves out those that are not known and that the template does not read.
func (in *inputs) params(v any) map[string]any {
	out := map[string]any{}
	given, _ := v.(map[string]any)
	for name, v := range given {
		before := in.unknown
		if out[name] = in.value(v); in.unknown != before && !in.t.mentions(name) {
			in.unknown = before
			delete(out, name)
		}
	}
	return out
}

// value turns a value into maps, lists and scalars, for templates.
func (in *inputs) value(v any) any {
	switch v := v.(type) {
	case nil, bool, int64, float64, string:
		return v
	case expr.Unknown:
		in.unknown = &v
		return nil
	case secret.Text:
		return revealing{v, &in.revealed}
	case []any:
		return mapped(v, in.value)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = in.value(item)
		}
		return out
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out any
	if dec.Decode(&out) != nil {
		return nil
	}
	return numbers(out)
}

// numbers turns JSON's numbers into those of expressions.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		return mapped(v, numbers)
	case map[string]any:
		for k, item := range v {
			v[k] = numbers(item)
		}
	}
	return v
}

// secret is the template's function of that name.
func (in *inputs) secret(name string) (any, error) {
	in.revealed = true
	if in.r.vars.Secret == nil {
		return nil, errors.New("no secrets are configured")
	}
	v, err := in.r.vars.Secret(name)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case expr.Unknown:
		in.unknown = &v
	case secret.Text:
		return v.Reveal(), nil
	}
	return "", nil
}

// revealing is a secret in a template. Writing it out makes the whole file a secret.
type revealing struct {
	text     secret.Text
	revealed *bool
}

// String returns the secret's text.
func (s revealing) String() string {
	*s.revealed = true
	return s.text.Reveal()
}
