package testscripts_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// nobody is the account and group that targets run as, so that a mistake cannot
// touch this machine.
const nobody = 65534

// bench is what a script has besides files: a key, and the servers it started.
type bench struct {
	t      testscript.T
	work   string
	key    ssh.PublicKey
	keyPEM []byte

	mu      sync.Mutex
	servers map[string]*server
}

type benchKey struct{}

func newBench(t testscript.T, work string) *bench {
	key, text, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, work: work, key: key.PublicKey(), keyPEM: text, servers: map[string]*server{}}
}

func newKey() (ssh.Signer, []byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, nil, err
	}
	return signer, pem.EncodeToMemory(block), nil
}

func (b *bench) keyFile() string        { return filepath.Join(b.work, "home", ".ssh", "id_test") }
func (b *bench) knownHostsFile() string { return filepath.Join(b.work, "known_hosts") }

func benchOf(ts *testscript.TestScript) *bench { return ts.Value(benchKey{}).(*bench) }

// close ends all servers. A program that outlives its server by long is a mistake of
// the helper, which must end when its input does.
func (b *bench) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.servers {
		s.close()
	}
	for name, s := range b.servers {
		if left := s.reap(10 * time.Second); left > 0 {
			b.t.Log(fmt.Sprintf("%d programs outlived the connections of host %s", left, name))
			b.t.FailNow()
		}
	}
}

// server is an SSH server on the loopback in front of one home folder.
type server struct {
	bench *bench
	opts  sshdOptions
	home  string
	port  int

	listener net.Listener
	config   *ssh.ServerConfig
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	cmds  map[*exec.Cmd]bool
}

type sshdOptions struct {
	name, user, shell, banner, noise, hostile string
	noexec, noplace                           bool
	drop                                      int64
}

const sshdUsage = "[-user name] [-shell path] [-banner text] [-noise text] [-noexec] [-noplace] [-drop n] [-hostile how] name"

func parseSSHD(args []string) (sshdOptions, error) {
	var o sshdOptions
	flags := flag.NewFlagSet("sshd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.user, "user", "", "")
	flags.StringVar(&o.shell, "shell", "/bin/sh", "")
	flags.StringVar(&o.banner, "banner", "", "")
	flags.StringVar(&o.noise, "noise", "", "")
	flags.StringVar(&o.hostile, "hostile", "", "")
	flags.BoolVar(&o.noexec, "noexec", false, "")
	flags.BoolVar(&o.noplace, "noplace", false, "")
	flags.Int64Var(&o.drop, "drop", 0, "")
	if err := flags.Parse(args); err != nil {
		return o, misuse("%v", err)
	}
	if flags.NArg() != 1 || strings.ContainsAny(flags.Arg(0), "/ =") {
		return o, misuse("want the name of one host")
	}
	o.name = flags.Arg(0)
	if o.hostile != "" && hostile[o.hostile] == nil {
		return o, misuse("no target is hostile like %q", o.hostile)
	}
	return o, nil
}

func runSSHD(ts *testscript.TestScript, args []string) error {
	o, err := parseSSHD(args)
	if err != nil {
		return err
	}
	b := benchOf(ts)
	o.shell = expandShell(ts, o.shell)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.servers[o.name] != nil {
		return misuse("a server for %q was started already", o.name)
	}
	s, err := b.start(o)
	if err != nil {
		return err
	}
	b.servers[o.name] = s
	ts.Setenv("ADDR_"+o.name, s.address())
	ts.Setenv("PORT_"+o.name, strconv.Itoa(s.port))
	return nil
}

// expandShell makes the path of a shell that the script brings along absolute.
func expandShell(ts *testscript.TestScript, shell string) string {
	if filepath.IsAbs(shell) {
		return shell
	}
	return ts.MkAbs(shell)
}

func (b *bench) start(o sshdOptions) (*server, error) {
	s := &server{bench: b, opts: o, home: filepath.Join(b.work, "hosts", o.name), conns: map[net.Conn]bool{}, cmds: map[*exec.Cmd]bool{}}
	if err := s.makeHome(); err != nil {
		return nil, err
	}
	hostKey, _, err := newKey()
	if err != nil {
		return nil, err
	}
	s.config = &ssh.ServerConfig{PublicKeyCallback: s.allow}
	if o.banner != "" {
		s.config.BannerCallback = func(ssh.ConnMetadata) string { return o.banner + "\n" }
	}
	s.config.AddHostKey(hostKey)
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.port = s.listener.Addr().(*net.TCPAddr).Port
	s.wg.Go(s.accept)
	return s, appendFile(b.knownHostsFile(), fmt.Sprintf("[127.0.0.1]:%d %s", s.port, ssh.MarshalAuthorizedKey(hostKey.PublicKey())))
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func appendFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// makeHome makes the host's home, or takes the one that the script brought along,
// and gives it to the host's account.
func (s *server) makeHome() error {
	if err := os.MkdirAll(filepath.Join(s.home, ".cache"), 0o755); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(s.home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
}

func (s *server) allow(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if string(key.Marshal()) != string(s.bench.key.Marshal()) || s.opts.user != "" && s.opts.user != c.User() {
		return nil, errors.New("denied")
	}
	return nil, nil
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *server) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		s.wg.Go(func() { s.session(ch, c) })
	}
	_ = conn.Close()
}

func (s *server) session(nc ssh.NewChannel, under net.Conn) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }()
	var started sync.WaitGroup
	defer started.Wait()
	for r := range requests {
		if r.Type != "exec" {
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
			continue
		}
		_ = r.Reply(true, nil)
		line := string(r.Payload[4:])
		started.Go(func() {
			if behave := hostile[s.opts.hostile]; behave != nil {
				behave(ch)
				_ = ch.Close()
				return
			}
			s.run(ch, line, under)
		})
	}
}

