package ufw

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// The files of ufw. Nothing else is written.
const (
	confFile     = "/etc/ufw/ufw.conf"
	defaultsFile = "/etc/default/ufw"
	rulesFile    = "/etc/ufw/user.rules"
	rules6File   = "/etc/ufw/user6.rules"
	maxFile      = 4 << 20
	program      = "/lib/ufw/ufw-init"
)

// shipped is what the files come to in a new installation, the same in Debian and
// Ubuntu.
var shipped = map[string]string{
	confFile:     "ENABLED=no\nLOGLEVEL=low\n",
	defaultsFile: "IPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_OUTPUT_POLICY=\"ACCEPT\"\nDEFAULT_FORWARD_POLICY=\"DROP\"\n",
	rulesFile:    "",
	rules6File:   "",
}

var (
	files = []string{defaultsFile, rulesFile, rules6File, confFile} // in the order of writing
	unit  = task.UnitRef{Name: "ufw.service"}
)

// look is what Observe found out and does not show.
type look struct {
	now, next settings
	texts     map[string][]byte // of the files as they are
	edits     map[string][]byte // those that change
	rules     []task.Change
	starts    bool // the unit is enabled
	exists    bool // the unit is there
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	texts, err := read(ctx, r)
	if err != nil {
		return State{}, err
	}
	l := &look{texts: texts, edits: map[string][]byte{}}
	l.now = parseSettings(texts[confFile], texts[defaultsFile])
	l.next = l.now.asked(p)
	tables := []*table{parseTable("ufw", texts[rulesFile]), parseTable("ufw6", texts[rules6File])}
	before := firewall(l.now, tables)
	if err := l.plan(p, tables); err != nil {
		return State{}, err
	}
	s := State{Enabled: l.now.Enabled, Running: l.now.Enabled, Incoming: l.now.Incoming, Outgoing: l.now.Outgoing,
		Routed: l.now.Routed, Logging: l.now.Logging, Rules: int64(len(before.Rules) + len(before.Rules6)), look: l}
	if r.Facts().Init == "systemd" {
		u, err := r.Unit(ctx, unit)
		if err != nil {
			return State{}, err
		}
		l.exists, l.starts, s.Running = u.Exists, u.Enabled != "disabled" && !u.Masked, u.Active == "active"
	}
	if len(diff(p, s)) == 0 {
		return s, nil
	}
	if byHand(s) {
		s.Old = map[string]string{}
		for name := range l.edits {
			s.Old[name] = string(texts[name])
		}
	}
	if p.AllowLockout {
		return s, nil
	}
	return s, lookFirst(ctx, r, before, firewall(l.next, tables))
}

// read returns the files. Where the plan installs ufw first they are as it ships them.
func read(ctx context.Context, r task.Reader) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, name := range files {
		data, err := r.ReadFile(ctx, name, maxFile)
		switch {
		case err == nil:
			out[name] = data
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("cannot manage ufw, is its package installed? %w", err)
		case errors.Is(err, task.ErrUnknown):
			p, perr := r.Package(ctx, "ufw")
			if perr != nil || !p.Installed {
				return nil, errors.Join(err, perr)
			}
			out[name] = []byte(shipped[name])
		default:
			return nil, err
		}
	}
	return out, nil
}

// asked returns the settings as the playbook wants them.
func (s settings) asked(p Params) settings {
	if p.Enabled != nil {
		s.Enabled = *p.Enabled
	}
	if p.Logging != nil {
		s.Logging = *p.Logging
	}
	if p.Default != nil {
		for to, from := range map[*string]*string{&s.Incoming: p.Default.Incoming, &s.Outgoing: p.Default.Outgoing, &s.Routed: p.Default.Routed} {
			if from != nil {
				*to = *from
			}
		}
	}
	return s
}

// plan brings the tables to what is asked for and notes the files that change.
func (l *look) plan(p Params, tables []*table) error {
	touched := l.next != l.now
	if p.Rule != nil {
		four, six, err := wanted(p)
		if err != nil {
			return err
		}
		if four == nil && !l.now.IPv6 && p.State == "present" {
			return fmt.Errorf("cannot add the rule %s: ufw does not deal with IPv6 here; %s says IPV6=no", six, defaultsFile)
		}
		if !l.now.IPv6 {
			six = nil
		}
		for i, want := range []*Rule{four, six} {
			if want != nil && l.rule(p, tables[i], *want) {
				touched = true
			}
		}
	}
	if !touched {
		return nil
	}
	next := map[string][]byte{rulesFile: tables[0].render(l.next), rules6File: tables[1].render(l.next)}
	next[confFile], next[defaultsFile] = l.next.write(l.now, l.texts[confFile], l.texts[defaultsFile])
	for name, data := range next {
		if string(data) != string(l.texts[name]) {
			l.edits[name] = data
		}
	}
	return nil
}

