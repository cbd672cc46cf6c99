package task_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/playbooks/source/yamlfile"
	"holdfast/tasks/task"
)

type inner struct {
	Text *task.Blob `yaml:"text" blob:"text" doc:"Content."`
}

// define makes a module of a parameter type and returns what it panics with.
func define[P any]() (message string) {
	defer func() {
		if p := recover(); p != nil {
			message = fmt.Sprint(p)
		}
	}()
	task.NewAction(task.ActionDef[P, struct{}]{Name: "bad", Doc: "Bad.", Resource: func(P) string { return "" },
		Run: func(context.Context, task.Writer, P) (r struct{}, err error) { return r, nil }})
	return ""
}

func TestWrongTagsPanic(t *testing.T) {
	tests := []struct {
		name, got, want string
	}{
		{"no yaml tag", define[struct {
			A *string `doc:"A."`
		}](), "want an exported field with a yaml tag"},
		{"not exported", define[struct {
			a *string `yaml:"a" doc:"A."`
		}](), "want an exported field with a yaml tag"},
		{"embedded", define[struct {
			inner `yaml:"a" doc:"A."`
		}](), "want an exported field with a yaml tag"},
		{"options behind the name", define[struct {
			A *string `yaml:"a,omitempty" doc:"A."`
		}](), `"a,omitempty" is no name for a field`},
		{"a name with a capital", define[struct {
			A *string `yaml:"A" doc:"A."`
		}](), `"A" is no name for a field`},
		{"no doc", define[struct {
			A *string `yaml:"a"`
		}](), "want a doc tag"},
		{"doc without a full stop", define[struct {
			A *string `yaml:"a" doc:"A"`
		}](), "want a doc tag"},
		{"neither pointer nor required nor default", define[struct {
			A string `yaml:"a" doc:"A."`
		}](), "must be required or have a default"},
		{"required with a default", define[struct {
			A string `yaml:"a" default:"x" validate:"required" doc:"A."`
		}](), "a required field has no default"},
		{"unknown rule", define[struct {
			A *string `yaml:"a" validate:"requierd" doc:"A."`
		}](), `unknown rule "requierd"`},
		{"min that is no number", define[struct {
			A *int64 `yaml:"a" validate:"min=x" doc:"A."`
		}](), `bad rule "min=x"`},
		{"min over max", define[struct {
			A *int64 `yaml:"a" validate:"min=3,max=2" doc:"A."`
		}](), "min is more than max"},
		{"min of a string", define[struct {
			A *string `yaml:"a" validate:"min=3" doc:"A."`
		}](), "min and max go with integers"},
		{"oneof without words", define[struct {
			A *string `yaml:"a" validate:"oneof=" doc:"A."`
		}](), `bad rule "oneof="`},
		{"oneof of an integer", define[struct {
			A *int64 `yaml:"a" validate:"oneof=1 2" doc:"A."`
		}](), "oneof goes with strings"},
		{"oneof of a path", define[struct {
			A *task.Path `yaml:"a" validate:"oneof=/a" doc:"A."`
		}](), "oneof goes with strings"},
		{"excludes what is not there", define[struct {
			A *string `yaml:"a" validate:"excludes=b" doc:"A."`
		}](), `names the unknown field "b"`},
		{"requires what is not there", define[struct {
			A *string `yaml:"a" validate:"requires=b" doc:"A."`
		}](), `names the unknown field "b"`},
		{"two of one name", define[struct {
			A *string `yaml:"a" doc:"A."`
			B *string `yaml:"a" doc:"A."`
		}](), `two fields are called "a"`},
		{"default of the wrong type", define[struct {
			A int64 `yaml:"a" default:"x" doc:"A."`
		}](), "bad default"},
		{"default out of bounds", define[struct {
			A int64 `yaml:"a" default:"9" validate:"max=3" doc:"A."`
		}](), "9 is more than 3"},
		{"default that is none of the words", define[struct {
			A string `yaml:"a" default:"x" validate:"oneof=y z" doc:"A."`
		}](), `"x" is none of y, z`},
		{"default of a list", define[struct {
			A []string `yaml:"a" default:"x" doc:"A."`
		}](), "only scalars have defaults"},
		{"any", define[struct {
			A any `yaml:"a" validate:"required" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"an int", define[struct {
			A int `yaml:"a" default:"1" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"a float", define[struct {
			A *float64 `yaml:"a" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"a list of pointers", define[struct {
			A []*string `yaml:"a" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"a map with keys that are no strings", define[struct {
			A map[int64]string `yaml:"a" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"a map of structs", define[struct {
			A map[string]person `yaml:"a" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"a list of contents", define[struct {
			A []task.Blob `yaml:"a" doc:"A."`
		}](), "is not one that a playbook can hold"},
		{"content in a nested struct", define[struct {
			A *inner `yaml:"a" doc:"A."`
		}](), "content can only stand at the top"},
		{"content without a blob tag", define[struct {
			A *task.Blob `yaml:"a" doc:"A."`
		}](), "want a blob tag"},
		{"a blob tag of no kind", define[struct {
			A *task.Blob `yaml:"a" blob:"url" doc:"A."`
		}](), "want a blob tag"},
		{"a blob tag on a string", define[struct {
			A *string `yaml:"a" blob:"text" doc:"A."`
		}](), "want a blob tag"},
		{"a fault in a nested struct", define[struct {
			A []struct {
				B string `yaml:"b" doc:"B."`
			} `yaml:"a" doc:"A."`
		}](), "must be required or have a default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.got, tt.want) {
				t.Errorf("New panicked with %q, want %q", tt.got, tt.want)
			}
		})
	}
}

type wrapped struct{ wrappedFields }

type wrappedFields struct {
	A string          `yaml:"a" validate:"required" doc:"A."`
	B task.SecretText `yaml:"b" doc:"B."`
}

// A struct that only embeds another is read as that one.
func TestEmbedded(t *testing.T) {
	var got wrapped
	m := task.NewAction(task.ActionDef[wrapped, wrapped]{Name: "x", Doc: "X.", Resource: func(p wrapped) string { return p.A },
		Run: func(_ context.Context, _ task.Writer, p wrapped) (wrapped, error) { got = p; return p, nil }})
	if len(m.Params) != 2 || m.Params[1].Name != "b" || m.Result[0].Name != "a" || m.ResultType != reflect.TypeFor[wrappedFields]() {
		t.Fatalf("got %+v and %+v", m.Params, m.Result)
	}
	n, _ := yamlfile.Parse("x.yml", []byte("{a: text}"))
	b, err := m.Bind(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := b.Run(t.Context(), nil)
	data, _ := json.Marshal(out.(wrapped).A)
	if err != nil || got.A != "text" || b.Resource != "text" || string(data) != `"text"` {
		t.Errorf("got %+v, %s, %v", got, data, err)
	}
}

func TestWrongDefinitionsPanic(t *testing.T) {
	panics := func(name, want string, f func()) {
		t.Helper()
		defer func() {
			if p := fmt.Sprint(recover()); !strings.Contains(p, want) {
				t.Errorf("%s: panicked with %q, want %q", name, p, want)
			}
		}()
		f()
	}
	full := task.Def[person, toyState]{Name: "x", Doc: "X.", Resource: func(person) string { return "" },
		Observe: func(context.Context, task.Reader, person) (s toyState, err error) { return s, nil },
		Diff:    func(person, toyState) []task.Change { return nil },
		Apply:   func(context.Context, task.Writer, person, toyState) error { return nil }}
	task.New(full)
	for _, part := range []string{"Resource", "Observe", "Diff", "Apply"} {
		def := full
		reflect.ValueOf(&def).Elem().FieldByName(part).SetZero()
		panics("no "+part, "a Def needs Resource, Observe, Diff and Apply", func() { task.New(def) })
	}
	panics("no name", "without a name", func() { def := full; def.Name = ""; task.New(def) })
	panics("no doc", "must begin with a summary", func() { def := full; def.Doc = "\n"; task.New(def) })
	panics("no Run", "an ActionDef needs Resource and Run", func() {
		task.NewAction(task.ActionDef[person, toyState]{Name: "x", Doc: "X.", Resource: func(person) string { return "" }})
	})
}

func TestFieldsAreDescribed(t *testing.T) {
	m := (&seen{}).module()
	types := map[string]string{}
	for _, f := range m.Params {
		types[f.Name] = f.TypeName()
	}
	want := map[string]string{"name": "string", "on": "bool", "count": "int", "path": "path", "mode": "mode", "wait": "duration", "state": "string",
		"words": "list(string)", "numbers": "list(int)", "grid": "list(list(int))", "env": "map(string)", "kinds": "list(string)",
		"people": "list(mapping)", "boss": "mapping", "text": "content", "file": "content", "secret": "secret", "secrets": "list(secret)",
		"keyring": "map(secret)", "owner": "string"}
	if !reflect.DeepEqual(types, want) {
		t.Errorf("types\n got %v\nwant %v", types, want)
	}
	if m.Doc.Summary != "A toy." || len(m.Doc.Examples) != 2 || m.Doc.Examples[1] != "- toy: {name: b}\n" {
		t.Errorf("doc: got %+v", m.Doc)
	}
	if m.String() != "module toy" || m.ResultType != reflect.TypeFor[toyState]() || !m.HasUndo {
		t.Errorf("module: got %v, result %v, undo %v", m, m.ResultType, m.HasUndo)
	}
}

// A type of the standard library that reads itself from text needs no decoder of its own.
func TestTextUnmarshalers(t *testing.T) {
	type params struct {
		When time.Time `yaml:"when" validate:"required" doc:"Then."`
	}
	var got time.Time
	m := task.NewAction(task.ActionDef[params, struct{}]{Name: "at", Doc: "At.",
		Resource: func(p params) string { got = p.When; return "" },
		Run:      func(context.Context, task.Writer, params) (r struct{}, err error) { return r, nil }})
	if _, err := m.Bind(parse(t, "{when: '2026-01-02T03:04:05Z'}"), nil); err != nil || got.Year() != 2026 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := m.Bind(parse(t, "{when: soon}"), nil); err == nil {
		t.Error("a time that is none was taken")
	}
}
