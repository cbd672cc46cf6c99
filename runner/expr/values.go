package expr

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"holdfast/tasks/secret"
)

// adapter turns Go values into CEL's where no type is declared for them.
type adapter struct{ schema *schema }

var _ types.Adapter = adapter{}

// NativeToValue implements types.Adapter.
func (a adapter) NativeToValue(v any) ref.Val {
	if rv, ok := v.(ref.Val); ok {
		return rv
	}
	return a.schema.value(v, nil)
}

// value turns a Go value into CEL's value of type t, or into an error. A nil or
// missing value is null when t is optional and the zero of t when it is not,
// because encoders leave zeros out.
func (s *schema) value(v any, t *Type) ref.Val {
	switch x := v.(type) {
	case Unknown:
		return celUnknown(x)
	case ref.Val:
		return x
	}
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer && !rv.IsNil() && rv.Type() != unknownType {
		rv = rv.Elem()
	}
	if !rv.IsValid() || rv.Kind() == reflect.Pointer || (rv.Kind() == reflect.Interface && rv.IsNil()) {
		return s.zero(t)
	}
	if rv.Type() == unknownType {
		return celUnknown(rv.Interface().(Unknown))
	}
	if t.isDyn() {
		return s.dynamic(rv)
	}
	switch t.Kind {
	case Struct, List, Map:
		return s.composite(rv, t)
	case Secret:
		if x, ok := rv.Interface().(secret.Text); ok {
			return &secretVal{x}
		}
	case Null:
		return types.NullValue
	default:
		if x, ok := scalar(rv, t.Kind); ok {
			return x
		}
	}
	return types.NewErr("want %s, got %s", t, goName(rv))
}

func (s *schema) zero(t *Type) ref.Val {
	if t.isDyn() || t.Optional {
		return types.NullValue
	}
	switch t.Kind {
	case Bool:
		return types.False
	case Int:
		return types.IntZero
	case Double:
		return types.Double(0)
	case String:
		return types.String("")
	case Duration:
		return types.Duration{}
	case List:
		return types.NewRefValList(types.DefaultTypeAdapter, nil)
	case Map:
		return types.NewRefValMap(types.DefaultTypeAdapter, nil)
	case Struct:
		return &objectVal{schema: s, info: s.objects[s.names[t.Object]], src: reflect.ValueOf(map[string]any(nil))}
	case Secret:
		return &secretVal{}
	}
	return types.NullValue
}

// composite makes lists, maps and objects.
func (s *schema) composite(rv reflect.Value, t *Type) ref.Val {
	kind := rv.Kind()
	switch {
	case t.Kind == List && (kind == reflect.Slice || kind == reflect.Array):
		elems := make([]ref.Val, rv.Len())
		for i := range elems {
			elems[i] = s.value(rv.Index(i).Interface(), t.Elem)
			if types.IsError(elems[i]) {
				return elems[i]
			}
		}
		return types.NewRefValList(adapter{s}, elems)
	case t.Kind == Map && kind == reflect.Map && rv.Type().Key().Kind() == reflect.String:
		elems := make(map[ref.Val]ref.Val, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			e := s.value(it.Value().Interface(), t.Elem)
			if types.IsError(e) {
				return e
			}
			elems[types.String(it.Key().String())] = e
		}
		return types.NewRefValMap(adapter{s}, elems)
	case t.Kind == Struct && (kind == reflect.Struct || kind == reflect.Map && rv.Type().Key().Kind() == reflect.String):
		return &objectVal{schema: s, info: s.objects[s.names[t.Object]], src: rv}
	}
	return types.NewErr("want %s, got %s", t, goName(rv))
}

// dynamic makes the value that a Go value looks like.
func (s *schema) dynamic(rv reflect.Value) ref.Val {
	if x, ok := rv.Interface().(secret.Text); ok {
		return &secretVal{x}
	}
	if n, ok := rv.Interface().(json.Number); ok {
		return types.DefaultTypeAdapter.NativeToValue(n)
	}
	if x, ok := textOf(rv); ok {
		return types.String(x)
	}
	switch k := rv.Kind(); {
	case k == reflect.Bool:
		return types.Bool(rv.Bool())
	case k == reflect.Float32 || k == reflect.Float64:
		return types.Double(rv.Float())
	case isInteger(k):
		if n, ok := integer(rv); ok {
			return types.Int(n)
		}
	case k == reflect.Slice || k == reflect.Array:
		return s.composite(rv, &Type{Kind: List})
	case k == reflect.Map && rv.Type().Key().Kind() == reflect.String:
		return s.composite(rv, &Type{Kind: Map})
	case k == reflect.Struct:
		fields := map[string]any{}
		for name, index := range goFields(rv.Type()) {
			fields[name] = rv.FieldByIndex(index).Interface()
		}
		return s.composite(reflect.ValueOf(fields), &Type{Kind: Map})
	}
	return types.NewErr("a %s cannot be used in an expression", rv.Type())
}

// scalar makes a bool, number, text or duration, converting where no meaning
// can be lost.
func scalar(rv reflect.Value, kind Kind) (ref.Val, bool) {
	switch kind {
	case Bool:
		if rv.Kind() == reflect.Bool {
			return types.Bool(rv.Bool()), true
		}
	case Int:
		n, ok := integer(rv)
		return types.Int(n), ok
	case Double:
		if rv.CanFloat() {
			return types.Double(rv.Float()), true
		}
		if n, ok := rv.Interface().(json.Number); ok {
			f, err := n.Float64()
			return types.Double(f), err == nil
		}
		n, ok := integer(rv)
		return types.Double(n), ok
	case String:
		if x, ok := textOf(rv); ok {
			return types.String(x), true
		}
		if rv.Kind() == reflect.Bool {
			return types.String(strconv.FormatBool(rv.Bool())), true
		}
		if rv.CanFloat() {
			return types.String(doubleText(rv.Float())), true
		}
		n, ok := integer(rv)
		return types.String(strconv.FormatInt(n, 10)), ok
	case Duration:
		if rv.Type() == durationType {
			return types.Duration{Duration: time.Duration(rv.Int())}, true
		}
		if x, ok := textOf(rv); ok {
			d, err := time.ParseDuration(x)
			return types.Duration{Duration: d}, err == nil
		}
	}
	return nil, false
}

