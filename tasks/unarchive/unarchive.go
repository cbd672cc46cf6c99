// Package unarchive makes sure that a file is there.
package unarchive

import (
	"context"
	_ "embed"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path task.Path `yaml:"path" validate:"required" doc:"The file."`
}

// State is what the host has.
type State struct {
	Exists bool `yaml:"exists" json:"exists" doc:"Whether the file is there."`
}

// Module is the unarchive module.
var Module = task.New(task.Def[Params, State]{
	Name: "unarchive", Doc: doc,
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
	return State{Exists: info.Exists()}, nil
}

func diff(_ Params, s State) []task.Change {
	if s.Exists {
		return nil
	}
	return []task.Change{{Attr: "path", Before: "absent", After: "present", Kind: task.Create}}
}

func apply(ctx context.Context, w task.Writer, p Params, _ State) error {
	return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path)})
}
