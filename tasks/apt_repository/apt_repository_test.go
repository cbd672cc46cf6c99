package aptrepository_test

import (
	"encoding/base64"
	"os"
	"strconv"
	"strings"
	"testing"

	aptrepository "holdfast/tasks/apt_repository"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, aptrepository.Module) }

// key is the one in the examples.
func key(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("doc.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "    key: |\n")
	text, _, _ = strings.Cut(text, "- name")
	return strings.ReplaceAll(text, "      ", "")
}

const print = "D54B9EB14E3C3FB5D7B9B682DFEF514539177F3C"

func args(t *testing.T, more string) string {
	t.Helper()
	return "{name: team, uris: [https://x/], suites: [bookworm], components: [main], fingerprints: [" + print + "], " + more + "}"
}

func TestDiff(t *testing.T) {
	with := "key: " + strconv.Quote(key(t))
	there := tasktest.NewHost()
	there.AddDir("/etc/apt/sources.list.d", 0o755)
	if _, err := tasktest.Apply(t, there, aptrepository.Module, args(t, with)); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, args, want string }{
		{"there", args(t, with), ""},
		{"the same key from a server is not fetched", args(t, "key_url: https://x/key"), ""},
		{"another architecture", args(t, with+", arch: [arm64]"), "uris update"},
		{"absent", "{name: team, state: absent}", "uris delete; fingerprints delete"},
		{"absent already", "{name: other, state: absent}", ""},
		{"new", strings.Replace(args(t, with), "team", "other", 1), "fingerprints create; uris create"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, there, aptrepository.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Kind)
	}
	return strings.Join(out, "; ")
}

func TestKeyOfAServer(t *testing.T) {
	armored := key(t)
	body := strings.Join(strings.Split(armored, "\n")[2:7], "")
	raw, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ sent, want string }{
		"armored":       {armored, ""},
		"binary":        {string(raw), ""},
		"twice":         {string(raw) + string(raw), ""},
		"text":          {"<html>", "it is no OpenPGP key"},
		"cut off":       {string(raw[:30]), "a packet ends early"},
		"another key":   {strings.Replace(string(raw), "\x72\xc6", "\x72\xc7", 1), "it holds the keys"},
		"one more key":  {string(raw) + strings.Replace(string(raw), "\x72\xc6", "\x72\xc7", 1), "it holds the keys"},
		"no key inside": {string(raw[strings.Index(string(raw), "\xb4"):]), "it holds no public key"},
	} {
		h := tasktest.NewHost()
		h.AddDir("/etc/apt/sources.list.d", 0o755)
		before := h.Snapshot()
		h.OnFetch = func(task.Request) (task.Response, error) {
			return task.Response{Status: 200, Body: []byte(tt.sent)}, nil
		}
		_, err := tasktest.Apply(t, h, aptrepository.Module, args(t, "key_url: https://x/key"))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if string(before) != string(h.Snapshot()) {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestFaults(t *testing.T) {
	for a, want := range map[string]string{
		"{name: x}": "uris: missing",
		args(t, ""): "say where the key comes from",
		strings.Replace(args(t, "key_url: https://x/"), print, "DFEF514539177F3C", 1): "want a whole fingerprint",
		args(t, "key: nothing"): "it is no OpenPGP key",
		strings.Replace(args(t, "key: "+strconv.Quote(key(t))), print, strings.Repeat("A", 40), 1): "it holds the keys " + print,
		strings.Replace(args(t, "key_url: https://x/"), "main", "'a b'", 1):                        "is no single word",
		strings.Replace(args(t, "key_url: https://x/"), "bookworm", "./", 1):                       "has none",
		strings.Replace(args(t, "key_url: https://x/"), "team", "te.am", 1):                        "is no name that apt reads",
		args(t, "key_url: https://x/, keyring: /x"):                                                "cannot be combined",
	} {
		if got := tasktest.Fault(aptrepository.Module, a); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", a, got, want)
		}
	}
}
