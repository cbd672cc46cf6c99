// Package randomsecret makes a random value where it is needed, once, and keeps it.
package randomsecret

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path        task.Path      `yaml:"path" validate:"required" doc:"The file that holds the value."`
	State       string         `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether there is a value."`
	Kind        string         `yaml:"kind" default:"token" validate:"oneof=token password hex base64" doc:"What to make: see the notes."`
	Length      int64          `yaml:"length" default:"0" validate:"min=0,max=4096" doc:"Characters, or bytes of base64; 0 is the kind's own."`
	Alphabet    string         `yaml:"alphabet" default:"" doc:"The characters of a token or a password, each once."`
	Format      string         `yaml:"format" default:"%s" doc:"The content of the file; the value stands in place of %s."`
	RotateAfter *task.Duration `yaml:"rotate_after" doc:"Age at which a new value replaces the old one."`
	Mode        task.Mode      `yaml:"mode" default:"0600" doc:"Permission bits in octal; others may never read it."`
	Owner       *string        `yaml:"owner" doc:"The account that owns the file, by name or number."`
	Group       *string        `yaml:"group" doc:"The group of the file, by name or number."`
}

// State is what the host has. It says nothing of the value.
type State struct {
	Kind     string `yaml:"kind" json:"kind" doc:"What is at the path: absent, file or link."`
	Mode     string `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner    string `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group    string `yaml:"group" json:"group" doc:"Group, empty when absent."`
	Empty    bool   `yaml:"empty" json:"empty" doc:"Whether there is a file without a value in it."`
	Modified string `yaml:"modified" json:"modified" doc:"When the value was made, empty when that is not known."`
	Overdue  bool   `yaml:"overdue" json:"overdue" doc:"Whether it is older than rotate_after."`
}

// Module makes random values.
var Module = task.New(task.Def[Params, State]{
	Name: "random_secret", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	switch {
	case p.Mode&0o007 != 0:
		return task.FieldErrorf("mode", "%s lets everybody have it", p.Mode)
	case strings.Count(p.Format, "%s") != 1:
		return task.FieldErrorf("format", "want %%s once, where the value stands")
	case p.RotateAfter != nil && *p.RotateAfter <= 0:
		return task.FieldErrorf("rotate_after", "want a time after which it is replaced")
	}
	if _, err := secret.Make(p.Kind, int(p.Length), p.Alphabet); err != nil {
		return task.FieldErrorf("kind", "%s", err)
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	s := State{Kind: string(info.Kind)}
	switch {
	case info.Kind == task.KindNone:
		return s, nil
	case info.Kind != task.KindFile && (p.State == "present" || info.Kind != task.KindLink):
		return s, fmt.Errorf("cannot keep a value at %s: it is not a regular file", p.Path)
	case p.State == "absent":
		return s, nil
	}
	seen, err := p.attributes().See(ctx, r, info)
	if err != nil {
		return s, err
	}
	s.Mode, s.Owner, s.Group, s.Empty = seen.Mode, seen.Owner, seen.Group, info.Size == 0
	if !info.Modified.IsZero() {
		s.Modified = info.Modified.UTC().Format(time.RFC3339)
		s.Overdue = p.RotateAfter != nil && time.Since(info.Modified) >= p.RotateAfter.Std()
	}
	return s, nil
}

func diff(p Params, s State) []task.Change {
	there := s.Kind != string(task.KindNone)
	switch {
	case p.State == "absent" && !there:
		return nil
	case p.State == "absent":
		return []task.Change{{Attr: "state", Before: s.Kind, After: "absent", Kind: task.Delete}}
	case !there:
		return append([]task.Change{{Attr: "state", Before: "absent", After: "present", Kind: task.Create}}, p.attributes().Diff(s.seen())...)
	}
	var out []task.Change
	switch {
	case s.Empty:
		out = append(out, task.Set("state", "empty", "present"))
	case s.Overdue:
		out = append(out, task.Set("rotate_after", "made "+s.Modified, "a new value"))
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: &p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.State == "absent" {
		return w.Remove(ctx, string(p.Path))
	}
	if s.Kind == string(task.KindFile) && !s.Empty && !s.Overdue {
		return p.attributes().Apply(ctx, w, string(p.Path), s.seen())
	}
	text, err := secret.Make(p.Kind, int(p.Length), p.Alphabet)
	if err != nil {
		return err
	}
	owner, group := p.attributes().Change(s.seen())
	return w.WriteFile(ctx, task.FileWrite{
		Path: string(p.Path), Data: []byte(strings.Replace(p.Format, "%s", text.Reveal(), 1)), Mode: &p.Mode, Owner: owner, Group: group, Secret: true,
	})
}
