package sshconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
)

// Kind says how far an attempt to log in got.
type Kind string

// The kinds of failed attempts.
const (
	NoName   Kind = "no such name" // the name of the host has no address
	NoRoute  Kind = "no route"     // the network or the jump host does not lead there
	Refused  Kind = "refused"      // nothing listens on the port
	TimedOut Kind = "timed out"    // no answer in time
	HungUp   Kind = "hung up"      // the far end closed the connection before the log-in
	Protocol Kind = "protocol"     // the far end does not speak SSH, or not the way we do
	Denied   Kind = "denied"       // the account or its keys were turned down
	Untrust  Kind = "host key"     // the host key could not be trusted
)

// Attempt is one rung of a ladder that did not hold.
type Attempt struct {
	Rung    Rung
	Address string // host:port
	Kind    Kind
	Err     error

	trusted bool // the host proved itself: other users may have more luck on the port
}

func (a *Attempt) Error() string {
	return a.Rung.User + "@" + a.Address + ": " + a.Err.Error()
}

// Unwrap returns the cause.
func (a *Attempt) Unwrap() error { return a.Err }

// LadderError says of each rung why it did not hold, one line each, in the order
// in which they were tried.
type LadderError struct {
	Attempts []*Attempt
}

func (e *LadderError) Error() string {
	if len(e.Attempts) == 1 {
		return e.Attempts[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "none of %d ways to log in worked", len(e.Attempts))
	for _, a := range e.Attempts {
		b.WriteString("\n  " + a.Error())
	}
	return b.String()
}

// Unwrap returns the attempts.
func (e *LadderError) Unwrap() []error {
	all := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		all[i] = a
	}
	return all
}

// connectKind classifies the error of a TCP connection, direct or through a jump
// host, and puts it in words.
func connectKind(err error, limit time.Duration) (Kind, error) {
	var name *net.DNSError
	var channel *ssh.OpenChannelError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &name):
		return NoName, err
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, errors.New("connection refused")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return NoRoute, errors.New("no route to the host")
	case errors.As(err, &channel):
		return throughHop(channel)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut, fmt.Errorf("no answer within %v", limit)
	case errors.Is(err, io.EOF):
		return NoRoute, errors.New("the connection to the jump host was lost")
	}
	return NoRoute, err
}

func throughHop(err *ssh.OpenChannelError) (Kind, error) {
	said := printable(err.Message, 120)
	switch {
	case err.Reason == ssh.Prohibited:
		return NoRoute, fmt.Errorf("the jump host does not forward: %s", said)
	case strings.Contains(strings.ToLower(said), "refused"):
		return Refused, errors.New("connection refused, says the jump host")
	}
	return NoRoute, fmt.Errorf("the jump host cannot connect: %s", said)
}

// conversation is what was learnt of a server during handshake and log-in.
type conversation struct {
	check    *hostCheck
	methods  []string // how the server lets log in
	banner   string
	watchErr error
}

const maxBanner = 64 << 10

func (c *conversation) hearBanner(text string) error {
	if room := maxBanner - len(c.banner); room > 0 {
		c.banner += text[:min(room, len(text))]
	}
	return nil
}

// kind classifies the error of a handshake or a log-in.
func (c *conversation) kind(err error, creds *credentials) (Kind, error) {
	var step *stepTimeout
	var hostKey *remote.HostKey
	var none *ssh.AlgorithmNegotiationError
	cause := c.watchErr
	trusted, refused := c.check.verdict()
	switch {
	case errors.As(cause, &step):
		return TimedOut, cause
	case cause != nil:
		return HungUp, cause
	case errors.As(refused, &hostKey):
		return Untrust, hostKey
	case refused != nil:
		return Untrust, refused
	case trusted:
		return Denied, c.denied(err, creds)
	case errors.As(err, &none):
		return Protocol, fmt.Errorf("no common algorithm for the %s, the host offers %s",
			none.What, printable(strings.Join(none.RequestedAlgorithms, ", "), 200))
	case hungUp(err):
		return HungUp, errors.New("the connection was closed during the handshake")
	}
	return Protocol, errors.New(printable(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), 200))
}

func (c *conversation) denied(err error, creds *credentials) error {
	text := "permission denied"
	plain := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	switch {
	case hungUp(err):
		text += ", the server closed the connection during the log-in"
	case !strings.Contains(plain, "unable to authenticate"):
		text += ", " + printable(plain, 200)
	}
	text += " (" + creds.offered()
	if len(c.methods) > 0 {
		text += "; the server takes " + printable(strings.Join(c.methods, ", "), 80)
	}
	text += ")"
	if said := printable(c.banner, 200); said != "" {
		text += ", it says: " + said
	}
	return errors.New(text)
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// hintFor says what to try next after all rungs failed.
func hintFor(attempts []*Attempt, creds *credentials) string {
	count := map[Kind]int{}
	for _, a := range attempts {
		count[a.Kind]++
		if strings.Contains(a.Err.Error(), "Too many authentication failures") {
			return "name the right key with keys and set identities_only, so that fewer are offered"
		}
	}
	switch {
	case creds.hint != "" && count[Denied] > 0:
		return creds.hint
	case count[Denied] > 0:
		return "check users and keys, then whether the key is in the account's authorized_keys"
	case count[NoName] > 0:
		return "give the host an address in the inventory"
	case count[Refused]+count[TimedOut]+count[NoRoute] == len(attempts):
		return "check that sshd listens on one of these ports and that no firewall stands between"
	}
	return ""
}
