package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"holdfast/tasks/task"
)

// The databases of accounts (passwd(5), group(5), shadow(5), gshadow(5)).
const (
	passwdFile  = "/etc/passwd"
	groupFile   = "/etc/group"
	shadowFile  = "/etc/shadow"
	gshadowFile = "/etc/gshadow"
	subuidFile  = "/etc/subuid"
	subgidFile  = "/etc/subgid"
)

type passwd struct {
	name, password       string
	uid, gid             int64
	comment, home, shell string
}

type group struct {
	name    string
	gid     int64
	members []string
}

// accountDB is the local accounts at one moment.
type accountDB struct {
	users  []passwd
	groups []group
	shadow map[string]string // the password fields
}

// accountCache parses the databases again when one of the files was replaced.
type accountCache struct {
	mu    sync.Mutex
	stamp string
	db    *accountDB
}

func (c *accountCache) load(m *Machine) (*accountDB, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var stamp strings.Builder
	for _, name := range []string{passwdFile, groupFile, shadowFile} {
		if st, err := os.Stat(m.sys(name)); err == nil {
			sys, _ := st.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&stamp, "%d %d %d;", sys.Ino, st.Size(), st.ModTime().UnixNano())
		}
	}
	if c.db != nil && c.stamp == stamp.String() {
		return c.db, nil
	}
	db, err := m.readAccounts()
	if err != nil {
		return nil, fmt.Errorf("cannot read the accounts: %w", err)
	}
	c.db, c.stamp = db, stamp.String()
	return db, nil
}

// forget makes the next look read the files again, whatever their times say.
func (c *accountCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.db = nil
}

func (m *Machine) readAccounts() (*accountDB, error) {
	db := &accountDB{shadow: map[string]string{}}
	b, err := os.ReadFile(m.sys(passwdFile))
	if err != nil && !absent(err) {
		return nil, err
	}
	for _, f := range colonLines(b) {
		if p, ok := parsePasswd(f); ok {
			db.users = append(db.users, p)
		}
	}
	if b, err = os.ReadFile(m.sys(groupFile)); err != nil && !absent(err) {
		return nil, err
	}
	for _, f := range colonLines(b) {
		if g, ok := parseGroup(f); ok {
			db.groups = append(db.groups, g)
		}
	}
	b, err = os.ReadFile(m.sys(shadowFile))
	if err != nil && !absent(err) && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	for _, f := range colonLines(b) {
		if len(f) > 1 {
			db.shadow[f[0]] = f[1]
		}
	}
	return db, nil
}

func colonLines(b []byte) (out [][]string) {
	for _, l := range bytes.Split(b, []byte{'\n'}) {
		if len(l) > 0 && l[0] != '#' {
			out = append(out, strings.Split(string(l), ":"))
		}
	}
	return out
}

func parsePasswd(f []string) (p passwd, ok bool) {
	if len(f) < 7 {
		return p, false
	}
	uid, err1 := strconv.ParseInt(f[2], 10, 64)
	gid, err2 := strconv.ParseInt(f[3], 10, 64)
	return passwd{f[0], f[1], uid, gid, f[4], f[5], f[6]}, err1 == nil && err2 == nil
}

func parseGroup(f []string) (g group, ok bool) {
	if len(f) < 4 {
		return g, false
	}
	gid, err := strconv.ParseInt(f[2], 10, 64)
	g = group{name: f[0], gid: gid}
	if f[3] != "" {
		g.members = strings.Split(f[3], ",")
	}
	return g, err == nil
}

func (db *accountDB) user(name string) *passwd {
	for i := range db.users {
		if db.users[i].name == name {
			return &db.users[i]
		}
	}
	return nil
}

func (db *accountDB) uid(uid int64) *passwd {
	for i := range db.users {
		if db.users[i].uid == uid {
			return &db.users[i]
		}
	}
	return nil
}

