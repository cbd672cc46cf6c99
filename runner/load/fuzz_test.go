package load_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/inventory"
	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
	"holdfast/runner/load"
)

var seeds = []string{
	"playbook: p\nversion: 1.0.0\ntasks:\n  - make: {name: \"${host.name}\"}\n    when: facts.cpus > 1\n    each: [a, {b: c}]\n    register: r\n    notify: h\nhandlers: {h: {do: {what: x}}}\n",
	"playbook: p\nparams: {a: {type: list(map(int)), default: [{x: 1}], check: size(value) > 0}, s: {type: secret, required: true}}\nneeds: {os: [debian>=12], holdfast: '>1'}\n" +
		"tasks:\n  - tasks: [{make: {name: a, secret: '${params.s}'}}]\n    rescue: [{use: other, with: {a: \"${params.a}\"}}]\n    always: [{do: {what: |\n            x ${r.home}\n          }}]\nverify: [{look: {what: a}}]\n",
	"playbook: p\ntasks:\n  - make: {name: x, content: >-\n        a ${1}\n        b, file: f, template: t}\n    retry: {times: 3, delay: 1s, until: result.uid > 1}\n    fail_if: 'true'\n    run_as: root\n    timeout: 5m\n    tags: [a]\n",
	"playbook: p\ntasks: &t\n  - make: &m {name: a}\n  - make: *m\n    when: \"\"\nverify: *t\n",
	"playbook: p\ntasks:\n  - guard: {via: [{user: \"${params.x}\", port: 22}], within: 60s}\n    tasks: [{make: {name: a}}]\n",
	"tasks:\n  - use: other\n    each: ${[1].map(x, x)}\n    as: n\n    with: {a: \"${n}\"}\n", "a: [", "", "- ", "playbook: \"\\u2028\"\n",
}

// Whatever a file holds, reading it ends, and its faults have places inside of it.
func FuzzLoad(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	examples, _ := filepath.Glob("../../playbooks/library/*/playbook.yml")
	for _, name := range examples {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	other := "playbook: other\nparams: {a: {type: any, default: 1}}\ntasks: [{make: {name: o, count: '${params.a}'}}]\n"
	hosts := setup{}.inventory(f)
	f.Fuzz(func(t *testing.T, text string) {
		root, faults := yamlfile.Parse("f", []byte(text))
		if root == nil && len(faults) > 0 {
			checkPlaces(t, text, faults)
			return
		}
		pb, found := lang.Parse(root, "f", lang.Options{Modules: []string{"make", "do", "look", "maybe"}})
		faults = append(faults, found...)
		find := func(name string) (*lang.Playbook, source.Faults) {
			if name != "other" {
				return nil, source.Faults{{Message: "none"}}
			}
			return parsePlaybook("other", "other", other, nil)
		}
		compiled, found := load.Compile(pb, load.Options{Modules: toys, Find: find})
		faults = append(faults, found...)
		_, found = load.Bind(compiled, hosts, load.BindOptions{})
		checkPlaces(t, text, append(faults, found...))
	})
}

func checkPlaces(t *testing.T, text string, faults source.Faults) {
	t.Helper()
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	for _, f := range faults {
		for _, p := range append([]source.Pos{f.Pos}, f.Also...) {
			if p.File == "other" {
				continue
			}
			if p.File != "f" || p.Line > len(lines) || p.Line > 0 && (p.Col < 1 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1) {
				t.Errorf("%q: the fault %q has the place %+v outside of the file", text, f.Message, p)
			}
		}
		if f.Message == "" || strings.Contains(f.Message, "internal error") || strings.HasSuffix(f.Message, ".") && !strings.HasSuffix(f.Message, "..") && !strings.Contains(f.Message, "\"") {
			t.Errorf("%q: the fault %+v says nothing or is one of ours", text, f)
		}
	}
}

// A file as large as is read must not take the program down.
func TestLargePlaybooks(t *testing.T) {
	texts := map[string]string{
		"tasks":       "tasks:\n" + strings.Repeat("- make: {name: a}\n", 200_000),
		"nesting":     "tasks:\n" + nested(200),
		"flow":        "tasks: " + strings.Repeat("[", 100_000),
		"a list":      "tasks:\n- make:\n    name: a\n    words: [" + strings.Repeat("a,", 600_000) + "]\n",
		"faults":      "tasks:\n- make:\n    name: a\n" + strings.Repeat("    x: 1\n", 100_000),
		"expressions": "tasks:\n- make:\n    name: a\n    words:\n" + strings.Repeat("    - ${host.name + \"x\"}\n", 20_000),
		"registers":   "tasks:\n" + registers(2_000),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			s := setup{text: text}
			pb, faults := s.compile()
			if pb != nil {
				_, found := load.Bind(pb, []*inventory.Host{{Name: "a"}}, load.BindOptions{})
				faults = append(faults, found...)
			}
			_ = faults.Sorted()
		})
	}
}

func nested(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat("  ", i) + "- tasks:\n")
	}
	return b.String()
}

func registers(n int) string {
	var b strings.Builder
	for i := range n {
		id := string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		b.WriteString("- make: {name: \"${host.name}\"}\n  register: r_" + id + "\n")
	}
	return b.String()
}
