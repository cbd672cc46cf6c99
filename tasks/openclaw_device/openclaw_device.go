// Package openclawdevice pairs devices with an OpenClaw gateway, and takes them and
// their tokens away.
package openclawdevice

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct{ params }

type params struct {
	Device    task.SecretText `yaml:"device" doc:"The private key of the device: 64 hex digits, or PKCS #8 as PEM."`
	ID        string          `yaml:"id" default:"" doc:"The name of a device whose key is not here: 64 hex digits."`
	PublicKey string          `yaml:"public_key" default:"" doc:"The public key of a device that is somebody's, such as a browser, as requests tell it. Its name follows from it."`
	State     string          `yaml:"state" default:"paired" validate:"oneof=paired absent rotated revoked listed" doc:"What is to be; listed only looks."`
	Scopes    []string        `yaml:"scopes" validate:"min=1" doc:"What the device may do, and nothing else: operator.read, operator.write."`
	Since     *task.Path      `yaml:"since" doc:"With rotated: a file; tokens that are younger than it stay."`
	Token     task.SecretText `yaml:"token" validate:"required" doc:"The token of the gateway."`
	Port      int64           `yaml:"port" default:"18789" validate:"min=1,max=65535" doc:"The port of the gateway on loopback."`
	IfRunning bool            `yaml:"if_running" default:"false" doc:"Do nothing where nothing listens on the port, instead of failing."`
}

// State is what the gateway had before, or has when it is only looked at.
type State struct{ state }

type state struct {
	Running   bool      `yaml:"running" json:"running" doc:"Whether something listens on the port."`
	DeviceID  string    `yaml:"device_id" json:"device_id" doc:"The name of the device, made from its public key."`
	PublicKey string    `yaml:"public_key" json:"public_key" doc:"The public key of the device."`
	Known     bool      `yaml:"known" json:"known" doc:"Whether the gateway has the device in its list."`
	Outcome   string    `yaml:"outcome" json:"outcome" doc:"What the device is answered when it connects from outside."`
	RequestID string    `yaml:"request_id" json:"request_id" doc:"The request of this very device, key and scopes, that can be approved."`
	Unknown   int64     `yaml:"unknown" json:"unknown" doc:"How many other requests wait for somebody."`
	Requests  []Request `yaml:"requests" json:"requests" doc:"All requests that wait."`
	Devices   []Device  `yaml:"devices" json:"devices" doc:"All devices that are paired."`
	tokens    []token   `yaml:"-"`
	beyond    []string  `yaml:"-"` // scopes that it asks for and may not have
}

// Request is somebody who wants to be paired.
type Request struct {
	ID        string   `yaml:"id" json:"id" doc:"What it is approved by."`
	DeviceID  string   `yaml:"device_id" json:"device_id" doc:"The name of the device."`
	PublicKey string   `yaml:"public_key" json:"public_key" doc:"Its public key."`
	Client    string   `yaml:"client" json:"client" doc:"The program that it says it is."`
	Address   string   `yaml:"address" json:"address" doc:"Where it comes from."`
	Scopes    []string `yaml:"scopes" json:"scopes" doc:"What it wants to do."`
	Repair    bool     `yaml:"repair" json:"repair" doc:"Whether the gateway knows the device already."`
	Age       int64    `yaml:"age_seconds" json:"age_seconds" doc:"How long it waits."`
}

// Device is a paired device.
type Device struct {
	ID        string   `yaml:"id" json:"id" doc:"Its name."`
	PublicKey string   `yaml:"public_key" json:"public_key" doc:"Its public key."`
	Client    string   `yaml:"client" json:"client" doc:"The program that it says it is."`
	Address   string   `yaml:"address" json:"address" doc:"Where it came from."`
	Scopes    []string `yaml:"scopes" json:"scopes" doc:"What it may do."`
	Tokens    int64    `yaml:"tokens" json:"tokens" doc:"How many tokens of its own it has."`
	TokenDays int64    `yaml:"token_days" json:"token_days" doc:"Whole days since the oldest of them was made, -1 without one."`
}

