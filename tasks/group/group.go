// Package group is the module that brings groups of accounts into a state.
package group

import (
	"context"
	_ "embed"
	"regexp"
	"strconv"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Name   string `yaml:"name" doc:"Name of the group." validate:"required"`
	State  string `yaml:"state" doc:"Whether the group is there." default:"present" validate:"oneof=present absent"`
	GID    *int64 `yaml:"gid" doc:"Number of the group; absent leaves it to the system." validate:"min=0,max=4294967294"`
	System bool   `yaml:"system" doc:"Take the number of a new group from the range of system groups." default:"false"`
}

// State is what the host has.
type State struct {
	Exists  bool     `yaml:"exists" json:"exists" doc:"Whether the group is there."`
	GID     int64    `yaml:"gid" json:"gid" doc:"Number of the group."`
	Members []string `yaml:"members" json:"members" doc:"Accounts that are in it beside those that have it as primary group."`
}

//go:embed doc.md
var doc string

// Module manages groups.
var Module = task.New(task.Def[Params, State]{
	Name: "group", Doc: doc, Validate: validate,
	Resource: func(p Params) string { return "group " + p.Name },
	Observe:  observe, Diff: diff, Apply: apply,
})

var nameRule = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]{0,31}$`)

func validate(p Params) error {
	if !nameRule.MatchString(p.Name) {
		return task.FieldErrorf("name", "%q is no name for a group: want a letter or _, then letters, digits, _ . -", p.Name)
	}
	if p.State == "absent" && p.GID != nil {
		return task.FieldErrorf("gid", "a group that is to be absent has no number")
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	g, err := r.LookupGroup(ctx, p.Name)
	if err != nil {
		return State{}, err
	}
	if g == nil {
		return State{}, nil
	}
	return State{Exists: true, GID: g.GID, Members: g.Members}, nil
}

func diff(p Params, s State) []task.Change {
	if p.State == "absent" {
		if !s.Exists {
			return nil
		}
		return []task.Change{{Attr: "state", Before: "present", After: "absent", Kind: task.Delete}}
	}
	var out []task.Change
	if !s.Exists {
		out = append(out, task.Change{Attr: "state", Before: "absent", After: "present", Kind: task.Create})
	}
	if p.GID != nil && (!s.Exists || *p.GID != s.GID) {
		c := task.Change{Attr: "gid", After: number(*p.GID), Kind: task.Create}
		if s.Exists {
			c = task.Set("gid", number(s.GID), number(*p.GID))
		}
		out = append(out, c)
	}
	return out
}

func apply(ctx context.Context, w task.Writer, p Params, _ State) error {
	if p.State == "absent" {
		return w.DeleteGroup(ctx, p.Name)
	}
	return w.PutGroup(ctx, task.GroupSpec{Name: p.Name, GID: p.GID, System: p.System})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
