package expr

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"holdfast/playbooks/source"
)

// parseFaults says what the parser found. After the first error of syntax it
// guesses, so only that one is told.
func parseFaults(text string, errs []*common.Error) []*Fault {
	var out []*Fault
	syntax := false
	for _, err := range errs {
		msg, isSyntax := strings.CutPrefix(err.Message, "Syntax error: ")
		if isSyntax && syntax {
			continue
		}
		syntax = syntax || isSyntax
		f := &Fault{Offset: byteOffset(text, err.Location.Line(), err.Location.Column())}
		f.Message, f.Hint = parseMessage(msg, text[f.Offset:])
		out = append(out, f)
	}
	return sortFaults(out)
}

// parseMessage shortens what the parser generator says. rest is the text from
// the place of the error on.
func parseMessage(msg, rest string) (message, hint string) {
	token := ""
	if _, after, ok := strings.Cut(msg, "'"); ok {
		if i := strings.LastIndex(after, "' expecting"); i >= 0 {
			after = after[:i]
		}
		token = strings.TrimSuffix(after, "'")
	}
	switch {
	case strings.HasPrefix(msg, "token recognition error"):
		return badToken(token, rest)
	case token == "<EOF>" && strings.HasPrefix(msg, "mismatched input"):
		return "unexpected end of the expression", ""
	case strings.HasPrefix(msg, "missing"):
		token, _, _ = strings.Cut(token, "'")
		return fmt.Sprintf("missing %q", token), ""
	case strings.HasPrefix(msg, "mismatched input"), strings.HasPrefix(msg, "extraneous input"),
		strings.HasPrefix(msg, "no viable alternative"):
		return fmt.Sprintf("unexpected %q", token), wordHints[token]
	}
	if word, ok := strings.CutPrefix(msg, "reserved identifier: "); ok {
		return fmt.Sprintf("%q is a reserved word", word), ""
	}
	if strings.HasPrefix(msg, "invalid argument to has()") {
		return "has() takes the field of something", "write has(a.b)"
	}
	return firstLine(msg), ""
}

var wordHints = map[string]string{
	"and": "write &&", "or": "write ||", "not": "write !(…)", "is": "write ==",
	"if": "write condition ? a : b", "|": "there are no filters; call a function: x.trim()",
}

// badToken explains characters that begin nothing in the language.
func badToken(token, rest string) (message, hint string) {
	switch rest[:min(1, len(rest))] {
	case "'", `"`:
		return "unterminated string", "close it with " + rest[:1]
	case "=":
		return `unexpected "="`, "write == to compare"
	case "&":
		return `unexpected "&"`, "write &&"
	case "|":
		return `unexpected "|"`, "write ||; there are no filters"
	}
	return fmt.Sprintf("unexpected %q", strings.TrimSpace(token)), ""
}

// checkFaults says what the checker found.
func (e *Env) checkFaults(text string, parsed *cel.Ast, errs []*common.Error) []*Fault {
	c := &checkReport{env: e, text: text, info: parsed.NativeRep().SourceInfo(), undeclared: map[int64]bool{},
		nodes: nodesOf(parsed.NativeRep().Expr()), misses: e.schema.takeMisses()}
	for _, err := range errs {
		if strings.HasPrefix(err.Message, "undeclared reference to ") {
			c.undeclared[err.ExprID] = true
		}
	}
	var out []*Fault
	for _, err := range errs {
		f := &Fault{Offset: byteOffset(text, err.Location.Line(), err.Location.Column())}
		f.Offset = nameOffset(text, f.Offset)
		if c.explain(f, err) {
			out = append(out, f)
		}
	}
	return sortFaults(out)
}

