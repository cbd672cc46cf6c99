package directory_test

import (
	"strings"
	"testing"

	"holdfast/tasks/directory"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, directory.Module) }

func host() *tasktest.Host {
	h := tasktest.NewHost()
	h.AddFile("/srv/site/index.html", "hello", 0o644)
	h.AddFile("/srv/site/img/logo.png", "png", 0o600)
	h.AddLink("/srv/site/latest", "/etc/motd")
	return h
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"there", "{path: /srv}", ""},
		{"missing", "{path: /srv/new}", "state absent > present"},
		{"missing with attributes", "{path: /srv/new, mode: 0700, owner: admin}", "state absent > present; mode  > 0700; owner  > admin"},
		{"missing parents", "{path: /srv/a/b/c, parents: true}", "parents  > /srv/a, /srv/a/b; state absent > present"},
		{"mode", "{path: /srv, mode: 0700}", "mode 0755 > 0700"},
		{"owner by number", "{path: /srv, owner: 0, group: 0}", ""},
		{"other owners", "{path: /srv, owner: admin, group: adm}", "owner root > admin; group root > adm"},
		{"absent", "{path: /srv, state: absent}", "state directory > absent"},
		{"absent already", "{path: /nothing, state: absent}", ""},
		{"all inside are as asked", "{path: /srv/site, owner: 0, recurse: true}", ""},
		{"one inside differs", "{path: /srv/site, files: 0644, recurse: true}", "recurse /srv/site/img/logo.png differ > all the same"},
		{"all inside differ", "{path: /srv/site, group: adm, recurse: true}", "group root > adm; recurse /srv/site/img, /srv/site/img/logo.png, /srv/site/index.html differ > all the same"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, host(), directory.Module, tt.args)); got != tt.want {
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

func TestRecurseLeavesLinksAlone(t *testing.T) {
	h := host()
	if _, err := tasktest.Apply(t, h, directory.Module, "{path: /srv/site, owner: admin, mode: 0700, files: 0600, recurse: true}"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]task.FileInfo{
		"/srv/site":              {Mode: 0o700, Owner: "admin"},
		"/srv/site/img":          {Mode: 0o700, Owner: "admin"},
		"/srv/site/img/logo.png": {Mode: 0o600, Owner: "admin"},
		"/srv/site/latest":       {Owner: "root"},
		"/etc/motd":              {Mode: 0o644, Owner: "root"},
	} {
		got, err := h.Stat(t.Context(), path)
		if err != nil || got.Mode != want.Mode || got.Owner != want.Owner {
			t.Errorf("%s: got %s %s (%v), want %s %s", path, got.Mode, got.Owner, err, want.Mode, want.Owner)
		}
	}
}

func TestObserveRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /etc/motd}":              "it is a file",
		"{path: /bin}":                   "it is a link to usr/bin",
		"{path: /bin, state: absent}":    "it is a link",
		"{path: /srv/a/b/c, mode: 0700}": "/srv/a is missing too; set parents",
	} {
		if _, err := tasktest.Apply(t, host(), directory.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("directory %s: got %v, want an error with %q", args, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /, state: absent}":              "cannot be removed",
		"{path: /x, state: absent, mode: 0700}": "directory.mode: an absent directory has none",
		"{path: /x, recurse: true}":             "nothing to apply inside",
		"{path: /x, files: 0600}":               `needs "recurse" too`,
	} {
		if got := tasktest.Fault(directory.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
