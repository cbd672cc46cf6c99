// Package secrets finds secrets by name. The prefix of a name is its provider:
// env:NAME reads the environment, file:PATH a file that nobody else may read,
// cmd:COMMAND the output of a program.
package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

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

// Get returns the secret of that name. Errors name the secret, never its text. It
// may be called by several goroutines; a secret is fetched once.
func (p *Providers) Get(name string) (secret.Text, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text, ok := p.known[name]; ok {
		return text, nil
	}
	provider, rest, ok := strings.Cut(name, ":")
	if !ok {
		return secret.Text{}, fmt.Errorf("cannot find the secret %q: want a provider in front, such as env: or file:", name)
	}
	var data []byte
	var err error
	switch provider {
	case "env":
		data, err = p.env(rest)
	case "file":
		data, err = file(rest)
	case "cmd":
		data, err = command(rest)
	default:
		err = fmt.Errorf("there is no provider %q; there are env:, file: and cmd:", provider)
	}
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
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read the file: chmod 600 %s", name)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("the file is larger than %d KiB", maxSize>>10)
	}
	return os.ReadFile(name)
}

// command runs a program without a shell: words are cut at blanks.
func command(line string) ([]byte, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil, errors.New("the command is empty")
	}
	cmd := exec.Command(words[0], words[1:]...)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	if out.Len() > maxSize {
		return nil, fmt.Errorf("it printed more than %d KiB", maxSize>>10)
	}
	return out.Bytes(), nil
}