// run runs a command as the login shell does.
func (s *server) run(ch ssh.Channel, line string, under net.Conn) {
	out := io.Writer(ch)
	if s.opts.drop > 0 {
		out = &dropping{w: ch, left: s.opts.drop, conn: under}
	}
	if s.opts.noise != "" {
		_, _ = io.WriteString(out, s.opts.noise+"\n")
	}
	cmd := s.command(line, under)
	cmd.Stdout, cmd.Stderr = out, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_, _ = fmt.Fprintln(ch.Stderr(), err)
		_ = ch.Close()
		return
	}
	s.mu.Lock()
	s.cmds[cmd] = true
	s.mu.Unlock()
	s.wg.Go(func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	})
	_ = cmd.Wait()
	s.mu.Lock()
	delete(s.cmds, cmd)
	s.mu.Unlock()
	_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(max(cmd.ProcessState.ExitCode(), 0))))
	_ = ch.Close()
}

// mounts makes the file systems of a session for -noexec and -noplace: they are
// seen by the session alone.
const mounts = `set -e
for d in $HOLDFAST_NOEXEC; do mount -t tmpfs -o noexec,mode=1777 none "$d"; done
for d in $HOLDFAST_FREE; do mount -t tmpfs -o mode=1777 none "$d"; done
unset HOLDFAST_NOEXEC HOLDFAST_FREE
exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"`

func (s *server) command(line string, under net.Conn) *exec.Cmd {
	argv := []string{s.opts.shell, "-c", line}
	cache := filepath.Join(s.home, ".cache")
	free, noexec := "/var/tmp", ""
	switch {
	case s.opts.noplace:
		noexec, free = cache+" /var/tmp /dev/shm", ""
	case s.opts.noexec:
		noexec = cache
	}
	if noexec != "" {
		argv = append([]string{"unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", mounts, "sh"}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	local, remote := under.LocalAddr().(*net.TCPAddr), under.RemoteAddr().(*net.TCPAddr)
	cmd.Dir = s.home
	cmd.Env = []string{"HOME=" + s.home, "USER=nobody", "LOGNAME=nobody", "SHELL=" + s.opts.shell,
		"PATH=" + filepath.Join(s.home, "bin") + ":" + filepath.Join(s.bench.work, "bin") + ":/usr/local/bin:/usr/bin:/bin",
		fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", remote.IP, remote.Port, local.IP, local.Port)}
	if noexec != "" {
		cmd.Env = append(cmd.Env, "HOLDFAST_NOEXEC="+noexec, "HOLDFAST_FREE="+free)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 && noexec == "" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// dropping breaks the connection after so many bytes.
type dropping struct {
	w    io.Writer
	left int64
	conn net.Conn
}

func (d *dropping) Write(p []byte) (int, error) {
	if int64(len(p)) < d.left {
		d.left -= int64(len(p))
		return d.w.Write(p)
	}
	n, _ := d.w.Write(p[:d.left])
	time.Sleep(50 * time.Millisecond) // what was written before is to arrive
	_ = d.conn.Close()
	return n, errors.New("dropped")
}

// close hangs up on everybody.
func (s *server) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
}

// reap waits for the programs to end, kills those that do not, and returns their number.
func (s *server) reap(limit time.Duration) int {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		left := len(s.cmds)
		s.mu.Unlock()
		if left == 0 {
			s.wg.Wait()
			return 0
		}
	}
	s.mu.Lock()
	left := len(s.cmds)
	for cmd := range s.cmds {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return left
}

// runHosts writes an inventory for servers.
func runHosts(ts *testscript.TestScript, args []string) error {
	if len(args) == 0 {
		return misuse("want names of hosts")
	}
	b := benchOf(ts)
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	fmt.Fprintf(&out, "ssh:\n  users: [tester]\n  keys: [%s]\n  known_hosts: %s\n  agent: false\n  config: none\nhosts:\n", b.keyFile(), b.knownHostsFile())
	for _, name := range args {
		s := b.servers[name]
		if s == nil {
			return misuse("no server was started for %q", name)
		}
		fmt.Fprintf(&out, "  %s:\n    address: 127.0.0.1\n    ssh: {ports: [%d]}\n    vars: {home: %s}\n", name, s.port, s.home)
	}
	return os.WriteFile(ts.MkAbs("inventory.yml"), []byte(out.String()), 0o644)
}
