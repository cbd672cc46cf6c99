package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// The operations on accounts, as the journal names them.
const (
	opUser     = "put-user"
	opUserDel  = "delete-user"
	opGroup    = "put-group"
	opGroupDel = "delete-group"
	opLines    = "restore-accounts"
)

// accountBefore is what taking back a change of accounts needs when its end is not known.
type accountBefore struct {
	Name  string `json:"name"`
	Lines string `json:"lines"` // blob: all the lines of before
}

// accountDone is what a change of accounts did.
type accountDone struct {
	Changes string     `json:"changes"`        // blob: the lines that changed
	Home    *homeMoved `json:"home,omitempty"` // the home that was moved
	IDs     *idsMoved  `json:"ids,omitempty"`  // the numbers of files in a home that were changed
}

type homeMoved struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type idsMoved struct {
	Home    string `json:"home"`
	FromUID int64  `json:"from_uid"`
	ToUID   int64  `json:"to_uid"`
	FromGID int64  `json:"from_gid"`
	ToGID   int64  `json:"to_gid"`
}

// changeAccounts journals an act on the databases and which lines it changed.
func (w *writer) changeAccounts(ctx context.Context, op, resource, name string, act func(*accountDone) error) error {
	if err := w.ready(ctx); err != nil {
		return err
	}
	before, err := w.m.accountLines()
	if err != nil {
		return err
	}
	b := accountBefore{Name: name}
	if b.Lines, err = w.s.Journal.KeepSecret(encode(before)); err != nil {
		return err
	}
	e := journal.Entry{Op: op, Resource: resource, Before: encode(b), Want: encode(name)}
	return w.change(ctx, e, func(e *journal.Entry) (string, error) {
		var done accountDone
		err := act(&done)
		w.m.accounts.forget()
		if err != nil {
			return "", err
		}
		after, err := w.m.accountLines()
		if err != nil {
			return "", err
		}
		changes := before.changes(after)
		if op != opLines {
			changes = concern(changes, name)
		}
		if done.Changes, err = w.s.Journal.KeepSecret(encode(changes)); err != nil {
			return "", err
		}
		e.Result = encode(done)
		return accountPrint(changes), nil
	})
}

// accountPrint is the fingerprint of changed lines. Password fields do not go into
// it, so that nobody can try passwords against a ledger.
func accountPrint(changes []lineChange) string {
	var b strings.Builder
	for _, c := range changes {
		if c.File != shadowFile && c.File != gshadowFile {
			fmt.Fprintf(&b, "%s %s\n", c.File, c.After)
		}
	}
	return "sha256=" + task.DigestOf([]byte(b.String()))
}

func checkName(name string) error {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, ":,/\n\x00 ") {
		return fmt.Errorf("%q cannot be the name of an account", name)
	}
	return nil
}

// accountTool runs one of the shadow tools.
func (w *writer) accountTool(ctx context.Context, argv ...string) error {
	if w.m.root != "" {
		argv = slices.Insert(argv, 1, "--prefix", w.m.root)
	}
	// Stopping it between two databases would leave them at odds.
	out, err := w.m.spawn(context.WithoutCancel(ctx), spawn{argv: argv})
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("%s exits %d: %s", argv[0], out.Status, strings.TrimSpace(out.Stdout+out.Stderr))
	}
	return err
}

// PutUser creates the account or changes the fields that are set.
func (w *writer) PutUser(ctx context.Context, u task.UserSpec) error {
	err := checkName(u.Name)
	if err == nil {
		err = w.root()
	}
	if err == nil {
		err = w.putUser(ctx, u)
	}
	if err != nil {
		return fmt.Errorf("cannot set up the account %s: %w", u.Name, err)
	}
	return nil
}

func (w *writer) putUser(ctx context.Context, u task.UserSpec) error {
	db, err := w.m.accounts.load(w.m)
	if err != nil {
		return err
	}
	now := db.user(u.Name)
	if now == nil {
		if p, err := w.m.foreignUser(u.Name); err != nil || p != nil {
			return errors.Join(err, errors.New("it comes from a directory service, not from this host"))
		}
		err = w.addUser(ctx, u, db)
	} else {
		err = w.modifyUser(ctx, u, *now, db)
	}
	if err != nil || !u.CreateHome {
		return err
	}
	return w.makeHome(ctx, u.Name, u.HomeMode)
}

