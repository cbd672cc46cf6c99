package lang_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
)

var modules = lang.Options{Modules: []string{"file", "command", "package"}}

func parse(t testing.TB, text string) (*lang.Playbook, source.Faults) {
	t.Helper()
	root, faults := yamlfile.Parse("p.yml", []byte(text))
	if len(faults) > 0 {
		t.Fatalf("cannot read %q: %v", text, faults)
	}
	return lang.Parse(root, "p.yml", modules)
}

// head is the least that a playbook has besides its tasks, on two lines.
const head = "playbook: p\nversion: 1.0.0\n"

func TestFaults(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"an empty file", "", "p.yml:1:1: the playbook is empty\n\thint: start with playbook:, version: and tasks:"},
		{"no mapping", "- a", "p.yml:1:1: want a mapping, got a list"},
		{"nothing in it", "{}", "p.yml:1:1: playbook: missing, it is required\n\thint: the name of the playbook: playbook: baseline\np.yml:1:1: tasks: missing, it is required"},
		{"a key with a near name", head + "task: []\ntasks: []", "p.yml:3:1: task: unknown key\n\thint: did you mean \"tasks\"?"},
		{"a key without one", head + "gather_facts: no\ntasks: []",
			"p.yml:3:1: gather_facts: unknown key\n\thint: the keys are handlers, needs, on_failure, params, playbook, rollout, summary, tasks, verify, version"},
		{"a name that is nothing", "playbook: ''\ntasks: []", "p.yml:1:11: playbook: want a text, got nothing"},
		{"a name that is a list", "playbook: [a]\ntasks: []", "p.yml:1:11: playbook: want a text, got a list"},
		{"a name that is too long", "playbook: " + strings.Repeat("a", 201) + "\ntasks: []", "p.yml:1:11: playbook: a name of 201 bytes is too long, the limit is 200"},
		{"a version that is none", "playbook: p\nversion: 1.0\ntasks: []", "p.yml:2:10: version: \"1.0\" is not a semantic version\n\thint: write three numbers: 1.0.0"},
		{"a version that is a mapping", "playbook: p\nversion: {}\ntasks: []", "p.yml:2:10: version: want a text, got a mapping"},
		{"a summary that is nothing", head + "summary:\ntasks: []", "p.yml:3:9: summary: want a text, got nothing"},
		{"waves that are no list", head + "rollout: {waves: 1}\ntasks: []", "p.yml:3:18: rollout.waves: want a list of numbers and percentages, got a value\n\thint: one host first, then the others: waves: [1, 100%]"},
		{"waves of nobody and of too many", head + "rollout: {waves: [0, 101%, some]}\ntasks: []", "p.yml:3:19: rollout.waves: want a number of hosts or a percentage up to 100%, got \"0\"\np.yml:3:22: rollout.waves: want a number of hosts or a percentage up to 100%, got \"101%\"\np.yml:3:28: rollout.waves: want a number of hosts or a percentage up to 100%, got \"some\""},
		{"a budget of less than none", head + "rollout: {budget: {hosts: -1}}\ntasks: []", "p.yml:3:27: rollout.budget.hosts: want how many hosts may fail, got \"-1\""},
		{"on_failure of no kind", head + "on_failure: rolback\ntasks: []", "p.yml:3:13: on_failure: want stop, continue or rollback, got \"rolback\"\n\thint: did you mean \"rollback\"?"},
		{"on_failure with a near word", head + "on_failure: stopp\ntasks: []", "p.yml:3:13: on_failure: want stop, continue or rollback, got \"stopp\"\n\thint: did you mean \"stop\"?"},
		{"on_failure that is a list", head + "on_failure: [stop]\ntasks: []", "p.yml:3:13: on_failure: want stop, continue or rollback, got a list"},
		{"tasks that are no list", head + "tasks: {}", "p.yml:3:8: tasks: want a list of tasks, got a mapping"},
		{"tasks that are nothing", head + "tasks:", "p.yml:3:7: tasks: want a list of tasks, got nothing"},
		{"needs that is no mapping", head + "needs: [debian]\ntasks: []", "p.yml:3:8: needs: want a mapping, got a list"},
		{"needs of an unknown kind", head + "needs: {ox: [debian]}\ntasks: []", "p.yml:3:9: needs.ox: unknown key\n\thint: did you mean \"os\"?"},
		{"a system that is none", head + "needs: {os: [debian>=12, Debian 13]}\ntasks: []", "p.yml:3:26: needs.os[1]: \"Debian 13\" is not a system\n\thint: write debian, or debian>=12"},
		{"a system that is no text", head + "needs: {os: [[debian]]}\ntasks: []", "p.yml:3:14: needs.os[0]: want a text, got a list"},
	}
	check(t, tests)
}

