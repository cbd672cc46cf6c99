package expr

import (
	"cmp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// CEL goes through the keys of a map in an order that changes from one
// evaluation to the next. A list made from a map would then be a change in
// every plan, so every loop over a map goes over orderFunc of it.
const orderFunc = "@ordered"

func orderOption() cel.EnvOption {
	elem := cel.TypeParamType("T")
	return cel.Function(orderFunc, cel.Overload("ordered", []*cel.Type{elem}, elem, cel.UnaryBinding(ordered)))
}

func ordered(v ref.Val) ref.Val {
	m, ok := v.(traits.Mapper)
	if !ok {
		return v
	}
	s := &orderedMap{Mapper: m}
	for it := m.Iterator(); it.HasNext() == types.True; {
		s.keys = append(s.keys, it.Next())
	}
	slices.SortStableFunc(s.keys, compareKeys)
	return s
}

func compareKeys(a, b ref.Val) int {
	if c, ok := a.(traits.Comparer); ok && a.Type() == b.Type() {
		if n, ok := c.Compare(b).(types.Int); ok {
			return int(n)
		}
	}
	return cmp.Compare(a.Type().TypeName(), b.Type().TypeName())
}

// orderRanges puts orderFunc around the range of every loop that may be one over
// a map.
func orderRanges(a *ast.AST) {
	fac := ast.NewExprFactory()
	next := ast.MaxID(a) + 1
	var loops []ast.Expr
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.ComprehensionKind {
			loops = append(loops, x)
		}
	}))
	for _, x := range loops {
		c := x.AsComprehension()
		typ := a.GetType(c.IterRange().ID())
		if k := typ.Kind(); k != types.MapKind && k != types.DynKind && k != types.TypeParamKind {
			continue
		}
		call := fac.NewCall(next, orderFunc, c.IterRange())
		a.SetType(next, typ)
		a.SetReference(next, ast.NewFunctionReference("ordered"))
		next++
		x.SetKindCase(fac.NewComprehensionTwoVar(x.ID(), call, c.IterVar(), c.IterVar2(), c.AccuVar(), c.AccuInit(),
			c.LoopCondition(), c.LoopStep(), c.Result()))
	}
}

// orderedMap is a map whose keys come in order.
type orderedMap struct {
	traits.Mapper
	keys []ref.Val
}

// Iterator implements traits.Iterable.
func (m *orderedMap) Iterator() traits.Iterator {
	return types.NewRefValList(types.DefaultTypeAdapter, m.keys).Iterator()
}
