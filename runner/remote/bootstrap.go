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

// starter is the command that is given to the login shell. It has only words that
// every shell reads alike; what it runs comes as a line on its input, so that no
// quoting rule of any shell matters. The read of a POSIX shell takes single bytes
// from a pipe, so nothing behind the line is lost.
const starter = `exec /bin/sh -c 'IFS= read -r l && eval "$l"'`

// machines maps uname -m to the platforms that there are helpers for.
var machines = map[string]string{"x86_64": "linux/amd64", "aarch64": "linux/arm64"}

// Root says how the helper becomes root.
type Root struct {
	// Want is false when the helper shall stay the account that logged in.
	Want bool
	// Password is asked for when sudo wants one; nil when there is none.
	Password func() (secret.Text, error)
}

// bootstrap starts a helper over a connection and leaves its streams right behind
// the magic line.
type bootstrap struct {
	proc   Process
	out    *bufio.Reader
	nonce  string
	noise  strings.Builder
	stderr *tail
}

// elevate returns the first line of the talk: it becomes root if wanted, and
// leaves a shell that waits for the second line with the connection's addresses in $1.
func elevate(root Root, nonce string) string {
	wait := `/bin/sh -c 'IFS= read -r l && eval "$l"' sh "$SSH_CONNECTION"`
	if !root.Want {
		return "exec " + wait
	}
	sudo := "exec sudo -n -- " + wait
	if root.Password != nil {
		sudo = fmt.Sprintf("if sudo -n true 2>/dev/null; then echo; echo HOLDFAST-FREE %[1]s; exec sudo -n -- %[2]s; else exec sudo -S -p 'HOLDFAST-PASSWORD %[1]s' -- /bin/sh -c 'echo; echo HOLDFAST-FREE %[1]s; IFS= read -r l && eval \"$l\"' sh \"$SSH_CONNECTION\"; fi", nonce, wait)
	}
	return fmt.Sprintf(`if [ "$(id -u)" = 0 ]; then %sexec %s; else %s; fi`, free(root, nonce), wait, sudo)
}

func free(root Root, nonce string) string {
	if root.Password == nil {
		return ""
	}
	return "echo; echo HOLDFAST-FREE " + nonce + "; "
}

// locate returns the second line: it runs the helper that is there, if its hash is
// right, or says which platform it needs, reads the helper, checks it and runs it.
func locate(bins Binaries, nonce string) string {
	var b strings.Builder
	b.WriteString(`umask 077; m=$(uname -s)/$(uname -m); case $m in `)
	for machine, platform := range machines {
		for _, bin := range bins {
			if bin.Platform == platform {
				fmt.Fprintf(&b, `Linux/%s) s=%s; n=%s; a='%s';; `, machine, bin.Hash, bin.Name, bin.Args)
			}
		}
	}
	fmt.Fprintf(&b, `*) echo; echo HOLDFAST-PLATFORM %s "$m"; exit 3;; esac; h=$(printf %%.16s $s); `, nonce)
	b.WriteString(`export HOLDFAST_LOGIN="$1"; if [ "$(id -u)" = 0 ]; then set -- /var/cache /var/lib /run /dev/shm; else set -- "$HOME/.cache" "/run/user/$(id -u)" /var/tmp /dev/shm; fi; `)
	b.WriteString(`for d; do p="$d/holdfast/$h/$n"; if [ -x "$p" ] && [ -O "$p" ] && [ -O "$d/holdfast" ]; then x=$(sha256sum <"$p"); if [ "${x%% *}" = "$s" ]; then exec "$p" $a; fi; rm -f "$p"; fi; done; `)
	b.WriteString(`g=; w=; for d; do t="$d/holdfast/$h"; if mkdir -p "$t" 2>/dev/null && [ -O "$d/holdfast" ] && [ -O "$t" ] && chmod 700 "$d/holdfast" "$t" && printf '#!/bin/sh\nexit 0\n' 2>/dev/null >"$t/.try" && chmod 700 "$t/.try"; then if "$t/.try" 2>/dev/null; then rm -f "$t/.try"; g=$t; break; fi; w="$w $d (noexec)"; rm -f "$t/.try"; rmdir "$t" 2>/dev/null; else w="$w $d (not writable)"; fi; done; `)
	fmt.Fprintf(&b, `if [ -z "$g" ]; then echo; echo HOLDFAST-NOPLACE %[1]s "$w"; exit 3; fi; echo; echo HOLDFAST-PUSH %[1]s "$m" "$g/$n"; `, nonce)
	b.WriteString(`IFS= read -r z && head -c "$z" | gzip -dc >"$g/.new.$$" 2>/dev/null; x=$(sha256sum <"$g/.new.$$"); `)
	fmt.Fprintf(&b, `if [ "${x%%%% *}" != "$s" ]; then f=$(df -Pk "$g" | awk 'NR==2{print $4}'); rm -f "$g/.new.$$"; echo; echo HOLDFAST-DAMAGED %s "$f"; exit 3; fi; `, nonce)
	b.WriteString(`chmod 700 "$g/.new.$$" && mv -f "$g/.new.$$" "$g/$n" && exec "$g/$n" $a`)
	return b.String()
}

// Pushed says what was sent.
type Pushed struct {
	Platform string
	Path     string
	Bytes    int64
	Took     time.Duration
}

