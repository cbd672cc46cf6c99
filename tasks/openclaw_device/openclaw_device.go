// Package openclawdevice pairs devices with an OpenClaw gateway, and removes them.
package openclawdevice

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Device    task.SecretText `yaml:"device" validate:"required" doc:"The private key of the device: 64 hex digits, or PKCS #8 as PEM."`
	State     string          `yaml:"state" default:"paired" validate:"oneof=paired absent" doc:"Whether the device may connect."`
	Scopes    []string        `yaml:"scopes" validate:"required,min=1" doc:"What the device may do, and nothing else: operator.read, operator.write."`
	Token     task.SecretText `yaml:"token" validate:"required" doc:"The token of the gateway."`
	Port      int64           `yaml:"port" default:"18789" validate:"min=1,max=65535" doc:"The port of the gateway on loopback."`
	User      string          `yaml:"user" default:"openclaw" doc:"The account that the gateway runs as."`
	Program   task.Path       `yaml:"program" default:"/usr/local/bin/openclaw" doc:"The program that approves and removes."`
	IfRunning bool            `yaml:"if_running" default:"false" doc:"Do nothing where nothing listens on the port, instead of failing."`
}

// State is what the gateway had before.
type State struct {
	Running   bool   `yaml:"running" json:"running" doc:"Whether something listens on the port."`
	DeviceID  string `yaml:"device_id" json:"device_id" doc:"The name of the device, made from its public key."`
	PublicKey string `yaml:"public_key" json:"public_key" doc:"The public key of the device."`
	Known     bool   `yaml:"known" json:"known" doc:"Whether the gateway has the device in its list."`
	Outcome   string `yaml:"outcome" json:"outcome" doc:"What the device is answered when it connects from outside."`
	RequestID string `yaml:"request_id" json:"request_id" doc:"The request of this very device, key and scopes, that can be approved."`
	Unknown   int64  `yaml:"unknown" json:"unknown" doc:"How many other requests wait for somebody."`
}

// Module pairs devices.
var Module = task.NewAction(task.ActionDef[Params, State]{
	Name: "openclaw_device", Doc: doc,
	Validate:     validate,
	Resource:     func(p Params) string { return "device of the gateway at " + p.address() },
	Skip:         skip,
	Run:          run,
	Irreversible: "an undo has no secrets, so it cannot ask the gateway; a task with the other state takes it back",
})

var scopeRule = regexp.MustCompile(`^[a-z]+\.[a-z.]+$`)

func (p *Params) address() string { return "127.0.0.1:" + strconv.FormatInt(p.Port, 10) }

