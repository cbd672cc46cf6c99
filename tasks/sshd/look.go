package sshd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/tasks/task"
)

// edit is one file that is written or removed.
type edit struct {
	path   string
	attr   string
	before task.Content
	after  task.Content
	data   []byte
	remove bool
	old    []byte
	was    task.FileInfo
}

func fileWrite(name string, data []byte) task.FileWrite {
	m := mode
	return task.FileWrite{Path: name, Data: data, Mode: &m, Owner: "root", Group: "root", Validate: []string{"sshd", "-t"}}
}

func (e edit) do(ctx context.Context, w task.Writer) error {
	if e.remove {
		return w.Remove(ctx, e.path)
	}
	f := fileWrite(e.path, e.data)
	switch {
	case strings.HasPrefix(e.path, unitDir):
		m := task.Mode(0o644)
		f.Mode, f.Validate = &m, nil
	case e.attr == "port":
		f.Mode, f.Owner, f.Group = nil, "", "" // somebody else's file
	}
	return w.WriteFile(ctx, f)
}

func (e edit) undo(ctx context.Context, w task.Writer) error {
	if !e.was.Exists() {
		return w.Remove(ctx, e.path)
	}
	m := e.was.Mode
	return w.WriteFile(ctx, task.FileWrite{Path: e.path, Data: e.old, Mode: &m, Owner: e.was.Owner, Group: e.was.Group})
}

// look is what Observe found out and does not show.
type look struct {
	edits []edit
	open  []int64 // the ports of the server that are open now
	units units
	moves bool // the addresses change on which the server listens
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{Path: file(p), look: &look{}}
	before, err := (&loader{r: r}).load(ctx)
	if err == nil {
		p, err = known(ctx, r, p)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, fmt.Errorf("cannot manage the SSH server, is openssh-server installed? %w", err)
	}
	if err != nil {
		return State{}, err
	}
	s.Ports = before.ports()
	if err := s.file(ctx, r); err != nil {
		return State{}, err
	}
	if s.look.units, err = ownersOf(ctx, r); err != nil {
		return State{}, err
	}
	s.Unit = s.look.units.owner()
	after, err := s.wanted(ctx, r, p, before)
	if err != nil {
		return State{}, err
	}
	if err := s.openPorts(ctx, r, p); err != nil {
		return State{}, err
	}
	s.look.moves = !slices.Equal(before.ports(), after.ports()) || p.Port != nil && !s.Open
	if len(diff(p, s)) == 0 {
		return s, nil
	}
	if err := possible(p, s, after); err != nil {
		return State{}, err
	}
	if !p.AllowLockout {
		if err := lookFirst(ctx, r, p, s, after); err != nil {
			return State{}, err
		}
	}
	return s, nil
}

// file looks at the drop-in itself.
func (s *State) file(ctx context.Context, r task.Reader) error {
	info, err := r.Stat(ctx, s.Path)
	if err != nil || !info.Exists() {
		return err
	}
	if info.Kind != task.KindFile {
		return fmt.Errorf("cannot manage %s: it is a %s", s.Path, info.Kind)
	}
	s.Exists, s.Mode, s.Owner = true, info.Mode, info.Owner+":"+info.Group
	s.Content, err = r.Digest(ctx, s.Path)
	return err
}