func TestParamFaults(t *testing.T) {
	param := func(text string) string { return head + "params:\n  x: {" + text + "}\ntasks: []" }
	tests := []struct {
		name, text, want string
	}{
		{"params that are no mapping", head + "params: [a]\ntasks: []", "p.yml:3:9: params: want a mapping, got a list"},
		{"a bad name", head + "params:\n  Bad-Name: {type: int, default: 1}\ntasks: []", "p.yml:4:3: params.Bad-Name: \"Bad-Name\" is not a name\n\thint: small letters, digits and underscores"},
		{"a name that no expression can hold", head + "params:\n  in: {type: int, default: 1}\ntasks: []", "p.yml:4:3: params.in: the name \"in\" is taken"},
		{"no mapping", head + "params:\n  x: 5\ntasks: []", "p.yml:4:6: params.x: want a mapping, got a value"},
		{"an unknown key", param("type: int, defaultz: 1, required: true"), "p.yml:4:18: params.x.defaultz: unknown key\n\thint: did you mean \"default\"?"},
		{"no type", param("default: 1"), "p.yml:4:3: params.x.type: missing, it is required"},
		{"no known type", param("type: integer, default: 1"), "p.yml:4:13: params.x.type: \"integer\" is not a type\n\thint: string, int, float, bool, duration, secret, list(T), map(T)"},
		{"a list of nothing", param("type: list(), default: []"), "p.yml:4:13: params.x.type: \"list()\" is not a type\n\thint: string, int, float, bool, duration, secret, list(T), map(T)"},
		{"a type that is a list", param("type: [int], default: 1"), "p.yml:4:13: params.x.type: a list is not a type\n\thint: string, int, float, bool, duration, secret, list(T), map(T)"},
		{"a type that nests too deep", param("type: '" + strings.Repeat("list(", 9) + "int" + strings.Repeat(")", 9) + "', required: true"),
			"p.yml:4:13: params.x.type: \"" + strings.Repeat("list(", 9) + "int" + strings.Repeat(")", 9) + "\" is not a type\n\thint: string, int, float, bool, duration, secret, list(T), map(T)"},
		{"required that is no bool", param("type: int, required: yes, default: 1"), "p.yml:4:28: params.x.required: want true or false, got \"yes\""},
		{"required with a default", param("type: int, required: true, default: 1"), "p.yml:4:43: params.x: a required parameter cannot have a default"},
		{"neither required nor a default", param("type: int"), "p.yml:4:3: params.x: want a default, or required: true"},
		{"doc that is a list", param("type: int, default: 1, doc: [a]"), "p.yml:4:35: params.x.doc: want a text, got a list"},
		{"oneof of a list", param("type: list(string), default: [], oneof: [a]"), "p.yml:4:47: params.x.oneof: a parameter of type list(string) cannot be one of a list of words"},
		{"oneof of a secret", param("type: secret, default: 'env:A', oneof: [a]"), "p.yml:4:46: params.x.oneof: a parameter of type secret cannot be one of a list of words"},
		{"keys of a list", param("type: list(string), default: [], keys: [a]"), "p.yml:4:46: params.x.keys: a parameter of type list(string) has no keys"},
		{"oneof that is a mapping", param("type: string, default: a, oneof: {}"), "p.yml:4:40: params.x.oneof: want a list of texts, got a mapping"},
		{"check of a secret", param("type: list(secret), required: true, check: size(value) > 0"), "p.yml:4:50: params.x.check: a secret cannot be looked at"},
	}
	check(t, tests)
}

