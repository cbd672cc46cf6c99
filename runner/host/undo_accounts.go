package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/runner/journal"
)

// blobOf reads a JSON value that an entry keeps in the journal.
func blobOf[T any](rec Blobs, name string) (v T, err error) {
	f, err := rec.Open(name)
	if err != nil {
		return v, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(f)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	return v, err
}

// accounts takes back a change of the databases of accounts, line by line.
func (u *undo) accounts(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	before, err := decode[accountBefore](e.Before)
	if err != nil {
		return step{}, err
	}
	done, changes, err := u.accountChanges(e, before)
	if err != nil {
		return step{}, err
	}
	now := u.planned
	if now == nil {
		if now, err = u.m.accountLines(); err != nil {
			return step{}, err
		}
	}
	if allBack(now, changes) {
		return step{}, nil
	}
	s := step{action: "put its lines in the databases of accounts back"}
	var why []string
	trial := now.clone()
	for _, c := range slices.Backward(changes) {
		if err := trial.revert(c, false); err != nil {
			why = append(why, err.Error())
		}
	}
	why = append(why, orphans(trial, changes)...)
	s.refused = strings.Join(slices.Compact(why), "; ")
	if u.o.Plan && s.refused == "" {
		u.planned = trial // what comes next will meet these lines
	}
	uid, created := createdUser(changes)
	if created {
		s.action = "delete the account"
	}
	s.act = func() error {
		if created {
			if err := w.endProcesses(ctx, before.Name, uid); err != nil {
				return fmt.Errorf("cannot delete the account %s: %w", before.Name, err)
			}
		}
		return w.restoreLines(ctx, e.Resource, before.Name, changes, done, u.o.Force)
	}
	return s, nil
}

// accountChanges returns which lines the entry changed. Of an act that was cut off
// it is what differs now and has to do with the name.
func (u *undo) accountChanges(e *journal.Entry, before accountBefore) (done accountDone, changes []lineChange, err error) {
	if e.Finished {
		if done, err = decode[accountDone](e.Result); err == nil {
			changes, err = blobOf[[]lineChange](u.rec, done.Changes)
		}
		return done, changes, err
	}
	lines, err := blobOf[accountLines](u.rec, before.Lines)
	if err != nil {
		return done, nil, err
	}
	now, err := u.m.accountLines()
	return done, concern(lines.changes(now), before.Name), err
}

func allBack(now accountLines, changes []lineChange) bool {
	for _, c := range changes {
		if _, line := now.find(c.File, c.Key); line != c.Before {
			return false
		}
	}
	return true
}

// createdUser returns the number of the account that the changes brought.
func createdUser(changes []lineChange) (uid int64, ok bool) {
	for _, c := range changes {
		if c.File == passwdFile && c.Before == "" {
			if p, ok := parsePasswd(strings.Split(c.After, ":")); ok {
				return p.uid, true
			}
		}
	}
	return 0, false
}

// orphans names accounts whose primary group would be gone.
func orphans(lines accountLines, changes []lineChange) (out []string) {
	for _, c := range changes {
		if c.File != groupFile || c.Before != "" {
			continue
		}
		g, ok := parseGroup(strings.Split(c.After, ":"))
		for _, l := range lines[passwdFile] {
			if p, isUser := parsePasswd(strings.Split(l, ":")); ok && isUser && p.gid == g.gid {
				out = append(out, fmt.Sprintf("%s is the group of the account %s", g.name, p.name))
			}
		}
	}
	return out
}

// restoreLines puts lines of the databases back, and with them what a change of
// numbers or of the home did to files.
func (w *writer) restoreLines(ctx context.Context, resource, name string, changes []lineChange, was accountDone, force bool) error {
	return w.changeAccounts(ctx, opLines, resource, name, func(done *accountDone) error {
		err := w.m.editAccounts(func(l accountLines) error {
			var errs []error
			for _, c := range slices.Backward(changes) {
				errs = append(errs, l.revert(c, force))
			}
			return errors.Join(errs...)
		})
		if err != nil {
			return err
		}
		if was.IDs != nil {
			back := idsMoved{Home: was.IDs.Home, FromUID: was.IDs.ToUID, ToUID: was.IDs.FromUID, FromGID: was.IDs.ToGID, ToGID: was.IDs.FromGID}
			if err := back.apply(); err != nil {
				return err
			}
			done.IDs = &back
		}
		if was.Home != nil {
			back := homeMoved{From: was.Home.To, To: was.Home.From}
			if err := unix.Renameat2(unix.AT_FDCWD, back.From, unix.AT_FDCWD, back.To, unix.RENAME_NOREPLACE); err != nil {
				return fmt.Errorf("cannot move the home %s back to %s: %w", back.From, back.To, err)
			}
			done.Home = &back
		}
		return nil
	})
}

// apply gives the files of a home that have the old numbers the new ones.
func (i *idsMoved) apply() error {
	p, err := at(i.Home, nil)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.close()
	fd, err := unix.Openat(p.fd, p.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if absent(err) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: i.Home, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written to it
	to := func(st *unix.Stat_t) (uid, gid int) {
		uid, gid = -1, -1
		if int64(st.Uid) == i.FromUID && i.FromUID != i.ToUID {
			uid = int(i.ToUID)
		}
		if int64(st.Gid) == i.FromGID && i.FromGID != i.ToGID {
			gid = int(i.ToGID)
		}
		return uid, gid
	}
	if err := chownTree(fd, to); err != nil {
		return fmt.Errorf("cannot change the owners in %s: %w", i.Home, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	uid, gid := to(&st)
	return unix.Fchown(fd, uid, gid)
}

// home takes back the making of a home, unless somebody keeps something in it.
func (u *undo) home(ctx context.Context, w *writer, e *journal.Entry) (step, error) {
	made, err := decode[homeMade](e.Before)
	if err == nil && e.Finished {
		made, err = decode[homeMade](e.Result)
	}
	if err != nil {
		return step{}, err
	}
	now, err := lookAt(made.Home)
	if err != nil || now.Kind == "absent" {
		return step{}, err
	}
	s := step{action: "remove the home " + made.Home}
	more, err := made.additions()
	if err != nil {
		return s, err
	}
	if len(more) > 0 && e.Finished && !u.o.Plan {
		what := more
		if len(more) > 3 {
			what = append(slices.Clone(more[:3]), strconv.Itoa(len(more)-3)+" more")
		}
		s.refused = fmt.Sprintf("the home %s holds %s", made.Home, strings.Join(what, ", "))
	}
	s.act = func() error { return w.Remove(ctx, made.Home) }
	return s, nil
}
