// Package expr is the one expression language of playbooks and inventories:
// CEL, compiled and type-checked when a playbook is loaded, evaluated on the
// controller. Nothing of CEL shows outside of this package; its types are
// [Type], its places are byte offsets, its values are plain Go values.
//
// A key such as when is a whole expression, see [Env.Compile]. Any other text
// may hold expressions in ${ }, see [Env.CompileText]. Names in scope are
// declared with static types, so that host.nme is a fault when the playbook is
// loaded and not a failure in the middle of a run.
package expr

import (
	"maps"
	"slices"
)

// Kind says what a [Type] is.
type Kind uint8

// The kinds of types. The zero Kind is [Dyn], which is checked at run time only.
const (
	Dyn Kind = iota
	Null
	Bool
	Int
	Double
	String
	Duration
	List
	Map
	Struct
	Secret
)

// Type is the type of an expression, of a name in scope or of the field that an
// expression is written for. Types must not be changed once they are in use.
type Type struct {
	Kind Kind
	// Elem is the type of the elements of a List and of the values of a Map,
	// whose keys are strings. Nil means any.
	Elem *Type
	// Object describes a Struct.
	Object *Object
	// Optional says that the value may be absent, which reads as null.
	Optional bool
}

// Object is a set of named fields. It may refer to itself.
type Object struct {
	Name   string // for messages
	Fields map[string]*Type
}

// Scope is the names that an expression may use, with their types.
type Scope map[string]*Type

// String returns the type as users read it: int, list(string), map(string).
func (t *Type) String() string {
	if t == nil {
		return "any"
	}
	switch t.Kind {
	case Null:
		return "null"
	case Bool:
		return "bool"
	case Int:
		return "int"
	case Double:
		return "double"
	case String:
		return "string"
	case Duration:
		return "duration"
	case List:
		return "list(" + t.Elem.String() + ")"
	case Map:
		return "map(" + t.Elem.String() + ")"
	case Secret:
		return "secret"
	case Struct:
		if t.Object != nil && t.Object.Name != "" {
			return t.Object.Name
		}
		return "object"
	}
	return "any"
}

// fieldNames returns the names of an object's fields in order.
func (o *Object) fieldNames() []string { return slices.Sorted(maps.Keys(o.Fields)) }

// isDyn reports whether a type says nothing.
func (t *Type) isDyn() bool {
	return t == nil || t.Kind == Dyn || t.Kind == Struct && t.Object == nil
}

// isScalar reports whether values of the type have a text form.
func (t *Type) isScalar() bool {
	switch t.Kind {
	case Bool, Int, Double, String, Duration:
		return true
	}
	return false
}

// holdsSecret reports whether a value of the type may hold a secret in a place
// that says so.
func (t *Type) holdsSecret() bool { return t.findSecret(map[*Object]bool{}) }

func (t *Type) findSecret(seen map[*Object]bool) bool {
	if t == nil {
		return false
	}
	if t.Kind == Struct && t.Object != nil && !seen[t.Object] {
		seen[t.Object] = true
		for _, f := range t.Object.Fields {
			if f.findSecret(seen) {
				return true
			}
		}
	}
	return t.Kind == Secret || t.Elem.findSecret(seen)
}

// assignable reports whether a value of type got can stand where want is asked
// for. Yes means that it can or that only the run can tell.
func assignable(got, want *Type) bool {
	return assign(got, want, map[[2]*Object]bool{})
}

func assign(got, want *Type, seen map[[2]*Object]bool) bool {
	if want.isDyn() {
		return !got.holdsSecret()
	}
	if got.isDyn() {
		return true
	}
	if got.Kind == Null {
		return want.Optional || want.Kind == Null
	}
	switch want.Kind {
	case String:
		return got.isScalar()
	case Duration:
		return got.Kind == Duration || got.Kind == String
	case Double:
		return got.Kind == Double || got.Kind == Int
	case List:
		return got.Kind == List && assign(got.Elem, want.Elem, seen)
	case Map:
		if got.Kind == Struct {
			return assignFields(got.Object, want.Elem, seen)
		}
		return got.Kind == Map && assign(got.Elem, want.Elem, seen)
	case Struct:
		if got.Kind == Map {
			return !got.holdsSecret() || want.holdsSecret()
		}
		return got.Kind == Struct && assignObject(got.Object, want.Object, seen)
	}
	return got.Kind == want.Kind
}

func assignFields(got *Object, elem *Type, seen map[[2]*Object]bool) bool {
	key := [2]*Object{got, nil}
	if seen[key] {
		return true
	}
	seen[key] = true
	for _, t := range got.Fields {
		if !assign(t, elem, seen) {
			return false
		}
	}
	return true
}

func assignObject(got, want *Object, seen map[[2]*Object]bool) bool {
	key := [2]*Object{got, want}
	if got == want || seen[key] {
		return true
	}
	seen[key] = true
	for name, t := range want.Fields {
		f, ok := got.Fields[name]
		if !ok && !t.Optional || ok && !assign(f, t, seen) {
			return false
		}
	}
	return true
}