// rule changes one table and notes how. The second family is named only where it
// differs from the first.
func (l *look) rule(p Params, t *table, want Rule) bool {
	c := task.Change{Attr: "rule", Kind: task.Create, After: want.String()}
	if i := t.find(want); i >= 0 {
		c.Before, c.Kind = t.blocks[i].rule.withComment(), task.Update
		if p.Comment != nil {
			c.After = want.withComment()
		}
	}
	if p.State == "absent" {
		c.After, c.Kind = "", task.Delete
		if !t.drop(want) {
			return false
		}
	} else if !t.put(want, p.Comment != nil, p.First) {
		return false
	}
	if !slices.Contains(l.rules, c) {
		l.rules = append(l.rules, c)
	}
	return true
}

func (r Rule) withComment() string {
	if r.Comment == "" {
		return r.String()
	}
	return r.String() + " # " + r.Comment
}

func firewall(s settings, tables []*table) Firewall {
	return Firewall{Enabled: s.Enabled, IPv6: s.IPv6, Incoming: s.Incoming, Rules: tables[0].rules(), Rules6: tables[1].rules()}
}

// lookFirst refuses a change that would drop the next login where the last one got
// through, over every way that has to stay open.
func lookFirst(ctx context.Context, r task.Reader, before, after Firewall) error {
	listed, err := sshPorts(ctx, r)
	if err != nil {
		return err
	}
	here := r.Facts().Login
	for _, login := range here.Each() {
		ports := listed
		if len(ports) == 0 || login.ServerPort != here.ServerPort {
			ports = []int64{login.ServerPort} // a guard names its port
		}
		if why := closed(before, after, login, ports); why != "" {
			return fmt.Errorf("refused: %s could not connect again: %s; allow it first, or say allow_lockout: true where another way in is certain", login.User, why)
		}
	}
	return nil
}

// closed says why none of the ports would be reached any more that were reached before.
func closed(before, after Firewall, login task.Login, ports []int64) (why string) {
	for _, port := range ports {
		login.ServerPort = port
		if Lockout(before, login) != "" {
			continue // it is not this change that closes it
		}
		if why = Lockout(after, login); why == "" {
			return ""
		}
	}
	return why
}

var portRule = regexp.MustCompile(`(?mi)^[ \t]*port[ \t=]+"?([0-9]+)`)

// sshPorts returns the ports that the files of the SSH server name, if any. A task
// before this one may have moved the server while our connection is still at the
// old port.
func sshPorts(ctx context.Context, r task.Reader) ([]int64, error) {
	const main, dir = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"
	names := []string{main}
	for _, name := range []string{main, dir} {
		info, err := r.Stat(ctx, name)
		if err != nil {
			return nil, err
		}
		if !info.Exists() {
			return nil, nil
		}
	}
	list, err := r.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range list {
		if strings.HasSuffix(name, ".conf") {
			names = append(names, dir+"/"+name)
		}
	}
	var out []int64
	for _, name := range names {
		data, err := r.ReadFile(ctx, name, maxFile)
		if err != nil {
			return nil, err
		}
		for _, m := range portRule.FindAllSubmatch(data, -1) {
			if n, err := strconv.ParseInt(string(m[1]), 10, 32); err == nil {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// apply stops the firewall with the settings that it was started with, writes, and
// starts it with the new ones, as "ufw reload" does. Taken back in reverse it does
// the same for the old ones. Connections go on.
func apply(ctx context.Context, w task.Writer, _ Params, s State) error {
	l := s.look
	if byHand(s) {
		return applyByHand(ctx, w, l)
	}
	live := l.now.Enabled || l.next.Enabled
	set := func(c task.UnitChange) error {
		if !live || c == (task.UnitChange{}) {
			return nil
		}
		return w.SetUnit(ctx, unit, c)
	}
	var stop, start task.UnitChange
	if s.Running {
		stop.Action, start.Action = task.UnitStop, task.UnitStart
	}
	if l.next.Enabled {
		start.Action = task.UnitStart
		if !l.starts {
			start.Enable = ptr(true)
		}
	}
	if err := set(stop); err != nil {
		return err
	}
	err := l.write(ctx, w, l.edits)
	if err == nil {
		err = set(start)
	}
	if err == nil {
		return nil
	}
	// Back to what worked.
	errs := []error{err, l.write(ctx, w, l.texts)}
	if s.Running {
		errs = append(errs, set(task.UnitChange{Action: task.UnitStart}))
	}
	return errors.Join(errs...)
}

func ptr[T any](v T) *T { return &v }

// write writes those of the files that change, with the given texts.
func (l *look) write(ctx context.Context, w task.Writer, texts map[string][]byte) error {
	for _, name := range files {
		if _, changes := l.edits[name]; !changes {
			continue
		}
		f := task.FileWrite{Path: name, Data: texts[name]}
		info, err := w.Stat(ctx, name)
		if err != nil {
			return err
		}
		if !info.Exists() { // in a plan that installs ufw first
			f.Mode, f.Owner, f.Group = ptr(task.Mode(0o640)), "root", "root"
		}
		if err := w.WriteFile(ctx, f); err != nil {
			return err
		}
	}
	return nil
}
