package task

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Variable is a variable of a program's environment whose value must not be seen.
type Variable struct {
	Name  string     `yaml:"name" doc:"Name of the variable." validate:"required"`
	Value SecretText `yaml:"value" doc:"Its value." validate:"required"`
}

// Ran is what a program left.
type Ran struct {
	Status    int64  `yaml:"status" json:"status" doc:"Exit status."`
	Stdout    string `yaml:"stdout" json:"stdout" doc:"Standard output without the last line end; the middle is cut out of long ones."`
	Stderr    string `yaml:"stderr" json:"stderr" doc:"Standard error, likewise."`
	Truncated bool   `yaml:"truncated" json:"truncated" doc:"Whether something was cut."`
}

// Program is what modules that run a program of somebody else's are asked for alike.
type Program struct {
	Kind             string // how messages call it
	Dir              *Path
	Env              map[string]string
	SecretEnv        []Variable
	Creates, Removes *Path
	Unless, OnlyIf   *Command
	Status           []int64 // that are no failure; 0 when nil
	Changed          bool    // false promises that it only reads
	Undo             *string // what takes it back
}

// Validate returns a fault of the field that has one.
func (p *Program) Validate() error {
	for _, status := range p.Status {
		if status < 0 || status > 255 {
			return FieldErrorf("status", "%d is no exit status: want 0 to 255", status)
		}
	}
	for i, v := range p.SecretEnv {
		if _, twice := p.Env[v.Name]; twice {
			return FieldErrorf("secret_env", "the variable %q is in env too", v.Name)
		}
		if slices.ContainsFunc(p.SecretEnv[:i], func(o Variable) bool { return o.Name == v.Name }) {
			return FieldErrorf("secret_env", "the variable %q is given twice", v.Name)
		}
	}
	return p.validateUndo()
}

func (p *Program) validateUndo() error {
	if p.Undo == nil {
		return nil
	}
	if !p.Changed {
		return FieldErrorf("undo", "a %s that only reads has nothing to take back", p.Kind)
	}
	for _, v := range p.SecretEnv {
		if regexp.MustCompile(`\b` + regexp.QuoteMeta(v.Name) + `\b`).MatchString(*p.Undo) {
			return FieldErrorf("undo", "it names %s, and an undo has no secrets: the host does not keep them", v.Name)
		}
	}
	return nil
}

// Command returns the program with the directory and the environment that it gets.
func (p *Program) Command(argv []string, stdin []byte) Command {
	c := Command{Argv: argv, Env: p.Env, Secrets: map[string]SecretText{}, Stdin: stdin}
	for _, v := range p.SecretEnv {
		c.Secrets[v.Name] = v.Value
	}
	if p.Dir != nil {
		c.Dir = string(*p.Dir)
	}
	return c
}

// Skip says why the program need not run, "" when it must.
func (p *Program) Skip(ctx context.Context, r Reader) (string, error) {
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
		out, err := r.Query(ctx, *p.Unless)
		if err != nil || out.Status == 0 {
			return fmt.Sprintf("the %s in unless exits 0", p.Kind), err
		}
	}
	if p.OnlyIf != nil {
		out, err := r.Query(ctx, *p.OnlyIf)
		if err != nil || out.Status != 0 {
			return fmt.Sprintf("the %s in onlyif exits %d", p.Kind, out.Status), err
		}
	}
	return "", nil
}

// Run runs a command of the program, as a change or as a look, and judges its status.
// An error calls it by the name.
func (p *Program) Run(ctx context.Context, w Writer, c Command, name string) (Ran, error) {
	start := w.Run
	if !p.Changed {
		start = w.Query
	}
	c.Stream = p.Changed
	out, err := start(ctx, c)
	if err != nil {
		return Ran{}, err
	}
	ok := p.Status
	if ok == nil {
		ok = []int64{0}
	}
	r := Ran{
		Status: int64(out.Status), Truncated: out.Truncated,
		Stdout: strings.TrimRight(out.Stdout, "\r\n"), Stderr: strings.TrimRight(out.Stderr, "\r\n"),
	}
	if !slices.Contains(ok, r.Status) {
		return r, failed(name, out)
	}
	return r, nil
}

// RunUndo runs what takes the program back. It gets no secret variables, which the host
// does not keep.
func (p *Program) RunUndo(ctx context.Context, w Writer, argv []string, stdin []byte, name string) error {
	plain := *p
	plain.SecretEnv = nil
	out, err := w.Run(ctx, plain.Command(argv, stdin))
	if err != nil || out.Status == 0 {
		return err
	}
	if err = failed(name, out); len(p.SecretEnv) > 0 {
		err = fmt.Errorf("%w (it ran without secret_env: the host keeps no secrets)", err)
	}
	return err
}

// failed names the status and shows the last lines of what a program said.
func failed(name string, out Output) error {
	said := out.Stderr
	if strings.TrimSpace(said) == "" {
		said = out.Stdout
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) > 10 {
		lines = append([]string{"…"}, lines[len(lines)-10:]...)
	}
	if lines[0] == "" {
		return fmt.Errorf("%s exited with status %d and said nothing", name, out.Status)
	}
	return fmt.Errorf("%s exited with status %d: %s", name, out.Status, strings.Join(lines, "\n"))
}
