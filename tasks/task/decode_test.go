package task_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"holdfast/playbooks/source"
	"holdfast/tasks/task"
)

func TestCheckFaults(t *testing.T) {
	tests := []struct {
		name, args, want string
	}{
		{"nothing given", "", "f.yml:99:5: tasks[0].toy.name: missing, it is required\n\thint: the name of it"},
		{"not a mapping", "[a]", "f.yml:1:1: tasks[0].toy: want a mapping, got a list"},
		{"a scalar", "a", "f.yml:1:1: tasks[0].toy: want a mapping, got a value"},
		{"an alias to no mapping", "{name: a, words: &w [x], boss: *w}", "f.yml:1:32: tasks[0].toy.boss: want a mapping, got a list\n\talso: f.yml:1:18"},
		{"unknown field with a near name", "{name: a, modee: 1}", "f.yml:1:11: tasks[0].toy.modee: unknown field\n\thint: did you mean \"mode\"?"},
		{"unknown field without a near name", "{name: a, people: [{name: b, zzzzzz: 1}]}",
			"f.yml:1:30: tasks[0].toy.people[0].zzzzzz: unknown field\n\thint: the fields are name, age, role, password"},
		{"required and null", "{name: ~}", "f.yml:1:8: tasks[0].toy.name: want string, got nothing"},
		{"default and null", "{name: a, count: }", "f.yml:1:18: tasks[0].toy.count: want int, got nothing"},
		{"null by alias", "{name: a, boss: &n , count: *n}", "f.yml:1:29: tasks[0].toy.count: want int, got nothing\n\talso: f.yml:1:17"},
		{"string", "{name: [a]}", "f.yml:1:8: tasks[0].toy.name: want string, got a list"},
		{"bool", "{name: a, on: yes}", "f.yml:1:15: tasks[0].toy.on: want true or false, got \"yes\""},
		{"int", "{name: a, count: 1.5}", "f.yml:1:18: tasks[0].toy.count: want a whole number, got \"1.5\""},
		{"int out of range of the type", "{name: a, count: 99999999999999999999}", "f.yml:1:18: tasks[0].toy.count: want a whole number, got \"99999999999999999999\""},
		{"less than min", "{name: a, count: 0}", "f.yml:1:18: tasks[0].toy.count: 0 is less than 1"},
		{"more than max", "{name: a, count: 10}", "f.yml:1:18: tasks[0].toy.count: 10 is more than 9"},
		{"bound by alias", "{name: a, numbers: [&n 10], count: *n}", "f.yml:1:36: tasks[0].toy.count: 10 is more than 9\n\talso: f.yml:1:21"},
		{"path", "{name: a, path: b}", "f.yml:1:17: tasks[0].toy.path: invalid path \"b\": want an absolute path"},
		{"mode", "{name: a, mode: 0999}", "f.yml:1:17: tasks[0].toy.mode: invalid mode \"0999\": want octal digits such as 0644"},
		{"mode in a mapping", "{name: a, mode: {}}", "f.yml:1:17: tasks[0].toy.mode: want mode, got a mapping"},
		{"duration", "{name: a, wait: 5}", "f.yml:1:17: tasks[0].toy.wait: invalid duration \"5\": want a number with a unit, such as 90s, 5m or 30d"},
		{"none of the words", "{name: a, state: presnt}", "f.yml:1:18: tasks[0].toy.state: \"presnt\" is none of present, absent\n\thint: did you mean \"present\"?"},
		{"list", "{name: a, words: b}", "f.yml:1:18: tasks[0].toy.words: want list(string), got a value\n\thint: write it as a list: [b]"},
		{"list of several lines", "{name: a, words: \"b\\nc\"}", "f.yml:1:18: tasks[0].toy.words: want list(string), got a value"},
		{"list from a mapping", "{name: a, words: {b: c}}", "f.yml:1:18: tasks[0].toy.words: want list(string), got a mapping"},
		{"too few entries", "{name: a, words: []}", "f.yml:1:18: tasks[0].toy.words: 0 entries is less than 1"},
		{"too many entries", "{name: a, words: [a, b, c]}", "f.yml:1:18: tasks[0].toy.words: 3 entries is more than 2"},
		{"bounds count the entries of a list of ints", "{name: a, numbers: [1, 2, 3, 4]}", "f.yml:1:20: tasks[0].toy.numbers: 4 entries is more than 3"},
		{"bounds count the rows of a grid", "{name: a, grid: [[1], [2], [3]]}", "f.yml:1:17: tasks[0].toy.grid: 3 entries is more than 2"},
		{"bounds count the entries of a map", "{name: a, env: {A: a, B: b, C: c}}", "f.yml:1:16: tasks[0].toy.env: 3 entries is more than 2"},
		{"entry of a list", "{name: a, numbers: [1, x]}", "f.yml:1:24: tasks[0].toy.numbers[1]: want a whole number, got \"x\""},
		{"null in a list", "{name: a, words: [a, ~]}", "f.yml:1:22: tasks[0].toy.words[1]: want string, got nothing"},
		{"null in a list of structs", "{name: a, people: [~]}", "f.yml:1:20: tasks[0].toy.people[0]: want mapping, got nothing"},
		{"null in a map", "{name: a, env: {A: }}", "f.yml:1:20: tasks[0].toy.env.A: want string, got nothing"},
		{"map", "{name: a, env: [A]}", "f.yml:1:16: tasks[0].toy.env: want map(string), got a list"},
		{"entry of a map", "{name: a, env: {A: [b]}}", "f.yml:1:20: tasks[0].toy.env.A: want string, got a list"},
		{"oneof in a list", "{name: a, kinds: [red, gren]}", "f.yml:1:24: tasks[0].toy.kinds[1]: \"gren\" is none of red, green\n\thint: did you mean \"green\"?"},
		{"missing in a nested struct", "name: a\npeople:\n  - role: owner", "f.yml:3:5: tasks[0].toy.people[0].name: missing, it is required\n\thint: name of the person"},
		{"bounds in a nested struct", "{name: a, boss: {name: b, age: 200}}", "f.yml:1:32: tasks[0].toy.boss.age: 200 is more than 150"},
		{"secret in clear", "{name: a, secret: hunter2}", "f.yml:1:19: tasks[0].toy.secret: want a secret, got a value\n\thint: name it: ${secret(\"name\")}"},
		{"secret by a number of one's own", "{name: a, secret: {$secret: 1}}", "f.yml:1:19: tasks[0].toy.secret: want a secret, got a mapping\n\thint: name it: ${secret(\"name\")}"},
		{"content by a reference of one's own", "{name: a, text: {$text: b}}", "f.yml:1:17: tasks[0].toy.text: want content, got a mapping"},
		{"excludes", "{name: a, text: {$text: b}, file: {}}", "f.yml:1:11: tasks[0].toy.text: cannot be combined with \"file\"\n\talso: f.yml:1:29\n" +
			"f.yml:1:17: tasks[0].toy.text: want content, got a mapping\nf.yml:1:35: tasks[0].toy.file: want content, got a mapping"},
		{"requires", "{name: a, owner: root}", "f.yml:1:11: tasks[0].toy.owner: needs \"path\" too"},
		{"requires what is null", "{name: a, owner: root, path: ~}", "f.yml:1:11: tasks[0].toy.owner: needs \"path\" too"},
		{"a null excludes nothing", "{name: a, text: ~, file: ~}", ""},
		{"all at once, in the order of the file", "{mode: 9, count: x, bad: 1}", "f.yml:1:8: tasks[0].toy.mode: invalid mode \"9\": want octal digits such as 0644\n" +
			"f.yml:1:18: tasks[0].toy.count: want a whole number, got \"x\"\n" +
			"f.yml:1:21: tasks[0].toy.bad: unknown field\n\thint: the fields are name, on, count, path, mode, wait, state, words, numbers, grid, env, kinds, people, boss, text, file, secret, secrets, keyring, owner\n" +
			"f.yml:99:5: tasks[0].toy.name: missing, it is required\n\thint: the name of it"},
	}
	m := (&seen{}).module()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, faults := m.Check(parse(t, tt.args), at, "tasks[0]", nil)
			if got := lines(faults); got != tt.want {
				t.Errorf("Check(%s)\n got %s\nwant %s", tt.args, got, tt.want)
			}
			if (b != nil) != (tt.want == "") {
				t.Errorf("Check(%s) bound %v beside the faults %q", tt.args, b, tt.want)
			}
		})
	}
}

