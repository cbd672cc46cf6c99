package expr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// output turns CEL's values into Go's, as the type asks.
type output struct {
	nullable bool // null is a value of any type
	unknowns []Unknown
}

var errSecretHere = errors.New("a secret cannot be used here: use it alone where a secret is asked for, or reveal() it")

// value converts v to type t. The result means nothing if there are unknowns.
func (o *output) value(v ref.Val, t *Type) (any, error) {
	if opt, ok := v.(*types.Optional); ok && opt.HasValue() {
		v = opt.GetValue()
	}
	switch x := v.(type) {
	case *types.Unknown:
		o.unknowns = append(o.unknowns, goUnknown(x))
		return nil, nil
	case *types.Err:
		return nil, x
	case types.Null:
		if t.isDyn() || t.Optional || t.Kind == Null || o.nullable {
			return nil, nil
		}
		return nil, fmt.Errorf("want %s, got null", t)
	case *secretVal:
		if t.isDyn() || t.Kind != Secret {
			return nil, errSecretHere
		}
		return x.text, nil
	}
	if t.isDyn() {
		return o.natural(v)
	}
	switch t.Kind {
	case Bool:
		if b, ok := v.(types.Bool); ok {
			return bool(b), nil
		}
	case Int:
		if n, ok := intOf(v); ok {
			return n, nil
		}
	case Double:
		if f, ok := v.(types.Double); ok {
			return float64(f), nil
		}
		if n, ok := intOf(v); ok {
			return float64(n), nil
		}
	case String:
		if s, ok := scalarText(v); ok {
			return s, nil
		}
	case Duration:
		switch v.(type) {
		case types.Duration, types.String:
			s, _ := scalarText(v)
			return s, nil
		}
	case List:
		if l, ok := v.(traits.Lister); ok {
			return o.list(l, t.Elem)
		}
	case Map:
		return o.mapping(v, t)
	case Struct:
		return o.object(v, t)
	}
	return nil, fmt.Errorf("want %s, got %s", t, valueName(v))
}

// natural converts a value of which nothing is asked.
func (o *output) natural(v ref.Val) (any, error) {
	switch x := v.(type) {
	case types.Bool:
		return bool(x), nil
	case types.Int, types.Uint:
		if n, ok := intOf(v); ok {
			return n, nil
		}
	case types.Double:
		return float64(x), nil
	case types.Bytes:
		if utf8.Valid(x) {
			return string(x), nil
		}
	case types.Timestamp:
		return x.Format(time.RFC3339Nano), nil
	case types.String, types.Duration:
		s, _ := scalarText(v)
		return s, nil
	case traits.Mapper:
		return o.mapping(x, &Type{Kind: Map})
	case traits.Lister:
		return o.list(x, nil)
	case *objectVal:
		return o.mapping(x, &Type{Kind: Map})
	}
	return nil, fmt.Errorf("an expression cannot give a value of type %s", valueName(v))
}

func (o *output) list(l traits.Lister, elem *Type) (any, error) {
	n, _ := intOf(l.Size())
	out := make([]any, 0, n)
	for it := l.Iterator(); it.HasNext() == types.True; {
		v, err := o.value(it.Next(), elem)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// mapping converts a map, or an object, to a map with one type of values.
func (o *output) mapping(v ref.Val, t *Type) (any, error) {
	out := map[string]any{}
	set := func(key string, v ref.Val) (err error) {
		out[key], err = o.value(v, t.Elem)
		return err
	}
	if obj, ok := v.(*objectVal); ok {
		for _, name := range obj.info.object.fieldNames() {
			if err := set(name, obj.field(name, obj.info.object.Fields[name])); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	m, ok := v.(traits.Mapper)
	if !ok {
		return nil, fmt.Errorf("want %s, got %s", t, valueName(v))
	}
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		key, ok := k.(types.String)
		if !ok {
			return nil, fmt.Errorf("want strings as keys of a map, got %s", valueName(k))
		}
		if err := set(string(key), m.Get(k)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// object converts an object, or a map, to the fields that t names. A map with
// other keys does not fit; further fields of an object are left out.
func (o *output) object(v ref.Val, t *Type) (any, error) {
	out := map[string]any{}
	var get func(name string) (ref.Val, bool)
	switch x := v.(type) {
	case *objectVal:
		get = func(name string) (ref.Val, bool) {
			ft, ok := x.info.object.Fields[name]
			if !ok {
				return nil, false
			}
			return x.field(name, ft), true
		}
	case traits.Mapper:
		for it := x.Iterator(); it.HasNext() == types.True; {
			key, ok := it.Next().(types.String)
			if _, known := t.Object.Fields[string(key)]; !ok || !known {
				return nil, fmt.Errorf("%s has no field %q", t, string(key))
			}
		}
		get = func(name string) (ref.Val, bool) { return x.Find(types.String(name)) }
	default:
		return nil, fmt.Errorf("want %s, got %s", t, valueName(v))
	}
	for _, name := range t.Object.fieldNames() {
		ft := t.Object.Fields[name]
		fv, ok := get(name)
		if !ok {
			if ft.isDyn() || ft.Optional || ft.Kind == Null {
				continue
			}
			return nil, fmt.Errorf("%s lacks the field %q", t, name)
		}
		got, err := o.value(fv, ft)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = got
	}
	return out, nil
}

func intOf(v ref.Val) (int64, bool) {
	switch x := v.(type) {
	case types.Int:
		return int64(x), true
	case types.Uint:
		return int64(x), x <= math.MaxInt64
	}
	return 0, false
}

// scalarText returns the text of a scalar, as it would stand in YAML.
func scalarText(v ref.Val) (string, bool) {
	switch x := v.(type) {
	case types.String:
		return string(x), true
	case types.Bool:
		return strconv.FormatBool(bool(x)), true
	case types.Int:
		return strconv.FormatInt(int64(x), 10), true
	case types.Uint:
		return strconv.FormatUint(uint64(x), 10), true
	case types.Double:
		return doubleText(float64(x)), true
	case types.Duration:
		return x.String(), true
	}
	return "", false
}

func valueName(v ref.Val) string {
	if o, ok := v.(*objectVal); ok {
		return o.String()
	}
	switch name := v.Type().TypeName(); name {
	case "null_type":
		return "null"
	case "google.protobuf.Duration":
		return "duration"
	case "google.protobuf.Timestamp":
		return "timestamp"
	default:
		return name
	}
}
