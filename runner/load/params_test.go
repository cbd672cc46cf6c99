package load_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"holdfast/playbooks/source/yamlfile"
	"holdfast/runner/load"
)

const fleet = `
hosts:
  a: {vars: {port: 1}}
  b: {}
  c: {}
groups:
  g: {hosts: [a, b], vars: {port: 2, word: group}}
vars: {port: 3, word: all, keys: [x]}
`

func TestParamsHaveFourLevels(t *testing.T) {
	s := setup{fleet: fleet, params: []string{"flag=5"}, text: `
params:
  port: {type: int, default: 9}
  word: {type: string, default: playbook}
  keys: {type: list(string), default: []}
  own:  {type: bool, default: true}
  flag: {type: int, default: 1}
tasks: []
`}
	pb, faults := s.compile()
	opts, found := s.options()
	hosts, more := load.Bind(pb, s.inventory(t), opts)
	if faults = append(append(faults, found...), more...); len(faults) > 0 {
		t.Fatal(faults)
	}
	want := map[string]map[string]string{
		"a": {"port": `1 host "a" fleet.yml:3:20`, "word": `group group "g" fleet.yml:7:44`},
		"b": {"port": `2 group "g" fleet.yml:7:35`, "word": `group group "g" fleet.yml:7:44`},
		"c": {"port": `3 every host fleet.yml:8:14`, "word": `all every host fleet.yml:8:23`},
	}
	for _, h := range hosts {
		name := h.Inventory.Name
		for param, want := range want[name] {
			g := h.Given[param]
			if got := g.Node.Text + " " + g.Level + " " + g.Node.Pos.String(); got != want {
				t.Errorf("%s of %s: got %q, want %q", param, name, got, want)
			}
		}
		if g := h.Given["own"]; g.Level != "playbook" || g.Node.Pos.File != "site.yml" || h.Params["own"] != true {
			t.Errorf("own of %s: got %+v", name, g)
		}
		if g := h.Given["flag"]; g.Level != "command line" || g.Node.Pos.String() != "-p flag" || h.Params["flag"] != int64(5) {
			t.Errorf("flag of %s: got %+v", name, g)
		}
		if !reflect.DeepEqual(h.Params["keys"], []any{"x"}) {
			t.Errorf("keys of %s: got %v", name, h.Params["keys"])
		}
	}
}

