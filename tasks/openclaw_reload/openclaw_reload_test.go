package openclawreload

import (
	"cmp"
	"strings"
	"testing"

	"holdfast/tasks/secret"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

// TestReload has a gateway that accepts one token, and another after it read its secrets.
func TestReload(t *testing.T) {
	for name, tt := range map[string]struct {
		accepts, then, token, old string
		refuses                   bool // to read
		want, calls               string
	}{
		"to do":              {accepts: "a", then: "b", token: "b", old: "a", want: "old", calls: "agents.list secrets.reload agents.list"},
		"done":               {accepts: "b", token: "b", old: "a", want: "token"},
		"done, no old":       {accepts: "b", token: "b", want: "token"},
		"no old":             {accepts: "a", token: "b", want: "give the old one"},
		"a third":            {accepts: "c", token: "b", old: "a", want: "accepts neither the token nor the old one"},
		"the same":           {accepts: "a", token: "a", old: "a", want: "accepts both tokens"},
		"does not read it":   {accepts: "a", then: "a", token: "b", old: "a", want: "read its secrets and accepts only the old token"},
		"reads a third":      {accepts: "a", then: "c", token: "b", old: "a", want: "read its secrets and accepts neither"},
		"cannot read":        {accepts: "a", token: "b", old: "a", refuses: true, want: "goes on with those that it has"},
		"its answer is lost": {accepts: "a", then: "b", token: "b", old: "a", refuses: true, want: "old"},
		"locked out":         {accepts: "", token: "b", old: "a", want: "cannot tell whether"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &tasktest.Gateway{Enter: func(c *tasktest.GatewayCall) *tasktest.GatewayRefusal {
				code := "AUTH_TOKEN_MISMATCH"
				if tt.accepts == "" {
					code = "AUTH_RATE_LIMITED"
				}
				if c.Token == tt.accepts {
					return nil
				}
				return &tasktest.GatewayRefusal{Code: "INVALID_REQUEST", Details: map[string]string{"code": code}}
			}, Answer: func(c *tasktest.GatewayCall) (any, []string, *tasktest.GatewayRefusal) {
				if c.Method == "secrets.reload" {
					if tt.refuses {
						tt.accepts = cmp.Or(tt.then, tt.accepts)
						return nil, nil, &tasktest.GatewayRefusal{Code: "UNAVAILABLE", Message: "required secrets"}
					}
					tt.accepts = tt.then
				}
				return map[string]any{"ok": true}, nil, nil
			}}
			p := Params{params{Token: secret.New(tt.token), Port: 18789}}
			if tt.old != "" {
				p.Old = secret.New(tt.old)
			}
			h := g.Host()
			why, err := skip(t.Context(), h, p)
			if tt.want == "token" {
				if why == "" || err != nil {
					t.Errorf("got %q, %v, want nothing to do", why, err)
				}
				return
			}
			out, err := run(t.Context(), h, p)
			if err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && out.Accepted != tt.want {
				t.Errorf("got %+v, %v, want %q", out, err, tt.want)
			}
			if tt.calls != "" && !strings.HasSuffix(g.Calls(), tt.calls) {
				t.Errorf("called %q, want %q at the end", g.Calls(), tt.calls)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                  "token",
		"{token: abc}":                        "want ${secret(",
		`{token: "${secret('a')}", port: -1}`: "port",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
