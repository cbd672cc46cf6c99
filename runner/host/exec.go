package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"holdfast/tasks/task"
)

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// marker is in the environment of every command, so that a process which left
	// its session and its control group is still found.
	marker = "HOLDFAST_COMMAND"
	// drain is how long the output of a command that has ended may stay open: what
	// it left in the background holds it.
	drain = 2 * time.Second
)

// grace is how long a stopped command may take to end by itself.
const grace = 5 * time.Second

// spawn is a process to start.
type spawn struct {
	argv   []string
	dir    string
	env    []string // added to the fixed environment
	stdin  []byte
	id     *identity
	limit  int64
	onLine func(string)
	mortal bool // it may be stopped, and is not to outlive a run that was killed
}

// process is a process that was started.
type process struct {
	cmd    *exec.Cmd
	tag    string
	cgroup string // "" when it has none of its own
	note   string // the file that tells of it while it runs, or ""
	done   chan error
}

// spawn runs a process to its end. When ctx ends first, everything that the process
// started is stopped too. A context that cannot end marks work which must never be
// stopped half-way, such as a package manager's: it outlives even this process.
func (m *Machine) spawn(ctx context.Context, s spawn) (task.Output, error) {
	var out task.Output
	if err := ctx.Err(); err != nil {
		return out, err
	}
	if len(s.argv) == 0 || s.argv[0] == "" {
		return out, errors.New("cannot run a command without a name")
	}
	file, err := lookup(s.argv[0])
	if err != nil {
		return out, err
	}
	if s.limit <= 0 {
		s.limit = task.DefaultMaxOutput
	}
	if ctx.Done() == nil {
		return m.spawnSafe(file, s)
	}
	// The kernel sends the death signal when the thread that started the process
	// ends (prctl(2)), so the thread must stay ours until then.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.mortal = true
	lines := newLines(s.onLine)
	stdout, stderr := newCapture(s.limit), newCapture(s.limit)
	p, err := m.start(file, s, func(c *exec.Cmd) {
		c.Stdout, c.Stderr = lines.tee(stdout), lines.tee(stderr)
		c.WaitDelay = drain
		c.SysProcAttr.Pdeathsig = syscall.SIGTERM
	})
	if err != nil {
		return out, err
	}
	stopped := false
	select {
	case err = <-p.done:
	case <-ctx.Done():
		stopped = true
		err = errors.Join(fmt.Errorf("cannot finish the command %s: %w", path.Base(file), context.Cause(ctx)), p.stop())
	}
	p.leave()
	lines.flush()
	out.Stdout, out.Stderr = stdout.String(), stderr.String()
	out.Truncated = stdout.cut() || stderr.cut()
	if !stopped {
		out.Status, err = status(err)
	}
	return out, err
}

// spawnSafe runs a process that nothing of ours can break: its output goes to
// memory that lives as long as it does, not to a pipe that would break with us.
func (m *Machine) spawnSafe(file string, s spawn) (task.Output, error) {
	var out task.Output
	mem, err := memory()
	if err != nil {
		return out, err
	}
	defer mem.Close() //nolint:errcheck // it was memory
	p, err := m.start(file, s, func(c *exec.Cmd) { c.Stdout, c.Stderr = mem, mem })
	if err != nil {
		return out, err
	}
	lines := newLines(s.onLine)
	text := newCapture(s.limit)
	sink := lines.tee(text)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for at, ended := int64(0), false; ; {
		buf := make([]byte, 32<<10)
		n, _ := mem.ReadAt(buf, at)
		_, _ = sink.Write(buf[:n]) // memory takes everything
		if at += int64(n); n > 0 {
			continue
		}
		if ended {
			break
		}
		select {
		case err = <-p.done:
			ended = true
		case <-tick.C:
		}
	}
	p.leave()
	lines.flush()
	out.Stdout, out.Truncated = text.String(), text.cut()
	out.Status, err = status(err)
	return out, err
}