func TestParamFaults(t *testing.T) {
	one := func(decl string) string { return "params:\n  p: {" + decl + "}\ntasks: []\n" }
	checkFaults(t, []faultCase{
		{"required", setup{text: one("type: int, required: true, doc: A port.")},
			"site.yml:4:3: params.p: no value was given and it is required\n\thint: give it with -p p=…, or as a var in the inventory: A port."},
		{"a default of the wrong type", setup{text: one("type: int, default: x")}, "site.yml:4:27: params.p.default: want int, got \"x\""},
		{"a default of nothing", setup{text: one("type: int, default: ")}, "site.yml:4:27: params.p.default: want int, got nothing"},
		{"a default that does not pass its check", setup{text: one("type: int, default: 0, check: value > 0")}, "site.yml:4:27: params.p: the value does not pass the check \"value > 0\""},
		{"a default that is none of the words", setup{text: one("type: string, default: x, oneof: [a, b]")}, "site.yml:4:30: params.p: \"x\" is none of the values that are allowed\n\thint: did you mean \"a\"?"},
		{"a check that is no bool", setup{text: one("type: int, default: 1, check: value + 1")}, "site.yml:4:37: params.p.check: want bool, got int\n\thint: conditions are never truthy: compare with something"},
		{"a check of the wrong type", setup{text: one("type: int, default: 1, check: value.startsWith('a')")}, "site.yml:4:43: params.p.check: cannot call int.startsWith(string)\n\thint: write string.startsWith(string)"},
		{"a check that sees more than the value", setup{text: one("type: int, default: 1, check: host.name == 'a'")},
			"site.yml:4:37: params.p.check: undeclared reference \"host\"\n\thint: a text needs quotes; known here: value"},
		{"a check that cannot be made", setup{text: one("type: list(int), default: [], check: 'value[0] > 1'")}, "site.yml:4:33: params.p: the check \"value[0] > 1\" cannot be made: index out of bounds: 0"},
		{"a value of the wrong type from the inventory", setup{text: one("type: int, default: 1"), fleet: "hosts: {a: {vars: {p: x}}, b: {}}"},
			"fleet.yml:1:23: params.p: want int, got \"x\"\n\talso: site.yml:4:3\n\ton: a"},
		{"a value from the inventory that does not pass", setup{text: one("type: int, default: 1, check: value > 0"), fleet: "hosts: {a: {}, b: {}}\nvars: {p: 0}"},
			"fleet.yml:2:11: params.p: the value does not pass the check \"value > 0\"\n\talso: site.yml:4:3"},
		{"a value from the command line", setup{text: one("type: int, default: 1"), params: []string{"p=x"}}, "-p p: params.p: want int, got \"x\"\n\talso: site.yml:4:3"},
		{"an unknown name", setup{text: one("type: int, default: 1"), params: []string{"q=1", "pp=2"}},
			"-p pp: params.pp: the playbook \"site\" has no such parameter\n\thint: did you mean \"p\"?\n-p q: params.q: the playbook \"site\" has no such parameter\n\thint: did you mean \"p\"?"},
		{"no value", setup{text: one("type: int, default: 1"), params: []string{"p"}}, "-p p: want name=value"},
		{"no name", setup{text: one("type: int, default: 1"), params: []string{"=1"}}, "-p =1: want name=value"},
		{"bad YAML", setup{text: one("type: list(int), default: []"), params: []string{"p=[1, 2"}},
			"-p p: params.p: cannot read the value: the list that opens here is not closed, or a comma is missing in it\n\thint: a value that begins with [ { \" or ' is YAML; put a text that does into quotes"},
		{"a list with a bad entry", setup{text: one("type: list(int), default: []"), params: []string{"p=[1, x]"}}, "-p p: params.p[1]: want int, got \"x\"\n\talso: site.yml:4:3"},
		{"a mapping with a null", setup{text: one("type: map(string), default: {}"), params: []string{"p={a: }"}}, "-p p: params.p.a: want string, got nothing\n\talso: site.yml:4:3"},
		{"a text for a list", setup{text: one("type: list(int), default: []"), params: []string{"p=5"}}, "-p p: params.p: want list(int), got \"5\"\n\talso: site.yml:4:3"},
		{"a duration", setup{text: one("type: duration, default: soon")}, "site.yml:4:32: params.p.default: want duration, got \"soon\""},
		{"no number", setup{text: one("type: float, default: .nan")}, "site.yml:4:29: params.p.default: want float, got \".nan\""},
		{"a bool in words", setup{text: one("type: bool, default: yes")}, "site.yml:4:28: params.p.default: want bool, got \"yes\""},
		{"a secret that is a list", setup{text: one("type: secret, default: [a]")}, "site.yml:4:30: params.p.default: want secret, got a list"},
		{"a param that is not there", setup{text: "params: {port: {type: int, default: 1}}\ntasks: [{make: {name: \"${params.prot}\"}}]\n"},
			"site.yml:4:33: tasks[0].make.name: undefined field \"prot\"\n\thint: did you mean \"port\"?"},
	})
}

func TestFlags(t *testing.T) {
	for flag, want := range map[string]any{
		"p=text": "text", "p=a # b": "a # b", "p=a: b": "a: b", "p=": "", "p=-x": "-x", "p=%x": "%x", "p=*x": "*x", "p=&x": "&x", "p=  padded ": "  padded ",
		"p=a=b": "a=b", "p='quoted # text'": "quoted # text", `p="a\tb"`: "a\tb", "p=5": int64(5), "p=1.5": 1.5, "p=true": true, "p=0644": "0644", "p=1.10": "1.10",
		"p=[1, a]": []any{int64(1), "a"}, "p={a: [b], c: 5}": map[string]any{"a": []any{"b"}, "c": int64(5)}, "p=x\ny": "x\ny", "p=!x": "!x",
	} {
		s := setup{params: []string{flag}, text: "params: {p: {type: any, default: 1}}\ntasks: []\n"}
		if got := s.bound(t).Params["p"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %#v, want %#v", flag, got, want)
		}
	}
	name, n, fault := load.ParseFlag("a_b=x", yamlfile.Parse)
	if name != "a_b" || fault != nil || n.Pos.String() != "-p a_b" {
		t.Errorf("got %q, %+v, %v", name, n, fault)
	}
}

