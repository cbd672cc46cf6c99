// Package archive packs files and directories into a gzipped tar archive.
package archive

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path       task.Path  `yaml:"path" validate:"required" doc:"The archive, a file that ends with .tar.gz or .tgz."`
	Base       task.Path  `yaml:"base" validate:"required" doc:"The folder that the names in the archive are relative to."`
	Names      []string   `yaml:"names" validate:"required,min=1" doc:"What is packed, relative to base: files, and folders with all in them."`
	Exclude    []string   `yaml:"exclude" doc:"Patterns of what is left out, such as *.log; with a / they are about the whole name."`
	Attributes bool       `yaml:"attributes" default:"false" doc:"Whether owners and times of files go in too."`
	Mode       *task.Mode `yaml:"mode" doc:"Permission bits of the archive in octal; a new one is 0644."`
	Owner      *string    `yaml:"owner" doc:"The account that owns the archive, by name or number."`
	Group      *string    `yaml:"group" doc:"The group of the archive, by name or number."`
	MaxMB      int64      `yaml:"max_mb" default:"4096" validate:"min=1,max=1048576" doc:"How much may be packed, in MB."`
}

// State is what the host has.
type State struct {
	Holds task.Content `yaml:"holds" json:"holds" doc:"Size and digest of what the archive holds, before compression."`
	Mode  string       `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner string       `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group string       `yaml:"group" json:"group" doc:"Group, empty when absent."`
	// Want is Holds as it should be.
	Want task.Content `yaml:"-" json:"-"`
}

// Module packs archives.
var Module = task.New(task.Def[Params, State]{
	Name: "archive", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if task.ArchiveFormat(string(p.Path)) != "tar.gz" {
		return task.FieldErrorf("path", "want a name that ends with .tar.gz or .tgz")
	}
	for i, name := range p.Names {
		clean := path.Clean(name)
		if name == "" || path.IsAbs(name) || clean != name || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") {
			return task.FieldErrorf(fmt.Sprintf("names[%d]", i), "%q is no name below base: want it plain and relative, such as etc/nginx", name)
		}
		if full := path.Join(string(p.Base), name); strings.HasPrefix(string(p.Path)+"/", full+"/") {
			return task.FieldErrorf("path", "the archive cannot be in what it holds, %s", full)
		}
	}
	for i, pattern := range p.Exclude {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return task.FieldErrorf(fmt.Sprintf("exclude[%d]", i), "%q is no pattern", pattern)
		}
	}
	return nil
}

func (p *Params) pack() task.Pack {
	return task.Pack{
		Path: string(p.Path), Base: string(p.Base), Names: p.Names, Exclude: p.Exclude,
		Attributes: p.Attributes, MaxSize: p.MaxMB << 20, Mode: p.Mode,
	}
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	var s State
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return s, err
	}
	if info.Exists() && info.Kind != task.KindFile {
		return s, fmt.Errorf("cannot pack %s: there is a %s", p.Path, info.Kind)
	}
	seen, err := p.attributes().See(ctx, r, info)
	if err != nil {
		return s, err
	}
	s.Mode, s.Owner, s.Group = seen.Mode, seen.Owner, seen.Group
	s.Want, s.Holds, err = r.Packed(ctx, p.pack())
	return s, err
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if s.Holds != s.Want {
		out = append(out, task.ContentChange("names", string(p.Path), s.Holds, s.Want))
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.Holds == s.Want {
		return p.attributes().Apply(ctx, w, string(p.Path), s.seen())
	}
	k := p.pack()
	k.Owner, k.Group = p.attributes().Change(s.seen())
	return w.Pack(ctx, k)
}
