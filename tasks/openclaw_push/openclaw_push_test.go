package openclawpush

import (
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/secret"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

// settingsOf is a gateway with a file and settings. config.patch without a hash is refused
// where it would change something.
type settingsOf struct {
	file, settings string
	locked         bool
	gone           int // how many calls it starts again for, after a change
	fails          string
}

func (g *settingsOf) gateway() *tasktest.Gateway {
	return &tasktest.Gateway{Answer: g.answer, Enter: func(*tasktest.GatewayCall) *tasktest.GatewayRefusal {
		if g.gone > 0 {
			g.gone--
			return &tasktest.GatewayRefusal{Code: "UNAVAILABLE", Message: "starting"}
		}
		return nil
	}}
}

func (g *settingsOf) answer(c *tasktest.GatewayCall) (any, []string, *tasktest.GatewayRefusal) {
	refuse := func(text string) (any, []string, *tasktest.GatewayRefusal) {
		return nil, nil, &tasktest.GatewayRefusal{Code: "INVALID_REQUEST", Message: text}
	}
	var p struct {
		Name, Content, ExpectedHash, Raw, BaseHash string
		ReplacePaths                               []string
	}
	if err := c.Into(&p); err != nil {
		return refuse(err.Error())
	}
	hash := ""
	if g.file != "" {
		hash = task.DigestOf([]byte(g.file))
	}
	switch c.Method {
	case "agents.files.get":
		return map[string]any{"file": map[string]any{"hash": hash}}, nil, nil
	case "agents.files.set":
		if p.ExpectedHash != hash {
			return refuse("agent_file_conflict")
		}
		if g.file = p.Content; g.fails != "" {
			g.file = g.fails
		}
		return map[string]any{"ok": true}, nil, nil
	case "config.get":
		return map[string]any{"exists": true, "hash": "of " + g.settings}, nil, nil
	}
	switch {
	case p.Raw == g.settings:
		return map[string]any{"noop": true}, nil, nil
	case p.BaseHash == "":
		return refuse("config base hash required for a; re-run")
	case g.locked:
		return refuse("ConfigReadOnlyError: externally managed")
	case g.fails != "":
		return refuse(g.fails)
	}
	g.settings, g.gone = p.Raw, g.gone*-1
	return map[string]any{"ok": true, "changedPaths": []string{"a"}}, nil, nil
}

func TestPush(t *testing.T) {
	text := func(s string) *string { return &s }
	file := params{Agent: "main", File: text("SOUL.md"), Content: text("kind"), Token: secret.New("t"), Port: 18789}
	settings := params{Settings: text(`{"a":1}`), Token: secret.New("t"), Port: 18789}
	for name, tt := range map[string]struct {
		p     params
		g     settingsOf
		fails string
		calls string // of changes
	}{
		"a new file":         {p: file, calls: "agents.files.set"},
		"another file":       {p: file, g: settingsOf{file: "cruel"}, calls: "agents.files.set"},
		"the file":           {p: file, g: settingsOf{file: "kind"}},
		"it has another":     {p: file, g: settingsOf{fails: "else"}, fails: "has something else", calls: "agents.files.set"},
		"settings":           {p: settings, g: settingsOf{settings: "{}"}, calls: "a"},
		"settings, restart":  {p: settings, g: settingsOf{settings: "{}", gone: -2}, calls: "a"},
		"the settings":       {p: settings, g: settingsOf{settings: `{"a":1}`}},
		"locked":             {p: settings, g: settingsOf{settings: "{}", locked: true}, fails: "settings_locked=false"},
		"changed in between": {p: settings, g: settingsOf{settings: "{}", fails: "config changed since last load"}, fails: "changed since last load"},
	} {
		t.Run(name, func(t *testing.T) {
			g := tt.g.gateway()
			p := Params{tt.p}
			out, err := run(t.Context(), g.Host(), p)
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Fatalf("got %+v, %v, want %q", out, err, tt.fails)
			}
			if tt.calls == "a" && !slices.Equal(out.Paths, []string{"a"}) || tt.calls == "agents.files.set" && !strings.Contains(g.Calls(), tt.calls) {
				t.Errorf("got %+v after %s", out, g.Calls())
			}
			if why, err := skip(t.Context(), g.Host(), p); tt.fails == "" && (why == "" || err != nil) {
				t.Errorf("it would be done again: %q, %v", why, err)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	const token = `token: "${secret('t')}"`
	for args, want := range map[string]string{
		"{" + token + "}":                                      "nothing to push",
		"{" + token + ", file: a}":                             `needs "content" too`,
		"{" + token + ", content: a}":                          `needs "file" too`,
		"{" + token + ", file: a, content: b, settings: '{}'}": `cannot be combined with "settings"`,
		"{" + token + ", settings: '[1]'}":                     "want an object",
		"{" + token + ", settings: 'a: b'}":                    "settings",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