func (w *writer) addUser(ctx context.Context, u task.UserSpec, db *accountDB) error {
	argv := []string{"useradd", "--no-create-home"}
	if u.System {
		argv = append(argv, "--system")
	}
	if u.UID != nil {
		argv = append(argv, "--uid", strconv.FormatInt(*u.UID, 10))
	}
	switch {
	case u.Group != nil:
		argv = append(argv, "--gid", *u.Group)
	case db.group(u.Name) != nil:
		argv = append(argv, "--gid", u.Name)
	default:
		argv = append(argv, "--user-group")
	}
	if u.Groups != nil && len(*u.Groups) > 0 {
		argv = append(argv, "--groups", strings.Join(*u.Groups, ","))
	}
	argv = append(argv, optional("--comment", u.Comment)...)
	argv = append(argv, optional("--home-dir", u.Home)...)
	argv = append(argv, optional("--shell", u.Shell)...)
	return w.changeAccounts(ctx, opUser, "user:"+u.Name, u.Name, func(*accountDone) error {
		if err := w.accountTool(ctx, append(argv, "--", u.Name)...); err != nil {
			return err
		}
		return w.setPassword(u.Name, u.PasswordHash)
	})
}

func optional(flag string, value *string) []string {
	if value == nil {
		return nil
	}
	return []string{flag, *value}
}

func (w *writer) modifyUser(ctx context.Context, u task.UserSpec, now passwd, db *accountDB) error {
	argv, done, err := w.userChanges(u, now, db)
	if err != nil {
		return err
	}
	password := u.PasswordHash
	if password != nil && db.shadow[u.Name] == *password {
		password = nil
	}
	if len(argv) == 0 && password == nil {
		return nil
	}
	return w.changeAccounts(ctx, opUser, "user:"+u.Name, u.Name, func(d *accountDone) error {
		*d = done
		if len(argv) > 0 {
			argv = slices.Concat([]string{"usermod"}, argv, []string{"--", u.Name})
			if err := w.accountTool(ctx, argv...); err != nil {
				return err
			}
		}
		return w.setPassword(u.Name, password)
	})
}

