package sshconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/sshconn"
)

// server is an SSH server in this process. It runs commands with /bin/sh, obeys
// signals, and forwards TCP.
type server struct {
	t      *testing.T
	port   int
	config *ssh.ServerConfig
	wg     sync.WaitGroup

	mu       sync.Mutex
	accounts map[string]account
	offered  []string // user and kind of what was offered, in order
	conns    map[net.Conn]bool
	dials    int

	noForward  atomic.Bool
	rejectExec atomic.Bool
	hangUps    atomic.Int32 // so many connections are dropped before the handshake
	waiting    atomic.Int32 // connections that are not logged in, now and at most
	mostWait   atomic.Int32
}

type account struct {
	keys     []ssh.PublicKey
	password string
	ca       ssh.PublicKey
}

func newServer(t *testing.T, hostKeys ...ssh.Signer) *server {
	t.Helper()
	s := &server{t: t, accounts: map[string]account{}, conns: map[net.Conn]bool{}}
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: s.checkKey, PasswordCallback: s.checkPassword, MaxAuthTries: 6,
	}
	if len(hostKeys) == 0 {
		hostKeys = []ssh.Signer{ed25519Key(t)}
	}
	for _, k := range hostKeys {
		s.config.AddHostKey(k)
	}
	t.Cleanup(s.wg.Wait) // after all that listens is closed
	s.listen(0)
	return s
}

func (s *server) listen(port int) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		s.t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.dials++
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	s.t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
	})
}

func (s *server) allow(user string, a account) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[user] = a
	return s
}

// configure changes how the connections to come are served.
func (s *server) configure(change func(*ssh.ServerConfig)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.config)
}

func (s *server) note(what string) account {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered = append(s.offered, what)
	user, _, _ := strings.Cut(what, " ")
	return s.accounts[user]
}

func (s *server) seen() (offered []string, dials int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	offered, s.offered = s.offered, nil
	dials, s.dials = s.dials, 0
	return offered, dials
}

var errDenied = errors.New("denied")

func (s *server) checkKey(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	a := s.note(c.User() + " " + ssh.FingerprintSHA256(key))
	if cert, ok := key.(*ssh.Certificate); ok && a.ca != nil {
		checker := ssh.CertChecker{IsUserAuthority: func(auth ssh.PublicKey) bool {
			return string(auth.Marshal()) == string(a.ca.Marshal())
		}}
		return checker.Authenticate(c, cert)
	}
	for _, k := range a.keys {
		if string(k.Marshal()) == string(key.Marshal()) {
			return nil, nil
		}
	}
	return nil, errDenied
}

func (s *server) checkPassword(c ssh.ConnMetadata, secret []byte) (*ssh.Permissions, error) {
	if a := s.note(c.User() + " password"); a.password != "" && a.password == string(secret) {
		return nil, nil
	}
	return nil, errDenied
}

func (s *server) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	if s.hangUps.Add(-1) >= 0 {
		return
	}
	now := s.waiting.Add(1)
	for most := s.mostWait.Load(); now > most && !s.mostWait.CompareAndSwap(most, now); most = s.mostWait.Load() {
	}
	s.mu.Lock()
	config := s.config
	s.mu.Unlock()
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	s.waiting.Add(-1)
	if err != nil {
		return
	}
	s.wg.Go(func() {
		for r := range requests {
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	})
	for ch := range channels {
		switch ch.ChannelType() {
		case "session":
			s.wg.Go(func() { s.session(ch) })
		case "direct-tcpip":
			s.wg.Go(func() { s.forward(ch) })
		default:
			_ = ch.Reject(ssh.UnknownChannelType, "no")
		}
	}
	_ = conn.Close()
}

func (s *server) session(nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }()
	var cmd *exec.Cmd
	var running sync.WaitGroup
	defer running.Wait()
	for r := range requests {
		switch r.Type {
		case "exec":
			ok := cmd == nil && !s.rejectExec.Load()
			_ = r.Reply(ok, nil)
			if ok {
				cmd = s.command(string(r.Payload[4:]), ch)
				running.Go(func() { finish(cmd, ch) })
			}
		case "signal":
			if cmd != nil && cmd.Process != nil {
				signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
				_ = syscall.Kill(-cmd.Process.Pid, signals[string(r.Payload[4:])])
			}
		default:
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	}
	if cmd != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

func (s *server) command(line string, ch ssh.Channel) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Error(err)
		return cmd
	}
	s.wg.Go(func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	})
	return cmd
}

