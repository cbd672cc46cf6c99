// Package stat looks at a path.
package stat

import (
	"context"
	_ "embed"
	"time"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path   task.Path `yaml:"path" validate:"required" doc:"The path to look at."`
	Digest bool      `yaml:"digest" default:"true" doc:"Whether the content of a file is read for its digest."`
}

// Result is what was found.
type Result struct {
	Exists bool   `yaml:"exists" json:"exists" doc:"Whether something is there."`
	Kind   string `yaml:"kind" json:"kind" doc:"absent, file, directory, link or other."`
	Mode   string `yaml:"mode" json:"mode" doc:"Permission bits in octal such as 0644; empty when absent and for links."`
	Owner  string `yaml:"owner" json:"owner" doc:"Owner's name, or number where no name is known."`
	Group  string `yaml:"group" json:"group" doc:"Group's name, or number where no name is known."`
	Size   int64  `yaml:"size" json:"size" doc:"Size in bytes."`
	Digest string `yaml:"digest" json:"digest" doc:"SHA-256 of a file's content in hex."`
	Target string `yaml:"target" json:"target" doc:"What a link points to."`
	Age    int64  `yaml:"age_days" json:"age_days" doc:"Whole days since the content changed, -1 when absent or not known."`
}

// Module looks at paths.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "stat", Doc: doc,
	Resource: func(p Params) string { return string(p.Path) },
	ReadOnly: true,
	Run:      run,
})

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	info, err := w.Stat(ctx, string(p.Path))
	if err != nil {
		return Result{}, err
	}
	if !info.Exists() {
		return Result{Kind: string(task.KindNone), Age: -1}, nil
	}
	r := Result{
		Exists: true, Kind: string(info.Kind), Owner: info.Owner, Group: info.Group, Size: info.Size, Target: info.Target, Age: -1,
	}
	if !info.Modified.IsZero() {
		r.Age = int64(max(0, time.Since(info.Modified)) / (24 * time.Hour))
	}
	if info.Kind != task.KindLink {
		r.Mode = info.Mode.String()
	}
	if p.Digest && info.Kind == task.KindFile {
		c, err := w.Digest(ctx, string(p.Path))
		if err != nil {
			return Result{}, err
		}
		r.Digest = c.Digest
	}
	return r, nil
}
