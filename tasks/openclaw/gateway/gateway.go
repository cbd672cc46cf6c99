// Package gateway talks to an OpenClaw gateway as its clients do: WebSocket, protocol 4,
// with a token and, where one is given, the key of a device. It knows what the ways in
// which a gateway refuses somebody mean.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// protocol is the only one that gateways of today speak to operators.
const protocol = 4

// Outcome says how an attempt to talk to a gateway ended.
type Outcome string

// The outcomes.
const (
	OK           Outcome = "ok"
	NotPaired    Outcome = "not paired"    // nobody approved the device, or not for these scopes
	WrongToken   Outcome = "wrong token"   // or none
	MissingScope Outcome = "missing scope" // connected, and not allowed to do it
	Origin       Outcome = "origin"        // a browser from elsewhere
	Protocol     Outcome = "protocol"      // another version of the protocol
	Proxy        Outcome = "proxy"         // it came through a proxy that is not trusted
	LockedOut    Outcome = "locked out"    // too many wrong tokens from this address
	Starting     Outcome = "starting"      // it starts, restarts or drains
	Unreachable  Outcome = "unreachable"   // nothing listens, or something else does
	Refused      Outcome = "refused"       // for another reason
)

// Outcomes are all of them.
var Outcomes = []Outcome{OK, NotPaired, WrongToken, MissingScope, Origin, Protocol, Proxy, LockedOut, Starting, Unreachable, Refused}

// Refusal is the error of a gateway that does not let one in or does not do what it was asked.
type Refusal struct {
	Outcome   Outcome
	Code      string // as the gateway names it
	Message   string
	Reason    string // of a missing pairing: not-paired, scope-upgrade, …
	RequestID string // of the pairing that now waits for somebody
	Close     int    // the code that the connection was closed with, or 0
}

func (r *Refusal) Error() string {
	text := "the gateway says " + string(r.Outcome)
	for _, part := range []string{r.Code, r.Reason, r.Message} {
		if part != "" {
			text += ": " + part
		}
	}
	if r.Close != 0 {
		text += " (close " + strconv.Itoa(r.Close) + ")"
	}
	return text
}

// Options says how to connect.
type Options struct {
	Address  string // host:port
	Token    secret.Text
	Identity *Identity // nil connects as no device
	Scopes   []string
	// Forwarded is the address of a client that a proxy would name. A connection from
	// loopback without it is trusted more than one from outside is.
	Forwarded string
	Origin    string // of a browser
	Protocol  int    // for tests of what old clients see; 0 is the right one
}

// Conn is a connection to a gateway.
type Conn struct {
	s    *socket
	next int
	// Version is that of the gateway.
	Version string
	// Scopes are what was granted.
	Scopes []string
	// DeviceToken is what the gateway gave the device to come back with.
	DeviceToken secret.Text
}

// Open connects and logs in. An error that has to do with the gateway is a *Refusal.
func Open(ctx context.Context, r task.Reader, o Options) (*Conn, error) {
	raw, err := r.Connect(ctx, "tcp", o.Address)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, task.ErrUnknown) {
			return nil, err
		}
		return nil, &Refusal{Outcome: Unreachable, Message: err.Error()}
	}
	c := &Conn{}
	if err := c.enter(raw, &o); err != nil {
		_ = raw.Close() // it is of no use
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, judge(err)
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	_ = c.s.write(opClose, []byte{0x03, 0xE8}) // 1000: it is over
	return c.s.conn.Close()
}

