package openclawschema

import (
	"os"
	"strings"
	"testing"

	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

// look judges settings by the schema that the playbook openclaw ships.
func look(t *testing.T, settings, merge string, secret bool) (Result, string, string) {
	t.Helper()
	schema, err := os.ReadFile("../../playbooks/library/openclaw/files/openclaw-2026.9.6-schema.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	h := tasktest.NewHost()
	rules, template := h.AddBlob(string(schema)), h.AddBlob(settings)
	template.Secret = secret
	p := Params{Schema: &rules, Template: &template}
	if merge != "" {
		p.Merge = &merge
	}
	out, err := run(t.Context(), h, p)
	if err == nil {
		return out, "", ""
	}
	hint := ""
	if h, ok := err.(interface{ Hint() string }); ok {
		hint = h.Hint()
	}
	return out, err.Error(), hint
}

const good = `{"gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": {"source": "file", "provider": "t", "id": "value"}}},
"agents": {"entries": {"main": {"model": {"primary": "anthropic/claude-sonnet-4-6"}}}}}`

func TestTheRealSchema(t *testing.T) {
	for name, tt := range map[string]struct{ settings, merge, want, hint string }{
		"good":               {good, "", "", ""},
		"good and more":      {good, `{"logging": {"level": "debug"}}`, "", ""},
		"a misspelt key":     {good, `{"gateway": {"trustedProxys": []}}`, "gateway.trustedProxys: unknown key", `did you mean "trustedProxies"?`},
		"a key of old":       {good, `{"commands": {"ownerDisplay": "raw"}}`, "commands.ownerDisplay: unknown key", "there are "},
		"another":            {good, `{"gateway": {"tailscale": {"resetOnExit": true}}}`, "gateway.tailscale.resetOnExit: unknown key", "there are "},
		"at the top":         {good, `{"gatway": {}}`, "gatway: unknown key", `did you mean "gateway"?`},
		"another type":       {good, `{"gateway": {"port": "18789"}}`, "gateway.port: want integer, got string", "config schema"},
		"out of a list":      {good, `{"gateway": {"mode": "locale"}}`, "gateway.mode: ", ""},
		"inside a reference": {good, `{"gateway": {"auth": {"token": {"source": "file", "provider": "t", "idd": "v"}}}}`, "gateway.auth.token.id", ""},
		"meta":               {good, `{"meta": {"lastTouchedVersion": "2026.9.6"}}`, "meta: is not for a playbook", "no way back"},
		"wizard":             {`{"wizard": {}}`, "", "wizard: is not for a playbook", "a gateway starts without"},
		"removed":            {`{"wizard": {}}`, `{"wizard": null}`, "", ""},
		"two":                {`{"a": 1, "b": 2}`, "", "a: unknown key", "config schema"},
		"no object":          {`[]`, "", "want an object", ""},
	} {
		_, got, hint := look(t, tt.settings, tt.merge, false)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) || !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: got %q and the hint %q, want %q and %q", name, got, hint, tt.want, tt.hint)
		}
	}
	if out, _, _ := look(t, good, "", false); out.Sections != 2 {
		t.Errorf("got %d sections, want 2", out.Sections)
	}
}

// Where the template holds a secret no value is shown.
func TestSecretsAreNotShown(t *testing.T) {
	_, open, _ := look(t, `{"gateway": {"mode": "sekret-word"}}`, "", false)
	_, got, hint := look(t, `{"gateway": {"mode": "sekret-word"}}`, "", true)
	if strings.Contains(got+hint, "sekret") || !strings.Contains(got, "gateway.mode: is not as it must be") {
		t.Errorf("got %q, %q (in the open %q)", got, hint, open)
	}
}

func TestManyProblemsAreCounted(t *testing.T) {
	_, got, _ := look(t, `{"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"a8":1,"a9":1,"b1":1,"b2":1}`, "", false)
	if !strings.HasSuffix(got, "and 1 more") {
		t.Errorf("got %q", got)
	}
}

func TestASchemaThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "cannot read the schema",
		`{"type": 5}`:                  "cannot read the schema",
		`{"$ref": "file:///etc/x"}`:    "stands alone",
		"\x1f\x8bxx":                   "cannot unpack the schema",
		`{"pattern": "^(?!x)y\\p{Q}"}`: "",
	} {
		h := tasktest.NewHost()
		schema, template := h.AddBlob(text), h.AddBlob("{}")
		_, err := run(t.Context(), h, Params{Schema: &schema, Template: &template})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{template: x}":                           "schema: missing",
		"{schema: x}":                             "template: missing",
		"{schema: x, template: y, merge: '[1]'}":  "want an object",
		"{schema: x, template: y, merge: '{a:}'}": "not JSON",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
