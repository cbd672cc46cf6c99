package sshconn_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"holdfast/runner/remote"
	"holdfast/runner/sshconn"
)

// startAgent serves keys made from scratch and returns them.
func startAgent(t *testing.T, b *bench, count int) []ssh.PublicKey {
	t.Helper()
	ring := agent.NewKeyring()
	var keys []ssh.PublicKey
	for range count {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		addToAgent(t, ring, key)
		keys = append(keys, signerOf(t, key).PublicKey())
	}
	serveAgent(t, b, ring)
	return keys
}

func addToAgent(t *testing.T, ring agent.Agent, key any) {
	t.Helper()
	if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: "k"}); err != nil {
		t.Fatal(err)
	}
}

func serveAgent(t *testing.T, b *bench, ring agent.Agent) {
	t.Helper()
	socket := b.file("agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = agent.ServeAgent(ring, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	b.target.Agent = true
}

func prints(user string, keys ...ssh.PublicKey) []string {
	var all []string
	for _, k := range keys {
		all = append(all, user+" "+ssh.FingerprintSHA256(k))
	}
	return all
}

// offersOf fails to log in and returns what was offered.
func offersOf(t *testing.T, b *bench) []string {
	t.Helper()
	b.target.Users = []string{"stranger"}
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if all := attempts(t, err); all[0].Kind != sshconn.Denied {
		t.Fatalf("got %v, want a denied log-in", err)
	}
	offered, _ := b.seen()
	return offered
}

func TestConfiguredKeysAreOfferedFirst(t *testing.T) {
	b := newBench(t)
	held := startAgent(t, b, 2)
	if got, want := offersOf(t, b), prints("stranger", append([]ssh.PublicKey{b.key.PublicKey()}, held...)...); !slices.Equal(got, want) {
		t.Errorf("offered: got %v, want %v", got, want)
	}
	b.target.IdentitiesOnly = true
	if got, want := offersOf(t, b), prints("stranger", b.key.PublicKey()); !slices.Equal(got, want) {
		t.Errorf("offered with IdentitiesOnly: got %v, want %v", got, want)
	}
}

func TestUsualKeysAreOfferedLast(t *testing.T) {
	b := newBench(t)
	held := startAgent(t, b, 1)
	usual := writeKey(t, b.file(".ssh/id_ed25519"), "")
	b.target.Keys = nil
	if got, want := offersOf(t, b), prints("stranger", held[0], usual.PublicKey()); !slices.Equal(got, want) {
		t.Errorf("offered: got %v, want %v", got, want)
	}
}

func TestTooManyKeysOfTheAgent(t *testing.T) {
	b := newBench(t)
	b.configure(func(c *ssh.ServerConfig) { c.MaxAuthTries = 3 })
	startAgent(t, b, 5)
	// The right one comes first, so the limit does not matter.
	dial(t, b.target, sshconn.Options{})
	b.target.Keys = nil
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	var far *remote.Unreachable
	if !errors.As(err, &far) || attempts(t, err)[0].Kind != sshconn.Denied {
		t.Fatalf("got %v, want a denied log-in", err)
	}
}

func TestLogInWithTheAgentsKey(t *testing.T) {
	b := newBench(t)
	held := startAgent(t, b, 2)
	b.allow("me", account{keys: held[1:]})
	b.target.Keys = nil
	dial(t, b.target, sshconn.Options{})
}

func TestAgentKeyNamedByItsPublicHalf(t *testing.T) {
	b := newBench(t)
	held := startAgent(t, b, 3)
	b.allow("me", account{keys: held[2:]})
	write(t, b.file("one.pub"), string(ssh.MarshalAuthorizedKey(held[2])))
	for _, name := range []string{"one.pub", "one"} {
		b.target.Keys, b.target.IdentitiesOnly = []string{b.file(name)}, true
		b.seen()
		dial(t, b.target, sshconn.Options{})
		if got, _ := b.seen(); !strings.HasSuffix(got[0], ssh.FingerprintSHA256(held[2])) {
			t.Errorf("%s: offered %v", name, got)
		}
	}
}

func TestAgentThatIsGoneOrHangs(t *testing.T) {
	b := newBench(t)
	b.target.Agent, b.target.StepTimeout = true, 300*time.Millisecond
	t.Setenv("SSH_AUTH_SOCK", b.file("no-agent"))
	dial(t, b.target, sshconn.Options{})

	l, err := net.Listen("unix", b.file("hangs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("SSH_AUTH_SOCK", b.file("hangs"))
	dial(t, b.target, sshconn.Options{})
	b.target.Users = []string{"stranger"}
	_, err = sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if !strings.Contains(err.Error(), "cannot ask the agent") {
		t.Errorf("got %v, want a word about the agent", err)
	}
}

func TestEncryptedKey(t *testing.T) {
	b := newBench(t)
	locked := writeKey(t, b.file("locked"), "open sesame")
	b.allow("me", account{keys: []ssh.PublicKey{locked.PublicKey()}})
	b.target.Keys = []string{b.file("locked")}

	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	var far *remote.Unreachable
	if !errors.As(err, &far) || !strings.Contains(err.Error(), "locked is encrypted") || !strings.Contains(far.Hint, "ssh-add "+b.file("locked")) {
		t.Errorf("got %v with hint %q, want a word about the encrypted key", err, far.Hint)
	}
	asked := ""
	b.target.Passphrase = func(_ context.Context, file string) (string, error) { asked = file; return "open sesame", nil }
	dial(t, b.target, sshconn.Options{})
	if asked != b.file("locked") {
		t.Errorf("the passphrase was asked for %q", asked)
	}
	b.target.Passphrase = func(context.Context, string) (string, error) { return "wrong-word", nil }
	_, err = sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if err == nil || !strings.Contains(err.Error(), "passphrase is wrong") || strings.Contains(err.Error(), "wrong-word") {
		t.Errorf("got %v, want a wrong passphrase", err)
	}
}

func TestEncryptedKeyThatTheAgentHas(t *testing.T) {
	b := newBench(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, b.file("locked"), string(pem.EncodeToMemory(block)))
	ring := agent.NewKeyring()
	addToAgent(t, ring, key)
	serveAgent(t, b, ring)
	b.allow("me", account{keys: []ssh.PublicKey{signerOf(t, key).PublicKey()}})
	b.target.Keys, b.target.IdentitiesOnly = []string{b.file("locked")}, true
	dial(t, b.target, sshconn.Options{})
}

func TestKindsOfKeys(t *testing.T) {
	b := newBench(t)
	key, err := rsaOnce()
	if err != nil {
		t.Fatal(err)
	}
	write(t, b.file("rsa"), string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	b.allow("me", account{keys: []ssh.PublicKey{rsaKey(t).PublicKey()}})
	b.target.Keys = []string{b.file("rsa")}
	dial(t, b.target, sshconn.Options{})
}

func TestCertificateBesideTheKey(t *testing.T) {
	b := newBench(t)
	ca := ed25519Key(t)
	cert := &ssh.Certificate{
		Key: b.key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"me"}, ValidBefore: ssh.CertTimeInfinity,
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	write(t, b.file("key-cert.pub"), string(ssh.MarshalAuthorizedKey(cert)))
	b.allow("me", account{ca: ca.PublicKey()})
	dial(t, b.target, sshconn.Options{})

	write(t, b.file("key-cert.pub"), string(ssh.MarshalAuthorizedKey(b.key.PublicKey())))
	if _, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{}); err == nil || !strings.Contains(err.Error(), "key-cert.pub: it is a plain key") {
		t.Errorf("a certificate that is none: got %v", err)
	}
}

func TestPasswordComesLastAndIsAskedOnce(t *testing.T) {
	b := newBench(t)
	b.allow("me", account{password: "hunter2"})
	b.target.Users = []string{"root", "me"}
	asked := 0
	b.target.Password = func(context.Context) (string, error) { asked++; return "hunter2", nil }
	dial(t, b.target, sshconn.Options{})
	f := ssh.FingerprintSHA256(b.key.PublicKey())
	offered, _ := b.seen()
	if want := []string{"root " + f, "root password", "me " + f, "me password"}; !slices.Equal(offered, want) || asked != 1 {
		t.Errorf("offered %v and asked %d times, want %v and once", offered, asked, want)
	}
	b.target.Password = func(context.Context) (string, error) { return "not-hunter", nil }
	_, err := sshconn.Dial(t.Context(), b.target, sshconn.Options{})
	if err == nil || strings.Contains(err.Error(), "not-hunter") || !strings.Contains(err.Error(), "a password") {
		t.Errorf("a wrong password: got %v", err)
	}
}

func TestPasswordByKeyboardInteractive(t *testing.T) {
	b := newBench(t)
	b.configure(func(c *ssh.ServerConfig) {
		c.PasswordCallback = nil
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(answers) != 1 || answers[0] != "hunter2" {
				return nil, errDenied
			}
			return nil, nil
		}
	})
	b.target.Users = []string{"other"}
	b.target.Password = func(context.Context) (string, error) { return "hunter2", nil }
	dial(t, b.target, sshconn.Options{})
}
