// Package user is the module that brings accounts into a state.
package user

import (
	"context"
	_ "embed"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Name       string      `yaml:"name" doc:"Name of the account." validate:"required"`
	State      string      `yaml:"state" doc:"Whether the account is there." default:"present" validate:"oneof=present absent"`
	UID        *int64      `yaml:"uid" doc:"Number of the account; absent leaves it to the system." validate:"min=0,max=4294967294"`
	Group      *string     `yaml:"group" doc:"Primary group, which must exist; a new account without one gets a group of its own name."`
	Groups     []string    `yaml:"groups" doc:"Other groups that the account is in; they must exist."`
	Append     bool        `yaml:"append" doc:"Keep the account in groups that are not listed; false means exactly the listed ones." default:"true"`
	Comment    *string     `yaml:"comment" doc:"Full name or purpose."`
	Home       *task.Path  `yaml:"home" doc:"Home directory."`
	CreateHome bool        `yaml:"create_home" doc:"Create the home directory where it is missing." default:"true"`
	MoveHome   bool        `yaml:"move_home" doc:"Move what is in the old home directory when home changes." default:"false"`
	HomeMode   *task.Mode  `yaml:"home_mode" doc:"Permissions of the home directory."`
	Shell      *task.Path  `yaml:"shell" doc:"Login shell."`
	System     bool        `yaml:"system" doc:"Take the number of a new account from the range of system accounts." default:"false"`
	Password   secret.Text `yaml:"password" doc:"Hash of the password, as crypt(3) writes it; never the password." validate:"excludes=locked"`
	Locked     *bool       `yaml:"locked" doc:"No password can log in; keys still can."`
	RemoveHome bool        `yaml:"remove_home" doc:"With state absent: remove the home directory and the mail too." default:"false"`
}

// State is what the host has.
type State struct {
	Exists   bool      `yaml:"exists" json:"exists" doc:"Whether the account is there."`
	UID      int64     `yaml:"uid" json:"uid" doc:"Number of the account."`
	GID      int64     `yaml:"gid" json:"gid" doc:"Number of its primary group."`
	Group    string    `yaml:"group" json:"group" doc:"Name of its primary group."`
	Groups   []string  `yaml:"groups" json:"groups" doc:"Names of its other groups, sorted."`
	Comment  string    `yaml:"comment" json:"comment" doc:"Full name or purpose."`
	Home     string    `yaml:"home" json:"home" doc:"Home directory."`
	Shell    string    `yaml:"shell" json:"shell" doc:"Login shell."`
	Locked   bool      `yaml:"locked" json:"locked" doc:"No password can log in."`
	HasHome  bool      `yaml:"has_home" json:"has_home" doc:"Whether the home directory that is asked for is there."`
	HomeMode task.Mode `yaml:"home_mode" json:"home_mode" doc:"Permissions of the home directory."`
	Password bool      `yaml:"password" json:"password" doc:"Whether the password is the one that is asked for; false when none is."`
}

//go:embed doc.md
var doc string

// Module manages accounts.
var Module = task.New(task.Def[Params, State]{
	Name: "user", Doc: doc, Risk: task.Connectivity, Validate: validate,
	Resource: func(p Params) string { return "user " + p.Name },
	Observe:  observe, Diff: diff, Apply: apply,
})