func TestEntryFaults(t *testing.T) {
	entry := func(text string) string { return head + "tasks:\n  - {" + text + "}" }
	const file = "file: {path: /x}"
	tests := []struct {
		name, text, want string
	}{
		{"a text", head + "tasks:\n  - apt update", "p.yml:4:5: tasks[0]: want a task, got a value\n\thint: a task is a mapping with a module: file: {path: …}"},
		{"nothing", head + "tasks:\n  -", "p.yml:4:4: tasks[0]: want a task, got nothing\n\thint: a task is a mapping with a module: file: {path: …}"},
		{"no module", entry("name: a"), "p.yml:4:5: tasks[0]: a task needs a module, a block of tasks, or use\n\thint: 'holdfast doc' lists the modules"},
		{"a module with a near name", entry("flie: {}"), "p.yml:4:6: tasks[0].flie: neither a module nor a key of a task\n\thint: did you mean \"file\"?"},
		{"a module of another tool", entry("lineinfile: {}"), "p.yml:4:6: tasks[0].lineinfile: neither a module nor a key of a task\n\thint: 'holdfast doc' lists the modules"},
		{"a key with a near name", entry("whne: true, " + file), "p.yml:4:6: tasks[0].whne: neither a module nor a key of a task\n\thint: did you mean \"when\"?"},
		{"two modules", entry(file + ", command: {}"), "p.yml:4:24: tasks[0].command: a second module in one task, the first is \"file\"\n\thint: make two tasks of it"},
		{"a module and a block", entry(file + ", tasks: [{command: {}}]"), "p.yml:4:5: tasks[0]: a task is a module, a block or a use; only one of them"},
		{"a block and a use", entry("use: x, tasks: [{command: {}}]"), "p.yml:4:5: tasks[0]: a task is a module, a block or a use; only one of them"},
		{"use of nothing", entry("use: ''"), "p.yml:4:11: tasks[0].use: want a text, got nothing"},
		{"use of a list, with", entry("use: [a], with: {}"), "p.yml:4:11: tasks[0].use: want a text, got a list"},
		{"with without use", entry(file + ", with: {a: b}"), "p.yml:4:30: tasks[0].with: only goes with use"},
		{"as without each", entry(file + ", as: x"), "p.yml:4:28: tasks[0].as: only goes with each"},
		{"a block without tasks", entry("rescue: [{command: {}}]"), "p.yml:4:5: tasks[0].tasks: missing, a block needs it"},
		{"an empty block", entry("tasks: []"), "p.yml:4:5: tasks[0].tasks: missing, a block needs it"},
		{"a block that is no list", entry("tasks: 5"), "p.yml:4:13: tasks[0].tasks: want a list of tasks, got a value"},
		{"a fault deep inside", entry("tasks: [{command: {}}], rescue: [{tasks: [{always: []}]}]"), "p.yml:4:48: tasks[0].rescue[0].tasks[0].tasks: missing, a block needs it"},
		{"a name that is a list", entry("name: [a], " + file), "p.yml:4:12: tasks[0].name: want a text, got a list"},
		{"a name that is too long", entry("name: " + strings.Repeat("ä", 101) + ", " + file), "p.yml:4:12: tasks[0].name: a name of 202 bytes is too long, the limit is 200"},
		{"a name of several lines", head + "tasks:\n  - name: |\n      a\n    file: {}", "p.yml:4:11: tasks[0].name: \"a\\n\" has control characters or several lines"},
		{"register of no name", entry("register: a-b, " + file), "p.yml:4:16: tasks[0].register: \"a-b\" is not a name\n\thint: small letters, digits and underscores"},
		{"register of a list", entry("register: [a], " + file), "p.yml:4:16: tasks[0].register: a list is not a name\n\thint: small letters, digits and underscores"},
		{"register of a taken name", entry("register: host, " + file), "p.yml:4:16: tasks[0].register: the name \"host\" is taken"},
		{"register of the usual loop variable", entry("register: item, " + file), ""},
		{"as of a taken name", entry("each: [a], as: params, " + file), "p.yml:4:21: tasks[0].as: the name \"params\" is taken"},
		{"notify of a mapping", entry("notify: {a: b}, " + file), "p.yml:4:14: tasks[0].notify: want a list of texts, got a mapping"},
		{"notify of nothing", entry("notify: [a, ~], " + file), "p.yml:4:18: tasks[0].notify[1]: want a text, got nothing"},
		{"tags of a mapping", entry("tags: [{}], " + file), "p.yml:4:13: tasks[0].tags[0]: want a text, got a mapping"},
		{"a timeout that is none", entry("timeout: soon, " + file), "p.yml:4:15: tasks[0].timeout: invalid duration \"soon\": want a number with a unit, such as 90s, 5m or 30d"},
		{"a timeout that is a list", entry("timeout: [5s], " + file), "p.yml:4:15: tasks[0].timeout: want a duration, got a list"},
		{"a timeout of nothing", entry("timeout: 0s, " + file), "p.yml:4:15: tasks[0].timeout: 0s is out of range: want 1s to 7d"},
		{"a timeout that no host would take", entry("timeout: 8d, " + file), "p.yml:4:15: tasks[0].timeout: 8d is out of range: want 1s to 7d"},
		{"retry that is a number", entry("retry: 3, " + file), "p.yml:4:13: tasks[0].retry: want a mapping, got a value"},
		{"retry with a near key", entry("retry: {time: 3}, " + file), "p.yml:4:14: tasks[0].retry.time: unknown key\n\thint: did you mean \"times\"?"},
		{"no retries", entry("retry: {times: 0}, " + file), "p.yml:4:21: tasks[0].retry.times: want a number from 1 to 1000, got \"0\""},
		{"retries in words", entry("retry: {times: [3]}, " + file), "p.yml:4:21: tasks[0].retry.times: want a number from 1 to 1000, got a list"},
		{"a place that is none", entry("on: moon, " + file), "p.yml:4:10: tasks[0].on: want host or controller, got \"moon\"\n\thint: controller is the machine that this program runs on"},
		{"once in words", entry("once: maybe, " + file), "p.yml:4:12: tasks[0].once: want true or false, got \"maybe\""},
		{"once for each", entry("once: true, each: [a], " + file), "p.yml:4:12: tasks[0].once: does not go with each\n\thint: give the task its whole list, or leave once away"},
		{"a delay that is too long", entry("retry: {delay: 30d}, " + file), "p.yml:4:21: tasks[0].retry.delay: 30d is out of range: want 0s to 7d"},
	}
	for _, key := range []string{"register: a", "retry: {times: 2}", "changed_if: a", "fail_if: a", "ignore_failure: a", "notify: a", "timeout: 5s", "run_as: a", "on: controller", "once: true", "each: [a]"} {
		word, _, _ := strings.Cut(key, ":")
		col := 8 + len(word)
		tests = append(tests, struct{ name, text, want string }{"a block with " + word, entry(key + ", tasks: [{command: {}}]"),
			fmt.Sprintf("p.yml:4:%d: tasks[0].%s: only goes with a module", col, word)})
		if word != "each" {
			tests = append(tests, struct{ name, text, want string }{"a use with " + word, entry(key + ", use: a"),
				fmt.Sprintf("p.yml:4:%d: tasks[0].%s: only goes with a module", col, word)})
		}
	}
	check(t, tests)
}

