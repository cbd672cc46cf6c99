package runner_test

import (
	"testing"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/wire"
)

// story is a playbook on one host with all that comes of it.
type story struct {
	name     string
	text     string
	uses     map[string]string
	mode     event.Mode
	params   map[string]string
	secrets  map[string]string
	answers  func(*wire.Message) (*wire.Message, bool)
	ends     string // outcomes in order
	done     string // what happened on the host, in order
	programs int
	code     int
}

func tellStories(t *testing.T, stories []story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			h := hosts(t, 1)
			o := run(t, play{text: s.text, uses: s.uses, mode: s.mode, params: s.params, secrets: s.secrets, hosts: h,
				answers: map[string]func(*wire.Message) (*wire.Message, bool){"a": s.answers}})
			if got := o.ends("a"); got != s.ends {
				t.Errorf("%s\ngot\n%s\nwant\n%s", s.text, got, s.ends)
			}
			if got := h[0].done(); got != s.done {
				t.Errorf("%s\ndone %q\nwant %q", s.text, got, s.done)
			}
			if h[0].programs != s.programs || o.fin.Code != s.code {
				t.Errorf("%s\ngot %d programs and code %d, want %d and %d", s.text, h[0].programs, o.fin.Code, s.programs, s.code)
			}
		})
	}
}

// Nothing that the next task does not depend on costs a round trip.
func TestBarriers(t *testing.T) {
	tellStories(t, []story{
		{name: "order within a host", text: `
tasks:
  - put: {key: one}
  - say: {text: two}
  - put: {key: three}
    when: host.name == "z"
  - look: {key: one}
  - put: {key: one}
`, ends: "changed 1 put\nchanged 2 say\nskipped 3 put | when is false\nunchanged 4 look\nunchanged 5 put\nok",
			done: "put one=on, say two, look one", programs: 1},
		{name: "a result that nothing reads", text: `
tasks:
  - say: {text: one}
    register: r
  - put: {key: k}
`, ends: "changed 1 say\nchanged 2 put\nok", done: "say one, put k=on", programs: 1},
		{name: "arguments from a result", text: `
tasks:
  - say: {text: one}
    register: r
  - put: {key: k, value: "${r.text}-${r.times}"}
  - put: {key: l}
`, ends: "changed 1 say\nchanged 2 put\nchanged 3 put\nok", done: "say one, put k=one-1, put l=on", programs: 2},
		{name: "a condition on a result", text: `
tasks:
  - look: {key: k}
    register: r
  - put: {key: k}
    when: r.size == 0
  - put: {key: l}
    when: r.size > 0
`, ends: "unchanged 1 look\nchanged 2 put\nskipped 3 put | when is false\nok", done: "look k, put k=on", programs: 2},
		{name: "a condition that the result cannot change", text: `
tasks:
  - look: {key: k}
    register: r
  - put: {key: k}
    when: r.size == 0 && host.name == "z"
`, ends: "unchanged 1 look\nskipped 2 put | when is false\nok", done: "look k", programs: 1},
		{name: "facts are known", text: `
tasks:
  - put: {key: k, value: "${facts.arch}"}
    when: facts.cpus > 0
`, ends: "changed 1 put\nok", done: "put k=amd64", programs: 1},
		{name: "blocks without rescue", text: `
tasks:
  - tasks:
      - put: {key: a}
      - tasks: [{put: {key: b}}]
  - put: {key: c}
`, ends: "changed 1 put\nchanged 2 put\nchanged 3 put\nok", done: "put a=on, put b=on, put c=on", programs: 1},
		{name: "a used playbook", text: `
tasks:
  - use: other
    with: {word: hi}
  - put: {key: c}
`, uses: map[string]string{"other": "params:\n  word: {type: string, required: true}\ntasks:\n  - say: {text: '${params.word}'}\n"},
			ends: "changed 1 say\nchanged 2 put\nok", done: "say hi, put c=on", programs: 1},
		{name: "a parameter from a result", text: `
tasks:
  - say: {text: one}
    register: r
  - use: other
    with: {word: "${r.text}!"}
`, uses: map[string]string{"other": "params:\n  word: {type: string, required: true}\ntasks:\n  - say: {text: '${params.word}'}\n"},
			ends: "changed 1 say\nchanged 2 say\nok", done: "say one, say one!", programs: 2},
	})
}

