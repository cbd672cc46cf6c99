package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const maxKeySize = 1 << 20

// credentials are what a route has to log in with. Close must be called.
type credentials struct {
	signers  []ssh.Signer // in the order to offer
	names    []string     // of the signers, for messages
	unusable []string     // named keys that could not be used, and why
	hint     string
	secret   func() (string, error) // the password, or nil
	agent    net.Conn
	used     string // fingerprint of the key that signed last; empty after a password
}

func (c *credentials) Close() {
	if c.agent != nil {
		_ = c.agent.Close()
	}
}

func (c *credentials) add(name string, s ssh.Signer) {
	for _, known := range c.signers {
		if string(known.PublicKey().Marshal()) == string(s.PublicKey().Marshal()) {
			return
		}
	}
	c.signers, c.names = append(c.signers, s), append(c.names, name)
}

// agentKey is a key that the agent holds.
type agentKey struct {
	ssh.Signer
	name string
}

// gather loads keys and asks the agent for its own.
func gather(ctx context.Context, r *route) (*credentials, error) {
	c := &credentials{}
	held, err := c.askAgent(r)
	if err != nil {
		c.unusable = append(c.unusable, err.Error())
	}
	offer := func(fallback bool) error {
		for _, k := range r.keys {
			if k.fallback != fallback {
				continue
			}
			if err := c.addFile(ctx, r, k, held); err != nil {
				return err
			}
		}
		return nil
	}
	if err := offer(false); err != nil {
		c.Close()
		return nil, err
	}
	if !r.onlyNamed {
		for _, k := range held {
			c.add(k.name, k)
		}
	}
	if err := offer(true); err != nil {
		c.Close()
		return nil, err
	}
	if r.password != nil {
		c.secret = sync.OnceValues(func() (string, error) { return r.password(ctx) })
	}
	return c, nil
}

// askAgent lists the agent's keys. An agent that hangs is given up.
func (c *credentials) askAgent(r *route) ([]agentKey, error) {
	if r.agent == "" {
		return nil, nil
	}
	conn, err := net.DialTimeout("unix", r.agent, r.connectTimeout)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the agent: %w", err)
	}
	c.agent = &impatient{Conn: conn, limit: r.stepTimeout}
	client := agent.NewClient(c.agent)
	listed, err := client.List()
	if err != nil {
		return nil, fmt.Errorf("cannot ask the agent: %w", err)
	}
	signers, err := client.Signers()
	if err != nil {
		return nil, fmt.Errorf("cannot ask the agent: %w", err)
	}
	var keys []agentKey
	for _, s := range signers {
		name := "a key of the agent"
		for _, l := range listed {
			if string(l.Marshal()) == string(s.PublicKey().Marshal()) {
				name = "agent " + printable(l.Comment, 80)
			}
		}
		keys = append(keys, agentKey{s, name})
	}
	return keys, nil
}

// impatient gives each question to the agent a time limit.
type impatient struct {
	net.Conn
	limit time.Duration
}

func (i *impatient) Write(p []byte) (int, error) {
	if err := i.SetDeadline(time.Now().Add(i.limit)); err != nil {
		return 0, err
	}
	return i.Conn.Write(p)
}

// addFile adds the key of a file, with its certificate before it.
func (c *credentials) addFile(ctx context.Context, r *route, k keyFile, held []agentKey) error {
	text, err := readSmall(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		// The private half may be gone and the agent have it.
		if pub, err := readSmall(k.path + ".pub"); err == nil {
			return c.addPublic(k, pub, held)
		}
		if k.optional {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("cannot read the key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return c.addLocked(ctx, r, k, text, locked.PublicKey, held)
	case err != nil:
		if _, _, _, _, pubErr := ssh.ParseAuthorizedKey(text); pubErr == nil {
			return c.addPublic(k, text, held)
		}
		return fmt.Errorf("cannot use the key %s: %w", k.path, err)
	}
	return c.addSigner(k.path, signer)
}

func (c *credentials) addSigner(path string, signer ssh.Signer) error {
	cert, err := certificateOf(path, signer)
	if err != nil {
		return err
	}
	if cert != nil {
		c.add(path+"-cert.pub", cert)
	}
	c.add(path, signer)
	return nil
}

// certificateOf returns a signer for the certificate beside a key, or nil.
func certificateOf(path string, signer ssh.Signer) (ssh.Signer, error) {
	file := path + "-cert.pub"
	text, err := readSmall(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate %s: %w", file, err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("cannot use the certificate %s: it is a plain key", file)
	}
	s, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate %s: %w", file, err)
	}
	return s, nil
}

// addPublic adds the agent's key of which a file has the public half.
func (c *credentials) addPublic(k keyFile, text []byte, held []agentKey) error {
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return fmt.Errorf("cannot use the key %s: %w", k.path, err)
	}
	if s, ok := heldKey(held, pub); ok {
		return c.addSigner(strings.TrimSuffix(k.path, ".pub"), s)
	}
	if !k.optional {
		c.unusable = append(c.unusable, k.path+" has only the public half, and the agent has no key for it")
	}
	return nil
}

