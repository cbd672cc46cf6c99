package expr_test

import (
	"context"
	"fmt"
	"testing"
)

func TestEval(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct{ text, typ, want string }{
		{"host.name", "string", "string web1"},
		{"host.labels.env", "string", "string prod"},
		{"host.labels['a-b']", "string", "string c"},
		{"host.labels.role == 'x'", "bool", "failure: host web1 has no label \"role\""},
		{"host.labels['x-y']", "string", "failure: host web1 has no label \"x-y\""},
		{"host.labels.?role.orValue('none')", "string", "string none"},
		{"'role' in host.labels", "bool", "bool false"},
		{"has(host.labels.role)", "bool", "bool false"},
		{"params.port", "int", "int64 222"},
		{"params.port + 1", "int", "int64 223"},
		{"params.ratio * 2.0", "double", "float64 3"},
		{"params.keys", "list(string)", "[]interface {} [k1 k2]"},
		{"params.keys.join(',')", "string", "string k1,k2"},
		{"params.wait", "duration", "string 1m30s"},
		{"params.wait < duration('2m')", "bool", "bool true"},
		{"params.note", "string", "<nil> <nil>"},
		{"params.note == null", "bool", "bool true"},
		{"params.?note.orValue('d')", "string", "string d"},
		{"has(params.note)", "bool", "bool false"},
		{"has(params.port)", "bool", "bool true"},
		{"params.limits.nofile", "int", "int64 5"},
		{"params.limits", "map(int)", "map[string]interface {} map[nofile:5]"},
		{"params.free.n", "any", "int64 3"},
		{"params.free.n + 1", "int", "int64 4"},
		{"params.free.nope", "any", "failure: params.free has no key \"nope\""},
		{"params.free", "any", "map[string]interface {} map[n:3 s:text]"},
		{"params", "params", "map[string]interface {} map[extra:<nil> free:map[n:3 s:text] keys:[k1 k2] limits:map[nofile:5] note:<nil> on:true port:222 ratio:1.5 token:(secret) user:adminclaw wait:1m30s]"},
		{"params.extra", "list(string)", "<nil> <nil>"},
		{"size(params.extra)", "int", "failure: a value has a type that this operation does not take"},
		{"params.note + 'x'", "string", "failure: a value has a type that this operation does not take"},
		{"params.note.startsWith('x')", "bool", "failure: a value has a type that this operation does not take"},
		{"admin", "user", "<nil> <nil>"},
		{"admin == null", "bool", "bool true"},
		{"admin.uid", "int", "failure: cannot read \"uid\" of admin: it is null"},
		{"admin.?uid.orValue(7)", "int", "int64 7"},
		{"admin != null && admin.uid > 0", "bool", "bool false"},
		{"has(admin.uid)", "bool", "bool false"},
		{"item", "any", "string one"},
		{"item == 'one'", "bool", "bool true"},
		{"item.x", "any", "failure: item has no key \"x\""},
		{"facts.name", "string", "string outer"},
		{"facts.shared", "string", "string yes"},
		{"facts.os.id", "string", "string "},
		{"facts.cpus", "int", "int64 4"},
		{"facts.load", "double", "float64 0.5"},
		{"facts.disks", "list(disk)", "[]interface {} [map[inner:map[inner:<nil> name:sda1 size:0] name:sda size:10] map[inner:<nil> name:sdb size:20]]"},
		{"facts.disks[0].inner.name", "string", "string sda1"},
		{"facts.disks[1].inner.name", "string", "failure: cannot read \"name\" of facts.disks[1].inner: it is null"},
		{"facts.disks[1].inner == null", "bool", "bool true"},
		{"facts.disks[?5].name.orValue('q')", "string", "string q"},
		{"facts.disks[5].name", "string", "failure: index out of bounds: 5"},
		{"facts.disks.map(d, d.size)", "list(int)", "[]interface {} [10 20]"},
		{"facts.disks.exists(d, d.name == 'sdb')", "bool", "bool true"},
		{"facts.disks.filter(d, d.size > 15)[0].name", "string", "string sdb"},
		{"facts.disks[0] == facts.disks[0]", "bool", "bool true"},
		{"facts.disks[0] == facts.disks[1]", "bool", "bool false"},
		{"facts.env.LANG", "string", "string C"},
		{"facts.uptime", "string", "string 1m30s"},
		{"facts.booted", "string", "string 1970-01-01T00:00:00Z"},
		{"timestamp(facts.booted).getFullYear()", "int", "int64 1970"},
		{"facts.raw", "string", "string raw"},
		{"facts.extra.a[0]", "any", "float64 1"},
		{"facts.home", "string", "string /root"},
		{"facts.home == '/root'", "bool", "bool true"},
		{"facts.plain", "bool", "bool false"},
		{"facts.token", "secret", "secret.Text (secret)"},
		{"dyn(facts).name", "any", "string outer"},
		{"dyn(facts.disks)[0].name", "any", "string sda"},
		{"facts.disks.sortBy(d, -int(d.size)).map(d, d.name)", "list(string)", "[]interface {} [sdb sda]"},
		{"secret('db')", "secret", "secret.Text (secret)"},
		{"reveal(secret('db'))", "string", "string hunter2hunter2"},
		{"secret('nope')", "secret", "failure: cannot read secret \"nope\": no file nope.age"},
		{"reveal(secret('nope'))", "string", "failure: cannot read secret \"nope\": no file nope.age"},
		{"reveal(params.token)", "string", "string s3cret-t0ken"},
		{"secret('later')", "secret", "expr.Unknown \"mint\""},
		{"dyn(secret('db'))", "any", "failure: a secret cannot be used here: use it alone where a secret is asked for, or reveal() it"},
		{"string(dyn(secret('db')))", "string", "failure: a value has a type that this operation does not take"},
		{"secret('db') == secret('db')", "bool", "failure: a secret cannot be compared, converted or printed; use it alone, or reveal() it"},
		{"[secret('db')]", "list(secret)", "[]interface {} [(secret)]"},
		{"{'a': secret('db')}", "map(secret)", "map[string]interface {} map[a:(secret)]"},
		{"[dyn(secret('db'))]", "list(any)", "failure: a secret cannot be used here: use it alone where a secret is asked for, or reveal() it"},
		{"dyn(secret('db')) in ['a']", "bool", "bool false"},
		{"{'x': 1}[reveal(secret('db'))]", "int", "failure: the expression failed; its values are not shown because it reveals a secret"},
		{"int(reveal(secret('db')))", "int", "failure: the expression failed; its values are not shown because it reveals a secret"},
		{"[secret('db')].map(x, reveal(x))", "list(string)", "[]interface {} [hunter2hunter2]"},
		{"[dyn(secret('db')), 'a'].join(',')", "string", "failure: a value has a type that this operation does not take"},
		{"sets.contains([dyn(secret('db'))], ['x'])", "bool", "bool false"},
		{"[secret('db'), secret('db')].distinct()", "list(secret)", "[]interface {} [(secret) (secret)]"},
		{"dyn(params.token)", "any", "failure: a secret cannot be used here: use it alone where a secret is asked for, or reveal() it"},
		{"base64.encode(b'abc')", "string", "string YWJj"},
		{"string(base64.decode('YWJj'))", "string", "string abc"},
		{"ip('10.0.0.1').family()", "int", "int64 4"},
		{"cidr('10.0.0.0/8').containsIP(host.address)", "bool", "bool true"},
		{"math.greatest(1, 2)", "int", "int64 2"},
		{"cel.bind(x, 1, x + x)", "int", "int64 2"},
		{"regex.replace('abc', 'b', 'x')", "string", "string axc"},
		{"'a'.matches('[a-z]')", "bool", "bool true"},
		{"{'a': 1, 'b': 2}.transformList(k, v, v)", "list(int)", "[]interface {} [1 2]"},
		{"optional.of(1).value()", "int", "int64 1"},
		{"1 / 0", "int", "failure: division by zero"},
		{"1u", "int", "int64 1"},
		{"1.0", "double", "float64 1"},
		{"1e30", "double", "float64 1e+30"},
		{"lists.range(3)", "list(int)", "[]interface {} [0 1 2]"},
		{"[1, 'a', null]", "list(any)", "[]interface {} [1 a <nil>]"},
		{"{'a': [1]}", "map(list(int))", "map[string]interface {} map[a:[1]]"},
		{"dyn(params.port) + 'a'", "string", "failure: a value has a type that this operation does not take"},
		{"[1][params.port]", "int", "failure: index out of bounds: 222"},
		{"lists.range(10000).map(x, lists.range(10000)).size()", "int", "failure: the expression takes too many steps"},
		{"params.keys.map(item, item)", "list(string)", "[]interface {} [k1 k2]"},
		{"params.keys.exists(k, k == item)", "bool", "bool false"},
	} {
		p, faults := env.Compile(tt.text, nil)
		if len(faults) > 0 {
			t.Errorf("Compile(%q): %q", tt.text, faultLines(faults))
			continue
		}
		v, err := p.Eval(context.Background(), vars())
		got := fmt.Sprintf("%T %v", v, v)
		if err != nil {
			got = "failure: " + err.Error()
		}
		if got != tt.want || p.Type().String() != tt.typ {
			t.Errorf("%q:\n got %s (type %s)\nwant %s (type %s)", tt.text, got, p.Type(), tt.want, tt.typ)
		}
	}
}
