// Package sudoers is the module that manages files in /etc/sudoers.d.
package sudoers

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"strings"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Name     string   `yaml:"name" doc:"Name of the file in /etc/sudoers.d; sudo ignores names with a dot or a tilde." validate:"required"`
	State    string   `yaml:"state" doc:"Whether the file is there." default:"present" validate:"oneof=present absent"`
	User     *string  `yaml:"user" doc:"Account that may run the commands." validate:"excludes=group,excludes=text"`
	Group    *string  `yaml:"group" doc:"Group whose members may run the commands." validate:"excludes=text"`
	Commands []string `yaml:"commands" doc:"Commands with absolute paths, and arguments where they matter; all when absent." validate:"min=1,excludes=text"`
	RunAs    string   `yaml:"run_as" doc:"Accounts, and groups after a colon, that the commands may run as." default:"ALL:ALL" validate:"excludes=text"`
	NoPasswd bool     `yaml:"nopasswd" doc:"Ask for no password." default:"false" validate:"excludes=text"`
	Text     *string  `yaml:"text" doc:"The whole file, as sudoers(5) describes it, in place of the fields above."`
}

// State is what the host has.
type State struct {
	Exists  bool         `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Path    string       `yaml:"path" json:"path" doc:"The file."`
	Content task.Content `yaml:"content" json:"content" doc:"What is in it."`
	Mode    task.Mode    `yaml:"mode" json:"mode" doc:"Its permissions."`
	Owner   string       `yaml:"owner" json:"owner" doc:"Its owner."`
	Group   string       `yaml:"group" json:"group" doc:"Its group."`
}

const (
	dir            = "/etc/sudoers.d"
	mode task.Mode = 0o440
	mark           = "# Managed by Holdfast: changes are lost with the next run.\n"
)

//go:embed doc.md
var doc string

// Module manages files in /etc/sudoers.d.
var Module = task.New(task.Def[Params, State]{
	Name: "sudoers", Doc: doc, Risk: task.Connectivity, Validate: validate,
	Resource: func(p Params) string { return path.Join(dir, p.Name) },
	Observe:  observe, Diff: diff, Apply: apply,
})

var (
	fileRule    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_+@-]*$`)
	accountRule = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]*$`)
	runAsRule   = regexp.MustCompile(`^[a-zA-Z0-9_.,# -]*(:[a-zA-Z0-9_.,# -]+)?$`)
	commandRule = regexp.MustCompile(`^(!?/|[A-Z][A-Z0-9_]*$|sudoedit )`)
	bareComma   = regexp.MustCompile(`(^|[^\\]),`)
)

func validate(p Params) error {
	if !fileRule.MatchString(p.Name) {
		return task.FieldErrorf("name", "sudo would ignore or misread a file called %q: want letters, digits, _ + @ -", p.Name)
	}
	if p.State == "absent" || p.Text != nil {
		return nil
	}
	if p.User == nil && p.Group == nil {
		return task.FieldErrorf("name", "the rule is for nobody: give user, group or text")
	}
	if p.User != nil && !accountRule.MatchString(*p.User) {
		return task.FieldErrorf("user", "%q is no name for an account", *p.User)
	}
	if p.Group != nil && !accountRule.MatchString(*p.Group) {
		return task.FieldErrorf("group", "%q is no name for a group; write it without %%", *p.Group)
	}
	if p.RunAs == "" || !runAsRule.MatchString(p.RunAs) {
		return task.FieldErrorf("run_as", "%q is no list of accounts: want names such as root, or ALL:ALL", p.RunAs)
	}
	for _, c := range p.Commands {
		if !commandRule.MatchString(c) || strings.ContainsAny(c, "\n\r") {
			return task.FieldErrorf("commands", "%q is no command: want an absolute path on one line, or ALL", c)
		}
		if bareComma.MatchString(c) {
			return task.FieldErrorf("commands", "%q has a comma: list each command for itself, or escape it as \\,", c)
		}
	}
	return nil
}

// content returns what the file shall hold.
func content(p Params) []byte {
	if p.Text != nil {
		text := *p.Text
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return []byte(text)
	}
	who := ""
	switch {
	case p.User != nil:
		who = *p.User
	case p.Group != nil:
		who = "%" + *p.Group
	}
	commands := "ALL"
	if len(p.Commands) > 0 {
		commands = strings.Join(p.Commands, ", ")
	}
	tag := ""
	if p.NoPasswd {
		tag = "NOPASSWD: "
	}
	return fmt.Appendf([]byte(mark), "%s ALL=(%s) %s%s\n", who, p.RunAs, tag, commands)
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{Path: path.Join(dir, p.Name)}
	info, err := r.Stat(ctx, s.Path)
	if err != nil {
		return State{}, err
	}
	if !info.Exists() {
		return s, nil
	}
	s.Exists, s.Mode, s.Owner, s.Group = true, info.Mode, info.Owner, info.Group
	if info.Kind == task.KindDir {
		return State{}, fmt.Errorf("cannot manage %s: it is a directory", s.Path)
	}
	if info.Kind != task.KindFile {
		return s, nil // a link is replaced
	}
	if s.Content, err = r.Digest(ctx, s.Path); err != nil {
		return State{}, err
	}
	return s, nil
}

func diff(p Params, s State) []task.Change {
	if p.State == "absent" {
		if !s.Exists {
			return nil
		}
		return []task.Change{{Attr: "state", Before: "present", After: "absent", Kind: task.Delete}}
	}
	var out []task.Change
	if want := task.ContentOf(content(p)); want.Digest != s.Content.Digest {
		out = append(out, task.ContentChange("content", s.Path, s.Content, want))
	}
	if !s.Exists {
		return out
	}
	if s.Mode != mode {
		out = append(out, task.Set("mode", s.Mode.String(), mode.String()))
	}
	if s.Owner != "root" || s.Group != "root" {
		out = append(out, task.Set("owner", s.Owner+":"+s.Group, "root:root"))
	}
	return out
}

// apply writes the whole file even when only the mode differs: it is small, and
// so visudo has judged whatever is there afterwards.
func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.State == "absent" {
		return w.Remove(ctx, s.Path)
	}
	m := mode
	f := task.FileWrite{
		Path: s.Path, Data: content(p), Mode: &m, Owner: "root", Group: "root",
		Validate: []string{"visudo", "-cf", "%s"},
	}
	return w.WriteFile(ctx, f)
}
