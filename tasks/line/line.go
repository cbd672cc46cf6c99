// Package line manages single lines of a text file.
package line

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
	Path     task.Path `yaml:"path" validate:"required" doc:"The text file."`
	Line     *string   `yaml:"line" doc:"The line, without its end."`
	Regexp   *string   `yaml:"regexp" doc:"Lines that this RE2 pattern finds count as the line."`
	State    string    `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether the line is there."`
	After    *string   `yaml:"after" validate:"excludes=before" doc:"A new line goes below the last line that this pattern finds."`
	Before   *string   `yaml:"before" doc:"A new line goes above the first line that this pattern finds."`
	Backrefs bool      `yaml:"backrefs" default:"false" validate:"requires=regexp" doc:"Whether \\1 in line stands for what the pattern's group found."`
	Create   bool      `yaml:"create" default:"false" doc:"Whether a missing file is made."`
	Validate []string  `yaml:"validate" doc:"A command that must accept the file; \"%s\" in it is the file to look at."`
}

// State is what the host has.
type State struct {
	Exists  bool         `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Content task.Content `yaml:"content" json:"content" doc:"The file's size and digest."`
	Matches int64        `yaml:"matches" json:"matches" doc:"How many lines count as the line."`
	Text    string       `yaml:"-" json:"-"`
}

// maxFile is the largest file that is edited.
const maxFile = 16 << 20

// Module manages lines.
var Module = task.New(task.Def[Params, State]{
	Name: "line", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if _, err := newEdit(p); err != nil {
		return err
	}
	switch {
	case p.Line == nil && p.Regexp == nil:
		return task.FieldErrorf("line", "missing: want line, regexp or both")
	case p.Line == nil && p.State == "present":
		return task.FieldErrorf("line", "missing: what shall the line say?")
	case p.Line != nil && strings.ContainsAny(*p.Line, "\n\r"):
		return task.FieldErrorf("line", "more than one line; the block module manages several")
	case p.State == "absent" && (p.After != nil || p.Before != nil):
		return task.FieldErrorf("state", "an absent line has no place: drop after and before")
	case p.State == "absent" && p.Backrefs:
		return task.FieldErrorf("backrefs", "an absent line has none")
	}
	return nil
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
	case !info.Exists() && p.State == "present" && !p.Create && !p.Backrefs:
		return State{}, fmt.Errorf("cannot edit %s: it is missing; set create to make it", p.Path)
	case !info.Exists():
		return State{}, nil
	}
	data, err := r.ReadFile(ctx, string(p.Path), maxFile)
	if err != nil {
		return State{}, err
	}
	s := State{Exists: true, Content: task.ContentOf(data), Text: string(data)}
	e, err := newEdit(p)
	if err != nil {
		return s, err
	}
	for _, l := range lines(s.Text) {
		if e.counts(l) {
			s.Matches++
		}
	}
	return s, nil
}

func diff(p Params, s State) []task.Change {
	after := edited(p, s)
	if after == s.Text {
		return nil
	}
	c := task.ContentChange("line", string(p.Path), s.Content, task.ContentOf([]byte(after)))
	if p.State == "absent" {
		c.Kind = task.Delete
	}
	return []task.Change{c}
}

func edited(p Params, s State) string {
	e, err := newEdit(p)
	if err != nil {
		return s.Text // Validate has refused these arguments
	}
	return e.apply(s.Text)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path), Data: []byte(edited(p, s)), Validate: p.Validate})
}