func (c *Conn) enter(raw io.ReadWriteCloser, o *Options) (err error) {
	var header [][2]string
	if o.Forwarded != "" {
		header = append(header, [2]string{"X-Forwarded-For", o.Forwarded}, [2]string{"X-Forwarded-Proto", "https"}, [2]string{"X-Forwarded-Host", o.Address})
	}
	if o.Origin != "" {
		header = append(header, [2]string{"Origin", o.Origin})
	}
	if c.s, err = upgrade(raw, o.Address, header); err != nil {
		return err
	}
	challenge, err := c.challenge()
	if err != nil {
		return err
	}
	payload, err := c.Call("connect", hello(o, challenge))
	if err != nil {
		return err
	}
	var greeting struct {
		Server struct {
			Version string `json:"version"`
		} `json:"server"`
		Auth struct {
			DeviceToken string   `json:"deviceToken"`
			Scopes      []string `json:"scopes"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(payload, &greeting); err != nil {
		return fmt.Errorf("the greeting cannot be read: %w", err)
	}
	c.Version, c.Scopes = Printable(greeting.Server.Version), greeting.Auth.Scopes
	if greeting.Auth.DeviceToken != "" {
		c.DeviceToken = secret.New(greeting.Auth.DeviceToken)
	}
	// Somebody without a device is let in, and may do nothing.
	for _, scope := range o.Scopes {
		if !slices.Contains(c.Scopes, scope) {
			return &Refusal{Outcome: MissingScope, Message: scope + " is not granted, only " + Printable(strings.Join(c.Scopes, ", "))}
		}
	}
	return nil
}

// message is what both sides send.
type message struct {
	Type    string          `json:"type"`
	ID      string          `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Event   string          `json:"event,omitempty"`
	OK      bool            `json:"ok,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Error   *failure        `json:"error,omitempty"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details struct {
		Code      string `json:"code"`
		Reason    string `json:"reason"`
		RequestID string `json:"requestId"`
	} `json:"details"`
}

type challenge struct {
	Nonce string `json:"nonce"`
	TS    int64  `json:"ts"`
}

func (c *Conn) receive() (m message, err error) {
	data, err := c.s.read()
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("a message cannot be read: %w", err)
	}
	return m, nil
}

// challenge waits for what the gateway wants signed.
func (c *Conn) challenge() (out challenge, err error) {
	m, err := c.receive()
	if err != nil {
		return out, err
	}
	if m.Type != "event" || m.Event != "connect.challenge" {
		return out, errors.New("what answers is no gateway: it sends no challenge")
	}
	if err := json.Unmarshal(m.Payload, &out); err != nil || out.Nonce == "" {
		return out, errors.New("the gateway's challenge cannot be read")
	}
	return out, nil
}

// The list of clients that gateways know is fixed.
const (
	clientID   = "gateway-client"
	clientMode = "backend"
	role       = "operator"
	platform   = "linux"
)

func hello(o *Options, c challenge) map[string]any {
	version := o.Protocol
	if version == 0 {
		version = protocol
	}
	scopes := o.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	out := map[string]any{
		"minProtocol": version, "maxProtocol": version, "role": role, "scopes": scopes,
		"client": map[string]string{"id": clientID, "version": "1.0.0", "platform": platform, "mode": clientMode},
	}
	token := ""
	if !o.Token.IsZero() {
		token = strings.TrimSpace(o.Token.Reveal())
		out["auth"] = map[string]string{"token": token}
	}
	if o.Identity != nil {
		signed := strings.Join([]string{"v3", o.Identity.ID, clientID, clientMode, role, strings.Join(scopes, ","),
			strconv.FormatInt(c.TS, 10), token, c.Nonce, platform, ""}, "|")
		out["device"] = map[string]any{"id": o.Identity.ID, "publicKey": o.Identity.Public,
			"signature": o.Identity.sign(signed), "signedAt": c.TS, "nonce": c.Nonce}
	}
	return out
}

// maxEvents bounds what is passed over while an answer is waited for.
const maxEvents = 10000

// Call asks the gateway to do something and returns its answer. A refusal is a *Refusal.
func (c *Conn) Call(method string, params any) (json.RawMessage, error) {
	c.next++
	id := strconv.Itoa(c.next)
	data, err := json.Marshal(message{Type: "req", ID: id, Method: method, Params: params})
	if err != nil {
		return nil, err
	}
	if err := c.s.write(opText, data); err != nil {
		return nil, judge(err)
	}
	for range maxEvents {
		m, err := c.receive()
		if err != nil {
			return nil, judge(err)
		}
		if m.Type != "res" || m.ID != id {
			continue
		}
		if !m.OK {
			return nil, m.Error.refusal()
		}
		return m.Payload, nil
	}
	return nil, judge(fmt.Errorf("no answer to %s within %d messages", method, maxEvents))
}

// outcomes by what the gateway calls them.
var outcomes = map[string]Outcome{
	"NOT_PAIRED": NotPaired, "PAIRING_REQUIRED": NotPaired,
	"AUTH_TOKEN_MISMATCH": WrongToken, "AUTH_TOKEN_MISSING": WrongToken, "AUTH_DEVICE_TOKEN_MISMATCH": WrongToken, "AUTH_REQUIRED": WrongToken, "AUTH_UNAUTHORIZED": WrongToken,
	"CONTROL_UI_ORIGIN_NOT_ALLOWED": Origin,
	"PROTOCOL_MISMATCH":             Protocol,
	"AUTH_RATE_LIMITED":             LockedOut,
	"UNAVAILABLE":                   Starting,
}

func (f *failure) refusal() *Refusal {
	if f == nil {
		return &Refusal{Outcome: Refused, Message: "it does not say why"}
	}
	r := &Refusal{Outcome: Refused, Code: Printable(f.Code), Message: Printable(f.Message), Reason: Printable(f.Details.Reason), RequestID: Printable(f.Details.RequestID)}
	if f.Details.Code != "" {
		r.Code = Printable(f.Details.Code)
	}
	if o, known := outcomes[f.Details.Code]; known {
		r.Outcome = o
	} else if o, known := outcomes[f.Code]; known {
		r.Outcome = o
	} else if strings.Contains(f.Message, "missing scope") {
		r.Outcome = MissingScope
	}
	return r
}

// judge says what an error of the connection means.
func judge(err error) error {
	var (
		r *Refusal
		c *closed
		u *unwelcome
	)
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &c):
		r = &Refusal{Outcome: Refused, Message: c.reason, Close: c.code}
		switch {
		case c.code == 1002:
			r.Outcome = Protocol
		case c.code == 1012 || c.code == 1001 || c.code == 1013:
			r.Outcome = Starting
		case c.code == 1008 && strings.Contains(c.reason, "pairing required"):
			r.Outcome = NotPaired
		}
		return r
	case errors.As(err, &u):
		r = &Refusal{Outcome: Unreachable, Message: u.Error()}
		switch {
		case u.status == 403 && strings.Contains(u.body, "proxy"):
			r.Outcome = Proxy
		case u.status == 429:
			r.Outcome = LockedOut
		case u.status == 503:
			r.Outcome = Starting
		}
		return r
	}
	return &Refusal{Outcome: Unreachable, Message: Printable(err.Error())}
}