func TestLoops(t *testing.T) {
	tellStories(t, []story{
		{name: "a list", text: `
tasks:
  - each: [a, b]
    put: {key: "${item}"}
  - each: "${[1, 2].map(x, x * 2)}"
    as: n
    put: {key: "n${n}"}
    when: n > 2
`, ends: "changed 1 put\nchanged 2 put\nskipped 3 put | when is false\nchanged 4 put\nok", done: "put a=on, put b=on, put n4=on", programs: 1},
		{name: "results of a loop", text: `
tasks:
  - each: [a, b, c]
    say: {text: "${item}"}
    register: r
    when: item != "b"
  - put: {key: k, value: "${r.map(x, x.text).join('+')}"}
`, ends: "changed 1 say\nskipped 2 say | when is false\nchanged 3 say\nchanged 4 put\nok", done: "say a, say c, put k=a+c", programs: 2},
		{name: "a loop over a result", text: `
tasks:
  - say: {text: one, words: [x, y]}
    register: r
  - each: ${r.words}
    put: {key: "${item}"}
`, ends: "changed 1 say\nchanged 2 put\nchanged 3 put\nok", done: "say one, put x=on, put y=on", programs: 2},
		{name: "a result read inside of a loop", text: `
tasks:
  - say: {text: one}
    register: r
  - each: [a, b]
    put: {key: "${item}", value: "${r.text}"}
`, ends: "changed 1 say\nchanged 2 put\nchanged 3 put\nok", done: "say one, put a=one, put b=one", programs: 2},
		{name: "a result in the list itself", text: `
tasks:
  - say: {text: one}
    register: r
  - each: ["${r.text}", {deep: "${r.text}"}]
    put: {key: "k${string(r.times)}"}
`, ends: "changed 1 say\nchanged 2 put\nunchanged 3 put\nok", done: "say one, put k1=on", programs: 2},
		{name: "a result of this loop's earlier turns", text: `
tasks:
  - each: [a, b]
    say: {text: "${item}"}
    register: r
    changed_if: result.text == "b"
`, ends: "ran 1 say\nchanged 2 say\nok", done: "say a, say b", programs: 3},
		{name: "nothing to go over", text: `
tasks:
  - each: []
    say: {text: "${item}"}
    register: r
  - put: {key: k, value: "${string(size(r))}"}
`, ends: "changed 1 put\nok", done: "put k=0", programs: 1},
		{name: "objects with and without a field", text: `
tasks:
  - each: [{key: a, value: x}, {key: b}]
    put: {key: "${item.key}", value: "${item.?value.orValue('none')}"}
`, ends: "changed 1 put\nchanged 2 put\nok", done: "put a=x, put b=none", programs: 1},
		{name: "a used playbook whose handlers differ", text: `
tasks:
  - each: [a, b]
    use: site
    with: {name: "${item}"}
  - use: site
    with: {name: c}
`, uses: map[string]string{"site": `
params:
  name: {type: string, required: true}
tasks:
  - put: {key: "${params.name}"}
    notify: reload
handlers:
  reload: {say: {text: "reload ${params.name}"}}
`}, ends: "changed 2 put\nqueue site/reload[0]\nchanged 4 put\nqueue site/reload[1]\nchanged 6 put\nqueue site#2/reload\n" +
			"changed 1 say | site/reload[0]\nchanged 3 say | site/reload[1]\nchanged 5 say | site#2/reload\nok",
			done: "put a=on, put b=on, put c=on, say reload a, say reload b, say reload c", programs: 1},
	})
}

