package git_test

import (
	"strings"
	"testing"

	"holdfast/tasks/git"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, git.Module) }

var (
	one = strings.Repeat("1", 40)
	two = strings.Repeat("2", 40)
)

// world has one checked out, a branch, and a folder that is no repository.
func world() *tasktest.Host {
	h := tasktest.NewHost()
	h.AddFile("/srv/one/.git/HEAD", one+"\n", 0o644)
	h.AddFile("/srv/branch/.git/HEAD", "ref: refs/heads/main\n", 0o644)
	h.AddFile("/srv/branch/.git/refs/heads/main", one+"\n", 0o644)
	h.AddFile("/srv/other/file", "x", 0o644)
	h.AddDir("/srv/empty", 0o755)
	return h
}

func args(path, commit string) string {
	return "{repo: https://x/y, path: " + path + ", commit: '" + commit + "'}"
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"there", args("/srv/one", one), ""},
		{"another", args("/srv/one", two), "commit " + one + " > " + two},
		{"a branch", args("/srv/branch", one), "commit " + one + " on branch main > " + one},
		{"empty", args("/srv/empty", one), "commit  > " + one},
		{"missing", args("/srv/new", one), "commit  > " + one},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := world()
			if got := describe(tasktest.Diff(t, h, git.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
			for _, c := range h.Calls() {
				if c.Method == "query" {
					t.Errorf("looking starts a process: %v", c.Args)
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

func TestChangesOfSomebody(t *testing.T) {
	h := world()
	h.OnQuery = func(task.Command) (task.Output, error) { return task.Output{Stdout: " M file\n"}, nil }
	before := h.Snapshot()
	if _, err := tasktest.Apply(t, h, git.Module, args("/srv/one", two)); err == nil || !strings.Contains(err.Error(), "somebody changed files") {
		t.Errorf("got %v, want a refusal", err)
	}
	if string(before) != string(h.Snapshot()) {
		t.Error("something was changed")
	}
	forced := strings.TrimSuffix(args("/srv/one", one), "}") + ", force: true}"
	if got := describe(tasktest.Diff(t, h, git.Module, forced)); got != "force changed files > as in the commit" {
		t.Errorf("got %q, want the changed files", got)
	}
}

func TestObserveRefuses(t *testing.T) {
	for path, want := range map[string]string{"/srv/other": "not empty and no repository", "/etc/motd": "there is a file"} {
		if _, err := tasktest.Apply(t, world(), git.Module, args(path, one)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for a, want := range map[string]string{
		args("/x", "main"): "is no whole name of a commit",
		strings.Replace(args("/x", one), "x/y", "u:p@x/y", 1):                          "without a user",
		strings.Replace(args("/x", one), "https://x/y", "ext::sh", 1):                  "want https://host/path",
		strings.Replace(args("/x", one), "https://x/y", "-uroot", 1):                   "want https://host/path",
		strings.TrimSuffix(args("/x", one), "}") + ", ref: --upload}":                  "is no name of a tag",
		`{repo: /x, path: /x, commit: "` + one + `", secret_header: "${secret('h')}"}`: "to https servers only",
	} {
		if got := tasktest.Fault(git.Module, a); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", a, got, want)
		}
	}
}
