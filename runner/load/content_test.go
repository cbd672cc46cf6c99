package load_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/playbooks"
	"holdfast/runner/expr"
	"holdfast/runner/load"
	"holdfast/tasks/task"
)

func TestFilesBesideThePlaybook(t *testing.T) {
	files := map[string]string{"files/a.txt": "in files", "b.txt": "beside", "files/both": "files", "both": "beside", "files/deep/c": "deep", "playbook.yml": "x"}
	for name, want := range map[string]string{"a.txt": "in files", "b.txt": "beside", "both": "files", "deep/c": "deep", "./a.txt": "in files", "deep/../a.txt": "in files", "files/a.txt": "in files"} {
		h := setup{files: files, text: "tasks: [{make: {name: x, file: '" + name + "'}}]\n"}.bound(t)
		if got := content(t, h, 0, "file"); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	const hint = "\n\thint: it is looked for in files and . beside the playbook"
	checkFaults(t, []faultCase{
		{"missing", setup{files: files, text: "tasks: [{make: {name: x, file: none}}]\n"}, "site.yml:3:32: tasks[0].make.file: cannot read \"none\": there is no such file" + hint},
		{"above", setup{files: files, text: "tasks: [{make: {name: x, file: ../a}}]\n"}, "site.yml:3:32: tasks[0].make.file: cannot read \"../a\": it must lie beside the playbook" + hint},
		{"above by a detour", setup{files: files, text: "tasks: [{make: {name: x, file: a/../../b}}]\n"}, "site.yml:3:32: tasks[0].make.file: cannot read \"a/../../b\": it must lie beside the playbook" + hint},
		{"absolute", setup{files: files, text: "tasks: [{make: {name: x, file: /etc/shadow}}]\n"}, "site.yml:3:32: tasks[0].make.file: cannot read \"/etc/shadow\": it must lie beside the playbook" + hint},
		{"a folder", setup{files: files, text: "tasks: [{make: {name: x, file: deep}}]\n"}, "site.yml:3:32: tasks[0].make.file: cannot send \"deep\": it must be a regular file of at most 64 MiB" + hint},
		{"no name", setup{files: files, text: "tasks: [{make: {name: x, file: ''}}]\n"}, "site.yml:3:32: tasks[0].make.file: cannot send \"\": it must be a regular file of at most 64 MiB" + hint},
		{"missing for one host", setup{files: files, fleet: "hosts: {a: {}, z: {}}", text: "tasks: [{make: {name: x, file: '${host.name}.txt'}}]\n"},
			"site.yml:3:32: tasks[0].make.file: cannot read \"z.txt\": there is no such file\n\ton: z"},
		{"content that is no text", setup{text: "tasks: [{make: {name: x, content: [a]}}]\n"}, "site.yml:3:35: tasks[0].make.content: want content, got a list"},
		{"content by a reference of one's own", setup{text: "tasks: [{make: {name: x, content: {$blob: a, size: 1}}}]\n"}, "site.yml:3:35: tasks[0].make.content: want content, got a mapping"},
		{"a secret by a number of one's own", setup{text: "tasks: [{make: {name: x, secret: {$secret: 1}}}]\n"},
			"site.yml:3:34: tasks[0].make.secret: want a secret, got a mapping\n\thint: name it: ${secret(\"name\")}"},
	})
}

// content returns what a task sends for a field of content.
func content(t testing.TB, h *load.Host, i int, field string) string {
	t.Helper()
	b := blob(t, h, i, field)
	if data, ok := b.Inline(); ok {
		return string(data)
	}
	data, err := h.Content(b.Digest)
	if err != nil || task.DigestOf(data) != b.Digest || int64(len(data)) != b.Size {
		t.Fatalf("content of %d: %d bytes, %v", i, len(data), err)
	}
	return string(data)
}

func blob(t testing.TB, h *load.Host, i int, field string) task.Blob {
	t.Helper()
	r, unknown, err := h.Playbook.Tasks[i].Resolve(context.Background(), h.NewScope(&task.Facts{CPUs: 4, MemoryMB: 1 << 25, OS: task.OS{ID: "debian"}}), &load.SecretTable{})
	if err != nil || unknown != nil {
		t.Fatal(unknown, err)
	}
	var got task.Blob
	probe := task.NewAction(task.ActionDef[makeParams, made]{Name: "make", Doc: "Makes.",
		Run: func(context.Context, task.Writer, makeParams) (s made, err error) { return s, nil },
		Resource: func(p makeParams) string {
			got = *map[string]*task.Blob{"content": p.Content, "file": p.File, "template": p.Template}[field]
			return ""
		}})
	if _, err := probe.Bind(fromJSON(t, r.Args), nil); err != nil {
		t.Fatalf("%s: %v", r.Args, err)
	}
	return got
}

func TestLinksOutOfTheFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"secret": "root:x", "p/playbook.yml": head + "tasks:\n  - make: {name: a, file: link}\n  - make: {name: b, template: link}\n", "p/files/.keep": "", "p/templates/.keep": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"p/files/link", "p/templates/link"} {
		if err := os.Symlink("../../secret", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	pb, faults := playbooks.Finder{Modules: []string{"make"}}.Find(dir + "/p/playbook.yml")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	_, faults = load.Compile(pb, load.Options{Modules: toys})
	if len(faults) != 2 || !strings.Contains(faults[0].Message, `cannot read "link": path escapes from parent`) {
		t.Errorf("got %v", faults)
	}
}

func TestLargeContentGoesByDigest(t *testing.T) {
	s := setup{files: map[string]string{"files/small": "s", "files/large": strings.Repeat("l", 513), "files/binary": "\x00\x01"},
		secrets: map[string]string{"env:A": "alpha"}, text: `
tasks:
  - make: {name: a, content: "` + strings.Repeat("x", 512) + `"}
  - make: {name: a, content: "` + strings.Repeat("x", 513) + `"}
  - make: {name: a, file: small}
  - make: {name: a, file: large}
  - make: {name: a, file: binary}
  - make: {name: a, content: 'pw=${reveal(secret("env:A"))}'}
  - make: {name: a, content: ""}
  - make: {name: a, content: "$${literal}"}
`}
	h := s.bound(t)
	for i, want := range []struct {
		field  string
		inline bool
		secret bool
		text   string
	}{
		{"content", true, false, strings.Repeat("x", 512)}, {"content", false, false, strings.Repeat("x", 513)}, {"file", true, false, "s"},
		{"file", false, false, strings.Repeat("l", 513)}, {"file", false, false, "\x00\x01"}, {"content", false, true, "pw=alpha"}, {"content", true, false, ""},
		{"content", true, false, "${literal}"},
	} {
		b := blob(t, h, i, want.field)
		if _, inline := b.Inline(); inline != want.inline || b.Secret != want.secret || content(t, h, i, want.field) != want.text {
			t.Errorf("task %d: inline %v, secret %v, text %.20q", i, inline, b.Secret, content(t, h, i, want.field))
		}
	}
	b := blob(t, h, 1, "content")
	h.Release()
	if _, err := h.Content(b.Digest); err == nil {
		t.Error("what was made for the host is still there after Release")
	}
	if b := blob(t, h, 3, "file"); content(t, h, 3, "file") == "" || b.Size != 513 {
		t.Error("a file is shared by all hosts and stays")
	}
}

func TestTemplates(t *testing.T) {
	s := setup{files: map[string]string{
		"templates/t": "{{.host.name}} {{.params.port}} {{join .params.words \",\"}} {{range .params.words}}[{{.}}]{{end}} {{upper .host.labels.role}}" +
			" {{.facts.cpus}} {{.facts.memory_mb}} {{if gt .params.port 1}}big{{end}} {{with .params.map}}{{.a}}{{end}} {{quote \"x\"}} {{len .fleet.hosts}}\n",
		"templates/item": "{{.item.name}}",
		"templates/pw":   "{{.params.pw}}",
		"templates/fn":   "{{secret \"env:A\"}}",
		"beside":         "b",
	}, secrets: map[string]string{"env:A": "alpha"}, text: `
params:
  port: {type: int, default: 22}
  words: {type: list(string), default: [a, b]}
  map: {type: map(int), default: {a: 1}}
  pw: {type: secret, default: "env:A"}
tasks:
  - make: {name: x, template: t}
  - make: {name: x, template: pw}
  - make: {name: x, template: fn}
  - make: {name: x, template: beside}
`}
	h := s.bound(t)
	for i, want := range []string{"web1 22 a,b [a][b] WEB 4 33554432 big 1 \"x\" 1\n", "alpha", "alpha", "b"} {
		if got := content(t, h, i, "template"); got != want {
			t.Errorf("template %d: got %q, want %q", i, got, want)
		}
		if secret := blob(t, h, i, "template").Secret; secret != (i == 1 || i == 2) {
			t.Errorf("template %d: secret %v", i, secret)
		}
	}
}

func TestTemplateFaults(t *testing.T) {
	with := func(text string) setup {
		return setup{files: map[string]string{"templates/t.conf": text}, secrets: map[string]string{"env:A": "alpha"}, text: `params: {port: {type: int, default: 1}, words: {type: list(string), default: []}, any: {type: any, default: {a: 1}}, pw: {type: secret, default: "env:A"}}
tasks:
  - make: {name: a}
    register: r
  - make: {name: "${item.name}", template: t.conf}
    each: [{name: b}]
`}
	}
	const at = "\n\talso: site.yml:7:44"
	checkFaults(t, []faultCase{
		{"missing", setup{text: "tasks: [{make: {name: a, template: none}}]\n"}, "site.yml:3:36: tasks[0].make.template: cannot read \"none\": there is no such file\n\thint: it is looked for in templates and . beside the playbook"},
		{"a name that is not known", setup{text: "tasks: [{make: {name: a, template: '${host.name}'}}]\n"}, "site.yml:3:36: tasks[0].make.template: the name of a template must be known when the playbook is loaded"},
		{"syntax", with("one\n{{ if }}\n"), "templates/t.conf:2:1: tasks[1].make.template: missing value for if" + at},
		{"an unknown function", with("one\n\n  {{ foo 1 }}\n"), "templates/t.conf:3:1: tasks[1].make.template: function \"foo\" not defined" + at},
		{"an unknown parameter", with("äöü {{ .params.prot }}\n"), "templates/t.conf:1:16: tasks[1].make.template: undefined field \"prot\"" + at + "\n\thint: did you mean \"port\"?"},
		{"an unknown fact", with("a\n {{ .facts.os.vresion }}\n"), "templates/t.conf:2:15: tasks[1].make.template: undefined field \"vresion\"" + at + "\n\thint: did you mean \"version\"?"},
		{"an unknown name", with("{{ .parms.port }}\n"), "templates/t.conf:1:5: tasks[1].make.template: undefined field \"parms\"" + at + "\n\thint: did you mean \"params\"?"},
		{"an unknown field of a result", with("{{ .r.uidd }}\n"), "templates/t.conf:1:7: tasks[1].make.template: undefined field \"uidd\"" + at + "\n\thint: did you mean \"uid\"?"},
		{"an unknown field of the item", with("{{ .item.nme }}\n"), "templates/t.conf:1:10: tasks[1].make.template: undefined field \"nme\"" + at + "\n\thint: did you mean \"name\"?"},
		{"a field of a text", with("{{ .host.name.first }}\n"), "templates/t.conf:1:15: tasks[1].make.template: cannot read \"first\": string has no fields" + at},
		{"inside of a loop over hosts", with("{{ range .fleet.hosts }}{{ .nme }}{{ end }}\n"), "templates/t.conf:1:29: tasks[1].make.template: undefined field \"nme\"" + at + "\n\thint: did you mean \"name\"?"},
		{"from the root inside of a loop", with("{{ range .params.words }}{{ $.params.prot }}{{ end }}\n"), "templates/t.conf:1:38: tasks[1].make.template: undefined field \"prot\"" + at + "\n\thint: did you mean \"port\"?"},
		{"a key that only the run can tell", with("{{ .params.any.b }}\n"), "templates/t.conf:1:11: tasks[1].make.template: <.params.any.b>: map has no entry for key \"b\"" + at},
		{"a function that fails", with("x\n{{ index .params.words 5 }}\n"), "templates/t.conf:2:4: tasks[1].make.template: <index .params.words 5>: error calling index: index out of range: 5" + at},
		{"a secret that is not there", with("{{ secret \"env:B\" }}\n"), "templates/t.conf:1:4: tasks[1].make.template: <secret \"env:B\">: error calling secret: there is no such secret" + at},
		{"no text", with("\xff"), "templates/t.conf:1:1: tasks[1].make.template: the template is not UTF-8 text" + at},
		{"too large", with(strings.Repeat("{{ printf \"%999999d\" 1 }}\n", 20)), "templates/t.conf: tasks[1].make.template: the template makes more than 16 MiB" + at},
		{"a result that is not known yet", with("{{ .r.uid }} {{ .facts.cpus }} {{ .item.name }}\n"), ""},
	})
}

func TestUnknownsInTemplates(t *testing.T) {
	s := setup{files: map[string]string{"templates/t": "{{.r.home}}", "templates/u": "{{.host.name}}", "templates/f": "{{.facts.cpus}}"}, text: `
tasks:
  - make: {name: a}
    register: r
  - make: {name: b, template: t}
  - make: {name: b, template: u}
  - make: {name: b, template: f}
`}
	h := s.bound(t)
	sc := h.NewScope(nil)
	sc.SetResult("r", expr.Unknown{Reason: "ask"})
	for i, want := range []string{"", "ask", "", "the host was contacted"} {
		_, unknown, err := h.Playbook.Tasks[i].Resolve(context.Background(), sc, &load.SecretTable{})
		got := ""
		if unknown != nil {
			got = unknown.Reason
		}
		if err != nil || got != want {
			t.Errorf("task %d: unknown %q, %v, want %q", i, got, err, want)
		}
	}
	sc.SetResult("r", made{Home: "/root"})
	r, unknown, err := h.Playbook.Tasks[1].Resolve(context.Background(), sc, &load.SecretTable{})
	if err != nil || unknown != nil || !bytes.Contains(r.Args, []byte("/root")) {
		t.Errorf("got %s, %v, %v", r.Args, unknown, err)
	}
}
