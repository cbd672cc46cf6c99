package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// Limits of one evaluation: what it may cost in cel-go's units, about a step or
// an element each, and after how many turns of a loop the context is looked at.
const (
	costLimit      = 1_000_000
	interruptEvery = 100
)

// How many environments are remembered, and how many programs by each of them.
// A full cache is emptied: a run that needs more has no use for the oldest ones.
const (
	maxEnvs     = 256
	maxPrograms = 4096
)

// baseEnv is everything that does not depend on the names in scope.
//
// json.* and yaml.* are left out with version 0 of the encoders: cel-go charges
// them the highest possible cost, so they fail under every limit. Regex needs
// the optional types and must come after them.
var baseEnv = sync.OnceValues(func() (*cel.Env, error) {
	// cel-go labels errors with the node that they come from, its one shared "no
	// such overload" included, whoever evaluates at that moment. A label of our
	// own keeps it from writing there.
	types.LabelErrNode(-1, types.NoSuchOverloadErr())
	return cel.NewEnv(
		cel.OptionalTypes(), ext.Strings(), ext.Lists(), ext.Math(), ext.Sets(), ext.Bindings(),
		ext.Regex(), ext.Network(), ext.TwoVarComprehensions(), ext.Encoders(ext.EncodersVersion(0)),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Function("secret", cel.Overload("secret_string", []*cel.Type{cel.StringType}, celSecret,
			cel.LateFunctionBinding())),
		cel.Function("reveal", cel.Overload("reveal_secret", []*cel.Type{celSecret}, cel.StringType,
			cel.UnaryBinding(reveal))),
		orderOption(),
	)
})

func reveal(v ref.Val) ref.Val {
	s, ok := v.(*secretVal)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	return types.String(s.text.Reveal())
}

// Env compiles expressions over the names of one scope. It is safe for
// concurrent use, remembers what it compiled, and environments of equal scopes
// are one and the same, so compiling once for every host costs little.
type Env struct {
	scope  Scope
	cel    *cel.Env
	schema *schema

	mu       sync.Mutex
	compiled map[string]*compiled
}

var envs = struct {
	mu  sync.Mutex
	all map[string]*Env
}{all: map[string]*Env{}}

// NewEnv returns the environment for a scope. It fails if a name is not an
// identifier, is reserved by the language, or is one of its functions or types.
func NewEnv(scope Scope) (*Env, error) {
	key := signature(scope)
	envs.mu.Lock()
	defer envs.mu.Unlock()
	if e := envs.all[key]; e != nil {
		return e, nil
	}
	e, err := newEnv(maps.Clone(scope))
	if err != nil {
		return nil, err
	}
	if len(envs.all) >= maxEnvs {
		clear(envs.all)
	}
	envs.all[key] = e
	return e, nil
}

// isGlobal reports whether a function of that name can be called without a
// receiver. A name of methods only, such as value or first, is free to use.
func isGlobal(base *cel.Env, name string) bool {
	f, ok := base.Functions()[name]
	if !ok {
		return false
	}
	for _, o := range f.OverloadDecls() {
		if !o.IsMemberFunction() {
			return true
		}
	}
	return false
}

func newEnv(scope Scope) (*Env, error) {
	base, err := baseEnv()
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	e := &Env{scope: scope, schema: newSchema(scope, base.CELTypeProvider()), compiled: map[string]*compiled{}}
	opts := []cel.EnvOption{cel.CustomTypeAdapter(adapter{e.schema}), cel.CustomTypeProvider(e.schema)}
	for _, name := range slices.Sorted(maps.Keys(scope)) {
		if !isName(name) {
			return nil, fmt.Errorf("cannot use the name %q in expressions: want letters, digits and _, and no reserved word", name)
		}
		if _, taken := base.CELTypeProvider().FindIdent(name); taken || isGlobal(base, name) {
			return nil, fmt.Errorf("cannot use the name %q in expressions: the language has it already", name)
		}
		opts = append(opts, cel.Variable(name, e.schema.celType(scope[name])))
	}
	if e.cel, err = base.Extend(opts...); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return e, nil
}

// With returns the environment for this scope and more, which wins where both
// have a name.
func (e *Env) With(more Scope) (*Env, error) {
	scope := maps.Clone(e.scope)
	maps.Copy(scope, more)
	return NewEnv(scope)
}

// signature writes a scope down so that equal scopes have equal texts.
func signature(scope Scope) string {
	var b strings.Builder
	seen := map[*Object]int{}
	for _, name := range slices.Sorted(maps.Keys(scope)) {
		fmt.Fprintf(&b, "%q=", name)
		writeType(&b, scope[name], seen)
	}
	return b.String()
}