func integer(rv reflect.Value) (int64, bool) {
	if n, ok := rv.Interface().(json.Number); ok {
		i, err := n.Int64()
		return i, err == nil
	}
	switch {
	case rv.CanInt():
		return rv.Int(), true
	case rv.CanUint():
		return int64(rv.Uint()), rv.Uint() <= math.MaxInt64
	case rv.CanFloat(): // encoding/json makes every number a float64
		f := rv.Float()
		return int64(f), f == math.Trunc(f) && math.Abs(f) < 1<<53
	}
	return 0, false
}

// textOf returns what a value that is a text, or marshals as one, says.
func textOf(rv reflect.Value) (string, bool) {
	t := rv.Type()
	if t == secretType {
		return "", false // marshals as its mask
	}
	if t == durationType {
		return time.Duration(rv.Int()).String(), true
	}
	if isTextType(t) {
		p := reflect.New(t)
		p.Elem().Set(rv)
		b, err := p.Interface().(encoding.TextMarshaler).MarshalText()
		return string(b), err == nil
	}
	switch {
	case rv.Kind() == reflect.String:
		return rv.String(), true
	case rv.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return string(rv.Bytes()), true
	}
	return "", false
}

// doubleText writes a double without an exponent where a person would.
func doubleText(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

func goName(rv reflect.Value) string {
	t, err := FromGo(rv.Type())
	if err != nil {
		return rv.Type().String()
	}
	return t.String()
}

// objectVal is an object over a Go struct or a map of its fields.
type objectVal struct {
	schema *schema
	info   *objectInfo
	src    reflect.Value
}

var (
	_ ref.Val            = (*objectVal)(nil)
	_ traits.Indexer     = (*objectVal)(nil)
	_ traits.FieldTester = (*objectVal)(nil)
)

// raw returns the Go value of a field, and whether it is there.
func (o *objectVal) raw(name string) (any, bool) {
	if o.src.Kind() == reflect.Map {
		v := o.src.MapIndex(reflect.ValueOf(name).Convert(o.src.Type().Key()))
		if !v.IsValid() {
			return nil, false
		}
		return v.Interface(), v.Interface() != nil
	}
	index, ok := goFields(o.src.Type())[name]
	if !ok {
		return nil, false
	}
	f := o.src.FieldByIndex(index)
	return f.Interface(), f.Kind() != reflect.Pointer && f.Kind() != reflect.Interface || !f.IsNil()
}

func (o *objectVal) has(name string) bool {
	_, ok := o.raw(name)
	return ok
}

func (o *objectVal) field(name string, t *Type) ref.Val {
	v, _ := o.raw(name)
	out := o.schema.value(v, t)
	if err, ok := out.(*types.Err); ok {
		return types.NewErr("%s: %w", name, err)
	}
	return out
}

// Get implements traits.Indexer.
func (o *objectVal) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	t, known := o.info.object.Fields[string(name)]
	if !ok || !known {
		return types.NewErr("no such key: %v", index)
	}
	return o.field(string(name), t)
}

// IsSet implements traits.FieldTester.
func (o *objectVal) IsSet(field ref.Val) ref.Val {
	name, ok := field.(types.String)
	return types.Bool(ok && o.has(string(name)))
}

// ConvertToNative implements ref.Val.
func (o *objectVal) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("cannot turn an object into %s", t)
}

// ConvertToType implements ref.Val.
func (o *objectVal) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.info.typ
	}
	return types.NewErr("cannot turn an object into %s", t.TypeName())
}

// Equal compares the fields.
func (o *objectVal) Equal(other ref.Val) ref.Val {
	p, ok := other.(*objectVal)
	if !ok || p.info.object != o.info.object {
		return types.False
	}
	for _, name := range o.info.object.fieldNames() {
		t := o.info.object.Fields[name]
		if eq := types.Equal(o.field(name, t), p.field(name, t)); eq != types.True {
			return eq
		}
	}
	return types.True
}

// Type implements ref.Val.
func (o *objectVal) Type() ref.Type { return o.info.typ }

// Value implements ref.Val. Fields are read from the object itself.
func (o *objectVal) Value() any { return o }

// String keeps the fields out of messages.
func (o *objectVal) String() string { return (&Type{Kind: Struct, Object: o.info.object}).String() }

// secretVal is a secret inside of CEL. Nothing but reveal looks into it.
type secretVal struct{ text secret.Text }

var _ ref.Val = (*secretVal)(nil)

var errSecret = errors.New("a secret cannot be compared, converted or printed; use it alone, or reveal() it")

// ConvertToNative implements ref.Val.
func (v *secretVal) ConvertToNative(reflect.Type) (any, error) { return nil, errSecret }

// ConvertToType implements ref.Val.
func (v *secretVal) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return celSecret
	}
	return types.WrapErr(errSecret)
}

// Equal implements ref.Val. Comparing would answer guesses.
func (v *secretVal) Equal(ref.Val) ref.Val { return types.WrapErr(errSecret) }

// Type implements ref.Val.
func (v *secretVal) Type() ref.Type { return celSecret }

// Value implements ref.Val.
func (v *secretVal) Value() any { return v }

// Format writes the mask for every verb.
func (v *secretVal) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Mask) }
