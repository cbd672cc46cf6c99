// Package secrets finds secrets by name. The prefix of a name is its provider:
// env:NAME reads the environment, file:PATH a file that nobody else may read,
// cmd:COMMAND the output of a program.
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/tasks/secret"
)

// Providers finds secrets and remembers them for the length of a run.
type Providers struct {
	Getenv func(string) string
	mu     sync.Mutex
	known  map[string]secret.Text
}

// maxSize bounds a secret.
const maxSize = 64 << 10

// Get returns the secret of that name. Errors name the secret, never its text; a
// name without a provider may be a text by mistake and is not repeated either. It
// may be called by several goroutines; a secret is fetched once.
func (p *Providers) Get(name string) (secret.Text, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text, ok := p.known[name]; ok {
		return text, nil
	}
	provider, rest, ok := strings.Cut(name, ":")
	read := map[string]func(string) ([]byte, error){"env": p.env, "file": file, "cmd": command}[provider]
	if !ok || read == nil {
		return secret.Text{}, errors.New("cannot find a secret: want its name with a provider in front, such as env:NAME, file:PATH or cmd:COMMAND")
	}
	data, err := read(rest)
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot read the secret %q: %w", name, err)
	}
	text := secret.New(strings.TrimRight(string(data), "\r\n"))
	if len(text.Reveal()) < secret.MinLength {
		return secret.Text{}, fmt.Errorf("cannot use the secret %q: it is shorter than %d bytes, and masking it would shred the output", name, secret.MinLength)
	}
	if p.known == nil {
		p.known = map[string]secret.Text{}
	}
	p.known[name] = text
	return text, nil
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
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("others can read the file: chmod 600 %s", f.Name())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("the file is larger than %d KiB", maxSize>>10)
	}
	return data, err
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
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
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
