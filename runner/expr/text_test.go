package expr_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/tasks/secret"
)

var (
	boolType     = &expr.Type{Kind: expr.Bool}
	intType      = &expr.Type{Kind: expr.Int}
	doubleType   = &expr.Type{Kind: expr.Double}
	stringType   = &expr.Type{Kind: expr.String}
	durationType = &expr.Type{Kind: expr.Duration}
	secretType   = &expr.Type{Kind: expr.Secret}
	anyType      = &expr.Type{}
	listType     = &expr.Type{Kind: expr.List, Elem: stringType}
	mapType      = &expr.Type{Kind: expr.Map, Elem: stringType}
	pointType    = &expr.Type{Kind: expr.Struct, Object: &expr.Object{Name: "point", Fields: map[string]*expr.Type{
		"x": intType, "y": {Kind: expr.Int, Optional: true}}}}
)

func TestText(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct {
		text string
		want *expr.Type
		out  any
	}{
		{"plain $${x}", boolType, "plain ${x}"},
		{"", nil, ""},
		{"${params.port}", intType, int64(222)},
		{"${ params.port }", nil, int64(222)},
		{"${params.port}", stringType, "222"},
		{"${params.port}", doubleType, 222.0},
		{"${params.on}", stringType, "true"},
		{"${params.ratio}", stringType, "1.5"},
		{"${params.wait}", stringType, "1m30s"},
		{"${params.wait}", durationType, "1m30s"},
		{"${'5m'}", durationType, "5m"},
		{"${params.keys}", listType, []any{"k1", "k2"}},
		{"${[1, true, 'a', 0.5]}", listType, []any{"1", "true", "a", "0.5"}},
		{"${[1, 2]}", listType, []any{"1", "2"}},
		{"${[]}", listType, []any{}},
		{"${{'a': 1}}", mapType, map[string]any{"a": "1"}},
		{"${{}}", mapType, map[string]any{}},
		{"${facts.os}", mapType, map[string]any{"id": "", "v": ""}},
		{"${{'x': 1}}", pointType, map[string]any{"x": int64(1)}},
		{"${params.note}", &expr.Type{Kind: expr.String, Optional: true}, nil},
		{"${null}", &expr.Type{Kind: expr.Int, Optional: true}, nil},
		{"${params.free.n}", intType, int64(3)},
		{"${params.free.n}", stringType, "3"},
		{"${params.free}", anyType, map[string]any{"n": int64(3), "s": "text"}},
		{"a ${params.port} b ${params.on} ${params.ratio} ${1000000.0} ${params.wait} $${c}", stringType,
			"a 222 b true 1.5 1000000 1m30s ${c}"},
		{"${params.free.n}${item}", nil, "3one"},
		{"${params.port}m", durationType, "222m"},
		{"x ${reveal(params.token)}", nil, "x s3cret-t0ken"},
	} {
		text, faults := env.CompileText(tt.text, tt.want)
		if len(faults) > 0 {
			t.Errorf("CompileText(%q, %s): %q", tt.text, tt.want, faultLines(faults))
			continue
		}
		got, err := text.Eval(context.Background(), vars())
		if err != nil || !reflect.DeepEqual(got, tt.out) {
			t.Errorf("%q as %s = %#v, %v; want %#v", tt.text, tt.want, got, err, tt.out)
		}
		if lit, ok := text.Literal(); ok && lit != tt.out {
			t.Errorf("%q: literal %q, want %q", tt.text, lit, tt.out)
		}
	}
}

func TestTextFaults(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct {
		text string
		as   *expr.Type
		want []string
	}{
		{"a ${host.nme} b ${ hosst }", nil, []string{
			`9: undefined field "nme" [did you mean "name"?]`, `19: undeclared reference "hosst" [did you mean "host"?]`}},
		{"a ${b", nil, []string{"2: unterminated ${ [write $${ for a literal ${]"}},
		{"${params.user}", intType, []string{"2: want int, got string [use int(…)]"}},
		{"${ params.user}", boolType, []string{"3: want bool, got string [conditions are never truthy: compare with something]"}},
		{"${params.ratio}", intType, []string{"2: want int, got double"}},
		{"${params.port}", durationType, []string{"2: want duration, got int"}},
		{"${params.keys}", stringType, []string{"2: want string, got list(string)"}},
		{"${[['a']]}", listType, []string{"2: want list(string), got list(list(string))"}},
		{"${facts.disks}", listType, []string{"2: want list(string), got list(disk)"}},
		{"${null}", stringType, []string{"2: want string, got null"}},
		{"${facts.os}", pointType, []string{"2: want point, got object"}},
		{"1${params.port}", intType, []string{"0: want int, got a text joined from pieces [write the whole value as one ${ } with nothing beside it]"}},
		{"x ${params.keys}", nil, []string{`4: a value of type list(string) cannot be part of a text [join its elements: .join(", ")]`}},
		{"${params.keys}\n", nil, []string{"2: a value of type list(string) cannot be part of a text [nothing may stand beside the ${ }, not even a line end: write |- instead of |]"}},
		{"x ${host.labels} ${facts.os}", nil, []string{"4: a value of type map(string) cannot be part of a text", "19: a value of type object cannot be part of a text"}},
		{"x ${secret('a')}", nil, []string{"4: a secret cannot be part of a text [use it alone, or reveal() it]"}},
		{"${secret('a')}", stringType, []string{"2: want string, got secret [a secret fits only where a secret is asked for; reveal() makes it a text that everybody can see]"}},
		{"${params}", anyType, []string{"2: want any, got params [a secret fits only where a secret is asked for; reveal() makes it a text that everybody can see]"}},
		{"${[secret('a')]}", listType, []string{"2: want list(string), got list(secret) [a secret fits only where a secret is asked for; reveal() makes it a text that everybody can see]"}},
		{"${params.user}", secretType, []string{`2: want secret, got string [name the secret: secret("name")]`}},
	} {
		text, faults := env.CompileText(tt.text, tt.as)
		if got := faultLines(faults); text != nil || !slices.Equal(got, tt.want) {
			t.Errorf("CompileText(%q, %s):\n got %q\nwant %q", tt.text, tt.as, got, tt.want)
		}
	}
}