func TestFailures(t *testing.T) {
	tellStories(t, []story{
		{name: "a failure stops the host", text: `
tasks:
  - put: {key: a, fail: true}
  - put: {key: b}
    when: "false"
  - put: {key: c}
`, ends: "failed 1 put | no room\nfailed", done: "put a failed", programs: 1, code: runner.CodeFailed},
		{name: "what does not settle is a failure", text: "tasks: [{put: {key: a, stuck: true}}, {put: {key: b}}]",
			ends: `failed 1 put | did not settle: after the change value is "", want "on"` + "\nfailed", done: "put a=on", programs: 1, code: runner.CodeFailed},
		{name: "ignore_failure", text: `
tasks:
  - put: {key: a, fail: true}
    ignore_failure: host.name == "a"
  - put: {key: b, fail: true}
    ignore_failure: host.name == "z"
  - put: {key: c}
`, ends: "ignored 1 put | no room\nfailed 2 put | no room\nfailed", done: "put a failed, put b failed", programs: 1, code: runner.CodeFailed},
		{name: "on_failure continue", text: `
on_failure: continue
tasks:
  - put: {key: a, fail: true}
  - put: {key: b}
`, ends: "failed 1 put | no room\nchanged 2 put\nfailed", done: "put a failed, put b=on", programs: 1, code: runner.CodeFailed},
		{name: "on_failure continue, and a task that cannot be sent", text: `
on_failure: continue
tasks:
  - put: {key: a, fail: true}
    register: r
  - put: {key: b, value: "${r.value}"}
  - put: {key: c}
`, ends: "failed 1 put | no room\nfailed 2 put | toys.yml:8:31: tasks[1].put.value: \"r\" has no value here\nchanged 3 put\nfailed", done: "put a failed, put c=on", programs: 2, code: runner.CodeFailed},
		{name: "a task that cannot be sent comes after those before it", text: `
tasks:
  - put: {key: a}
  - put: {key: b}
    when: facts.addresses[1000000] == "x"
  - put: {key: c}
`, ends: "changed 1 put\nfailed 2 put | toys.yml:7:26: tasks[1].when: index out of bounds: 1000000\nfailed", done: "put a=on", programs: 2, code: runner.CodeFailed},
		{name: "fail_if", text: `
tasks:
  - say: {text: a}
    fail_if: result.times == 1
  - say: {text: b}
`, ends: "failed 1 say | fail_if holds\nfailed", done: "say a", programs: 2, code: runner.CodeFailed},
		{name: "fail_if that is ignored", text: `
tasks:
  - say: {text: a}
    fail_if: result.times == 1
    ignore_failure: "true"
  - say: {text: b}
`, ends: "ignored 1 say | fail_if holds\nchanged 2 say\nok", done: "say a, say b", programs: 2},
		{name: "fail_if with on_failure continue", text: `
on_failure: continue
tasks:
  - say: {text: a}
    fail_if: result.times == 1
  - say: {text: b}
`, ends: "failed 1 say | fail_if holds\nchanged 2 say\nfailed", done: "say a, say b", programs: 2, code: runner.CodeFailed},
		{name: "changed_if", text: `
tasks:
  - say: {text: a}
    changed_if: "false"
    notify: h
  - look: {key: a}
    changed_if: result.size == 0
    notify: i
handlers:
  h: {say: {text: h}}
  i: {say: {text: i}}
`, ends: "ran 3 say\nchanged 4 look\nqueue i\nchanged 2 say | i\nok", done: "say a, look a, say i", programs: 3},
		{name: "the result of a skipped task", text: `
tasks:
  - say: {text: a}
    register: r
    when: "false"
  - say: {text: "${r.text}"}
`, ends: "skipped 1 say | when is false\nfailed 2 say | toys.yml:8:22: tasks[1].say.text: \"r\" has no value here\nfailed", programs: 1, code: runner.CodeFailed},
		{name: "the result of a task whose failure is ignored", text: `
tasks:
  - say: {text: a, fail: true}
    register: r
    ignore_failure: "true"
  - say: {text: "${r.text}"}
`, ends: "ignored 1 say | hoarse\nfailed 2 say | toys.yml:8:22: tasks[1].say.text: \"r\" has no value here\nfailed", done: "say a failed", programs: 2, code: runner.CodeFailed},
	})
}

