// Package command is the module that runs one program without a shell.
package command

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"strings"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Cmd       *string           `yaml:"cmd" doc:"Program and arguments on one line; quotes group words, and no shell is asked." validate:"excludes=argv"`
	Argv      []string          `yaml:"argv" doc:"Program and arguments as a list, taken as they are." validate:"min=1"`
	Dir       *task.Path        `yaml:"dir" doc:"Directory to run in."`
	Env       map[string]string `yaml:"env" doc:"Variables to add to the small environment that commands get."`
	SecretEnv []task.Variable   `yaml:"secret_env" doc:"Variables whose values must not be seen."`
	Stdin     *string           `yaml:"stdin" doc:"Text on standard input, which is empty otherwise."`
	Creates   *task.Path        `yaml:"creates" doc:"Skip when this path exists."`
	Removes   *task.Path        `yaml:"removes" doc:"Skip when this path does not exist."`
	Unless    *string           `yaml:"unless" doc:"Skip when this command, which must change nothing, exits 0."`
	OnlyIf    *string           `yaml:"onlyif" doc:"Skip when this command, which must change nothing, does not exit 0."`
	Status    []int64           `yaml:"status" doc:"Exit statuses that are no failure; 0 when absent."`
	Changed   bool              `yaml:"changed" doc:"Whether a run counts as a change; false promises that the command only reads." default:"true"`
	Undo      *string           `yaml:"undo" doc:"Command that takes back what this one did, without secret_env."`
}

//go:embed doc.md
var doc string

// Module runs commands.
var Module = task.NewAction(task.ActionDef[Params, task.Ran]{
	Name: "command", Doc: doc, Validate: validate, Resource: resource,
	Skip: skip, Run: run,
	Changed:      func(p Params, _ task.Ran) bool { return p.Changed },
	Reads:        func(p Params) bool { return !p.Changed },
	Undo:         undo,
	Reversible:   func(p Params) bool { return p.Undo != nil || !p.Changed },
	Irreversible: "nobody knows what a command changed; say how to take it back with undo",
})

func validate(p Params) error {
	if p.Cmd == nil && p.Argv == nil {
		return fmt.Errorf("there is nothing to run: give cmd or argv")
	}
	for _, f := range []struct {
		name string
		line *string
	}{{"cmd", p.Cmd}, {"unless", p.Unless}, {"onlyif", p.OnlyIf}, {"undo", p.Undo}} {
		if f.line == nil {
			continue
		}
		words, err := split(*f.line)
		if err != nil {
			return task.FieldErrorf(f.name, "%s", err)
		}
		if len(words) == 0 || words[0] == "" {
			return task.FieldErrorf(f.name, "names no program")
		}
	}
	if p.Cmd == nil && p.Argv[0] == "" {
		return task.FieldErrorf("argv", "names no program")
	}
	return program(p).Validate()
}

// program is what is asked for, with what a line asks for taken apart.
func program(p Params) *task.Program {
	out := &task.Program{Kind: "command", Dir: p.Dir, Env: p.Env, SecretEnv: p.SecretEnv, Creates: p.Creates, Removes: p.Removes,
		Status: p.Status, Changed: p.Changed, Undo: p.Undo}
	asks := func(line *string) *task.Command {
		if line == nil {
			return nil
		}
		c := out.Command(words(*line), nil)
		return &c
	}
	out.Unless, out.OnlyIf = asks(p.Unless), asks(p.OnlyIf)
	return out
}

func argv(p Params) []string {
	if p.Cmd != nil {
		return words(*p.Cmd)
	}
	return p.Argv
}

// words splits a line that validate has accepted.
func words(line string) []string {
	out, _ := split(line)
	return out
}

// resource is the program with its first argument: enough to know it again, and
// no place where a long line would break a report.
func resource(p Params) string {
	w := argv(p)
	if len(w) == 0 {
		return "command"
	}
	name := "command " + path.Base(w[0])
	if len(w) > 1 && len(w[1]) < 40 && !strings.ContainsAny(w[1], "\n\t") {
		name += " " + w[1]
	}
	return name
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	return program(p).Skip(ctx, r)
}

func run(ctx context.Context, w task.Writer, p Params) (task.Ran, error) {
	argv := argv(p)
	var stdin []byte
	if p.Stdin != nil {
		stdin = []byte(*p.Stdin)
	}
	prog := program(p)
	return prog.Run(ctx, w, prog.Command(argv, stdin), path.Base(argv[0]))
}

func undo(ctx context.Context, w task.Writer, p Params, _ task.Ran) error {
	if p.Undo == nil {
		return nil
	}
	argv, prog := words(*p.Undo), program(p)
	return prog.RunUndo(ctx, w, argv, nil, path.Base(argv[0]))
}