func TestTextFailures(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct {
		text string
		want *expr.Type
		out  string
	}{
		{"${item}", intType, "2: want int, got string"},
		{"x ${ params.note}", nil, "5: want string, got null"},
		{"x ${ host.labels.role}", nil, `17: host web1 has no label "role"`},
		{"x ${ dyn(params.token) }", nil, "5: a secret cannot be used here: use it alone where a secret is asked for, or reveal() it"},
		{"${{'x': 1, 'z': 2}}", pointType, `2: point has no field "z"`},
		{"${{'y': 1}}", pointType, `2: point lacks the field "x"`},
		{"${dyn(params.keys)}", mapType, "2: want map(string), got list"},
		{"${dyn({1: 2})}", anyType, "2: want strings as keys of a map, got int"},
		{"a ${1 / (params.port - 222)}", nil, "6: division by zero"},
	} {
		text, faults := env.CompileText(tt.text, tt.want)
		if len(faults) > 0 {
			t.Errorf("CompileText(%q): %q", tt.text, faultLines(faults))
			continue
		}
		v, err := text.Eval(context.Background(), vars())
		f, ok := err.(*expr.Failure)
		if !ok || fmt.Sprintf("%d: %s", f.Offset, f.Message) != tt.out {
			t.Errorf("%q as %s: got %v, %+v; want %s", tt.text, tt.want, v, err, tt.out)
		}
	}
}

func TestFaultAtUsesThePlacesOfTheNode(t *testing.T) {
	n := source.NewScalar(source.Pos{File: "a.yml", Line: 3, Col: 9}, source.Str, "x ${host.nme}")
	n.Columns = func(offset int) source.Pos { return source.Pos{File: "a.yml", Line: 3, Col: 10 + offset} }
	_, faults := newEnv(t).CompileText(n.Text, nil)
	if len(faults) != 1 {
		t.Fatalf("got %q, want one fault", faultLines(faults))
	}
	got := expr.FaultAt(n, "tasks[0].file.path", faults[0])
	want := `a.yml:3:19: tasks[0].file.path: undefined field "nme"`
	if got.Error() != want || got.Hint != `did you mean "name"?` {
		t.Errorf("got %s (%s), want %s", got, got.Hint, want)
	}
}

func FuzzCompileText(f *testing.F) {
	for _, s := range []string{"a ${params.port} b", "${params.keys.map(k, k + 'x')}", "${secret('db')}", "${facts.disks[0].nme}",
		"${'%s'.format([item])}", "${cel.bind(x, [1], x.map(y, y))}", "${host.?labels[?'a'].orValue('b')}", "${r'\\' + \"é\"}",
		"${math.foo(1)}", "${a.b.c()}", "${host{a: 1}}", "${1u + 2}", "${{'a': [1, {}]}.a}"} {
		f.Add(s)
	}
	env := newEnv(f)
	f.Fuzz(func(t *testing.T, text string) {
		c, faults := env.CompileText(text, nil)
		if (c == nil) != (len(faults) > 0) {
			t.Fatalf("CompileText(%q) = %v with %d faults", text, c, len(faults))
		}
		for _, fault := range faults {
			if fault.Offset < 0 || fault.Offset > len(text) || fault.Message == "" {
				t.Fatalf("CompileText(%q): bad fault %+v", text, fault)
			}
			if utf8.ValidString(text) && fault.Offset < len(text) && !utf8.RuneStart(text[fault.Offset]) {
				t.Fatalf("CompileText(%q): offset %d is inside of a character", text, fault.Offset)
			}
		}
		if c == nil {
			return
		}
		v, err := c.Eval(context.Background(), vars())
		if s := fmt.Sprintf("%v %v", v, err); err != nil && !c.Reveals() && containsSecret(s) {
			t.Fatalf("%q shows a secret: %s", text, s)
		}
		if _, ok := v.(secret.Text); ok && c.Type().Kind != expr.Secret {
			t.Fatalf("%q of type %s gives a secret", text, c.Type())
		}
	})
}