func TestBlocks(t *testing.T) {
	tellStories(t, []story{
		{name: "rescue and always", text: `
tasks:
  - tasks:
      - put: {key: a}
      - put: {key: b, fail: true}
      - put: {key: c}
    rescue: [{say: {text: rescue}}]
    always: [{say: {text: always}}]
  - put: {key: d}
`, ends: "changed 1 put\nfailed 2 put | no room\nchanged 4 say\nchanged 5 say\nchanged 6 put\nok",
			done: "put a=on, put b failed, say rescue, say always, put d=on", programs: 4},
		{name: "nothing to rescue", text: `
tasks:
  - tasks: [{put: {key: a}}]
    rescue: [{say: {text: rescue}}]
    always: [{say: {text: always}}]
`, ends: "changed 1 put\nchanged 2 say\nok", done: "put a=on, say always", programs: 3},
		{name: "always after a failure without rescue", text: `
tasks:
  - tasks: [{put: {key: a, fail: true}}]
    always: [{say: {text: always}}]
  - put: {key: b}
`, ends: "failed 1 put | no room\nchanged 2 say\nfailed", done: "put a failed, say always", programs: 3, code: runner.CodeFailed},
		{name: "a rescue that fails", text: `
tasks:
  - tasks: [{put: {key: a, fail: true}}]
    rescue: [{say: {text: r, fail: true}}, {say: {text: s}}]
    always: [{say: {text: always}}]
  - put: {key: b}
`, ends: "failed 1 put | no room\nfailed 2 say | hoarse\nchanged 4 say\nfailed", done: "put a failed, say r failed, say always", programs: 4, code: runner.CodeFailed},
		{name: "an always that fails", text: `
tasks:
  - tasks: [{put: {key: a}}]
    always: [{say: {text: w, fail: true}}]
  - put: {key: b}
`, ends: "changed 1 put\nfailed 2 say | hoarse\nfailed", done: "put a=on, say w failed", programs: 3, code: runner.CodeFailed},
		{name: "a rescue inside of a rescue", text: `
tasks:
  - tasks: [{put: {key: a, fail: true}}]
    rescue:
      - tasks: [{put: {key: b, fail: true}}]
        rescue: [{say: {text: inner}}]
      - say: {text: outer}
  - put: {key: c}
`, ends: "failed 1 put | no room\nfailed 2 put | no room\nchanged 3 say\nchanged 4 say\nchanged 5 put\nok",
			done: "put a failed, put b failed, say inner, say outer, put c=on", programs: 5},
		{name: "fail_if is rescued, and what follows runs", text: `
tasks:
  - tasks:
      - say: {text: a}
        fail_if: "true"
    rescue: [{say: {text: r}}, {say: {text: s}}]
  - put: {key: b}
  - put: {key: c}
`, ends: "failed 1 say | fail_if holds\nchanged 2 say\nchanged 3 say\nchanged 4 put\nchanged 5 put\nok",
			done: "say a, say r, say s, put b=on, put c=on", programs: 3},
		{name: "what cannot be sent is rescued", text: `
tasks:
  - tasks:
      - put: {key: a}
      - put: {key: b}
        when: facts.addresses[1000000] == "x"
    rescue: [{say: {text: r}}]
`, ends: "changed 1 put\nfailed 2 put | toys.yml:8:30: tasks[0].tasks[1].when: index out of bounds: 1000000\nchanged 3 say\nok", done: "put a=on, say r", programs: 3},
		{name: "a rescue with on_failure continue", text: `
on_failure: continue
tasks:
  - put: {key: z, fail: true}
  - tasks:
      - put: {key: a, fail: true}
      - put: {key: b}
    rescue: [{say: {text: r}}]
`, ends: "failed 1 put | no room\nfailed 2 put | no room\nchanged 4 say\nfailed", done: "put z failed, put a failed, say r", programs: 4, code: runner.CodeFailed},
		{name: "a block whose condition is false", text: `
tasks:
  - tasks: [{put: {key: a}}]
    always: [{put: {key: b}}]
    when: host.name == "z"
`, ends: "ok", programs: 1},
	})
}

