package task_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

func TestBoundState(t *testing.T) {
	s := &seen{changes: []task.Change{task.Set("count", "1", "2")}}
	b, err := s.module().Bind(parse(t, "{name: a}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	state, changes, err := b.Observe(ctx, nil)
	if err != nil || state != (toyState{7}) || len(changes) != 1 || changes[0].After != "2" {
		t.Fatalf("Observe: got %v, %v, %v", state, changes, err)
	}
	if err := b.Apply(ctx, nil, state); err != nil || s.applied != state {
		t.Errorf("Apply: got %v, %v", s.applied, err)
	}
	if err := b.Undo(ctx, nil, []byte(`{"size":8}`)); err != nil || s.undone != (toyState{8}) {
		t.Errorf("Undo: got %v, %v", s.undone, err)
	}
	if err := b.Undo(ctx, nil, []byte(`{"size":"x"}`)); err == nil || !strings.Contains(err.Error(), "cannot read the saved state") {
		t.Errorf("Undo of a broken state: got %v", err)
	}
	if b.Run != nil || b.Skip != nil || !b.Reversible || b.Resource != "a" {
		t.Errorf("bound: got %+v", b)
	}
}

func TestWithhold(t *testing.T) {
	all := []task.Change{
		{Attr: "secret", Before: "b", After: "a", Diff: "d"}, {Attr: "name", After: "a"}, {Attr: "secrets", After: "a"}, {Attr: "secrets[0]", After: "a"},
		{Attr: "keyring.k", After: "a"}, {Attr: "people", After: "a"}, {Attr: "people[0].password", After: "a"}, {Attr: "people[0].role", After: "a"},
		{Attr: "boss", After: "a"}, {Attr: "boss.password", After: "a"}, {Attr: "boss.role", After: "a"}, {Attr: "text", After: "a"}, {Attr: "file", After: "a"},
		{Attr: "words", After: "a", Sensitive: true},
	}
	tests := []struct {
		name, args string
		withheld   string
	}{
		{"no secrets", "{name: a, boss: {name: b}, text: {$text: x}}", "words"},
		{"a secret", "{name: a, secret: {$secret: 1}}", "secret words"},
		{"a list of secrets", "{name: a, secrets: [{$secret: 1}]}", "secrets secrets[0] words"},
		{"a map of secrets", "{name: a, keyring: {k: {$secret: 1}}}", "keyring.k words"},
		{"a struct with one", "{name: a, boss: {name: b, password: {$secret: 1}}}", "boss boss.password words"},
		{"a list of structs with one", "{name: a, people: [{name: c}, {name: b, password: {$secret: 1}}]}", "people people[0].password words"},
		{"inline content that reveals", "{name: a, text: {$text: x, secret: true}}", "text words"},
		{"content that reveals", "{name: a, file: {$blob: " + task.DigestOf(nil) + ", size: 0, secret: true}}", "file words"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &seen{changes: append([]task.Change(nil), all...)}
			b, err := s.module().Bind(parse(t, tt.args), twoSecrets)
			if err != nil {
				t.Fatal(err)
			}
			_, changes, err := b.Observe(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, c := range changes {
				if c.Sensitive != (c.Before+c.After+c.Diff == "") {
					t.Errorf("%s: got %+v of %+v", tt.args, c, all[i])
				}
				if c.Sensitive {
					got = append(got, c.Attr)
				}
			}
			if strings.Join(got, " ") != tt.withheld {
				t.Errorf("%s: withheld %q, want %q", tt.args, got, tt.withheld)
			}
		})
	}
}

type ping struct {
	To       string `yaml:"to" validate:"required" doc:"Where to."`
	Dry      bool   `yaml:"dry" default:"false" doc:"Only look."`
	Lasting  bool   `yaml:"lasting" default:"false" doc:"Cannot be taken back."`
	Fail     bool   `yaml:"fail" default:"false" doc:"Fails."`
	Harmless bool   `yaml:"harmless" default:"false" doc:"Changes nothing."`
}

type pong struct {
	From string `yaml:"from" json:"from" doc:"Where from."`
}

func pinger(edit func(*task.ActionDef[ping, pong])) *task.Module {
	def := task.ActionDef[ping, pong]{
		Name: "ping", Doc: "Pings.", Resource: func(p ping) string { return p.To },
		Reads:      func(p ping) bool { return p.Dry },
		Reversible: func(p ping) bool { return !p.Lasting },
		Skip: func(_ context.Context, _ task.Reader, p ping) (string, error) {
			return strings.TrimPrefix(p.To, "skip "), nil
		},
		Run: func(_ context.Context, _ task.Writer, p ping) (pong, error) {
			if p.Fail {
				return pong{}, errors.New("no answer")
			}
			return pong{p.To}, nil
		},
		Changed: func(p ping, r pong) bool {
			if p.Fail || r.From == "" {
				panic("asked about the result of a failure")
			}
			return !p.Harmless
		},
		Undo: func(_ context.Context, _ task.Writer, p ping, r pong) error { return errors.New(p.To + " " + r.From) },
	}
	if edit != nil {
		edit(&def)
	}
	return task.NewAction(def)
}

func TestBoundActions(t *testing.T) {
	tests := []struct {
		name, args                               string
		readOnly, reversible, undo, changed, bad bool
		edit                                     func(*task.ActionDef[ping, pong])
	}{
		{name: "an action", args: "{to: a}", reversible: true, undo: true, changed: true},
		{name: "one that only reads with these arguments", args: "{to: a, dry: true}", readOnly: true, reversible: true, undo: true, changed: true},
		{name: "one that cannot be taken back with these", args: "{to: a, lasting: true}", changed: true},
		{name: "one that fails", args: "{to: a, fail: true}", reversible: true, undo: true, bad: true},
		{name: "one that says it changed nothing", args: "{to: a, harmless: true}", reversible: true, undo: true},
		{name: "a change without Changed", args: "{to: a}", reversible: true, undo: true, changed: true,
			edit: func(d *task.ActionDef[ping, pong]) { d.Changed = nil }},
		{name: "a wait", args: "{to: a}", reversible: true,
			edit: func(d *task.ActionDef[ping, pong]) { d.Changed, d.Wait, d.Reversible, d.Undo = nil, true, nil, nil }},
		{name: "a read", args: "{to: a}", reversible: true, readOnly: true,
			edit: func(d *task.ActionDef[ping, pong]) { d.Changed, d.ReadOnly, d.Reversible, d.Undo = nil, true, nil, nil }},
		{name: "no undo", args: "{to: a}", changed: true,
			edit: func(d *task.ActionDef[ping, pong]) { d.Reversible, d.Undo = nil, nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := pinger(tt.edit).Bind(parse(t, tt.args), nil)
			if err != nil {
				t.Fatal(err)
			}
			r, changed, err := b.Run(context.Background(), nil)
			if (err != nil) != tt.bad || changed != tt.changed || !tt.bad && r != (pong{"a"}) {
				t.Errorf("Run: got %v, %v, %v; want changed %v", r, changed, err, tt.changed)
			}
			if b.ReadOnly != tt.readOnly || b.Reversible != tt.reversible || (b.Undo != nil) != tt.undo {
				t.Errorf("got read-only %v, reversible %v, undo %v; want %v, %v, %v", b.ReadOnly, b.Reversible, b.Undo != nil, tt.readOnly, tt.reversible, tt.undo)
			}
			if b.Observe != nil || b.Apply != nil {
				t.Error("an action has the parts of a state")
			}
		})
	}
	b, err := pinger(nil).Bind(parse(t, "{to: skip why}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if why, err := b.Skip(context.Background(), nil); why != "why" || err != nil {
		t.Errorf("Skip: got %q, %v", why, err)
	}
	if err := b.Undo(context.Background(), nil, []byte(`{"from":"x"}`)); err == nil || err.Error() != "skip why x" {
		t.Errorf("Undo: got %v", err)
	}
	if err := b.Undo(context.Background(), nil, []byte(`{`)); err == nil {
		t.Error("Undo took a torn result")
	}
}

// What shows of arguments with a secret in them shows no secret.
func TestSecretsDoNotPrint(t *testing.T) {
	s := &seen{}
	lookup := func(int) (task.SecretText, bool) { return secret.New("c4n4ry-value"), true }
	if _, err := s.module().Bind(parse(t, "{name: a, secret: {$secret: 1}, secrets: [{$secret: 2}]}"), lookup); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{reflect.ValueOf(s.params).String(), strings.Join(strings.Fields(sprint(s.params)), " ")} {
		if strings.Contains(text, "c4n4ry") {
			t.Errorf("the secret shows in %s", text)
		}
	}
}
