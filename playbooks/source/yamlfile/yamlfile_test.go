package yamlfile_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
)

// outline writes a tree as one line per node: place, kind or type, text.
func outline(n *source.Node) string {
	var b strings.Builder
	writeOutline(&b, n, "")
	return b.String()
}

func writeOutline(b *strings.Builder, n *source.Node, indent string) {
	if n == nil {
		b.WriteString("nothing\n")
		return
	}
	place := fmt.Sprintf("%d:%d", n.Pos.Line, n.Pos.Col)
	if n.Anchor != nil {
		place += fmt.Sprintf("<%d:%d", n.Anchor.Line, n.Anchor.Col)
	}
	switch n.Kind {
	case source.List:
		fmt.Fprintf(b, "%s%s list\n", indent, place)
		for _, item := range n.Items {
			writeOutline(b, item, indent+"  ")
		}
	case source.Map:
		fmt.Fprintf(b, "%s%s map\n", indent, place)
		for _, e := range n.Entries {
			writeOutline(b, e.Key, indent+"  ")
			writeOutline(b, e.Value, indent+"    ")
		}
	default:
		types := [...]string{"str", "null", "bool", "int", "float"}
		fmt.Fprintf(b, "%s%s %s %q\n", indent, place, types[n.Type], n.Text)
	}
}