func TestHandlers(t *testing.T) {
	const handlers = `
handlers:
  one: {say: {text: one}}
  two: [{say: {text: two}}, {put: {key: two}, when: host.name == "a"}, {put: {key: no}, when: host.name == "z"}]
`
	tellStories(t, []story{
		{name: "in order of definition, once", text: `
tasks:
  - put: {key: a}
    notify: [two, one]
  - put: {key: b}
    notify: one
  - put: {key: a}
    notify: one
` + handlers, ends: "changed 4 put\nqueue two\nqueue one\nchanged 5 put\nunchanged 6 put\nchanged 1 say | one\nchanged 2 say | two\nchanged 3 put | two\nok",
			done: "put a=on, put b=on, say one, say two, put two=on", programs: 1},
		{name: "after a failure", text: `
tasks:
  - put: {key: a}
    notify: one
  - put: {key: b, fail: true}
  - put: {key: c}
` + handlers, ends: "changed 4 put\nqueue one\nfailed 5 put | no room\nchanged 1 say | one\nfailed", done: "put a=on, put b failed, say one", programs: 1, code: runner.CodeFailed},
		{name: "a handler that fails does not keep the others", text: `
tasks:
  - put: {key: a}
    notify: [bad, good]
handlers:
  bad: [{say: {text: bad, fail: true}}, {say: {text: more}}]
  good: {say: {text: good}}
`, ends: "changed 4 put\nqueue bad\nqueue good\nfailed 1 say | bad | hoarse\nchanged 3 say | good\nfailed", done: "put a=on, say bad failed, say good", programs: 1, code: runner.CodeFailed},
		{name: "skipped behind a failed handler's task", text: `
on_failure: continue
tasks:
  - put: {key: a}
    notify: bad
handlers:
  bad: [{say: {text: bad, fail: true}}, {say: {text: more}}]
`, ends: "changed 3 put\nqueue bad\nfailed 1 say | bad | hoarse\nfailed", done: "put a=on, say bad failed", programs: 1, code: runner.CodeFailed},
		{name: "an action that changed nothing notifies nobody", text: `
tasks:
  - say: {text: a, quiet: true}
    notify: one
` + handlers, ends: "ran 4 say\nok", done: "say a", programs: 1},
	})
}

func TestRetries(t *testing.T) {
	tellStories(t, []story{
		{name: "until it does not fail", text: `
tasks:
  - say: {text: a, fail_for: 2}
    retry: {times: 3}
  - say: {text: b, fail_for: 9}
    retry: {times: 1}
`, ends: "changed 1 say | 3 attempts\nfailed 2 say | hoarse | 2 attempts\nfailed", done: "say a failed, say a failed, say a, say b failed, say b failed", programs: 1, code: runner.CodeFailed},
		{name: "until a condition holds", text: `
tasks:
  - say: {text: a}
    retry: {times: 5, until: result.times >= 3}
    register: r
  - put: {key: k, value: "${r.times}"}
`, ends: "changed 1 say | 3 attempts\nchanged 4 put\nok", done: "say a, say a, say a, put k=3", programs: 4},
		{name: "a failure is a reason to try again", text: `
tasks:
  - say: {text: a, fail_for: 2}
    retry: {times: 5, until: result.times >= 4}
`, ends: "changed 1 say | 4 attempts\nok", done: "say a failed, say a failed, say a, say a", programs: 5},
		{name: "a condition that never holds", text: `
tasks:
  - say: {text: a}
    retry: {times: 2, until: "false"}
  - say: {text: b}
`, ends: "failed 1 say | until does not hold after 3 attempts | 3 attempts\nfailed", done: "say a, say a, say a", programs: 4, code: runner.CodeFailed},
		{name: "a condition that never holds and does not matter", text: `
tasks:
  - say: {text: a, fail: true}
    retry: {times: 1, until: "false"}
    ignore_failure: "true"
  - say: {text: b}
`, ends: "ignored 1 say | hoarse | 2 attempts\nchanged 3 say\nok", done: "say a failed, say a failed, say b", programs: 3},
		{name: "in a loop", text: `
tasks:
  - each: [a, b]
    say: {text: "${item}"}
    retry: {times: 3, until: result.times == 2}
    register: r
  - put: {key: k, value: "${r.map(x, x.text + string(x.times)).join()}"}
`, ends: "changed 1 say | 2 attempts\nchanged 3 say | 2 attempts\nchanged 5 put\nok", done: "say a, say a, say b, say b, put k=a2b2", programs: 5},
	})
}