func TestGuardFaults(t *testing.T) {
	guard := func(text string) string { return head + "tasks:\n  - {tasks: [{command: {}}], guard: " + text + "}" }
	tests := []struct {
		name, text, want string
	}{
		{"everything", guard("{via: [{user: a, port: 22}, {address: b}], within: 1h}"), ""},
		{"one way", guard("{via: {user: a}}"), ""},
		{"no mapping", guard("yes"), "p.yml:4:37: tasks[0].guard: want a mapping, got a value"},
		{"an unknown key", guard("{vai: []}"), "p.yml:4:38: tasks[0].guard.vai: unknown key\n\thint: did you mean \"via\"?"},
		{"a way with an unknown key", guard("{via: [{user: a}, {usr: a}]}"), "p.yml:4:56: tasks[0].guard.via[1].usr: unknown key\n\thint: did you mean \"user\"?"},
		{"a way that is a text", guard("{via: admin}"), "p.yml:4:43: tasks[0].guard.via[0]: want a mapping, got a value"},
		{"too short", guard("{within: 5s}"), "p.yml:4:46: tasks[0].guard.within: 5s is out of range: want 10s to 1h"},
		{"too long", guard("{within: 2h}"), "p.yml:4:46: tasks[0].guard.within: 2h is out of range: want 10s to 1h"},
		{"a time by an expression", guard("{within: '${params.x}'}"), ""},
		{"not on a block", head + "tasks:\n  - {command: {}, guard: {}}", "p.yml:4:26: tasks[0].guard: only goes with a block of tasks"},
		{"with a rescue", head + "tasks:\n  - {tasks: [{command: {}}], rescue: [{command: {}}], guard: {}}",
			"p.yml:4:62: tasks[0].guard: a block with a guard has no rescue and no always: the guard takes it back"},
	}
	check(t, tests)
}

