// Package openclawhealth looks whether an OpenClaw gateway works for who calls it.
package openclawhealth

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Port      int64           `yaml:"port" default:"18789" validate:"min=1,max=65535" doc:"The port of the gateway on loopback."`
	Token     task.SecretText `yaml:"token" doc:"The token to log in with; without one, none is sent."`
	Device    task.SecretText `yaml:"device" doc:"The private key of a device: 64 hex digits, or PKCS #8 as PEM."`
	Scopes    []string        `yaml:"scopes" doc:"The scopes to ask for; operator.read when not given."`
	Forwarded *string         `yaml:"forwarded" doc:"Come as this client behind the proxy on this host, not as the host itself."`
	Origin    *string         `yaml:"origin" doc:"Come as a page of this origin."`
	Expect    []string        `yaml:"expect" validate:"min=1" doc:"The outcomes that are right, all others fail; ok when not given."`
}

// Result is what was seen.
type Result struct {
	Outcome   string   `yaml:"outcome" json:"outcome" doc:"How it ended, such as ok, not paired or wrong token; the document has them all."`
	Detail    string   `yaml:"detail" json:"detail" doc:"What the gateway says of it."`
	Live      bool     `yaml:"live" json:"live" doc:"Whether /healthz answers."`
	Started   bool     `yaml:"started" json:"started" doc:"Whether /startupz says so."`
	Ready     bool     `yaml:"ready" json:"ready" doc:"Whether /readyz says so."`
	Failing   []string `yaml:"failing" json:"failing" doc:"What /readyz names as failing."`
	Version   string   `yaml:"version" json:"version" doc:"The version that the gateway says it has."`
	DeviceID  string   `yaml:"device_id" json:"device_id" doc:"The name of the device, made from its public key."`
	PublicKey string   `yaml:"public_key" json:"public_key" doc:"The public key of the device."`
	RequestID string   `yaml:"request_id" json:"request_id" doc:"The pairing that now waits for somebody, with not paired."`
	Agents    []Agent  `yaml:"agents" json:"agents" doc:"The agents that it has, with ok."`
}

// Agent is one of the gateway's agents.
type Agent struct {
	Name      string   `yaml:"name" json:"name" doc:"Its name."`
	Model     string   `yaml:"model" json:"model" doc:"The model that it asks first, as provider/model."`
	Fallbacks []string `yaml:"fallbacks" json:"fallbacks" doc:"The models that it asks when that does not answer, in this order."`
	Unknown   []string `yaml:"unknown" json:"unknown" doc:"Those of its models that the gateway has no entry for."`
}

// Module looks at gateways.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "openclaw_health", Doc: doc, ReadOnly: true,
	Validate: validate,
	Resource: func(p Params) string { return p.address() },
	Run:      run,
})

func (p *Params) address() string { return gateway.Address(p.Port) }

func validate(p Params) error {
	for i, name := range p.Expect {
		if !slices.Contains(gateway.Outcomes, gateway.Outcome(name)) {
			return task.FieldErrorf(fmt.Sprintf("expect[%d]", i), "%q is no outcome", name)
		}
	}
	for field, text := range map[string]*string{"forwarded": p.Forwarded, "origin": p.Origin} {
		if text != nil && (*text == "" || strings.ContainsAny(*text, "\r\n \x00")) {
			return task.FieldErrorf(field, "want one word")
		}
	}
	return nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	var out Result
	if err := out.look(ctx, w, &p); err != nil {
		return out, err
	}
	expect := p.Expect
	if expect == nil {
		expect = []string{string(gateway.OK)}
	}
	if !slices.Contains(expect, out.Outcome) {
		return out, fmt.Errorf("the gateway at %s: %s, want %s: %s", p.address(), out.Outcome, strings.Join(expect, " or "), out.Detail)
	}
	if out.Outcome == string(gateway.OK) && !out.Ready {
		return out, fmt.Errorf("the gateway at %s answers and is not ready: failing: %s", p.address(), strings.Join(out.Failing, ", "))
	}
	return out, nil
}