// start brings the helper up and reads up to and including the magic line. The
// caller bounds it with the context.
func start(ctx context.Context, conn Conn, bins Binaries, root Root, pushed func(Pushed)) (*bootstrap, error) {
	if len(bins) == 0 {
		return nil, errors.New("internal error: this build has no helper to push")
	}
	// The set-up's context must not end the process that outlives it; what ends the
	// process later is Close, after the helper was told.
	proc, err := conn.Start(context.WithoutCancel(ctx), starter)
	if err != nil {
		return nil, err
	}
	b := &bootstrap{proc: proc, out: bufio.NewReaderSize(proc.Stdout(), 32<<10), nonce: newNonce(), stderr: newTail(proc.Stderr(), 16<<10)}
	stop := context.AfterFunc(ctx, func() { _ = proc.Close() })
	err = b.run(bins, root, pushed)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = proc.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("the helper did not answer in time%s", b.said())
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

func (b *bootstrap) run(bins Binaries, root Root, pushed func(Pushed)) error {
	first := elevate(root, b.nonce) + "\n"
	second := locate(bins, b.nonce) + "\n"
	if !root.Want || root.Password == nil {
		if err := b.send(first + second); err != nil {
			return err
		}
	} else {
		if err := b.send(first); err != nil {
			return err
		}
		if err := b.password(root); err != nil {
			return err
		}
		if err := b.send(second); err != nil {
			return err
		}
	}
	return b.await(bins, pushed)
}

func (b *bootstrap) send(s string) error {
	if _, err := io.WriteString(b.proc.Stdin(), s); err != nil {
		return b.ended()
	}
	return nil
}

// password gives sudo its password when, and only when, it asks with our prompt.
func (b *bootstrap) password(root Root) error {
	asked := b.stderr.watch("HOLDFAST-PASSWORD " + b.nonce)
	answered := make(chan error, 1)
	go func() {
		_, err := b.line("HOLDFAST-FREE")
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-asked:
	}
	pw, err := root.Password()
	if err != nil {
		_ = b.proc.Close()
		<-answered //nolint:errcheck // the other error says more
		return fmt.Errorf("cannot get the password for sudo: %w", err)
	}
	if err := b.send(pw.Reveal() + "\n"); err != nil {
		_ = b.proc.Close()
		<-answered //nolint:errcheck // the other error says more
		return err
	}
	// The second prompt means that the password was wrong; giving it again would
	// only count against the account.
	again := b.stderr.watch("HOLDFAST-PASSWORD " + b.nonce)
	select {
	case err := <-answered:
		return err
	case <-again:
		_ = b.proc.Close()
		<-answered //nolint:errcheck // the other error says more
		return &Denied{Message: "sudo refused the password"}
	}
}

// Denied is the error of a host where the helper could not become root.
type Denied struct{ Message string }

func (d *Denied) Error() string { return d.Message }

// await reads up to the magic line and pushes the helper when asked to.
func (b *bootstrap) await(bins Binaries, pushed func(Pushed)) error {
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
		case "HOLDFAST-PUSH":
			if err := b.push(bins, rest, pushed); err != nil {
				return err
			}
		case "HOLDFAST-PLATFORM":
			return fmt.Errorf("no helper for %s: this build has %s", clean(rest), bins.platforms())
		case "HOLDFAST-NOPLACE":
			return fmt.Errorf("no place for the helper: tried %s", clean(rest))
		case "HOLDFAST-DAMAGED":
			return fmt.Errorf("the helper arrived damaged (%s KiB are free there)", clean(rest))
		}
	}
}

func (bs Binaries) platforms() string {
	var out []string
	for _, b := range bs {
		out = append(out, b.Platform)
	}
	return strings.Join(out, ", ")
}

// line returns the next line that is ours: the magic line or one with our nonce.
// Everything else is noise and kept for errors. A non-empty word waits for that one.
func (b *bootstrap) line(word string) (string, error) {
	for {
		line, err := b.out.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		s := string(line)
		if err != nil {
			b.noise.WriteString(s)
			return "", b.ended()
		}
		if i := strings.Index(s, wire.Magic); i >= 0 && word == "" {
			return s[i:], nil
		}
		if strings.HasPrefix(s, "HOLDFAST-") && strings.Contains(s, " "+b.nonce) && strings.HasPrefix(s, word) {
			return strings.TrimSpace(s), nil
		}
		b.noise.WriteString(s)
		if b.noise.Len() > wire.MaxNoise {
			return "", fmt.Errorf("the login printed more than %d KiB and no helper started%s", wire.MaxNoise>>10, b.said())
		}
	}
}

// push sends the helper for the platform that the target named.
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
		if err := b.send(fmt.Sprintf("%d\n", len(data))); err != nil {
			return err
		}
		if _, err := b.proc.Stdin().Write(data); err != nil {
			return b.ended()
		}
		if pushed != nil {
			pushed(Pushed{platform, clean(path), int64(len(data)), time.Since(began)})
		}
		return nil
	}
	return wire.Violationf("a push for %s was asked for", clean(machine))
}

// ended explains why the far end went away.
func (b *bootstrap) ended() error {
	_ = b.proc.Close()
	text := b.stderr.text()
	for needle, message := range denials {
		if strings.Contains(text, needle) {
			return &Denied{message}
		}
	}
	return fmt.Errorf("the helper did not start%s", b.said())
}

// denials are what sudo says, and what it means. The texts are sudo's own, in C locale.
var denials = map[string]string{
	"a password is required":          "sudo wants a password and none is configured",
	"is not in the sudoers file":      "the account may not use sudo",
	"you must have a tty":             "sudo wants a terminal (requiretty in sudoers)",
	"sudo: not found":                 "sudo is not installed and the account is not root",
	"is not allowed to execute":       "sudo does not let the account run a shell as root",
	"incorrect password attempt":      "sudo refused the password",
	"sudo: command not found":         "sudo is not installed and the account is not root",
	"unable to resolve host":          "sudo cannot resolve the host's own name",
	"This account is currently not a": "the account is not allowed to log in",
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
