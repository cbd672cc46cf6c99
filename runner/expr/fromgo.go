package expr

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"holdfast/tasks/secret"
)

var (
	secretType    = reflect.TypeFor[secret.Text]()
	unknownType   = reflect.TypeFor[Unknown]()
	durationType  = reflect.TypeFor[time.Duration]()
	marshalerType = reflect.TypeFor[encoding.TextMarshaler]()
)

// FromGo returns the type of the values of a Go type. Structs are objects whose
// fields have the name of their yaml tag, else of their json tag, else the Go
// name in lower case; slices are lists, maps with string keys maps, integers of
// any size int. Whatever marshals itself as text, time.Duration and bytes are
// strings, a secret.Text is a secret, any is checked at run time. Pointers are
// optional. It fails for anything else, and for a field name that no expression
// could write.
func FromGo(t reflect.Type) (*Type, error) {
	return fromGo(t, map[reflect.Type]*Object{})
}

func fromGo(t reflect.Type, seen map[reflect.Type]*Object) (*Type, error) {
	if t == nil {
		return &Type{Kind: Dyn}, nil
	}
	if t == secretType {
		return &Type{Kind: Secret}, nil
	}
	if t.Kind() == reflect.Pointer {
		elem, err := fromGo(t.Elem(), seen)
		if err != nil {
			return nil, err
		}
		c := *elem
		c.Optional = true
		return &c, nil
	}
	if t == durationType || isTextType(t) {
		return &Type{Kind: String}, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return &Type{Kind: Bool}, nil
	case reflect.String:
		return &Type{Kind: String}, nil
	case reflect.Float32, reflect.Float64:
		return &Type{Kind: Double}, nil
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Type{Kind: String}, nil
		}
		return elemFromGo(List, t, seen)
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return elemFromGo(Map, t, seen)
		}
	case reflect.Struct:
		return structFromGo(t, seen)
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return &Type{Kind: Dyn}, nil
		}
	}
	if isInteger(t.Kind()) {
		return &Type{Kind: Int}, nil
	}
	return nil, fmt.Errorf("cannot use Go type %s in expressions", t)
}

func elemFromGo(kind Kind, t reflect.Type, seen map[reflect.Type]*Object) (*Type, error) {
	elem, err := fromGo(t.Elem(), seen)
	if err != nil {
		return nil, err
	}
	return &Type{Kind: kind, Elem: elem}, nil
}

func structFromGo(t reflect.Type, seen map[reflect.Type]*Object) (*Type, error) {
	if o := seen[t]; o != nil {
		return &Type{Kind: Struct, Object: o}, nil
	}
	o := &Object{Name: strings.ToLower(t.Name()), Fields: map[string]*Type{}}
	seen[t] = o
	for name, index := range goFields(t) {
		if !isName(name) {
			return nil, fmt.Errorf("cannot use Go type %s in expressions: field %q has no name that can be written", t, name)
		}
		f, err := fromGo(t.FieldByIndex(index).Type, seen)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		o.Fields[name] = f
	}
	return &Type{Kind: Struct, Object: o}, nil
}

// isTextType reports whether values of t, or pointers to them, marshal as text.
func isTextType(t reflect.Type) bool {
	return t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(marshalerType)
}

func isInteger(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uint64 }

// goFieldCache maps a struct type to its fields by name, as goFields returns them.
var goFieldCache sync.Map

// goFields returns where the fields of a struct type stand, by their names in
// expressions. Embedded structs without a name of their own are flattened, outer
// fields win.
func goFields(t reflect.Type) map[string][]int {
	if m, ok := goFieldCache.Load(t); ok {
		return m.(map[string][]int)
	}
	m := map[string][]int{}
	var inner []map[string][]int
	for i := range t.NumField() {
		sf := t.Field(i)
		name, inline := fieldName(sf)
		switch {
		case inline && sf.Type.Kind() == reflect.Struct:
			sub := map[string][]int{}
			for n, index := range goFields(sf.Type) {
				sub[n] = append([]int{i}, index...)
			}
			inner = append(inner, sub)
		case sf.IsExported() && name != "":
			m[name] = []int{i}
		}
	}
	for _, sub := range inner {
		for n, index := range sub {
			if _, taken := m[n]; !taken {
				m[n] = index
			}
		}
	}
	goFieldCache.Store(t, m)
	return m
}

// fieldName returns the name of a field, "" for one that is left out.
func fieldName(sf reflect.StructField) (name string, inline bool) {
	for _, key := range []string{"yaml", "json"} {
		tag, ok := sf.Tag.Lookup(key)
		if !ok {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" {
			return "", false
		}
		if name != "" {
			return name, false
		}
		if strings.Contains(options, "inline") {
			return "", true
		}
	}
	return strings.ToLower(sf.Name), sf.Anonymous
}
