package testscripts_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// rooms says which rooms of the house a room may use, of ours: the table of who may
// import whom. A trailing * stands for every room below. A room that is not here has
// no place yet.
var rooms = map[string]string{
	"cmd/holdfast":               "cmd/cli",
	"cmd/holdfast-helper":        "runner/helper tasks",
	"cmd/cli":                    "cmd/render inventory inventory/* playbooks playbooks/* runner runner/* tasks tasks/secret tasks/task",
	"cmd/render":                 "runner/audit runner/event runner/plain tasks/task",
	"inventory":                  "playbooks/source playbooks/source/yamlfile tasks/secret",
	"playbooks":                  "playbooks/lang playbooks/source playbooks/source/yamlfile",
	"playbooks/lang":             "playbooks/source tasks/task",
	"playbooks/source":           "",
	"playbooks/source/*":         "playbooks/source",
	"runner":                     "inventory playbooks/lang playbooks/source runner/event runner/expr runner/guard runner/load runner/plain runner/remote runner/wire tasks/secret tasks/task",
	"runner/audit":               "runner/event tasks/task",
	"runner/event":               "playbooks/source tasks/task",
	"runner/expr":                "playbooks/source tasks/secret",
	"runner/guard":               "",
	"runner/helper":              "playbooks/source runner/guard runner/host runner/host/* runner/journal runner/lookfirst runner/wire tasks/secret tasks/task",
	"runner/helperbin":           "runner/remote",
	"runner/history":             "runner/event",
	"runner/host":                "runner/host/* runner/journal tasks/secret tasks/task",
	"runner/host/*":              "tasks/secret tasks/task",
	"runner/journal":             "tasks/secret",
	"runner/load":                "inventory playbooks/lang playbooks/source runner/expr tasks/secret tasks/task",
	"runner/local":               "runner/remote",
	"runner/lookfirst":           "tasks/task",
	"runner/plain":               "",
	"runner/remote":              "runner/plain runner/wire tasks/secret",
	"runner/sandbox":             "",
	"runner/sandbox/sandboxtest": "runner/sandbox",
	"runner/secrets":             "inventory playbooks/source tasks/secret tasks/task",
	"runner/sshconn":             "runner/remote tasks/secret",
	"runner/wire":                "tasks/task",
	"tasks":                      "tasks/*",
	"tasks/secret":               "",
	"tasks/task":                 "playbooks/source tasks/secret",
	"tasks/tasktest":             "playbooks/source playbooks/source/yamlfile tasks/secret tasks/task",
	"tasks/*":                    "tasks/secret tasks/task", // a module
	// What several modules know of OpenClaw's protocol has one room.
	"tasks/openclaw_chat":   "tasks/openclaw/gateway tasks/secret tasks/task",
	"tasks/openclaw_device": "tasks/openclaw/gateway tasks/secret tasks/task",
	"tasks/openclaw_health": "tasks/openclaw/gateway tasks/secret tasks/task",
	"tasks/openclaw_push":   "tasks/openclaw/gateway tasks/secret tasks/task",
	"tasks/openclaw_reload": "tasks/openclaw/gateway tasks/secret tasks/task",
	"testscripts":           "*",
	"testscripts/*":         "*",
}

// doors are the rooms through which a module of others comes in, tests included.
var doors = map[string]string{
	"cel.dev/cel-go":                           "runner/expr",
	"filippo.io/age":                           "runner/secrets",
	"github.com/Masterminds/semver/v3":         "runner/load",
	"github.com/aymanbagabas/go-udiff":         "tasks/task",
	"github.com/cenkalti/backoff/v5":           "runner/sshconn",
	"github.com/godbus/dbus/v5":                "runner/host/systemd",
	"github.com/jedib0t/go-pretty/v6":          "cmd/render",
	"github.com/rogpeppe/go-internal":          "testscripts",
	"github.com/skeema/knownhosts":             "runner/sshconn",
	"github.com/santhosh-tekuri/jsonschema/v6": "tasks/openclaw_schema",
	"github.com/spf13/cobra":                   "cmd/cli",
	"go.yaml.in/yaml/v3":                       "playbooks/source/yamlfile",
	"modernc.org/sqlite":                       "runner/history",
	"golang.org/x/crypto":                      "runner/sshconn testscripts testscripts/*", // the tests play the other side
	"golang.org/x/sync":                        "cmd/cli runner runner/sandbox",
	"golang.org/x/sys":                         "runner/guard runner/host runner/sandbox testscripts/*",
	"golang.org/x/term":                        "cmd/render",
}

// unwanted are packages that must not be part of what we build, and why.
var unwanted = map[string]string{
	"github.com/google/cel-go":    "it moved to cel.dev/cel-go",
	"gopkg.in/yaml.v2":            "YAML has one reader",
	"gopkg.in/yaml.v3":            "it is archived; go.yaml.in/yaml/v3 is its heir",
	"github.com/stretchr/testify": "tests use the standard library",
	"github.com/pkg/errors":       "the standard library wraps errors",
	"github.com/sirupsen/logrus":  "the engine emits events and logs nothing",
	"github.com/spf13/viper":      "a flag is read in its own file",
	"github.com/ansible":          "nothing of it is needed",
	"io/ioutil":                   "os and io have its functions",
	"plugin":                      "one static binary",
	"C":                           "one static binary",
}

// modulesMayNot is how a module could go past the Reader and the Writer.
var modulesMayNot = []string{"os", "os/exec", "os/user", "net", "net/http", "syscall", "io/ioutil", "golang.org/x/sys"}

