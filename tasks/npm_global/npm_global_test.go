package npmglobal_test

import (
	"strings"
	"testing"

	npmglobal "holdfast/tasks/npm_global"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, npmglobal.Module) }

var args = "{name: tool, version: 1.2.3, path: /opt/tool, integrity: " + tasktest.NpmIntegrity + "}"

func with(text string) string { return strings.TrimSuffix(args, "}") + ", " + text + "}" }

func origin(t *testing.T, version string) string {
	t.Helper()
	sum, err := task.ParseSum(tasktest.NpmIntegrity)
	if err != nil {
		t.Fatal(err)
	}
	return "tool " + version + " " + string(sum)
}

// world has 1.2.0 and 1.1.0 of ours, 1.2.2 half installed, and 1.2.0 is current.
func world(t *testing.T) *tasktest.Host {
	h := tasktest.NewHost()
	for _, v := range []string{"1.2.0", "1.1.0"} {
		h.AddFile("/opt/tool/"+v+"/.holdfast-npm", origin(t, v)+"\n", 0o644)
		h.AddFile("/opt/tool/"+v+"/node_modules/tool/package.json", `{"version":"`+v+`"}`, 0o644)
	}
	h.AddFile("/opt/tool/1.2.2/package.json", "{}", 0o644)
	h.AddLink("/opt/tool/current", "1.2.0")
	return h
}

func TestDiff(t *testing.T) {
	first := "version  > " + task.Brief(origin(t, "1.2.3")) + "; current 1.2.0 > 1.2.3"
	tests := []struct{ name, args, want string }{
		{"new", args, first},
		{"there", strings.ReplaceAll(args, "1.2.3", "1.2.0"), ""},
		{"half of it", strings.ReplaceAll(args, "1.2.3", "1.2.2"), "version not installed to the end > " + task.Brief(origin(t, "1.2.2")) + "; current 1.2.0 > 1.2.2"},
		{"back", strings.ReplaceAll(args, "1.2.3", "1.1.0"), "current 1.2.0 > 1.1.0"},
		{"with scripts", strings.ReplaceAll(with("ignore_scripts: false, allow_scripts: [a, b]"), "1.2.3", "1.2.0"),
			"version " + task.Brief(origin(t, "1.2.0")) + " > " + task.Brief(origin(t, "1.2.0")) + " scripts a,b"},
		{"beside the one in use", with("switch: false"), "version  > " + task.Brief(origin(t, "1.2.3"))},
		{"what is in use stays", with("switch: false, keep: 0"), "version  > " + task.Brief(origin(t, "1.2.3")) + "; keep 1.1.0 > "},
		{"oldest goes", with("keep: 1"), first + "; keep 1.1.0 > "},
		{"programs", strings.ReplaceAll(with("bin: /usr/local/bin, programs: [tool]"), "1.2.3", "1.2.0"), "programs  > /usr/local/bin/tool"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, world(t), npmglobal.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func TestDiffSeesAnotherVersionInside(t *testing.T) {
	h := world(t)
	h.AddFile("/opt/tool/1.2.0/node_modules/tool/package.json", `{"version":"9.9.9"}`, 0o644)
	got := describe(tasktest.Diff(t, h, npmglobal.Module, strings.ReplaceAll(args, "1.2.3", "1.2.0")))
	if !strings.Contains(got, `which holds version "9.9.9"`) {
		t.Errorf("got %q, want the other version in it", got)
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Attr+" "+c.Before+" > "+c.After)
	}
	return strings.Join(out, "; ")
}

// What the registry has is not what was asked for: nothing stays, and the old version
// is still current.
func TestOtherIntegrity(t *testing.T) {
	h := world(t)
	before := h.Snapshot()
	other := strings.Replace(args, tasktest.NpmIntegrity, "sha256:"+strings.Repeat("ab", 32), 1)
	_, err := tasktest.Apply(t, h, npmglobal.Module, other)
	if err == nil || !strings.Contains(err.Error(), "the registry has another tool 1.2.3") {
		t.Fatalf("got %v, want a refusal", err)
	}
	if after := h.Snapshot(); string(after) != string(before) {
		t.Error("a refused installation left something")
	}
}

func TestFailureOfNpm(t *testing.T) {
	h := world(t)
	var last string
	h.OnRun = func(c task.Command) (task.Output, error) {
		last = strings.Join(c.Argv, " ")
		return task.Output{Status: 1, Stderr: "npm error code E404\nnpm error 404 Not Found"}, nil
	}
	_, err := tasktest.Apply(t, h, npmglobal.Module, args)
	if err == nil || !strings.Contains(err.Error(), "npm exits 1: npm error code E404; npm error 404") {
		t.Fatalf("got %v, want what npm said", err)
	}
	if last != "rm -rf -- /opt/tool/1.2.3" {
		t.Errorf("ended with %q, want half of it removed", last)
	}
}

func TestCommand(t *testing.T) {
	h := world(t)
	if _, err := tasktest.Apply(t, h, npmglobal.Module, with(`user: admin, cache: /c, offline: true, registry: "https://npm.example/a/", token: "${secret('t')}"`)); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.Calls() {
		cmd, ok := c.Args.(task.Command)
		if !ok || len(cmd.Argv) < 3 {
			continue
		}
		line := strings.Join(cmd.Argv, " ")
		if !strings.HasPrefix(line, "/opt/node/current/bin/node /opt/node/current/lib/node_modules/npm/bin/npm-cli.js install --save-exact") ||
			!strings.Contains(line, "--ignore-scripts --offline") || cmd.User != "admin" || cmd.Dir != "/opt/tool/1.2.3" ||
			cmd.Secrets["npm_config_//npm.example/a/:_authToken"].IsZero() {
			t.Errorf("runs %q as %s in %s with %v", line, cmd.User, cmd.Dir, cmd.Secrets)
		}
		return
	}
	t.Error("npm was not run")
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{name: tool, version: 1.2.3, path: /opt/tool}": "want it or a lock",
		strings.Replace(args, "1.2.3", "latest", 1):     "is no exact version",
		strings.Replace(args, "tool,", "Too/l,", 1):     "is no name of a package",
		strings.Replace(args, "sha512-", "sha1-", 1):    "is no checksum",
		with("offline: true"):                           `needs "cache" too`,
		with("bin: /usr/bin"):                           `needs "programs" too`,
		with("bin: /usr/bin, programs: [a/b]"):          "is no name of a program",
		with("allow_scripts: [a]"):                      "ignore_scripts: true",
		with("registry: ftp://x"):                       "is no URL",
	} {
		if got := tasktest.Fault(npmglobal.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
