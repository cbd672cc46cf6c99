package yamlfile

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"holdfast/playbooks/source"
)

const quotedStyles = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

func (r *reader) scalar(y *yaml.Node, pos source.Pos, off int) *source.Node {
	n := source.NewScalar(pos, source.Str, y.Value)
	n.Columns = r.columns(y, pos, off)
	plain := y.Style&quotedStyles == 0
	if plain {
		n.Type = coreType(y.Value)
	}
	if y.Style&yaml.TaggedStyle == 0 {
		return n
	}
	typ, ok := taggedType(y.Tag, y.Value)
	if !ok {
		r.faults.Add(tagFault(y, pos, fmt.Sprintf("%q is not what its tag %s says", y.Value, y.Tag)))
		return n
	}
	n.Type = typ
	return n
}

var (
	coreInt   = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	coreFloat = regexp.MustCompile(`^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// coreType returns the type of a plain scalar in YAML's core schema.
func coreType(s string) source.Type {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return source.Null
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return source.Bool
	}
	if c := s[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return source.Str
	}
	switch {
	case coreInt.MatchString(s):
		return source.Int
	case coreFloat.MatchString(s):
		return source.Float
	}
	return source.Str
}

// taggedType returns the type that a tag asks for, if the text has it.
func taggedType(tag, s string) (source.Type, bool) {
	have := coreType(s)
	switch tag {
	case "!!str":
		return source.Str, true
	case "!!null":
		return source.Null, have == source.Null
	case "!!bool":
		return source.Bool, have == source.Bool
	case "!!int":
		return source.Int, have == source.Int
	case "!!float":
		return source.Float, have == source.Float || have == source.Int
	}
	return source.Str, false
}

// columns returns how offsets in a scalar's text map to places, or nil when the
// text is not in the file as it is: folded, escaped, or empty.
func (r *reader) columns(y *yaml.Node, pos source.Pos, off int) func(int) source.Pos {
	if y.Value == "" {
		return nil
	}
	off, start := r.text.skipProperties(pos, off)
	rest := r.text.data[off:]
	switch {
	case y.Style&yaml.LiteralStyle != 0:
		return r.text.literalColumns(y.Value, start)
	case y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		if len(rest) == 0 || !hasPrefix(rest[1:], y.Value) || len(rest) < len(y.Value)+2 || rest[len(y.Value)+1] != rest[0] {
			return nil
		}
		start.Col++
	case y.Style&yaml.FoldedStyle != 0 || !hasPrefix(rest, y.Value):
		return nil
	}
	if strings.Contains(y.Value, "\n") {
		return nil
	}
	text := y.Value
	return func(offset int) source.Pos {
		p := start
		p.Col += utf8.RuneCountInString(text[:clamp(offset, text)])
		return p
	}
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// clamp moves an offset into the text.
func clamp(offset int, text string) int { return max(0, min(offset, len(text))) }

// skipProperties moves from the start of a node behind its anchor and tag.
func (t *text) skipProperties(pos source.Pos, off int) (int, source.Pos) {
	for off < len(t.data) && (t.data[off] == '&' || t.data[off] == '!') {
		end := off + len(t.data[off:])
		if i := bytes.IndexAny(t.data[off:], " \t\r\n,[]{}"); i >= 0 {
			end = off + i
		}
		end += skipBlank(t.data[end:])
		pos = advance(pos, t.data[off:end])
		off = end
	}
	return off, pos
}

// skipBlank returns the length of the blanks, line ends and comments at the start.
func skipBlank(b []byte) int {
	n := 0
	for n < len(b) {
		switch b[n] {
		case ' ', '\t', '\r', '\n':
			n++
		case '#':
			end := bytes.IndexByte(b[n:], '\n')
			if end < 0 {
				return len(b)
			}
			n += end
		default:
			return n
		}
	}
	return n
}

// advance moves a place over the bytes that follow it.
func advance(pos source.Pos, b []byte) source.Pos {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		pos.Line += bytes.Count(b, []byte{'\n'})
		pos.Col = 1
		b = b[i+1:]
	}
	pos.Col += utf8.RuneCount(b)
	return pos
}

// literalColumns compares a block written with | to the lines below its start.
func (t *text) literalColumns(value string, start source.Pos) func(int) source.Pos {
	indent, line := -1, start.Line
	for part := range strings.SplitSeq(strings.TrimRight(value, "\n"), "\n") {
		line++
		if line > len(t.lines) {
			return nil
		}
		raw := string(t.lineText(line))
		if part == "" {
			if strings.Trim(raw, " ") != "" {
				return nil
			}
			continue
		}
		if indent < 0 {
			indent = len(raw) - len(part)
		}
		if indent < 0 || len(raw) != indent+len(part) || !strings.HasSuffix(raw, part) {
			return nil
		}
	}
	if indent < 0 {
		return nil
	}
	return func(offset int) source.Pos {
		before := value[:clamp(offset, value)]
		before, after := before[strings.LastIndexByte(before, '\n')+1:], value[len(before):]
		p := source.Pos{File: start.File, Line: start.Line + 1 + strings.Count(value[:len(value)-len(after)], "\n"), Col: 1}
		if before != "" || after != "" && after[0] != '\n' {
			p.Col += indent + utf8.RuneCountInString(before)
		}
		return p
	}
}