func TestParsePlaces(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"an empty file is nothing", "", "nothing\n"},
		{"a comment is nothing", "# x\n", "nothing\n"},
		{"a bare marker is nothing", "---\n", "nothing\n"},
		{"a written null is a value", "~\n", "1:1 null \"~\"\n"},
		{"a mapping starts at its first key", "\n# c\na: 1\nbc:  x\n", `
3:1 map
  3:1 str "a"
    3:4 int "1"
  4:1 str "bc"
    4:6 str "x"
`},
		{"an absent value is behind the colon", "a:\nb: 1\n", `
1:1 map
  1:1 str "a"
    1:3 null ""
  2:1 str "b"
    2:4 int "1"
`},
		{"lists may stand at the column of their key", "a:\n- x\n- y: 1\n", `
1:1 map
  1:1 str "a"
    2:1 list
      2:3 str "x"
      3:3 map
        3:3 str "y"
          3:6 int "1"
`},
		{"columns count characters", "é: [ü, {ö: ä}]\n", `
1:1 map
  1:1 str "é"
    1:4 list
      1:5 str "ü"
      1:8 map
        1:9 str "ö"
          1:12 str "ä"
`},
		{"a byte order mark has no column", "\ufeffa: b\r\nc: d\r\n", `
1:1 map
  1:1 str "a"
    1:4 str "b"
  2:1 str "c"
    2:4 str "d"
`},
		{"an alias has its own place and that of what it copies", "a: &x {k: 0644}\nb: *x\n", `
1:1 map
  1:1 str "a"
    1:4 map
      1:8 str "k"
        1:11 int "0644"
  2:1 str "b"
    2:4<1:4 map
      2:4<1:8 str "k"
        2:4<1:11 int "0644"
`},
		{"a later anchor of one name wins from there on", "- &x 1\n- *x\n- &x 2\n- *x\n", `
1:1 list
  1:3 int "1"
  2:3<1:3 int "1"
  3:3 int "2"
  4:3<3:3 int "2"
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, faults := yamlfile.Parse("f.yml", []byte(tt.in))
			if len(faults) > 0 {
				t.Fatalf("Parse(%q): %v", tt.in, faults)
			}
			if got, want := outline(n), strings.TrimPrefix(tt.want, "\n"); got != want {
				t.Errorf("Parse(%q) got\n%swant\n%s", tt.in, got, want)
			}
		})
	}
}

func TestParseTypes(t *testing.T) {
	tests := map[string]source.Type{
		"yes": source.Str, "on": source.Str, "true": source.Bool, "False": source.Bool, "tRue": source.Str,
		"0": source.Int, "0777": source.Int, "-12": source.Int, "+3": source.Int, "0o17": source.Int, "0xfF": source.Int,
		"1_000": source.Str, "0b11": source.Str, "0x": source.Str, "1.2.3": source.Str, "10.0.0.1": source.Str,
		"1.5": source.Float, ".5": source.Float, "1.": source.Float, "-1e9": source.Float, ".inf": source.Float,
		"-.INF": source.Float, ".nan": source.Float, "inf": source.Str, "2001-01-01": source.Str, "12:30": source.Str,
		"~": source.Null, "null": source.Null, "NULL": source.Null, "none": source.Str,
		`"1"`: source.Str, "'true'": source.Str, `""`: source.Str, "|\n  1\n": source.Str, ">\n  1\n": source.Str,
		"!!str 1": source.Str, "!!str": source.Str, `!!int "5"`: source.Int, "!!float 1": source.Float,
		"!!null ''": source.Null, "!!bool 'true'": source.Bool,
	}
	for in, want := range tests {
		n, faults := yamlfile.Parse("f.yml", []byte("a: "+in+"\n"))
		if len(faults) > 0 {
			t.Errorf("Parse(%q): %v", in, faults)
			continue
		}
		if got := n.Get("a").Type; got != want {
			t.Errorf("Parse(%q) got type %d, want %d", in, got, want)
		}
	}
}

func TestParseFaults(t *testing.T) {
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	tests := []struct{ name, in, want string }{
		{"a key twice", "a: 1\nb: 2\na: 3\n",
			"f.yml:3:1: the key \"a\" stands twice in this mapping\n\talso: f.yml:1:1\n\thint: remove one of them"},
		{"a key twice, once in quotes", "x: {1: a, \"1\": b}\n",
			"f.yml:1:11: the key \"1\" stands twice in this mapping\n\talso: f.yml:1:5\n\thint: remove one of them"},
		{"two mistakes in the order of the file", "a: !age x\nb: {c: 1, c: 2}\n",
			"f.yml:1:4: the tag !age is not known\n\thint: remove the tag\n" +
				"f.yml:2:11: the key \"c\" stands twice in this mapping\n\talso: f.yml:2:5\n\thint: remove one of them"},
		{"a merge key", "a: &x {b: 1}\nc:\n  <<: *x\n",
			"f.yml:3:3: merge keys (\"<<\") are not read\n\thint: write the keys out"},
		{"a list as key", "? [a]\n: b\n", "f.yml:1:3: a key must be text, not a list"},
		{"no key", "?\n: x\n", "f.yml:1:2: a key is missing before the \":\"\n\thint: put text that starts with \":\" in quotes"},
		{"an alias in its own value", "a: &x [*x]\n", "f.yml:1:8: the alias *x stands inside the value that it names"},
		{"an unknown anchor", "x: 1\na: *nope\nb: 2\n",
			"f.yml:2:4: the alias names an anchor (&) that does not stand before it\n\thint: put a value that starts with * in quotes"},
		{"a tag of a list", "!!set {a}\n", "f.yml:1:1: the tag !!set is not known\n\thint: remove the tag"},
		{"a tag that does not fit", "a: !!map [x]\n", "f.yml:1:4: the tag !!map does not fit here\n\thint: remove the tag"},
		{"a tag that its text denies", "a: !!int x\n", "f.yml:1:4: \"x\" is not what its tag !!int says\n\thint: remove the tag"},
		{"two documents", "a: 1\n---\nb: 2\n",
			"f.yml:2:1: a second document starts here\n\thint: one file holds one document: split it, or remove the ---"},
		{"not UTF-8", "a: 1\nbé: \xff\n", "f.yml:2:5: the file is not UTF-8 from here on\n\thint: save it as UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "f.yml:1:1: the file is not UTF-8 from here on\n\thint: save it as UTF-8"},
		{"a control character", "a: \x1b[1m\n",
			"f.yml:1:4: a control character (U+001B)\n\thint: write it as an escape in double quotes, such as \"\\x1b\""},
		{"a lone carriage return", "a: 1\rb: 2\n",
			"f.yml:1:5: a carriage return without a line feed\n\thint: end lines with \\n or \\r\\n"},
		{"a line separator", "a: x\u2028y\n",
			"f.yml:1:5: a line break that editors do not show (U+2028)\n\thint: write it as an escape in double quotes, such as \"\\u2028\""},
		{"a byte order mark inside", "a: \ufeffx\n", "f.yml:1:4: a byte order mark inside the file\n\thint: remove it"},
		{"too deep", "a: " + deep, "f.yml:1:68: nested deeper than 64 levels"},
		{"too deep for the library", strings.Repeat("[", 20_000), "f.yml:1:1: nested deeper than 64 levels"},
		{"a tab", "a: 1\nb:\n\tc: 3\n", "f.yml:3:1: a tab stands in the indentation\n\thint: indent with spaces"},
		{"a colon in a value", "a: 1\nb: c: d\n",
			"f.yml:2:1: a \":\" stands where no key can be\n\thint: put a value that holds \": \" in quotes, or check the indentation"},
		{"quotes that stay open", "a: 1\nb: \"c\nd: e\n",
			"f.yml:2:4: the quotes that open here are never closed\n\thint: close them; inside single quotes write ' as ''"},
		{"quotes that stay open in line 1", "\"a\nb: 1\n",
			"f.yml:1:1: the quotes that open here are never closed\n\thint: close them; inside single quotes write ' as ''"},
		{"a list that stays open", "a: 1\nb: [1, 2\nc: 3\nd: 4\n",
			"f.yml:2:4: the list that opens here is not closed, or a comma is missing in it\n\thint: put text that holds [ ] { } or , in quotes"},
		{"a mapping that stays open", "b: {x: 1, y: 2\nc: 3\n",
			"f.yml:1:4: the mapping that opens here is not closed, or a comma is missing in it\n\thint: put text that holds [ ] { } or , in quotes"},
		{"a key among items", "l:\n  - a\n  - b\n  c: 3\nd: 1\n",
			"f.yml:4:3: the list above ends in the middle: an item (\"- \") was expected here\n\thint: check the indentation"},
		{"a wrong indentation", "a:\n    b: 1\n  c: 2\nd: 3\n",
			"f.yml:3:3: no key can be read here\n\thint: check the indentation, and put a value that starts with a quote in quotes as a whole"},
		{"text behind quotes", "a: 1\nb: 'it's'\nc: 1\n",
			"f.yml:2:1: no key can be read here\n\thint: check the indentation, and put a value that starts with a quote in quotes as a whole"},
		{"a reserved character", "x: 1\na: [b, @foo]\n",
			"f.yml:2:8: a value cannot start with this character\n\thint: put the value in quotes"},
		{"a key without colon", "a: 1\nfoo\nb: 2\n",
			"f.yml:2:1: a key without a \":\" after it\n\thint: write key: value, or check the indentation"},
		{"a closing bracket alone", "x: 1\na: ]\n",
			"f.yml:2:1: a value is missing here, or a bracket is not closed\n\thint: put text that holds [ ] { } or , in quotes"},
		{"a list behind a key", "x: 1\na: - b\n",
			"f.yml:2:1: a list (\"- \") cannot start here\n\thint: start it on a line of its own"},
		{"an unknown escape", "x: 1\na: \"\\d\"\n",
			"f.yml:2:1: an unknown escape (\\) in double quotes\n\thint: use single quotes, or write \\\\"},
		{"anything else", "%FOO\n---\na\n", "f.yml:1:1: the YAML cannot be read: found unknown directive name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, faults := yamlfile.Parse("f.yml", []byte(tt.in))
			if got := faults.Error(); got != tt.want {
				t.Errorf("Parse(%.60q) got\n%s\nwant\n%s", tt.in, got, tt.want)
			}
		})
	}
}

func TestParseKeepsWhatIsRight(t *testing.T) {
	n, faults := yamlfile.Parse("f.yml", []byte("a: 1\na: 2\nb: !x y\n"))
	if len(faults) != 2 {
		t.Errorf("got %d faults, want 2: %v", len(faults), faults)
	}
	if got := fmt.Sprintf("%v %s %s", n.Keys(), n.Get("a").Text, n.Get("b").Text); got != "[a b] 1 y" {
		t.Errorf("got %s, want [a b] 1 y", got)
	}
}

func TestColumns(t *testing.T) {
	tests := []struct {
		name, in, at string // the place of at in the value of a is asked for
		want         string
	}{
		{"plain", "a: é${x}\n", "${", "1:5"},
		{"double quotes", "a: \"é${x}\"\n", "${", "1:6"},
		{"single quotes", "a: 'é${x}'\n", "${", "1:6"},
		{"quotes inside quotes", "a: 'say \"${x}\"'\n", "${", "1:10"},
		{"literal", "a: |\n  one\n\n  é ${x}\n", "${", "4:5"},
		{"literal that ends with the file", "a: |-\n   ${x}", "${", "2:4"},
		{"literal with an indicator and a comment", "a: |2+ # c\n   ${x}\n\n", "${", "2:4"},
		{"literal, its empty line", "a: |\n  x\n\n  y\n", "\n\n", "2:4"},
		{"literal with line feeds of Windows", "a: |\r\n  x\r\n  ${x}\r\n", "${", "3:3"},
		{"behind an anchor and a tag", "a: &n !!str é${x}\n", "${", "1:14"},
		{"behind an anchor in the line before", "a: &n # c\n  ${x}\n", "${", "2:3"},
		{"plain over two lines", "a: x\n  ${x}\n", "${", "1:4"},
		{"escapes", "a: \"\\t${x}\"\n", "${", "1:4"},
		{"doubled quotes", "a: 'it''s ${x}'\n", "${", "1:4"},
		{"folded", "a: >\n  x\n  ${x}\n", "${", "1:4"},
		{"alias", "b: &n ${x}\na: *n\n", "{", "2:4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, faults := yamlfile.Parse("f.yml", []byte(tt.in))
			if len(faults) > 0 {
				t.Fatalf("Parse(%q): %v", tt.in, faults)
			}
			v := n.Get("a")
			offset := strings.Index(v.Text, tt.at)
			if offset < 0 {
				t.Fatalf("text %q has no %q", v.Text, tt.at)
			}
			if got := v.At(offset); got.String() != "f.yml:"+tt.want {
				t.Errorf("%q: At(%d) of %q got %s, want %s", tt.in, offset, v.Text, got, tt.want)
			}
		})
	}
}

func TestColumnsOutsideTheText(t *testing.T) {
	n, _ := yamlfile.Parse("f.yml", []byte("a: xyz\nb: |\n  xyz\n"))
	if got := n.Get("a").At(-1).String(); got != "f.yml:1:4" {
		t.Errorf("At(-1) got %s, want f.yml:1:4", got)
	}
	if got := n.Get("a").At(99).String(); got != "f.yml:1:7" {
		t.Errorf("At(99) got %s, want f.yml:1:7", got)
	}
	if got := n.Get("b").At(99).String(); got != "f.yml:4:1" {
		t.Errorf("At(99) of a block got %s, want f.yml:4:1", got)
	}
}

func TestParseLimits(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	tower := "a0: &a0 [x]\n"
	for i := 1; i < 80; i++ {
		tower += fmt.Sprintf("a%d: &a%d [*a%d]\n", i, i, i-1)
	}
	tests := []struct{ name, in, want string }{
		{"an alias bomb", bomb, "f.yml:6:10: aliases add more than 200000 values\n\thint: split the file"},
		{"a tower of aliases", tower, "f.yml:64:12: nested deeper than 64 levels"},
		{"a file too long", strings.Repeat("#", yamlfile.MaxSize+1),
			"f.yml: the file has 10485761 bytes, more than the 10485760 that are read\n\thint: split it"},
		{"too many values", "[" + strings.Repeat(",", yamlfile.MaxNodes+1) + "]",
			"f.yml: the file has more than 2000000 lines, commas and colons\n\thint: split it"},
		{"too many values of few separators", strings.Repeat("- - x\n", yamlfile.MaxNodes/2),
			"f.yml:1000000:5: the file holds more than 2000000 values\n\thint: split the file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, faults := yamlfile.Parse("f.yml", []byte(tt.in))
			if len(faults) == 0 {
				t.Fatalf("got no fault, want %s", tt.want)
			}
			if got := faults[:1].Error(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