// addLocked uses an encrypted key by way of the agent, else with its passphrase.
func (c *credentials) addLocked(ctx context.Context, r *route, k keyFile, text []byte, pub ssh.PublicKey, held []agentKey) error {
	if pub == nil {
		if beside, err := readSmall(k.path + ".pub"); err == nil {
			pub, _, _, _, _ = ssh.ParseAuthorizedKey(beside)
		}
	}
	if pub != nil {
		if s, ok := heldKey(held, pub); ok {
			return c.addSigner(k.path, s)
		}
	}
	if r.passphrase == nil || k.fallback {
		c.unusable = append(c.unusable, k.path+" is encrypted, and the agent does not have it")
		c.hint = "add the key to the agent with: ssh-add " + k.path
		return nil
	}
	phrase, err := r.passphrase(ctx, k.path)
	if err != nil {
		return fmt.Errorf("cannot get the passphrase of %s: %w", k.path, err)
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(text, []byte(phrase))
	if err != nil {
		return fmt.Errorf("cannot decrypt the key %s: the passphrase is wrong or the file is damaged", k.path)
	}
	return c.addSigner(k.path, signer)
}

func heldKey(held []agentKey, pub ssh.PublicKey) (ssh.Signer, bool) {
	for _, k := range held {
		if string(k.PublicKey().Marshal()) == string(pub.Marshal()) {
			return k, true
		}
	}
	return nil, false
}

// methods returns the ways to log in, keys first. The library uses the first
// method of each kind only, hence one for all keys.
func (c *credentials) methods() []ssh.AuthMethod {
	var all []ssh.AuthMethod
	if len(c.signers) > 0 {
		noted := make([]ssh.Signer, len(c.signers))
		for i, s := range c.signers {
			noted[i] = noting(s, func() { c.used = ssh.FingerprintSHA256(s.PublicKey()) })
		}
		all = append(all, ssh.PublicKeys(noted...))
	}
	if c.secret == nil {
		return all
	}
	password := func() (string, error) {
		c.used = ""
		return c.secret()
	}
	return append(all, ssh.PasswordCallback(password), ssh.KeyboardInteractive(c.answer))
}

// answer gives the password to the one hidden question that PAM asks, and to
// nothing else.
func (c *credentials) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	if len(questions) != 1 || echos[0] {
		return nil, errors.New("the server asks for more than a password")
	}
	c.used = ""
	secret, err := c.secret()
	return []string{secret}, err
}

// offered says what could be offered, for the message of a refused log-in.
func (c *credentials) offered() string {
	names := c.names
	if c.secret != nil {
		names = append(names[:len(names):len(names)], "a password")
	}
	text := "nothing to offer"
	if len(names) > 0 {
		text = "offered " + strings.Join(names, ", ")
	}
	if len(c.unusable) > 0 {
		text += "; " + strings.Join(c.unusable, "; ")
	}
	return text
}

// readSmall reads a file that must be a key, not a device or a disk image.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeySize {
		return nil, fmt.Errorf("%s is no file of less than %d bytes", path, maxKeySize)
	}
	return os.ReadFile(path)
}

// printable makes text of the far end fit for a message: one line, no control
// characters, at most that many runes.
func printable(text string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(text) {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
