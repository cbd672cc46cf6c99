package block_test

import (
	"strings"
	"testing"

	"holdfast/tasks/block"
	"holdfast/tasks/tasktest"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, block.Module) }

const (
	begin = "# BEGIN holdfast\n"
	end   = "# END holdfast\n"
)

func TestEdit(t *testing.T) {
	tests := []struct{ name, args, before, want string }{
		{"there", "text: a", "x\n" + begin + "a\n" + end + "y\n", "x\n" + begin + "a\n" + end + "y\n"},
		{"there, and the file lacks the last line end", "text: a", begin + "a\n" + end + "y", begin + "a\n" + end + "y"},
		{"added at the end", "text: a", "x", "x\n" + begin + "a\n" + end},
		{"added to an empty file", "text: a", "", begin + "a\n" + end},
		{"several lines", `text: "a\nb\n"`, "", begin + "a\nb\n" + end},
		{"no lines", `text: ""`, "", begin + end},
		{"replaced where it stands", "{text: b, before: ^x}", "x\n" + begin + "a\n" + end + "y\n", "x\n" + begin + "b\n" + end + "y\n"},
		{"below the last anchor", "{text: a, after: ^x}", "x\nx\ny\n", "x\nx\n" + begin + "a\n" + end + "y\n"},
		{"above the first anchor", "{text: a, before: ^x}", "y\nx\nx\n", "y\n" + begin + "a\n" + end + "x\nx\n"},
		{"no anchor", "{text: a, after: ^z}", "x\n", "x\n" + begin + "a\n" + end},
		{"another block is left alone", "{text: b, marker: two}", begin + "a\n" + end, begin + "a\n" + end + "# BEGIN two\nb\n# END two\n"},
		{"other comments", `{text: b, comment: "/*", end: "*/"}`, "", "/* BEGIN holdfast */\nb\n/* END holdfast */\n"},
		{"absent", "state: absent", "x\n" + begin + "a\n" + end + "y\n", "x\ny\n"},
		{"absent already", "state: absent", "x", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := "{path: /etc/f, " + strings.TrimPrefix(strings.TrimSuffix(tt.args, "}"), "{") + "}"
			h := tasktest.NewHost()
			h.AddFile("/etc/f", tt.before, 0o600)
			if _, err := tasktest.Apply(t, h, block.Module, args); err != nil {
				t.Fatal(err)
			}
			if got, _ := h.File("/etc/f"); got != tt.want {
				t.Errorf("%s in %q: got %q, want %q", args, tt.before, got, tt.want)
			}
		})
	}
}

func TestDiffKinds(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/f", begin+"a\n"+end, 0o644)
	for args, want := range map[string]string{
		"{path: /etc/f, text: a}":                 "",
		"{path: /etc/f, text: b}":                 "text update",
		"{path: /etc/f, text: b, marker: two}":    "text create",
		"{path: /etc/f, state: absent}":           "state delete",
		"{path: /etc/new, text: b, create: true}": "text create",
		"{path: /etc/new, state: absent}":         "",
	} {
		got := ""
		if changes := tasktest.Diff(t, h, block.Module, args); len(changes) > 0 {
			got = changes[0].Attr + " " + changes[0].Kind
		}
		if got != want {
			t.Errorf("diff of %s: got %q, want %q", args, got, want)
		}
	}
}

func TestObserveRefuses(t *testing.T) {
	for text, want := range map[string]string{
		begin + "a\n":                     "no line after it # END holdfast",
		"a\n" + end:                       "no line before it # BEGIN holdfast",
		end + begin:                       "no line before it # BEGIN holdfast",
		begin + end + begin + end:         "two lines say # BEGIN holdfast",
		begin + "a\n" + end + "b\n" + end: "no line before it # BEGIN holdfast",
	} {
		h := tasktest.NewHost()
		h.AddFile("/etc/f", text, 0o644)
		_, err := tasktest.Apply(t, h, block.Module, "{path: /etc/f, text: x}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("block in %q: got %v, want an error with %q", text, err, want)
		}
	}
	for args, want := range map[string]string{
		"{path: /etc/new, text: a}": "it is missing; set create",
		"{path: /bin, text: a}":     "it is a link to usr/bin",
		"{path: /etc, text: a}":     "not a regular file",
	} {
		if _, err := tasktest.Apply(t, tasktest.NewHost(), block.Module, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("block %s: got %v, want an error with %q", args, err, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{path: /x}":                               "block.text: missing",
		"{path: /x, text: a, state: absent}":       "neither text nor place",
		"{path: /x, text: a, after: '('}":          "block.after: invalid pattern",
		`{path: /x, text: "# END holdfast"}`:       "the block's own marks",
		`{path: /x, text: a, marker: ""}`:          "want a name",
		"{path: /x, text: a, after: b, before: c}": `cannot be combined with "before"`,
	} {
		if got := tasktest.Fault(block.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

func FuzzEditSettles(f *testing.F) {
	f.Add("a\nb\nc", "d", "^a")
	f.Add("", "", ".")
	f.Add("# BEGIN m\nx\n# END m", "y\n\n", "$")
	f.Fuzz(func(t *testing.T, text, lines, after string) {
		p := block.Params{Text: &lines, Marker: "m", Comment: "#", State: "present", After: &after}
		once, ok := block.Edit(p, text)
		if !ok {
			return // broken marks or a wrong pattern
		}
		if again, _ := block.Edit(p, once); again != once {
			t.Errorf("editing %q with %q gives %q, again %q", text, lines, once, again)
		}
	})
}