var nameRule = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]{0,31}$`)

func validate(p Params) error {
	if !nameRule.MatchString(p.Name) {
		return task.FieldErrorf("name", "%q is no name for an account: want a letter or _, then letters, digits, _ . -", p.Name)
	}
	if p.State == "absent" {
		return validateAbsent(p)
	}
	if p.RemoveHome {
		return task.FieldErrorf("remove_home", "only an account with state absent loses its home")
	}
	if p.MoveHome && p.Home == nil {
		return task.FieldErrorf("move_home", "needs %q too", "home")
	}
	if p.Locked != nil && !*p.Locked {
		return task.FieldErrorf("locked", "only a password unlocks an account: give %q instead", "password")
	}
	if !p.Password.IsZero() && !isHash(p.Password) {
		return task.FieldErrorf("password", "want a hash as crypt(3) writes it, such as $y$…; mkpasswd makes one")
	}
	if p.Comment != nil && strings.ContainsAny(*p.Comment, ":\n") {
		return task.FieldErrorf("comment", "must not contain a colon or a line end")
	}
	for _, g := range p.Groups {
		if strings.ContainsAny(g, ":, \n") || g == "" {
			return task.FieldErrorf("groups", "%q is no name for a group", g)
		}
	}
	return nil
}

func validateAbsent(p Params) error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"uid", p.UID != nil},
		{"group", p.Group != nil},
		{"groups", len(p.Groups) > 0},
		{"home", p.Home != nil},
		{"shell", p.Shell != nil},
		{"password", !p.Password.IsZero()},
		{"locked", p.Locked != nil},
	} {
		if f.given {
			return task.FieldErrorf(f.name, "an account that is to be absent has none")
		}
	}
	return nil
}

// isHash refuses what cannot be a hash: the oldest form of crypt(3) has thirteen
// characters, and a blank or a colon would break shadow(5).
func isHash(s secret.Text) bool {
	text := s.Reveal()
	return len(text) >= 13 && !strings.ContainsAny(text, ": \t\n\r\x00")
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	u, err := r.LookupUser(ctx, p.Name)
	if err != nil {
		return State{}, err
	}
	if u == nil {
		return State{}, nil
	}
	s := State{
		Exists: true, UID: u.UID, GID: u.GID, Group: u.Group, Groups: u.Groups,
		Comment: u.Comment, Home: u.Home, Shell: u.Shell, Locked: u.Locked,
	}
	if !p.Password.IsZero() {
		s.Password = u.PasswordDigest == task.DigestOf([]byte(p.Password.Reveal()))
	}
	home := u.Home
	if p.Home != nil {
		home = string(*p.Home)
	}
	if !realHome(home) {
		return s, nil
	}
	info, err := r.Stat(ctx, home)
	if err != nil {
		return State{}, err
	}
	s.HasHome, s.HomeMode = info.Exists(), info.Mode
	return s, nil
}

// realHome reports whether a home is a place, and not a way to say that there is none.
func realHome(home string) bool {
	return strings.HasPrefix(home, "/") && home != "/" && home != "/nonexistent" && !strings.HasPrefix(home, "/dev/")
}

func diff(p Params, s State) []task.Change {
	switch {
	case p.State == "absent" && !s.Exists:
		return nil
	case p.State == "absent":
		return diffAbsent(p, s)
	}
	var out []task.Change
	add := func(attr, before, after string) {
		switch {
		case !s.Exists:
			out = append(out, task.Change{Attr: attr, After: after, Kind: task.Create})
		case before != after:
			out = append(out, task.Set(attr, before, after))
		}
	}
	if !s.Exists {
		out = append(out, task.Change{Attr: "state", Before: "absent", After: "present", Kind: task.Create})
	}
	if p.UID != nil {
		add("uid", number(s.UID), number(*p.UID))
	}
	if p.Group != nil && (!s.Exists || *p.Group != s.Group && *p.Group != number(s.GID)) {
		add("group", s.Group, *p.Group)
	}
	if p.Groups != nil {
		if want := wantGroups(p, s); len(want) > 0 || s.Exists {
			add("groups", strings.Join(s.Groups, ","), strings.Join(want, ","))
		}
	}
	if p.Comment != nil {
		add("comment", s.Comment, *p.Comment)
	}
	if p.Home != nil {
		add("home", s.Home, string(*p.Home))
	}
	if p.Shell != nil {
		add("shell", s.Shell, string(*p.Shell))
	}
	return append(out, diffHomeAndLogin(p, s)...)
}

func diffAbsent(p Params, s State) []task.Change {
	out := []task.Change{{Attr: "state", Before: "present", After: "absent", Kind: task.Delete}}
	if p.RemoveHome && s.HasHome {
		out = append(out, task.Change{Attr: "remove_home", Before: s.Home, Kind: task.Delete})
	}
	return out
}

// diffHomeAndLogin is the second half of diff: what is not a field of passwd(5).
func diffHomeAndLogin(p Params, s State) []task.Change {
	var out []task.Change
	if s.Exists && needsHome(p, s) {
		out = append(out, task.Change{Attr: "create_home", After: homeOf(p, s), Kind: task.Create})
	}
	switch {
	case p.HomeMode == nil:
	case !s.Exists || !s.HasHome && needsHome(p, s):
		out = append(out, task.Change{Attr: "home_mode", After: p.HomeMode.String(), Kind: task.Create})
	case s.HasHome && s.HomeMode != *p.HomeMode:
		out = append(out, task.Set("home_mode", s.HomeMode.String(), p.HomeMode.String()))
	}
	if !p.Password.IsZero() && !s.Password {
		out = append(out, task.Change{Attr: "password", Kind: task.Update, Sensitive: true})
	}
	if p.Locked != nil && (!s.Exists || s.Locked != *p.Locked) {
		out = append(out, task.Set("locked", strconv.FormatBool(s.Locked), strconv.FormatBool(*p.Locked)))
	}
	return out
}

func homeOf(p Params, s State) string {
	if p.Home != nil {
		return string(*p.Home)
	}
	return s.Home
}

func needsHome(p Params, s State) bool {
	moves := p.MoveHome && s.Home != homeOf(p, s)
	return p.CreateHome && !s.HasHome && !moves && realHome(homeOf(p, s))
}

// wantGroups returns the complete list of other groups, sorted. The primary
// group is no other group, whether the playbook lists it or not.
func wantGroups(p Params, s State) []string {
	var out []string
	if p.Append {
		out = append(out, s.Groups...)
	}
	primary := s.Group
	if p.Group != nil {
		primary = *p.Group
	}
	for _, g := range p.Groups {
		if g != primary {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.State == "absent" {
		return w.DeleteUser(ctx, p.Name, p.RemoveHome)
	}
	if spec, needed := specFor(p, s); needed {
		if err := w.PutUser(ctx, spec); err != nil {
			return err
		}
	}
	if p.HomeMode == nil {
		return nil
	}
	// A new home may have its mode already.
	now, err := observe(ctx, w, p)
	if err != nil || !now.HasHome || now.HomeMode == *p.HomeMode {
		return err
	}
	return w.SetMode(ctx, homeOf(p, now), *p.HomeMode)
}

// specFor returns the fields of the account that differ, and whether there are any.
func specFor(p Params, s State) (task.UserSpec, bool) {
	spec := task.UserSpec{Name: p.Name, System: p.System, CreateHome: p.CreateHome && !s.Exists}
	needed := !s.Exists
	for _, c := range diff(p, s) {
		needed = needed || c.Attr != "home_mode"
		switch c.Attr {
		case "uid":
			spec.UID = p.UID
		case "group":
			spec.Group = p.Group
		case "groups":
			groups := wantGroups(p, s)
			spec.Groups = &groups
		case "comment":
			spec.Comment = p.Comment
		case "home":
			home := string(*p.Home)
			spec.Home, spec.MoveHome = &home, s.Exists && p.MoveHome
		case "create_home":
			spec.CreateHome = true
		case "shell":
			shell := string(*p.Shell)
			spec.Shell = &shell
		case "password":
			hash := p.Password.Reveal()
			spec.PasswordHash = &hash
		case "locked":
			lock := "!"
			spec.PasswordHash = &lock
		}
	}
	if spec.CreateHome {
		spec.HomeMode = p.HomeMode
	}
	return spec, needed
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
