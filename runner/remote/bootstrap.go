package remote

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/runner/wire"
	"holdfast/tasks/secret"
)

// Binary is a helper for one platform.
type Binary struct {
	Platform string // linux/amd64
	Name     string // the file's name on the target
	Args     string // what makes it serve, plain words
	Hash     string // SHA-256 in hex of the file as it is on the target
	Size     int64  // of the file
	// Gzip returns the file, gzipped. It is called when the file has to be sent.
	Gzip func() ([]byte, error)
}

// Binaries are the helpers that this build can push, one for each platform.
type Binaries []Binary

func (bs Binaries) platforms() string {
	var out []string
	for _, b := range bs {
		out = append(out, b.Platform)
	}
	return strings.Join(out, ", ")
}

// Root says how the helper becomes root.
type Root struct {
	// Want is false when the helper shall stay the account that logged in.
	Want bool
	// Password is asked for when sudo wants one; nil when there is none.
	Password func() (secret.Text, error)
}

// Pushed says what was sent.
type Pushed struct {
	Platform string
	Path     string
	Bytes    int64
	Took     time.Duration
}

// bootstrap starts a helper over a connection and leaves its streams right behind
// the magic line.
type bootstrap struct {
	proc   Process
	name   string // of what is started, for errors
	root   bool   // sudo may be in the way
	out    *bufio.Reader
	nonce  string
	noise  strings.Builder
	within bool   // the last read ended inside a line
	carry  string // its end, when the magic may begin there
	stderr *tail
}

// start brings the helper up and reads up to and including the magic line. The
// caller bounds it with the context.
func start(ctx context.Context, conn Conn, bins Binaries, root Root, pushed func(Pushed)) (*bootstrap, error) {
	if len(bins) == 0 {
		return nil, errors.New("internal error: this build has no helper to push")
	}
	return begin(ctx, conn, "the helper", root, func(b *bootstrap) error {
		if err := b.run(root, locate(bins, b.nonce)+"\n"); err != nil {
			return err
		}
		return b.await(bins, pushed)
	})
}

// begin starts a shell over a connection and has a talk with it, which ends in time.
func begin(ctx context.Context, conn Conn, name string, root Root, talk func(*bootstrap) error) (*bootstrap, error) {
	// The set-up's context must not end the process that outlives it; what ends the
	// process later is Close, after the helper was told.
	proc, err := conn.Start(context.WithoutCancel(ctx), starter)
	if errors.Is(err, ErrCut) {
		err = &Lost{err}
	}
	if err != nil {
		return nil, err
	}
	b := &bootstrap{proc: proc, name: name, root: root.Want, out: bufio.NewReaderSize(proc.Stdout(), 32<<10), nonce: newNonce(), stderr: newTail(proc.Stderr(), 16<<10)}
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	err = talk(b)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = proc.Close()
		b.stderr.ended(lastWords)
		if ctx.Err() != nil {
			err = fmt.Errorf("%s did not answer in time%s", b.name, b.said())
		}
		return nil, err
	}
	return b, nil
}

func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// run becomes root if wanted and hands over the second line.
func (b *bootstrap) run(root Root, second string) error {
	first := elevate(root, b.nonce) + "\n"
	if !root.Want || root.Password == nil {
		if _, err := io.WriteString(b.proc.Stdin(), first+second); err != nil {
			b.soak()
			return b.ended()
		}
		return nil
	}
	if err := b.send(first); err != nil {
		return err
	}
	if err := b.password(root); err != nil {
		return err
	}
	return b.send(second)
}

func (b *bootstrap) send(s string) error {
	if _, err := io.WriteString(b.proc.Stdin(), s); err != nil {
		return b.ended()
	}
	return nil
}

// soak takes in what a far end that reads no more has printed: it says why.
func (b *bootstrap) soak() {
	text, _ := io.ReadAll(io.LimitReader(b.out, wire.MaxNoise)) // what came before an error counts too
	b.noise.Write(text)
}

// password gives sudo its password when, and only when, it asks with our prompt.
func (b *bootstrap) password(root Root) error {
	asked := b.stderr.watch(wordPassword + " " + b.nonce)
	answered := make(chan error, 1)
	go func() {
		_, err := b.line(wordFree)
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-asked:
	}
	line, err := passwordLine(root)
	if err == nil {
		err = b.send(line)
	}
	if err != nil {
		_ = b.proc.Close()
		<-answered //nolint:errcheck // the other error says more
		return err
	}
	// The second prompt means that the password was wrong; giving it again would
	// only count against the account.
	again := b.stderr.watch(wordPassword + " " + b.nonce)
	select {
	case err := <-answered:
		return err
	case <-again:
		_ = b.proc.Close()
		<-answered //nolint:errcheck // the other error says more
		return &Denied{"sudo refused the password", hintWrong}
	}
}

