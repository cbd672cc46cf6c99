// Package link manages a symbolic link.
package link

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
	Path   task.Path `yaml:"path" validate:"required" doc:"The link."`
	Target *string   `yaml:"target" doc:"What the link points to, absolute or relative to the link's directory."`
	State  string    `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether the link is there."`
	Force  bool      `yaml:"force" default:"false" doc:"Whether a file at the path is replaced by the link."`
}

// State is what the host has.
type State struct {
	Kind   string `yaml:"kind" json:"kind" doc:"What is at the path: absent, link or file."`
	Target string `yaml:"target" json:"target" doc:"What the link points to, empty when there is none."`
}

// Module manages symbolic links.
var Module = task.New(task.Def[Params, State]{
	Name: "link", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	switch {
	case p.State == "absent" && p.Target != nil:
		return task.FieldErrorf("target", "an absent link has none")
	case p.State == "present" && (p.Target == nil || *p.Target == ""):
		return task.FieldErrorf("target", "missing: what does the link point to?")
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	s := State{Kind: string(info.Kind), Target: info.Target}
	switch {
	case info.Kind == task.KindDir || info.Kind == task.KindOther:
		return s, fmt.Errorf("cannot manage %s as a link: it is not a link but a directory or a device", p.Path)
	case info.Kind == task.KindFile && p.State == "absent":
		return s, fmt.Errorf("cannot remove %s as a link: it is a file; the file module removes it", p.Path)
	case info.Kind == task.KindFile && !p.Force:
		return s, fmt.Errorf("cannot make the link %s: a file is there; set force to replace it", p.Path)
	}
	return s, nil
}

func diff(p Params, s State) []task.Change {
	there := s.Kind != string(task.KindNone)
	if p.State == "absent" {
		if !there {
			return nil
		}
		return []task.Change{{Attr: "state", Before: "link to " + s.Target, After: "absent", Kind: task.Delete}}
	}
	switch {
	case !there:
		return []task.Change{{Attr: "target", After: *p.Target, Kind: task.Create}}
	case s.Kind == string(task.KindFile):
		return []task.Change{task.Set("state", "file", "present"), task.Set("target", "", *p.Target)}
	case s.Target != *p.Target:
		return []task.Change{task.Set("target", s.Target, *p.Target)}
	}
	return nil
}

func apply(ctx context.Context, w task.Writer, p Params, _ State) error {
	if p.State == "absent" {
		return w.Remove(ctx, string(p.Path))
	}
	return w.MakeLink(ctx, string(p.Path), *p.Target)
}
