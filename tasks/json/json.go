// Package json manages values in a JSON file and leaves the others alone.
package json

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path     task.Path  `yaml:"path" validate:"required" doc:"The file."`
	Merge    *string    `yaml:"merge" doc:"JSON that is put over the file's: objects key by key, null removes, all else replaces."`
	Template *task.Blob `yaml:"template" blob:"template" doc:"A template beside the playbook that makes JSON to merge; merge comes after it."`
	Set      []Value    `yaml:"set" doc:"Values at paths."`
	Remove   []string   `yaml:"remove" doc:"Paths of which nothing must be there."`
	Create   bool       `yaml:"create" default:"true" doc:"Whether a missing file is made."`
	Hide     bool       `yaml:"hide" default:"false" doc:"Whether no value of the file is shown, because it holds secrets."`
	Mode     *task.Mode `yaml:"mode" doc:"Permission bits in octal; a new file is 0644."`
	Owner    *string    `yaml:"owner" doc:"The account that owns the file, by name or number."`
	Group    *string    `yaml:"group" doc:"The group of the file, by name or number."`
	Validate []string   `yaml:"validate" doc:"A command that must accept the content; \"%s\" in it is the file to look at."`
}

// Value is one value at a path.
type Value struct {
	Path   string          `yaml:"path" validate:"required" doc:"Where: a.b.0, or /a/b/0 where keys hold dots."`
	Text   *string         `yaml:"text" validate:"excludes=json,excludes=secret" doc:"A string."`
	JSON   *string         `yaml:"json" validate:"excludes=secret" doc:"Any JSON: 5, true, [1, 2], a quoted string."`
	Secret task.SecretText `yaml:"secret" doc:"A string that is a secret; it is never shown."`
}

// State is what the host has.
type State struct {
	Kind  string `yaml:"kind" json:"kind" doc:"What is at the path: absent or file."`
	Mode  string `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner string `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group string `yaml:"group" json:"group" doc:"Group, empty when absent."`
	// old and new are the documents, data what the file holds.
	old  *task.JSON `yaml:"-"`
	new  *task.JSON `yaml:"-"`
	data []byte     `yaml:"-"`
}

const maxSize = 16 << 20

