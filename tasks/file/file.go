// Package file manages one regular file.
package file

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
	Path     task.Path       `yaml:"path" validate:"required" doc:"The file."`
	State    string          `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether the file is there."`
	Content  *task.Blob      `yaml:"content" blob:"text" validate:"excludes=secret" doc:"The whole content; without it an existing file keeps its own."`
	Secret   task.SecretText `yaml:"secret" doc:"The whole content when it is a secret; it is never shown."`
	Mode     *task.Mode      `yaml:"mode" doc:"Permission bits in octal; a new file is 0644."`
	Owner    *string         `yaml:"owner" doc:"The account that owns the file, by name or number."`
	Group    *string         `yaml:"group" doc:"The group of the file, by name or number."`
	Validate []string        `yaml:"validate" doc:"A command that must accept the content; \"%s\" in it is the file to look at."`
	Create   bool            `yaml:"create" default:"true" doc:"Whether a missing file is made; if not, it is left missing."`
}

// State is what the host has.
type State struct {
	Kind    string       `yaml:"kind" json:"kind" doc:"What is at the path: absent, file or link."`
	Mode    string       `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner   string       `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group   string       `yaml:"group" json:"group" doc:"Group, empty when absent."`
	Content task.Content `yaml:"content" json:"content" doc:"The content's size and digest."`
	// Want has the text of the content asked for when it is short and may be shown.
	Want task.Content `yaml:"-" json:"-"`
}

// Module manages files.
var Module = task.New(task.Def[Params, State]{
	Name: "file", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if p.State == "present" {
		return nil
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"content", p.Content != nil}, {"secret", !p.Secret.IsZero()}, {"mode", p.Mode != nil},
		{"owner", p.Owner != nil}, {"group", p.Group != nil}, {"validate", p.Validate != nil},
	} {
		if f.set {
			return task.FieldErrorf(f.name, "an absent file has none")
		}
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
	case info.Kind == task.KindDir || info.Kind == task.KindOther:
		return s, fmt.Errorf("cannot manage %s as a file: it is a %s", p.Path, kindName(info.Kind))
	case info.Kind == task.KindLink && p.State == "present" && !p.hasContent():
		return s, fmt.Errorf("cannot manage %s as a file: it is a link to %s; name that file, or give content to replace the link", p.Path, info.Target)
	case p.State == "absent":
		return s, nil
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
	s.Want, err = wanted(ctx, r, p, s)
	return s, err
}

func kindName(k task.FileKind) string {
	if k == task.KindDir {
		return "directory"
	}
	return "socket, a pipe or a device"
}

// wanted describes the content asked for. Its text is fetched only where a diff
// will show it.
func wanted(ctx context.Context, r task.Reader, p Params, s State) (task.Content, error) {
	if !p.Secret.IsZero() {
		c := task.ContentOf([]byte(p.Secret.Reveal()))
		return task.Content{Digest: c.Digest, Size: c.Size}, nil
	}
	if p.Content == nil {
		return task.Content{}, nil
	}
	want := task.Content{Digest: p.Content.Digest, Size: p.Content.Size}
	if p.Content.Secret || want.Digest == s.Content.Digest || want.Size > task.MaxText {
		return want, nil
	}
	data, err := r.Blob(ctx, *p.Content)
	if err != nil {
		return want, fmt.Errorf("cannot get the content of %s: %w", p.Path, err)
	}
	return task.ContentOf(data), nil
}

func diff(p Params, s State) []task.Change {
	there := s.Kind != string(task.KindNone)
	if p.State == "absent" {
		if !there {
			return nil
		}
		return []task.Change{{Attr: "state", Before: s.Kind, After: "absent", Kind: task.Delete}}
	}
	if !there && !p.Create {
		return nil
	}
	var out []task.Change
	switch {
	case !there && !p.hasContent():
		out = append(out, task.Change{Attr: "state", Before: "absent", After: "present", Kind: task.Create})
	case s.Kind == string(task.KindLink):
		out = append(out, task.Set("state", "link", "present"))
	}
	if c, differs := p.contentChange(s); differs {
		out = append(out, c)
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func (p *Params) hasContent() bool { return p.Content != nil || !p.Secret.IsZero() }

func (p *Params) contentChange(s State) (task.Change, bool) {
	if !p.hasContent() || s.Want.Digest == s.Content.Digest {
		return task.Change{}, false
	}
	if p.Content == nil {
		c := task.Change{Attr: "secret", Kind: task.Update, Sensitive: true}
		if s.Content.Digest == "" {
			c.Kind = task.Create
		}
		return c, true
	}
	return task.ContentChange("content", string(p.Path), s.Content, s.Want), true
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	path := string(p.Path)
	switch {
	case p.State == "absent":
		return w.Remove(ctx, path)
	case s.Kind != string(task.KindFile):
		return write(ctx, w, p, s)
	}
	if _, differs := p.contentChange(s); differs {
		return write(ctx, w, p, s)
	}
	return p.attributes().Apply(ctx, w, path, s.seen())
}

func write(ctx context.Context, w task.Writer, p Params, s State) error {
	data, err := content(ctx, w, p, s)
	if err != nil {
		return err
	}
	owner, group := p.attributes().Change(s.seen())
	return w.WriteFile(ctx, task.FileWrite{
		Path: string(p.Path), Data: data, Mode: p.Mode, Owner: owner, Group: group,
		Secret:   !p.Secret.IsZero() || p.Content != nil && p.Content.Secret,
		Validate: p.Validate,
	})
}

func content(ctx context.Context, r task.Reader, p Params, s State) ([]byte, error) {
	switch {
	case !p.Secret.IsZero():
		return []byte(p.Secret.Reveal()), nil
	case p.Content == nil:
		return nil, nil
	case s.Want.IsText:
		return []byte(s.Want.Text), nil
	}
	data, err := r.Blob(ctx, *p.Content)
	if err != nil {
		return nil, fmt.Errorf("cannot get the content of %s: %w", p.Path, err)
	}
	return data, nil
}
