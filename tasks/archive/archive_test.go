package archive_test

import (
	"strings"
	"testing"

	"holdfast/tasks/archive"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, archive.Module) }

func TestDiff(t *testing.T) {
	h := tasktest.NewHost()
	if _, err := tasktest.Apply(t, h, archive.Module, "{path: /srv/a.tgz, base: /etc, names: [hosts]}"); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, args, want string }{
		{"there", "{path: /srv/a.tgz, base: /etc, names: [hosts]}", ""},
		{"missing", "{path: /srv/b.tgz, base: /etc, names: [hosts], mode: 0600}", "names create; mode update"},
		{"other content", "{path: /srv/a.tgz, base: /etc, names: [hosts, hostname]}", "names update"},
		{"attributes of it", "{path: /srv/a.tgz, base: /etc, names: [hosts], mode: 0600, owner: admin, group: 0}", "mode update; owner update"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, h, archive.Module, tt.args)); got != tt.want {
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

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /a.tgz, base: /etc}":                                  "archive.names: missing",
		"{path: /a.tgz, base: /etc, names: []}":                       "less than 1",
		"{path: /a.zip, base: /etc, names: [x]}":                      "ends with .tar.gz",
		"{path: /a.tgz, base: /etc, names: [x, ../y]}":                "is no name below base",
		"{path: /a.tgz, base: /etc, names: [/etc/x]}":                 "is no name below base",
		"{path: /etc/x/a.tgz, base: /etc, names: [x]}":                "cannot be in what it holds",
		"{path: /a.tgz, base: /etc, names: [x], exclude: ['a', '[']}": "is no pattern",
	} {
		if got := tasktest.Fault(archive.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