func validate(p Params) error {
	for i, scope := range p.Scopes {
		if !scopeRule.MatchString(scope) {
			return task.FieldErrorf(fmt.Sprintf("scopes[%d]", i), "%q is no scope, such as operator.read", scope)
		}
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	var s State
	sockets, err := r.Listeners(ctx)
	if err != nil {
		return s, err
	}
	s.Running = slices.ContainsFunc(sockets, func(l task.Listener) bool { return l.Proto == "tcp" && l.Port == p.Port })
	if !s.Running {
		if p.IfRunning {
			return s, nil
		}
		return s, fmt.Errorf("cannot look at the devices of the gateway: nothing listens at %s", p.address())
	}
	id, err := gateway.NewIdentity(p.Device)
	if err != nil {
		return s, err
	}
	s.DeviceID, s.PublicKey = id.ID, id.Public
	if p.State == "paired" {
		if err := s.knock(ctx, r, &p, id); err != nil {
			return s, err
		}
	}
	return s, s.list(ctx, r, &p)
}

// outside is an address for documentation (RFC 5737), so that the gateway treats the
// device as one that comes from elsewhere, and never approves it for being near.
const outside = "203.0.113.7"

// knock connects as the device. That it is not known makes the request that is approved.
func (s *State) knock(ctx context.Context, r task.Reader, p *Params, id *gateway.Identity) error {
	c, err := gateway.Open(ctx, r, gateway.Options{Address: p.address(), Token: p.Token, Identity: id, Scopes: p.Scopes, Forwarded: outside})
	var refusal *gateway.Refusal
	switch {
	case err == nil:
		s.Outcome = string(gateway.OK)
		return c.Close()
	case !errors.As(err, &refusal):
		return err
	case refusal.Outcome != gateway.NotPaired:
		return fmt.Errorf("cannot pair the device at %s: %w", p.address(), refusal)
	}
	s.Outcome, s.RequestID = string(refusal.Outcome), refusal.RequestID
	return nil
}

// row is a device in the gateway's lists.
type row struct {
	RequestID string   `json:"requestId"`
	DeviceID  string   `json:"deviceId"`
	PublicKey string   `json:"publicKey"`
	Role      string   `json:"role"`
	Scopes    []string `json:"scopes"`
}

func (w *row) is(s *State) bool { return w.DeviceID == s.DeviceID && w.PublicKey == s.PublicKey }

// list asks what the gateway knows. A request counts only with the device's own name and
// key, and when it asks for no more than the device may have.
func (s *State) list(ctx context.Context, r task.Reader, p *Params) error {
	c, err := gateway.Open(ctx, r, gateway.Options{Address: p.address(), Token: p.Token, Scopes: []string{"operator.pairing"}})
	if err != nil {
		return fmt.Errorf("cannot list the devices of the gateway at %s: %w", p.address(), err)
	}
	answer, err := c.Call("device.pair.list", map[string]any{})
	_ = c.Close() // all was asked
	if err != nil {
		return fmt.Errorf("cannot list the devices of the gateway at %s: %w", p.address(), err)
	}
	var lists struct{ Pending, Paired []row }
	if err := json.Unmarshal(answer, &lists); err != nil {
		return fmt.Errorf("cannot read the devices of the gateway at %s: %w", p.address(), err)
	}
	s.Known = slices.ContainsFunc(lists.Paired, func(w row) bool { return w.DeviceID == s.DeviceID })
	asked := s.RequestID
	s.RequestID = ""
	for _, w := range lists.Pending {
		within := !slices.ContainsFunc(w.Scopes, func(scope string) bool { return !slices.Contains(p.Scopes, scope) })
		switch {
		case !w.is(s):
			s.Unknown++
		case w.RequestID == asked && w.Role == "operator" && within:
			s.RequestID = asked
		}
	}
	return nil
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
	}
	return ""
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	s, err := observe(ctx, r, p)
	if err != nil {
		return "", err
	}
	return s.settled(&p), nil
}

// run brings it about and looks again: what the gateway then answers the device counts.
func run(ctx context.Context, w task.Writer, p Params) (State, error) {
	s, err := observe(ctx, w, p)
	if err != nil || s.settled(&p) != "" {
		return s, err
	}
	if err := apply(ctx, w, p, s); err != nil {
		return s, err
	}
	after, err := observe(ctx, w, p)
	if err != nil {
		return s, err
	}
	if after.settled(&p) == "" {
		return s, fmt.Errorf("the device %s is not %s although openclaw says so: the gateway answers %q", s.DeviceID, p.State, after.Outcome)
	}
	return s, nil
}

var requestRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.State == "absent" {
		return call(ctx, w, &p, "remove", s.DeviceID)
	}
	if !requestRule.MatchString(s.RequestID) {
		return fmt.Errorf("cannot pair the device %s: no request that waits has its name, its key and no other scopes", s.DeviceID)
	}
	return call(ctx, w, &p, "approve", s.RequestID)
}

func call(ctx context.Context, w task.Writer, p *Params, what, id string) error {
	// The gateway's own account: as root, the program would leave files that it cannot read.
	out, err := w.Run(ctx, task.Command{Argv: []string{string(p.Program), "devices", what, id, "--json"}, User: p.User, Dir: "/"})
	if err != nil {
		return err
	}
	if out.Status != 0 {
		return fmt.Errorf("cannot %s the device: openclaw exits %d: %s", what, out.Status, gateway.Printable(out.Stderr+" "+out.Stdout))
	}
	return nil
}
