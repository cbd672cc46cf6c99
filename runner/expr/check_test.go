package expr_test

import (
	"slices"
	"testing"
)

func TestCompileReportsEveryFaultInItsPlace(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"host.nme == 'web'", []string{"5: undefined field \"nme\" [did you mean \"name\"?]"}},
		{"hosst.name == 'a'", []string{"0: undeclared reference \"hosst\" [did you mean \"host\"?]"}},
		{"host.nme == 'a' && facts.disks[0].sise > 1 && unknwn", []string{"5: undefined field \"nme\" [did you mean \"name\"?]", "34: undefined field \"sise\" [did you mean \"size\"?]", "46: undeclared reference \"unknwn\" [a text needs quotes; known here: admin, facts, host, item, params]"}},
		{"host.name == web1", []string{"13: undeclared reference \"web1\" [a text needs quotes; known here: admin, facts, host, item, params]"}},
		{"host.name = 'a'", []string{"10: unexpected \"=\" [write == to compare]"}},
		{"host.name == ", []string{"13: unexpected end of the expression"}},
		{"params.on and params.on", []string{"10: unexpected \"and\" [write &&]"}},
		{"(1 + ", []string{"5: unexpected end of the expression"}},
		{"1 +* 2", []string{"3: unexpected \"*\""}},
		{"[1, 2", []string{"5: unexpected end of the expression"}},
		{"{'a': 1", []string{"7: unexpected end of the expression"}},
		{"'abc", []string{"0: unterminated string [close it with ']"}},
		{"é + 1", []string{"0: unexpected \"é\""}},
		{"'é' + host.nme", []string{"12: undefined field \"nme\" [did you mean \"name\"?]"}},
		{"\n  params.port +\n  zz", []string{"19: undeclared reference \"zz\" [a text needs quotes; known here: admin, facts, host, item, params]"}},
		{"host.name | upper", []string{"10: unexpected \"|\" [write ||; there are no filters]"}},
		{"params.port + 'a'", []string{"12: operator \"+\" cannot take int and string"}},
		{"params.port == 'a'", []string{"12: operator \"==\" cannot take int and string"}},
		{"!params.port", []string{"0: operator \"!\" cannot take int"}},
		{"size(params.port)", []string{"0: cannot call size(int)"}},
		{"params.port.startsWith('a')", []string{"12: cannot call int.startsWith(string) [write string.startsWith(string)]"}},
		{"host.name.startWith('a')", []string{"10: undeclared function \"startWith\" [did you mean \"startsWith\"?]"}},
		{"foo (1)", []string{"0: undeclared function \"foo\""}},
		{"math.foo(1)", []string{"0: undeclared function \"math.foo\" [did you mean \"math.floor\"?]"}},
		{"math.greatst(1, 2)", []string{"0: undeclared function \"math.greatst\" [did you mean \"math.greatest\"?]"}},
		{"json.encode(1)", []string{"0: undeclared reference \"json\" [a text needs quotes; known here: admin, facts, host, item, params]"}},
		{"hosst.foo(1)", []string{"0: undeclared reference \"hosst\" [did you mean \"host\"?]"}},
		{"params.port.x", []string{"12: int has no fields"}},
		{"params.port.all(x, true)", []string{"0: cannot loop over int: want a list or a map"}},
		{"params.keys.exists(x)", []string{"12: wrong arguments for \"exists\" [write list.exists(x, condition)]"}},
		{"params.keys.all(k, k.nme)", []string{"21: string has no fields"}},
		{"facts.disks.all(d, d.nme == 'a')", []string{"21: undefined field \"nme\" [did you mean \"name\"?]"}},
		{"has(host.nme)", []string{"9: undefined field \"nme\" [did you mean \"name\"?]"}},
		{"has(host)", []string{"4: has() takes the field of something [write has(a.b)]"}},
		{"host.?nme.orValue('a')", []string{"6: undefined field \"nme\" [did you mean \"name\"?]"}},
		{"for + 1", []string{"0: \"for\" is a reserved word"}},
		{"params.port && true", []string{"0: want bool, got int"}},
		{"true ? 1 : 'a'", []string{"5: operator \"? :\" cannot take bool, int, string [want a bool before the ? and two values of one type after it]"}},
		{"params.keys['a']", []string{"11: cannot index list(string) with string"}},
		{"'a'.matches('[')", []string{"12: bad regular expression: missing closing ]: `[`"}},
		{"duration('90')", []string{"9: bad duration \"90\" [write a number and a unit: 90s, 5m, 1h]"}},
		{"timestamp('yesterday')", []string{"10: bad timestamp \"yesterday\" [write it as 2006-01-02T15:04:05Z]"}},
		{"'%d'.format(['a'])", []string{"13: error during formatting: decimal clause can only be used on ints, uints, and doubles, was given string"}},
		{"host.?name", []string{"0: an expression cannot give a value of type optional(string) [end it with .orValue(…) or .value()]"}},
		{"type(1)", []string{"0: an expression cannot give a value of type type(int) [this is the name of a type; a text needs quotes]"}},
		{"string", []string{"0: an expression cannot give a value of type type(string) [this is the name of a type; a text needs quotes]"}},
		{"b'abc'", []string{"0: an expression cannot give a value of type bytes [use string(…)]"}},
		{"{1: 2}", []string{"0: an expression cannot give a value of type map(int, int) [the keys of a mapping are strings]"}},
		{"[host.?name]", []string{"0: an expression cannot give a value of type list(optional(string))"}},
		{"int('a')", []string{"0: type conversion error from 'string' to 'int'"}},
		{"", []string{"0: empty expression"}},
		{"  ", []string{"0: empty expression"}},
		{"\xff", []string{"0: expression is not UTF-8 text"}},
		{"secret(1)", []string{"0: cannot call secret(int) [write secret(string)]"}},
		{"secret('a') + 'b'", []string{"12: operator \"+\" cannot take secret and string"}},
		{"string(secret('a'))", []string{"0: cannot call string(secret)"}},
		{"reveal('a')", []string{"0: cannot call reveal(string) [write reveal(secret)]"}},
		{"host{name: 'a'}", []string{"4: an expression cannot make objects [write a map: {\"key\": value}]"}},
		{"host.labels.role.x", []string{"17: string has no fields"}},
		{"admin.uidd > 0", []string{"6: undefined field \"uidd\" [did you mean \"uid\"?]"}},
		{"facts.token == 'a'", []string{"12: operator \"==\" cannot take secret and string"}},
		{"facts.os.idd", []string{"9: undefined field \"idd\" [did you mean \"id\"?]"}},
		{"params.extra == null", []string{"13: operator \"==\" cannot take list(string) and null [write has(a.b) to ask whether a value is there]"}},
	} {
		p, faults := env.Compile(tt.text, nil)
		if p != nil {
			t.Errorf("Compile(%q) gave a program", tt.text)
		}
		if got := faultLines(faults); !slices.Equal(got, tt.want) {
			t.Errorf("Compile(%q):\n got %q\nwant %q", tt.text, got, tt.want)
		}
	}
}
