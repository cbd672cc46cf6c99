package task_test

import (
	"context"
	"strings"
	"testing"

	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

const toyDoc = "# A toy.\n\nIt does nothing.\n\n## Examples\n\n```yaml\n- toy: {name: a}\n```\n\n```yaml\n- toy: {name: b}\n```\n"

type person struct {
	Name     string          `yaml:"name" validate:"required" doc:"Name of the person."`
	Age      *int64          `yaml:"age" validate:"min=0,max=150" doc:"SHA of nothing."`
	Role     string          `yaml:"role" default:"guest" validate:"oneof=guest owner" doc:"What they are."`
	Password task.SecretText `yaml:"password" doc:"Their password."`
}

// toy has a field of every type that a playbook can hold.
type toy struct {
	Name    string                     `yaml:"name" validate:"required" doc:"The name of it."`
	On      bool                       `yaml:"on" default:"true" doc:"Whether it is on."`
	Count   int64                      `yaml:"count" default:"3" validate:"min=1,max=9" doc:"How many."`
	Path    *task.Path                 `yaml:"path" doc:"Where."`
	Mode    *task.Mode                 `yaml:"mode" default:"0644" doc:"Bits."`
	Wait    task.Duration              `yaml:"wait" default:"5s" doc:"How long."`
	State   *string                    `yaml:"state" validate:"oneof=present absent" doc:"What it shall be."`
	Words   []string                   `yaml:"words" validate:"min=1,max=2" doc:"Some words."`
	Numbers []int64                    `yaml:"numbers" validate:"min=1,max=3" doc:"Some numbers."`
	Grid    [][]int64                  `yaml:"grid" validate:"max=2" doc:"Rows of numbers."`
	Env     map[string]string          `yaml:"env" validate:"max=2" doc:"Pairs."`
	Kinds   []string                   `yaml:"kinds" validate:"oneof=red green" doc:"Colours."`
	People  []person                   `yaml:"people" doc:"Who is in it."`
	Boss    *person                    `yaml:"boss" doc:"Who leads."`
	Text    *task.Blob                 `yaml:"text" blob:"text" validate:"excludes=file" doc:"Content."`
	File    *task.Blob                 `yaml:"file" blob:"file" doc:"A file."`
	Secret  task.SecretText            `yaml:"secret" doc:"A secret."`
	Secrets []task.SecretText          `yaml:"secrets" doc:"Secrets."`
	Keyring map[string]task.SecretText `yaml:"keyring" doc:"Secrets by name."`
	Owner   *string                    `yaml:"owner" validate:"requires=path" doc:"Who owns it."`
}

type toyState struct {
	Size int64 `yaml:"size" json:"size" doc:"How large."`
}

// seen is what the toy was given, to look at in a test.
type seen struct {
	params  toy
	changes []task.Change
	applied any
	undone  any
	valid   func(toy) error
}

func (s *seen) module() *task.Module {
	return task.New(task.Def[toy, toyState]{
		Name: "toy", Doc: toyDoc,
		Validate: func(p toy) error {
			if s.valid == nil {
				return nil
			}
			return s.valid(p)
		},
		Resource: func(p toy) string { s.params = p; return p.Name },
		Observe:  func(context.Context, task.Reader, toy) (toyState, error) { return toyState{7}, nil },
		Diff:     func(toy, toyState) []task.Change { return s.changes },
		Apply:    func(_ context.Context, _ task.Writer, _ toy, st toyState) error { s.applied = st; return nil },
		Undo:     func(_ context.Context, _ task.Writer, _ toy, st toyState) error { s.undone = st; return nil },
	})
}

func parse(t testing.TB, text string) *source.Node {
	t.Helper()
	n, faults := yamlfile.Parse("f.yml", []byte(text))
	if len(faults) > 0 {
		t.Fatalf("cannot read %q: %v", text, faults)
	}
	if n == nil {
		n = source.NewScalar(source.Pos{File: "f.yml", Line: 1, Col: 1}, source.Null, "")
	}
	return n
}

// at is where the toy's key stands in a playbook, for faults about what is missing.
var at = source.Pos{File: "f.yml", Line: 99, Col: 5}

// twoSecrets is a lookup that knows the secrets 1 and 2.
func twoSecrets(id int) (task.SecretText, bool) {
	if id == 1 || id == 2 {
		return secret.New(strings.Repeat("canary", id)), true
	}
	return task.SecretText{}, false
}

func lines(faults source.Faults) string {
	if len(faults) == 0 {
		return ""
	}
	return faults.Sorted().Error()
}
