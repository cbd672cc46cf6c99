package openclawschema

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"holdfast/tasks/task"
)

// schema is one that was read.
type schema struct {
	text     any
	compiled *jsonschema.Schema
}

func newSchema(data []byte) (*schema, error) {
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read the schema: %w", err)
	}
	homeRefs(text, "#", "#")
	const here = "schema:openclaw"
	c := jsonschema.NewCompiler()
	c.UseLoader(nowhere{})
	c.UseRegexpEngine(lenient())
	out := &schema{text: text}
	if err = c.AddResource(here, text); err == nil {
		out.compiled, err = c.Compile(here)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the schema: %w", err)
	}
	return out, nil
}

// judge says what of the settings the schema refuses, by place.
func (s *schema) judge(settings *task.JSON) ([]problem, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(settings.Text("")))
	if err != nil {
		return nil, err
	}
	var refused *jsonschema.ValidationError
	err = s.compiled.Validate(doc)
	if !errors.As(err, &refused) {
		return nil, err
	}
	j := judgement{rules: s.text}
	j.walk(refused)
	slices.SortStableFunc(j.found, func(a, b problem) int { return slices.Compare(a.path, b.path) })
	return j.found, nil
}

// nowhere loads nothing: a schema is one file.
type nowhere struct{}

func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("it wants %s, and stands alone", url)
}

// homeRefs makes references absolute. OpenClaw's schema has schemas of channels in it that
// were whole ones once: "#/$defs/x" in them means what is in their own $defs.
func homeRefs(v any, at, home string) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["$defs"].(map[string]any); ok {
			home = at
		}
		if ref, ok := v["$ref"].(string); ok && strings.HasPrefix(ref, "#/$defs/") {
			v["$ref"] = home + ref[1:]
		}
		for key, item := range v {
			homeRefs(item, at+"/"+url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(key)), home)
		}
	case []any:
		for i, item := range v {
			homeRefs(item, at+"/"+strconv.Itoa(i), home)
		}
	}
}

// lenient takes what Go's expressions cannot say, such as (?!…), for a match: the version
// on the host judges it in the end. Most patterns stand in a schema many times.
func lenient() jsonschema.RegexpEngine {
	known := map[string]jsonschema.Regexp{}
	return func(text string) (jsonschema.Regexp, error) {
		if known[text] == nil {
			known[text] = anything(text)
			if r, err := regexp.Compile(text); err == nil {
				known[text] = r
			}
		}
		return known[text], nil
	}
}

type anything string

func (anything) MatchString(string) bool { return true }
func (a anything) String() string        { return string(a) }

type judgement struct {
	rules any
	found []problem
}

// walk collects what is wrong at the ends of the tree. Of alternatives it follows the one
// that got furthest, which is the one that was meant.
func (j *judgement) walk(e *jsonschema.ValidationError) {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		if len(e.Causes) > 0 {
			best := slices.MaxFunc(e.Causes, func(a, b *jsonschema.ValidationError) int { return depth(a) - depth(b) })
			if depth(best) > len(e.InstanceLocation) {
				j.walk(best)
				return
			}
		}
		j.add(e, "fits none of what it may be")
	default:
		for _, cause := range e.Causes {
			j.walk(cause)
		}
		if len(e.Causes) == 0 {
			j.leaf(e)
		}
	}
}

// depth is how far into the settings an alternative got. One of another type did not.
func depth(e *jsonschema.ValidationError) int {
	deepest := len(e.InstanceLocation)
	switch e.ErrorKind.(type) {
	case *kind.AdditionalProperties, *kind.Required:
		deepest++ // it is an object, as was meant
	}
	for _, cause := range e.Causes {
		deepest = max(deepest, depth(cause))
	}
	return deepest
}

func (j *judgement) leaf(e *jsonschema.ValidationError) {
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		known := j.known(e.SchemaURL)
		for _, name := range k.Properties {
			j.found = append(j.found, problem{path: append(slices.Clone(e.InstanceLocation), name), what: "unknown key", bare: "unknown key", hint: hint(name, known)})
		}
	case *kind.Required:
		for _, name := range k.Missing {
			j.found = append(j.found, problem{path: append(slices.Clone(e.InstanceLocation), name), what: "missing", bare: "missing"})
		}
	case *kind.Type:
		what := fmt.Sprintf("want %s, got %s", strings.Join(k.Want, " or "), k.Got)
		j.found = append(j.found, problem{path: e.InstanceLocation, what: what, bare: what})
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, v := range k.Want {
			want[i] = fmt.Sprint(v)
		}
		j.add(e, "want one of "+strings.Join(want, ", "))
		if got, ok := k.Got.(string); ok {
			j.found[len(j.found)-1].hint = task.DidYouMean(got, want)
		}
	case *kind.Minimum:
		j.add(e, bound("at least", k.Want, k.Got))
	case *kind.Maximum:
		j.add(e, bound("at most", k.Want, k.Got))
	case *kind.ExclusiveMinimum:
		j.add(e, bound("more than", k.Want, k.Got))
	default:
		j.add(e, plain(e))
	}
}

// bound says a number as it is written in JSON.
func bound(which string, want, got *big.Rat) string {
	return fmt.Sprintf("want %s %s, got %s", which, want.RatString(), got.RatString())
}

func (j *judgement) add(e *jsonschema.ValidationError, what string) {
	j.found = append(j.found, problem{path: e.InstanceLocation, what: what, bare: "is not as it must be"})
}

// plain is what the library says of one thing that is wrong.
func plain(e *jsonschema.ValidationError) string {
	alone := *e
	alone.Causes = nil
	if out := alone.DetailedOutput(); out.Error != nil {
		return out.Error.String()
	}
	return "is not as it must be"
}

func hint(name string, known []string) string {
	if near := task.DidYouMean(name, known); near != "" || len(known) == 0 {
		return near
	}
	const most = 12
	if len(known) > most {
		return fmt.Sprintf("there are %s and %d more", strings.Join(known[:most], ", "), len(known)-most)
	}
	return "there are " + strings.Join(known, ", ")
}

// known are the keys that the schema has at a place of its own.
func (j *judgement) known(at string) []string {
	_, pointer, _ := strings.Cut(at, "#")
	here := j.rules
	for _, part := range strings.Split(pointer, "/")[1:] {
		if plain, err := url.PathUnescape(part); err == nil {
			part = plain
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch v := here.(type) {
		case map[string]any:
			here = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			here = v[i]
		default:
			return nil
		}
	}
	object, _ := here.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
