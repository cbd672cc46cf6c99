package task

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/playbooks/source"
)

// Field describes one field of a module's parameters or result. It is derived
// from struct tags; the vocabulary is closed, and an unknown word panics when
// the module is made:
//
//	yaml:"name"            the field's name, written nowhere else
//	doc:"…"                one sentence that ends with a full stop
//	default:"…"            text, read by the field's own type
//	validate:"…"           required, oneof=a b, min=n, max=n, excludes=field, requires=field;
//	                       min and max bound an integer, or the number of entries of a list or map
//	blob:"text|file|template"  what stands in the playbook for a [Blob]
//	since:"v" deprecated:"…"   shown in documents; the second warns
type Field struct {
	Name       string
	Doc        string
	Default    string
	HasDefault bool
	Required   bool
	OneOf      []string
	Min, Max   *int64
	Excludes   []string
	Requires   []string
	Blob       string
	Since      string
	Deprecated string
	Type       reflect.Type // without the pointer
	Optional   bool         // absent means: leave it alone
	Fields     []Field      // of a nested struct, or of the structs in a list
	index      int
}

// TypeName returns the field's type as users read it.
func (f *Field) TypeName() string { return typeName(f.Type) }

var (
	textType   = reflect.TypeFor[encoding.TextUnmarshaler]()
	secretType = reflect.TypeFor[SecretText]()
	blobType   = reflect.TypeFor[Blob]()
)

var houseNames = map[reflect.Type]string{
	secretType:                  "secret",
	blobType:                    "content",
	reflect.TypeFor[Path]():     "path",
	reflect.TypeFor[Mode]():     "mode",
	reflect.TypeFor[Duration](): "duration",
}

func typeName(t reflect.Type) string {
	if s, ok := houseNames[t]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int64:
		return "int"
	case reflect.Slice:
		return "list(" + typeName(t.Elem()) + ")"
	case reflect.Map:
		return "map(" + typeName(t.Elem()) + ")"
	case reflect.Struct:
		return "mapping"
	case reflect.Pointer:
		return typeName(t.Elem())
	}
	return t.String()
}

// isScalar reports whether values of the type are written as one scalar.
func isScalar(t reflect.Type) bool {
	k := t.Kind()
	return isText(t) || k == reflect.String || k == reflect.Bool || k == reflect.Int64
}

// isText reports whether the type is read from one scalar by its own method.
func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// embedded returns the struct that t only embeds, or t.
func embedded(t reflect.Type) reflect.Type {
	if t.NumField() == 1 && t.Field(0).Anonymous && t.Field(0).Tag == "" {
		return t.Field(0).Type
	}
	return t
}

// fieldsIn returns the struct with the fields of what p points to, see [embedded].
func fieldsIn(p any) reflect.Value {
	v := reflect.ValueOf(p).Elem()
	if embedded(v.Type()) != v.Type() {
		return v.Field(0)
	}
	return v
}

// fieldsOf derives the fields of a struct type and panics on a wrong tag.
func fieldsOf(t reflect.Type, params bool) []Field {
	var out []Field
	for i := range t.NumField() {
		sf := t.Field(i)
		name := sf.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		if name == "" || !sf.IsExported() || sf.Anonymous {
			panic(fmt.Sprintf("%s.%s: want an exported field with a yaml tag", t, sf.Name))
		}
		out = append(out, newField(t, sf, name, i, params))
	}
	if params {
		checkNames(t, out)
	}
	return out
}

// wrong panics about a field.
type wrong func(format string, args ...any)