func TestHandlerFaults(t *testing.T) {
	handler := func(text string) string { return head + "tasks: []\nhandlers:\n  h: " + text }
	const plain = ": a handler is a plain task: no block, use, each or register\n\thint: handlers are stored on the host, so that the next run can finish them"
	tests := []struct {
		name, text, want string
	}{
		{"no mapping", head + "tasks: []\nhandlers: [a]", "p.yml:4:11: handlers: want a mapping from name to task, got a list"},
		{"no task", handler("systemctl reload x"), "p.yml:5:6: handlers[\"h\"]: want a task, got a value\n\thint: a task is a mapping with a module: file: {path: …}"},
		{"a name that is too long", head + "tasks: []\nhandlers:\n  " + strings.Repeat("h", 201) + ": {command: {}}",
			"p.yml:5:3: handlers[\"" + strings.Repeat("h", 201) + "\"]: a name of 201 bytes is too long, the limit is 200"},
		{"a block", handler("{tasks: [{command: {}}]}"), "p.yml:5:6: handlers[\"h\"]" + plain},
		{"a use", handler("{use: a}"), "p.yml:5:6: handlers[\"h\"]" + plain},
		{"a loop", handler("{command: {}, each: [a]}"), "p.yml:5:6: handlers[\"h\"]" + plain},
		{"a register in a list", handler("[{command: {}}, {command: {}, register: r}]"), "p.yml:5:22: handlers[\"h\"][1]" + plain},
		{"a condition on its own result", handler("{command: {}, fail_if: result.status > 0}"),
			"p.yml:5:29: handlers[\"h\"].fail_if: a handler cannot look at its result\n\thint: handlers are stored on the host, so that the next run can finish them"},
		{"a change by its own result", handler("{command: {}, changed_if: 'false'}"),
			"p.yml:5:32: handlers[\"h\"].changed_if: a handler cannot look at its result\n\thint: handlers are stored on the host, so that the next run can finish them"},
		{"until", handler("{command: {}, retry: {until: 'true'}}"),
			"p.yml:5:35: handlers[\"h\"].retry.until: a handler cannot look at its result\n\thint: handlers are stored on the host, so that the next run can finish them"},
		{"retries", handler("{command: {}, retry: {times: 3, delay: 1s}, timeout: 5s, ignore_failure: 'true', run_as: root}"), ""},
		{"another handler", handler("{command: {}, notify: h}"), "p.yml:5:28: handlers[\"h\"].notify: a handler cannot notify another one\n\thint: notify both in the task"},
	}
	check(t, tests)
}

func check(t *testing.T, tests []struct{ name, text, want string }) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pb, faults := parse(t, tt.text)
			got := ""
			if len(faults) > 0 {
				got = faults.Sorted().Error()
			}
			if got != tt.want || pb == nil {
				t.Errorf("%s\n got %s\nwant %s", tt.text, got, tt.want)
			}
		})
	}
}

const whole = `
playbook: web
version: 1.2.3-rc.1
summary: A web server.
needs: {holdfast: ">=0.1.0", os: [debian>=12, ubuntu, alpine < 3.19]}
on_failure: continue
params:
  port: {type: int, default: 80, check: value > 0, doc: The port.}
  keys: {type: list(map(string)), required: true}
  mode: {type: string, default: a, oneof: [a, b]}
tasks:
  - package: {install: [a, b]}
    when: facts.os.id == "debian"
    register: pkgs
    notify: [reload, restart]
    retry: {times: 5, delay: 2s, until: result.done}
    timeout: 90s
    run_as: www
    changed_if: "true"
    fail_if: "false"
    ignore_failure: "true"
    tags: [one, two]
  - name: loop
    each: [a, b]
    as: word
    file: {path: "/x/${word}"}
  - tasks: [{command: {cmd: a}}]
    rescue: [{command: {cmd: b}}]
    always: [{command: {cmd: c}}]
    when: "true"
  - use: other
    with: {a: b}
    each: ${params.keys}
    tags: three
handlers:
  reload: {command: {cmd: reload}}
  restart: [{command: {cmd: a}}, {command: {cmd: b}, retry: {}}]
verify:
  - file: {path: /x}
`

