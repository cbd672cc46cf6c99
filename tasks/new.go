//go:build ignore

// New writes what a new task module is made of: its folder with code, test and
// document, a line in the list of modules, and a testscript.
//
//	go run tasks/new.go NAME [DIR]
//
// DIR is the root of the repository, by default the current folder. What it
// writes is a working module that manages an empty file: change Params, then
// diff with its table test, then observe, then apply, then the document.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "new:", err)
		os.Exit(1)
	}
}

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func run(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("want the name of the module: go run tasks/new.go NAME")
	}
	name, root := args[0], "."
	if len(args) == 2 {
		root = args[1]
	}
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%q is no name for a module: want small letters, digits and single underscores", name)
	}
	list := filepath.Join(root, "tasks", "tasks.go")
	old, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("cannot read the list of modules, is this the root of the repository? %w", err)
	}
	listed, err := addToList(string(old), name)
	if err != nil {
		return err
	}
	folder := filepath.Join(root, "tasks", name)
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already", folder)
	}
	files := map[string]string{
		filepath.Join(folder, name+".go"):                          code,
		filepath.Join(folder, name+"_test.go"):                     test,
		filepath.Join(folder, "doc.md"):                            doc,
		filepath.Join(root, "testscripts", "tasks", name+".txtar"): script,
	}
	for path, text := range files {
		if err := write(path, text, name); err != nil {
			return err
		}
	}
	if err := os.WriteFile(list, listed, 0o644); err != nil {
		return err
	}
	fmt.Printf("made %s; next: go test ./tasks ./tasks/%s\n", folder, name)
	return nil
}

// packageName returns how the module's package is called: keywords and
// underscores are not allowed in it.
func packageName(name string) string {
	name = strings.ReplaceAll(name, "_", "")
	if token.IsKeyword(name) {
		name += "s"
	}
	return name
}

func write(path, text, name string) error {
	t, err := template.New(path).Delims("<<", ">>").Parse(text)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]string{"Name": name, "Package": packageName(name)}); err != nil {
		return err
	}
	out := b.Bytes()
	if filepath.Ext(path) == ".go" {
		if out, err = format.Source(out); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o644)
}

var (
	importRule = regexp.MustCompile(`^\t(?:(\w+) )?"holdfast/tasks/(\w+)"$`)
	moduleRule = regexp.MustCompile(`^\t\t(\w+)\.Module,$`)
)

// addToList returns tasks.go with one more module, sorted by the modules' names.
func addToList(text, name string) ([]byte, error) {
	folders := map[string]string{packageName(name): name}
	var imports, modules, out []string
	imports = append(imports, importLine(name))
	modules = append(modules, "\t\t"+packageName(name)+".Module,")
	importsAt, modulesAt := -1, -1
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := importRule.FindStringSubmatch(line); m != nil {
			if m[2] == name {
				return nil, fmt.Errorf("module %q is in the list already", name)
			}
			alias := m[1]
			if alias == "" {
				alias = m[2]
			}
			folders[alias] = m[2]
			imports, importsAt = append(imports, line), len(out)
			continue
		}
		if moduleRule.MatchString(line) {
			modules, modulesAt = append(modules, line), len(out)
			continue
		}
		out = append(out, line)
	}
	if importsAt < 0 || modulesAt < 0 {
		return nil, errors.New("cannot find the imports and the list in tasks.go")
	}
	slices.SortFunc(imports, func(a, b string) int {
		return strings.Compare(importRule.FindStringSubmatch(a)[2], importRule.FindStringSubmatch(b)[2])
	})
	slices.SortFunc(modules, func(a, b string) int {
		return strings.Compare(folders[moduleRule.FindStringSubmatch(a)[1]], folders[moduleRule.FindStringSubmatch(b)[1]])
	})
	out = slices.Insert(out, modulesAt, modules...)
	out = slices.Insert(out, importsAt, imports...)
	return format.Source([]byte(strings.Join(out, "\n") + "\n"))
}

func importLine(name string) string {
	if p := packageName(name); p != name {
		return fmt.Sprintf("\t%s %q", p, "holdfast/tasks/"+name)
	}
	return fmt.Sprintf("\t%q", "holdfast/tasks/"+name)
}

const code = `// Package <<.Package>> makes sure that a file is there.
package <<.Package>>

import (
	"context"
	_ "embed"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path task.Path ` + "`yaml:\"path\" validate:\"required\" doc:\"The file.\"`" + `
}

// State is what the host has.
type State struct {
	Exists bool ` + "`yaml:\"exists\" json:\"exists\" doc:\"Whether the file is there.\"`" + `
}

// Module is the <<.Name>> module.
var Module = task.New(task.Def[Params, State]{
	Name: "<<.Name>>", Doc: doc,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	return State{Exists: info.Exists()}, nil
}

func diff(_ Params, s State) []task.Change {
	if s.Exists {
		return nil
	}
	return []task.Change{{Attr: "path", Before: "absent", After: "present", Kind: task.Create}}
}

func apply(ctx context.Context, w task.Writer, p Params, _ State) error {
	return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path)})
}
`

const test = `package <<.Package>>_test

import (
	"strings"
	"testing"

<<if eq .Name .Package>>	"holdfast/tasks/<<.Name>>"
<<else>>	<<.Package>> "holdfast/tasks/<<.Name>>"
<<end>>	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, <<.Package>>.Module) }

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"there", "{path: /etc/motd}", ""},
		{"missing", "{path: /etc/new}", "path absent > present"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, tasktest.NewHost(), <<.Package>>.Module, tt.args)); got != tt.want {
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

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":          "<<.Name>>.path: missing",
		"{path: etc}": "want an absolute path",
	} {
		if got := tasktest.Fault(<<.Package>>.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
`

const doc = `# Makes sure that a file is there.

What the module does, and what it leaves alone.

## Notes

- What may surprise, and what is a failure.

## Examples

` + "```yaml" + `
- name: a file of the kind
  <<.Name>>: {path: /etc/<<.Name>>}
` + "```" + `
`

const script = `# the module explains itself
exec holdfast doc <<.Name>>
stdout '<<.Name>>'

# a playbook that uses it has no faults
exec holdfast check play.yml -i localhost,

# and one with a misspelt field has one, with its place
! exec holdfast check wrong.yml -i localhost,
stderr 'wrong.yml:6:.*unknown field'

-- play.yml --
playbook: play
version: 1.0.0
summary: Shows the <<.Name>> module.
tasks:
  - name: a file of the kind
    <<.Name>>: {path: /etc/<<.Name>>}
-- wrong.yml --
playbook: wrong
version: 1.0.0
summary: Shows the <<.Name>> module.
tasks:
  - name: a file of the kind
    <<.Name>>: {pth: /etc/<<.Name>>}
`