// userChanges returns the arguments of usermod for what differs.
func (w *writer) userChanges(u task.UserSpec, now passwd, db *accountDB) (argv []string, done accountDone, err error) {
	ids := idsMoved{Home: now.home, FromUID: now.uid, ToUID: now.uid, FromGID: now.gid, ToGID: now.gid}
	if u.UID != nil && *u.UID != now.uid {
		argv = append(argv, "--uid", strconv.FormatInt(*u.UID, 10))
		ids.ToUID = *u.UID
	}
	if u.Group != nil {
		gid, _, err := w.m.group(*u.Group)
		if err != nil {
			return nil, done, err
		}
		if int64(gid) != now.gid {
			argv = append(argv, "--gid", *u.Group)
			ids.ToGID = int64(gid)
		}
	}
	if u.Groups != nil && !slices.Equal(sorted(*u.Groups), supplementary(db, now)) {
		argv = append(argv, "--groups", strings.Join(*u.Groups, ","))
	}
	if u.Comment != nil && *u.Comment != now.comment {
		argv = append(argv, "--comment", *u.Comment)
	}
	if u.Home != nil && *u.Home != now.home {
		argv = append(argv, "--home", *u.Home)
		if u.MoveHome {
			argv = append(argv, "--move-home")
			done.Home = &homeMoved{now.home, *u.Home}
			ids.Home = *u.Home
		}
	}
	if u.Shell != nil && *u.Shell != now.shell {
		argv = append(argv, "--shell", *u.Shell)
	}
	if ids.FromUID != ids.ToUID || ids.FromGID != ids.ToGID {
		done.IDs = &ids
	}
	return argv, done, nil
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

// supplementary returns the names of the groups beside the primary one.
func supplementary(db *accountDB, p passwd) []string {
	out := []string{}
	for _, g := range db.groupsOf(p.name) {
		if g.gid != p.gid {
			out = append(out, g.name)
		}
	}
	return sorted(out)
}

// setPassword writes the hash into the database itself: as an argument of a tool
// everybody on the host could read it.
func (w *writer) setPassword(name string, hash *string) error {
	if hash == nil {
		return nil
	}
	if strings.ContainsAny(*hash, ":\n") {
		return errors.New("that is not a hash of a password")
	}
	return w.m.editAccounts(func(l accountLines) error {
		_, line := l.find(shadowFile, name)
		f := strings.Split(line, ":")
		if len(f) != 9 {
			return fmt.Errorf("%s has no line for it", shadowFile)
		}
		f[1], f[2] = *hash, strconv.FormatInt(time.Now().Unix()/86400, 10)
		l.set(shadowFile, name, strings.Join(f, ":"), -1)
		return nil
	})
}

// DeleteUser removes an account, and its home when asked.
func (w *writer) DeleteUser(ctx context.Context, name string, home bool) error {
	err := checkName(name)
	if err == nil {
		err = w.root()
	}
	if err == nil {
		err = w.deleteUser(ctx, name, home)
	}
	if err != nil {
		return fmt.Errorf("cannot delete the account %s: %w", name, err)
	}
	return nil
}

func (w *writer) deleteUser(ctx context.Context, name string, home bool) error {
	db, err := w.m.accounts.load(w.m)
	if err != nil {
		return err
	}
	now := db.user(name)
	if now == nil {
		return nil
	}
	if now.uid == 0 {
		return errors.New("the system cannot do without it")
	}
	if err := w.endProcesses(ctx, name, now.uid); err != nil {
		return err
	}
	err = w.changeAccounts(ctx, opUserDel, "user:"+name, name, func(*accountDone) error {
		return w.accountTool(ctx, "userdel", "--", name)
	})
	if err != nil || !home {
		return err
	}
	return w.Remove(ctx, w.m.sys(now.home))
}

// PutGroup creates the group or changes its number.
func (w *writer) PutGroup(ctx context.Context, g task.GroupSpec) error {
	err := checkName(g.Name)
	if err == nil {
		err = w.root()
	}
	if err == nil {
		err = w.putGroup(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("cannot set up the group %s: %w", g.Name, err)
	}
	return nil
}

func (w *writer) putGroup(ctx context.Context, g task.GroupSpec) error {
	db, err := w.m.accounts.load(w.m)
	if err != nil {
		return err
	}
	argv := []string{"groupadd"}
	if now := db.group(g.Name); now != nil {
		if g.GID == nil || *g.GID == now.gid {
			return nil
		}
		argv = []string{"groupmod"}
	} else if g.System {
		argv = append(argv, "--system")
	}
	if g.GID != nil {
		argv = append(argv, "--gid", strconv.FormatInt(*g.GID, 10))
	}
	return w.changeAccounts(ctx, opGroup, "group:"+g.Name, g.Name, func(*accountDone) error {
		return w.accountTool(ctx, append(argv, "--", g.Name)...)
	})
}

// DeleteGroup removes a group.
func (w *writer) DeleteGroup(ctx context.Context, name string) error {
	err := checkName(name)
	if err == nil {
		err = w.root()
	}
	if err != nil {
		return fmt.Errorf("cannot delete the group %s: %w", name, err)
	}
	db, err := w.m.accounts.load(w.m)
	if err != nil || db.group(name) == nil {
		return err
	}
	err = w.changeAccounts(ctx, opGroupDel, "group:"+name, name, func(*accountDone) error {
		return w.accountTool(ctx, "groupdel", "--", name)
	})
	if err != nil {
		return fmt.Errorf("cannot delete the group %s: %w", name, err)
	}
	return nil
}

// decode reads what encode wrote.
func decode[T any](raw json.RawMessage) (v T, err error) {
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &v)
	}
	return v, err
}
