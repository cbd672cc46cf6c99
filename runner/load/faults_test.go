package load_test

import (
	"strings"
	"testing"
)

func TestExpressionFaults(t *testing.T) {
	checkFaults(t, []faultCase{
		{"plain", setup{text: "tasks:\n  - make: {name: ok}\n    when: host.nme == \"a\"\n"},
			"site.yml:5:16: tasks[0].when: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"in single quotes", setup{text: "tasks:\n  - make: {name: ok}\n    when: 'host.nme == \"a\"'\n"},
			"site.yml:5:17: tasks[0].when: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"in double quotes", setup{text: "tasks:\n  - make: {name: \"a-${host.nme}\"}\n"},
			"site.yml:4:28: tasks[0].make.name: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"in double quotes with escapes", setup{text: "tasks:\n  - make: {name: \"a\\t${host.nme}\"}\n"},
			"site.yml:4:18: tasks[0].make.name: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"behind umlauts", setup{text: "tasks:\n  - make: {name: \"äöü ${host.nme}\"}\n"},
			"site.yml:4:30: tasks[0].make.name: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"in a literal block", setup{text: "tasks:\n  - make:\n      name: ok\n      content: |\n        first\n        second ${host.nme} end\n"},
			"site.yml:8:23: tasks[0].make.content: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"in a folded block", setup{text: "tasks:\n  - make:\n      name: ok\n      content: >\n        first\n        second ${host.nme} end\n"},
			"site.yml:6:16: tasks[0].make.content: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"in a list in a mapping", setup{text: "tasks:\n  - make: {name: ok, accounts: [{name: a}, {name: \"${facts.oss}\"}]}\n"},
			"site.yml:4:60: tasks[0].make.accounts[1].name: undefined field \"oss\"\n\thint: did you mean \"os\"?"},
		{"several in one text", setup{text: "tasks:\n  - make: {name: \"${host.a} ${host.b}\"}\n"},
			"site.yml:4:26: tasks[0].make.name: undefined field \"a\"\n\thint: the fields are: address, groups, labels, name\n" +
				"site.yml:4:36: tasks[0].make.name: undefined field \"b\"\n\thint: the fields are: address, groups, labels, name"},
		{"a bool for a number", setup{text: "tasks:\n  - make: {name: ok, count: \"${host.name == 'a'}\"}\n"},
			"site.yml:4:32: tasks[0].make.count: want int, got bool"},
		{"a text for a bool", setup{text: "tasks:\n  - make: {name: ok, on: \"${host.name}\"}\n"},
			"site.yml:4:29: tasks[0].make.on: want bool, got string\n\thint: conditions are never truthy: compare with something"},
		{"pieces for a number", setup{text: "tasks:\n  - make: {name: ok, count: \"1${facts.cpus}\"}\n"},
			"site.yml:4:30: tasks[0].make.count: want int, got a text joined from pieces\n\thint: write the whole value as one ${ } with nothing beside it"},
		{"a list for a text", setup{text: "tasks:\n  - make: {name: \"${host.groups}\"}\n"},
			"site.yml:4:21: tasks[0].make.name: want string, got list(string)"},
		{"a list of numbers for a list of texts fits", setup{text: "tasks:\n  - make: {name: ok, words: \"${[1, 2]}\"}\n"}, ""},
		{"a text for a list", setup{text: "tasks:\n  - make: {name: ok, words: \"${host.name}\"}\n"},
			"site.yml:4:32: tasks[0].make.words: want list(string), got string"},
		{"a text where a secret belongs", setup{text: "tasks:\n  - make: {name: ok, secret: \"${host.name}\"}\n"},
			"site.yml:4:33: tasks[0].make.secret: want secret, got string\n\thint: name the secret: secret(\"name\")"},
		{"a secret where a text belongs", setup{text: "tasks:\n  - make: {name: '${secret(\"env:A\")}'}\n"},
			"site.yml:4:21: tasks[0].make.name: want string, got secret\n\thint: a secret fits only where a secret is asked for; reveal() makes it a text that everybody can see"},
		{"a condition in braces", setup{text: "tasks:\n  - make: {name: ok}\n    when: ${host.name == \"a\"}\n"},
			"site.yml:5:11: tasks[0].when: this is an expression already\n\thint: write it without ${ and }"},
		{"a condition that is a list", setup{text: "tasks:\n  - make: {name: ok}\n    when: [a]\n"},
			"site.yml:5:11: tasks[0].when: want an expression, got a list"},
		{"a condition that is a text", setup{text: "tasks:\n  - make: {name: ok}\n    when: host.name\n"},
			"site.yml:5:11: tasks[0].when: want bool, got string\n\thint: conditions are never truthy: compare with something"},
		{"an open brace", setup{text: "tasks:\n  - make: {name: 'a ${host.name'}\n"}, "site.yml:4:21: tasks[0].make.name: unterminated ${\n\thint: write $${ for a literal ${"},
		{"an account to run as", setup{text: "tasks:\n  - make: {name: ok}\n    run_as: [a]\n"}, "site.yml:5:13: tasks[0].run_as: want a text, got a list"},
		{"nobody to run as", setup{text: "tasks:\n  - make: {name: ok}\n    run_as:\n"}, "site.yml:5:12: tasks[0].run_as: want a text, got nothing"},
		{"an account that reveals a secret", setup{text: "tasks:\n  - make: {name: ok}\n    run_as: ${reveal(secret(\"env:A\"))}\n"},
			"site.yml:5:13: tasks[0].run_as: this cannot reveal a secret, because everybody sees it"},
		{"an unknown label with a guard", setup{text: "tasks:\n  - make: {name: ok, count: \"${host.labels.?n.orValue('') == '' ? 1 : 0}\"}\n"}, ""},
		{"a value that is known to be wrong", setup{text: "params: {n: {type: int, default: 0}}\ntasks:\n  - make: {name: ok, count: \"${params.n}\"}\n"},
			"site.yml:5:29: tasks[0].make.count: 0 is less than 1"},
		{"a rule across fields with a value from a parameter", setup{text: "params: {n: {type: string, default: forbidden}}\ntasks:\n  - make: {name: \"${params.n}\"}\n"},
			"site.yml:5:18: tasks[0].make.name: this one is forbidden"},
		{"null leaves an optional field alone", setup{text: "tasks:\n  - make: {name: ok, count: \"${null}\"}\n"}, ""},
		{"a task that does not run is not looked at", setup{text: "params: {n: {type: int, default: 0}}\ntasks:\n  - make: {name: ok, count: \"${params.n}\"}\n    when: params.n > 0\n"}, ""},
		{"a literal brace", setup{text: "tasks:\n  - make: {name: \"$${host.nme}\"}\n"}, ""},
	})
}

func TestRegister(t *testing.T) {
	checkFaults(t, []faultCase{
		{"a field that is not there", setup{text: "tasks:\n  - make: {name: a}\n    register: admin\n  - make: {name: \"${admin.uidd}\"}\n"},
			"site.yml:6:27: tasks[1].make.name: undefined field \"uidd\"\n\thint: did you mean \"uid\"?"},
		{"before it is there", setup{text: "tasks:\n  - make: {name: \"${admin.home}\"}\n  - make: {name: a}\n    register: admin\n"},
			"site.yml:4:21: tasks[0].make.name: undeclared reference \"admin\"\n\thint: a text needs quotes; known here: facts, fleet, host, params"},
		{"in its own task", setup{text: "tasks:\n  - make: {name: \"${admin.home}\"}\n    register: admin\n"},
			"site.yml:4:21: tasks[0].make.name: undeclared reference \"admin\"\n\thint: a text needs quotes; known here: facts, fleet, host, params"},
		{"twice", setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - make: {name: b}\n    register: r\n"},
			"site.yml:7:15: tasks[1].register: \"r\" is registered already\n\talso: site.yml:5:15"},
		{"a function's name", setup{text: "tasks:\n  - make: {name: a}\n    register: size\n"},
			"site.yml:5:15: tasks[0].register: cannot use the name \"size\" in expressions: the language has it already"},
		{"a reserved word", setup{text: "tasks:\n  - make: {name: a}\n    register: package\n"},
			"site.yml:5:15: tasks[0].register: cannot use the name \"package\" in expressions: want letters, digits and _, and no reserved word"},
		{"a loop variable with a type's name", setup{text: "tasks:\n  - make: {name: a}\n    each: [a]\n    as: string\n"},
			"site.yml:6:9: tasks[0].as: cannot use the name \"string\" in expressions: the language has it already"},
		{"a loop variable with a result's name", setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - make: {name: \"${r}\"}\n    each: [a]\n    as: r\n"},
			"site.yml:8:9: tasks[1].as: the name \"r\" is that of a registered result\n\talso: site.yml:5:15"},
		{"a loop gives a list", setup{text: "tasks:\n  - make: {name: a}\n    each: [a]\n    register: r\n  - make: {name: \"${r.home}\"}\n"},
			"site.yml:7:23: tasks[1].make.name: list(made) has no fields"},
		{"types of results are used", setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - make: {name: b, count: \"${r.uid}\", words: \"${r.lines}\"}\n    when: r.uid > 0 && size(r.lines) > 1\n"}, ""},
		{"own result in fail_if", setup{text: "tasks:\n  - make: {name: a}\n    fail_if: result.uidd > 5\n    changed_if: result.uid\n    retry: {until: results.uid > 1}\n"},
			"site.yml:5:21: tasks[0].fail_if: undefined field \"uidd\"\n\thint: did you mean \"uid\"?\n" +
				"site.yml:6:17: tasks[0].changed_if: want bool, got int\n\thint: conditions are never truthy: compare with something\n" +
				"site.yml:7:20: tasks[0].retry.until: undeclared reference \"results\"\n\thint: did you mean \"result\"?"},
		{"own result where it is not", setup{text: "tasks:\n  - make: {name: \"${result.home}\"}\n"},
			"site.yml:4:21: tasks[0].make.name: undeclared reference \"result\"\n\thint: a text needs quotes; known here: facts, fleet, host, params"},
		{"of a task in a block", setup{text: "tasks:\n  - tasks:\n      - make: {name: a}\n        register: r\n    rescue:\n      - make: {name: \"${r.home}\"}\n  - make: {name: \"${r.home}\"}\n"}, ""},
		{"in a handler", setup{text: "tasks:\n  - make: {name: a}\n    register: admin\n    notify: h\nhandlers:\n  h: {do: {what: \"${admin.home}\"}}\n"},
			"site.yml:8:21: handlers[\"h\"].do.what: undeclared reference \"admin\"\n\talso: site.yml:5:15\n" +
				"\thint: handlers are stored on the host, so that the next run can finish them, and read no results: put the condition on the task that notifies"},
		{"in the condition of a handler", setup{text: "tasks:\n  - tasks:\n      - make: {name: a}\n        register: admin\nhandlers:\n  h: {do: {what: x}, when: admin.uid > 1}\n"},
			"site.yml:8:28: handlers[\"h\"].when: undeclared reference \"admin\"\n\talso: site.yml:6:19\n" +
				"\thint: handlers are stored on the host, so that the next run can finish them, and read no results: put the condition on the task that notifies"},
		{"in verify", setup{text: "tasks:\n  - make: {name: a}\n    register: admin\nverify:\n  - make: {name: \"${admin.home}\"}\n"},
			"site.yml:7:21: verify[0].make.name: undeclared reference \"admin\"\n\talso: site.yml:5:15\n\thint: verify also runs by itself and sees no results of the tasks: register one in verify"},
		{"within verify", setup{text: "tasks: []\nverify:\n  - look: {what: a}\n    register: r\n  - make: {name: \"${r.home}\"}\n"}, ""},
	})
}

func TestEach(t *testing.T) {
	checkFaults(t, []faultCase{
		{"no list", setup{text: "tasks:\n  - make: {name: a}\n    each: 5\n"}, "site.yml:5:11: tasks[0].each: want a list, got \"5\"\n\thint: write a list, or ${an expression that is one}"},
		{"a mapping", setup{text: "tasks:\n  - make: {name: a}\n    each: {a: b}\n"}, "site.yml:5:11: tasks[0].each: want a list, got a mapping"},
		{"an expression that is none", setup{text: "tasks:\n  - make: {name: a}\n    each: ${host.name}\n"}, "site.yml:5:11: tasks[0].each: want a list, got string"},
		{"a field that items lack", setup{text: "tasks:\n  - make: {name: \"${item.nme}\"}\n    each: [{name: a}, {name: b}]\n"},
			"site.yml:4:26: tasks[0].make.name: undefined field \"nme\"\n\thint: did you mean \"name\"?"},
		{"texts have no fields", setup{text: "tasks:\n  - make: {name: \"${item.name}\"}\n    each: [a, b]\n"}, "site.yml:4:26: tasks[0].make.name: string has no fields"},
		{"types of items", setup{text: "tasks:\n  - make: {name: \"${item.name}\", count: \"${item.name}\", on: \"${item.on}\", mode: \"${item.mode}\"}\n    each: [{name: a, on: true, mode: 0644}, {name: b, on: false, mode: 0600}]\n"},
			"site.yml:4:44: tasks[0].make.count: want int, got string\n\thint: use int(…)"},
		{"a field that only some have is null elsewhere", setup{text: "tasks:\n  - make: {name: \"${item.name}\", count: \"${item.count}\"}\n    each: [{name: a, count: 3}, {name: b}]\n"}, ""},
		{"items of a parameter", setup{text: "params: {list: {type: list(map(int)), default: [{a: 1}]}}\ntasks:\n  - make: {name: x, count: \"${item.a}\", on: \"${item.a}\"}\n    each: ${params.list}\n"},
			"site.yml:5:48: tasks[0].make.on: want bool, got int\n\thint: conditions are never truthy: compare with something"},
		{"a condition reads the item", setup{text: "tasks:\n  - make: {name: \"${word}\"}\n    each: [a, b]\n    as: word\n    when: word != 5\n"},
			"site.yml:7:16: tasks[0].when: operator \"!=\" cannot take string and int"},
		{"a condition on the item that holds", setup{text: "tasks:\n  - make: {name: \"${item}\"}\n    each: [a, b]\n    when: item != \"a\"\n"}, ""},
		{"the item outside", setup{text: "tasks:\n  - make: {name: \"${item}\"}\n"},
			"site.yml:4:21: tasks[0].make.name: undeclared reference \"item\"\n\thint: a text needs quotes; known here: facts, fleet, host, params"},
		{"one bad item", setup{text: "tasks:\n  - make: {name: \"${item.name}\", path: \"${item.path}\"}\n    each: [{name: a, path: /a}, {name: b, path: b}]\n"},
			"site.yml:4:40: tasks[0].make.path: invalid path \"b\": want an absolute path"},
		{"a list that reveals", setup{text: "tasks:\n  - make: {name: \"${item}\"}\n    each: ['${reveal(secret(\"env:A\"))}']\n"},
			"site.yml:5:11: tasks[0].each: a list to loop over cannot reveal a secret\n\thint: put the secret itself into the list, and reveal it where it is used"},
		{"secrets in items", setup{text: "tasks:\n  - make: {name: \"${item.name}\", secret: \"${item.pw}\"}\n    each: [{name: a, pw: '${secret(\"env:A\")}'}]\n"}, ""},
		{"a secret of an item as a text", setup{text: "tasks:\n  - make: {name: \"${item.pw}\"}\n    each: [{name: a, pw: '${secret(\"env:A\")}'}]\n"},
			"site.yml:4:21: tasks[0].make.name: want string, got secret\n\thint: a secret fits only where a secret is asked for; reveal() makes it a text that everybody can see"},
	})
}

func TestUse(t *testing.T) {
	const other = "params:\n  port: {type: int, required: true, doc: The port.}\n  log: {type: string, default: info, oneof: [info, debug], doc: The level.}\n" +
		"  pw: {type: secret, default: 'env:A'}\ntasks:\n  - make: {name: \"p${params.port}\", secret: \"${params.pw}\"}\n"
	uses := map[string]string{"other": other}
	checkFaults(t, []faultCase{
		{"nothing of that name", setup{text: "tasks:\n  - use: othr\n"}, "site.yml:4:10: tasks[0].use: no playbook is called \"othr\""},
		{"missing", setup{text: "tasks:\n  - use: other\n", uses: uses}, "site.yml:4:10: tasks[0].with.port: missing, the playbook \"other\" requires it\n\thint: The port."},
		{"unknown", setup{text: "tasks:\n  - use: other\n    with: {port: 1, prot: 2}\n", uses: uses},
			"site.yml:5:21: tasks[0].with.prot: the playbook \"other\" has no such parameter\n\thint: did you mean \"port\"?"},
		{"no mapping", setup{text: "tasks:\n  - use: other\n    with: [a]\n", uses: uses}, "site.yml:5:11: tasks[0].with: want a mapping, got a list"},
		{"a literal of the wrong type", setup{text: "tasks:\n  - use: other\n    with: {port: ssh}\n", uses: uses}, "site.yml:5:18: tasks[0].with.port: want int, got \"ssh\"\n\talso: other.yml:4:3"},
		{"a literal of the wrong type in a block that does not run", setup{text: "tasks:\n  - use: other\n    with: {port: ssh}\n    when: \"false\"\n", uses: uses},
			"site.yml:5:18: tasks[0].with.port: want int, got \"ssh\"\n\talso: other.yml:4:3"},
		{"an expression of the wrong type", setup{text: "tasks:\n  - use: other\n    with: {port: \"${host.name}\"}\n", uses: uses},
			"site.yml:5:21: tasks[0].with.port: want int, got string\n\thint: use int(…)"},
		{"none of the words", setup{text: "tasks:\n  - use: other\n    with: {port: 1, log: debgu}\n", uses: uses},
			"site.yml:5:26: tasks[0].with.log: \"debgu\" is none of the values that are allowed\n\talso: other.yml:5:3\n\thint: did you mean \"debug\"?"},
		{"none of the words, from an expression", setup{text: "tasks:\n  - use: other\n    with: {port: 1, log: \"${host.name}\"}\n", uses: uses},
			"site.yml:5:26: tasks[0].with.log: \"web1\" is none of the values that are allowed\n\talso: other.yml:5:3\n\thint: they are info, debug"},
		{"a secret", setup{text: "tasks:\n  - use: other\n    with: {port: 1, pw: '${secret(\"env:B\")}'}\n", uses: uses}, ""},
		{"a secret by its name", setup{text: "tasks:\n  - use: other\n    with: {port: 1, pw: env:B}\n", uses: uses}, ""},
		{"a revealed secret", setup{text: "tasks:\n  - use: other\n    with: {port: 1, log: '${reveal(secret(\"env:B\"))}'}\n", uses: uses},
			"site.yml:5:26: tasks[0].with.log: a parameter cannot reveal a secret\n\thint: declare it as a secret, hand over the secret itself, and reveal it where it is used"},
		{"a text for a secret", setup{text: "tasks:\n  - use: other\n    with: {port: 1, pw: \"${host.name}\"}\n", uses: uses},
			"site.yml:5:28: tasks[0].with.pw: want secret, got string\n\thint: name the secret: secret(\"name\")"},
		{"a fault inside", setup{text: "tasks:\n  - use: bad\n", uses: map[string]string{"bad": "tasks:\n  - make: {nme: a}\n"}},
			"bad.yml:4:5: tasks[0].bad.tasks[0].make.name: missing, it is required\n\thint: what to make\nbad.yml:4:12: tasks[0].bad.tasks[0].make.nme: unknown field\n\thint: did you mean \"name\"?"},
		{"itself", setup{text: "tasks:\n  - use: a\n", uses: map[string]string{"a": "tasks:\n  - use: b\n", "b": "tasks:\n  - use: a\n"}},
			"b.yml:4:10: tasks[0].a.tasks[0].b.tasks[0].use: \"a\" uses itself: site > a > b > a"},
		{"faults for a host beside others inside", setup{text: "tasks:\n  - use: inner\n", uses: map[string]string{"inner": "params: {n: {type: int, default: 0}}\ntasks:\n  - make: {nme: a}\n  - make: {name: b, count: \"${params.n}\"}\n"}},
			"inner.yml:5:5: tasks[0].inner.tasks[0].make.name: missing, it is required\n\thint: what to make\n" +
				"inner.yml:5:12: tasks[0].inner.tasks[0].make.nme: unknown field\n\thint: did you mean \"name\"?\n" +
				"inner.yml:6:28: tasks[0].inner.tasks[1].make.count: 0 is less than 1"},
		{"what may not run", setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - when: r.uid > 0\n    tasks: [{make: {name: \"${host.labels.none}\"}}, {make: {name: a}, when: host.labels.none == \"x\"}]\n"}, ""},
		{"results of the user", setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - use: inner\n", uses: map[string]string{"inner": "tasks:\n  - make: {name: \"${r.home}\"}\n"}},
			"inner.yml:4:21: tasks[1].inner.tasks[0].make.name: undeclared reference \"r\"\n\talso: site.yml:5:15\n\thint: a used playbook sees its own parameters only: hand it over using with"},
		{"results of the used", setup{text: "tasks:\n  - use: inner\n  - make: {name: \"${r.home}\"}\n", uses: map[string]string{"inner": "tasks:\n  - make: {name: a}\n    register: r\n"}},
			"site.yml:5:21: tasks[1].make.name: undeclared reference \"r\"\n\thint: a text needs quotes; known here: facts, fleet, host, params"},
		{"handlers of the user", setup{text: "tasks:\n  - use: inner\nhandlers: {h: {do: {what: x}}}\n", uses: map[string]string{"inner": "tasks:\n  - make: {name: a}\n    notify: h\n"}},
			"inner.yml:5:13: tasks[0].inner.tasks[0].notify: no handler is called \"h\""},
		{"in a loop with its item", setup{text: "tasks:\n  - use: other\n    each: [80, 443]\n    with: {port: \"${item}\"}\n", uses: uses}, ""},
		{"in a loop with an item of the wrong type", setup{text: "tasks:\n  - use: other\n    each: [a]\n    with: {port: \"${item}\"}\n", uses: uses},
			"site.yml:6:21: tasks[0].with.port: want int, got string\n\thint: use int(…)"},
	})
}

func TestUseIsBounded(t *testing.T) {
	uses := map[string]string{}
	for i := range 30 {
		name, next := string(rune('a'+i%26))+string(rune('a'+i/26)), i+1
		uses[name] = "tasks:\n  - use: " + string(rune('a'+next%26)) + string(rune('a'+next/26)) + "\n"
	}
	faults := setup{text: "tasks:\n  - use: aa\n", uses: uses}.faults(t)
	if len(faults) != 1 || !strings.Contains(faults[0].Message, "playbooks use each other more than 16 deep") {
		t.Errorf("a chain: got %v", faults)
	}
	wide := map[string]string{"j": "tasks:\n" + strings.Repeat("  - make: {name: a}\n", 50)}
	for c := 'a'; c < 'j'; c++ {
		wide[string(c)] = "tasks:\n" + strings.Repeat("  - use: "+string(c+1)+"\n", 10)
	}
	faults = setup{text: "tasks:\n  - use: a\n", uses: wide}.faults(t)
	if len(faults) != 1 || !strings.Contains(faults[0].Message, "more than 20000 tasks") {
		t.Errorf("a tree: got %d faults, %v", len(faults), faults[:min(3, len(faults))])
	}
}

func TestHandlersAndVerify(t *testing.T) {
	checkFaults(t, []faultCase{
		{"no such handler", setup{text: "tasks:\n  - make: {name: a}\n    notify: [relaod, reload]\nhandlers: {reload: {do: {what: x}}}\n"},
			"site.yml:5:14: tasks[0].notify: no handler is called \"relaod\"\n\thint: did you mean \"reload\"?"},
		{"no handler with a near name", setup{text: "tasks:\n  - make: {name: a}\n    notify: zzzzzz\nhandlers: {reload: {do: {what: x}}, restart: {do: {what: x}}}\n"},
			"site.yml:5:13: tasks[0].notify: no handler is called \"zzzzzz\"\n\thint: the handlers are reload, restart"},
		{"no handlers at all", setup{text: "tasks:\n  - make: {name: a}\n    notify: h\n"}, "site.yml:5:13: tasks[0].notify: no handler is called \"h\""},
		{"a handler that is wrong for a host", setup{text: "params: {n: {type: int, default: 0}}\ntasks: []\nhandlers: {h: {make: {name: a, count: \"${params.n}\"}}}\n"},
			"site.yml:5:39: handlers[\"h\"].make.count: 0 is less than 1"},
		{"verify that acts", setup{text: "tasks: []\nverify:\n  - do: {what: a}\n"},
			"site.yml:5:5: verify[0].do: verify only reads, and \"do\" may change the host\n\thint: use a state module, which is compared and not applied, or stat, listening, assert"},
		{"verify that acts in a block", setup{text: "tasks: []\nverify:\n  - tasks: [{look: {what: a}}]\n    always: [{do: {what: a}}]\n"},
			"site.yml:6:15: verify[0].always[0].do: verify only reads, and \"do\" may change the host\n\thint: use a state module, which is compared and not applied, or stat, listening, assert"},
		{"verify that acts in a used playbook", setup{text: "tasks: []\nverify:\n  - use: inner\n", uses: map[string]string{"inner": "tasks:\n  - do: {what: a}\n"}},
			"inner.yml:4:5: verify[0].inner.tasks[0].do: verify only reads, and \"do\" may change the host\n\thint: use a state module, which is compared and not applied, or stat, listening, assert"},
		{"verify that may act with these arguments", setup{text: "tasks: []\nverify:\n  - maybe: {what: a}\n  - maybe: {what: a, look: true}\n"},
			"site.yml:5:5: verify[0].maybe: verify only reads, and \"maybe\" may change the host\n\thint: say so if it only reads: 'holdfast doc maybe'"},
		{"verify that notifies", setup{text: "tasks: []\nhandlers: {h: {do: {what: a}}}\nverify:\n  - make: {name: a}\n    notify: h\n"},
			"site.yml:7:13: verify[0].notify: verify changes nothing, so there is nothing to notify"},
	})
}

func TestNeeds(t *testing.T) {
	checkFaults(t, []faultCase{
		{"an older program", setup{text: "needs: {holdfast: \">=2.0.0\"}\ntasks: []\n", version: "1.9.0"}, "site.yml:3:19: needs.holdfast: the playbook needs >=2.0.0, this is 1.9.0"},
		{"a newer program", setup{text: "needs: {holdfast: \">=1.0.0\"}\ntasks: []\n", version: "1.9.0"}, ""},
		{"a development build", setup{text: "needs: {holdfast: \">=9.0.0\"}\ntasks: []\n", version: "devel"}, ""},
		{"no constraint", setup{text: "needs: {holdfast: new}\ntasks: []\n", version: "1.9.0"}, "site.yml:3:19: needs.holdfast: \"new\" is not a constraint on versions\n\thint: write >=0.1.0"},
	})
}

func TestTags(t *testing.T) {
	text := `
tasks:
  - make: {name: a}
    tags: [one]
    register: r
  - make: {name: b}
    tags: two
  - make: {name: c}
  - make: {name: d}
    tags: always
  - tasks:
      - make: {name: e}
      - make: {name: f}
        tags: one
    tags: two
    rescue: [{make: {name: g}}]
  - use: inner
    tags: two
  - make: {name: "h"}
    notify: h
    tags: two
handlers: {h: {do: {what: x}}}
`
	inner := map[string]string{"inner": "tasks:\n  - make: {name: i}\n"}
	for tags, want := range map[string]int{"": 9, "one": 3, "two": 7, "one,two": 8} {
		s := setup{text: text, uses: inner}
		if tags != "" {
			s.tags = strings.Split(tags, ",")
		}
		pb, faults := s.compile()
		if len(faults) > 0 || pb.Count != want || len(pb.Handlers[0].Tasks) != 1 {
			t.Errorf("tags %q: %d tasks and %d of the handler, want %d and 1; %v", tags, pb.Count, len(pb.Handlers[0].Tasks), want, faults)
		}
	}
	checkFaults(t, []faultCase{
		{"a tag that nothing has", setup{text: text, uses: inner, tags: []string{"twoo"}}, "--tags twoo: no task has the tag \"twoo\"\n\thint: did you mean \"two\"?"},
		{"a result that the tags leave out", setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - make: {name: \"${r.home}\"}\n    tags: x\n", tags: []string{"x"}},
			"site.yml:6:21: tasks[1].make.name: undeclared reference \"r\"\n\talso: site.yml:5:15\n\thint: the tags that were asked for leave its task out"},
	})
}
