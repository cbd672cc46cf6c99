package remote_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/runner/remote"
	"holdfast/tasks/secret"
)

const password = "correct horse 17"

// fakeSudo does what sudo(8) does with -n, -S, -p and --, as far as anybody can see
// from outside. It becomes nobody else.
const fakeSudo = `#!/bin/sh
echo "$*" >>"$HOME/calls"
[ ! -e "$HOME/warns" ] || echo "sudo: unable to resolve host web1: Name or service not known" >&2
case "$1" in
-n)
	shift; [ "$1" != -- ] || shift
	[ ! -e "$HOME/tty" ] || { echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1; }
	[ ! -e "$HOME/stranger" ] || { echo "adminclaw is not in the sudoers file." >&2; exit 1; }
	[ -e "$HOME/free" ] || { echo "sudo: a password is required" >&2; exit 1; }
	exec "$@" ;;
-S)
	prompt=$3; shift 4
	for i in 1 2 3; do
		printf '%s' "$prompt" >&2
		IFS= read -r given || { echo >&2; echo "sudo: no password was provided" >&2; exit 1; }
		echo "$i" >>"$HOME/asked"
		sleep 0.1
		read -r right <"$HOME/password"
		[ "$given" != "$right" ] || exec "$@"
		[ ! -e "$HOME/once" ] || break
		echo "Sorry, try again." >&2
	done
	echo "sudo: 1 incorrect password attempt" >&2
	exit 1 ;;
esac
exit 2
`

func sudoTarget(t *testing.T, marks ...string) *target {
	t.Helper()
	c := newTarget(t)
	c.path = filepath.Dir(c.file(t, "bin/sudo", fakeSudo))
	c.file(t, "password", password+"\n")
	for _, m := range marks {
		c.file(t, m, "")
	}
	return c
}

func given(text string) func() (secret.Text, error) {
	return func() (secret.Text, error) { return secret.New(text), nil }
}

func lines(t *testing.T, c *target, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.home, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestSudoThatAsksForNothing(t *testing.T) {
	for _, root := range []remote.Root{{Want: true}, {Want: true, Password: given(password)}} {
		c := sudoTarget(t, "free", "warns")
		open(t, c, script(t, "root"), root).works(t, "root")
		if got := lines(t, c, "asked"); got[0] != "" {
			t.Errorf("with a password at hand %t: sudo read %q", root.Password != nil, got)
		}
	}
	// Root needs no sudo, and none is there.
	c := newTarget(t)
	c.root = true
	open(t, c, script(t, "root"), remote.Root{Want: true}).works(t, "root")
	open(t, c, script(t, "root"), remote.Root{Want: true, Password: given(password)}).works(t, "root")
}

func TestSudoThatRefuses(t *testing.T) {
	tests := []struct {
		name       string
		marks      []string
		password   func() (secret.Text, error)
		want, hint string
	}{
		{name: "password wanted", marks: []string{"warns"}, want: "sudo wants a password and none is configured", hint: "sudo: {password: env:NAME}"},
		{name: "stranger", marks: []string{"stranger"}, want: "the account may not use sudo", hint: "sudoers"},
		{name: "terminal wanted", marks: []string{"tty"}, want: "sudo wants a terminal", hint: "requiretty"},
		{name: "wrong password", password: given("wrong"), want: "sudo refused the password", hint: "sudo.password"},
		{name: "wrong password, one attempt", marks: []string{"once"}, password: given("wrong"), want: "sudo refused the password", hint: "sudo.password"},
		{name: "empty password", password: given(""), want: "sudo refused the password", hint: "sudo.password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := sudoTarget(t, tt.marks...)
			o := open(t, c, script(t, ""), remote.Root{Want: true, Password: tt.password})
			o.fails(t, tt.want)
			var d *remote.Denied
			if !errors.As(o.err, &d) || !strings.Contains(d.Hint(), tt.hint) {
				t.Errorf("got %#v, want a Denied with the hint %q", o.err, tt.hint)
			}
			if got := lines(t, c, "asked"); len(got) > 1 {
				t.Errorf("the password was given %d times, which counts against the account", len(got))
			}
		})
	}
	c := newTarget(t)
	o := open(t, c, script(t, ""), remote.Root{Want: true})
	o.fails(t, "sudo is not installed and the account is not root")
	// Without a wish for root, sudo's words are only words.
	c = newTarget(t)
	noisy(t, c, "echo 'sudo: a password is required' >&2; exit 1")
	o = open(t, c, script(t, ""), remote.Root{})
	var d *remote.Denied
	if errors.As(o.err, &d) {
		t.Errorf("got %v, want no Denied", o.err)
	}
}

func TestPasswordsThatAreNoLine(t *testing.T) {
	c := sudoTarget(t)
	open(t, c, script(t, "root"), remote.Root{Want: true, Password: given(password + "\n")}).works(t, "root")
	for _, text := range []string{password + "\ntouch $HOME/owned", "a\x00b"} {
		c := sudoTarget(t)
		open(t, c, script(t, ""), remote.Root{Want: true, Password: given(text)}).fails(t, "it has more than one line")
		if exists(filepath.Join(c.home, "owned")) {
			t.Error("the second line of a password was run")
		}
	}
	c = sudoTarget(t)
	o := open(t, c, script(t, ""), remote.Root{Want: true, Password: func() (secret.Text, error) { return secret.Text{}, errors.New("no such variable") }})
	o.fails(t, "cannot get the password for sudo: no such variable")
}

// The password is in no argument and no environment of any process, at any time.
func TestPasswordIsNowhereToBeSeen(t *testing.T) {
	c := sudoTarget(t)
	stop := make(chan struct{})
	var found []string
	var looked atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			found = append(found, search(password)...)
			looked.Add(1)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	// A login is short, and a busy machine looks seldom: it logs in until it was looked at.
	for range 20 {
		o := open(t, c, script(t, "root"), remote.Root{Want: true, Password: given(password)})
		o.works(t, "root")
		if looked.Load() >= 3 || t.Failed() {
			break
		}
	}
	close(stop)
	wg.Wait()
	if len(found) > 0 || looked.Load() < 3 {
		t.Errorf("the password was seen in %v; looked %d times", slices.Compact(found), looked.Load())
	}
	for _, call := range lines(t, c, "calls") {
		if strings.Contains(call, password) {
			t.Errorf("sudo was called with %q", call)
		}
	}
}

// search returns the files of processes that hold a text.
func search(text string) []string {
	var out []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), text) {
				out = append(out, name)
			}
		}
	}
	return out
}