func sortFaults(faults []*Fault) []*Fault {
	slices.SortStableFunc(faults, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(faults, func(a, b *Fault) bool { return *a == *b })
}

// checkReport turns the errors of one expression into faults.
type checkReport struct {
	env        *Env
	text       string
	info       *ast.SourceInfo
	nodes      map[int64]ast.Expr
	misses     []miss
	undeclared map[int64]bool // ids of the nodes that name nothing
}

func nodesOf(x ast.Expr) map[int64]ast.Expr {
	nodes := map[int64]ast.Expr{}
	ast.PostOrderVisit(x, ast.NewExprVisitor(func(x ast.Expr) { nodes[x.ID()] = x }))
	return nodes
}

// quoted are the parts in single quotes of cel-go's messages.
var quoted = regexp.MustCompile(`'([^']*)'`)

// explain fills in the fault for an error, or reports false if another fault
// says the same.
func (c *checkReport) explain(f *Fault, err *common.Error) bool {
	msg := err.Message
	var args []string
	for _, m := range quoted.FindAllStringSubmatch(msg, 3) {
		args = append(args, m[1])
	}
	for len(args) < 3 {
		args = append(args, "")
	}
	switch {
	case strings.HasPrefix(msg, "undefined field"):
		c.undefinedField(f, args[0])
	case strings.HasPrefix(msg, "undeclared reference"):
		return c.undeclaredName(f, err.ExprID, args[0])
	case strings.HasPrefix(msg, "found no matching overload"):
		c.noOverload(f, args[0], c.env.schema.pretty(args[1]))
	case strings.HasPrefix(msg, "expected type"):
		c.moveToStart(f, err.ExprID)
		f.Message = fmt.Sprintf("want %s, got %s", c.env.schema.pretty(args[0]), c.env.schema.pretty(args[1]))
	case strings.HasSuffix(msg, "does not support field selection"):
		f.Message = fmt.Sprintf("%s has no fields", c.env.schema.pretty(args[0]))
	case strings.Contains(msg, "cannot be range of a comprehension"):
		c.moveToStart(f, err.ExprID)
		f.Message = fmt.Sprintf("cannot loop over %s: want a list or a map", c.env.schema.pretty(args[0]))
	case strings.HasPrefix(msg, "invalid ") && strings.HasSuffix(msg, " argument"):
		c.badLiteral(f, err.ExprID, strings.Fields(msg)[1])
	default:
		f.Message = c.env.schema.pretty(firstLine(strings.ReplaceAll(msg, "'", `"`)))
	}
	return true
}

// moveToStart moves a fault of a chain a.b.c, whose place is its last dot, to
// the a.
func (c *checkReport) moveToStart(f *Fault, id int64) {
	x := c.nodes[id]
	for x != nil {
		operand, _ := stepOf(x)
		if operand == nil {
			break
		}
		x = operand
		at := c.info.GetStartLocation(x.ID())
		f.Offset = nameOffset(c.text, byteOffset(c.text, at.Line(), at.Column()))
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func (c *checkReport) undefinedField(f *Fault, field string) {
	f.Message = fmt.Sprintf("undefined field %q", field)
	if !strings.HasPrefix(c.text[f.Offset:], field) { // the place is that of the macro has()
		if i := strings.Index(c.text[f.Offset:], "."+field); i >= 0 {
			f.Offset += i + 1
		}
	}
	i := slices.IndexFunc(c.misses, func(m miss) bool { return m.field == field })
	if i < 0 {
		return
	}
	o := c.misses[i].object
	c.misses = c.misses[i+1:]
	f.Hint = suggest(field, o.fieldNames(), "the fields are: ")
}

// suggest names the nearest candidate, or all of them when they are few.
func suggest(name string, candidates []string, intro string) string {
	if hint := source.DidYouMean(name, candidates); hint != "" {
		return hint
	}
	if len(candidates) == 0 || len(candidates) > 12 {
		return ""
	}
	return intro + strings.Join(candidates, ", ")
}

func (c *checkReport) undeclaredName(f *Fault, id int64, name string) bool {
	node := c.nodes[id]
	if node != nil && node.Kind() == ast.CallKind {
		return c.undeclaredFunction(f, node.AsCall(), name)
	}
	if c.isMacroArg(id) {
		return false
	}
	if node != nil && node.Kind() == ast.StructKind {
		f.Message, f.Hint = "an expression cannot make objects", `write a map: {"key": value}`
		return true
	}
	if first, _, dotted := strings.Cut(name, "."); dotted && node != nil {
		name = first // the checker offers a.b where it knows a name like it
		for node.Kind() == ast.SelectKind {
			node = node.AsSelect().Operand()
		}
	}
	f.Message = fmt.Sprintf("undeclared reference %q", name)
	f.Hint = suggest(name, c.names(), "a text needs quotes; known here: ")
	return !c.isNamespace(id, name)
}

// isMacroArg reports whether an undeclared name is an argument of a macro that
// was written wrong, so that it was never a variable.
func (c *checkReport) isMacroArg(id int64) bool {
	for callID := range c.undeclared {
		n := c.nodes[callID]
		if n == nil || n.Kind() != ast.CallKind || macroUsage[n.AsCall().FunctionName()] == "" {
			continue
		}
		for _, arg := range n.AsCall().Args() {
			if nodesOf(arg)[id] != nil {
				return true
			}
		}
	}
	return false
}

// names are what an expression of the scope can begin with.
func (c *checkReport) names() []string {
	var out []string
	for name := range c.env.scope {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// isNamespace reports whether the undeclared name at id is the first half of a
// function such as math.least that is reported as such.
func (c *checkReport) isNamespace(id int64, name string) bool {
	if len(c.functions(name+".")) == 0 {
		return false
	}
	for callID := range c.undeclared {
		n := c.nodes[callID]
		if n != nil && n.Kind() == ast.CallKind && n.AsCall().IsMemberFunction() && n.AsCall().Target().ID() == id {
			return true
		}
	}
	return false
}

func (c *checkReport) undeclaredFunction(f *Fault, call ast.CallExpr, name string) bool {
	if call.IsMemberFunction() && c.undeclared[call.Target().ID()] {
		space := call.Target()
		if space.Kind() != ast.IdentKind || len(c.functions(space.AsIdent()+".")) == 0 {
			return false // whose function it is has been reported
		}
		f.Offset = max(0, strings.LastIndex(c.text[:f.Offset], space.AsIdent()))
		name = space.AsIdent() + "." + name
		f.Message = fmt.Sprintf("undeclared function %q", name)
		f.Hint = suggest(name, c.functions(space.AsIdent()+"."), "there are: ")
		return true
	}
	if usage, ok := macroUsage[name]; ok {
		f.Message, f.Hint = fmt.Sprintf("wrong arguments for %q", name), "write "+usage
		return true
	}
	f.Message = fmt.Sprintf("undeclared function %q", name)
	f.Hint = source.DidYouMean(name, c.functions(""))
	return true
}

// macroUsage shows the macros, whose wrong use the parser takes for a call.
var macroUsage = map[string]string{
	"all": "list.all(x, condition)", "exists": "list.exists(x, condition)", "has": "has(a.b)",
	"exists_one": "list.exists_one(x, condition)", "existsOne": "list.existsOne(x, condition)",
	"filter": "list.filter(x, condition)", "map": "list.map(x, value)", "sortBy": "list.sortBy(x, key)",
	"transformList": "map.transformList(key, value, result)", "transformMap": "map.transformMap(key, value, result)",
	"math.greatest": "math.greatest(a, b)", "math.least": "math.least(a, b)", "cel.bind": "cel.bind(x, value, result)",
	"optMap": "optional.optMap(x, value)", "optFlatMap": "optional.optFlatMap(x, optional)",
}

// functions returns the names of functions and macros with a prefix.
func (c *checkReport) functions(prefix string) []string {
	var out []string
	for name := range c.env.cel.Functions() {
		if isNameByte(name[0]) && !strings.Contains(name, "_") && strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	for name := range macroUsage {
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (c *checkReport) noOverload(f *Fault, fn, signature string) {
	args := strings.TrimSuffix(strings.TrimPrefix(signature, "("), ")")
	if symbol, ok := operators.FindReverse(fn); ok && symbol != "" {
		f.Message = fmt.Sprintf("operator %q cannot take %s", symbol, strings.ReplaceAll(args, ", ", " and "))
		if strings.Contains(args, "null") {
			f.Hint = "write has(a.b) to ask whether a value is there"
		}
		return
	}
	switch fn {
	case operators.Conditional:
		f.Message = fmt.Sprintf("operator \"? :\" cannot take %s", args)
		f.Hint = "want a bool before the ? and two values of one type after it"
		return
	case operators.Index, operators.OptIndex:
		f.Message = fmt.Sprintf("cannot index %s", strings.ReplaceAll(args, ", ", " with "))
		return
	}
	if target, rest, ok := strings.Cut(signature, ".("); ok {
		f.Message = fmt.Sprintf("cannot call %s.%s(%s", target, fn, rest)
	} else {
		f.Message = fmt.Sprintf("cannot call %s%s", fn, signature)
	}
	f.Hint = c.usageOf(fn)
}

// usageOf shows how a function is called.
func (c *checkReport) usageOf(fn string) string {
	decl := c.env.cel.Functions()[fn]
	if decl == nil {
		return ""
	}
	var forms []string
	for _, o := range decl.OverloadDecls() {
		var args []string
		for _, a := range o.ArgTypes() {
			args = append(args, c.env.schema.pretty(cel.FormatCELType(a)))
		}
		form := fn + "(" + strings.Join(args, ", ") + ")"
		if o.IsMemberFunction() && len(args) > 0 {
			form = args[0] + "." + fn + "(" + strings.Join(args[1:], ", ") + ")"
		}
		forms = append(forms, form)
	}
	if len(forms) == 0 || len(forms) > 4 {
		return ""
	}
	return "write " + strings.Join(forms, " or ")
}

func (c *checkReport) badLiteral(f *Fault, id int64, fn string) {
	text := ""
	if n := c.nodes[id]; n != nil {
		text, _ = literalText(n)
	}
	switch fn {
	case "duration":
		f.Message, f.Hint = fmt.Sprintf("bad duration %q", text), "write a number and a unit: 90s, 5m, 1h"
	case "timestamp":
		f.Message, f.Hint = fmt.Sprintf("bad timestamp %q", text), "write it as 2006-01-02T15:04:05Z"
	default:
		f.Message = "bad regular expression"
		if _, err := regexp.Compile(text); err != nil {
			f.Message += ": " + strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		}
	}
}
