// Package template manages a file whose content is rendered from a template.
package template

import (
	"context"
	_ "embed"
	"fmt"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path     task.Path  `yaml:"path" validate:"required" doc:"The file on the host."`
	Src      task.Blob  `yaml:"src" blob:"template" validate:"required" doc:"The template, a file beside the playbook."`
	Mode     *task.Mode `yaml:"mode" doc:"Permission bits in octal; a new file is 0644."`
	Owner    *string    `yaml:"owner" doc:"The account that owns the file, by name or number."`
	Group    *string    `yaml:"group" doc:"The group of the file, by name or number."`
	Validate []string   `yaml:"validate" doc:"A command that must accept the content; \"%s\" in it is the file to look at."`
}

// State is what the host has.
type State struct {
	Kind    string       `yaml:"kind" json:"kind" doc:"What is at the path: absent, file or link."`
	Mode    string       `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner   string       `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group   string       `yaml:"group" json:"group" doc:"Group, empty when absent."`
	Content task.Content `yaml:"content" json:"content" doc:"The content's size and digest."`
	// Want has the text of the rendered template when it is short and may be shown.
	Want task.Content `yaml:"-" json:"-"`
}

// Module manages files made from templates.
var Module = task.New(task.Def[Params, State]{
	Name: "template", Doc: doc,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	s := State{Kind: string(info.Kind)}
	if info.Kind == task.KindDir || info.Kind == task.KindOther {
		return s, fmt.Errorf("cannot write %s: it is not a regular file", p.Path)
	}
	if info.Kind == task.KindFile {
		seen, err := p.attributes().See(ctx, r, info)
		if err != nil {
			return s, err
		}
		s.Mode, s.Owner, s.Group = seen.Mode, seen.Owner, seen.Group
		if s.Content, err = r.Digest(ctx, string(p.Path)); err != nil {
			return s, err
		}
	}
	s.Want = task.Content{Digest: p.Src.Digest, Size: p.Src.Size}
	// The text is fetched only where a diff will show it.
	if p.Src.Secret || s.Want.Digest == s.Content.Digest || s.Want.Size > task.MaxText {
		return s, nil
	}
	data, err := content(ctx, r, p)
	if err == nil {
		s.Want = task.ContentOf(data)
	}
	return s, err
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func content(ctx context.Context, r task.Reader, p Params) ([]byte, error) {
	data, err := r.Blob(ctx, p.Src)
	if err != nil {
		return nil, fmt.Errorf("cannot get the content of %s: %w", p.Path, err)
	}
	return data, nil
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if s.Kind == string(task.KindLink) {
		out = append(out, task.Change{Attr: "path", Before: "link", After: "file", Kind: task.Update})
	}
	if s.Want.Digest != s.Content.Digest {
		out = append(out, task.ContentChange("src", string(p.Path), s.Content, s.Want))
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.Want.Digest != s.Content.Digest {
		return write(ctx, w, p, s)
	}
	return p.attributes().Apply(ctx, w, string(p.Path), s.seen())
}

func write(ctx context.Context, w task.Writer, p Params, s State) error {
	data := []byte(s.Want.Text)
	if !s.Want.IsText {
		var err error
		if data, err = content(ctx, w, p); err != nil {
			return err
		}
	}
	owner, group := p.attributes().Change(s.seen())
	return w.WriteFile(ctx, task.FileWrite{
		Path: string(p.Path), Data: data, Mode: p.Mode, Owner: owner, Group: group,
		Secret: p.Src.Secret, Validate: p.Validate,
	})
}