// Module pairs devices.
var Module = task.NewAction(task.ActionDef[Params, State]{
	Name: "openclaw_device", Doc: doc,
	Validate:     validate,
	Resource:     resource,
	Reads:        func(p Params) bool { return p.State == "listed" },
	Skip:         skip,
	Run:          run,
	Irreversible: "an undo has no secrets, so it cannot ask the gateway; a task with the other state takes it back",
})

var (
	scopeRule = regexp.MustCompile(`^[a-z]+\.[a-z.]+$`)
	idRule    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func resource(p Params) string { return "device of the gateway at " + gateway.Address(p.Port) }

func validate(p Params) error {
	for i, scope := range p.Scopes {
		if !scopeRule.MatchString(scope) {
			return task.FieldErrorf(fmt.Sprintf("scopes[%d]", i), "%q is no scope, such as operator.read", scope)
		}
	}
	named := !p.Device.IsZero() || p.ID != ""
	switch {
	case p.ID != "" && !idRule.MatchString(p.ID):
		return task.FieldErrorf("id", "%q is no name of a device: want 64 hex digits", p.ID)
	case p.PublicKey != "" && (p.State != "paired" || !p.Device.IsZero()):
		return task.FieldErrorf("public_key", "only a device whose own key is not here is paired by it")
	case p.PublicKey != "":
		if _, err := gateway.DeviceID(p.PublicKey); err != nil {
			return task.FieldErrorf("public_key", "%s", err)
		}
	case p.State == "paired" && p.Device.IsZero():
		return task.FieldErrorf("device", "a device is paired by its key alone, or by public_key")
	}
	switch {
	case p.State == "paired" && p.ID != "":
		return task.FieldErrorf("id", "a device is paired by its key alone, which its name follows from")
	case p.State == "paired" && len(p.Scopes) == 0:
		return task.FieldErrorf("scopes", "missing, say what the device may do")
	case (p.State == "absent" || p.State == "revoked") && !named:
		return task.FieldErrorf("device", "missing, give its key, or its name as id")
	case p.Since != nil && p.State != "rotated":
		return task.FieldErrorf("since", "only tokens that are rotated have one")
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p *Params) (s State, err error) {
	if s.Running, err = gateway.Runs(ctx, r, p.Port, !p.IfRunning); err != nil || !s.Running {
		return s, err
	}
	s.DeviceID = p.ID
	if p.PublicKey != "" {
		s.PublicKey = p.PublicKey
		if s.DeviceID, err = gateway.DeviceID(p.PublicKey); err != nil {
			return s, err
		}
	}
	if !p.Device.IsZero() {
		id, err := gateway.NewIdentity(p.Device)
		if err != nil {
			return s, err
		}
		s.DeviceID, s.PublicKey = id.ID, id.Public
		if p.State == "paired" {
			if err := s.knock(ctx, r, p, id); err != nil {
				return s, err
			}
		}
	}
	return s, s.list(ctx, r, p)
}

// knock connects as the device. That it is not known makes the request that is approved.
func (s *State) knock(ctx context.Context, r task.Reader, p *Params, id *gateway.Identity) error {
	peer := gateway.Peer{Port: p.Port, Token: p.Token, Identity: id}
	c, err := peer.Open(ctx, r, p.Scopes...)
	var refusal *gateway.Refusal
	switch {
	case err == nil:
		s.Outcome = string(gateway.OK)
		return c.Close()
	case !errors.As(err, &refusal):
		return err
	case refusal.Outcome != gateway.NotPaired:
		return fmt.Errorf("cannot pair the device at %s: %w", peer.Address(), refusal)
	}
	s.Outcome, s.RequestID = string(refusal.Outcome), refusal.RequestID
	return nil
}

// row is a device in the gateway's lists.
type row struct {
	RequestID string  `json:"requestId"`
	DeviceID  string  `json:"deviceId"`
	PublicKey string  `json:"publicKey"`
	ClientID  string  `json:"clientId"`
	RemoteIP  string  `json:"remoteIp"`
	Role      string  `json:"role"`
	IsRepair  bool    `json:"isRepair"`
	TS        int64   `json:"ts"`
	Tokens    []token `json:"tokens"`

	Scopes []string `json:"scopes"`
}

// token is a token of a device. The gateway tells when it was made, and not what it is.
type token struct {
	device    string
	Role      string `json:"role"`
	CreatedAt int64  `json:"createdAtMs"`
	RotatedAt int64  `json:"rotatedAtMs"`
	RevokedAt int64  `json:"revokedAtMs"`
}

func (t *token) made() time.Time { return time.UnixMilli(max(t.CreatedAt, t.RotatedAt)) }

// list asks what the gateway knows.
func (s *State) list(ctx context.Context, r task.Reader, p *Params) error {
	var lists struct{ Pending, Paired []row }
	peer := gateway.Peer{Port: p.Port, Token: p.Token}
	if err := peer.Ask(ctx, r, "device.pair.list", struct{}{}, &lists, gateway.Pairing); err != nil {
		return fmt.Errorf("cannot list the devices of the gateway at %s: %w", peer.Address(), err)
	}
	since, err := p.since(ctx, r)
	if err != nil {
		return err
	}
	asked := s.RequestID
	s.RequestID, s.Requests, s.Devices = "", []Request{}, []Device{}
	for i := range lists.Pending {
		s.request(p, asked, &lists.Pending[i])
	}
	for i := range lists.Paired {
		s.device(p, &lists.Paired[i], since)
	}
	return nil
}

// request takes note of one that waits. It counts as the device's only with the device's
// own name and key, and when it asks for no more than the device may have.
func (s *State) request(p *Params, asked string, w *row) {
	s.Requests = append(s.Requests, Request{ID: printable(w.RequestID), DeviceID: printable(w.DeviceID), PublicKey: printable(w.PublicKey), Client: printable(w.ClientID),
		Address: printable(w.RemoteIP), Scopes: allPrintable(w.Scopes), Repair: w.IsRepair, Age: int64(time.Since(time.UnixMilli(w.TS)) / time.Second)})
	beyond := slices.DeleteFunc(slices.Clone(w.Scopes), func(scope string) bool { return slices.Contains(p.Scopes, scope) })
	switch {
	case w.DeviceID != s.DeviceID || w.PublicKey != s.PublicKey:
		s.Unknown++
	case w.Role != "operator" || p.PublicKey == "" && (asked == "" || w.RequestID != asked):
	case len(beyond) > 0:
		s.beyond = allPrintable(beyond)
	default:
		s.RequestID = w.RequestID
	}
}

// device takes note of one that is paired, and of its tokens that are to go.
func (s *State) device(p *Params, w *row, since time.Time) {
	d := Device{ID: printable(w.DeviceID), PublicKey: printable(w.PublicKey), Client: printable(w.ClientID), Address: printable(w.RemoteIP), Scopes: allPrintable(w.Scopes), TokenDays: -1}
	mine := s.DeviceID == "" || s.DeviceID == w.DeviceID
	s.Known = s.Known || s.DeviceID == w.DeviceID && (p.PublicKey == "" || p.PublicKey == w.PublicKey)
	for _, t := range w.Tokens {
		if t.RevokedAt != 0 {
			continue
		}
		d.Tokens++
		d.TokenDays = max(d.TokenDays, int64(time.Since(t.made())/(24*time.Hour)))
		if mine && (since.IsZero() || t.made().Before(since)) {
			t.device = w.DeviceID
			s.tokens = append(s.tokens, t)
		}
	}
	s.Devices = append(s.Devices, d)
}

func printable(text string) string { return gateway.Printable(text) }

func allPrintable(texts []string) []string {
	out := []string{}
	for _, text := range texts {
		out = append(out, printable(text))
	}
	return out
}

// since is the age that tokens may have, or zero when all are to go.
func (p *Params) since(ctx context.Context, r task.Reader) (time.Time, error) {
	if p.Since == nil {
		return time.Time{}, nil
	}
	info, err := r.Stat(ctx, string(*p.Since))
	switch {
	case err != nil:
		return time.Time{}, err
	case info.Kind != task.KindFile:
		return time.Time{}, fmt.Errorf("cannot tell which tokens are older than %s: there is no such file", *p.Since)
	case info.Modified.IsZero():
		return time.Time{}, task.Unknownf("when %s is written", *p.Since)
	}
	return info.Modified, nil
}

// settled says why there is nothing to do, or nothing.
func (s *State) settled(p *Params) string {
	switch {
	case !s.Running:
		return "no gateway runs"
	case p.State == "absent" && !s.Known:
		return "the device is not known"
	case p.State == "paired" && s.Outcome == string(gateway.OK):
		return "the device is paired"
	case p.PublicKey != "" && s.Known && s.RequestID == "" && len(s.beyond) == 0:
		return "the device is paired"
	case (p.State == "rotated" || p.State == "revoked") && len(s.tokens) == 0:
		return "no device has a token that is to go"
	}
	return ""
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	s, err := observe(ctx, r, &p)
	if err != nil {
		return "", err
	}
	return s.settled(&p), nil
}

// run brings it about and looks again: what the gateway then answers counts.
func run(ctx context.Context, w task.Writer, p Params) (State, error) {
	s, err := observe(ctx, w, &p)
	if err != nil || p.State == "listed" || s.settled(&p) != "" {
		return s, err
	}
	if err := apply(ctx, w, &p, &s); err != nil {
		return s, err
	}
	if p.State == "rotated" && p.Since == nil {
		return s, nil // each is new, and could be rotated again
	}
	after, err := observe(ctx, w, &p)
	if err != nil {
		return s, err
	}
	if after.settled(&p) == "" {
		return s, fmt.Errorf("the device %s is not %s although the gateway says so: it answers %q", s.DeviceID, p.State, after.Outcome)
	}
	return s, nil
}

func apply(ctx context.Context, r task.Reader, p *Params, s *State) error {
	switch p.State {
	case "absent":
		return call(ctx, r, p, "device.pair.remove", map[string]string{"deviceId": s.DeviceID})
	case "paired":
		if s.RequestID == "" {
			return fmt.Errorf("cannot pair the device %s: %s", s.DeviceID, s.missing(p))
		}
		return call(ctx, r, p, "device.pair.approve", map[string]string{"requestId": s.RequestID})
	}
	method := map[string]string{"rotated": "device.token.rotate", "revoked": "device.token.revoke"}[p.State]
	for _, t := range s.tokens {
		if err := call(ctx, r, p, method, map[string]string{"deviceId": t.device, "role": t.Role}); err != nil {
			return err
		}
	}
	return nil
}

// missing says why there is no request that could be approved.
func (s *State) missing(p *Params) string {
	switch {
	case p.PublicKey == "":
		return "no request that waits has its name, its key and no other scopes"
	case len(s.beyond) > 0:
		return "it asks for " + strings.Join(s.beyond, ", ") + " too; name that in scopes if it may"
	}
	return "no request of it waits; requests end after five minutes, so have it ask again"
}

// call asks for a change. Nobody may approve or rotate what may do more than he himself.
func call(ctx context.Context, r task.Reader, p *Params, method string, params any) error {
	peer := gateway.Peer{Port: p.Port, Token: p.Token}
	if err := peer.Ask(ctx, r, method, params, nil, gateway.Pairing, gateway.Admin); err != nil {
		return fmt.Errorf("cannot change devices of the gateway at %s: %w", peer.Address(), err)
	}
	return nil
}
