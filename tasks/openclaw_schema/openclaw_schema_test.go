package openclawschema

import (
	"cmp"
	"os"
	"strings"
	"testing"

	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, Module) }

// real reads a schema that the playbook openclaw ships.
func real(t *testing.T, version string) *schema {
	t.Helper()
	data, err := os.ReadFile("../../playbooks/library/openclaw/files/openclaw-" + version + "-schema.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	if data, err = unpacked(data); err != nil {
		t.Fatal(err)
	}
	s, err := newSchema(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// look is what the module says of settings, and its hint.
func look(t *testing.T, rules *schema, settings, merge string, hide bool) (text, hint string) {
	t.Helper()
	h := tasktest.NewHost()
	template := h.AddBlob(settings)
	p := Params{Template: &template, Merge: &merge}
	doc, err := p.settings(t.Context(), h)
	if err != nil {
		return err.Error(), ""
	}
	problems, err := judge(rules, doc)
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) == 0 {
		return "", ""
	}
	err = refused(problems, hide)
	return err.Error(), err.(interface{ Hint() string }).Hint()
}

const good = `{"gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": {"source": "file", "provider": "t", "id": "value"}}},
"agents": {"entries": {"main": {"model": {"primary": "anthropic/claude-sonnet-4-6"}}}}}`

func TestTheRealSchema(t *testing.T) {
	rules := real(t, "2026.9.6")
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
		"no pairing":         {good, `{"gateway": {"controlUi": {"dangerouslyDisableDeviceAuth": true}}}`, "dangerouslyDisableDeviceAuth: is not for a playbook", "approve the browser's device"},
		"any origin":         {good, `{"gateway": {"controlUi": {"dangerouslyAllowHostHeaderOriginFallback": true}}}`, "OriginFallback: is not for a playbook", "allowedOrigins"},
		"admin over HTTP":    {good, `{"plugins": {"entries": {"admin-http-rpc": {"enabled": true}}}}`, "admin-http-rpc.enabled: is not for a playbook", "no device"},
		"switched off":       {good, `{"plugins": {"entries": {"admin-http-rpc": {"enabled": false}}}}`, "", ""},
		"two":                {`{"a": 1, "b": 2}`, "", "a: unknown key", "config schema"},
		"no object":          {`[]`, "", "want an object", ""},
	} {
		got, hint := look(t, rules, tt.settings, cmp.Or(tt.merge, "{}"), false)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) || !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: got %q and the hint %q, want %q and %q", name, got, hint, tt.want, tt.hint)
		}
	}
	// Where the template holds a secret no value is shown.
	got, hint := look(t, rules, `{"gateway": {"mode": "sekret-word"}}`, "{}", true)
	if strings.Contains(got+hint, "sekret") || !strings.Contains(got, "gateway.mode: is not as it must be") {
		t.Errorf("got %q, %q", got, hint)
	}
	got, _ = look(t, rules, `{"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"a8":1,"a9":1,"b1":1,"b2":1}`, "{}", false)
	if !strings.HasSuffix(got, "and 1 more") {
		t.Errorf("got %q", got)
	}
}

func TestTheOlderSchema(t *testing.T) {
	rules := real(t, "2026.9.4")
	if got, _ := look(t, rules, good, "{}", false); got != "" {
		t.Errorf("got %q", got)
	}
	if got, _ := look(t, rules, good, `{"gateway": {"prot": 1}}`, false); !strings.Contains(got, "gateway.prot: unknown key") {
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
		"{schema: x}":                             "template: missing",
		"{schema: x, template: y, merge: '[1]'}":  "want an object",
		"{schema: x, template: y, merge: '{a:}'}": "not JSON",
	} {
		if got := tasktest.Fault(Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