func (db *accountDB) group(name string) *group {
	for i := range db.groups {
		if db.groups[i].name == name {
			return &db.groups[i]
		}
	}
	return nil
}

func (db *accountDB) gid(gid int64) *group {
	for i := range db.groups {
		if db.groups[i].gid == gid {
			return &db.groups[i]
		}
	}
	return nil
}

func (db *accountDB) groupsOf(name string) (out []*group) {
	for i := range db.groups {
		for _, n := range db.groups[i].members {
			if n == name {
				out = append(out, &db.groups[i])
				break
			}
		}
	}
	return out
}

// LookupUser returns the account or nil.
func (r *reader) LookupUser(ctx context.Context, name string) (*task.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db, err := r.m.accounts.load(r.m)
	if err != nil {
		return nil, err
	}
	p := db.user(name)
	if p == nil {
		if p, err = r.m.foreignUser(name); p == nil || err != nil {
			return nil, err
		}
	}
	u := &task.User{Name: p.name, UID: p.uid, GID: p.gid, Comment: p.comment, Home: p.home, Shell: p.shell}
	u.Group = strconv.FormatInt(p.gid, 10)
	if g := db.gid(p.gid); g != nil {
		u.Group = g.name
	}
	for _, g := range db.groupsOf(name) {
		if g.gid != p.gid {
			u.Groups = append(u.Groups, g.name)
		}
	}
	sort.Strings(u.Groups)
	field, ok := db.shadow[name]
	if !ok {
		field = p.password
	}
	u.Locked = field != "" && (strings.HasPrefix(field, "!") || strings.HasPrefix(field, "*") || field == "x")
	u.PasswordDigest = task.DigestOf([]byte(field))
	return u, nil
}

// LookupGroup returns the group or nil.
func (r *reader) LookupGroup(ctx context.Context, name string) (*task.Group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	db, err := r.m.accounts.load(r.m)
	if err != nil {
		return nil, err
	}
	g := db.group(name)
	if g == nil {
		if g, err = r.m.foreignGroup(name); g == nil || err != nil {
			return nil, err
		}
	}
	return &task.Group{Name: g.name, GID: g.gid, Members: append([]string(nil), g.members...)}, nil
}

// foreignUser asks the name service for an account that no local file has, where
// other sources than files are set up (nsswitch.conf(5)). Else it answers nil.
func (m *Machine) foreignUser(name string) (*passwd, error) {
	f, err := m.getent("passwd", name)
	if f == nil || err != nil {
		return nil, err
	}
	if p, ok := parsePasswd(f); ok && p.name == name {
		return &p, nil
	}
	return nil, nil //nolint:nilnil // nil is documented: not there
}

func (m *Machine) foreignGroup(name string) (*group, error) {
	f, err := m.getent("group", name)
	if f == nil || err != nil {
		return nil, err
	}
	if g, ok := parseGroup(f); ok && g.name == name {
		return &g, nil
	}
	return nil, nil //nolint:nilnil // nil is documented: not there
}

func (m *Machine) getent(database, key string) ([]string, error) {
	if !m.foreign(database) || key == "" || strings.ContainsAny(key, ":\n\x00") || strings.HasPrefix(key, "-") {
		return nil, nil
	}
	out, err := m.tool(context.Background(), nil, "getent", database, key)
	if err != nil {
		return nil, err
	}
	if out.Status != 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSpace(out.Stdout), ":"), nil
}

// foreign reports whether the name service knows sources besides the local files.
// The source systemd only knows accounts of running units.
func (m *Machine) foreign(database string) bool {
	b, err := os.ReadFile(m.sys("/etc/nsswitch.conf"))
	if err != nil || m.root != "" {
		return false
	}
	for _, l := range strings.Split(string(b), "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(l), database+":")
		if !ok {
			continue
		}
		for _, source := range strings.Fields(rest) {
			switch source {
			case "files", "compat", "db", "systemd":
			default:
				if !strings.HasPrefix(source, "[") {
					return true
				}
			}
		}
	}
	return false
}
