package download_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast/tasks/download"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, download.Module) }

const (
	motd  = "ae80f2fda4ba0c6eb29a2e4d2b5b7ad1d4ae5f3c25ec9a7c6ec1f7ab1d7a0000" // none that a file has
	other = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func TestDiff(t *testing.T) {
	welcome := task.DigestOf([]byte("Welcome.\n"))
	tests := []struct{ name, args, want string }{
		{"there", "{path: /etc/motd, url: http://x/, sha256: " + welcome + "}", ""},
		{"there, in capitals", "{path: /etc/motd, url: http://x/, sha256: " + strings.ToUpper(welcome) + "}", ""},
		{"mode", "{path: /etc/motd, url: http://x/, sha256: " + welcome + ", mode: 0600, owner: admin, group: 0}", "mode 0644 > 0600; owner root > admin"},
		{"other content", "{path: /etc/motd, url: http://x/f, sha256: " + other + "}", "sha256 " + task.Brief(welcome) + " > " + task.Brief(other) + " from http://x/f"},
		{"missing", "{path: /etc/new, url: http://x/f, sha256: " + other + "}", "sha256  > " + task.Brief(other) + " from http://x/f"},
		{"a link is replaced", "{path: /bin, url: http://x/f, sha256: " + other + "}", "sha256  > " + task.Brief(other) + " from http://x/f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if got := describe(tasktest.Diff(t, h, download.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
			for _, c := range h.Calls() {
				if c.Method == "fetch" || c.Method == "download" {
					t.Errorf("looking asks a server: %v", c)
				}
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Before+" > "+c.After)
	}
	return strings.Join(out, "; ")
}

func TestApplyAsks(t *testing.T) {
	h := tasktest.NewHost()
	var got task.Download
	h.OnDownload = func(d task.Download) error { got = d; return nil }
	args := `{path: /srv/f, url: "https://x/f", sha256: ` + motd + `, headers: {A: b}, secret_headers: [{name: C, value: "${secret('d')}"}], max_mb: 3, tries: 2, redirects: 1, proxy: "http://p:3128", insecure: true, owner: admin}`
	if _, err := tasktest.Apply(t, h, download.Module, args); err != nil {
		t.Fatal(err)
	}
	r := got.Request
	if got.Sum != "sha256:"+motd || got.Tries != 2 || got.Owner != "admin" || r.MaxBody != 3<<20 || r.Redirects != 1 || r.Proxy != "http://p:3128" ||
		!r.Insecure || r.Header["A"] != "b" || r.Secrets["C"].IsZero() {
		t.Errorf("asked for %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	h := tasktest.NewHost()
	args := "{path: /srv, url: http://x/, sha256: " + other + "}"
	if _, err := tasktest.Apply(t, h, download.Module, args); err == nil || !strings.Contains(err.Error(), "there is a directory") {
		t.Errorf("got %v, want a failure about the directory", err)
	}
	refused := errors.New("sent something else")
	h.OnDownload = func(task.Download) error { return refused }
	if _, err := tasktest.Apply(t, h, download.Module, strings.Replace(args, "/srv", "/srv/f", 1)); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	if _, there := h.File("/srv/f"); there {
		t.Error("a refused download left a file")
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /f, url: http://x/}":                                                                                               "download.sha256: missing",
		"{path: /f, sha256: " + other + "}":                                                                                        "download.url: missing",
		"{path: f, url: http://x/, sha256: " + other + "}":                                                                         "want an absolute path",
		"{path: /f, url: ftp://x/, sha256: " + other + "}":                                                                         "is no URL",
		"{path: /f, url: 'http://u:p@x/', sha256: " + other + "}":                                                                  "without a user or password",
		"{path: /f, url: http://x/, sha256: abc}":                                                                                  "is no SHA-256",
		"{path: /f, url: http://x/, sha256: " + strings.Repeat("a", 128) + "}":                                                     "is no SHA-256",
		"{path: /f, url: http://x/, sha256: " + other + ", proxy: socks5://x}":                                                     "want env, none or http://host:port",
		"{path: /f, url: http://x/, sha256: " + other + ", max_mb: 0}":                                                             "less than 1",
		`{path: /f, url: http://x/, sha256: ` + other + `, headers: {A: b}, secret_headers: [{name: a, value: "${secret('c')}"}]}`: "a is given twice",
	} {
		if got := tasktest.Fault(download.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
