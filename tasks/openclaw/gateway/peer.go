package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// Outside is an address for documentation (RFC 5737). Who comes through a proxy as it is
// somebody from elsewhere to the gateway, and never approved for being near.
const Outside = "203.0.113.7"

// Scopes that calls need.
const (
	Admin   = "operator.admin"
	Pairing = "operator.pairing"
	Read    = "operator.read"
	Write   = "operator.write"
)

// Peer is somebody who talks to the gateway on a host: the host itself with the token
// alone, which needs no device, or a device, which comes from outside.
type Peer struct {
	Port     int64
	Token    secret.Text
	Identity *Identity
}

// NewPeer is the device with a private key, or the host itself when that is empty.
func NewPeer(port int64, token, device secret.Text) (*Peer, error) {
	p := &Peer{Port: port, Token: token}
	if device.IsZero() {
		return p, nil
	}
	var err error
	p.Identity, err = NewIdentity(device)
	return p, err
}

// Address is where the gateway is.
func (p *Peer) Address() string { return Address(p.Port) }

// Address is where the gateway with a port is.
func Address(port int64) string { return "127.0.0.1:" + strconv.FormatInt(port, 10) }

// Open connects with scopes.
func (p *Peer) Open(ctx context.Context, r task.Reader, scopes ...string) (*Conn, error) {
	o := Options{Address: p.Address(), Token: p.Token, Identity: p.Identity, Scopes: scopes}
	if p.Identity != nil {
		o.Forwarded = Outside
	}
	return Open(ctx, r, o)
}

// Ask connects with scopes, makes one call, and reads its answer into out unless that is nil.
func (p *Peer) Ask(ctx context.Context, r task.Reader, method string, params, out any, scopes ...string) error {
	c, err := p.Open(ctx, r, scopes...)
	if err != nil {
		return err
	}
	err = c.Ask(method, params, out)
	_ = c.Close() // all was asked
	return err
}

// Ask makes a call and reads its answer into out unless that is nil.
func (c *Conn) Ask(method string, params, out any) error {
	answer, err := c.Call(method, params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the answer to %s cannot be read: %w", method, err)
	}
	return nil
}

// Event returns the next event that the gateway tells. What else comes is passed over.
func (c *Conn) Event() (name string, payload json.RawMessage, err error) {
	for {
		m, err := c.receive()
		if err != nil {
			return "", nil, judge(err)
		}
		if m.Type == "event" {
			return m.Event, m.Payload, nil
		}
	}
}

// Runs reports whether something listens on the port of a gateway. Where nothing does
// and nothing must, that is no error.
func Runs(ctx context.Context, r task.Reader, port int64, must bool) (bool, error) {
	sockets, err := r.Listeners(ctx)
	if err != nil {
		return false, err
	}
	runs := slices.ContainsFunc(sockets, func(l task.Listener) bool { return l.Proto == "tcp" && l.Port == port })
	if !runs && must {
		return false, fmt.Errorf("cannot ask the gateway: nothing listens at %s", Address(port))
	}
	return runs, nil
}
