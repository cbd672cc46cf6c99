package sshconn_test

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/sshconn"
)

const sshdProgram = "/usr/sbin/sshd"

// realServer starts OpenSSH's server on the loopback, for the account that runs
// the test, with throwaway keys: key logs in, and so does noisy, for which every
// command starts with noise, as after a talkative start-up file.
func realServer(t *testing.T, settings string) *bench {
	t.Helper()
	b := newBench(t)
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host := writeKey(t, b.file("host_key"), "")
	noisy := writeKey(t, b.file("noisy"), "")
	write(t, b.file("authorized"), authorizedLine("", b.key)+
		authorizedLine(`command="echo Welcome; echo careful >&2; eval \"$SSH_ORIGINAL_COMMAND\"" `, noisy))
	port := closedPort(t)
	write(t, b.file("sshd_config"), fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
%s
`, port, b.file("host_key"), b.file("authorized"), settings))
	launch(t, b.file("sshd_config"))
	b.target.Users, b.target.Ports = []string{me.Username}, []int{port}
	write(t, b.file(".ssh/known_hosts"), knownLine(port, host.PublicKey()))
	return b
}

func authorizedLine(options string, key ssh.Signer) string {
	return options + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
}

// launch starts sshd and waits until it listens.
func launch(t *testing.T, config string) {
	t.Helper()
	cmd := exec.Command(sshdProgram, "-D", "-e", "-f", config)
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("this test needs openssh-server: %v", err)
	}
	listening := make(chan string)
	var lines []string
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(listening)
		for scan := bufio.NewScanner(log); scan.Scan(); {
			lines = append(lines, scan.Text())
			if strings.Contains(scan.Text(), "Server listening on") {
				listening <- scan.Text()
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range listening {
		}
		wg.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(strings.Join(lines, "\n"))
		}
	})
	select {
	case _, ok := <-listening:
		if !ok {
			t.Fatal("sshd ended")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("sshd does not listen")
	}
}

func TestRealServer(t *testing.T) {
	b := realServer(t, "MaxSessions 3\nMaxAuthTries 3\nAllowTcpForwarding no")
	var counter sshconn.Counter
	c := dial(t, b.target, sshconn.Options{Counter: &counter})
	text := strings.Repeat("0123456789abcdef\x00\xff", 200000)
	if out, errs, status := run(t, c, "cat; echo end >&2; exit 5", text); out != text || errs != "end\n" || status != 5 {
		t.Errorf("got %d bytes, %q, %d", len(out), errs, status)
	}
	if s := counter.Stats(); s.Channels != 1 || s.BytesUp < int64(len(text)) || s.BytesDown < int64(len(text)) {
		t.Errorf("stats: got %+v", s)
	}

	t.Run("close ladder", func(t *testing.T) {
		file := b.file("pid")
		p := start(t, c, `trap "" TERM; echo $$ >`+file+`; cat`)
		pid := pidOf(t, file)
		_ = p.Close()
		waitGone(t, pid)
	})
	t.Run("close ladder without signals", func(t *testing.T) {
		// OpenSSH 9.2 delivers no signals for root. What heeds neither input nor
		// signals then stays, but holds nobody up.
		file := b.file("deaf")
		c := dial(t, b.target, sshconn.Options{})
		p := start(t, c, `trap "" TERM; echo $$ >`+file+`; while :; do sleep 0.02; done`)
		pid := pidOf(t, file)
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		began := time.Now()
		_ = p.Close()
		_ = c.Close()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("took %v", took)
		}
	})
	t.Run("children that stay", func(t *testing.T) {
		p := start(t, c, "sleep 30 & exit 4")
		began := time.Now()
		if status, err := p.Wait(); status != 4 || err != nil {
			t.Errorf("Wait: got %d, %v, want 4", status, err)
		}
		_ = p.Close()
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("took %v", took)
		}
	})
	t.Run("too many sessions", func(t *testing.T) {
		c := dial(t, b.target, sshconn.Options{})
		for range 3 {
			start(t, c, "cat")
		}
		if _, err := c.Start(t.Context(), "cat"); err == nil || !strings.Contains(err.Error(), "MaxSessions") {
			t.Errorf("the fourth session: got %v", err)
		}
	})
	t.Run("too many keys", func(t *testing.T) {
		target := b.target
		for i := range 4 {
			file := b.file(fmt.Sprintf("wrong%d", i))
			writeKey(t, file, "")
			target.Keys = append([]string{file}, target.Keys...)
		}
		_, err := sshconn.Dial(t.Context(), target, sshconn.Options{})
		if all := attempts(t, err); all[0].Kind != sshconn.Denied || !strings.Contains(err.Error(), "Too many authentication failures") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("noise before the output", func(t *testing.T) {
		target := b.target
		target.Keys = []string{b.file("noisy")}
		out, errs, status := run(t, dial(t, target, sshconn.Options{}), "cat; exit 6", "data")
		if out != "Welcome\ndata" || errs != "careful\n" || status != 6 {
			t.Errorf("got %q, %q, %d", out, errs, status)
		}
	})
	t.Run("scan", func(t *testing.T) {
		keys, err := sshconn.Scan(t.Context(), b.target)
		if err != nil || len(keys) != 1 || keys[0].Trust != sshconn.TrustKnown {
			t.Errorf("got %+v, %v", keys, err)
		}
	})
	t.Run("no forwarding", func(t *testing.T) {
		target := b.target
		hop := b.target
		hop.Name = "hop"
		target.Jump = []sshconn.Target{hop}
		_, err := sshconn.Dial(t.Context(), target, sshconn.Options{})
		if all := attempts(t, err); all[0].Kind != sshconn.NoRoute {
			t.Errorf("got %v", err)
		}
	})
	t.Run("keepalive", func(t *testing.T) {
		target := b.target
		target.KeepAlive = 20 * time.Millisecond
		c := dial(t, target, sshconn.Options{})
		time.Sleep(300 * time.Millisecond)
		if out, _, _ := run(t, c, "echo alive", ""); out != "alive\n" {
			t.Errorf("got %q", out)
		}
	})
}

func TestRealServerBehindItself(t *testing.T) {
	b := realServer(t, "")
	hop := b.target
	hop.Name = "hop"
	b.target.Jump = []sshconn.Target{hop, hop}
	if out, _, _ := run(t, dial(t, b.target, sshconn.Options{}), "cat", "far"); out != "far" {
		t.Errorf("got %q", out)
	}
}

func TestRealServerWithFewPlaces(t *testing.T) {
	b := realServer(t, "MaxStartups 4:50:8")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			c, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	wg.Wait()
}

// TestKeysOfOpenSSH logs in with keys as ssh-keygen writes them, all at the same
// real server.
func TestKeysOfOpenSSH(t *testing.T) {
	b := realServer(t, "")
	var lines strings.Builder
	kinds := [][]string{{"ed25519"}, {"ecdsa", "-b", "384"}, {"rsa", "-b", "2048", "-m", "PEM"}, {"ed25519", "-N", "phrase"}}
	for i, kind := range kinds {
		file := b.file(fmt.Sprintf("made%d", i))
		args := append([]string{"-q", "-f", file, "-C", "made", "-t"}, kind...)
		if len(kind) == 1 || kind[1] != "-N" {
			args = append(args, "-N", "")
		}
		if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
		lines.WriteString(read(t, file+".pub"))
	}
	write(t, b.file("authorized"), lines.String())
	b.target.Passphrase = func(context.Context, string) (string, error) { return "phrase", nil }
	for i, kind := range kinds {
		target := b.target
		target.Keys = []string{b.file(fmt.Sprintf("made%d", i))}
		if block, _ := pem.Decode([]byte(read(t, target.Keys[0]))); block == nil {
			t.Errorf("%v: not a key", kind)
		}
		c := dial(t, target, sshconn.Options{})
		p := start(t, c, "true")
		_, _ = io.ReadAll(p.Stdout())
		_ = p.Close()
	}
}
