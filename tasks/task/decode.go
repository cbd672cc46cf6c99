package task

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

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
	hole    Hole
	secrets Secrets
	faults  source.Faults
	holes   int
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
		d.faults.Addf(n.Pos, path, "want a mapping, got %s", n.Kind).Also = anchors(n)
		return
	}
	given := map[string]*source.Node{}
	var names []string
	for _, f := range fields {
		names = append(names, f.Name)
	}
	for _, e := range n.Entries {
		name := e.Key.Text
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			d.faults.Addf(e.Key.Pos, path+"."+name, "unknown field").Hint = hintFor(name, names)
			continue
		}
		given[name] = e.Key
		f := &fields[i]
		if e.Value.IsNull() {
			if !f.Optional {
				d.faults.Addf(e.Value.Pos, path+"."+name, "want %s, got nothing", f.TypeName())
			}
			continue
		}
		target := v.Field(f.index)
		if target.Kind() == reflect.Pointer {
			target.Set(reflect.New(f.Type))
			target = target.Elem()
		}
		d.value(e.Value, path+"."+name, target, f)
	}
	d.absent(given, at, path, v, fields)
}

func hintFor(name string, names []string) string {
	if h := source.DidYouMean(name, names); h != "" {
		return h
	}
	return "the fields are " + strings.Join(names, ", ")
}

// absent sets defaults and applies the rules about which fields go together.
func (d *decoder) absent(given map[string]*source.Node, at source.Pos, path string, v reflect.Value, fields []Field) {
	for i := range fields {
		f := &fields[i]
		if key := given[f.Name]; key != nil {
			for _, other := range f.Excludes {
				if given[other] != nil {
					d.faults.Addf(key.Pos, path+"."+f.Name, "cannot be combined with %q", other)
				}
			}
			for _, other := range f.Requires {
				if given[other] == nil {
					d.faults.Addf(key.Pos, path+"."+f.Name, "needs %q too", other)
				}
			}
			continue
		}
		switch {
		case f.Required:
			d.faults.Addf(at, path+"."+f.Name, "missing, it is required").Hint = strings.ToLower(f.Doc[:1]) + strings.TrimSuffix(f.Doc[1:], ".")
		case f.HasDefault:
			target := v.Field(f.index)
			if target.Kind() == reflect.Pointer {
				target.Set(reflect.New(f.Type))
				target = target.Elem()
			}
			plain := decoder{}
			plain.scalar(source.NewScalar(at, source.Str, f.Default), path+"."+f.Name, target, f)
		}
	}
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
	case isText(t) || t.Kind() == reflect.String || t.Kind() == reflect.Bool || t.Kind() == reflect.Int64:
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
		fault := d.faults.Addf(n.Pos, path, "want %s, got %s", typeName(v.Type()), n.Kind)
		fault.Also = anchors(n)
		if n.Kind == source.Scalar {
			fault.Hint = "write it as a list: [" + n.Text + "]"
		}
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		d.value(item, path+"["+strconv.Itoa(i)+"]", out.Index(i), f)
	}
	v.Set(out)
	d.bounds(n, path, int64(len(n.Items)), "entries", f)
}

func (d *decoder) mapping(n *source.Node, path string, v reflect.Value, f *Field) {
	if n.Kind != source.Map {
		d.faults.Addf(n.Pos, path, "want %s, got %s", typeName(v.Type()), n.Kind).Also = anchors(n)
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.Entries))
	for _, e := range n.Entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, path+"."+e.Key.Text, item, f)
		out.SetMapIndex(reflect.ValueOf(e.Key.Text).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

// scalar decodes text into a string, a bool, an integer or a house scalar.
func (d *decoder) scalar(n *source.Node, path string, v reflect.Value, f *Field) {
	if n.Kind != source.Scalar {
		d.faults.Addf(n.Pos, path, "want %s, got %s", typeName(v.Type()), n.Kind).Also = anchors(n)
		return
	}
	fail := func(format string, args ...any) {
		d.faults.Addf(n.Pos, path, format, args...).Also = anchors(n)
	}
	switch {
	case isText(v.Type()):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Text)); err != nil {
			fail("%s", err)
		}
	case v.Kind() == reflect.String:
		v.SetString(n.Text)
		if len(f.OneOf) > 0 && !slices.Contains(f.OneOf, n.Text) {
			fault := d.faults.Addf(n.Pos, path, "%q is none of %s", n.Text, strings.Join(f.OneOf, ", "))
			fault.Hint, fault.Also = source.DidYouMean(n.Text, f.OneOf), anchors(n)
		}
	case v.Kind() == reflect.Bool:
		if n.Text != "true" && n.Text != "false" {
			fail("want true or false, got %q", n.Text)
		}
		v.SetBool(n.Text == "true")
	default:
		i, err := strconv.ParseInt(n.Text, 10, 64)
		if err != nil {
			fail("want a whole number, got %q", n.Text)
			return
		}
		v.SetInt(i)
		d.bounds(n, path, i, "", f)
	}
}

func (d *decoder) bounds(n *source.Node, path string, got int64, unit string, f *Field) {
	if unit != "" {
		unit = " " + unit
	}
	if f.Min != nil && got < *f.Min {
		d.faults.Addf(n.Pos, path, "%d%s is less than %d", got, unit, *f.Min)
	}
	if f.Max != nil && got > *f.Max {
		d.faults.Addf(n.Pos, path, "%d%s is more than %d", got, unit, *f.Max)
	}
}

// SecretKey and BlobKey are the keys under which resolved arguments refer to
// what travels in frames of its own: {"$secret": 3}, {"$blob": "<sha256>", "size": 10}.
// TextKey holds small content inline: {"$text": "…"}.
const (
	SecretKey = "$secret"
	BlobKey   = "$blob"
	TextKey   = "$text"
)

func (d *decoder) secret(n *source.Node, path string, v reflect.Value) {
	ref := n.Get(SecretKey)
	if ref == nil || d.secrets == nil {
		d.faults.Addf(n.Pos, path, "want a secret, got %s", n.Kind).Hint = `name it: ${secret("name")}`
		return
	}
	id, err := strconv.Atoi(ref.Text)
	if err != nil {
		d.faults.Addf(n.Pos, path, "bad reference to a secret")
		return
	}
	text, ok := d.secrets(id)
	if !ok {
		d.faults.Addf(n.Pos, path, "secret %d did not come along", id)
		return
	}
	v.Set(reflect.ValueOf(text))
}

func (d *decoder) blob(n *source.Node, path string, v reflect.Value) {
	if text := n.Get(TextKey); text != nil {
		v.Set(reflect.ValueOf(NewBlob([]byte(text.Text))))
		return
	}
	digest, size := n.Get(BlobKey), n.Get("size")
	if digest == nil || size == nil {
		d.faults.Addf(n.Pos, path, "want content, got %s", n.Kind)
		return
	}
	bytes, err := strconv.ParseInt(size.Text, 10, 64)
	if err != nil || bytes < 0 || len(digest.Text) != 64 {
		d.faults.Addf(n.Pos, path, "bad reference to content")
		return
	}
	flag := n.Get("secret")
	v.Set(reflect.ValueOf(Blob{Digest: digest.Text, Size: bytes, Secret: flag != nil && flag.Text == "true"}))
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
	pos := at
	if n != nil && n.Kind == source.Map {
		for _, e := range n.Entries {
			if e.Key.Text == fe.Field {
				pos = e.Value.Pos
			}
		}
	}
	d.faults.Addf(pos, path+"."+fe.Field, "%s", fe.Message)
}