func TestDefaultsAndNulls(t *testing.T) {
	s := &seen{}
	m := s.module()
	bind := func(text string) toy {
		t.Helper()
		if _, err := m.Bind(parse(t, text), nil); err != nil {
			t.Fatalf("Bind(%s): %v", text, err)
		}
		return s.params
	}
	p := bind("{name: a}")
	if !p.On || p.Count != 3 || p.Wait.Std().Seconds() != 5 || p.Mode == nil || *p.Mode != 0o644 {
		t.Errorf("defaults: got %+v", p)
	}
	if p.Path != nil || p.State != nil || p.Words != nil || p.Boss != nil || !p.Secret.IsZero() {
		t.Errorf("what is absent was set: %+v", p)
	}
	p = bind("{name: a, mode: ~, words: ~, boss: {name: b}, people: [{name: c, role: owner}]}")
	if p.Mode != nil {
		t.Errorf("a null mode: got %v, want it left alone in spite of the default", *p.Mode)
	}
	if p.Boss.Role != "guest" || p.People[0].Role != "owner" || p.Boss.Age != nil {
		t.Errorf("nested defaults: got %+v and %+v", p.Boss, p.People)
	}
	p = bind("{name: '0644', mode: '0755', numbers: [300, -5], grid: [[1, 2, 3, 4], []], env: {A: '1', b-c: x}}")
	want := [][]int64{{1, 2, 3, 4}, {}}
	if p.Name != "0644" || *p.Mode != 0o755 || !reflect.DeepEqual(p.Numbers, []int64{300, -5}) || !reflect.DeepEqual(p.Grid, want) || p.Env["b-c"] != "x" {
		t.Errorf("values: got %+v", p)
	}
}

