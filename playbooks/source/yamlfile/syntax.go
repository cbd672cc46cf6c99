package yamlfile

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"holdfast/playbooks/source"
)

// syntaxErrors maps the library's words to ours. The first entry whose text is
// contained in the error is used.
var syntaxErrors = []struct {
	contains string
	where    func(t *text, line, read int, words string) source.Pos
	message  string
	hint     string
}{
	{"found unexpected end of stream", atOpening("\"'"), "the quotes that open here are never closed", "close them; inside single quotes write ' as ''"},
	{"did not find expected ',' or ']'", atOpening("["), "the list that opens here is not closed, or a comma is missing in it", "put text that holds [ ] { } or , in quotes"},
	{"did not find expected ',' or '}'", atOpening("{"), "the mapping that opens here is not closed, or a comma is missing in it", "put text that holds [ ] { } or , in quotes"},
	{"mapping values are not allowed", atLine, "a \":\" stands where no key can be", "put a value that holds \": \" in quotes, or check the indentation"},
	{"could not find expected ':'", atLine, "a key without a \":\" after it", "write key: value, or check the indentation"},
	{"did not find expected key", atRead, "no key can be read here", "check the indentation, and put a value that starts with a quote in quotes as a whole"},
	{"did not find expected '-' indicator", atRead, "the list above ends in the middle: an item (\"- \") was expected here", "check the indentation"},
	{"block sequence entries are not allowed", atLine, "a list (\"- \") cannot start here", "start it on a line of its own"},
	{"found character that cannot start any token", atOddCharacter, "a value cannot start with this character", "put the value in quotes"},
	{"unknown escape character", atLine, "an unknown escape (\\) in double quotes", "use single quotes, or write \\\\"},
	{"unknown anchor", atAlias, "the alias names an anchor (&) that does not stand before it", "put a value that starts with * in quotes"},
	{"did not find expected node content", atRead, "a value is missing here, or a bracket is not closed", "put text that holds [ ] { } or , in quotes"},
	{"did not find expected alphabetic or numeric character", atLine, "a name is missing after & or *", "put a value that starts with & or * in quotes"},
	{"did not find expected comment or line break", atLine, "only a comment may follow here", "put a value that starts with | or > in quotes"},
	{"found undefined tag handle", atRead, "the tag is not known", "put a value that starts with ! in quotes"},
	{"exceeded max depth", atRead, fmt.Sprintf("nested deeper than %d levels", source.MaxDepth), ""},
}

var (
	lineWords   = regexp.MustCompile(`line ([0-9]+): `)
	anchorWords = regexp.MustCompile(`unknown anchor '([^']*)'`)
)

// syntaxFault makes a fault of the library's error, which is text with at most a
// line, and that not always the right one.
func (t *text) syntaxFault(err error) *source.Fault {
	words := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := lineWords.FindStringSubmatch(words); m != nil {
		line, _ = strconv.Atoi(m[1])
		words = strings.Replace(words, m[0], "", 1)
	}
	read := t.problemLine(words)
	if f := t.tabFault(words, read); f != nil {
		return f
	}
	for _, e := range syntaxErrors {
		if strings.Contains(words, e.contains) {
			return &source.Fault{Pos: e.where(t, line, read, words), Message: e.message, Hint: e.hint}
		}
	}
	return &source.Fault{Pos: atLine(t, line, read, words), Message: "the YAML cannot be read: " + words}
}

// problemLine finds the line at which the library stops: it reads no further than
// it must when it is given one line at a time. It must look beyond text that may
// go on in the next line, so lines are then taken away while the error stays.
func (t *text) problemLine(words string) int {
	const steps, small = 8, 1 << 20
	in := &lineReader{data: t.data}
	_, _, _ = decode(in)
	line := max(1, bytes.Count(t.data[:in.off], []byte{'\n'}))
	if in.off > 0 && t.data[in.off-1] != '\n' {
		line = bytes.Count(t.data[:in.off], []byte{'\n'}) + 1
	}
	for range steps {
		if line < 2 || in.off > small {
			break
		}
		_, _, err := decode(bytes.NewReader(t.data[:t.lines[line-1]]))
		if err == nil || !strings.HasSuffix(err.Error(), words) {
			break
		}
		line--
	}
	return line
}

// lineReader gives one line with each call and remembers how far it came.
type lineReader struct {
	data []byte
	off  int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if r.off == len(r.data) {
		return 0, io.EOF
	}
	rest := r.data[r.off:]
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i+1]
	}
	n := copy(p, rest)
	r.off += n
	return n, nil
}

// tabFault tells whether a tab in the indentation is what went wrong.
func (t *text) tabFault(words string, line int) *source.Fault {
	if !strings.Contains(words, "tab character") && !strings.Contains(words, "cannot start any token") {
		return nil
	}
	for ; line >= 1; line-- {
		raw := t.lineText(line)
		blank := raw[:len(raw)-len(bytes.TrimLeft(raw, " \t"))]
		if i := bytes.IndexByte(blank, '\t'); i >= 0 && len(blank) < len(raw) {
			return &source.Fault{
				Pos:     source.Pos{File: t.file, Line: line, Col: i + 1},
				Message: "a tab stands in the indentation",
				Hint:    "indent with spaces",
			}
		}
		if len(blank) < len(raw) {
			return nil
		}
	}
	return nil
}

// atLine is the first character of the line that the library named.
func atLine(t *text, line, _ int, _ string) source.Pos {
	line = max(1, min(line, len(t.lines)))
	raw := t.lineText(line)
	pos, _ := t.locate(line, 1+len(raw)-len(bytes.TrimLeft(raw, " \t")))
	return pos
}

// atRead is the first character of the line at which the library stopped.
func atRead(t *text, _, read int, _ string) source.Pos { return atLine(t, read, read, "") }

// atOpening finds the bracket or quotes that a complaint is about. The library
// names the line of the opening, the line before it, or the end of the file.
func atOpening(opening string) func(*text, int, int, string) source.Pos {
	return func(t *text, line, read int, _ string) source.Pos {
		for _, l := range []int{line, line + 1, 1} {
			if l < 1 || l > len(t.lines) {
				continue
			}
			if i := bytes.IndexAny(t.lineText(l), opening); i >= 0 && l <= max(read, line) {
				return t.at(int(t.lines[l-1]) + i)
			}
		}
		return atRead(t, line, read, "")
	}
}

// atOddCharacter is the first reserved character of a line that stands where a
// value starts.
func atOddCharacter(t *text, line, read int, _ string) source.Pos {
	line = max(1, min(line, len(t.lines)))
	raw := t.lineText(line)
	for i, c := range raw {
		if strings.IndexByte("@`%\t", c) >= 0 && (i == 0 || strings.IndexByte(" \t[{,", raw[i-1]) >= 0) {
			return t.at(int(t.lines[line-1]) + i)
		}
	}
	return atLine(t, line, read, "")
}

// atAlias is the alias that names no anchor; the library says only its name.
func atAlias(t *text, line, read int, words string) source.Pos {
	if m := anchorWords.FindStringSubmatch(words); m != nil {
		for l := min(read, len(t.lines)); l >= 1; l-- {
			if i := bytes.Index(t.lineText(l), []byte("*"+m[1])); i >= 0 {
				return t.at(int(t.lines[l-1]) + i)
			}
		}
	}
	return atRead(t, line, read, "")
}
