// Package openclawreload makes an OpenClaw gateway read its secrets again.
package openclawreload

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct{ params }

type params struct {
	Token     task.SecretText `yaml:"token" validate:"required" doc:"The token that the gateway is to accept."`
	Old       task.SecretText `yaml:"old" doc:"The token before, to ask with; it must be refused afterwards."`
	Port      int64           `yaml:"port" default:"18789" validate:"min=1,max=65535" doc:"The port of the gateway on loopback."`
	IfRunning bool            `yaml:"if_running" default:"false" doc:"Do nothing where nothing listens on the port, instead of failing."`
}

// Result is what the gateway had before.
type Result struct{ result }

type result struct {
	Running  bool   `yaml:"running" json:"running" doc:"Whether something listens on the port."`
	Accepted string `yaml:"accepted" json:"accepted" doc:"What the gateway accepted before: token, old, both or neither."`
	Warnings int64  `yaml:"warnings" json:"warnings" doc:"How many other secrets the gateway could not read again."`
}

// Module makes gateways read their secrets.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "openclaw_reload", Doc: doc,
	Resource: func(p Params) string { return "secrets of the gateway at " + gateway.Address(p.Port) },
	Skip:     skip,
	Run:      run,
	// What the gateway has read is to follow its files, which are not back yet when this is
	// asked. A handler of whoever wrote them sees to it, for which no secret is needed.
	Undo: func(context.Context, task.Writer, Params, Result) error { return nil },
})

func (p *Params) peer(token task.SecretText) *gateway.Peer {
	return &gateway.Peer{Port: p.Port, Token: token}
}

func observe(ctx context.Context, r task.Reader, p *Params) (out Result, err error) {
	if out.Running, err = gateway.Runs(ctx, r, p.Port, !p.IfRunning); err != nil || !out.Running {
		return out, err
	}
	now, err := accepts(ctx, r, p.peer(p.Token))
	if err != nil {
		return out, err
	}
	before := false
	if !p.Old.IsZero() {
		if before, err = accepts(ctx, r, p.peer(p.Old)); err != nil {
			return out, err
		}
	}
	switch {
	case now && before:
		out.Accepted = "both"
	case now:
		out.Accepted = "token"
	case before:
		out.Accepted = "old"
	default:
		out.Accepted = "neither"
	}
	return out, nil
}

// accepts reports whether the gateway lets in whoever has the token. Another reason for
// a refusal is an error: it says nothing about the token.
func accepts(ctx context.Context, r task.Reader, peer *gateway.Peer) (bool, error) {
	err := peer.Ask(ctx, r, "agents.list", struct{}{}, nil, gateway.Read)
	var refusal *gateway.Refusal
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &refusal) && refusal.Outcome == gateway.WrongToken:
		return false, nil
	}
	return false, fmt.Errorf("cannot tell whether the gateway at %s accepts a token: %w", peer.Address(), err)
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	out, err := observe(ctx, r, &p)
	switch {
	case err != nil:
		return "", err
	case !out.Running:
		return "no gateway runs", nil
	case out.Accepted == "token":
		return "the gateway accepts the token", nil
	}
	return "", nil
}

// run asks with the token that the gateway still wants, and looks what it wants then.
func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	out, err := observe(ctx, w, &p)
	if err != nil {
		return out, err
	}
	if out.Accepted != "old" {
		return out, p.wrong(out.Accepted)
	}
	var answer struct {
		WarningCount int64 `json:"warningCount"`
	}
	// The gateway closes connections that the old token opened, this one too, so what it
	// accepts then says more than whether its answer still came.
	asked := p.peer(p.Old).Ask(ctx, w, "secrets.reload", struct{}{}, &answer, gateway.Admin)
	out.Warnings = answer.WarningCount
	after, err := observe(ctx, w, &p)
	if err != nil {
		return out, errors.Join(asked, err)
	}
	if asked != nil && after.Accepted != "token" {
		return out, fmt.Errorf("the gateway at %s does not read its secrets, and goes on with those that it has: %w", gateway.Address(p.Port), asked)
	}
	if after.Accepted != "token" {
		return out, fmt.Errorf("the gateway at %s read its secrets and accepts %s: is the token where it reads it?", gateway.Address(p.Port), spoken[after.Accepted])
	}
	return out, nil
}

var spoken = map[string]string{"old": "only the old token", "both": "the old token still", "neither": "neither the token nor the old one"}

func (p *Params) wrong(accepted string) error {
	address := gateway.Address(p.Port)
	switch {
	case accepted == "both":
		return fmt.Errorf("the gateway at %s accepts both tokens: they are the same, or it wants none", address)
	case p.Old.IsZero():
		return fmt.Errorf("the gateway at %s does not accept the token: give the old one, to ask with", address)
	}
	return fmt.Errorf("the gateway at %s accepts neither the token nor the old one: nobody here may ask it; a restart makes it read its secrets too", address)
}