func newField(t reflect.Type, sf reflect.StructField, name string, index int, params bool) Field {
	bad := func(format string, args ...any) {
		panic(fmt.Sprintf("%s.%s: %s", t, sf.Name, fmt.Sprintf(format, args...)))
	}
	f := Field{Name: name, Doc: sf.Tag.Get("doc"), Blob: sf.Tag.Get("blob"), Since: sf.Tag.Get("since"),
		Deprecated: sf.Tag.Get("deprecated"), Type: sf.Type, index: index}
	if f.Type.Kind() == reflect.Pointer {
		f.Type, f.Optional = f.Type.Elem(), true
	}
	if k := f.Type.Kind(); k == reflect.Slice || k == reflect.Map || f.Type == secretType {
		f.Optional = true
	}
	if !namePattern.MatchString(name) {
		bad("%q is no name for a field: want small letters, digits and _", name)
	}
	if f.Doc == "" || !strings.HasSuffix(f.Doc, ".") || len(f.Doc) > 120 {
		bad("want a doc tag: one sentence of at most 120 characters that ends with a full stop")
	}
	f.Default, f.HasDefault = sf.Tag.Lookup("default")
	f.readRules(sf.Tag.Get("validate"), bad)
	if params {
		f.checkParam(bad)
	}
	f.Fields = nestedFields(f.Type, params)
	if params && holdsBlob(f.Fields) {
		bad("content can only stand at the top of the parameters")
	}
	return f
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// checkParam panics when the field is not one that a playbook can fill.
func (f *Field) checkParam(bad wrong) {
	if !supported(f.Type) {
		bad("type %s is not one that a playbook can hold", f.Type)
	}
	if !f.Optional && !f.Required && !f.HasDefault {
		bad("a field that is not a pointer must be required or have a default")
	}
	if (f.Type == blobType) != slices.Contains([]string{"text", "file", "template"}, f.Blob) {
		bad("want a blob tag of text, file or template on a Blob and on nothing else")
	}
	f.checkRules(bad)
	if !f.HasDefault {
		return
	}
	if f.Required {
		bad("a required field has no default")
	}
	if !isScalar(f.Type) {
		bad("only scalars have defaults")
	}
	d := decoder{}
	d.scalar(source.NewScalar(source.Pos{}, source.Str, f.Default), f.Name, reflect.New(f.Type).Elem(), f)
	if len(d.faults) > 0 {
		bad("bad default: %v", d.faults)
	}
}

// checkRules panics on a rule that the field's type gives no meaning.
func (f *Field) checkRules(bad wrong) {
	kind, elem := f.Type.Kind(), f.Type
	for elem.Kind() == reflect.Slice || elem.Kind() == reflect.Map {
		elem = elem.Elem()
	}
	if len(f.OneOf) > 0 && (elem.Kind() != reflect.String || isText(elem)) {
		bad("oneof goes with strings and lists and maps of them")
	}
	if (f.Min != nil || f.Max != nil) && kind != reflect.Int64 && kind != reflect.Slice && kind != reflect.Map {
		bad("min and max go with integers, and with lists and maps, whose entries they count")
	}
	if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
		bad("min is more than max")
	}
}

func holdsBlob(fields []Field) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return f.Blob != "" || holdsBlob(f.Fields) })
}

func nestedFields(t reflect.Type, params bool) []Field {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || houseNames[t] != "" || isText(t) {
		return nil
	}
	return fieldsOf(t, params)
}

func supported(t reflect.Type) bool {
	if houseNames[t] != "" || isText(t) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int64, reflect.Struct:
		return true
	case reflect.Slice:
		return supported(t.Elem()) && t.Elem() != blobType
	case reflect.Map:
		return t.Key().Kind() == reflect.String && supported(t.Elem()) && t.Elem() != blobType && (houseNames[t.Elem()] != "" || t.Elem().Kind() != reflect.Struct)
	}
	return false
}

func (f *Field) readRules(rules string, bad wrong) {
	if rules == "" {
		return
	}
	for rule := range strings.SplitSeq(rules, ",") {
		word, arg, _ := strings.Cut(rule, "=")
		switch word {
		case "required":
			f.Required = true
		case "oneof":
			if f.OneOf = strings.Fields(arg); len(f.OneOf) == 0 {
				bad("bad rule %q", rule)
			}
		case "min", "max":
			n, err := strconv.ParseInt(arg, 10, 64)
			if err != nil {
				bad("bad rule %q", rule)
			}
			if word == "min" {
				f.Min = &n
			} else {
				f.Max = &n
			}
		case "excludes":
			f.Excludes = append(f.Excludes, arg)
		case "requires":
			f.Requires = append(f.Requires, arg)
		default:
			bad("unknown rule %q", rule)
		}
	}
}

// checkNames panics when two fields share a name or a rule names a field that is not there.
func checkNames(t reflect.Type, fields []Field) {
	names := map[string]bool{}
	for _, f := range fields {
		if names[f.Name] {
			panic(fmt.Sprintf("%s: two fields are called %q", t, f.Name))
		}
		names[f.Name] = true
	}
	for _, f := range fields {
		for _, other := range slices.Concat(f.Excludes, f.Requires) {
			if !names[other] {
				panic(fmt.Sprintf("%s: %s names the unknown field %q", t, f.Name, other))
			}
		}
	}
}
