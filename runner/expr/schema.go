package expr

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// celSecret is the opaque type of secrets. No function of CEL takes it.
var celSecret = cel.OpaqueType("secret")

// schema tells CEL about the objects of a scope. It is a types.Provider over
// [Object]s, because params are objects that no Go type describes.
//
// Inside of CEL an object is called object:1 and so on: two may have the same
// name for people, and no expression can write such a name to build one.
type schema struct {
	types.Provider
	names   map[*Object]string
	objects map[string]*objectInfo
	ordered []*objectInfo

	mu     sync.Mutex
	misses []miss
}

var _ types.Provider = (*schema)(nil)

type objectInfo struct {
	object *Object
	typ    *types.Type
	fields map[string]*types.FieldType
}

// miss is a field that the checker looked for in vain. The checker's error
// names the field and not the object, so the suggestions come from here.
type miss struct {
	object *Object
	field  string
}

func newSchema(scope Scope, next types.Provider) *schema {
	s := &schema{Provider: next, names: map[*Object]string{}, objects: map[string]*objectInfo{}}
	for _, t := range scope {
		s.celType(t)
	}
	// Describing a field may register further objects.
	for i := 0; i < len(s.ordered); i++ {
		info := s.ordered[i]
		for name, t := range info.object.Fields {
			info.fields[name] = s.fieldType(name, t)
		}
	}
	return s
}

// celType returns CEL's type for t and registers its objects.
func (s *schema) celType(t *Type) *types.Type {
	ct := s.plainType(t)
	if t != nil && t.Optional && t.Kind != Struct && t.Kind != Secret && !t.isDyn() && t.Kind != Null {
		// Objects and opaque types accept null as they are.
		return types.NewNullableType(ct)
	}
	return ct
}

func (s *schema) plainType(t *Type) *types.Type {
	if t.isDyn() {
		return types.DynType
	}
	switch t.Kind {
	case Null:
		return types.NullType
	case Bool:
		return types.BoolType
	case Int:
		return types.IntType
	case Double:
		return types.DoubleType
	case String:
		return types.StringType
	case Duration:
		return types.DurationType
	case List:
		return types.NewListType(s.celType(t.Elem))
	case Map:
		return types.NewMapType(types.StringType, s.celType(t.Elem))
	case Secret:
		return celSecret
	}
	return s.register(t.Object).typ
}

func (s *schema) register(o *Object) *objectInfo {
	if name, ok := s.names[o]; ok {
		return s.objects[name]
	}
	name := fmt.Sprintf("object:%d", len(s.ordered)+1)
	info := &objectInfo{object: o, typ: types.NewObjectType(name), fields: map[string]*types.FieldType{}}
	s.names[o], s.objects[name] = name, info
	s.ordered = append(s.ordered, info)
	return info
}

func (s *schema) fieldType(name string, t *Type) *types.FieldType {
	return &types.FieldType{
		Type: s.celType(t),
		IsSet: func(target any) bool {
			o, ok := target.(*objectVal)
			return ok && o.has(name)
		},
		GetFrom: func(target any) (any, error) {
			switch o := target.(type) {
			case *objectVal:
				v := o.field(name, t)
				if err, ok := v.(*types.Err); ok {
					return nil, err
				}
				return v, nil
			case *types.Unknown:
				return o, nil
			}
			return nil, &nullError{name}
		},
	}
}

// nullError is why a field of an absent object cannot be read.
type nullError struct{ field string }

func (e *nullError) Error() string { return fmt.Sprintf("cannot read %q of null", e.field) }

// goType returns the type for one of CEL's, or false if values of it cannot
// leave an expression.
func (s *schema) goType(ct *types.Type) (*Type, bool) {
	t := &Type{}
	switch ct.Kind() {
	case types.DynKind, types.AnyKind, types.TypeParamKind:
		return t, true
	case types.NullTypeKind:
		t.Kind = Null
		return t, true
	case types.BoolKind:
		t.Kind = Bool
	case types.IntKind, types.UintKind:
		t.Kind = Int
	case types.DoubleKind:
		t.Kind = Double
	case types.StringKind:
		t.Kind = String
	case types.DurationKind:
		t.Kind = Duration
	case types.ListKind, types.MapKind:
		return s.goElemType(ct)
	case types.StructKind:
		info, ok := s.objects[ct.TypeName()]
		if !ok {
			return nil, false
		}
		return &Type{Kind: Struct, Object: info.object}, true
	case types.OpaqueKind:
		t.Kind = Secret
		return t, ct.TypeName() == celSecret.TypeName()
	default:
		return nil, false
	}
	t.Optional = ct.IsAssignableType(types.NullType)
	return t, true
}

func (s *schema) goElemType(ct *types.Type) (*Type, bool) {
	params := ct.Parameters()
	t := &Type{Kind: List, Optional: ct.IsAssignableType(types.NullType)}
	if ct.Kind() == types.MapKind {
		t.Kind = Map
		if k := params[0].Kind(); k != types.StringKind && k != types.DynKind && k != types.TypeParamKind {
			return nil, false
		}
	}
	elem, ok := s.goType(params[len(params)-1])
	t.Elem = elem
	return t, ok
}

// FindStructType implements types.Provider.
func (s *schema) FindStructType(name string) (*types.Type, bool) {
	if info, ok := s.objects[name]; ok {
		return types.NewTypeTypeWithParam(info.typ), true
	}
	return s.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (s *schema) FindStructFieldNames(name string) ([]string, bool) {
	if info, ok := s.objects[name]; ok {
		return info.object.fieldNames(), true
	}
	return s.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (s *schema) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	info, ok := s.objects[name]
	if !ok {
		return s.Provider.FindStructFieldType(name, field)
	}
	ft, ok := info.fields[field]
	if !ok {
		s.mu.Lock()
		s.misses = append(s.misses, miss{info.object, field})
		s.mu.Unlock()
	}
	return ft, ok
}

// NewValue implements types.Provider. Objects come from variables only.
func (s *schema) NewValue(name string, fields map[string]ref.Val) ref.Val {
	return s.Provider.NewValue(name, fields)
}

// takeMisses returns and forgets the fields that were looked for in vain.
func (s *schema) takeMisses() []miss {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.misses
	s.misses = nil
	return m
}

// pretty rewrites CEL's names of types in a message into ours.
func (s *schema) pretty(text string) string {
	for i := len(s.ordered) - 1; i >= 0; i-- { // object:12 before object:1
		t := Type{Kind: Struct, Object: s.ordered[i].object}
		text = strings.ReplaceAll(text, s.ordered[i].typ.TypeName(), t.String())
	}
	text = unwrap(text, "wrapper(")
	return typeWords.Replace(text)
}

var typeWords = strings.NewReplacer("map(string, ", "map(", "optional_type(", "optional(", "null_type", "null",
	"google.protobuf.Duration", "duration", "google.protobuf.Timestamp", "timestamp", "(dyn", "(any", " dyn", " any")

// unwrap removes every open and the parenthesis that closes it.
func unwrap(text, open string) string {
	for {
		i := strings.Index(text, open)
		if i < 0 {
			return text
		}
		depth, end := 1, i+len(open)
		for end < len(text) && depth > 0 {
			switch text[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
			end++
		}
		if depth > 0 {
			return text
		}
		text = text[:i] + text[i+len(open):end-1] + text[end:]
	}
}
