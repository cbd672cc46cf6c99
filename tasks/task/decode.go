package task

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"holdfast/playbooks/source"
)

// Hole is asked about every value before it is decoded. It reports whether the
// value holds an expression, or stands for something else that is only known
// later, and the faults it found in it given the type that the field takes.
type Hole func(n *source.Node, path string, want reflect.Type, f *Field) (hole bool, faults source.Faults)

// Secrets returns the secret that arguments refer to by number.
type Secrets func(id int) (SecretText, bool)

// FieldError is a failed rule across fields, with the field to point at.
type FieldError struct {
	Field   string
	Message string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// FieldErrorf returns a [FieldError] for Validate functions.
func FieldErrorf(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

// decoder fills structs from nodes. Both ends of the wire use it: with a hole
// function it checks a playbook, without one it reads resolved arguments.
type decoder struct {
	hole     Hole
	resolved bool // references to secrets and content are meant
	secrets  Secrets
	faults   source.Faults
	holes    int
}

// fault adds a fault about a value, with the place of its anchor if it has one.
func (d *decoder) fault(n *source.Node, path, hint, format string, args ...any) {
	f := d.faults.Addf(n.Pos, path, format, args...)
	f.Hint, f.Also = hint, anchors(n)
}

func (d *decoder) isHole(n *source.Node, path string, t reflect.Type, f *Field) bool {
	if d.hole == nil {
		return false
	}
	hole, faults := d.hole(n, path, t, f)
	d.faults = append(d.faults, faults...)
	if hole || len(faults) > 0 {
		d.holes++
		return true
	}
	return false
}

// structure decodes a mapping into v. at is where a missing field is reported.
func (d *decoder) structure(n *source.Node, at source.Pos, path string, v reflect.Value, fields []Field) {
	if n.IsNull() {
		n = &source.Node{Kind: source.Map, Pos: at}
	}
	if n.Kind != source.Map {
		d.fault(n, path, "", "want a mapping, got %s", n.Kind)
		return
	}
	given := make(map[string]source.Entry, len(n.Entries))
	for _, e := range n.Entries {
		name := e.Key.Text
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			d.faults.Addf(e.Key.Pos, path+"."+name, "unknown field").Hint = hintFor(name, fields)
			continue
		}
		given[name] = e
		if !e.Value.IsNull() {
			d.value(e.Value, path+"."+name, settable(v, &fields[i]), &fields[i])
		}
	}
	for i := range fields {
		d.complete(given, at, path, v, &fields[i])
	}
}

// settable returns what a field's value goes into, behind its pointer if it has one.
func settable(v reflect.Value, f *Field) reflect.Value {
	target := v.Field(f.index)
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(f.Type))
		target = target.Elem()
	}
	return target
}

// DidYouMean is a hint that names the one that is nearest to name, or "".
func DidYouMean(name string, candidates []string) string { return source.DidYouMean(name, candidates) }

func hintFor(name string, fields []Field) string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Name
	}
	if h := source.DidYouMean(name, names); h != "" {
		return h
	}
	return "the fields are " + strings.Join(names, ", ")
}

// complete sets the default of a field that is absent and applies the rules about
// which fields go together. A null is there and says: leave it alone.
func (d *decoder) complete(given map[string]source.Entry, at source.Pos, path string, v reflect.Value, f *Field) {
	e, ok := given[f.Name]
	switch {
	case ok && e.Value.IsNull():
		if f.Required || !f.Optional {
			d.fault(e.Value, path+"."+f.Name, "", "want %s, got nothing", f.TypeName())
		}
	case ok:
		d.together(given, e, path+"."+f.Name, f)
	case f.Required:
		d.faults.Addf(at, path+"."+f.Name, "missing, it is required").Hint = asHint(f.Doc)
	case f.HasDefault:
		plain := decoder{} // the default was read when the module was made
		plain.scalar(source.NewScalar(at, source.Str, f.Default), "", settable(v, f), f)
	}
}

func (d *decoder) together(given map[string]source.Entry, e source.Entry, path string, f *Field) {
	there := func(name string) bool { o, ok := given[name]; return ok && !o.Value.IsNull() }
	for _, other := range f.Excludes {
		if there(other) {
			d.faults.Addf(e.Key.Pos, path, "cannot be combined with %q", other).Also = []source.Pos{given[other].Key.Pos}
		}
	}
	for _, other := range f.Requires {
		if !there(other) {
			d.faults.Addf(e.Key.Pos, path, "needs %q too", other)
		}
	}
}

// asHint turns a doc sentence into a hint: no capital, unless it is a word's own,
// and no full stop.
func asHint(doc string) string {
	doc = strings.TrimSuffix(doc, ".")
	if r := []rune(doc); len(r) > 1 && unicode.IsUpper(r[0]) && !unicode.IsUpper(r[1]) {
		return string(unicode.ToLower(r[0])) + string(r[1:])
	}
	return doc
}

