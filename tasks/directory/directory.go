// Package directory manages a directory.
package directory

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path    task.Path  `yaml:"path" validate:"required" doc:"The directory."`
	State   string     `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether the directory is there."`
	Mode    *task.Mode `yaml:"mode" doc:"Permission bits in octal; a new directory is 0755."`
	Owner   *string    `yaml:"owner" doc:"The account that owns the directory, by name or number."`
	Group   *string    `yaml:"group" doc:"The group of the directory, by name or number."`
	Parents bool       `yaml:"parents" default:"false" doc:"Whether missing directories above are made, 0755 and root's."`
	Recurse bool       `yaml:"recurse" default:"false" doc:"Whether owner and group, and mode for directories, hold for all inside."`
	Files   *task.Mode `yaml:"files" validate:"requires=recurse" doc:"Permission bits of the files inside, with recurse."`
}

// State is what the host has.
type State struct {
	Kind    string   `yaml:"kind" json:"kind" doc:"What is at the path: absent or directory."`
	Mode    string   `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner   string   `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group   string   `yaml:"group" json:"group" doc:"Group, empty when absent."`
	Missing []string `yaml:"missing" json:"missing" doc:"Directories above that are missing, the topmost first."`
	Inside  []string `yaml:"inside" json:"inside" doc:"With recurse, the paths inside that differ."`
}

