package tasks_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast/playbooks/source/yamlfile"
	"holdfast/tasks"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

// noModules are the folders that hold none.
var noModules = []string{"openclaw", "secret", "task", "tasktest"}

func names() []string {
	var out []string
	for _, m := range tasks.All() {
		out = append(out, m.Name)
	}
	return out
}

func TestListIsSorted(t *testing.T) {
	got := names()
	if want := slices.Compact(slices.Sorted(slices.Values(got))); !slices.Equal(got, want) {
		t.Errorf("got %q, want it sorted and without repetition: %q", got, want)
	}
}

func TestFoldersEqualTheList(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(noModules, e.Name()) {
			folders = append(folders, e.Name())
		}
	}
	if got := names(); !slices.Equal(got, folders) {
		t.Errorf("the list has %q, want the folders %q", got, folders)
	}
}

func TestFoldersAreAlike(t *testing.T) {
	for _, name := range names() {
		for _, file := range []string{name + ".go", name + "_test.go", "doc.md"} {
			if _, err := os.Stat(filepath.Join(name, file)); err != nil {
				t.Errorf("module %s: %v", name, err)
			}
		}
	}
}

func TestConformance(t *testing.T) {
	for _, m := range tasks.All() {
		t.Run(m.Name, func(t *testing.T) { tasktest.Suite(t, m) })
	}
}

// A document may show other modules too, and must not show one that is not there.
func TestExamplesUseModulesOfTheList(t *testing.T) {
	for _, m := range tasks.All() {
		for _, text := range m.Doc.Examples {
			n, faults := yamlfile.Parse(filepath.Join(m.Name, "doc.md"), []byte(text))
			if err := faults.Err(); err != nil {
				t.Errorf("%v", err)
				continue
			}
			for _, item := range n.Items {
				known := slices.DeleteFunc(item.Keys(), func(key string) bool { return !slices.Contains(names(), key) })
				if len(known) != 1 {
					t.Errorf("doc.md of %s: a task with the keys %q: want one module, got %q", m.Name, item.Keys(), known)
				}
				if item.Get("name") == nil {
					t.Errorf("doc.md of %s: a task without a name", m.Name)
				}
			}
		}
	}
}

// The suite needs a secret to watch in every module that takes one.
func TestModulesThatTakeSecrets(t *testing.T) {
	var got []string
	for _, m := range tasks.All() {
		if takesSecret(m.Params) {
			got = append(got, m.Name)
		}
	}
	if want := []string{"alert", "command", "download", "env_file", "file", "git", "http", "json", "npm_global", "openclaw_chat", "openclaw_device", "openclaw_health", "openclaw_push", "openclaw_reload", "restic", "script", "unarchive", "user"}; !slices.Equal(got, want) {
		t.Errorf("secrets are taken by %q, want %q: whoever adds one reads style.md on secrets first", got, want)
	}
}

func takesSecret(fields []task.Field) bool {
	return slices.ContainsFunc(fields, func(f task.Field) bool {
		return f.TypeName() == "secret" || f.TypeName() == "map(secret)" || f.TypeName() == "list(secret)" || takesSecret(f.Fields)
	})
}