// passwordLine returns what sudo reads. A second line would not be read by sudo but
// by the shell behind it.
func passwordLine(root Root) (string, error) {
	pw, err := root.Password()
	if err != nil {
		return "", fmt.Errorf("cannot get the password for sudo: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(pw.Reveal(), "\n"), "\r")
	if strings.ContainsAny(text, "\r\n\x00") {
		return "", errors.New("cannot use the password for sudo: it has more than one line")
	}
	return text + "\n", nil
}

// await reads up to the magic line and pushes the helper when asked to, once.
func (b *bootstrap) await(bins Binaries, pushed func(Pushed)) error {
	sent := false
	for {
		line, err := b.line("")
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, wire.Magic) {
			return nil
		}
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(strings.TrimPrefix(rest, b.nonce))
		switch word {
		case wordPush:
			if sent {
				return wire.Violationf("the helper was asked for twice")
			}
			sent = true
			if err := b.push(bins, rest, pushed); err != nil {
				return err
			}
		case wordPlatform:
			return fmt.Errorf("no helper for %s: this build has %s", clean(rest), bins.platforms())
		case wordNoPlace:
			return fmt.Errorf("no place for the helper: tried %s", clean(rest))
		case wordDamaged:
			return fmt.Errorf("the helper arrived damaged (%s KiB are free there)", clean(rest))
		}
	}
}

// line returns the next line that is ours: the magic line or one with our nonce.
// Everything else is noise and kept for errors. A non-empty word waits for that one.
func (b *bootstrap) line(word string) (string, error) {
	for {
		text, start, err := b.read()
		if err != nil {
			b.noise.WriteString(text)
			return "", b.ended()
		}
		if i := strings.Index(text, wire.Magic); i >= 0 && word == "" {
			return text[i:], b.rest(text)
		}
		if start && strings.HasPrefix(text, "HOLDFAST-") && strings.Contains(text, " "+b.nonce) && strings.HasPrefix(text, word) {
			return strings.TrimSpace(text), nil
		}
		b.noise.WriteString(text)
		if b.noise.Len() > wire.MaxNoise {
			return "", fmt.Errorf("the login printed more than %d KiB and %s did not start%s", wire.MaxNoise>>10, b.name, b.said())
		}
	}
}

// read returns the next line, or a large piece of one, and whether it is the start
// of one. A piece never ends within the magic.
func (b *bootstrap) read() (text string, start bool, err error) {
	piece, err := b.out.ReadSlice('\n')
	text, start = b.carry+string(piece), !b.within
	b.carry, b.within = "", false
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, start, err
	}
	b.within = true
	for n := min(len(wire.Magic)-1, len(text)); n > 0; n-- {
		if cut := len(text) - n; strings.HasPrefix(wire.Magic, text[cut:]) {
			text, b.carry = text[:cut], text[cut:]
			break
		}
	}
	return text, start, nil
}

// rest reads to the end of the magic line, if it is not there yet. It is a short line.
func (b *bootstrap) rest(text string) error {
	if strings.HasSuffix(text, "\n") {
		return nil
	}
	if _, err := b.out.ReadSlice('\n'); err != nil {
		return b.ended()
	}
	return nil
}

// push sends the helper for the platform that the target named. Where that cannot be
// written any more, the target may still say why.
func (b *bootstrap) push(bins Binaries, rest string, pushed func(Pushed)) error {
	began := time.Now()
	machine, path, _ := strings.Cut(rest, " ")
	platform := machines[strings.TrimPrefix(machine, "Linux/")]
	for _, bin := range bins {
		if bin.Platform != platform {
			continue
		}
		data, err := bin.Gzip()
		if err != nil {
			return fmt.Errorf("cannot read the helper: %w", err)
		}
		_, err = fmt.Fprintf(b.proc.Stdin(), "%d\n", len(data))
		if err == nil {
			_, err = b.proc.Stdin().Write(data)
		}
		if err == nil && pushed != nil {
			pushed(Pushed{platform, clean(path), int64(len(data)), time.Since(began)})
		}
		return nil
	}
	return wire.Violationf("a push for %s was asked for", clean(machine))
}

// lastWords is how long what the far end said before it went may take to arrive.
const lastWords = 2 * time.Second

// ended explains why the far end went away.
func (b *bootstrap) ended() error {
	b.stderr.ended(lastWords)
	cut := b.cut()
	_ = b.proc.Close()
	if b.root {
		if err := denied(b.stderr.text()); err != nil {
			return err
		}
	}
	err := fmt.Errorf("%s did not start%s", b.name, b.said())
	if cut {
		return &Lost{err}
	}
	return err
}

// cut reports whether it was the connection that ended, and not the program.
func (b *bootstrap) cut() bool {
	gone := make(chan error, 1)
	go func() {
		_, err := b.proc.Wait()
		gone <- err
	}()
	select {
	case err := <-gone:
		return errors.Is(err, ErrCut)
	case <-time.After(lastWords):
		return false
	}
}

// said quotes what the target printed.
func (b *bootstrap) said() string {
	text := strings.TrimSpace(b.stderr.text())
	if text == "" {
		text = strings.TrimSpace(b.noise.String())
	}
	if text == "" {
		return ""
	}
	return "; it said: " + clean(lastLines(text, 5))
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " / ")
}
