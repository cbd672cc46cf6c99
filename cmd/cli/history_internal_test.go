package cli

import (
	"strings"
	"testing"
)

func TestCommandLineWithoutValues(t *testing.T) {
	for line, want := range map[string]string{
		"apply|site|-p|a=1|-l|web1":                   "holdfast apply site -p a=… -l web1",
		"apply|site|-pa=1|--param=b=2|--param|c=3":    "holdfast apply site -pa=… --param=b=… --param c=…",
		"apply|site|-l|host.name == 'a'":              `holdfast apply site -l 'host.name == '\''a'\'''`,
		"apply|site|-p|a=b=c|--identity=x|--params|f": "holdfast apply site -p a=… --identity=x --params f",
		"apply||-p|": "holdfast apply '' -p ''",
	} {
		env := &Env{Args: strings.Split(line, "|")}
		if got := env.commandLine(); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestSpecWithoutSecrets(t *testing.T) {
	redact := func(s string) string { return strings.ReplaceAll(s, "hunter22", "***") }
	s := spec{Dir: "/x", Playbook: "site", Params: []string{"a=hunter22"}}
	if got, want := string(s.written(redact)), `{"dir":"/x","playbook":"site","hidden":true}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s = spec{Dir: "/x", Playbook: "hunter22"}
	if got, want := string(s.written(redact)), `{"hidden":true}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