func TestFaultsNameTheirHosts(t *testing.T) {
	s := setup{fleet: "hosts: {a: {vars: {n: 0}}, b: {vars: {n: 5}}, c: {vars: {n: 0}}, d: {vars: {n: -1}}}", text: `
params: {n: {type: int, required: true}}
tasks:
  - make: {name: x, count: "${params.n}"}
  - make: {name: "${host.name == 'b' ? 'forbidden' : 'ok'}"}
  - make: {name: forbidden}
`}
	var got []string
	for _, f := range s.faults(t) {
		got = append(got, f.Message+" "+strings.Join(f.Hosts, "+"))
	}
	want := []string{"-1 is less than 1 d", "0 is less than 1 a+c", "this one is forbidden b", "this one is forbidden "}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestSecretsOfParams(t *testing.T) {
	s := setup{secrets: map[string]string{"env:A": "alpha", "env:B": "beta", "file:/c": "gamma"}, text: `
params:
  one:  {type: secret, default: "env:A"}
  list: {type: list(secret), default: ["env:B", "env:A"]}
  map:  {type: map(secret), default: {c: "file:/c"}}
tasks:
  - make: {name: a, secret: "${params.one}", secrets: "${params.list}", keyring: "${params.map}"}
  - make: {name: b, secret: "${params.list[0]}", secrets: ["${params.one}", '${secret("env:B")}'], keyring: {x: "${params.map.c}"}}
  - make: {name: "c${reveal(params.one)}"}
`}
	h := s.bound(t)
	sc := h.NewScope(nil)
	table := &load.SecretTable{}
	var args []string
	for _, n := range h.Playbook.Tasks {
		r, unknown, err := n.Resolve(context.Background(), sc, table)
		if err != nil || unknown != nil {
			t.Fatal(unknown, err)
		}
		args = append(args, string(r.Args))
		if r.Hidden != (len(args) == 3) {
			t.Errorf("task %d: hidden %v", len(args), r.Hidden)
		}
	}
	want := []string{
		`{"name":"a","secret":{"$secret":"1"},"secrets":[{"$secret":"2"},{"$secret":"1"}],"keyring":{"c":{"$secret":"3"}}}`,
		`{"name":"b","secret":{"$secret":"2"},"secrets":[{"$secret":"1"},{"$secret":"2"}],"keyring":{"x":{"$secret":"3"}}}`,
		`{"name":"calpha"}`,
	}
	if !reflect.DeepEqual(args, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(args, "\n"), strings.Join(want, "\n"))
	}
	for id, text := range map[int]string{1: "alpha", 2: "beta", 3: "gamma"} {
		if got := table.All()[id]; got.Reveal() != text {
			t.Errorf("secret %d is the wrong one", id)
		}
	}
	checkFaults(t, []faultCase{
		{"one that is not there", setup{secrets: map[string]string{}, text: "params: {pw: {type: secret, default: 'env:A'}}\ntasks: [{make: {name: a, secret: \"${params.pw}\"}}]\n"},
			"site.yml:4:35: tasks[0].make.secret: there is no such secret"},
		{"one that is not there and not read", setup{secrets: map[string]string{}, text: "params: {pw: {type: secret, default: 'env:A'}}\ntasks: [{make: {name: a, secret: \"${params.pw}\"}, when: 'false'}]\n"}, ""},
		{"one that is named in place", setup{secrets: map[string]string{}, text: "tasks: [{make: {name: a, secret: '${secret(\"env:A\")}'}}]\n"}, "site.yml:3:37: tasks[0].make.secret: cannot read secret \"env:A\": there is no such secret"},
		{"secrets are not read for a check", setup{text: "params: {pw: {type: secret, default: 'env:A'}}\ntasks: [{make: {name: a, secret: \"${params.pw}\"}}]\n"}, ""},
		{"a revealed value is not shown", setup{secrets: map[string]string{"env:A": "c4n4ry"}, text: "tasks: [{make: {name: a, mode: '${reveal(secret(\"env:A\"))}'}}]\n"}, ""},
	})
}