// look asks as little as shows how it is.
func (out *Result) look(ctx context.Context, r task.Reader, p *Params) error {
	runs, err := gateway.Runs(ctx, r, p.Port, false)
	if err != nil {
		return err
	}
	if !runs {
		out.Outcome, out.Detail = string(gateway.Unreachable), "nothing listens there"
		return nil
	}
	if err := out.probes(ctx, r, p.address()); err != nil {
		return err
	}
	if !out.Live {
		out.Outcome, out.Detail = string(gateway.Unreachable), "/healthz does not answer as a gateway does"
		return nil
	}
	o, err := p.options(out)
	if err != nil {
		return err
	}
	return out.call(ctx, r, o)
}

func (p *Params) options(out *Result) (gateway.Options, error) {
	o := gateway.Options{Address: p.address(), Token: p.Token, Scopes: p.Scopes}
	if o.Scopes == nil {
		o.Scopes = []string{gateway.Read}
	}
	if p.Forwarded != nil {
		o.Forwarded = *p.Forwarded
	}
	if p.Origin != nil {
		o.Origin = *p.Origin
	}
	if p.Device.IsZero() {
		return o, nil
	}
	var err error
	if o.Identity, err = gateway.NewIdentity(p.Device); err != nil {
		return o, err
	}
	out.DeviceID, out.PublicKey = o.Identity.ID, o.Identity.Public
	return o, nil
}

const maxProbe = 64 << 10

// probes asks what needs no login. That they do not answer shows in the call as well.
func (out *Result) probes(ctx context.Context, r task.Reader, address string) error {
	for _, probe := range []struct {
		path string
		into *bool
	}{{"/healthz", &out.Live}, {"/startupz", &out.Started}, {"/readyz", &out.Ready}} {
		answer, err := r.Fetch(ctx, task.Request{Method: "GET", URL: "http://" + address + probe.path, MaxBody: maxProbe})
		if errors.Is(err, task.ErrUnknown) || ctx.Err() != nil {
			return err
		}
		var body struct {
			OK, Ready bool
			Failing   []any
		}
		// Any page is answered with 200 and HTML where the gateway's interface is on.
		if err != nil || json.Unmarshal(answer.Body, &body) != nil {
			continue
		}
		*probe.into = answer.Status == 200 && (body.OK || body.Ready)
		for _, what := range body.Failing[:min(len(body.Failing), 20)] {
			out.Failing = append(out.Failing, gateway.Printable(fmt.Sprint(what)))
		}
	}
	return nil
}

// call logs in and asks for what a client that may read can have.
func (out *Result) call(ctx context.Context, r task.Reader, o gateway.Options) error {
	c, err := gateway.Open(ctx, r, o)
	if err == nil {
		out.Version = c.Version
		err = out.list(c)
		_ = c.Close() // all was asked
	}
	var refusal *gateway.Refusal
	switch {
	case err == nil:
		out.Outcome = string(gateway.OK)
	case errors.As(err, &refusal):
		out.Outcome, out.Detail, out.RequestID = string(refusal.Outcome), refusal.Error(), refusal.RequestID
	default:
		return err
	}
	return nil
}

// list asks for the agents and looks whether their models are known. A short name of a
// model is answered with what it stands for.
func (out *Result) list(c *gateway.Conn) error {
	var lists struct {
		Agents []struct {
			ID    string
			Model struct {
				Primary   string
				Fallbacks []string
			}
		}
	}
	if err := c.Ask("agents.list", map[string]any{}, &lists); err != nil {
		return err
	}
	for _, a := range lists.Agents {
		agent := Agent{Name: gateway.Printable(a.ID), Model: gateway.Printable(a.Model.Primary)}
		for _, model := range a.Model.Fallbacks {
			agent.Fallbacks = append(agent.Fallbacks, gateway.Printable(model))
		}
		if err := agent.compare(c, a.ID); err != nil {
			return err
		}
		out.Agents = append(out.Agents, agent)
	}
	return nil
}

// compare looks for the agent's models among those that the gateway has for it.
func (a *Agent) compare(c *gateway.Conn, id string) error {
	var known struct {
		Models []struct{ ID, Provider string }
	}
	if err := c.Ask("models.list", map[string]string{"agentId": id, "view": "all"}, &known); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, m := range known.Models {
		names[m.Provider+"/"+m.ID] = true
	}
	for _, model := range append([]string{a.Model}, a.Fallbacks...) {
		if model != "" && !names[model] {
			a.Unknown = append(a.Unknown, model)
		}
	}
	return nil
}
