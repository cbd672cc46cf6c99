// Package script is the module that runs a script.
package script

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"

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
	SecretEnv   []Variable        `yaml:"secret_env" doc:"Variables whose values must not be seen."`
	Creates     *task.Path        `yaml:"creates" doc:"Skip when this path exists."`
	Removes     *task.Path        `yaml:"removes" doc:"Skip when this path does not exist."`
	Unless      *string           `yaml:"unless" doc:"Skip when this script, which must change nothing, exits 0."`
	OnlyIf      *string           `yaml:"onlyif" doc:"Skip when this script, which must change nothing, does not exit 0."`
	Status      []int64           `yaml:"status" doc:"Exit statuses that are no failure; 0 when absent."`
	Changed     bool              `yaml:"changed" doc:"Whether a run counts as a change; false promises that the script only reads." default:"true"`
	Undo        *string           `yaml:"undo" doc:"Script that takes back what this one did."`
}

// Variable is a variable of the environment.
type Variable struct {
	Name  string          `yaml:"name" doc:"Name of the variable." validate:"required"`
	Value task.SecretText `yaml:"value" doc:"Its value." validate:"required"`
}

// Result is what the script left.
type Result struct {
	Status    int64  `yaml:"status" json:"status" doc:"Exit status."`
	Stdout    string `yaml:"stdout" json:"stdout" doc:"Standard output without the last line end; the middle is cut out of long ones."`
	Stderr    string `yaml:"stderr" json:"stderr" doc:"Standard error, likewise."`
	Truncated bool   `yaml:"truncated" json:"truncated" doc:"Whether something was cut."`
}

//go:embed doc.md
var doc string

// Module runs scripts.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "script", Doc: doc, Validate: validate, Resource: resource,
	Skip: skip, Run: run,
	Changed:      func(p Params, _ Result) bool { return p.Changed },
	Reads:        func(p Params) bool { return !p.Changed },
	Undo:         undo,
	Reversible:   func(p Params) bool { return p.Undo != nil || !p.Changed },
	Irreversible: "nobody knows what a script changed; say how to take it back with undo",
})

func validate(p Params) error {
	for _, status := range p.Status {
		if status < 0 || status > 255 {
			return task.FieldErrorf("status", "%d is no exit status: want 0 to 255", status)
		}
	}
	if p.Text == nil && p.Src == nil {
		return fmt.Errorf("there is nothing to run: give text or src")
	}
	for i, v := range p.SecretEnv {
		if _, twice := p.Env[v.Name]; twice {
			return task.FieldErrorf("secret_env", "the variable %q is in env too", v.Name)
		}
		if slices.ContainsFunc(p.SecretEnv[:i], func(o Variable) bool { return o.Name == v.Name }) {
			return task.FieldErrorf("secret_env", "the variable %q is given twice", v.Name)
		}
	}
	if p.Undo != nil && !p.Changed {
		return task.FieldErrorf("undo", "a script that only reads has nothing to take back")
	}
	return nil
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

// command runs a script that comes over standard input: arguments could be read
// by everybody on the host, and a file would have to be put somewhere and removed.
func command(p Params, script []byte) task.Command {
	name := path.Base(string(p.Interpreter))
	argv := []string{string(p.Interpreter), "-"}
	if slices.Contains(shells, name) {
		argv = []string{string(p.Interpreter), "-c", whole, "script"}
	}
	c := task.Command{Argv: append(argv, p.Args...), Env: p.Env, Secrets: secrets(p), Stdin: script}
	if p.Dir != nil {
		c.Dir = string(*p.Dir)
	}
	return c
}

func secrets(p Params) map[string]task.SecretText {
	out := map[string]task.SecretText{}
	for _, v := range p.SecretEnv {
		out[v.Name] = v.Value
	}
	return out
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	if p.Creates != nil {
		info, err := r.Stat(ctx, string(*p.Creates))
		if err != nil || info.Exists() {
			return fmt.Sprintf("%s exists", *p.Creates), err
		}
	}
	if p.Removes != nil {
		info, err := r.Stat(ctx, string(*p.Removes))
		if err != nil || !info.Exists() {
			return fmt.Sprintf("%s does not exist", *p.Removes), err
		}
	}
	if p.Unless != nil {
		out, err := r.Query(ctx, command(p, []byte(*p.Unless)))
		if err != nil || out.Status == 0 {
			return "the script in unless exits 0", err
		}
	}
	if p.OnlyIf != nil {
		out, err := r.Query(ctx, command(p, []byte(*p.OnlyIf)))
		if err != nil || out.Status != 0 {
			return fmt.Sprintf("the script in onlyif exits %d", out.Status), err
		}
	}
	return "", nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	text, ok := blob(p).Inline()
	if !ok {
		var err error
		if text, err = w.Blob(ctx, blob(p)); err != nil {
			return Result{}, fmt.Errorf("cannot get the text of %s: %w", resource(p), err)
		}
	}
	c := command(p, text)
	start := w.Run
	if !p.Changed {
		start = w.Query
	}
	c.Stream = p.Changed
	out, err := start(ctx, c)
	if err != nil {
		return Result{}, err
	}
	r := Result{
		Status: int64(out.Status), Truncated: out.Truncated,
		Stdout: strings.TrimRight(out.Stdout, "\r\n"), Stderr: strings.TrimRight(out.Stderr, "\r\n"),
	}
	statuses := p.Status
	if statuses == nil {
		statuses = []int64{0}
	}
	if !slices.Contains(statuses, r.Status) {
		return r, failure("the script", r)
	}
	return r, nil
}

// failure names the status and shows the last lines of what the script said.
func failure(name string, r Result) error {
	said := r.Stderr
	if strings.TrimSpace(said) == "" {
		said = r.Stdout
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) > 10 {
		lines = append([]string{"…"}, lines[len(lines)-10:]...)
	}
	if lines[0] == "" {
		return fmt.Errorf("%s exited with status %d and said nothing", name, r.Status)
	}
	return fmt.Errorf("%s exited with status %d: %s", name, r.Status, strings.Join(lines, "\n"))
}

func undo(ctx context.Context, w task.Writer, p Params, _ Result) error {
	if p.Undo == nil {
		return nil
	}
	out, err := w.Run(ctx, command(p, []byte(*p.Undo)))
	if err != nil {
		return err
	}
	if out.Status != 0 {
		return failure("the script in undo", Result{Status: int64(out.Status), Stdout: out.Stdout, Stderr: out.Stderr})
	}
	return nil
}
