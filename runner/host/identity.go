package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// identity is an account whose rights an operation has. A nil identity has the
// rights of this process.
type identity struct {
	name   string
	uid    uint32
	gid    uint32
	groups []uint32
	home   string
	shell  string
}

// errNeedsRoot is the answer to system-wide changes under run_as.
var errNeedsRoot = errors.New("this needs root")

// identity returns the account by name, or nil when it is the one that we are.
func (m *Machine) identity(name string) (*identity, error) {
	if name == "" || name == "root" && os.Geteuid() == 0 {
		return nil, nil //nolint:nilnil // nil is documented: our own rights
	}
	db, err := m.accounts.load(m)
	if err != nil {
		return nil, err
	}
	p := db.user(name)
	if p == nil {
		if p, err = m.foreignUser(name); err != nil {
			return nil, err
		}
	}
	if p == nil {
		return nil, fmt.Errorf("cannot act as %q: there is no such account", name)
	}
	if int(p.uid) == os.Geteuid() {
		return nil, nil //nolint:nilnil // nil is documented: our own rights
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("cannot act as %q: %w", name, errNeedsRoot)
	}
	id := &identity{name: name, uid: uint32(p.uid), gid: uint32(p.gid), home: p.home, shell: p.shell}
	id.groups = append(id.groups, id.gid)
	for _, g := range db.groupsOf(name) {
		if uint32(g.gid) != id.gid {
			id.groups = append(id.groups, uint32(g.gid))
		}
	}
	return id, nil
}

// do runs f with the rights of the account on files. It does so on a thread of its
// own that ends with f, so that no other goroutine ever runs with these rights.
func (id *identity) do(f func() error) error {
	if id == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		if err := id.assume(); err != nil {
			done <- fmt.Errorf("cannot act as %s: %w", id.name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// assume changes this thread alone. The kernel takes the capabilities over files
// away together with the file system user (capabilities(7)).
func (id *identity) assume() error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(id.groups)), uintptr(unsafe.Pointer(&id.groups[0])), 0); errno != 0 {
		return errno
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(id.gid), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(id.uid), 0, 0)
	// Neither call reports failure; asking with an impossible number tells (setfsuid(2)).
	none := ^uintptr(0)
	gid, _, _ := unix.RawSyscall(unix.SYS_SETFSGID, none, 0, 0)
	uid, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, none, 0, 0)
	if uint32(gid) != id.gid || uint32(uid) != id.uid {
		return errors.New("the kernel refused to change the rights of a thread")
	}
	return nil
}

// numeric returns the number that s spells, or ok false when it is a name.
func numeric(s string) (n uint32, ok bool) {
	v, err := strconv.ParseUint(s, 10, 32)
	return uint32(v), err == nil
}

// owner returns the number of the account s, which is a name or a number; ok is
// false for "".
func (m *Machine) owner(s string) (uid uint32, ok bool, err error) {
	if s == "" {
		return 0, false, nil
	}
	db, err := m.accounts.load(m)
	if err != nil {
		return 0, false, err
	}
	if p := db.user(s); p != nil {
		return uint32(p.uid), true, nil
	}
	if n, isNumber := numeric(s); isNumber {
		return n, true, nil
	}
	p, err := m.foreignUser(s)
	if err != nil {
		return 0, false, err
	}
	if p == nil {
		return 0, false, fmt.Errorf("cannot find the account %q", s)
	}
	return uint32(p.uid), true, nil
}

// group is owner for groups.
func (m *Machine) group(s string) (gid uint32, ok bool, err error) {
	if s == "" {
		return 0, false, nil
	}
	db, err := m.accounts.load(m)
	if err != nil {
		return 0, false, err
	}
	if g := db.group(s); g != nil {
		return uint32(g.gid), true, nil
	}
	if n, isNumber := numeric(s); isNumber {
		return n, true, nil
	}
	g, err := m.foreignGroup(s)
	if err != nil {
		return 0, false, err
	}
	if g == nil {
		return 0, false, fmt.Errorf("cannot find the group %q", s)
	}
	return uint32(g.gid), true, nil
}
