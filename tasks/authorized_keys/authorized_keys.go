// Package authorizedkeys is the module that says which SSH keys may log in as an account.
package authorizedkeys

import (
	"context"
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	User      string     `yaml:"user" doc:"Account that the keys open; it must exist." validate:"required"`
	Keys      []string   `yaml:"keys" doc:"Public keys, each one line: options, type, base64, comment."`
	From      []string   `yaml:"from" doc:"Accounts of which the keys are taken over too; those that run a fixed command are not."`
	State     string     `yaml:"state" doc:"Whether the keys are there." default:"present" validate:"oneof=present absent"`
	Exclusive bool       `yaml:"exclusive" doc:"Remove every other key." default:"false"`
	Path      *task.Path `yaml:"path" doc:"The file; .ssh/authorized_keys in the home when absent."`
}

// State is what the host has.
type State struct {
	Exists    bool      `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Path      string    `yaml:"path" json:"path" doc:"The file."`
	Keys      []string  `yaml:"keys" json:"keys" doc:"Type, fingerprint and comment of each key in the file."`
	Owner     string    `yaml:"owner" json:"owner" doc:"Owner of the file."`
	Mode      task.Mode `yaml:"mode" json:"mode" doc:"Permissions of the file."`
	HasDir    bool      `yaml:"has_dir" json:"has_dir" doc:"Whether the directory of the file is there."`
	DirOwner  string    `yaml:"dir_owner" json:"dir_owner" doc:"Owner of that directory."`
	DirMode   task.Mode `yaml:"dir_mode" json:"dir_mode" doc:"Permissions of that directory."`
	Lines     []string  `yaml:"-" json:"lines"`
	Taken     []string  `yaml:"-" json:"taken"`   // lines of the accounts in from
	Group     string    `yaml:"-" json:"group"`   // primary group of the account
	OwnDir    bool      `yaml:"-" json:"own_dir"` // the directory is ~/.ssh, so ours to set up
	NoAccount bool      `yaml:"-" json:"no_account"`
}

const (
	fileMode task.Mode = 0o600
	dirMode  task.Mode = 0o700
	maxFile            = 1 << 20
)

//go:embed doc.md
var doc string

// Module manages authorized_keys files.
var Module = task.New(task.Def[Params, State]{
	Name: "authorized_keys", Doc: doc, Risk: task.Connectivity, Validate: validate,
	Resource: func(p Params) string {
		if p.Path != nil {
			return string(*p.Path)
		}
		return "authorized keys of " + p.User
	},
	Observe: observe, Diff: diff, Apply: apply,
})

func validate(p Params) error {
	if p.User == "" || strings.ContainsAny(p.User, ":/ \n") {
		return task.FieldErrorf("user", "%q is no name for an account", p.User)
	}
	if p.Exclusive && p.State == "absent" {
		return task.FieldErrorf("exclusive", "makes no sense with state absent")
	}
	if len(p.Keys)+len(p.From) == 0 {
		return task.FieldErrorf("keys", "there is nothing to do: give keys, or accounts to take them from")
	}
	if p.State == "absent" && len(p.From) > 0 {
		return task.FieldErrorf("from", "says which keys to have, not which to remove")
	}
	var seen []key
	for _, text := range p.Keys {
		k, err := parseKey(text)
		if err != nil {
			return task.FieldErrorf("keys", "%s", err)
		}
		if slices.ContainsFunc(seen, k.same) {
			return task.FieldErrorf("keys", "%s is listed twice", k)
		}
		seen = append(seen, k)
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	u, err := r.LookupUser(ctx, p.User)
	if err != nil {
		return State{}, err
	}
	if u == nil {
		if p.State == "absent" {
			return State{NoAccount: true}, nil
		}
		return State{}, fmt.Errorf("cannot place keys for %q: there is no such account; make it with a user task first", p.User)
	}
	home := path.Join(u.Home, ".ssh")
	s := State{Path: path.Join(home, "authorized_keys"), Group: u.Group}
	if p.Path != nil {
		s.Path = string(*p.Path)
	}
	s.OwnDir = path.Dir(s.Path) == home
	dir, err := r.Stat(ctx, path.Dir(s.Path))
	if err != nil {
		return State{}, err
	}
	if s.OwnDir && dir.Exists() && dir.Kind != task.KindDir {
		return State{}, fmt.Errorf("cannot place keys in %s: it is a %s, not a directory", home, dir.Kind)
	}
	s.HasDir, s.DirOwner, s.DirMode = dir.Exists(), dir.Owner, dir.Mode
	if s.Exists, s.Owner, s.Mode, s.Lines, err = read(ctx, r, s.Path); err != nil {
		return State{}, err
	}
	for _, line := range s.Lines {
		if k, err := parseKey(line); err == nil {
			s.Keys = append(s.Keys, k.String())
		}
	}
	return s, s.take(ctx, r, p)
}

// take reads the keys of other accounts. An image closes an account by giving its keys
// a command that says so; such a key would close the new account too.
func (s *State) take(ctx context.Context, r task.Reader, p Params) error {
	for _, name := range p.From {
		u, err := r.LookupUser(ctx, name)
		if err != nil || u == nil || name == p.User {
			if err != nil {
				return err
			}
			continue
		}
		_, _, _, lines, err := read(ctx, r, path.Join(u.Home, ".ssh", "authorized_keys"))
		if err != nil {
			return err
		}
		for _, line := range lines {
			if k, err := parseKey(line); err == nil && !strings.Contains(strings.ToLower(k.options), "command=") {
				s.Taken = append(s.Taken, s.own(k).line())
			}
		}
	}
	if len(p.Keys)+len(s.Taken)+len(s.Keys) == 0 || p.Exclusive && len(p.Keys)+len(s.Taken) == 0 {
		return fmt.Errorf("cannot find a key for %s: %s has none that opens a shell; without any nobody could log in", p.User, strings.Join(p.From, ", "))
	}
	return nil
}

// read looks at a file. A link is refused: an account could make root write through
// it to any place, or read from any.
func read(ctx context.Context, r task.Reader, name string) (exists bool, owner string, mode task.Mode, lines []string, err error) {
	info, err := r.Stat(ctx, name)
	if err != nil || !info.Exists() {
		return false, "", 0, nil, err
	}
	if info.Kind != task.KindFile {
		return false, "", 0, nil, fmt.Errorf("cannot manage keys in %s: it is a %s, not a file", name, info.Kind)
	}
	data, err := r.ReadFile(ctx, name, maxFile)
	if err != nil {
		return false, "", 0, nil, err
	}
	return true, info.Owner, info.Mode, splitLines(string(data)), nil
}

// own returns a key as the account has it already, if it does.
func (s *State) own(k key) key {
	for _, line := range s.Lines {
		if mine, err := parseKey(line); err == nil && mine.same(k) {
			return mine
		}
	}
	return k
}

func splitLines(text string) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func diff(p Params, s State) []task.Change {
	if s.NoAccount {
		return nil
	}
	_, out := merge(p, s)
	if p.State == "absent" {
		return out
	}
	if s.OwnDir && s.HasDir {
		out = append(out, setUnlessEqual("directory_owner", s.DirOwner, p.User)...)
		out = append(out, setUnlessEqual("directory_mode", s.DirMode.String(), dirMode.String())...)
	}
	if s.Exists {
		out = append(out, setUnlessEqual("owner", s.Owner, p.User)...)
		out = append(out, setUnlessEqual("mode", s.Mode.String(), fileMode.String())...)
	}
	return out
}

func setUnlessEqual(attr, before, after string) []task.Change {
	if before == after {
		return nil
	}
	return []task.Change{task.Set(attr, before, after)}
}

// merge returns the lines that the file shall have and what changes on the way.
// Lines that hold no key stay, except that exclusive removes what is neither a
// key nor a comment: sshd may know a type of key that we do not.
func merge(p Params, s State) (out []string, changes []task.Change) {
	var want []key
	for i, text := range slices.Concat(p.Keys, s.Taken) {
		k, err := parseKey(text)
		// A key that is given counts with its options, one that is taken over without.
		if err == nil && (i < len(p.Keys) || !slices.ContainsFunc(want, k.same)) {
			want = append(want, k)
		}
	}
	done := make([]bool, len(want))
	for _, line := range s.Lines {
		keep, c := mergeLine(p, line, want, done)
		if keep != "" || strings.TrimSpace(line) == "" {
			out = append(out, keep)
		}
		changes = append(changes, c...)
	}
	if p.State == "absent" {
		return out, changes
	}
	for i, k := range want {
		if !done[i] {
			out = append(out, k.line())
			changes = append(changes, task.Change{Attr: "keys", After: k.String(), Kind: task.Create})
		}
	}
	return out, changes
}

// mergeLine decides what becomes of one line of the file: "" removes it.
func mergeLine(p Params, line string, want []key, done []bool) (string, []task.Change) {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || trimmed[0] == '#' {
		return line, nil
	}
	removed := func(name string) (string, []task.Change) {
		return "", []task.Change{{Attr: "keys", Before: name, Kind: task.Delete}}
	}
	k, err := parseKey(line)
	if err != nil {
		if p.Exclusive {
			return removed(shorten(trimmed))
		}
		return line, nil
	}
	i := slices.IndexFunc(want, k.same)
	switch {
	case i < 0 && p.Exclusive, i >= 0 && p.State == "absent", i >= 0 && done[i]:
		return removed(k.String())
	case i < 0:
		return line, nil
	}
	done[i] = true
	if k.options == want[i].options {
		return line, nil
	}
	return want[i].line(), []task.Change{task.Set("keys", k.String(), want[i].String())}
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.OwnDir && p.State == "present" {
		if err := applyDir(ctx, w, p, s); err != nil {
			return err
		}
	}
	lines, changes := merge(p, s)
	if len(changes) > 0 {
		f := task.FileWrite{Path: s.Path, Data: []byte(strings.Join(lines, "\n") + "\n"), Owner: p.User, Group: s.Group}
		if len(lines) == 0 {
			f.Data = nil
		}
		mode := fileMode
		f.Mode = &mode
		return w.WriteFile(ctx, f)
	}
	if s.Owner != p.User {
		if err := w.SetOwner(ctx, s.Path, p.User, s.Group); err != nil {
			return err
		}
	}
	if s.Mode != fileMode {
		if err := w.SetMode(ctx, s.Path, fileMode); err != nil {
			return err
		}
	}
	return nil
}

func applyDir(ctx context.Context, w task.Writer, p Params, s State) error {
	dir := path.Dir(s.Path)
	if !s.HasDir {
		return w.MakeDir(ctx, dir, dirMode, p.User, s.Group)
	}
	if s.DirOwner != p.User {
		if err := w.SetOwner(ctx, dir, p.User, s.Group); err != nil {
			return err
		}
	}
	if s.DirMode != dirMode {
		if err := w.SetMode(ctx, dir, dirMode); err != nil {
			return err
		}
	}
	return nil
}
