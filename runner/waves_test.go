package runner_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/wire"
)

// waves are the hosts of each wave that began.
func (o outcome) waves() string {
	var out []string
	for _, e := range o.events {
		if e.Wave != nil {
			out = append(out, strings.Join(e.Wave.Hosts, " "))
		}
	}
	return strings.Join(out, " | ")
}

func TestWaves(t *testing.T) {
	for _, c := range []struct{ rollout, want string }{
		{"{waves: [1, 100%]}", "a | b c d e"},
		{"{waves: [1, 40%]}", "a | b c | d e"},
		{"{waves: [2]}", "a b | c d | e"},
		{"{waves: [10%, 100]}", "a | b c d e"},
		{"{}", "a b c d e"},
	} {
		h := hosts(t, 5)
		o := run(t, play{hosts: h, text: "rollout: " + c.rollout + "\ntasks: [{put: {key: k}}]"})
		if got := o.waves(); got != c.want || o.fin.OK != 5 || o.fin.Code != 0 {
			t.Errorf("%s: got %s and %+v, want %s", c.rollout, got, o.fin, c.want)
		}
	}
	h := hosts(t, 2)
	if o := run(t, play{hosts: h, mode: event.Plan, text: "rollout: {waves: [1]}\ntasks: [{put: {key: k}}]"}); o.waves() != "" || o.fin.Hosts != 2 {
		t.Errorf("a plan waits for nobody: %s, %+v", o.waves(), o.fin)
	}
}

// The canary's failure keeps the others from being touched; a budget allows for some.
func TestBudget(t *testing.T) {
	const text = `
rollout: {waves: [1, 2, 100%], budget: {hosts: BUDGET}}
tasks:
  - put: {key: k, fail: "${host.name in ['a', 'b']}"}
`
	for budget, want := range map[string]string{"0": "a", "1": "a | b c", "2": "a | b c | d e"} {
		h := hosts(t, 5)
		o := run(t, play{hosts: h, forks: 2, text: strings.ReplaceAll(text, "BUDGET", budget)})
		if o.waves() != want || o.fin.Code != runner.CodeFailed || o.fin.Interrupted || o.fin.Hosts != 5 {
			t.Errorf("budget %s: got %s and %+v, want %s", budget, o.waves(), o.fin, want)
		}
		begun := strings.Contains(want, "d e")
		if (o.status("d") != event.HostNotStarted) != begun || (h[3].done() != "") != begun {
			t.Errorf("budget %s: d is %s and did %q", budget, o.status("d"), h[3].done())
		}
		if stops := strings.Contains(tell(o.events), "the rollout stops: "); stops == begun {
			t.Errorf("budget %s: told\n%s", budget, tell(o.events))
		}
	}
	// A host that cannot be reached counts too.
	h := hosts(t, 3)
	o := run(t, play{hosts: h, unreachable: map[string]error{"a": errors.New("no route to host")}, text: "rollout: {waves: [1]}\ntasks: [{put: {key: k}}]"})
	if o.waves() != "a" || o.fin.Code != runner.CodeUnreachable || o.status("b") != event.HostNotStarted {
		t.Errorf("got %s and %+v", o.waves(), o.fin)
	}
}

// What fails while it is left alone has failed.
func TestSoak(t *testing.T) {
	h := hosts(t, 2)
	results := 0
	decays := func(m *wire.Message) (*wire.Message, bool) {
		if m.Result != nil {
			if results++; results == 2 { // that of the first look
				h[0].mu.Lock()
				h[0].values["k"] = "off"
				h[0].mu.Unlock()
			}
		}
		return m, true
	}
	o := run(t, play{hosts: h, answers: answers{"a": decays}, text: `
rollout: {waves: [1], soak: 10ms}
tasks:
  - put: {key: k}
verify:
  - look: {key: k, want: "on"}
`})
	if got := h[0].done(); got != "put k=on, look k, look k" || o.fin.Code != runner.CodeFailed || o.waves() != "a" || h[1].done() != "" {
		t.Errorf("got %+v, %s, %s and\n%s", o.fin, o.waves(), got, o.ends("a"))
	}
}