func TestWholePlaybook(t *testing.T) {
	pb, faults := parse(t, whole)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if pb.Name != "web" || pb.Version != "1.2.3-rc.1" || pb.Summary != "A web server." || pb.OnFailure != "continue" || pb.Needs.Holdfast != ">=0.1.0" || pb.Needs.HoldfastPos.Line != 5 {
		t.Errorf("head: got %+v", pb)
	}
	var systems []string
	for _, o := range pb.Needs.OS {
		systems = append(systems, o.ID+"|"+o.Op+"|"+o.Version)
	}
	if want := []string{"debian|>=|12", "ubuntu||", "alpine|<|3.19"}; !reflect.DeepEqual(systems, want) {
		t.Errorf("systems: got %q, want %q", systems, want)
	}
	if p := pb.Params; len(p) != 3 || p[0].Type.Kind != "int" || p[0].Default.Text != "80" || p[0].Check.Text != "value > 0" || p[0].Doc != "The port." ||
		p[1].Type.String() != "list(map(string))" || !p[1].Required || !reflect.DeepEqual(p[2].OneOf, []string{"a", "b"}) {
		t.Errorf("params: got %+v", p)
	}
	e := pb.Tasks[0]
	if e.Module != "package" || e.Path != "tasks[0]" || e.Name != "package a b" || e.When.Text == "" || e.Register.Text != "pkgs" || len(e.Notify) != 2 ||
		e.Notify[1].Pos.Line != 15 || e.Retry.Times != 5 || e.Retry.Delay != 2*time.Second || e.Retry.Until.Text != "result.done" ||
		e.Timeout != 90*time.Second || e.RunAs.Text != "www" || e.ChangedIf == nil || e.FailIf == nil || e.IgnoreFailure == nil || len(e.Tags) != 2 {
		t.Errorf("task: got %+v", e)
	}
	if e := pb.Tasks[1]; e.Name != "loop" || e.As != "word" || e.AsPos.Line != 25 || len(e.Each.Items) != 2 {
		t.Errorf("loop: got %+v", e)
	}
	if e := pb.Tasks[2]; !e.Block || e.Name != "block" || e.As != "item" || len(e.Tasks) != 1 || e.Rescue[0].Path != "tasks[2].rescue[0]" || len(e.Always) != 1 {
		t.Errorf("block: got %+v", e)
	}
	if e := pb.Tasks[3]; e.Use != "other" || e.Name != "use other" || e.With.Get("a").Text != "b" || e.Each == nil || e.Tags[0] != "three" {
		t.Errorf("use: got %+v", e)
	}
	if h := pb.Handlers; len(h) != 2 || h[0].Name != "reload" || len(h[1].Tasks) != 2 || h[1].Tasks[1].Path != `handlers["restart"][1]` || h[1].Tasks[1].Retry.Times != 3 {
		t.Errorf("handlers: got %+v", h)
	}
	if len(pb.Verify) != 1 || pb.Verify[0].Path != "verify[0]" {
		t.Errorf("verify: got %+v", pb.Verify)
	}
}

func TestNamesOfTasks(t *testing.T) {
	for text, want := range map[string]string{
		"file: {mode: '1', path: /etc/x}": "file /etc/x",
		"command: {cmd: \"a\\nb\"}":       "command a\nb",
		"command:":                        "command",
		"package: {install: [" + strings.Repeat("abcdefghi, ", 9) + "end]}": "package abcdefghi abcdefghi abcdefghi abcdefghi abcdefghi…",
	} {
		pb, faults := parse(t, head+"tasks:\n  - "+text)
		if len(faults) > 0 || pb.Tasks[0].Name != strings.ReplaceAll(want, "\n", " ") {
			t.Errorf("%s: got %q, %v, want %q", text, pb.Tasks[0].Name, faults, want)
		}
	}
}

func TestTypes(t *testing.T) {
	for _, s := range []string{"string", "int", "float", "bool", "duration", "secret", "any", "list(string)", "map(list(int))", strings.Repeat("map(", 8) + "any" + strings.Repeat(")", 8)} {
		if got, err := lang.ParseType(" " + s + " "); err != nil || got.String() != s {
			t.Errorf("ParseType(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "str", "list", "list(", "list()", "list(x)", "int)", "List(int)", strings.Repeat("list(", 1<<20)} {
		if got, err := lang.ParseType(s); err == nil || len(err.Error()) > 100 {
			t.Errorf("ParseType(%.20q) = %v, %v, want a short error", s, got, err)
		}
	}
}

// A file as large as is read at all must not take the loader down.
func TestManyTasks(t *testing.T) {
	pb, faults := parse(t, head+"tasks:\n"+strings.Repeat("- file:\n", 200_000))
	if len(pb.Tasks) != 10_000 || len(faults) != 1 || faults[0].Pos.Line != 3+10_001 {
		t.Errorf("got %d tasks and %v", len(pb.Tasks), faults)
	}
}
