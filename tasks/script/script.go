// Package script is the module that runs a script.
package script

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"slices"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Text        *task.Blob        `yaml:"text" doc:"The script." blob:"text" validate:"excludes=src"`
	Src         *task.Blob        `yaml:"src" doc:"File beside the playbook with the script." blob:"file"`
	Interpreter task.Path         `yaml:"interpreter" doc:"Program that reads the script." default:"/bin/sh"`
	Args        []string          `yaml:"args" doc:"Arguments of the script."`
	Dir         *task.Path        `yaml:"dir" doc:"Directory to run in."`
	Env         map[string]string `yaml:"env" doc:"Variables to add to the small environment that commands get."`
	SecretEnv   []task.Variable   `yaml:"secret_env" doc:"Variables whose values must not be seen."`
	Creates     *task.Path        `yaml:"creates" doc:"Skip when this path exists."`
	Removes     *task.Path        `yaml:"removes" doc:"Skip when this path does not exist."`
	Unless      *string           `yaml:"unless" doc:"Skip when this script, which must change nothing, exits 0."`
	OnlyIf      *string           `yaml:"onlyif" doc:"Skip when this script, which must change nothing, does not exit 0."`
	Status      []int64           `yaml:"status" doc:"Exit statuses that are no failure; 0 when absent."`
	Changed     bool              `yaml:"changed" doc:"Whether a run counts as a change; false promises that the script only reads." default:"true"`
	Undo        *string           `yaml:"undo" doc:"Script that takes back what this one did, without secret_env."`
}

//go:embed doc.md
var doc string

// Module runs scripts.
var Module = task.NewAction(task.ActionDef[Params, task.Ran]{
	Name: "script", Doc: doc, Validate: validate, Resource: resource,
	Skip: skip, Run: run,
	Changed:      func(p Params, _ task.Ran) bool { return p.Changed },
	Reads:        func(p Params) bool { return !p.Changed },
	Undo:         undo,
	Reversible:   func(p Params) bool { return p.Undo != nil || !p.Changed },
	Irreversible: "nobody knows what a script changed; say how to take it back with undo",
})

func validate(p Params) error {
	if p.Text == nil && p.Src == nil {
		return fmt.Errorf("there is nothing to run: give text or src")
	}
	return program(p).Validate()
}

// program is what is asked for, with the scripts that ask whether it must run.
func program(p Params) *task.Program {
	out := &task.Program{Kind: "script", Dir: p.Dir, Env: p.Env, SecretEnv: p.SecretEnv, Creates: p.Creates, Removes: p.Removes,
		Status: p.Status, Changed: p.Changed, Undo: p.Undo}
	asks := func(text *string) *task.Command {
		if text == nil {
			return nil
		}
		c := out.Command(argv(p), []byte(*text))
		return &c
	}
	out.Unless, out.OnlyIf = asks(p.Unless), asks(p.OnlyIf)
	return out
}

func blob(p Params) task.Blob {
	if p.Src != nil {
		return *p.Src
	}
	return *p.Text
}

func resource(p Params) string {
	return fmt.Sprintf("script %.12s", blob(p).Digest)
}

// shells read a script line by line while they run it, so that a program in it
// which reads its standard input would swallow the rest.
var shells = []string{"sh", "bash", "dash", "ksh", "zsh", "ash"}

// whole makes a shell read all of the script before it runs any of it.
const whole = `script=$(cat) && exec </dev/null && eval "$script"`

// argv runs a script that comes over standard input: arguments could be read by
// everybody on the host, and a file would have to be put somewhere and removed.
func argv(p Params) []string {
	out := []string{string(p.Interpreter), "-"}
	if slices.Contains(shells, path.Base(string(p.Interpreter))) {
		out = []string{string(p.Interpreter), "-c", whole, "script"}
	}
	return append(out, p.Args...)
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	return program(p).Skip(ctx, r)
}

func run(ctx context.Context, w task.Writer, p Params) (task.Ran, error) {
	text, ok := blob(p).Inline()
	if !ok {
		var err error
		if text, err = w.Blob(ctx, blob(p)); err != nil {
			return task.Ran{}, fmt.Errorf("cannot get the text of %s: %w", resource(p), err)
		}
	}
	prog := program(p)
	return prog.Run(ctx, w, prog.Command(argv(p), text), "the script")
}

func undo(ctx context.Context, w task.Writer, p Params, _ task.Ran) error {
	if p.Undo == nil {
		return nil
	}
	prog := program(p)
	return prog.RunUndo(ctx, w, argv(p), []byte(*p.Undo), "the script in undo")
}