func (m *Machine) start(file string, s spawn, set func(*exec.Cmd)) (*process, error) {
	p := &process{tag: newTag(), done: make(chan error, 1)}
	dir, release := p.enclose()
	defer release()
	if s.mortal {
		m.note(p)
	}
	build := func(fd int) *exec.Cmd {
		c := &exec.Cmd{Path: file, Args: s.argv, Dir: s.dir, Env: m.environ(s, p.tag)}
		if c.Dir == "" {
			c.Dir = "/"
		}
		if s.stdin != nil {
			c.Stdin = bytes.NewReader(s.stdin)
		}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: fd >= 0, CgroupFD: max(fd, 0)}
		if s.id != nil {
			c.SysProcAttr.Credential = &syscall.Credential{Uid: s.id.uid, Gid: s.id.gid, Groups: s.id.groups}
		}
		set(c)
		return c
	}
	p.cmd = build(dir)
	err := p.cmd.Start()
	if dir >= 0 && err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.leave() // an old kernel, or a group that takes no processes
		p.cmd = build(-1)
		err = p.cmd.Start()
	}
	if err != nil {
		p.leave()
		return nil, fmt.Errorf("cannot start %s: %w", s.argv[0], explainExec(err, s))
	}
	m.spawned.Add(1)
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

func explainExec(err error, s spawn) error {
	if errors.Is(err, syscall.ENOENT) && s.dir != "" {
		if _, serr := os.Stat(s.dir); serr != nil {
			return fmt.Errorf("the directory %s is not there", s.dir)
		}
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// status turns what Wait answers into an exit status; a signal counts as 128 and its number.
func status(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case errors.As(err, &exit):
		ws, ok := exit.Sys().(syscall.WaitStatus)
		if ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return -1, fmt.Errorf("cannot wait for the command: %w", err)
}

func newTag() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// lookup finds a program in the system's folders, never in our own PATH.
func lookup(name string) (string, error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			return "", fmt.Errorf("cannot run %q: want a name or an absolute path", name)
		}
		return name, nil
	}
	for _, dir := range strings.Split(searchPath, ":") {
		file := path.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("cannot run %q: %w in %s", name, exec.ErrNotFound, searchPath)
}

// environ is small and fixed, so that a command does the same whoever started the run.
func (m *Machine) environ(s spawn, tag string) []string {
	user, home, shell := "root", "/root", "/bin/sh"
	uid := uint32(os.Geteuid())
	if s.id != nil {
		user, home, shell, uid = s.id.name, s.id.home, s.id.shell, s.id.uid
	} else if db, err := m.accounts.load(m); err == nil {
		if p := db.uid(int64(uid)); p != nil {
			user, home, shell = p.name, p.home, p.shell
		}
	}
	if shell == "" {
		shell = "/bin/sh"
	}
	env := []string{
		"PATH=" + searchPath, "HOME=" + home, "USER=" + user, "LOGNAME=" + user, "SHELL=" + shell,
		"LANG=C.UTF-8", marker + "=" + tag,
	}
	if dir := fmt.Sprintf("/run/user/%d", uid); uid != 0 {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			env = append(env, "XDG_RUNTIME_DIR="+dir) // where the account's service manager listens
		}
	}
	return slices.Concat(env, s.env)
}

// Query runs a command that changes nothing.
func (r *reader) Query(ctx context.Context, cmd task.Command) (task.Output, error) {
	return r.m.command(ctx, cmd, r.user, nil)
}

// command runs a module's command as the account user unless it names another.
func (m *Machine) command(ctx context.Context, cmd task.Command, user string, progress func(string)) (task.Output, error) {
	if cmd.User != "" {
		user = cmd.User
	}
	id, err := m.identity(user)
	if err != nil {
		return task.Output{}, err
	}
	s := spawn{argv: cmd.Argv, dir: cmd.Dir, stdin: cmd.Stdin, id: id, limit: cmd.MaxOutput}
	for _, k := range sortedKeys(cmd.Env) {
		s.env = append(s.env, k+"="+cmd.Env[k])
	}
	for _, k := range sortedKeys(cmd.Secrets) {
		s.env = append(s.env, k+"="+cmd.Secrets[k].Reveal())
	}
	if cmd.Stream {
		s.onLine = progress
	}
	if ctx.Done() == nil {
		// Only package managers are above being stopped.
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
	}
	return m.spawn(ctx, s)
}

// tool runs a program of the system and returns what it said.
func (m *Machine) tool(ctx context.Context, stdin []byte, argv ...string) (task.Output, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return m.spawn(ctx, spawn{argv: argv, stdin: stdin})
}

func sortedKeys[V any](in map[string]V) []string {
	out := make([]string, 0, len(in))
	for k := range in {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
