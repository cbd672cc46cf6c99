// Package block manages marked lines within a text file.
package block

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path     task.Path `yaml:"path" validate:"required" doc:"The text file."`
	Text     *string   `yaml:"text" doc:"The lines between the marks."`
	Marker   string    `yaml:"marker" default:"holdfast" doc:"Name of the block; each block of a file needs one of its own."`
	Comment  string    `yaml:"comment" default:"#" doc:"What begins a comment in the file."`
	End      string    `yaml:"end" default:"" doc:"What ends a comment, where a line end does not: \"-->\"."`
	State    string    `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether the block is there."`
	After    *string   `yaml:"after" validate:"excludes=before" doc:"A new block goes below the last line that this RE2 pattern finds."`
	Before   *string   `yaml:"before" doc:"A new block goes above the first line that this RE2 pattern finds."`
	Create   bool      `yaml:"create" default:"false" doc:"Whether a missing file is made."`
	Validate []string  `yaml:"validate" doc:"A command that must accept the file; \"%s\" in it is the file to look at."`
}

// State is what the host has.
type State struct {
	Exists  bool         `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Found   bool         `yaml:"found" json:"found" doc:"Whether the block is in it."`
	Content task.Content `yaml:"content" json:"content" doc:"The file's size and digest."`
	Text    string       `yaml:"-" json:"-"`
}

// maxFile is the largest file that is edited.
const maxFile = 16 << 20

// Module manages blocks of lines.
var Module = task.New(task.Def[Params, State]{
	Name: "block", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	for _, f := range []struct {
		name string
		text *string
	}{{"after", p.After}, {"before", p.Before}} {
		if f.text == nil {
			continue
		}
		if _, err := regexp.Compile(*f.text); err != nil {
			return task.FieldErrorf(f.name, "invalid pattern: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	}
	if p.Marker == "" || strings.ContainsAny(p.Marker+p.Comment+p.End, "\r\n") {
		return task.FieldErrorf("marker", "want a name on one line")
	}
	if p.State == "absent" {
		if p.Text != nil || p.After != nil || p.Before != nil {
			return task.FieldErrorf("state", "an absent block has neither text nor place")
		}
		return nil
	}
	if p.Text == nil {
		return task.FieldErrorf("text", "missing: what shall stand between the marks?")
	}
	begin, end := p.marks()
	for _, l := range lines(*p.Text) {
		if m := unpadded(l); m == begin || m == end {
			return task.FieldErrorf("text", "it contains the block's own marks")
		}
	}
	return nil
}

// marks returns the lines around the block.
func (p *Params) marks() (begin, end string) {
	mark := func(word string) string {
		return strings.TrimSpace(p.Comment + " " + word + " " + p.Marker + " " + p.End)
	}
	return mark("BEGIN"), mark("END")
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	switch {
	case info.Kind == task.KindLink:
		return State{}, fmt.Errorf("cannot edit %s: it is a link to %s; name that file", p.Path, info.Target)
	case info.Exists() && info.Kind != task.KindFile:
		return State{}, fmt.Errorf("cannot edit %s: it is not a regular file", p.Path)
	case !info.Exists() && p.State == "present" && !p.Create:
		return State{}, fmt.Errorf("cannot edit %s: it is missing; set create to make it", p.Path)
	case !info.Exists():
		return State{}, nil
	}
	data, err := r.ReadFile(ctx, string(p.Path), maxFile)
	if err != nil {
		return State{}, err
	}
	s := State{Exists: true, Content: task.ContentOf(data), Text: string(data)}
	from, _, err := find(p, lines(s.Text))
	if err != nil {
		return s, fmt.Errorf("cannot edit %s: %w", p.Path, err)
	}
	s.Found = from >= 0
	return s, nil
}

func diff(p Params, s State) []task.Change {
	after := edited(p, s.Text)
	if after == s.Text {
		return nil
	}
	attr, kind := "text", task.Update
	switch {
	case p.State == "absent":
		attr, kind = "state", task.Delete
	case !s.Found:
		kind = task.Create
	}
	c := task.ContentChange(attr, string(p.Path), s.Content, task.ContentOf([]byte(after)))
	c.Kind = kind
	return []task.Change{c}
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path), Data: []byte(edited(p, s.Text)), Validate: p.Validate})
}