// Both ends of the wire read the same tree, so a mode is the same in YAML, in
// quotes, and as the JSON that crosses.
func TestYAMLAndJSONAgree(t *testing.T) {
	s := &seen{}
	m := s.module()
	n := parse(t, "{name: 1.10, mode: 0644, on: false, count: 7, words: [yes, ~x], env: {K: 0x1f}}")
	if _, err := m.Bind(n, nil); err != nil {
		t.Fatal(err)
	}
	first := s.params
	b, err := n.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	wire, err := source.FromJSON(source.Pos{}, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Bind(wire, nil); err != nil {
		t.Fatalf("Bind(%s): %v", b, err)
	}
	if !reflect.DeepEqual(first, s.params) {
		t.Errorf("over JSON %s: got %+v, want %+v", b, s.params, first)
	}
}

func TestBindSecretsAndContent(t *testing.T) {
	s := &seen{}
	m := s.module()
	digest := task.DigestOf([]byte("x"))
	args := "{name: a, secret: {$secret: 1}, secrets: [{$secret: '2'}], keyring: {k: {$secret: 1}}, boss: {name: b, password: {$secret: 2}}," +
		" text: {$text: abc, secret: true}}"
	if _, err := m.Bind(parse(t, args), twoSecrets); err != nil {
		t.Fatal(err)
	}
	p := s.params
	for name, got := range map[string]task.SecretText{"secret": p.Secret, "keyring": p.Keyring["k"]} {
		if got.Reveal() != "canary" {
			t.Errorf("%s: got the wrong secret", name)
		}
	}
	if p.Secrets[0].Reveal() != "canarycanary" || p.Boss.Password.Reveal() != "canarycanary" {
		t.Error("secrets in a list or a nested struct: got the wrong ones")
	}
	data, ok := p.Text.Inline()
	if !ok || string(data) != "abc" || !p.Text.Secret || p.Text.Size != 3 {
		t.Errorf("inline content: got %q, %v, secret %v", data, ok, p.Text.Secret)
	}
	if _, err := m.Bind(parse(t, "{name: a, file: {$blob: "+digest+", size: 1, secret: false}}"), nil); err != nil {
		t.Fatal(err)
	}
	if f := s.params.File; f.Digest != digest || f.Size != 1 || f.Secret {
		t.Errorf("content by digest: got %+v", f)
	}
	if _, ok := s.params.File.Inline(); ok {
		t.Error("content by digest claims to be here")
	}
	if _, err := m.Bind(parse(t, "{name: a, text: {$text: ''}}"), nil); err != nil {
		t.Fatal(err)
	}
	if data, ok := s.params.Text.Inline(); !ok || len(data) != 0 {
		t.Errorf("empty content: got %q, %v", data, ok)
	}
}

func TestBindRefuses(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	tests := []struct {
		name, args, want string
	}{
		{"a secret that did not come", "{name: a, secret: {$secret: 9}}", "f.yml:1:19: toy.secret: secret 9 did not come along"},
		{"a reference that is no number", "{name: a, secret: {$secret: x}}", "f.yml:1:19: toy.secret: bad reference to a secret"},
		{"the text of a secret", "{name: a, secret: hunter2}", "f.yml:1:19: toy.secret: want a secret, got a value\n\thint: name it: ${secret(\"name\")}"},
		{"content without a size", "{name: a, text: {$blob: " + digest + "}}", "f.yml:1:17: toy.text: want content, got a mapping"},
		{"content with a negative size", "{name: a, text: {$blob: " + digest + ", size: -1}}", "f.yml:1:17: toy.text: bad reference to content"},
		{"a digest that is too short", "{name: a, text: {$blob: abcd, size: 1}}", "f.yml:1:17: toy.text: bad reference to content"},
		{"a digest that is not hexadecimal", "{name: a, text: {$blob: '" + strings.Repeat("zz", 32) + "', size: 1}}", "f.yml:1:17: toy.text: bad reference to content"},
		{"text where content belongs", "{name: a, text: abc}", "f.yml:1:17: toy.text: want content, got a value"},
	}
	m := (&seen{}).module()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := m.Bind(parse(t, tt.args), twoSecrets)
			if err == nil || err.Error() != tt.want || b != nil {
				t.Errorf("Bind(%s) = %v\n got %v\nwant %s", tt.args, b, err, tt.want)
			}
			var faults source.Faults
			if !errors.As(err, &faults) {
				t.Errorf("Bind(%s) gave a %T, want faults", tt.args, err)
			}
		})
	}
}