func TestPlans(t *testing.T) {
	tellStories(t, []story{
		{name: "changes nothing", mode: event.Plan, text: `
tasks:
  - put: {key: a}
    notify: h
  - say: {text: b}
handlers:
  h: {say: {text: h}}
`, ends: "changed 2 put\nqueue h\nran 3 say | will run\nran 1 say | h | will run\nok", programs: 1},
		{name: "what depends on an action is unknown", mode: event.Plan, text: `
tasks:
  - name: ask
    say: {text: b}
    register: r
  - put: {key: "${r.text}"}
    register: s
  - put: {key: k}
    when: s.size > 0
  - each: ${r.words}
    put: {key: "${item}"}
    register: many
  - put: {key: "n${string(size(many))}"}
  - put: {key: l}
`, ends: "ran 1 ask | will run\n" +
			"unknown 2 put | not known until \"ask\" has run\n" +
			"unknown 3 put | not known until \"ask\" has run\n" +
			"unknown 4 put | not known until \"ask\" has run\n" +
			"unknown 5 put | not known until \"ask\" has run\n" +
			"changed 6 put\nok", programs: 2},
		{name: "a block that is unknown", mode: event.Plan, text: `
tasks:
  - name: ask
    say: {text: b}
    register: r
  - when: r.times > 1
    tasks:
      - look: {key: a}
        register: inner
  - put: {key: k}
    when: inner.size > 0
`, ends: "ran 1 ask | will run\nunknown 2 block | not known until \"ask\" has run\nunknown 3 put | not known until \"ask\" has run\nok", programs: 2},
		{name: "a turn of a loop that is unknown makes all of it unknown", mode: event.Plan, text: `
tasks:
  - name: ask
    say: {text: b}
    register: r
  - each: [a, b]
    look: {key: "${item}"}
    when: item == "a" || r.times > 0
    register: all
  - put: {key: "n${string(size(all))}"}
`, ends: "ran 1 ask | will run\nunchanged 2 look\nunknown 3 look | not known until \"ask\" has run\nunknown 4 put | not known until \"ask\" has run\nok", done: "look a", programs: 2},
		{name: "what reads is read", mode: event.Plan, text: `
tasks:
  - look: {key: a}
    register: r
    changed_if: "true"
  - put: {key: k}
    when: r.size == 0
`, ends: "unchanged 1 look\nchanged 2 put\nok", done: "look a", programs: 2},
		{name: "retries are not waited for", mode: event.Plan, text: `
tasks:
  - say: {text: a}
    retry: {times: 9, delay: 1h, until: "false"}
    fail_if: "true"
  - put: {key: k}
`, ends: "ran 1 say | will run\nchanged 2 put\nok", programs: 1},
	})
}

func TestVerify(t *testing.T) {
	const verify = `
verify:
  - look: {key: a, want: "on"}
    register: r
  - put: {key: b}
  - put: {key: "${r.value}"}
`
	tellStories(t, []story{
		{name: "by itself", mode: event.Verify, text: "tasks: []" + verify,
			ends: `failed 1 look | it is ""` + "\nfailed 2 put | b is not as described: value is \"\", want \"on\"\nfailed 3 put | toys.yml:8:21: verify[2].put.key: \"r\" has no value here\nfailed", done: "look a", programs: 2, code: runner.CodeFailed},
		{name: "after a run", text: "tasks: [{put: {key: a}}, {put: {key: b}}, {put: {key: 'on'}}]" + verify,
			ends: "changed 1 put\nchanged 2 put\nchanged 3 put\nunchanged 4 look\nunchanged 5 put\nunchanged 6 put\nok", done: "put a=on, put b=on, put on=on, look a", programs: 3},
		{name: "not after a failure", text: "tasks: [{put: {key: a, fail: true}}]" + verify, ends: "failed 1 put | no room\nfailed", done: "put a failed", programs: 2, code: runner.CodeFailed},
		{name: "not after a handler's failure", text: "tasks: [{put: {key: a}, notify: h}]\nhandlers: {h: {say: {text: h, fail: true}}}" + verify,
			ends: "changed 2 put\nqueue h\nfailed 1 say | h | hoarse\nfailed", done: "put a=on, say h failed", programs: 2, code: runner.CodeFailed},
		{name: "a failure of it is one", text: "tasks: [{put: {key: a, value: 'off'}}]" + verify,
			ends: "changed 1 put\nfailed 2 look | it is \"off\"\nfailed 3 put | b is not as described: value is \"\", want \"on\"\nfailed 4 put | toys.yml:8:21: verify[2].put.key: \"r\" has no value here\nfailed", done: "put a=off, look a", programs: 3, code: runner.CodeFailed},
	})
}