// wanted finds the files that must change and returns the settings as they would
// be then.
func (s *State) wanted(ctx context.Context, r task.Reader, p Params, before *conf) (*conf, error) {
	l := &loader{r: r, replaced: map[string][]byte{}}
	var err error
	if p.State == "absent" {
		if err = s.gone(ctx, r, s.Path, "state"); err == nil {
			err = s.gone(ctx, r, override(p), "state")
		}
	} else {
		err = s.present(ctx, r, p, before)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range s.look.edits {
		l.replaced[e.path] = e.data // nil for one that is removed
	}
	return l.load(ctx)
}

func (s *State) present(ctx context.Context, r task.Reader, p Params, before *conf) error {
	wrong := s.Exists && (s.Mode != mode || s.Owner != owner)
	if err := s.put(ctx, r, s.Path, "settings", content(p), wrong); err != nil {
		return err
	}
	if p.Port == nil {
		return nil
	}
	for _, name := range others(before, s.Path) {
		old, err := r.ReadFile(ctx, name, maxConf)
		if err != nil {
			return err
		}
		if err := s.put(ctx, r, name, "port", withoutPort(old), false); err != nil {
			return err
		}
	}
	if s.Unit != socketUnit || s.look.units.generator {
		return nil
	}
	six, err := r.Stat(ctx, "/proc/sys/net/ipv6")
	if err != nil {
		return err
	}
	return s.put(ctx, r, override(p), "port", listenOverride(*p.Port, six.Exists()), false)
}

// put notes that a file shall have a content, unless it has it and nothing else is
// wrong with it.
func (s *State) put(ctx context.Context, r task.Reader, name, attr string, data []byte, wrong bool) error {
	e := edit{path: name, attr: attr, after: task.ContentOf(data), data: data}
	var err error
	if e.was, err = r.Stat(ctx, name); err != nil {
		return err
	}
	if e.was.Exists() {
		if e.old, err = r.ReadFile(ctx, name, maxConf); err != nil {
			return err
		}
		e.before = task.ContentOf(e.old)
	}
	if wrong || e.before.Digest != e.after.Digest {
		s.look.edits = append(s.look.edits, e)
	}
	return nil
}

func (s *State) gone(ctx context.Context, r task.Reader, name, attr string) error {
	info, err := r.Stat(ctx, name)
	if err != nil || !info.Exists() {
		return err
	}
	old, err := r.ReadFile(ctx, name, maxConf)
	if err != nil {
		return err
	}
	s.look.edits = append(s.look.edits, edit{path: name, attr: attr, remove: true, old: old, was: info, before: task.ContentOf(old)})
	return nil
}

// others returns the files with Port lines of their own: the ports of all files
// add up.
func others(c *conf, own string) []string {
	var out []string
	for _, l := range c.lines {
		if l.key == "port" && l.file != own && !slices.Contains(out, l.file) {
			out = append(out, l.file)
		}
	}
	return out
}

// withoutPort turns the Port lines of a file into comments.
func withoutPort(data []byte) []byte {
	var b strings.Builder
	for l := range strings.Lines(string(data)) {
		if key, _, err := split(l); err == nil && key == "port" {
			b.WriteString("# moved by Holdfast: ")
		}
		b.WriteString(l)
	}
	return []byte(b.String())
}

// openPorts asks which ports are open, where it matters. A server that runs and has none
// open is being reloaded: it is looked at again for half a second.
func (s *State) openPorts(ctx context.Context, r task.Reader, p Params) error {
	if p.Port == nil || s.Unit == "" {
		return nil
	}
	for range 10 {
		if err := s.portsNow(ctx, r, p); err != nil || len(s.look.open) > 0 {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.portsNow(ctx, r, p)
}

func (s *State) portsNow(ctx context.Context, r task.Reader, p Params) error {
	all, err := r.Listeners(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Proto != "tcp" {
			continue
		}
		s.Open = s.Open || l.Port == *p.Port
		if slices.Contains(s.Ports, l.Port) && !slices.Contains(s.look.open, l.Port) {
			s.look.open = append(s.look.open, l.Port)
		}
	}
	slices.Sort(s.look.open)
	return nil
}

// possible refuses what the server would not do although its files said so.
func possible(p Params, s State, after *conf) error {
	if p.State == "absent" {
		return nil
	}
	if !after.covers(s.Path) {
		return fmt.Errorf("cannot manage %s: %s does not include %s/*.conf; add the line \"Include %s/*.conf\" at its top", s.Path, mainFile, dropins, dropins)
	}
	for _, name := range names(p) {
		key := keyword(name)
		won, there := after.winner(key)
		if there && won.file != s.Path && !slices.Contains(gather, key) && !slices.Equal(won.args, after.own(s.Path, key)) {
			return fmt.Errorf("cannot set %s: %s says %q before %s, and the first value wins", name, won.place(), strings.Join(won.args, " "), s.Path)
		}
	}
	if p.Port == nil {
		return nil
	}
	if got := after.ports(); !slices.Equal(got, []int64{*p.Port}) {
		return fmt.Errorf("cannot move the port to %d: by the ListenAddress lines the server would listen on %s", *p.Port, numbers(got))
	}
	return nil
}

// own returns what one file says about a keyword.
func (c *conf) own(name, key string) []string {
	for _, l := range c.lines {
		if l.file == name && l.key == key && len(l.match) == 0 {
			return l.args
		}
	}
	return nil
}

// lookFirst refuses a change after which nobody could log in over a way that has to
// stay open.
func lookFirst(ctx context.Context, r task.Reader, p Params, s State, after *conf) error {
	login := r.Facts().Login
	if p.Port != nil && s.Open && !slices.Contains(s.Ports, *p.Port) && login.ServerPort != *p.Port {
		return refuse(login, fmt.Sprintf("something else listens on port %d already", *p.Port))
	}
	if login.PeerAddr == "" {
		return nil // nobody is logged in by SSH
	}
	for _, way := range login.Each() {
		why, err := shut(ctx, r, p, after, way)
		if err != nil {
			return err
		}
		if why != "" {
			return refuse(way, why)
		}
	}
	return nil
}

func refuse(login task.Login, why string) error {
	return fmt.Errorf("refused: %s could not log in again: %s; say allow_lockout: true where another way in is certain", login.User, why)
}

// shut says why an account could not log in any more, or nothing.
func shut(ctx context.Context, r task.Reader, p Params, after *conf, login task.Login) (why string, err error) {
	user, err := r.LookupUser(ctx, login.User)
	if err != nil || user == nil {
		return "", err
	}
	groups := append([]string{user.Group}, user.Groups...)
	settings := after.forLogin(login, groups)
	if locked(user) && strings.EqualFold(first(settings["usepam"], "no"), "no") && after.certain("usepam") {
		return "without UsePAM sshd lets nobody in whose password is locked", nil
	}
	types, err := keyTypes(ctx, r, user, settings)
	if err != nil {
		return "", err
	}
	for _, t := range types {
		if why = Lockout(p, settings, login, groups, t); why == "" {
			return "", nil
		}
	}
	return why, nil
}

// locked reports whether the password field begins with an exclamation mark, which
// keeps keys out too where sshd has to judge by itself. An asterisk does not.
func locked(u *task.User) bool {
	return u.Locked && u.PasswordDigest != "" && u.PasswordDigest != task.DigestOf([]byte("*")) && u.PasswordDigest != task.DigestOf([]byte("x"))
}

// certain reports whether no Match block has a say about a keyword.
func (c *conf) certain(key string) bool {
	return !slices.ContainsFunc(c.lines, func(l line) bool { return l.key == key && len(l.match) > 0 })
}

func first(args []string, otherwise string) string {
	if len(args) > 0 {
		return args[0]
	}
	return otherwise
}

// keyTypes returns the types of the keys that log in as an account, or one empty
// type when that cannot be told.
func keyTypes(ctx context.Context, r task.Reader, user *task.User, settings map[string][]string) ([]string, error) {
	unknown := []string{""}
	for _, key := range []string{"authorizedkeyscommand", "trustedusercakeys"} {
		if !strings.EqualFold(first(settings[key], "none"), "none") {
			return unknown, nil
		}
	}
	files := settings["authorizedkeysfile"]
	if len(files) == 0 {
		files = []string{".ssh/authorized_keys", ".ssh/authorized_keys2"}
	}
	var out []string
	for _, name := range files {
		name = strings.NewReplacer("%h", user.Home, "%u", user.Name, "%U", strconv.FormatInt(user.UID, 10), "%%", "%").Replace(name)
		if !path.IsAbs(name) {
			name = path.Join(user.Home, name)
		}
		info, err := r.Stat(ctx, name)
		if err != nil {
			return nil, err
		}
		if !info.Exists() {
			continue
		}
		data, err := r.ReadFile(ctx, name, maxConf)
		if err != nil {
			return nil, err
		}
		out = append(out, typesIn(string(data))...)
	}
	if len(out) == 0 {
		return unknown, nil
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// typesIn returns the types of the keys in the text of an authorized_keys file.
func typesIn(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
			continue
		}
		for word := range strings.FieldsSeq(l) {
			if strings.HasPrefix(word, "ssh-") || strings.HasPrefix(word, "ecdsa-") || strings.HasPrefix(word, "sk-") {
				out = append(out, word)
				break
			}
		}
	}
	return out
}
