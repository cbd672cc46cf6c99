package unarchive_test

import (
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/unarchive"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, unarchive.Module) }

var sum = strings.Repeat("ab", 32)

// world has an archive, a directory that came from it, and one that did not.
func world() *tasktest.Host {
	h := tasktest.NewHost()
	h.AddFile("/srv/a.tar.gz", "archive", 0o644)
	h.AddFile("/opt/there/.holdfast-archive", "sha256:"+sum+" strip 1\n", 0o644)
	h.AddFile("/opt/other/file", "x", 0o644)
	h.AddDir("/opt/empty", 0o755)
	return h
}

func TestDiff(t *testing.T) {
	have, brief := task.Brief("sha256:"+task.DigestOf([]byte("archive"))), task.Brief("sha256:"+sum)
	tests := []struct{ name, args, want string }{
		{"there", "{path: /opt/there, url: http://x/a.tgz, sha256: " + sum + ", strip: 1}", ""},
		{"another strip", "{path: /opt/there, url: http://x/a.tgz, sha256: " + sum + "}", "path " + brief + " strip 1 > " + brief + " strip 0 from http://x/a.tgz"},
		{"mode and owner", "{path: /opt/there, src: /srv/none.zip, sha256: " + sum + ", strip: 1, mode: 0700, owner: admin}", "mode 0755 > 0700; owner root > admin"},
		{"missing", "{path: /opt/new, src: /srv/a.tar.gz}", "path  > " + have + " strip 0 from /srv/a.tar.gz; mode  > 0755"},
		{"empty", "{path: /opt/empty, src: /srv/a.tar.gz}", "path  > " + have + " strip 0 from /srv/a.tar.gz"},
		{"replaced", "{path: /opt/other, src: /srv/a.tar.gz, replace: true}", "path something that did not come from an archive > " + have + " strip 0 from /srv/a.tar.gz"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, world(), unarchive.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
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

func TestObserveRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /opt/other, src: /srv/a.tar.gz}": "is not empty and did not come from an archive",
		"{path: /etc/motd, src: /srv/a.tar.gz}":  "there is a file",
		"{path: /opt/new, src: /srv/none.zip}":   "cannot read /srv/none.zip",
	} {
		if _, err := tasktest.Apply(t, world(), unarchive.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /x}": "say where the archive is",
		"{path: /x, src: /a.tar, url: http://x/}":                                       "cannot be combined",
		"{path: /x, url: http://x/a.tar}":                                               `needs "sha256" too`,
		"{path: /x, url: http://x/a.zip, sha256: " + sum + "}":                          "read from its end",
		"{path: /x, url: http://x/download, sha256: " + sum + "}":                       "say the format",
		"{path: /x, url: 'http://x/a.tgz?v=1', sha256: abc}":                            "is no SHA-256",
		"{path: /x, src: /a.tar, format: rar}":                                          "is none of tar, tar.gz",
		"{path: /x, src: /a.tar, strip: -1}":                                            "less than 0",
		`{path: /x, src: /a.tar, secret_headers: [{name: a, value: "${secret('c')}"}]}`: `needs "url" too`,
	} {
		if got := tasktest.Fault(unarchive.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
