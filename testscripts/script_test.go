// Package testscripts drives the program as its users do: scripts that start it,
// against SSH servers in this process. README.md lists the commands.
package testscripts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/cmd/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"holdfast": func() { os.Exit(cli.Main(cli.SystemEnv())) },
	})
}

// updating reports whether golden parts are to be rewritten instead of compared.
func updating() bool { return os.Getenv("UPDATE_SCRIPTS") != "" }

// hostFolder holds the scripts that need real hosts; see hosts_test.go.
const hostFolder = "hosts"

// folders returns the folders with scripts. A folder without any is a mistake: it
// would be a test that tests nothing.
func folders() ([]string, error) {
	entries, err := os.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if packages, err := filepath.Glob(filepath.Join(e.Name(), "*.go")); err != nil || len(packages) > 0 {
			continue // tests of their own
		}
		found, err := scripts(e.Name())
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("the folder %s has no script", e.Name())
		}
		out = append(out, e.Name())
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there are no folders with scripts")
	}
	return out, nil
}

// scripts returns the names of a folder's scripts, without their suffix.
func scripts(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".txtar")
		if !ok || e.IsDir() {
			return nil, fmt.Errorf("%s/%s is not a script", folder, e.Name())
		}
		out = append(out, name)
	}
	return out, nil
}

func TestScript(t *testing.T) {
	list, err := folders()
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range list {
		if folder == hostFolder {
			continue
		}
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, params(folder))
		})
	}
}

// patience is how long all scripts together may take. What hangs is then killed and
// shows where.
const patience = 9 * time.Minute

// params are the same for every folder.
func params(folder string) testscript.Params {
	return testscript.Params{
		Dir:                 folder,
		Deadline:            time.Now().Add(patience),
		Setup:               setup,
		Cmds:                scriptCommands(commands),
		Condition:           condition,
		UpdateScripts:       updating(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	}
}

// setup gives a script a home, a key to log in with, and servers that end with it.
// Targets run as another account, so it must be able to reach its home.
func setup(env *testscript.Env) error {
	for _, dir := range []string{filepath.Dir(env.WorkDir), env.WorkDir} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		return err
	}
	bench := newBench(env.T(), env.WorkDir)
	if err := os.WriteFile(bench.keyFile(), bench.keyPEM, 0o600); err != nil {
		return err
	}
	env.Values[benchKey{}] = bench
	env.Defer(bench.close)
	env.Setenv("HOME", home)
	env.Setenv("TERM", "dumb")
	env.Setenv("PATH", filepath.Join(env.WorkDir, "bin")+string(filepath.ListSeparator)+env.Getenv("PATH"))
	return nil
}

// condition answers what scripts may ask. A condition that nobody knows is an error,
// so that a script cannot skip itself by a slip of the pen.
func condition(cond string) (bool, error) {
	if cond == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q; the ones of this project are %s", cond, strings.Join(conditions, ", "))
}

// conditions are those that this project adds.
var conditions = []string{"root"}

// TestFolders holds the folders to what they are for.
func TestFolders(t *testing.T) {
	list, err := folders()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cli", "hosts", "lang", "play", "tasks", "transport"} {
		if !slices.Contains(list, want) {
			t.Errorf("the folder %q with scripts is missing, got %v", want, list)
		}
	}
}
