package testscripts_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/cmd/cli"
	"holdfast/tasks"
)

// reveals are the rooms that may take the text out of a secret, and what for.
var reveals = map[string]string{
	"cmd/cli":                "a person asks to see or to edit one",
	"runner/expr":            "reveal(), the word that a review looks for",
	"runner/host":            "the environment of a program",
	"runner/host/httpclient": "the header of a request",
	"runner/load":            "a template that writes one out becomes a secret file",
	"runner/remote":          "frames of their own, and sudo's password on its input",
	"runner/secrets":         "it is encrypted; one that is too short to be masked is refused",
	"runner/journal":         "a before-image of a secret file is encrypted",
	"tasks/alert":            "an address, a header or a topic that is one",
	"tasks/env_file":         "a line of a file whose content is secret then",
	"tasks/http":             "a body that is one",
	"tasks/json":             "a value in a file whose content is secret then",
	"tasks/random_secret":    "a file whose content it is",
	"tasks/file":             "a file whose content is the secret",
	"tasks/openclaw/gateway": "what a client of the gateway signs and sends to loopback",
	"tasks/task":             "the value of a header",
	"tasks/secret":           "the type itself, and the redactor",
	"tasks/user":             "the hash of a password",
}

func TestReveal(t *testing.T) {
	found := map[string]bool{}
	sources(t, func(dir string, file *ast.File, fset *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "Reveal" {
				return true
			}
			found[dir] = true
			if reveals[dir] == "" {
				t.Errorf("%s: a secret is revealed where none may be", fset.Position(n.Pos()))
			}
			return true
		})
	})
	if len(found) == 0 {
		t.Error("no secret is revealed anywhere: this test looks for the wrong thing")
	}
}

// sources calls look for every source file of ours that is not a test.
func sources(t *testing.T, look func(dir string, file *ast.File, fset *token.FileSet)) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(path))
		look(filepath.ToSlash(dir), file, fset)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// noScript are the exit statuses that no script shows, and why.
var noScript = map[string]string{
	"1": "a mistake of ours; none is known",
	"7": "no play rolls back yet",
	"8": "no play rolls back yet",
}

func TestEveryExitStatusHasAScript(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../runner/runner.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var statuses []string
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if ok && len(v.Values) == 1 && strings.HasPrefix(v.Names[0].Name, "Code") {
			statuses = append(statuses, v.Values[0].(*ast.BasicLit).Value)
		}
		return true
	})
	if len(statuses) < 6 {
		t.Fatalf("got the statuses %v, which cannot be all", statuses)
	}
	have, err := scripts("cli")
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range statuses {
		scripted := slices.Contains(have, "exit-"+status)
		if why := noScript[status]; scripted == (why != "") {
			t.Errorf("status %s: script cli/exit-%s.txtar: %v, reason for none: %q", status, status, scripted, why)
		}
	}
	for _, name := range have {
		if status, ok := strings.CutPrefix(name, "exit-"); ok && !slices.Contains(statuses, status) {
			t.Errorf("cli/%s.txtar is for a status that there is not", name)
		}
	}
}

func TestEveryModuleHasAScript(t *testing.T) {
	here, err := scripts("tasks")
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := scripts(hostFolder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range tasks.All() {
		names = append(names, m.Name)
		if !slices.Contains(here, m.Name) && !slices.Contains(hosts, m.Name) {
			t.Errorf("the module %s has no script, neither in tasks/ nor in hosts/", m.Name)
		}
	}
	for _, name := range here {
		if !slices.Contains(names, name) {
			t.Errorf("tasks/%s.txtar is for a module that there is not", name)
		}
	}
}

// run calls the program in this process.
func run(t *testing.T, dir string, getenv func(string) string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(&cli.Env{Args: args, Stdout: &out, Stderr: &errs, Getenv: getenv, Dir: dir, Now: time.Now})
	return out.String(), errs.String(), code
}

func noEnv(string) string { return "" }

func TestEveryCommandShowsAnExample(t *testing.T) {
	seen := 0
	var visit func(path []string)
	visit = func(path []string) {
		help, errs, code := run(t, t.TempDir(), noEnv, append(slices.Clone(path), "--help")...)
		if code != 0 || errs != "" {
			t.Errorf("%v --help: status %d, stderr %q", path, code, errs)
		}
		seen++
		example := "holdfast " + strings.Join(path, " ")
		_, examples, ok := strings.Cut(help, "Examples:\n")
		generated := len(path) > 0 && (path[0] == "completion" || path[0] == "help")
		if !generated && (!ok || !strings.Contains(examples, strings.TrimSpace(example))) {
			t.Errorf("the help of %q has no example", example)
		}
		for _, sub := range subcommands(help) {
			if !generated {
				visit(append(slices.Clone(path), sub))
			}
		}
	}
	visit(nil)
	visit([]string{"helper", "purge"}) // below a hidden command
	if seen < 20 {
		t.Errorf("only %d commands were found", seen)
	}
}

// subcommands finds the commands in a help text: indented lines between a heading
// and the flags.
func subcommands(help string) []string {
	_, rest, _ := strings.Cut(help, "Usage:\n")
	if _, after, ok := strings.Cut(rest, "Examples:\n"); ok {
		_, rest, _ = strings.Cut(after, "\n\n")
	}
	var out []string
	for part := range strings.SplitSeq(rest, "\n\n") {
		heading, body, _ := strings.Cut(part, "\n")
		if !strings.HasSuffix(heading, ":") || strings.HasSuffix(heading, "Flags:") || heading == "Usage:" {
			continue
		}
		for line := range strings.SplitSeq(body, "\n") {
			if words := strings.Fields(line); strings.HasPrefix(line, "  ") && len(words) > 1 {
				out = append(out, words[0])
			}
		}
	}
	return out
}

// TestHelpTouchesNothing holds the start of the program to what it costs: no
// inventory, no agent, no environment beyond the terminal's.
func TestHelpTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	// Whoever opens these waits for ever, and this test with it.
	for _, name := range []string{"inventory.yml", "playbooks"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agent, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	go func() {
		defer close(called)
		if c, err := agent.Accept(); err == nil {
			t.Error("the SSH agent was called")
			_ = c.Close()
		}
	}()
	var asked []string
	getenv := func(name string) string {
		asked = append(asked, name)
		return map[string]string{"SSH_AUTH_SOCK": agent.Addr().String(), "HOME": dir}[name]
	}
	if _, errs, code := run(t, dir, getenv, "--help"); code != 0 || errs != "" {
		t.Errorf("got status %d, %q", code, errs)
	}
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	<-called
	for _, name := range asked {
		if name != "NO_COLOR" && name != "TERM" {
			t.Errorf("the environment was asked for %s", name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder has changed: %v, %v", entries, fmt.Sprint(err))
	}
}