// helperMayNot is what would make the helper large, or cleverer than it may be.
var helperMayNot = []string{"cel.dev/cel-go", "github.com/spf13/cobra", "go.yaml.in/yaml/v3", "golang.org/x/crypto/ssh", "net/http", "text/template",
	"holdfast/runner/expr", "holdfast/runner/load", "holdfast/runner/remote", "holdfast/inventory", "holdfast/playbooks/source/yamlfile", "holdfast/cmd"}

// goPackage is what go list knows of a package.
type goPackage struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
	Deps                               []string
	Module                             *struct{ Path string }
}

// packages are ours, and all that they are made of.
var packages = sync.OnceValues(func() (map[string]*goPackage, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-test", "-tags", "hosts", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps,Module", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	all := map[string]*goPackage{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &goPackage{}
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

func listed(t *testing.T) map[string]*goPackage {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return all
}

// room returns the room of a package of ours.
func room(path string) (string, bool) {
	name, ok := strings.CutPrefix(path, "holdfast/")
	return name, ok && !strings.ContainsAny(name, " .")
}

// matches reports whether a name is among patterns that are separated by blanks.
func matches(name, patterns string) bool {
	for p := range strings.FieldsSeq(patterns) {
		prefix, any := strings.CutSuffix(p, "*")
		if p == name || any && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// ruleOf returns what a room may import: its own line, else that of its kind.
func ruleOf(name string) (string, bool) {
	if rule, ok := rooms[name]; ok {
		return rule, true
	}
	for dir := name; strings.Contains(dir, "/"); {
		dir = dir[:strings.LastIndex(dir, "/")]
		if rule, ok := rooms[dir+"/*"]; ok {
			return rule, true
		}
	}
	return "", false
}

func TestRooms(t *testing.T) {
	for path, p := range listed(t) {
		name, ours := room(path)
		if !ours {
			continue
		}
		rule, ok := ruleOf(name)
		if !ok {
			t.Errorf("%s: no rule says whom it may import; give it a line in the table", name)
			continue
		}
		for _, imported := range p.Imports {
			if other, ours := room(imported); ours && !matches(other, rule) {
				t.Errorf("%s imports %s, and may import %q", name, other, rule)
			}
		}
	}
}

func TestRoomsExist(t *testing.T) {
	all := listed(t)
	for name := range rooms {
		if all["holdfast/"+name] == nil && !strings.HasSuffix(name, "*") {
			t.Errorf("the table has a line for %s, which is not there", name)
		}
	}
}

func TestDoors(t *testing.T) {
	for path, p := range listed(t) {
		name, ours := room(path)
		if !ours {
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if imported == "C" || !strings.Contains(imported, ".") || strings.HasPrefix(imported, "holdfast/") {
				continue
			}
			module, at := doorOf(imported)
			if module == "" {
				t.Errorf("%s imports %s, which has no door; a dependency needs a decision first", name, imported)
			} else if !matches(name, at) {
				t.Errorf("%s imports %s, whose door is %s", name, imported, at)
			}
		}
	}
}

func doorOf(path string) (module, at string) {
	for module, at := range doors {
		if path == module || strings.HasPrefix(path, module+"/") {
			return module, at
		}
	}
	return "", ""
}

func TestUnwanted(t *testing.T) {
	all := listed(t)
	for path, p := range all {
		for bad, why := range unwanted {
			if !p.Standard && (path == bad || strings.HasPrefix(path, bad+"/")) {
				t.Errorf("%s is part of what we build: %s", path, why)
			}
			if _, ours := room(path); ours && slices.Contains(p.Imports, bad) {
				t.Errorf("%s imports %s: %s", path, bad, why)
			}
		}
	}
}

func TestModulesSeeTheHostOnlyThroughTheContract(t *testing.T) {
	for path, p := range listed(t) {
		name, ours := room(path)
		if !ours || !strings.HasPrefix(name, "tasks/") || slices.Contains([]string{"tasks/task", "tasks/secret", "tasks/tasktest"}, name) {
			continue
		}
		for _, bad := range modulesMayNot {
			if slices.Contains(p.Imports, bad) {
				t.Errorf("%s imports %s; a module sees the host only through Reader and Writer", name, bad)
			}
		}
	}
}

func TestHelperLinksLittle(t *testing.T) {
	cmd := exec.Command("go", "list", "-tags", "helper", "-f", `{{join .Deps "\n"}}`, "./cmd/holdfast-helper")
	cmd.Dir = ".."
	deps, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(deps)) {
		for _, bad := range helperMayNot {
			if dep == bad || strings.HasPrefix(dep, bad+"/") && bad != "net/http" {
				t.Errorf("the helper links %s", dep)
			}
		}
	}
}

// TestEmbeddedHelperIsFresh makes the helpers again, beside those that these tests push.
// Tests of an old helper would prove nothing. Their size is the business of runner/helperbin.
func TestEmbeddedHelperIsFresh(t *testing.T) {
	const embedded = "../runner/helperbin/bin"
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(embedded)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "gen.go", dir)
	cmd.Dir = filepath.Dir(embedded)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the helpers: %v\n%s", err, text)
	}
	manifests, err := filepath.Glob(filepath.Join(embedded, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range manifests { // none in a bare clone, which pushes itself
		is, err1 := os.ReadFile(name)
		want, err2 := os.ReadFile(filepath.Join(dir, filepath.Base(name)))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(is, want) {
			t.Errorf("%s is not what the sources make: run make helpers: %v", name, err)
		}
	}
}

// TestTidy compares go.mod with the sources. It may have to ask the module proxy, so
// it is for make check.
func TestTidy(t *testing.T) {
	if os.Getenv("HOLDFAST_CHECK") == "" {
		t.Skip("make check asks for it with HOLDFAST_CHECK=1")
	}
	cmd := exec.Command("go", "mod", "tidy", "-diff")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go.mod is not tidy: %v\n%s", err, out)
	}
}
