// Package remote is the near end of a helper: it defines what it needs of a
// connection, puts the helper on the target, shakes hands with it and speaks
// the wire protocol.
package remote

import (
	"context"
	"errors"
	"io"
)

// Conn runs programs on a target as the account that logged in. runner/sshconn
// and runner/local provide it. A Conn may be used by several goroutines.
type Conn interface {
	// Start runs command through the account's login shell, whatever shell that
	// is, so callers keep commands to words that every shell reads alike. The
	// context ends the process early; it does not end the Conn.
	Start(ctx context.Context, command string) (Process, error)
	// Close ends the connection and every process started over it.
	Close() error
	// Describe says where the connection leads and who logged in.
	Describe() Endpoint
}

// Process is one program on the target. Close must be called in the end; it
// follows the ladder of closing input, waiting, signalling and hanging up, so
// that it returns within its own time limits whatever the far end does.
type Process interface {
	Stdin() io.WriteCloser
	Stdout() io.Reader
	Stderr() io.Reader
	// Wait returns the exit status when the process has ended; -1 with an error
	// when it ended without one: [ErrCut] for a lost connection, else a signal.
	Wait() (status int, err error)
	Close() error
	// Abandon is Close for a program that shall go on alone: it lets go of the
	// streams, sends no signal and does not wait.
	Abandon() error
}

// ErrCut says that the connection went away, and nothing of what it carried.
var ErrCut = errors.New("the connection was lost")

// Endpoint says where a connection leads.
type Endpoint struct {
	Host    string // the name in the inventory
	Address string // host:port, or "local"
	User    string // who logged in
	Key     string // fingerprint of the key that logged in, SHA256:…, or empty
	Via     string // the jump hosts, joined by " > ", or empty
	Local   bool
}

// Unreachable is the error of a host that no rung of its ladder could reach. It
// says nothing about the state of the host.
type Unreachable struct {
	Host string
	Err  error
	Hint string // what to try next, or empty
}

func (e *Unreachable) Error() string { return "cannot reach " + e.Host + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Unreachable) Unwrap() error { return e.Err }

// AsUnreachable makes an error of connecting to a host one of [Unreachable], with what
// to do about a key that is not known yet.
func AsUnreachable(host string, err error) error {
	var u *Unreachable
	if errors.As(err, &u) {
		return err
	}
	out := &Unreachable{Host: host, Err: err}
	var k *HostKey
	if errors.As(err, &k) && !k.Changed {
		out.Hint = "compare the fingerprint and record it: holdfast trust " + host
	}
	return out
}

// HostKey is the error of a host whose key is unknown or has changed.
type HostKey struct {
	Host        string
	Address     string
	Fingerprint string // SHA256:… of the key that was offered
	Changed     bool   // known under another key: never overridable
	File        string // the known_hosts file that was read
}

func (e *HostKey) Error() string {
	if e.Changed {
		return "the host key of " + e.Host + " (" + e.Address + ") has changed to " + e.Fingerprint + ", " + e.File + " knows another"
	}
	return "the host key of " + e.Host + " (" + e.Address + ") is not known: " + e.Fingerprint
}
