package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// accountFiles are the databases that a change of accounts touches, in the order in
// which they are written.
var accountFiles = []string{groupFile, gshadowFile, passwdFile, shadowFile, subuidFile, subgidFile}

// accountLines are the lines of the databases of accounts, by file. A file that is
// not there has no key.
type accountLines map[string][]string

// lineChange is one line of a database that changed. An empty text means that the
// line is not there; At is where it was before.
type lineChange struct {
	File   string `json:"file"`
	Key    string `json:"key"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	At     int    `json:"at"`
}

func (m *Machine) accountLines() (accountLines, error) {
	out := accountLines{}
	for _, name := range accountFiles {
		b, err := os.ReadFile(m.sys(name))
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the accounts: %w", err)
		}
		out[name] = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(b) == 0 {
			out[name] = nil
		}
	}
	return out, nil
}

func keyOf(line string) string {
	key, _, _ := strings.Cut(line, ":")
	return key
}

func (l accountLines) find(file, key string) (i int, line string) {
	for i, line := range l[file] {
		if keyOf(line) == key {
			return i, line
		}
	}
	return -1, ""
}

// set puts a line in place of the one with the same key; "" takes it out. A line
// that is not there yet goes to the place at, or to the end.
func (l accountLines) set(file, key, line string, at int) {
	i, _ := l.find(file, key)
	switch {
	case i >= 0 && line == "":
		l[file] = slices.Delete(l[file], i, i+1)
	case i >= 0:
		l[file][i] = line
	case line != "" && at >= 0 && at < len(l[file]):
		l[file] = slices.Insert(l[file], at, line)
	case line != "":
		l[file] = append(l[file], line)
	}
}

func (l accountLines) clone() accountLines {
	out := accountLines{}
	for k, v := range l {
		out[k] = slices.Clone(v)
	}
	return out
}

// changes compares with a later state.
func (l accountLines) changes(now accountLines) (out []lineChange) {
	for _, file := range accountFiles {
		for at, line := range l[file] {
			key := keyOf(line)
			if _, after := now.find(file, key); after != line {
				out = append(out, lineChange{file, key, line, after, at})
			}
		}
		for _, line := range now[file] {
			key := keyOf(line)
			if i, _ := l.find(file, key); i < 0 {
				out = append(out, lineChange{file, key, "", line, -1})
			}
		}
	}
	return out
}

// since names the lines that came after an earlier state.
func (l accountLines) since(before accountLines) (out []string) {
	for _, c := range before.changes(l) {
		if c.Before == "" {
			out = append(out, c.File+":"+c.Key)
		}
	}
	return out
}

// concern keeps the changes that have to do with the account or group name: its own
// lines, and lines of groups that it joined or left.
func concern(changes []lineChange, name string) (out []lineChange) {
	for _, c := range changes {
		isGroup := c.File == groupFile || c.File == gshadowFile
		member := isGroup && slices.Contains(membersOf(c.Before), name) != slices.Contains(membersOf(c.After), name)
		if c.Key == name || member {
			out = append(out, c)
		}
	}
	return out
}

// membersOf returns the last field of a line of group or gshadow, as a list.
func membersOf(line string) []string {
	f := strings.Split(line, ":")
	if len(f) < 4 || f[3] == "" {
		return nil
	}
	return strings.Split(f[3], ",")
}

// revert takes a change back in the present lines. When somebody else changed the
// same line since, only memberships can still be taken back; else it fails.
func (l accountLines) revert(c lineChange, force bool) error {
	_, now := l.find(c.File, c.Key)
	isGroup := c.File == groupFile || c.File == gshadowFile
	switch {
	case now == c.Before:
	case now == c.After || force:
		l.set(c.File, c.Key, c.Before, c.At)
	case isGroup && c.Before != "" && now != "":
		l.set(c.File, c.Key, withMembers(now, membersOf(c.Before), membersOf(c.After)), c.At)
	case isGroup && c.Before == "" && sameButMembers(now, c.After):
		return fmt.Errorf("the group %s has other members now: %s", c.Key, strings.Join(membersOf(now), ", "))
	default:
		return fmt.Errorf("the line of %s in %s was changed since", c.Key, c.File)
	}
	return nil
}

func sameButMembers(a, b string) bool {
	x, y := strings.Split(a, ":"), strings.Split(b, ":")
	return len(x) == 4 && len(y) == 4 && slices.Equal(x[:3], y[:3])
}

// withMembers changes the members of line as going from after to before does.
func withMembers(line string, before, after []string) string {
	list := slices.DeleteFunc(membersOf(line), func(n string) bool {
		return slices.Contains(after, n) && !slices.Contains(before, n)
	})
	for _, n := range before {
		if !slices.Contains(after, n) && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	f := strings.Split(line, ":")
	f[3] = strings.Join(list, ",")
	return strings.Join(f, ":")
}

// editAccounts changes the databases under the lock that all tools take (lckpwdf(3)).
func (m *Machine) editAccounts(change func(accountLines) error) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	lock, err := m.lockAccounts()
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // nothing is written to it
	before, err := m.accountLines()
	if err != nil {
		return err
	}
	after := before.clone()
	if err := change(after); err != nil {
		return err
	}
	for _, name := range accountFiles {
		if slices.Equal(before[name], after[name]) {
			continue
		}
		if err := rewrite(m.sys(name), after[name]); err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
	}
	m.accounts.forget()
	return nil
}

func (m *Machine) lockAccounts() (*os.File, error) {
	f, err := os.OpenFile(m.sys("/etc/.pwd.lock"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the accounts: %w", err)
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &whole)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) || time.Now().After(end) {
			_ = f.Close()
			return nil, fmt.Errorf("cannot lock the accounts, another program changes them: %w", err)
		}
	}
}

// rewrite replaces a database atomically and keeps its owner and mode.
func rewrite(file string, lines []string) error {
	old, err := os.Open(file)
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // only read
	f, err := os.CreateTemp(filepath.Dir(file), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	text := strings.Join(lines, "\n")
	if len(lines) > 0 {
		text += "\n"
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = sameOwner(old, f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func sameOwner(from, to *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	if err := own(int(to.Fd()), &st.Uid, &st.Gid); err != nil {
		return err
	}
	return unix.Fchmod(int(to.Fd()), st.Mode&0o7777)
}