// value decodes any node into v.
func (d *decoder) value(n *source.Node, path string, v reflect.Value, f *Field) {
	t := v.Type()
	if d.isHole(n, path, t, f) {
		return
	}
	switch {
	case t == secretType:
		d.secret(n, path, v)
	case t == blobType:
		d.blob(n, path, v)
	case isScalar(t):
		d.scalar(n, path, v, f)
	case t.Kind() == reflect.Slice:
		d.list(n, path, v, f)
	case t.Kind() == reflect.Map:
		d.mapping(n, path, v, f)
	case t.Kind() == reflect.Struct:
		d.structure(n, n.Pos, path, v, f.Fields)
	default:
		panic(fmt.Sprintf("%s: cannot decode %s", path, t))
	}
}

func (d *decoder) list(n *source.Node, path string, v reflect.Value, f *Field) {
	if n.Kind != source.List {
		hint := ""
		if n.Kind == source.Scalar && len(n.Text) < 60 && !strings.Contains(n.Text, "\n") {
			hint = "write it as a list: [" + n.Text + "]"
		}
		d.fault(n, path, hint, "want %s, got %s", typeName(v.Type()), n.Kind)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		d.element(item, path+"["+strconv.Itoa(i)+"]", out.Index(i), f)
	}
	v.Set(out)
	d.bounds(n, path, int64(len(n.Items)), " entries", f)
}

func (d *decoder) mapping(n *source.Node, path string, v reflect.Value, f *Field) {
	if n.Kind != source.Map {
		d.fault(n, path, "", "want %s, got %s", typeName(v.Type()), n.Kind)
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.Entries))
	for _, e := range n.Entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.element(e.Value, path+"."+e.Key.Text, item, f)
		out.SetMapIndex(reflect.ValueOf(e.Key.Text).Convert(v.Type().Key()), item)
	}
	v.Set(out)
	d.bounds(n, path, int64(len(n.Entries)), " entries", f)
}

// element decodes one entry of a list or map. The bounds of the field are about
// how many there are, not about each.
func (d *decoder) element(n *source.Node, path string, v reflect.Value, f *Field) {
	if n.IsNull() {
		d.fault(n, path, "", "want %s, got nothing", typeName(v.Type()))
		return
	}
	each := *f
	each.Min, each.Max = nil, nil
	d.value(n, path, v, &each)
}

// scalar decodes text into a string, a bool, an integer or a house scalar.
func (d *decoder) scalar(n *source.Node, path string, v reflect.Value, f *Field) {
	if n.Kind != source.Scalar {
		d.fault(n, path, "", "want %s, got %s", typeName(v.Type()), n.Kind)
		return
	}
	switch {
	case isText(v.Type()):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Text)); err != nil {
			d.fault(n, path, "", "%s", err)
		}
	case v.Kind() == reflect.String:
		v.SetString(n.Text)
		if len(f.OneOf) > 0 && !slices.Contains(f.OneOf, n.Text) {
			d.fault(n, path, source.DidYouMean(n.Text, f.OneOf), "%q is none of %s", n.Text, strings.Join(f.OneOf, ", "))
		}
	case v.Kind() == reflect.Bool:
		if n.Text != "true" && n.Text != "false" {
			d.fault(n, path, "", "want true or false, got %q", n.Text)
		}
		v.SetBool(n.Text == "true")
	default:
		i, err := strconv.ParseInt(n.Text, 10, 64)
		if err != nil {
			d.fault(n, path, "", "want a whole number, got %q", n.Text)
			return
		}
		v.SetInt(i)
		d.bounds(n, path, i, "", f)
	}
}

// bounds holds a number, or the count of entries when unit says so, to the field's limits.
func (d *decoder) bounds(n *source.Node, path string, got int64, unit string, f *Field) {
	if f.Min != nil && got < *f.Min {
		d.fault(n, path, "", "%d%s is less than %d", got, unit, *f.Min)
	}
	if f.Max != nil && got > *f.Max {
		d.fault(n, path, "", "%d%s is more than %d", got, unit, *f.Max)
	}
}

func anchors(n *source.Node) []source.Pos {
	if n.Anchor == nil {
		return nil
	}
	return []source.Pos{*n.Anchor}
}

// validate runs a module's rule across fields and gives its error a place.
func (d *decoder) validate(n *source.Node, at source.Pos, path string, err error) {
	if err == nil {
		return
	}
	var fe *FieldError
	if !errors.As(err, &fe) {
		d.faults.Addf(at, path, "%s", err)
		return
	}
	f := d.faults.Addf(at, path+"."+fe.Field, "%s", fe.Message)
	if v := find(n, fe.Field); v != nil {
		f.Pos, f.Also = v.Pos, anchors(v)
	}
}

// find returns the value at a path such as users[2].name, as far as it is written
// down, or nil when nothing of it is.
func find(n *source.Node, path string) *source.Node {
	var found *source.Node
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch i, err := strconv.Atoi(step); {
		case n == nil:
			return found
		case n.Kind == source.List && err == nil && i >= 0 && i < len(n.Items):
			n = n.Items[i]
		default:
			n = n.Get(step)
		}
		if n != nil {
			found = n
		}
	}
	return found
}
