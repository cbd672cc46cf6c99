package openclawchat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/tasks/secret"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

// TestChat has an agent that says words, and then how it ended.
func TestChat(t *testing.T) {
	const assistant, person = `{"role":"assistant","content":[{"type":"text","text":"Hi there."}]}`, `{"role":"user","content":"hello"}`
	for name, tt := range map[string]struct {
		parts         int
		final, fails  string
		remembers     string
		contains      string
		refusesToSend bool
	}{
		"fine":          {parts: 2, final: `"state":"final","message":` + assistant, remembers: person + "," + assistant, contains: "Hi"},
		"as a whole":    {final: `"state":"final","message":` + assistant, remembers: assistant, fails: "as a whole"},
		"empty":         {parts: 1, final: `"state":"final"`, fails: "the answer is empty"},
		"something":     {parts: 1, final: `"state":"final","message":` + assistant, contains: "42", fails: "does not contain"},
		"forgotten":     {parts: 1, final: `"state":"final","message":` + assistant, remembers: person, fails: "does not remember"},
		"error":         {final: `"state":"error","errorMessage":"no\u001b money"`, fails: "ended as error: no  money"},
		"aborted":       {final: `"state":"aborted"`, fails: "ended as aborted"},
		"may not speak": {refusesToSend: true, fails: "missing scope"},
	} {
		t.Run(name, func(t *testing.T) {
			deleted := ""
			g := &tasktest.Gateway{Answer: func(c *tasktest.GatewayCall) (any, []string, *tasktest.GatewayRefusal) {
				var p struct{ SessionKey, IdempotencyKey, Key string }
				if err := c.Into(&p); err != nil {
					t.Error(err)
				}
				switch c.Method {
				case "sessions.delete":
					deleted = p.Key
				case "chat.history":
					return json.RawMessage(`{"messages":[` + tt.remembers + `]}`), nil, nil
				case "chat.send":
					if tt.refusesToSend {
						return nil, nil, &tasktest.GatewayRefusal{Message: "missing scope: operator.write"}
					}
					events := []string{`{"type":"event","event":"tick","payload":{}}`, `{"type":"event","event":"chat","payload":{"runId":"another","state":"final"}}`}
					for range tt.parts {
						events = append(events, fmt.Sprintf(`{"type":"event","event":"chat","payload":{"runId":%q,"state":"delta","deltaText":"x"}}`, p.IdempotencyKey))
					}
					return map[string]string{}, append(events, fmt.Sprintf(`{"type":"event","event":"chat","payload":{"runId":%q,%s}}`, p.IdempotencyKey, tt.final)), nil
				}
				return map[string]string{}, nil, nil
			}}
			out, err := run(t.Context(), g.Host(), Params{params{Agent: "main", Message: "hello", Contains: tt.contains, Token: secret.New("t"), Port: 18789}})
			if tt.fails == "" && (err != nil || out.Answer != "Hi there." || out.Parts != 2 || !out.Kept) {
				t.Errorf("got %+v, %v", out, err)
			}
			if tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Errorf("got %v, want %q", err, tt.fails)
			}
			if !strings.HasPrefix(deleted, "agent:main:holdfast-") {
				t.Errorf("the session was not removed: %q", deleted)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":           "token",
		"{token: abc}": "want ${secret(",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