// Module manages directories.
var Module = task.New(task.Def[Params, State]{
	Name: "directory", Doc: doc,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if p.Recurse && p.Mode == nil && p.Files == nil && p.Owner == nil && p.Group == nil {
		return task.FieldErrorf("recurse", "nothing to apply inside: want mode, files, owner or group")
	}
	if p.State == "present" {
		return nil
	}
	if p.Path == "/" {
		return task.FieldErrorf("path", "the root directory cannot be removed")
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"mode", p.Mode != nil}, {"owner", p.Owner != nil}, {"group", p.Group != nil}, {"parents", p.Parents}, {"recurse", p.Recurse}} {
		if f.set {
			return task.FieldErrorf(f.name, "an absent directory has none")
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
	switch info.Kind {
	case task.KindNone:
		if p.State == "present" {
			s.Missing, err = missing(ctx, r, p)
		}
		return s, err
	case task.KindLink:
		return s, fmt.Errorf("cannot manage %s as a directory: it is a link to %s; name that directory", p.Path, info.Target)
	case task.KindFile, task.KindOther:
		return s, fmt.Errorf("cannot manage %s as a directory: it is a file", p.Path)
	}
	if p.State == "absent" {
		return s, nil
	}
	s.Mode = info.Mode.String()
	n := names{r: r, owners: map[string]string{}, groups: map[string]string{}}
	if s.Owner, s.Group, err = n.as(ctx, p, info); err != nil {
		return s, err
	}
	if p.Recurse {
		err = n.inside(ctx, p, string(p.Path), &s.Inside)
	}
	return s, err
}

func missing(ctx context.Context, r task.Reader, p Params) ([]string, error) {
	var out []string
	for dir := path.Dir(string(p.Path)); ; dir = path.Dir(dir) {
		info, err := r.Stat(ctx, dir)
		if err != nil {
			return nil, err
		}
		if info.Exists() {
			break
		}
		out = append(out, dir)
	}
	if len(out) > 0 && !p.Parents {
		return nil, fmt.Errorf("cannot make %s: %s is missing too; set parents to make it", p.Path, out[len(out)-1])
	}
	slices.Reverse(out)
	return out, nil
}

// names remembers how the playbook spells the accounts that were seen.
type names struct {
	r              task.Reader
	owners, groups map[string]string
}

// as returns owner and group as the playbook spells them when it means the same
// ones by their numbers.
func (n *names) as(ctx context.Context, p Params, info task.FileInfo) (owner, group string, err error) {
	owner, group = info.Owner, info.Group
	if p.Owner != nil && *p.Owner != owner {
		if owner, err = n.owner(ctx, *p.Owner, owner); err != nil {
			return owner, group, err
		}
	}
	if p.Group != nil && *p.Group != group {
		group, err = n.group(ctx, *p.Group, group)
	}
	return owner, group, err
}

func (n *names) owner(ctx context.Context, want, have string) (string, error) {
	if known, ok := n.owners[have]; ok {
		return known, nil
	}
	u, err := n.r.LookupUser(ctx, have)
	if err != nil {
		return have, err
	}
	n.owners[have] = have
	if u != nil && strconv.FormatInt(u.UID, 10) == want {
		n.owners[have] = want
	}
	return n.owners[have], nil
}

func (n *names) group(ctx context.Context, want, have string) (string, error) {
	if known, ok := n.groups[have]; ok {
		return known, nil
	}
	g, err := n.r.LookupGroup(ctx, have)
	if err != nil {
		return have, err
	}
	n.groups[have] = have
	if g != nil && strconv.FormatInt(g.GID, 10) == want {
		n.groups[have] = want
	}
	return n.groups[have], nil
}

// inside collects the paths below dir that differ. Links are neither followed nor changed.
func (n *names) inside(ctx context.Context, p Params, dir string, out *[]string) error {
	entries, err := n.r.ReadDir(ctx, dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		where := path.Join(dir, name)
		info, err := n.r.Stat(ctx, where)
		if err != nil {
			return err
		}
		if info.Kind != task.KindFile && info.Kind != task.KindDir {
			continue
		}
		owner, group, err := n.as(ctx, p, info)
		if err != nil {
			return err
		}
		mode := p.modeFor(info.Kind)
		if mode != nil && *mode != info.Mode || changed(p.Owner, owner)+changed(p.Group, group) != "" {
			*out = append(*out, where)
		}
		if info.Kind == task.KindDir {
			if err := n.inside(ctx, p, where, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Params) modeFor(k task.FileKind) *task.Mode {
	if k == task.KindDir {
		return p.Mode
	}
	return p.Files
}

// changed returns what to set, "" for leaving it alone.
func changed(want *string, have string) string {
	if want == nil || *want == have {
		return ""
	}
	return *want
}

func diff(p Params, s State) []task.Change {
	there := s.Kind == string(task.KindDir)
	if p.State == "absent" {
		if !there {
			return nil
		}
		return []task.Change{{Attr: "state", Before: "directory", After: "absent", Kind: task.Delete}}
	}
	var out []task.Change
	if len(s.Missing) > 0 {
		out = append(out, task.Change{Attr: "parents", After: strings.Join(s.Missing, ", "), Kind: task.Create})
	}
	if !there {
		out = append(out, task.Change{Attr: "state", Before: "absent", After: "present", Kind: task.Create})
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
	if len(s.Inside) > 0 {
		out = append(out, task.Change{Attr: "recurse", Before: few(s.Inside) + " differ", After: "all the same", Kind: task.Update})
	}
	return out
}

// few names the first paths and counts the rest.
func few(paths []string) string {
	if len(paths) <= 3 {
		return strings.Join(paths, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(paths[:3], ", "), len(paths)-3)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	where := string(p.Path)
	if p.State == "absent" {
		return w.Remove(ctx, where)
	}
	owner, group := changed(p.Owner, s.Owner), changed(p.Group, s.Group)
	if s.Kind == string(task.KindNone) {
		for _, dir := range s.Missing {
			if err := w.MakeDir(ctx, dir, 0o755, "", ""); err != nil {
				return err
			}
		}
		mode := task.Mode(0o755)
		if p.Mode != nil {
			mode = *p.Mode
		}
		return w.MakeDir(ctx, where, mode, owner, group)
	}
	var mode *task.Mode
	if p.Mode != nil && p.Mode.String() != s.Mode {
		mode = p.Mode
	}
	if err := attributes(ctx, w, where, mode, owner, group); err != nil {
		return err
	}
	for _, in := range s.Inside {
		info, err := w.Stat(ctx, in)
		if err != nil {
			return err
		}
		if err := attributes(ctx, w, in, p.modeFor(info.Kind), value(p.Owner), value(p.Group)); err != nil {
			return err
		}
	}
	return nil
}

// attributes sets the owner first, because a new owner clears some bits of the mode.
func attributes(ctx context.Context, w task.Writer, where string, mode *task.Mode, owner, group string) error {
	if owner+group != "" {
		if err := w.SetOwner(ctx, where, owner, group); err != nil {
			return err
		}
	}
	if mode == nil {
		return nil
	}
	return w.SetMode(ctx, where, *mode)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