func finish(cmd *exec.Cmd, ch ssh.Channel) {
	_ = cmd.Wait()
	if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		name := map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL"}[w.Signal()]
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal string
			Core   bool
			Error  string
			Lang   string
		}{name, false, "", ""}))
	} else {
		_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(cmd.ProcessState.ExitCode())))
	}
	_ = ch.Close()
}

func (s *server) forward(nc ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil || s.noForward.Load() {
		_ = nc.Reject(ssh.Prohibited, "administratively prohibited")
		return
	}
	far, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		_ = far.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	s.wg.Go(func() {
		_, _ = io.Copy(far, ch)
		_ = far.Close()
	})
	_, _ = io.Copy(ch, far)
	_ = ch.Close()
	_ = far.Close()
}

// hostLine returns the known_hosts lines of a server for a port.
func knownLine(port int, key ssh.PublicKey) string {
	return "[127.0.0.1]:" + strconv.Itoa(port) + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + "\n"
}

func ed25519Key(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key)
}

func ecdsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key)
}

var rsaOnce = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func signerOf(t *testing.T, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// writeKey makes an ed25519 key file, encrypted if there is a passphrase.
func writeKey(t *testing.T, file, passphrase string) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(pem.EncodeToMemory(block)))
	return signerOf(t, key)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// bench is a home directory with a key, and one server that takes it.
type bench struct {
	*server
	home    string
	key     ssh.Signer
	hostKey ssh.Signer
	target  sshconn.Target
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{home: t.TempDir(), hostKey: ed25519Key(t)}
	t.Setenv("HOME", b.home)
	t.Setenv("SSH_AUTH_SOCK", "")
	b.key = writeKey(t, b.file("key"), "")
	b.server = newServer(t, b.hostKey).allow("me", account{keys: []ssh.PublicKey{b.key.PublicKey()}})
	write(t, b.file(".ssh/known_hosts"), knownLine(b.port, b.hostKey.PublicKey()))
	b.target = sshconn.Target{
		Name: "web1", Address: "127.0.0.1", Users: []string{"me"}, Ports: []int{b.port}, Keys: []string{b.file("key")},
		ConnectTimeout: 2 * time.Second, StepTimeout: 5 * time.Second, Grace: 150 * time.Millisecond,
		KnownHosts: []string{b.file(".ssh/known_hosts")},
	}
	return b
}

func (b *bench) file(name string) string { return filepath.Join(b.home, name) }

func dial(t *testing.T, target sshconn.Target, o sshconn.Options) (c remoteConn) {
	t.Helper()
	conn, err := sshconn.Dial(t.Context(), target, o)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// run runs a command to its end.
func run(t *testing.T, c remoteConn, command, input string) (out, errs string, status int) {
	t.Helper()
	p, err := c.Start(t.Context(), command)
	if err != nil {
		t.Fatalf("Start(%q): %v", command, err)
	}
	defer func() { _ = p.Close() }()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.WriteString(p.Stdin(), input)
		_ = p.Stdin().Close()
	})
	var errText []byte
	wg.Go(func() { errText, _ = io.ReadAll(p.Stderr()) })
	outText, _ := io.ReadAll(p.Stdout())
	wg.Wait()
	status, err = p.Wait()
	if err != nil {
		t.Errorf("Wait for %q: %v", command, err)
	}
	return string(outText), string(errText), status
}

// proxy passes TCP on to a port until it is frozen, when it goes on reading
// nothing and writing nothing.
type proxy struct {
	port   int
	frozen atomic.Bool
}

func newProxy(t *testing.T, to int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	pass := func(from, into net.Conn) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if p.frozen.Load() {
				<-ctx.Done()
			}
			if _, werr := into.Write(buffer[:n]); err != nil || werr != nil {
				_ = into.Close()
				return
			}
		}
	}
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(to))
			if err != nil {
				_ = near.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _ = near.Close(); _ = far.Close() })
			wg.Go(func() { pass(near, far) })
			wg.Go(func() { pass(far, near) })
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); wg.Wait() })
	return p
}
