// Package systemd speaks to service managers over D-Bus: the system's and those
// of accounts. Looking at a unit starts no process.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/godbus/dbus/v5"
)

// ErrNotBooted says that systemd is not what this machine runs its services with.
var ErrNotBooted = errors.New("systemd is not process 1 of this machine")

// ErrNotRunning says that an account's service manager does not run: nobody of
// that name is logged in and lingering is off.
var ErrNotRunning = errors.New("its service manager does not run (not logged in, and lingering is off)")

// Runner starts a command and waits for it; see apt.Runner, it is the same shape.
// It is needed for three things that D-Bus cannot do: the last lines of a journal
// (journalctl), and enabling or disabling what only has a script in /etc/init.d.
type Runner func(ctx context.Context, argv, env []string, onLine func(string)) (status int, out string, err error)

const (
	dialLimit    = 10 * time.Second
	callLimit    = 30 * time.Second
	managerLimit = 30 * time.Second // for an account's manager to come up
	reexecLimit  = 10 * time.Second // for a manager that is re-executed to be back
)

// Manager is a service manager. It may be used by several goroutines, connects
// again when the manager was re-executed, and must be closed.
type Manager struct {
	// Run may stay nil: failures then come without log lines, and units that
	// only have a script in /etc/init.d cannot be enabled.
	Run Runner

	user bool // of an account, not the system's
	uid  uint32
	dial func(context.Context) (link, error)

	mu    sync.Mutex
	link  link
	paths []string // where unit files are looked for, once asked
}

// link is one connection. A private one leads straight to the manager: it knows
// no message bus, no match rules, and brings every signal.
type link struct {
	*dbus.Conn
	private bool
}

// Connect reaches the system's service manager: over its private socket as root,
// else over the system bus.
func Connect(ctx context.Context) (*Manager, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, fmt.Errorf("cannot reach the service manager: %w", ErrNotBooted)
	}
	m := &Manager{uid: uint32(os.Geteuid()), dial: dialSystem}
	if _, err := m.connected(ctx); err != nil {
		return nil, fmt.Errorf("cannot reach the service manager: %w", err)
	}
	return m, nil
}

// ConnectUser reaches the service manager of an account. While that is starting
// up it is waited for; when it does not run the error is ErrNotRunning.
func ConnectUser(ctx context.Context, uid, gid uint32) (*Manager, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, fmt.Errorf("cannot reach the service manager of account %d: %w", uid, ErrNotBooted)
	}
	m := &Manager{user: true, uid: uid}
	m.dial = func(ctx context.Context) (link, error) {
		l, err := dialUser(ctx, uid, gid)
		return l, notThere(err)
	}
	deadline := time.Now().Add(managerLimit)
	for {
		_, err := m.connected(ctx)
		if err == nil {
			return m, nil
		}
		starting, why := userStarting(ctx, uid)
		if why != nil || !starting {
			return nil, fmt.Errorf("cannot reach the service manager of account %d: %w", uid, errors.Join(why, err))
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("cannot reach the service manager of account %d: it did not come up within %s: %w", uid, managerLimit, err)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("cannot reach the service manager of account %d: %w", uid, err)
		}
	}
}

// notThere turns the absence of a socket into what it means.
func notThere(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	return err
}

// userStarting asks the system's manager whether the account's is on its way. Early in a
// boot nobody has asked for it yet: logind does so before it is up itself, for all who linger.
func userStarting(ctx context.Context, uid uint32) (bool, error) {
	m, err := Connect(ctx)
	if err != nil {
		return false, err
	}
	logind, err := m.State(ctx, "systemd-logind.service")
	var st State
	if err == nil {
		st, err = m.State(ctx, fmt.Sprintf("user@%d.service", uid))
	}
	if err = errors.Join(err, m.Close()); err != nil {
		return false, err
	}
	booting := logind.ActiveState == "activating" || logind.ActiveState == "inactive" && logind.job != 0
	return booting || st.ActiveState == "active" || st.ActiveState == "activating" || st.job != 0, nil
}

// Close ends the connection.
func (m *Manager) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.link.Conn == nil {
		return nil
	}
	err := m.link.Close()
	m.link = link{}
	return err
}

// connected returns a live connection, made anew when the last one was cut.
func (m *Manager) connected(ctx context.Context) (link, error) {
	m.mu.Lock()
	l := m.link
	m.mu.Unlock()
	if l.Conn != nil && l.Connected() {
		return l, nil
	}
	l, err := m.dial(ctx)
	if err != nil {
		return link{}, err
	}
	m.replace(l)
	return l, nil
}

func (m *Manager) replace(l link) {
	m.mu.Lock()
	old := m.link
	m.link = l
	m.mu.Unlock()
	if old.Conn != nil {
		_ = old.Close() // it was cut already
	}
}

func dialSystem(ctx context.Context) (link, error) {
	uid := os.Geteuid()
	if uid == 0 {
		fd, err := dial("/run/systemd/private")
		if err == nil {
			return handshake(ctx, fd, uint32(uid), true)
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return link{}, err
		}
	}
	return dialBus(ctx)
}