// Module manages values in JSON files.
var Module = task.New(task.Def[Params, State]{
	Name: "json", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if p.Merge == nil && p.Template == nil && len(p.Set) == 0 && len(p.Remove) == 0 {
		return task.FieldErrorf("set", "there is nothing to do: give merge, template, set or remove")
	}
	if p.Merge != nil {
		if _, err := patch(*p.Merge); err != nil {
			return task.FieldErrorf("merge", "%s", err)
		}
	}
	for i, v := range p.Set {
		if _, err := task.JSONPath(v.Path); err != nil {
			return task.FieldErrorf(fmt.Sprintf("set[%d].path", i), "%s", err)
		}
		if v.Text == nil && v.JSON == nil && v.Secret.IsZero() {
			return task.FieldErrorf(fmt.Sprintf("set[%d]", i), "give text, json or secret")
		}
		if v.JSON == nil {
			continue
		}
		if _, err := task.ParseJSON([]byte(*v.JSON)); err != nil {
			return task.FieldErrorf(fmt.Sprintf("set[%d].json", i), "%s", err)
		}
	}
	for i, path := range p.Remove {
		if _, err := task.JSONPath(path); err != nil {
			return task.FieldErrorf(fmt.Sprintf("remove[%d]", i), "%s", err)
		}
	}
	return nil
}

// patch reads what is put over a file.
func patch(text string) (*task.JSON, error) {
	v, err := task.ParseJSON([]byte(text))
	if err == nil && !v.IsObject() {
		err = fmt.Errorf("want an object, {…}")
	}
	return v, err
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	s := State{Kind: string(info.Kind), old: task.ObjectJSON()}
	if info.Exists() {
		if info.Kind != task.KindFile {
			return s, fmt.Errorf("cannot manage values in %s: there is a %s", p.Path, info.Kind)
		}
		seen, err := p.attributes().See(ctx, r, info)
		if err != nil {
			return s, err
		}
		s.Mode, s.Owner, s.Group = seen.Mode, seen.Owner, seen.Group
		if err := s.read(ctx, r, string(p.Path)); err != nil {
			return s, err
		}
	}
	over, err := p.over(ctx, r)
	if err == nil {
		s.new, err = want(&p, over, s.data)
	}
	return s, err
}

// over returns what is merged into the file, one after the other.
func (p *Params) over(ctx context.Context, r task.Reader) ([]*task.JSON, error) {
	var out []*task.JSON
	if p.Template != nil {
		data, err := r.Blob(ctx, *p.Template)
		if err != nil {
			return nil, fmt.Errorf("cannot get what belongs into %s: %w", p.Path, err)
		}
		over, err := patch(string(data))
		if err != nil {
			return nil, fmt.Errorf("cannot merge the template into %s: %w", p.Path, err)
		}
		out = append(out, over)
	}
	if p.Merge != nil {
		over, err := patch(*p.Merge)
		if err != nil {
			return nil, err
		}
		out = append(out, over)
	}
	return out, nil
}

func (s *State) read(ctx context.Context, r task.Reader, path string) (err error) {
	if s.data, err = r.ReadFile(ctx, path, maxSize); err != nil || len(strings.TrimSpace(string(s.data))) == 0 {
		return err
	}
	if s.old, err = task.ParseJSON(s.data); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// want returns the document as it should be.
func want(p *Params, over []*task.JSON, data []byte) (*task.JSON, error) {
	doc := task.ObjectJSON()
	if len(strings.TrimSpace(string(data))) > 0 {
		var err error
		if doc, err = task.ParseJSON(data); err != nil { // a copy of its own, to be changed
			return nil, err
		}
	}
	for _, o := range over {
		doc = doc.Merge(o)
	}
	for _, v := range p.Set {
		path, _ := task.JSONPath(v.Path) // they were validated
		if err := doc.Set(path, v.value()); err != nil {
			return nil, fmt.Errorf("cannot set %s in %s: %w", v.Path, p.Path, err)
		}
	}
	for _, text := range p.Remove {
		path, _ := task.JSONPath(text)
		doc.Remove(path)
	}
	return doc, nil
}

func (v *Value) value() *task.JSON {
	switch {
	case v.Text != nil:
		return task.StringJSON(*v.Text)
	case v.JSON != nil:
		out, _ := task.ParseJSON([]byte(*v.JSON)) // it was validated
		return out
	}
	return task.StringJSON(v.Secret.Reveal())
}

// secret reports whether what is at a path is not to be shown.
func (p *Params) secret(path []string) bool {
	if p.Hide || p.Template != nil && p.Template.Secret {
		return true
	}
	for _, v := range p.Set {
		at, _ := task.JSONPath(v.Path)
		if v.Secret.IsZero() {
			continue
		}
		n := min(len(at), len(path))
		if strings.Join(at[:n], "\x00") == strings.Join(path[:n], "\x00") {
			return true
		}
	}
	return false
}

func (p *Params) holdsSecret() bool {
	if p.Hide || p.Template != nil && p.Template.Secret {
		return true
	}
	for _, v := range p.Set {
		if !v.Secret.IsZero() {
			return true
		}
	}
	return false
}

func diff(p Params, s State) []task.Change {
	there := s.Kind == string(task.KindFile)
	if !there && !p.Create {
		return nil
	}
	var out []task.Change
	for _, path := range s.old.Differences(s.new) {
		c := task.Change{Attr: strings.Join(path, "."), Kind: task.Update}
		before, after := s.old.Get(path), s.new.Get(path)
		switch {
		case before == nil:
			c.Kind = task.Create
		case after == nil:
			c.Kind = task.Delete
		}
		if c.Sensitive = p.secret(path); !c.Sensitive {
			c.Before, c.After = brief(before), brief(after)
		}
		if c.Attr == "" {
			c.Attr = "merge"
		}
		out = append(out, c)
	}
	if !there && len(out) == 0 {
		out = append(out, task.Change{Attr: "path", Before: "absent", After: "{}", Kind: task.Create})
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

// brief returns a value on a line of some length.
func brief(v *task.JSON) string {
	const most = 200
	if v == nil {
		return ""
	}
	text := v.Text("")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.Kind == string(task.KindFile) && s.old.Equal(s.new) {
		return p.attributes().Apply(ctx, w, string(p.Path), s.seen())
	}
	text := s.new.Text(task.JSONIndent(s.data))
	if len(s.data) == 0 || strings.HasSuffix(string(s.data), "\n") {
		text += "\n"
	}
	owner, group := p.attributes().Change(s.seen())
	return w.WriteFile(ctx, task.FileWrite{
		Path: string(p.Path), Data: []byte(text), Mode: p.Mode, Owner: owner, Group: group,
		Secret: p.holdsSecret(), Validate: p.Validate,
	})
}
