// Package lookfirst finds out before a change is made whether it would certainly keep
// the next login out. It looks at what a login needs, as the host is and as a task would
// leave it, and compares: what was shut already is not the task's doing, and what nobody
// can be certain of is left to the guard.
package lookfirst

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// Picture is what the logins that must stay possible need.
type Picture struct {
	ways      []way
	serving   string // the active unit of the SSH server, or empty
	starts    bool   // a unit of it is started by a boot
	masked    bool
	server    bool // its package is there
	sudo      bool // sudo's package is there
	firewall  string
	filtering bool // the service that loads the firewall's file is active
}

// way is one login.
type way struct {
	login   task.Login
	account bool
	shell   string   // why its shell lets nobody in, or empty
	keys    []string // fingerprints of the keys that open it
	sure    bool     // these are all of them
	strict  string   // why sshd would not look at the keys
	root    bool     // it can become root
	rules   bool     // whether it can is certain
}

// units are those that serve SSH, in the order in which they are asked for.
var units = []string{"ssh.service", "sshd.service", "ssh.socket"}

// Look looks at a host, or at what it would be.
func Look(ctx context.Context, r task.Reader) (*Picture, error) {
	p := &Picture{}
	for _, login := range r.Facts().Login.Each() {
		w, err := lookAt(ctx, r, login)
		if err != nil {
			return nil, err
		}
		p.ways = append(p.ways, w)
	}
	for _, name := range units {
		u, err := r.Unit(ctx, task.UnitRef{Name: name})
		if err != nil {
			return nil, err
		}
		if u.Enabled == "alias" {
			continue // another name of one of the others
		}
		if u.Active == "active" && p.serving == "" {
			p.serving = name
		}
		p.starts = p.starts || u.Enabled == "enabled"
		p.masked = p.masked || u.Masked && name != "ssh.socket"
	}
	for name, there := range map[string]*bool{"openssh-server": &p.server, "sudo": &p.sudo} {
		pkg, err := r.Package(ctx, name)
		if err != nil {
			return nil, err
		}
		*there = pkg.Installed
	}
	u, err := r.Unit(ctx, task.UnitRef{Name: "nftables.service"})
	if err != nil {
		return nil, err
	}
	p.filtering = u.Active == "active"
	p.firewall, err = text(ctx, r, nftFile)
	return p, err
}

// Worse says what would certainly keep a login out after a change and did not before,
// or nothing.
func (p *Picture) Worse(ctx context.Context, r task.Reader, after *Picture) string {
	for i := range p.ways {
		if why := p.ways[i].worse(&after.ways[i]); why != "" {
			return why
		}
	}
	switch {
	case p.server && !after.server:
		return "the SSH server would be removed"
	case !p.masked && after.masked:
		return "the SSH server could not be started any more"
	case p.serving != "" && after.serving == "":
		return "the SSH server would be stopped"
	case p.starts && !after.starts:
		return "no boot would start the SSH server any more"
	}
	if p.firewall == after.firewall && p.filtering == after.filtering || after.firewall == "" {
		return ""
	}
	for i := range p.ways {
		login := p.ways[i].login
		if why := filtered(ctx, r, after.firewall, login); why != "" && (!p.filtering || filtered(ctx, r, p.firewall, login) == "") {
			return why
		}
	}
	return ""
}

func lookAt(ctx context.Context, r task.Reader, login task.Login) (way, error) {
	w := way{login: login}
	u, err := r.LookupUser(ctx, login.User)
	if err != nil || u == nil {
		return w, err
	}
	w.account = true
	if w.shell, err = badShell(ctx, r, u.Shell); err != nil {
		return w, err
	}
	conf, err := serverConf(ctx, r)
	if err != nil {
		return w, err
	}
	if err := w.lookAtKeys(ctx, r, u, conf); err != nil {
		return w, err
	}
	w.root, w.rules = true, u.UID == 0
	if u.UID != 0 {
		w.root, w.rules, err = mayBecomeRoot(ctx, r, u)
	}
	return w, err
}

func (w *way) worse(after *way) string {
	user := w.login.User
	switch {
	case w.account && !after.account:
		return fmt.Sprintf("the account %s, which logs in, would be gone", user)
	case !w.account:
		return ""
	case w.shell == "" && after.shell != "":
		return fmt.Sprintf("the shell of %s %s", user, after.shell)
	case w.strict == "" && after.strict != "":
		return fmt.Sprintf("sshd would not read the keys of %s: %s (StrictModes)", user, after.strict)
	case w.sure && after.sure && len(w.keys) > 0 && len(after.keys) == 0:
		return fmt.Sprintf("no key would open the account %s any more", user)
	case after.sure && slices.Contains(w.keys, w.login.Key) && !slices.Contains(after.keys, w.login.Key):
		return fmt.Sprintf("the key that is logged in as %s would be taken away (%s)", user, w.login.Key)
	case w.root && w.rules && !after.root && after.rules:
		return fmt.Sprintf("%s could not become root any more: no rule of sudo would let it", user)
	}
	return ""
}

// badShell says why an account with that shell cannot run anything.
func badShell(ctx context.Context, r task.Reader, shell string) (string, error) {
	switch {
	case shell == "":
		return "", nil // /bin/sh (passwd(5))
	case strings.HasSuffix(shell, "/nologin"), strings.HasSuffix(shell, "/false"):
		return shell + " runs nothing", nil
	}
	info, err := r.Stat(ctx, shell)
	if err != nil || info.Exists() {
		return "", err
	}
	return shell + " is not there", nil
}

// maxFile bounds what is read.
const maxFile = 1 << 20

// text returns the content of a file, nothing where there is none.
func text(ctx context.Context, r task.Reader, path string) (string, error) {
	info, err := r.Stat(ctx, path)
	if err != nil || !info.Exists() || info.Kind == task.KindDir {
		return "", err
	}
	b, err := r.ReadFile(ctx, path, maxFile)
	return string(b), err
}

// folder returns the content of files in a folder whose names are wanted, in order.
func folder(ctx context.Context, r task.Reader, dir string, wanted func(name string) bool) (out []string, err error) {
	info, err := r.Stat(ctx, dir)
	if err != nil || info.Kind != task.KindDir {
		return nil, err
	}
	names, err := r.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !wanted(name) {
			continue
		}
		t, err := text(ctx, r, dir+"/"+name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}
