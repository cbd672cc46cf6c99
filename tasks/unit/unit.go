// Package unit is the module that manages unit files of the service manager.
package unit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Name     string     `yaml:"name" doc:"Name of the unit with its suffix: openclaw.service, backup.timer." validate:"required"`
	State    string     `yaml:"state" doc:"Whether the file is there." default:"present" validate:"oneof=present absent"`
	Content  *task.Blob `yaml:"content" doc:"Text of the file." blob:"text" validate:"excludes=src,excludes=template"`
	Src      *task.Blob `yaml:"src" doc:"File beside the playbook with the text." blob:"file" validate:"excludes=template"`
	Template *task.Blob `yaml:"template" doc:"Template beside the playbook that makes the text." blob:"template"`
	Dropin   *string    `yaml:"dropin" doc:"Name of a drop-in for the unit, without .conf; the unit's own file is left alone."`
	User     *string    `yaml:"user" doc:"Account whose own service manager reads the file; the system's when absent."`
	Verify   bool       `yaml:"verify" doc:"Let systemd-analyze judge a unit of the system; what it names must be there already." default:"true"`
}

// State is what the host has.
type State struct {
	Exists     bool         `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Path       string       `yaml:"path" json:"path" doc:"The file."`
	Content    task.Content `yaml:"content" json:"content" doc:"What is in it."`
	Enabled    string       `yaml:"enabled" json:"enabled" doc:"As systemctl is-enabled says it; looked up for units of the system and for absent."`
	Active     string       `yaml:"active" json:"active" doc:"As systemctl is-active says it; looked up for units of the system and for absent."`
	NeedReload bool         `yaml:"need_reload" json:"need_reload" doc:"The file changed since the service manager read it."`
	Want       task.Content `yaml:"-" json:"-"`
	Shipped    bool         `yaml:"-" json:"shipped"` // a package has a unit of this name, which stays
	Home       string       `yaml:"-" json:"home"`
	Group      string       `yaml:"-" json:"group"`
	Dirs       []string     `yaml:"-" json:"dirs"` // folders to make, outermost first
}

const (
	systemDir = "/etc/systemd/system"
	userDir   = ".config/systemd/user"
)

//go:embed doc.md
var doc string

// Module manages unit files.
var Module = task.New(task.Def[Params, State]{
	Name: "unit", Doc: doc, Validate: validate, Resource: resource,
	Observe: observe, Diff: diff, Apply: apply,
})

var (
	nameRule   = regexp.MustCompile(`^[a-zA-Z0-9:_.\\@-]+\.(service|socket|timer|target|path|mount|automount|swap|slice)$`)
	dropinRule = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`)
)

func validate(p Params) error {
	if !nameRule.MatchString(p.Name) || strings.HasPrefix(p.Name, "-") {
		return task.FieldErrorf("name", "%q is no name for a unit: want one with its suffix, such as backup.timer", p.Name)
	}
	if p.Dropin != nil && (!dropinRule.MatchString(*p.Dropin) || strings.HasSuffix(*p.Dropin, ".conf")) {
		return task.FieldErrorf("dropin", "%q is no name for a drop-in: want letters, digits, _ . - and no .conf", *p.Dropin)
	}
	text := blob(p)
	if p.State == "absent" {
		if text != nil {
			return task.FieldErrorf("state", "a file that is to be absent has no content")
		}
		return nil
	}
	if text == nil {
		return task.FieldErrorf("name", "the file has no content: give content, src or template")
	}
	if data, ok := text.Inline(); ok {
		if err := checkText(p, string(data)); err != nil {
			return task.FieldErrorf(attr(p), "%s", err)
		}
	}
	return nil
}

func blob(p Params) *task.Blob {
	for _, b := range []*task.Blob{p.Content, p.Src, p.Template} {
		if b != nil {
			return b
		}
	}
	return nil
}

// attr is the field that the text comes from.
func attr(p Params) string {
	switch {
	case p.Src != nil:
		return "src"
	case p.Template != nil:
		return "template"
	}
	return "content"
}

