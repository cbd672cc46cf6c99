package tasks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The scaffold is written to a copy of the repository, of which most is links.
func TestScaffoldedModuleConforms(t *testing.T) {
	root := t.TempDir()
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "tasks"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range append([]string{"playbooks", "tasks/openclaw", "tasks/secret", "tasks/task", "tasks/tasktest"}, under("tasks/", names())...) {
		if err := os.Symlink(filepath.Join(here, name), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "tasks/new.go", "tasks/tasks.go", "tasks/controller.go", "tasks/helper.go"} {
		data, err := os.ReadFile(filepath.Join(here, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	goTool(t, root, "run", "tasks/new.go", "go_to_it")
	goTool(t, root, "test", "-trimpath", "./tasks", "./tasks/go_to_it")

	if _, err := os.Stat(filepath.Join(root, "testscripts/tasks/go_to_it.txtar")); err != nil {
		t.Errorf("no script: %v", err)
	}
	list, err := os.ReadFile(filepath.Join(root, "tasks/tasks.go"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "\t\tgit.Module,\n\t\tgotoit.Module,\n\t\tgroup.Module,\n"; !strings.Contains(string(list), want) {
		t.Errorf("the list lacks %q:\n%s", want, list)
	}
}

func under(dir string, names []string) []string {
	for i, name := range names {
		names[i] = dir + name
	}
	return names
}

func goTool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
