package load_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"holdfast/playbooks/source"
	"holdfast/runner/expr"
	"holdfast/runner/load"
	"holdfast/tasks/task"
)

func fromJSON(t testing.TB, args json.RawMessage) *source.Node {
	t.Helper()
	n, err := source.FromJSON(source.Pos{}, args)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// resolved returns a task's arguments, or why they are not known.
func resolved(t testing.TB, n *load.Node, sc *load.Scope) string {
	t.Helper()
	r, unknown, err := n.Resolve(context.Background(), sc, &load.SecretTable{})
	switch {
	case err != nil:
		return "failure: " + err.Error()
	case unknown != nil:
		return "unknown: " + strings.Join(unknown.Reasons(), ", ")
	}
	return string(r.Args)
}

func TestResolve(t *testing.T) {
	s := setup{text: `
params: {mode: {type: string, default: "0640"}, n: {type: int, default: 5}, any: {type: any, default: {v: 1.10, w: 0x1f, x: True, y: ~, z: 7}}, pairs: {type: any, default: {a: 1, b: x}}}
tasks:
  - make: {name: "${host.name}-${params.n}", mode: "${params.mode}", count: "${params.n + 1}", words: ["${host.labels.role}", plain], env: {A: "${params.n}", B: "$${x}"}}
  - make: {name: a, mode: 0600, accounts: "${[{'name': 'b'}]}"}
  - make: {name: a, env: "${params.pairs}", path: "${null}"}
  - make:
      name: |-
        ${host.name}
`}
	h := s.bound(t)
	sc := h.NewScope(nil)
	for i, want := range []string{
		`{"name":"web1-5","mode":"0640","count":"6","words":["web","plain"],"env":{"A":"5","B":"${x}"}}`,
		`{"name":"a","mode":"0600","accounts":[{"name":"b"}]}`,
		`{"name":"a","env":{"a":"1","b":"x"},"path":null}`,
		`{"name":"web1"}`,
	} {
		if got := resolved(t, h.Playbook.Tasks[i], sc); got != want {
			t.Errorf("task %d\n got %s\nwant %s", i, got, want)
		}
	}
	if want := (map[string]any{"v": "1.10", "w": "0x1f", "x": true, "y": nil, "z": int64(7)}); !reflect.DeepEqual(h.Params["any"], want) {
		t.Errorf("any: got %#v", h.Params["any"])
	}
}

func TestUnknowns(t *testing.T) {
	s := setup{text: `
tasks:
  - make: {name: ask}
    register: r
  - make: {name: "${r.home}", words: ["${facts.arch}", "${r.home}"]}
  - make: {name: ok}
    when: r.uid > 5 || host.name == "web1"
  - make: {name: ok}
    when: r.uid > 5
`}
	h := s.bound(t)
	sc := h.NewScope(&task.Facts{Arch: "amd64"})
	sc.SetResult("r", expr.Unknown{Reason: "ask"})
	tasks := h.Playbook.Tasks
	if got := resolved(t, tasks[1], sc); got != "unknown: ask" {
		t.Errorf("got %s", got)
	}
	for i, want := range map[int]string{2: "true", 3: "ask"} {
		holds, unknown, err := tasks[i].When.Eval(context.Background(), sc.Vars())
		got := "true"
		if unknown != nil {
			got = unknown.Reason
		} else if !holds || err != nil {
			got = "false"
		}
		if got != want {
			t.Errorf("condition %d: got %s, %v, want %s", i, got, err, want)
		}
	}
	v, err := tasks[0].ResultValue(json.RawMessage(`{"uid":7,"home":"/x","lines":null}`))
	if err != nil {
		t.Fatal(err)
	}
	sc.SetResult("r", v)
	if got, want := resolved(t, tasks[1], sc), `{"name":"/x","words":["amd64","/x"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	sc.Forget("r")
	if got := resolved(t, tasks[1], sc); !strings.Contains(got, `"r" has no value here`) {
		t.Errorf("a result that is gone: got %s", got)
	}
	for _, bad := range []string{`{"uid":"x"}`, `[]`, `{`, `{"lines":[1]}`} {
		if _, err := tasks[0].ResultValue(json.RawMessage(bad)); err == nil {
			t.Errorf("the result %s was taken", bad)
		}
	}
}

// What becomes known while a loop goes on is known inside of it.
func TestTurnsSeeLaterResults(t *testing.T) {
	h := setup{text: "tasks:\n  - make: {name: a}\n    register: r\n  - make: {name: \"${item}${r.home}\"}\n    each: [x, y]\n"}.bound(t)
	n := h.Playbook.Tasks[1]
	sc := h.NewScope(nil)
	sc.SetResult("r", expr.Unknown{Reason: "a"})
	items, unknown, err := n.Items(context.Background(), sc)
	if err != nil || unknown != nil || len(items) != 2 {
		t.Fatal(items, unknown, err)
	}
	turn := sc.Turn("item", items[0], 0)
	inner := turn.Bind("result", made{})
	if got := resolved(t, n, inner); got != "unknown: a" {
		t.Errorf("got %s", got)
	}
	sc.SetResult("r", made{Home: "/h"})
	for _, in := range []*load.Scope{turn, inner} {
		if got := resolved(t, n, in); got != `{"name":"x/h"}` {
			t.Errorf("got %s", got)
		}
	}
	if got := resolved(t, n, sc.Turn("item", items[1], 1)); got != `{"name":"y/h"}` {
		t.Errorf("got %s", got)
	}
}

func TestItems(t *testing.T) {
	s := setup{secrets: map[string]string{"env:A": "alpha"}, text: `
tasks:
  - make: {name: ask}
    register: r
  - make: {name: x, secret: "${item.pw}"}
    each: [{pw: '${secret("env:A")}', mode: 0644, n: 7, f: 1.5, t: true, nested: [a, {b: c}]}]
  - make: {name: "${item}"}
    each: ["${r.home}", b]
  - make: {name: "${item}"}
    each: ${r.lines}
`}
	h := s.bound(t)
	sc := h.NewScope(nil)
	sc.SetResult("r", expr.Unknown{Reason: "ask"})
	ctx := context.Background()
	items, unknown, err := h.Playbook.Tasks[1].Items(ctx, sc)
	if err != nil || unknown != nil {
		t.Fatal(unknown, err)
	}
	item := items[0].(map[string]any)
	delete(item, "pw")
	if want := (map[string]any{"mode": "0644", "n": int64(7), "f": 1.5, "t": true, "nested": []any{"a", map[string]any{"b": "c"}}}); !reflect.DeepEqual(item, want) {
		t.Errorf("got %#v", item)
	}
	items, unknown, err = h.Playbook.Tasks[2].Items(ctx, sc)
	if err != nil || unknown == nil || len(items) != 2 || items[1] != "b" {
		t.Errorf("a list that is known in part: got %v, %v, %v", items, unknown, err)
	}
	items, unknown, err = h.Playbook.Tasks[3].Items(ctx, sc)
	if err != nil || unknown == nil || items != nil {
		t.Errorf("a list that is not known: got %v, %v, %v", items, unknown, err)
	}
	items, _, _ = h.Playbook.Tasks[1].Items(ctx, sc)
	table := &load.SecretTable{}
	r, _, err := h.Playbook.Tasks[1].Resolve(ctx, sc.Turn("item", items[0], 0), table)
	if err != nil || string(r.Args) != `{"name":"x","secret":{"$secret":"1"}}` || table.All()[1].Reveal() != "alpha" {
		t.Errorf("a secret of an item: got %s, %v", r.Args, err)
	}
}

func TestEnter(t *testing.T) {
	s := setup{secrets: map[string]string{"env:A": "alpha", "env:B": "beta"}, uses: map[string]string{"inner": `
params:
  word: {type: string, required: true}
  num: {type: int, default: 3, check: value < 10}
  pw: {type: secret, default: "env:A"}
tasks:
  - make: {name: "${params.word}${params.num}", secret: "${params.pw}"}
    notify: h
handlers: {h: {do: {what: "${params.word}"}}}
`}, text: `
tasks:
  - make: {name: ask}
    register: r
  - use: inner
    with: {word: "${r.home}", pw: '${secret("env:B")}'}
  - use: inner
    with: {word: x, num: "${r.uid}"}
    each: [1, 2]
`}
	h := s.bound(t)
	sc := h.NewScope(nil)
	ctx := context.Background()
	use, again := h.Playbook.Tasks[1], h.Playbook.Tasks[2]
	sc.SetResult("r", expr.Unknown{Reason: "ask"})
	if _, unknown, err := use.Enter(ctx, sc); err != nil || unknown == nil {
		t.Errorf("got %v, %v", unknown, err)
	}
	sc.SetResult("r", made{Home: "home", UID: 50})
	inner, unknown, err := use.Enter(ctx, sc)
	if err != nil || unknown != nil {
		t.Fatal(unknown, err)
	}
	table := &load.SecretTable{}
	r, _, err := use.Use.Tasks[0].Resolve(ctx, inner, table)
	if err != nil || string(r.Args) != `{"name":"home3","secret":{"$secret":"1"}}` || table.All()[1].Reveal() != "beta" {
		t.Errorf("got %s, %v", r.Args, err)
	}
	if got := inner.Handlers(use.Use.Tasks[0].Notify); !reflect.DeepEqual(got, []string{"inner/h"}) {
		t.Errorf("handlers: got %q", got)
	}
	_, _, err = again.Enter(ctx, sc.Turn("item", int64(2), 1))
	if err == nil || !strings.Contains(err.Error(), `site.yml:10:26: tasks[2].with.num: the value does not pass the check "value < 10"`) {
		t.Errorf("a value that its check refuses: got %v", err)
	}
	sc.SetResult("r", made{UID: 5})
	inner, _, err = again.Enter(ctx, sc.Turn("item", int64(2), 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := inner.Handlers(again.Use.Tasks[0].Notify); !reflect.DeepEqual(got, []string{"inner#2/h[1]"}) {
		t.Errorf("handlers of a turn: got %q", got)
	}
	if got := again.Use.Handlers[0].Name; got != "inner#2/h" || inner.Handler(got) != "inner#2/h[1]" {
		t.Errorf("definition: got %q", got)
	}
}

func TestNeedsOfHosts(t *testing.T) {
	for needs, want := range map[string]string{
		"debian": "", "[ubuntu, debian>=12]": "", "debian>11": "", "debian=12": "", "debian<=12": "", "debian>=12.5": "the playbook \"site\" needs debian>=12.5, the host is debian 12",
		"debian<12": "the playbook \"site\" needs debian<12, the host is debian 12", "[ubuntu>=22.04, debian>12]": "the playbook \"site\" needs ubuntu>=22.04 or debian>12, the host is debian 12",
	} {
		h := setup{text: "needs: {os: " + needs + "}\ntasks: []\n"}.bound(t)
		if got := h.Playbook.Needs(&task.Facts{OS: task.OS{ID: "debian", Version: "12"}}); got != want {
			t.Errorf("%s: got %q, want %q", needs, got, want)
		}
	}
}
