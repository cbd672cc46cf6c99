// Package command is the module that runs one program without a shell.
package command

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
	Cmd       *string           `yaml:"cmd" doc:"Program and arguments on one line; quotes group words, and no shell is asked." validate:"excludes=argv"`
	Argv      []string          `yaml:"argv" doc:"Program and arguments as a list, taken as they are." validate:"min=1"`
	Dir       *task.Path        `yaml:"dir" doc:"Directory to run in."`
	Env       map[string]string `yaml:"env" doc:"Variables to add to the small environment that commands get."`
	SecretEnv []Variable        `yaml:"secret_env" doc:"Variables whose values must not be seen."`
	Stdin     *string           `yaml:"stdin" doc:"Text on standard input, which is empty otherwise."`
	Creates   *task.Path        `yaml:"creates" doc:"Skip when this path exists."`
	Removes   *task.Path        `yaml:"removes" doc:"Skip when this path does not exist."`
	Unless    *string           `yaml:"unless" doc:"Skip when this command, which must change nothing, exits 0."`
	OnlyIf    *string           `yaml:"onlyif" doc:"Skip when this command, which must change nothing, does not exit 0."`
	Status    []int64           `yaml:"status" doc:"Exit statuses that are no failure; 0 when absent."`
	Changed   bool              `yaml:"changed" doc:"Whether a run counts as a change; false promises that the command only reads." default:"true"`
	Undo      *string           `yaml:"undo" doc:"Command that takes back what this one did."`
}

// Variable is a variable of the environment.
type Variable struct {
	Name  string          `yaml:"name" doc:"Name of the variable." validate:"required"`
	Value task.SecretText `yaml:"value" doc:"Its value." validate:"required"`
}

// Result is what the command left.
type Result struct {
	Status    int64  `yaml:"status" json:"status" doc:"Exit status."`
	Stdout    string `yaml:"stdout" json:"stdout" doc:"Standard output without the last line end; the middle is cut out of long ones."`
	Stderr    string `yaml:"stderr" json:"stderr" doc:"Standard error, likewise."`
	Truncated bool   `yaml:"truncated" json:"truncated" doc:"Whether something was cut."`
}

//go:embed doc.md
var doc string

// Module runs commands.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "command", Doc: doc, Validate: validate, Resource: resource,
	Skip: skip, Run: run,
	Changed:      func(p Params, _ Result) bool { return p.Changed },
	Reads:        func(p Params) bool { return !p.Changed },
	Undo:         undo,
	Reversible:   func(p Params) bool { return p.Undo != nil || !p.Changed },
	Irreversible: "nobody knows what a command changed; say how to take it back with undo",
})

func validate(p Params) error {
	for _, status := range p.Status {
		if status < 0 || status > 255 {
			return task.FieldErrorf("status", "%d is no exit status: want 0 to 255", status)
		}
	}
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
	for i, v := range p.SecretEnv {
		if _, twice := p.Env[v.Name]; twice {
			return task.FieldErrorf("secret_env", "the variable %q is in env too", v.Name)
		}
		if slices.ContainsFunc(p.SecretEnv[:i], func(o Variable) bool { return o.Name == v.Name }) {
			return task.FieldErrorf("secret_env", "the variable %q is given twice", v.Name)
		}
	}
	if p.Undo != nil && !p.Changed {
		return task.FieldErrorf("undo", "a command that only reads has nothing to take back")
	}
	return nil
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

func command(p Params, argv []string) task.Command {
	c := task.Command{Argv: argv, Env: p.Env, Secrets: secrets(p)}
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
		out, err := r.Query(ctx, command(p, words(*p.Unless)))
		if err != nil || out.Status == 0 {
			return "the command in unless exits 0", err
		}
	}
	if p.OnlyIf != nil {
		out, err := r.Query(ctx, command(p, words(*p.OnlyIf)))
		if err != nil || out.Status != 0 {
			return fmt.Sprintf("the command in onlyif exits %d", out.Status), err
		}
	}
	return "", nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	c := command(p, argv(p))
	if p.Stdin != nil {
		c.Stdin = []byte(*p.Stdin)
	}
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
	ok := p.Status
	if ok == nil {
		ok = []int64{0}
	}
	if !slices.Contains(ok, r.Status) {
		return r, failure(path.Base(c.Argv[0]), r)
	}
	return r, nil
}

// failure names the status and shows the last lines of what the command said.
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
	argv := words(*p.Undo)
	out, err := w.Run(ctx, command(p, argv))
	if err != nil {
		return err
	}
	if out.Status != 0 {
		return failure(path.Base(argv[0]), Result{Status: int64(out.Status), Stdout: out.Stdout, Stderr: out.Stderr})
	}
	return nil
}
