package render

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Width returns how many columns the terminal f has, 80 when it does not say.
func Width(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// Height returns how many rows the terminal f has, 24 when it does not say.
func Height(f *os.File) int {
	if _, h, err := term.GetSize(int(f.Fd())); err == nil && h > 0 {
		return h
	}
	return 24
}

// ReadSecret asks for a line that is not shown. It ends early when stop is closed;
// the terminal is as before then.
func ReadSecret(in *os.File, prompt io.Writer, text string, stop <-chan struct{}) (string, error) {
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(prompt, text); err != nil {
		return "", err
	}
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		read <- line{b, err}
	}()
	defer fmt.Fprintln(prompt)
	select {
	case l := <-read:
		return string(l.text), l.err
	case <-stop:
		return "", errors.Join(errors.New("interrupted"), term.Restore(fd, before))
	}
}