func writeType(b *strings.Builder, t *Type, seen map[*Object]int) {
	if t.isDyn() {
		b.WriteByte('_')
		return
	}
	b.WriteByte('A' + byte(t.Kind))
	if t.Optional {
		b.WriteByte('?')
	}
	switch {
	case t.Kind == List || t.Kind == Map:
		writeType(b, t.Elem, seen)
	case t.Kind == Struct && seen[t.Object] > 0:
		fmt.Fprintf(b, "#%d", seen[t.Object])
	case t.Kind == Struct:
		seen[t.Object] = len(seen) + 1
		fmt.Fprintf(b, "%q{", t.Object.Name)
		for _, name := range t.Object.fieldNames() {
			fmt.Fprintf(b, "%q:", name)
			writeType(b, t.Object.Fields[name], seen)
		}
		b.WriteByte('}')
	}
}

// compiled is an expression without the type that somebody wants of it.
type compiled struct {
	env    *Env
	text   string
	faults []*Fault
	usage  usage
	typ    *Type
	ast    *cel.Ast
	prg    cel.Program
}

// Compile checks an expression and prepares it. The value has to fit want; nil
// takes whatever the expression gives. All faults are reported, in order; their
// offsets count from the start of the expression.
//
// Where a string is wanted, bool, int, double and duration are taken by their
// text; an int is taken as a double, a string as a duration. A secret fits a
// secret and nothing else.
func (e *Env) Compile(expression string, want *Type) (*Program, []*Fault) {
	c := e.compile(expression)
	if len(c.faults) > 0 {
		return nil, cloneFaults(c.faults, 0)
	}
	if want != nil && !assignable(c.typ, want) {
		return nil, []*Fault{unfit(c, want)}
	}
	return &Program{usage: c.usage, c: c, want: want}, nil
}

// unfit says why the type of an expression is not the one that is wanted.
func unfit(c *compiled, want *Type) *Fault {
	f := &Fault{Offset: startOffset(c.text), Message: fmt.Sprintf("want %s, got %s", want, c.typ)}
	switch {
	case c.typ.holdsSecret() && (want == nil || want.Kind != Secret):
		f.Hint = "a secret fits only where a secret is asked for; reveal() makes it a text that everybody can see"
	case want.Kind == Secret:
		f.Hint = `name the secret: secret("name")`
	case want.Kind == Bool:
		f.Hint = "conditions are never truthy: compare with something"
	case want.Kind == Int && c.typ.Kind == String:
		f.Hint = "use int(…)"
	}
	return f
}

func cloneFaults(faults []*Fault, by int) []*Fault {
	out := make([]*Fault, len(faults))
	for i, f := range faults {
		c := *f
		c.Offset += by
		out[i] = &c
	}
	return out
}

func (e *Env) compile(text string) *compiled {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.compiled[text]; c != nil {
		return c
	}
	c := e.build(text)
	if len(e.compiled) >= maxPrograms {
		clear(e.compiled)
	}
	e.compiled[text] = c
	return c
}

// build runs under the lock of e, so the misses of the schema are its own.
func (e *Env) build(text string) *compiled {
	c := &compiled{env: e, text: text}
	fail := func(faults ...*Fault) *compiled {
		c.faults = faults
		return c
	}
	if !utf8.ValidString(text) {
		return fail(&Fault{Message: "expression is not UTF-8 text"})
	}
	if strings.TrimSpace(text) == "" {
		return fail(&Fault{Message: "empty expression"})
	}
	parsed, iss := e.cel.Parse(text)
	if iss.Err() != nil {
		return fail(parseFaults(text, iss.Errors())...)
	}
	e.schema.takeMisses()
	checked, iss := e.cel.Check(parsed)
	if iss.Err() != nil {
		return fail(e.checkFaults(text, parsed, iss.Errors())...)
	}
	typ, ok := e.schema.goType(checked.OutputType())
	if !ok {
		return fail(e.homeless(text, checked.OutputType()))
	}
	used := e.usageOf(checked)
	orderRanges(checked.NativeRep())
	prg, err := e.cel.Program(checked, cel.CostLimit(costLimit), cel.InterruptCheckFrequency(interruptEvery),
		cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return fail(&Fault{Offset: startOffset(text), Message: e.schema.pretty(err.Error())})
	}
	c.typ, c.ast, c.prg, c.usage = typ, checked, prg, used
	return c
}

// homeless is the fault of an expression whose value cannot leave it.
func (e *Env) homeless(text string, t *cel.Type) *Fault {
	name := e.schema.pretty(cel.FormatCELType(t))
	f := &Fault{Offset: startOffset(text), Message: fmt.Sprintf("an expression cannot give a value of type %s", name)}
	switch {
	case strings.HasPrefix(name, "optional("):
		f.Hint = "end it with .orValue(…) or .value()"
	case t.Kind() == types.TypeKind:
		f.Hint = "this is the name of a type; a text needs quotes"
	case t.Kind() == types.MapKind:
		f.Hint = "the keys of a mapping are strings"
	case t.Kind() != types.ListKind:
		f.Hint = "use string(…)"
	}
	return f
}