// dialBus reaches the system's message bus.
func dialBus(ctx context.Context) (link, error) {
	fd, err := dial("/run/dbus/system_bus_socket")
	if err != nil {
		return link{}, err
	}
	return handshake(ctx, fd, uint32(os.Geteuid()), false)
}

func dialUser(ctx context.Context, uid, gid uint32) (link, error) {
	dir := fmt.Sprintf("/run/user/%d/", uid)
	var failed error
	for _, path := range []string{"systemd/private", "bus"} {
		fd, err := dialAs(dir+path, uid, gid)
		if err == nil {
			var l link
			if l, err = handshake(ctx, fd, uid, path != "bus"); err == nil {
				return l, nil
			}
		}
		if failed == nil {
			failed = err
		}
	}
	return link{}, failed
}

// dialAs connects with the rights of an account. The other end checks who called
// connect(2) (SO_PEERCRED), and whatever the account put in the place of its
// socket is opened with no more rights than it has itself. Ids belong to threads
// in Linux; the thread that changed its own is thrown away.
func dialAs(path string, uid, gid uint32) (int, error) {
	if uint32(os.Geteuid()) == uid {
		return dial(path)
	}
	type answer struct {
		fd  int
		err error
	}
	got := make(chan answer)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		if err := become(uid, gid); err != nil {
			got <- answer{-1, err}
			return
		}
		fd, err := dial(path)
		got <- answer{fd, err}
	}()
	a := <-got
	return a.fd, a.err
}

// become changes the effective ids of this thread only.
func become(uid, gid uint32) error {
	const keep = ^uintptr(0)
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return os.NewSyscallError("setgroups", e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, keep, uintptr(gid), keep); e != 0 {
		return os.NewSyscallError("setresgid", e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep); e != 0 {
		return os.NewSyscallError("setresuid", e)
	}
	return nil
}

// dial connects on the calling thread, which net.Dial does not promise.
func dial(path string) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	limit := syscall.NsecToTimeval(int64(dialLimit))
	err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
	}
	if err != nil {
		return -1, errors.Join(&os.PathError{Op: "connect", Path: path, Err: err}, syscall.Close(fd))
	}
	return fd, nil
}

// handshake logs in on a connected socket, which it owns from then on.
func handshake(ctx context.Context, fd int, uid uint32, private bool) (link, error) {
	f := os.NewFile(uintptr(fd), "dbus")
	nc, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return link{}, err
	}
	return login(ctx, nc, uid, private)
}

func login(ctx context.Context, nc net.Conn, uid uint32, private bool) (link, error) {
	if err := nc.SetDeadline(time.Now().Add(dialLimit)); err != nil {
		return link{}, errors.Join(err, nc.Close())
	}
	shy := &bounded{Conn: nc, left: loginBytes}
	conn, err := dbus.NewConn(shy, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return link{}, errors.Join(err, nc.Close())
	}
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.FormatUint(uint64(uid), 10))})
	shy.trust()
	if err == nil && private {
		err = drained(ctx, nc)
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err == nil && !private {
		err = hello(ctx, conn)
	}
	if err != nil {
		return link{}, errors.Join(err, conn.Close())
	}
	return link{conn, private}, nil
}

// loginBytes is far more than a login takes. The library reads lines of any
// length, and an account can put what it likes in the place of its manager.
const loginBytes = 64 << 10

// bounded is a connection from which little can be read until it is trusted.
type bounded struct {
	net.Conn
	mu      sync.Mutex
	left    int
	trusted bool
}

func (b *bounded) trust() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusted = true
}

func (b *bounded) Read(p []byte) (int, error) {
	b.mu.Lock()
	left := len(p)
	if !b.trusted {
		left = min(left, b.left)
	}
	b.mu.Unlock()
	if left == 0 && len(p) > 0 {
		return 0, errors.New("it sends too much before the login is done")
	}
	n, err := b.Conn.Read(p[:left])
	b.mu.Lock()
	b.left -= min(n, b.left)
	b.mu.Unlock()
	return n, err
}

// drained waits until the other end has read all that was written. A manager that
// finds our first call in the same read as the end of the login leaves it lying
// until more comes (seen with systemd 252 on a busy machine: 30 s of silence).
func drained(ctx context.Context, nc net.Conn) error {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	for start := time.Now(); time.Since(start) < dialLimit; {
		var unread int32
		var errno syscall.Errno
		err := raw.Control(func(fd uintptr) {
			_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&unread)))
		})
		if err != nil || errno != 0 {
			return errors.Join(err, os.NewSyscallError("ioctl", errno))
		}
		if unread == 0 {
			return nil
		}
		if err := sleep(ctx, 100*time.Microsecond); err != nil {
			return err
		}
	}
	return errors.New("it does not answer")
}

// hello registers on a message bus and asks for the manager's signals.
func hello(ctx context.Context, conn *dbus.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if err := conn.Hello(); err != nil {
		return err
	}
	return conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(managerInterface))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
