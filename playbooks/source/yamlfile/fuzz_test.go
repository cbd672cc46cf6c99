package yamlfile_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
)

// FuzzParse checks that no input makes the reader panic, that every place is
// inside the file, and that mapped offsets point at the character they stand for.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "a: 1\n", "a: &x {b: [1, 'two', \"three\"]}\nc: *x\n", "a: |\n  x\n\n  y\nb: >-\n  z\n",
		"a: \"\\u00e9\"\n", "? [a]\n: b\n", "<<: x\n", "a: 1\n---\nb\n", "a:\n\tb: 1\n", "a: 'x\n", "[[[", "é: ü # ö\n",
		"%YAML 1.1\n---\n!!str &a x\n", "a: |2+\n   x\n\n\n", "a: *b\n", "\ufeffa: 1\r\nb: 2\r\n", "- - - x\n - y\n", "a: !x {,}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, faults := yamlfile.Parse("f.yml", data)
		lines := bytes.Split(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\n"))
		c := checker{t: t, lines: lines}
		if n != nil {
			c.node(n)
		}
		for _, fault := range faults {
			c.place(fault.Pos)
			for _, p := range fault.Also {
				c.place(p)
			}
		}
	})
}

type checker struct {
	t     *testing.T
	lines [][]byte
}

func (c checker) place(p source.Pos) {
	if p.File != "f.yml" || p.Line < 1 || p.Line > len(c.lines) || p.Col < 1 || p.Col > utf8.RuneCount(c.lines[p.Line-1])+1 {
		c.t.Fatalf("place %s is outside the file of %d lines", p, len(c.lines))
	}
}

func (c checker) node(n *source.Node) {
	c.place(n.Pos)
	if n.Anchor != nil {
		c.place(*n.Anchor)
	}
	for _, item := range n.Items {
		c.node(item)
	}
	seen := map[string]bool{}
	for _, e := range n.Entries {
		if seen[e.Key.Text] {
			c.t.Fatalf("key %q stands twice", e.Key.Text)
		}
		seen[e.Key.Text] = true
		c.node(e.Key)
		c.node(e.Value)
	}
	if n.Kind == source.Scalar {
		c.columns(n)
	}
}

func (c checker) columns(n *source.Node) {
	if len(n.Text) > 1000 {
		return
	}
	for i, r := range n.Text {
		p := n.At(i)
		c.place(p)
		if n.Columns == nil || n.Anchor != nil || r == '\n' {
			continue
		}
		line := []rune(string(c.lines[p.Line-1]))
		if p.Col > len(line) || line[p.Col-1] != r {
			c.t.Fatalf("offset %d of %q is mapped to %s, where %q does not stand", i, n.Text, p, r)
		}
	}
	c.place(n.At(len(n.Text)))
	if n.Columns == nil && n.Anchor == nil && isSimple(n, c.lines) {
		c.t.Fatalf("%q at %s stands there as it is and is not mapped", n.Text, n.Pos)
	}
}

// isSimple reports whether a text of letters stands in the file at its place.
func isSimple(n *source.Node, lines [][]byte) bool {
	if n.Text == "" || strings.ContainsFunc(n.Text, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return false
	}
	line := []rune(string(lines[n.Pos.Line-1]))
	return strings.HasPrefix(string(line[n.Pos.Col-1:]), n.Text)
}
