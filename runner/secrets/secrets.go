// Package secrets finds secrets by name, and keeps a project's own encrypted.
//
// The prefix of a name is its provider: env:NAME reads the environment, file:PATH a
// file that nobody else may read, cmd:COMMAND the output of a program, sops:PATH#KEY
// a file of sops through that program. A name without a prefix, or with secret: in
// front, is one of the project's own, see [Store].
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/inventory"
	"holdfast/playbooks/source"
	"holdfast/tasks/secret"
)

// Providers finds secrets and remembers them for the length of a run.
type Providers struct {
	Getenv func(string) string
	Store  *Store // nil: there is none
	// LookOnly makes stored secrets be looked for and not decrypted: Get returns the
	// zero Text for one that is there.
	LookOnly bool

	mu     sync.Mutex
	known  map[any]secret.Text // by name, and by Ref for what is stored
	stored bool
}

// maxSize bounds a secret.
const maxSize = 64 << 10

// providers read a secret by what follows their prefix.
func (p *Providers) providers() map[string]func(string) ([]byte, error) {
	return map[string]func(string) ([]byte, error){"env": p.env, "file": file, "cmd": command, "sops": sops}
}

// Get returns the secret of that name for a host, or the fleet's when host is nil.
// Errors name the secret, never its text; a name that is not known may be a text by
// mistake and is not repeated either. It may be called by several goroutines; a
// secret is fetched once.
func (p *Providers) Get(host *inventory.Host, name string) (secret.Text, error) {
	name = own(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if provider, rest, ok := strings.Cut(name, ":"); ok {
		return p.provided(name, provider, rest)
	}
	if p.Store == nil || !p.Store.Exists() {
		return secret.Text{}, errNoStore
	}
	ref, err := p.Store.Resolve(name, host)
	if err != nil {
		return secret.Text{}, err
	}
	p.stored = true
	if text, ok := p.known[ref]; ok || p.LookOnly {
		return text, nil
	}
	text, err := p.Store.Read(ref)
	if err == nil {
		err = EnsureText(text)
	}
	if err != nil {
		return secret.Text{}, err
	}
	p.remember(ref, text)
	return text, nil
}

var errNoStore = &Fault{Message: "cannot find a secret: want its name with a provider in front, such as env:NAME, file:PATH, cmd:COMMAND or sops:PATH#KEY",
	Hint: "this project has no secrets of its own yet: 'holdfast secret init'"}

func (p *Providers) provided(name, provider, rest string) (secret.Text, error) {
	if text, ok := p.known[name]; ok {
		return text, nil
	}
	read := p.providers()[provider]
	if read == nil {
		return secret.Text{}, p.noProvider(provider)
	}
	data, err := read(rest)
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot read the secret %q: %w", name, err)
	}
	text := secret.New(strings.TrimRight(string(data), "\r\n"))
	if len(text.Reveal()) < secret.MinLength {
		return secret.Text{}, fmt.Errorf("cannot use the secret %q: it is shorter than %d bytes, and masking it would shred the output", name, secret.MinLength)
	}
	p.remember(name, text)
	return text, nil
}

// own takes off the prefix that a name in the store may have where any name needs one.
func own(name string) string { return strings.TrimPrefix(name, "secret:") }

func (p *Providers) noProvider(provider string) error {
	return &Fault{Message: "cannot find a secret: want its name with a provider in front, such as env:NAME, file:PATH, cmd:COMMAND or sops:PATH#KEY, or a name without a colon",
		Hint: source.DidYouMean(provider, slices.Sorted(maps.Keys(p.providers())))}
}

func (p *Providers) remember(key any, text secret.Text) {
	if p.known == nil {
		p.known = map[any]secret.Text{}
	}
	p.known[key] = text
}

// Known returns the fault of a name that no host can have a secret by. It reads none.
func (p *Providers) Known(name string) error {
	name = own(name)
	if provider, _, ok := strings.Cut(name, ":"); ok {
		if p.providers()[provider] == nil {
			return p.noProvider(provider)
		}
		return nil
	}
	if p.Store == nil || !p.Store.Exists() {
		return errNoStore
	}
	err := p.Store.Known(name)
	if err == nil {
		p.mu.Lock()
		p.stored = true
		p.mu.Unlock()
	}
	return err
}

// Unlock reads the identities if a secret of the store was asked for, so that a
// missing one, or a passphrase to be typed, shows before work begins.
func (p *Providers) Unlock() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stored || p.LookOnly {
		return nil
	}
	return p.Store.Keys.Unlock()
}

// All returns the secrets that were read so far, for redaction.
func (p *Providers) All() []secret.Text {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]secret.Text, 0, len(p.known))
	for _, text := range p.known {
		out = append(out, text)
	}
	return out
}

func (p *Providers) env(name string) ([]byte, error) {
	v := p.Getenv(name)
	if v == "" {
		return nil, errors.New("the variable is not set")
	}
	return []byte(v), nil
}

func file(name string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		name = home + "/" + rest
	}
	// Opened without waiting, a pipe cannot hold us up; looked at when it is open,
	// the file is the one that is read.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	data, err := private(f)
	return data, errors.Join(err, f.Close())
}

// private reads a file that is for its owner's eyes only.
func private(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read the file: chmod 600 %s", f.Name())
	}
	if err != nil {
		return nil, err
	}
	return bounds(f, maxSize)
}

// maxWait is how long a program may take to print a secret.
const maxWait = time.Minute

// command runs a program without a shell: words are cut at blanks. What it says
// besides the secret is not shown, because it may be telling.
func command(line string) ([]byte, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil, errors.New("the command is empty")
	}
	return output(words...)
}

// sops reads one value of a file, or all of it, through the program of that name.
// The key is a path of keys with dots between.
func sops(what string) ([]byte, error) {
	file, key, keyed := strings.Cut(what, "#")
	if file == "" || keyed && key == "" || strings.ContainsAny(key, `"\\[]`) {
		return nil, &Fault{Message: "want the path of a file, and a key behind '#' if there is more than one value in it", Hint: "such as sops:secrets.yaml#db.password"}
	}
	argv := []string{"sops", "--decrypt"}
	if keyed {
		argv = append(argv, "--extract", extract(key))
	}
	// With a path in front, a name that begins with a dash is no flag.
	if !strings.HasPrefix(file, "/") {
		file = "./" + file
	}
	out, err := output(append(argv, file)...)
	if errors.Is(err, exec.ErrNotFound) {
		err = &Fault{Message: "there is no program sops here", Hint: "install it, or put it into the PATH", cause: err}
	}
	return out, err
}

// extract writes a key the way that sops takes it: ["db"][0] for db.0.
func extract(key string) string {
	var b strings.Builder
	for step := range strings.SplitSeq(key, ".") {
		if _, err := strconv.ParseUint(step, 10, 32); err != nil {
			step = `"` + step + `"`
		}
		b.WriteString("[" + step + "]")
	}
	return b.String()
}

// output runs a program and returns what it prints, within bounds.
func output(argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	out := &bounded{}
	cmd.Stdout = out
	err := cmd.Run()
	switch {
	case out.full:
		return nil, fmt.Errorf("it printed more than %d KiB", maxSize>>10)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("it took longer than %s", maxWait)
	case err != nil:
		return nil, err
	}
	return out.buf.Bytes(), nil
}

// bounded is a buffer that ends the program which prints too much. It must not have
// the buffer's own ReadFrom, which knows no bounds.
type bounded struct {
	buf  bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxSize {
		b.full = true
		return 0, errors.New("too much")
	}
	return b.buf.Write(p)
}
