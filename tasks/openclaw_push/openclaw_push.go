// Package openclawpush sets files of agents, and settings, over the gateway's own protocol.
package openclawpush

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
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
	Agent     string          `yaml:"agent" default:"main" doc:"Whose file it is."`
	File      *string         `yaml:"file" validate:"requires=content,excludes=settings" doc:"The name of a file of the agent, such as IDENTITY.md."`
	Content   *string         `yaml:"content" validate:"requires=file" doc:"The whole content of the file."`
	Settings  *string         `yaml:"settings" doc:"JSON that is put over the settings: objects key by key, null removes, all else replaces."`
	Replace   []string        `yaml:"replace" validate:"requires=settings" doc:"Paths of lists that the settings may shorten."`
	Token     task.SecretText `yaml:"token" validate:"required" doc:"The token of the gateway."`
	Device    task.SecretText `yaml:"device" doc:"The private key of the device that pushes; without it, the host itself does."`
	Port      int64           `yaml:"port" default:"18789" validate:"min=1,max=65535" doc:"The port of the gateway on loopback."`
	IfRunning bool            `yaml:"if_running" default:"false" doc:"Do nothing where nothing listens on the port, instead of failing."`
}

// Result is what became of it.
type Result struct{ result }

type result struct {
	Running bool     `yaml:"running" json:"running" doc:"Whether something listens on the port."`
	Hash    string   `yaml:"hash" json:"hash" doc:"What the gateway calls what was there before; empty when there was nothing."`
	Paths   []string `yaml:"paths" json:"paths" doc:"Which settings changed."`
	same    bool     `yaml:"-"`
}

// Module pushes.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "openclaw_push", Doc: doc,
	Validate:     validate,
	Resource:     func(p Params) string { return p.what() + " of the gateway at " + gateway.Address(p.Port) },
	Skip:         skip,
	Run:          run,
	Irreversible: "an undo has no secrets, so it cannot ask the gateway; push what was there before",
})

func (p *Params) what() string {
	if p.File != nil {
		return *p.File + " of " + p.Agent
	}
	return "settings"
}

func validate(p Params) error {
	if p.File == nil && p.Settings == nil {
		return task.FieldErrorf("file", "there is nothing to push: give file and content, or settings")
	}
	if p.Settings == nil {
		return nil
	}
	tree, err := task.ParseJSON([]byte(*p.Settings))
	if err == nil && !tree.IsObject() {
		err = errors.New("want an object, {…}")
	}
	if err != nil {
		return task.FieldErrorf("settings", "%s", err)
	}
	return nil
}

func observe(ctx context.Context, r task.Reader, p *Params) (out Result, err error) {
	out.Paths = []string{}
	if out.Running, err = gateway.Runs(ctx, r, p.Port, !p.IfRunning); err != nil || !out.Running {
		return out, err
	}
	peer, err := gateway.NewPeer(p.Port, p.Token, p.Device)
	if err != nil {
		return out, err
	}
	if p.File != nil {
		err = out.file(ctx, r, p, peer)
	} else {
		err = out.settings(ctx, r, p, peer)
	}
	return out, err
}

func (out *Result) file(ctx context.Context, r task.Reader, p *Params, peer *gateway.Peer) error {
	var answer struct{ File struct{ Hash string } }
	if err := peer.Ask(ctx, r, "agents.files.get", map[string]string{"agentId": p.Agent, "name": *p.File}, &answer, gateway.Read); err != nil {
		return err
	}
	out.Hash, out.same = gateway.Printable(answer.File.Hash), answer.File.Hash == task.DigestOf([]byte(*p.Content))
	return nil
}

// patch is what config.patch is asked for, and what it answers.
type patch struct {
	Raw          string   `json:"raw"`
	BaseHash     string   `json:"baseHash,omitempty"`
	ReplacePaths []string `json:"replacePaths,omitempty"`
}

type patched struct {
	NoOp         bool     `json:"noop"`
	ChangedPaths []string `json:"changedPaths"`
}

// settings asks for the change without saying what it is a change of. Where there is
// nothing to change the gateway says so, and else it refuses to do it blindly.
func (out *Result) settings(ctx context.Context, r task.Reader, p *Params, peer *gateway.Peer) error {
	c, err := peer.Open(ctx, r, gateway.Admin)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // all was asked
	var now struct {
		Hash   string
		Exists bool
	}
	if err := c.Ask("config.get", struct{}{}, &now); err != nil {
		return err
	}
	if !now.Exists || now.Hash == "" {
		return errors.New("the gateway has no settings that could be changed")
	}
	out.Hash = now.Hash
	var answer patched
	var refusal *gateway.Refusal
	err = c.Ask("config.patch", patch{Raw: *p.Settings, ReplacePaths: p.Replace}, &answer)
	if errors.As(err, &refusal) && strings.Contains(refusal.Message, "base hash required") {
		return nil
	}
	out.same = err == nil && answer.NoOp
	return err
}

func skip(ctx context.Context, r task.Reader, p Params) (string, error) {
	out, err := observe(ctx, r, &p)
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot look at %s: %w", p.what(), err)
	case !out.Running:
		return "no gateway runs", nil
	case out.same:
		return "the gateway has it", nil
	}
	return "", nil
}

func run(ctx context.Context, w task.Writer, p Params) (Result, error) {
	out, err := observe(ctx, w, &p)
	if err != nil || !out.Running || out.same {
		return out, err
	}
	if err := out.push(ctx, w, &p); err != nil {
		return out, fmt.Errorf("cannot push %s: %w", p.what(), err)
	}
	after, err := settled(ctx, w, &p)
	if err == nil && !after.same {
		err = errors.New("the gateway says it took it, and has something else")
	}
	return out, err
}

func (out *Result) push(ctx context.Context, r task.Reader, p *Params) error {
	peer, err := gateway.NewPeer(p.Port, p.Token, p.Device)
	if err != nil {
		return err
	}
	if p.File != nil {
		params := map[string]string{"agentId": p.Agent, "name": *p.File, "content": *p.Content}
		if out.Hash != "" {
			params["expectedHash"] = out.Hash
		}
		return peer.Ask(ctx, r, "agents.files.set", params, nil, gateway.Admin)
	}
	var answer patched
	err = peer.Ask(ctx, r, "config.patch", patch{Raw: *p.Settings, BaseHash: out.Hash, ReplacePaths: p.Replace}, &answer, gateway.Admin)
	var refusal *gateway.Refusal
	if errors.As(err, &refusal) && strings.Contains(refusal.Message, "ReadOnly") {
		return errors.New("its settings belong to whoever deploys it; apply openclaw with settings_locked=false to let others change some")
	}
	for _, path := range answer.ChangedPaths {
		out.Paths = append(out.Paths, gateway.Printable(path))
	}
	return err
}

// How often, and how long after another, a gateway is looked at that starts again
// because of a setting. On a busy machine that takes minutes.
const (
	looks = 120
	pause = 2 * time.Second
)

func settled(ctx context.Context, r task.Reader, p *Params) (out Result, err error) {
	for range looks {
		out, err = observe(ctx, r, p)
		var refusal *gateway.Refusal
		if err == nil && out.Running || err != nil && !errors.As(err, &refusal) && ctx.Err() != nil {
			return out, err
		}
		if refusal != nil && refusal.Outcome != gateway.Starting && refusal.Outcome != gateway.Unreachable {
			return out, err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return out, ctx.Err()
		}
	}
	return out, fmt.Errorf("the gateway does not come back: %w", err)
}