func TestHoles(t *testing.T) {
	type asked struct {
		path string
		want string
	}
	var got []asked
	hole := func(n *source.Node, path string, want reflect.Type, f *task.Field) (bool, source.Faults) {
		if n.Kind != source.Scalar || !strings.HasPrefix(n.Text, "${") {
			return false, nil
		}
		got = append(got, asked{path, want.String()})
		if n.Text == "${bad}" {
			return true, source.Faults{{Pos: n.Pos, Path: path, Message: "no " + f.Name}}
		}
		return true, nil
	}
	s := &seen{valid: func(toy) error { return errors.New("must not be asked") }}
	b, faults := s.module().Check(parse(t, "{name: '${n}', people: [{name: '${p}', age: '${bad}'}], env: {A: '${e}'}, secret: '${s}'}"), at, "tasks[1]", hole)
	if b != nil {
		t.Error("Check bound arguments that are not known")
	}
	if want := "f.yml:1:45: tasks[1].toy.people[0].age: no age"; lines(faults) != want {
		t.Errorf("faults\n got %s\nwant %s", lines(faults), want)
	}
	want := []asked{{"toy.name", "string"}, {"toy.people[0].name", "string"}, {"toy.people[0].age", "int64"}, {"toy.env.A", "string"}, {"toy.secret", "secret.Text"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("asked about\n got %v\nwant %v", got, want)
	}
}

func TestValidateFindsPlaces(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"a field that is there", task.FieldErrorf("path", "no %s", "good"), "f.yml:2:7: tasks[0].toy.path: no good"},
		{"a field that is not", task.FieldErrorf("owner", "missing"), "f.yml:99:5: tasks[0].toy.owner: missing"},
		{"a field of a struct in a list", task.FieldErrorf("people[1].name", "taken"), "f.yml:5:13: tasks[0].toy.people[1].name: taken"},
		{"a missing field of a struct in a list", task.FieldErrorf("people[0].age", "missing"), "f.yml:4:5: tasks[0].toy.people[0].age: missing"},
		{"an alias", task.FieldErrorf("boss.name", "alias"), "f.yml:6:7: tasks[0].toy.boss.name: alias\n\talso: f.yml:4:15"},
		{"no field", errors.New("all wrong"), "f.yml:99:5: tasks[0].toy: all wrong"},
		{"a wrapped one", errors.Join(task.FieldErrorf("path", "x")), "f.yml:2:7: tasks[0].toy.path: x"},
		{"nothing", nil, ""},
	}
	args := "name: a\npath: /x\npeople:\n  - &p {name: b}\n  - {name:  c}\nboss: *p\n"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &seen{valid: func(toy) error { return tt.err }}
			_, faults := s.module().Check(parse(t, args), at, "tasks[0]", nil)
			if got := lines(faults); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
	if got := task.FieldErrorf("a", "b %d", 1).Error(); got != "a: b 1" {
		t.Errorf("FieldErrorf: got %q", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a"}`, `{"name":"a","people":[{"name":"b","age":"1"}],"env":{"A":"b"}}`, `null`, `[]`, `{"name":["a"],"grid":[["1"],["x"]]}`,
		`{"name":"a","secret":{"$secret":"1"},"secrets":[{"$secret":1}],"text":{"$text":"x","secret":"true"},"file":{"$blob":"","size":""}}`,
	} {
		f.Add(seed)
	}
	s := &seen{}
	m := s.module()
	f.Fuzz(func(t *testing.T, text string) {
		n, err := source.FromJSON(source.Pos{File: "f", Line: 1, Col: 1}, []byte(text))
		if err != nil {
			return // what is no tree never gets to the decoder
		}
		s.params = toy{}
		if b, err := m.Bind(n, twoSecrets); err == nil {
			p := s.params
			if b.Resource != p.Name || p.Count < 1 || p.Count > 9 || len(p.Words) > 2 || p.Text != nil && p.File != nil || p.Owner != nil && p.Path == nil {
				t.Errorf("Bind(%s) took what its rules forbid: %+v", text, p)
			}
		}
		_, faults := m.Check(n, source.Pos{File: "f", Line: 1, Col: 1}, "x", nil)
		for _, fault := range faults {
			if fault.Pos.Line != 1 || fault.Message == "" || !strings.HasPrefix(fault.Path, "x.toy") {
				t.Errorf("Check(%s) gave a fault without place or text: %+v", text, fault)
			}
		}
	})
}