// checkText finds what systemd would skip with a warning that nobody reads: lines
// outside of a section, lines without "=", and sections that it does not know.
func checkText(p Params, text string) error {
	known := []string{"Unit", "Install", strings.ToUpper(path.Ext(p.Name)[1:2]) + path.Ext(p.Name)[2:]}
	section, continued := "", false
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		inside := continued
		comment := strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";")
		continued = strings.HasSuffix(line, `\`) && !comment || inside && comment
		switch {
		case inside || line == "" || comment:
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
			if !slices.Contains(known, section) && !strings.HasPrefix(section, "X-") {
				return fmt.Errorf("line %d: a %s has no section [%s], only [%s]", i+1, path.Ext(p.Name)[1:], section, strings.Join(known, "], ["))
			}
		case section == "":
			return fmt.Errorf("line %d stands before any section", i+1)
		case !strings.Contains(line, "="):
			return fmt.Errorf("line %d is neither a setting nor a section: it has no =", i+1)
		}
	}
	if section == "" && p.Dropin == nil {
		return errors.New("there is no section")
	}
	return nil
}

func ref(p Params) task.UnitRef {
	if p.User != nil {
		return task.UnitRef{Name: p.Name, User: *p.User}
	}
	return task.UnitRef{Name: p.Name}
}

func resource(p Params) string {
	name := p.Name
	if p.Dropin != nil {
		name = path.Join(p.Name+".d", *p.Dropin+".conf")
	}
	if p.User != nil {
		return name + " of " + *p.User
	}
	return path.Join(systemDir, name)
}

// isTemplate reports whether the name is one that only its instances run under.
func isTemplate(name string) bool {
	return strings.HasSuffix(strings.TrimSuffix(name, path.Ext(name)), "@")
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s, err := locate(ctx, r, p)
	if err != nil || s.Path == "" {
		return s, err
	}
	info, err := r.Stat(ctx, s.Path)
	if err != nil {
		return State{}, err
	}
	if s.Exists = info.Exists(); info.Kind == task.KindDir {
		return State{}, fmt.Errorf("cannot manage %s: it is a directory", s.Path)
	}
	if info.Kind == task.KindFile {
		if s.Content, err = r.Digest(ctx, s.Path); err != nil {
			return State{}, err
		}
	}
	if err := s.lookAtUnit(ctx, r, p); err != nil {
		return State{}, err
	}
	s.Want, err = wanted(ctx, r, p, s)
	return s, err
}

// locate finds the place of the file and which folders are missing on the way.
// An absent file of an account that is not there has no place.
func locate(ctx context.Context, r task.Reader, p Params) (State, error) {
	var s State
	base, dir := "", systemDir
	if p.User != nil {
		u, err := r.LookupUser(ctx, *p.User)
		if err != nil {
			return s, err
		}
		if u == nil && p.State == "absent" {
			return s, nil
		}
		if u == nil {
			return s, fmt.Errorf("cannot place a unit for %q: there is no such account; make it with a user task first", *p.User)
		}
		s.Home, s.Group = u.Home, u.Group
		base, dir = u.Home, path.Join(u.Home, userDir)
	}
	s.Path = path.Join(dir, p.Name)
	if p.Dropin != nil {
		s.Path = path.Join(dir, p.Name+".d", *p.Dropin+".conf")
	}
	if base == "" {
		base = systemDir
	}
	for d := path.Dir(s.Path); d != base && len(d) > len(base); d = path.Dir(d) {
		info, err := r.Stat(ctx, d)
		switch {
		case err != nil:
			return s, err
		case !info.Exists():
			s.Dirs = append(s.Dirs, d)
		case info.Kind != task.KindDir:
			return s, fmt.Errorf("cannot place a unit below %s: it is a %s, not a directory", d, info.Kind)
		}
	}
	slices.Reverse(s.Dirs)
	return s, nil
}

// lookAtUnit asks the service manager, where the answer matters: an account's
// manager need not run yet while its files are laid out.
func (s *State) lookAtUnit(ctx context.Context, r task.Reader, p Params) error {
	removes := p.State == "absent" && s.Exists && p.Dropin == nil
	if isTemplate(p.Name) || p.User != nil && !removes || !s.Exists {
		return nil
	}
	u, err := r.Unit(ctx, ref(p))
	if err != nil {
		return err
	}
	s.Enabled, s.Active, s.NeedReload = u.Enabled, u.Active, u.NeedReload
	if !removes || p.User != nil {
		return nil
	}
	for _, dir := range []string{"/usr/lib/systemd/system", "/lib/systemd/system"} {
		info, err := r.Stat(ctx, path.Join(dir, p.Name))
		if err != nil {
			return err
		}
		s.Shipped = s.Shipped || info.Exists()
	}
	return nil
}

// wanted describes the content asked for. Its text is fetched only where a diff
// will show it.
func wanted(ctx context.Context, r task.Reader, p Params, s State) (task.Content, error) {
	b := blob(p)
	if b == nil {
		return task.Content{}, nil
	}
	want := task.Content{Digest: b.Digest, Size: b.Size}
	if b.Secret || want.Digest == s.Content.Digest || want.Size > task.MaxText {
		return want, nil
	}
	data, err := fetch(ctx, r, p)
	if err != nil {
		return want, err
	}
	return task.ContentOf(data), nil
}

func fetch(ctx context.Context, r task.Reader, p Params) ([]byte, error) {
	b := blob(p)
	if data, ok := b.Inline(); ok {
		return data, nil
	}
	data, err := r.Blob(ctx, *b)
	if err != nil {
		return nil, fmt.Errorf("cannot get the content of %s: %w", resource(p), err)
	}
	return data, nil
}

func diff(p Params, s State) []task.Change {
	if p.State == "absent" {
		return diffAbsent(p, s)
	}
	var out []task.Change
	if s.Want.Digest != s.Content.Digest {
		out = append(out, task.ContentChange(attr(p), s.Path, s.Content, s.Want))
	}
	if s.NeedReload {
		out = append(out, task.Set("need_reload", "true", "false"))
	}
	return out
}

func diffAbsent(p Params, s State) []task.Change {
	if !s.Exists {
		return nil
	}
	var out []task.Change
	if stops(p, s) {
		out = append(out, task.Set("active", s.Active, "inactive"))
	}
	if disables(p, s) {
		out = append(out, task.Set("enabled", s.Enabled, "disabled"))
	}
	return append(out, task.Change{Attr: "state", Before: "present", After: "absent", Kind: task.Delete})
}

// stops and disables say what must happen before the file goes. A unit that a
// package ships lives on without our file.
func stops(p Params, s State) bool {
	return p.Dropin == nil && !s.Shipped && s.Active != "" && s.Active != "inactive" && s.Active != "failed"
}

func disables(p Params, s State) bool {
	return p.Dropin == nil && !s.Shipped && (s.Enabled == "enabled" || s.Enabled == "enabled-runtime")
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	step := applyPresent
	if p.State == "absent" {
		step = applyAbsent
	}
	if err := step(ctx, w, p, s); err != nil {
		return err
	}
	return w.ReloadUnits(ctx, ref(p).User)
}

func applyPresent(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.Want.Digest == s.Content.Digest {
		return nil
	}
	data := []byte(s.Want.Text)
	if !s.Want.IsText {
		var err error
		if data, err = fetch(ctx, w, p); err != nil {
			return err
		}
	}
	owner, group := "root", "root"
	if p.User != nil {
		owner, group = *p.User, s.Group
	}
	for _, d := range s.Dirs {
		if err := w.MakeDir(ctx, d, 0o755, owner, group); err != nil {
			return err
		}
	}
	mode := task.Mode(0o644)
	secret := blob(p).Secret
	if secret {
		mode = 0o600
	}
	f := task.FileWrite{Path: s.Path, Data: data, Mode: &mode, Owner: owner, Group: group, Secret: secret}
	if p.Verify && p.User == nil && p.Dropin == nil {
		// After the file is in place: systemd knows a unit by the name of its file.
		f.Validate = []string{"systemd-analyze", "verify", "--man=no", s.Path}
	}
	return w.WriteFile(ctx, f)
}

func applyAbsent(ctx context.Context, w task.Writer, p Params, s State) error {
	var change task.UnitChange
	if disables(p, s) {
		off := false
		change.Enable = &off
	}
	if stops(p, s) {
		change.Action = task.UnitStop
	}
	if change != (task.UnitChange{}) {
		if err := w.SetUnit(ctx, ref(p), change); err != nil {
			return err
		}
	}
	return w.Remove(ctx, s.Path)
}
