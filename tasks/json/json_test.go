package json_test

import (
	"strings"
	"testing"

	"holdfast/tasks/json"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, json.Module) }

const have = `{
    "z": 1.50,
    "a": {"list": [1, 2], "big": 12345678901234567890.10, "text": "<a&b>"},
    "token": "old"
}
`

func world() *tasktest.Host {
	h := tasktest.NewHost()
	h.AddFile("/etc/a.json", have, 0o644)
	h.AddFile("/etc/bad.json", "{\n // a comment\n}", 0o644)
	h.AddFile("/etc/empty.json", "", 0o644)
	h.AddFile("/etc/line.json", `{"a":1}`, 0o644)
	return h
}

func TestDiff(t *testing.T) {
	tests := []struct{ name, args, want string }{
		{"the same, written otherwise", `{path: /etc/a.json, merge: '{"a": {"text": "<a\u0026b>", "list": [1.0, 2]}, "z": 15e-1}'}`, ""},
		{"a value", `{path: /etc/a.json, set: [{path: a.x.y, json: "[true, null]"}]}`, "a.x  > {\"y\":[true,null]}"},
		{"in a list", `{path: /etc/a.json, set: [{path: a.list.1, json: "3"}]}`, "a.list [1,2] > [1,3]"},
		{"text is no number", `{path: /etc/a.json, set: [{path: z, text: "1.50"}]}`, `z 1.50 > "1.50"`},
		{"null removes", `{path: /etc/a.json, merge: '{"a": {"list": null}, "none": null}'}`, "a.list [1,2] > "},
		{"remove", `{path: /etc/a.json, remove: [a.text, no.thing]}`, `a.text "<a&b>" > `},
		{"a digit of a long number counts", `{path: /etc/a.json, merge: '{"a": {"big": 12345678901234567890.11}}'}`, "a.big 12345678901234567890.10 > 12345678901234567890.11"},
		{"a secret", `{path: /etc/a.json, set: [{path: token, secret: "${secret('x')}"}]}`, "token  >  hidden"},
		{"hidden", `{path: /etc/a.json, hide: true, set: [{path: z, json: "2"}]}`, "z  >  hidden"},
		{"missing", `{path: /etc/new.json, set: [{path: a, json: "1"}], mode: 0600}`, "a  > 1; mode  > 0600"},
		{"missing and not made", `{path: /etc/new.json, set: [{path: a, json: "1"}], create: false}`, ""},
		{"missing and empty", `{path: /etc/new.json, remove: [a]}`, "path absent > {}"},
		{"mode", `{path: /etc/a.json, remove: [q], mode: 0600, group: adm}`, "mode 0644 > 0600; group root > adm"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(tasktest.Diff(t, world(), json.Module, tt.args)); got != tt.want {
				t.Errorf("diff of %s: got %q, want %q", tt.args, got, tt.want)
			}
		})
	}
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		s := c.Attr + " " + c.Before + " > " + c.After
		if c.Sensitive {
			s += " hidden"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestApplyKeepsTheRest(t *testing.T) {
	for args, want := range map[string]string{
		`{path: /etc/a.json, set: [{path: b, text: "é\"\n"}], remove: [token]}`: "{\n    \"z\": 1.50,\n    \"a\": {\n        \"list\": [\n            1,\n            2\n        ],\n" +
			"        \"big\": 12345678901234567890.10,\n        \"text\": \"<a&b>\"\n    },\n    \"b\": \"é\\\"\\n\"\n}\n",
		`{path: /etc/line.json, merge: '{"b":{}}'}`:               `{"a":1,"b":{}}`,
		`{path: /etc/empty.json, set: [{path: /a.b, json: '1'}]}`: "{\n  \"a.b\": 1\n}\n",
	} {
		h := world()
		if _, err := tasktest.Apply(t, h, json.Module, args); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		file := strings.TrimSuffix(strings.Fields(args)[1], ",")
		if got, _ := h.File(file); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for args, want := range map[string]string{
		`{path: /etc/bad.json, remove: [a]}`:                      "cannot read /etc/bad.json: not JSON, at byte",
		`{path: /etc, remove: [a]}`:                               "there is a directory",
		`{path: /etc/a.json, set: [{path: a.list.5, json: "1"}]}`: "cannot set a.list.5 in /etc/a.json",
		`{path: /etc/a.json, set: [{path: z.deeper, json: "1"}]}`: "what is there is no object",
	} {
		if _, err := tasktest.Apply(t, world(), json.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /a}":                                       "there is nothing to do",
		"{path: /a, merge: '[1]'}":                         "want an object",
		"{path: /a, merge: '{\"a\": 1, \"a\": 2}'}":        `the key "a" comes twice`,
		"{path: /a, merge: '{'}":                           "it ends early",
		"{path: /a, set: [{path: a..b, text: x}]}":         "empty part",
		"{path: /a, set: [{path: a}]}":                     "give text, json or secret",
		"{path: /a, set: [{path: a, json: tru}]}":          "not JSON",
		"{path: /a, set: [{path: a, json: '1', text: x}]}": "cannot be combined",
		"{path: /a, remove: ['']}":                         "want a path",
	} {
		if got := tasktest.Fault(json.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
