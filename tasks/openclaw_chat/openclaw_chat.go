// Package openclawchat says something to an agent and waits for its whole answer.
package openclawchat

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct{ params }

type params struct {
	Agent     string          `yaml:"agent" default:"main" doc:"Who is spoken to."`
	Message   string          `yaml:"message" default:"Hello, say hi in 5 words." doc:"What is said."`
	Contains  string          `yaml:"contains" default:"" doc:"What the answer must contain."`
	Token     task.SecretText `yaml:"token" validate:"required" doc:"The token of the gateway."`
	Device    task.SecretText `yaml:"device" doc:"The private key of the device that speaks; without it, the host itself does."`
	Port      int64           `yaml:"port" default:"18789" validate:"min=1,max=65535" doc:"The port of the gateway on loopback."`
	IfRunning bool            `yaml:"if_running" default:"false" doc:"Do nothing where nothing listens on the port, instead of failing."`
}

// Result is what came back.
type Result struct{ result }

type result struct {
	Running bool   `yaml:"running" json:"running" doc:"Whether something listens on the port."`
	Answer  string `yaml:"answer" json:"answer" doc:"The beginning of the answer."`
	Parts   int64  `yaml:"parts" json:"parts" doc:"In how many parts it came."`
	Kept    bool   `yaml:"kept" json:"kept" doc:"Whether the gateway remembers the answer."`
}

// Module speaks to agents.
var Module = task.NewAction(task.ActionDef[Params, Result]{
	Name: "openclaw_chat", Doc: doc, Wait: true,
	Resource: func(p Params) string { return p.Agent + " of the gateway at " + gateway.Address(p.Port) },
	Run:      run,
})

func run(ctx context.Context, w task.Writer, p Params) (out Result, err error) {
	if out.Running, err = gateway.Runs(ctx, w, p.Port, !p.IfRunning); err != nil || !out.Running {
		return out, err
	}
	peer, err := gateway.NewPeer(p.Port, p.Token, p.Device)
	if err != nil {
		return out, err
	}
	c, err := peer.Open(ctx, w, gateway.Read, gateway.Write)
	if err != nil {
		return out, fmt.Errorf("cannot speak to %s: %w", p.Agent, err)
	}
	name := make([]byte, 8)
	_, _ = rand.Read(name) // it never fails
	s := &session{Conn: c, key: "agent:" + p.Agent + ":holdfast-" + hex.EncodeToString(name), run: hex.EncodeToString(name)}
	err = out.converse(s, &p)
	_ = c.Close() // all was said
	// The session was for this alone. Removing one takes more rights than a device may have.
	host := gateway.Peer{Port: p.Port, Token: p.Token}
	if e := host.Ask(ctx, w, "sessions.delete", map[string]string{"key": s.key}, nil, gateway.Admin); err == nil && e != nil {
		err = fmt.Errorf("cannot remove the session %s: %w", s.key, e)
	}
	if err != nil {
		return out, fmt.Errorf("%s does not answer as it should: %w", p.Agent, err)
	}
	return out, nil
}

// session is a talk with an agent.
type session struct {
	*gateway.Conn
	key, run string
}

// said is an event of a talk.
type said struct {
	RunID        string  `json:"runId"`
	State        string  `json:"state"`
	ErrorMessage string  `json:"errorMessage"`
	Message      message `json:"message"`
}

type message struct {
	Role    string `json:"role"`
	Content []struct {
		Text string `json:"text"`
	} `json:"content"`
}

func (m *message) text() string {
	var b strings.Builder
	for _, part := range m.Content {
		b.WriteString(part.Text)
	}
	return b.String()
}

func (out *Result) converse(s *session, p *Params) error {
	if err := s.Ask("chat.send", map[string]string{"sessionKey": s.key, "message": p.Message, "idempotencyKey": s.run}, nil); err != nil {
		return err
	}
	answer, err := out.listen(s)
	if err != nil {
		return err
	}
	out.Answer = gateway.Printable(answer)
	switch {
	case strings.TrimSpace(answer) == "":
		return errors.New("the answer is empty")
	case out.Parts == 0:
		return errors.New("the answer came as a whole and not in parts")
	case !strings.Contains(answer, p.Contains):
		return fmt.Errorf("the answer does not contain %q: %s", p.Contains, out.Answer)
	}
	var history struct{ Messages []json.RawMessage }
	if err := s.Ask("chat.history", map[string]any{"sessionKey": s.key, "limit": 10}, &history); err != nil {
		return err
	}
	for _, text := range history.Messages {
		var m message // what people say is text alone, and no message of this form
		out.Kept = out.Kept || json.Unmarshal(text, &m) == nil && m.Role == "assistant" && m.text() == answer
	}
	if !out.Kept {
		return errors.New("the gateway does not remember the answer")
	}
	return nil
}

// listen waits for the end of the answer.
func (out *Result) listen(s *session) (string, error) {
	for {
		event, payload, err := s.Event()
		if err != nil {
			return "", err
		}
		var m said
		if event != "chat" || json.Unmarshal(payload, &m) != nil || m.RunID != s.run {
			continue
		}
		switch m.State {
		case "delta":
			out.Parts++
		case "final":
			return m.Message.text(), nil
		case "error", "aborted":
			return "", fmt.Errorf("the answer ended as %s: %s", m.State, gateway.Printable(m.ErrorMessage))
		}
	}
}
