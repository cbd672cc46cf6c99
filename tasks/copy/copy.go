// Package copy manages a file whose content comes from beside the playbook.
package copy

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path     task.Path  `yaml:"path" validate:"required" doc:"The file on the host."`
	Src      *task.Blob `yaml:"src" blob:"file" validate:"excludes=content" doc:"The file to copy, beside the playbook."`
	Content  *task.Blob `yaml:"content" blob:"text" doc:"The content itself, instead of src."`
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
	// Want has the text of the content asked for when it is short and may be shown.
	Want task.Content `yaml:"-" json:"-"`
}

// Module manages copied files.
var Module = task.New(task.Def[Params, State]{
	Name: "copy", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if p.Src == nil && p.Content == nil {
		return task.FieldErrorf("src", "missing: want src or content")
	}
	return nil
}

// source returns what is to be there, and the field that says so.
func (p *Params) source() (field string, b task.Blob) {
	if p.Src != nil {
		return "src", *p.Src
	}
	return "content", *p.Content
}

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
		s.Mode = info.Mode.String()
		if s.Owner, s.Group, err = owners(ctx, r, p, info); err != nil {
			return s, err
		}
		if s.Content, err = r.Digest(ctx, string(p.Path)); err != nil {
			return s, err
		}
	}
	_, src := p.source()
	s.Want = task.Content{Digest: src.Digest, Size: src.Size}
	// The text is fetched only where a diff will show it.
	if src.Secret || s.Want.Digest == s.Content.Digest || s.Want.Size > task.MaxText {
		return s, nil
	}
	data, err := content(ctx, r, p)
	if err == nil {
		s.Want = task.ContentOf(data)
	}
	return s, err
}

// owners returns owner and group as the playbook spells them when it means the
// same ones by their numbers.
func owners(ctx context.Context, r task.Reader, p Params, info task.FileInfo) (owner, group string, err error) {
	owner, group = info.Owner, info.Group
	if p.Owner != nil && *p.Owner != owner {
		u, err := r.LookupUser(ctx, owner)
		if err != nil {
			return owner, group, err
		}
		if u != nil && strconv.FormatInt(u.UID, 10) == *p.Owner {
			owner = *p.Owner
		}
	}
	if p.Group != nil && *p.Group != group {
		g, err := r.LookupGroup(ctx, group)
		if err != nil {
			return owner, group, err
		}
		if g != nil && strconv.FormatInt(g.GID, 10) == *p.Group {
			group = *p.Group
		}
	}
	return owner, group, nil
}

func content(ctx context.Context, r task.Reader, p Params) ([]byte, error) {
	_, src := p.source()
	data, err := r.Blob(ctx, src)
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
		field, _ := p.source()
		out = append(out, task.ContentChange(field, string(p.Path), s.Content, s.Want))
	}
	if p.Mode != nil && p.Mode.String() != s.Mode {
		out = append(out, task.Set("mode", s.Mode, p.Mode.String()))
	}
	if p.Owner != nil && *p.Owner != s.Owner {
		out = append(out, task.Set("owner", s.Owner, *p.Owner))
	}
	if p.Group != nil && *p.Group != s.Group {
		out = append(out, task.Set("group", s.Group, *p.Group))
	}
	return out
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	owner, group := changed(p.Owner, s.Owner), changed(p.Group, s.Group)
	if s.Want.Digest != s.Content.Digest {
		return write(ctx, w, p, s, owner, group)
	}
	if owner+group != "" {
		if err := w.SetOwner(ctx, string(p.Path), owner, group); err != nil {
			return err
		}
	}
	// A new owner clears the set-user-ID bits, so the mode comes last.
	if p.Mode != nil {
		return w.SetMode(ctx, string(p.Path), *p.Mode)
	}
	return nil
}

// changed returns what to set, "" for leaving it alone.
func changed(want *string, have string) string {
	if want == nil || *want == have {
		return ""
	}
	return *want
}

func write(ctx context.Context, w task.Writer, p Params, s State, owner, group string) error {
	_, src := p.source()
	data := []byte(s.Want.Text)
	if !s.Want.IsText {
		var err error
		if data, err = content(ctx, w, p); err != nil {
			return err
		}
	}
	return w.WriteFile(ctx, task.FileWrite{
		Path: string(p.Path), Data: data, Mode: p.Mode, Owner: owner, Group: group,
		Secret: src.Secret, Validate: p.Validate,
	})
}
