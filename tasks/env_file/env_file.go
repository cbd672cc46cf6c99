// Package envfile manages variables in files of KEY=value lines.
package envfile

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path      task.Path                  `yaml:"path" validate:"required" doc:"The file."`
	Format    string                     `yaml:"format" default:"systemd" validate:"oneof=systemd dotenv" doc:"Who reads it: EnvironmentFile= of systemd, or dotenv and docker compose."`
	Set       map[string]string          `yaml:"set" doc:"Variables and their values."`
	Secrets   map[string]task.SecretText `yaml:"secrets" doc:"Variables whose values are secrets; they are never shown."`
	Remove    []string                   `yaml:"remove" doc:"Variables that must not be there."`
	Exclusive bool                       `yaml:"exclusive" default:"false" doc:"Whether variables that are not named here are removed."`
	Create    bool                       `yaml:"create" default:"true" doc:"Whether a missing file is made."`
	Mode      *task.Mode                 `yaml:"mode" doc:"Permission bits in octal; a new file is 0644, with secrets 0600."`
	Owner     *string                    `yaml:"owner" doc:"The account that owns the file, by name or number."`
	Group     *string                    `yaml:"group" doc:"The group of the file, by name or number."`
}

// State is what the host has.
type State struct {
	Kind  string   `yaml:"kind" json:"kind" doc:"What is at the path: absent or file."`
	Names []string `yaml:"names" json:"names" doc:"The variables in it."`
	Mode  string   `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner string   `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group string   `yaml:"group" json:"group" doc:"Group, empty when absent."`
	lines []line   `yaml:"-"`
}

const maxSize = 1 << 20

// Module manages files of variables.
var Module = task.New(task.Def[Params, State]{
	Name: "env_file", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

var nameRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func validate(p Params) error {
	if len(p.Set)+len(p.Secrets)+len(p.Remove) == 0 && !p.Exclusive {
		return task.FieldErrorf("set", "there is nothing to do: give set, secrets or remove")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Set)) {
		if err := writable("set."+name, p.Format, name, p.Set[name]); err != nil {
			return err
		}
		if _, twice := p.Secrets[name]; twice {
			return task.FieldErrorf("secrets."+name, "it is in set too")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Secrets)) {
		if err := writable("secrets."+name, p.Format, name, p.Secrets[name].Reveal()); err != nil {
			return err
		}
	}
	for i, name := range p.Remove {
		_, set := p.Set[name]
		_, secret := p.Secrets[name]
		if set || secret {
			return task.FieldErrorf(fmt.Sprintf("remove[%d]", i), "%s is set too", name)
		}
		if !nameRule.MatchString(name) {
			return task.FieldErrorf(fmt.Sprintf("remove[%d]", i), "%q is no name of a variable", name)
		}
	}
	return nil
}

// writable fails for what a file of the format cannot hold. It never shows the value.
func writable(field, format, name, value string) error {
	switch {
	case !nameRule.MatchString(name):
		return task.FieldErrorf(field, "%q is no name of a variable", name)
	case strings.ContainsRune(value, 0):
		return task.FieldErrorf(field, "the value holds a zero byte")
	case format == "systemd" && strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' }) >= 0:
		return task.FieldErrorf(field, "the value holds a control character, which systemd refuses")
	}
	return nil
}

func (p *Params) attributes() task.Attributes {
	a := task.Attributes{Mode: p.Mode, Owner: p.Owner, Group: p.Group}
	return a
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	s := State{Kind: string(info.Kind)}
	if !info.Exists() {
		return s, nil
	}
	if info.Kind != task.KindFile {
		return s, fmt.Errorf("cannot manage variables in %s: there is a %s", p.Path, info.Kind)
	}
	seen, err := p.attributes().See(ctx, r, info)
	if err != nil {
		return s, err
	}
	s.Mode, s.Owner, s.Group = seen.Mode, seen.Owner, seen.Group
	data, err := r.ReadFile(ctx, string(p.Path), maxSize)
	if err != nil {
		return s, err
	}
	s.lines = parse(string(data), p.Format)
	for _, l := range s.lines {
		if l.name != "" && !slices.Contains(s.Names, l.name) {
			s.Names = append(s.Names, l.name)
		}
	}
	return s, nil
}

// want returns the value that a variable should have.
func (p *Params) want(name string) (value string, ok bool) {
	if value, ok = p.Set[name]; ok {
		return value, true
	}
	secret, ok := p.Secrets[name]
	return secret.Reveal(), ok
}

// names are the variables that are asked for, in order.
func (p *Params) names() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range p.Set {
			if !yield(name) {
				return
			}
		}
		for name := range p.Secrets {
			if !yield(name) {
				return
			}
		}
	})
}

func (p *Params) unwanted(name string) bool {
	_, asked := p.want(name)
	return !asked && (p.Exclusive || slices.Contains(p.Remove, name))
}

func diff(p Params, s State) []task.Change {
	there := s.Kind == string(task.KindFile)
	if !there && !p.Create {
		return nil
	}
	var out []task.Change
	for _, name := range p.names() {
		want, _ := p.want(name)
		have, found := last(s.lines, name)
		if found && have == want {
			continue
		}
		_, hidden := p.Secrets[name]
		c := task.Change{Attr: "set." + name, Kind: task.Update, Sensitive: hidden}
		if hidden {
			c.Attr = "secrets." + name
		} else {
			c.Before, c.After = have, want
		}
		if !found {
			c.Kind = task.Create
		}
		out = append(out, c)
	}
	for _, name := range s.Names {
		if p.unwanted(name) {
			// Nobody knows whether what goes is a secret.
			out = append(out, task.Change{Attr: "remove", Before: name, Kind: task.Delete})
		}
	}
	if !there && len(out) == 0 {
		out = append(out, task.Change{Attr: "path", Before: "absent", After: "present", Kind: task.Create})
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	owner, group := p.attributes().Change(s.seen())
	before := text(s.lines)
	after := text(p.edit(s.lines))
	if s.Kind == string(task.KindFile) && before == after {
		return p.attributes().Apply(ctx, w, string(p.Path), s.seen())
	}
	f := task.FileWrite{Path: string(p.Path), Data: []byte(after), Mode: p.Mode, Owner: owner, Group: group, Secret: len(p.Secrets) > 0}
	if f.Mode == nil && f.Secret && s.Kind == string(task.KindNone) {
		mode := task.Mode(0o600)
		f.Mode = &mode
	}
	return w.WriteFile(ctx, f)
}

// edit returns the lines as they should be: a variable keeps its place, new ones come
// last.
func (p *Params) edit(lines []line) []line {
	var out []line
	done := map[string]bool{}
	for _, l := range lines {
		want, asked := p.want(l.name)
		switch {
		case l.name == "":
			out = append(out, l)
		case p.unwanted(l.name):
		case !asked:
			out = append(out, l)
		case done[l.name]: // the last of several counts, and the first has its place
		default:
			done[l.name] = true
			if value, _ := last(lines, l.name); value != want || l.value != want {
				l.raw = l.prefix + l.name + "=" + quote(want, p.Format)
			}
			out = append(out, l)
		}
	}
	for _, name := range p.names() {
		if !done[name] {
			want, _ := p.want(name)
			out = append(out, line{raw: name + "=" + quote(want, p.Format), name: name, value: want})
		}
	}
	return out
}
