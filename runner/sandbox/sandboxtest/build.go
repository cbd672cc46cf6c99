package sandboxtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build makes the helpers and then the program of the source in the folder root, as make
// does. A stale helper would be tried otherwise.
func Build(root, program string) error {
	for _, step := range []struct {
		dir  string
		argv []string
	}{
		{filepath.Join(root, "runner/helperbin"), []string{"generate", "."}},
		{root, []string{"build", "-o", program, "./cmd/holdfast"}},
	} {
		cmd := exec.Command("go", step.argv...)
		cmd.Dir, cmd.Env = step.dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", step.argv[0], err, out)
		}
	}
	return nil
}
