package yamlfile

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"holdfast/playbooks/source"
)

// text is a file's bytes with the means to find places in them. Lines end at a
// line feed and nowhere else, as in editors; checkCharacters refuses the other
// line breaks that YAML knows, so the library's lines are the same ones.
type text struct {
	file  string
	data  []byte
	lines []int32 // where each line starts

	// The place found last. Nodes come in the order of the file, so looking
	// onward from it keeps one long line from costing its length for each node.
	line, col, off int
}

var byteOrderMark = []byte("\ufeff")

func newText(file string, data []byte) *text {
	t := &text{file: file, data: bytes.TrimPrefix(data, byteOrderMark)}
	t.lines = make([]int32, 1, 1+bytes.Count(t.data, []byte{'\n'}))
	for i, c := range t.data {
		if c == '\n' {
			t.lines = append(t.lines, int32(i+1))
		}
	}
	return t
}

// locate returns the place of a line and column, both from 1, and its offset. A
// place behind the end of a line or of the file becomes that end.
func (t *text) locate(line, col int) (source.Pos, int) {
	line = max(1, min(line, len(t.lines)))
	if t.line != line || t.col > col {
		t.line, t.col, t.off = line, 1, int(t.lines[line-1])
	}
	end := t.lineEnd(line)
	for t.col < col && t.off < end {
		_, size := utf8.DecodeRune(t.data[t.off:end])
		t.off += size
		t.col++
	}
	return source.Pos{File: t.file, Line: line, Col: t.col}, t.off
}

// at returns the place of an offset.
func (t *text) at(off int) source.Pos {
	line, found := slices.BinarySearch(t.lines, int32(off))
	if found {
		line++
	}
	start := int(t.lines[line-1])
	return source.Pos{File: t.file, Line: line, Col: 1 + utf8.RuneCount(t.data[start:off])}
}

// lineEnd returns the offset behind the last character of a line, counted from 1.
func (t *text) lineEnd(line int) int {
	end := len(t.data)
	if line < len(t.lines) {
		end = int(t.lines[line]) - 1
	}
	if end > int(t.lines[line-1]) && t.data[end-1] == '\r' {
		end--
	}
	return end
}

// lineText returns a line without its end; lines count from 1.
func (t *text) lineText(line int) []byte {
	return t.data[t.lines[line-1]:t.lineEnd(line)]
}

// checkCharacters finds the first character that may not stand in a file.
func (t *text) checkCharacters() *source.Fault {
	for i := 0; i < len(t.data); {
		c := t.data[i]
		if c >= ' ' && c < 0x7f || c == '\n' || c == '\t' || c == '\r' && i+1 < len(t.data) && t.data[i+1] == '\n' {
			i++
			continue
		}
		r, size := utf8.DecodeRune(t.data[i:])
		if message, hint := badCharacter(r, size); message != "" {
			return &source.Fault{Pos: t.at(i), Message: message, Hint: hint}
		}
		i += size
	}
	return nil
}

// badCharacter tells what is wrong with a character, or returns "".
func badCharacter(r rune, size int) (message, hint string) {
	switch {
	case r == utf8.RuneError && size <= 1:
		return "the file is not UTF-8 from here on", "save it as UTF-8"
	case r == '\r':
		return "a carriage return without a line feed", `end lines with \n or \r\n`
	case r == 0x85 || r == 0x2028 || r == 0x2029:
		return fmt.Sprintf("a line break that editors do not show (%U)", r), `write it as an escape in double quotes, such as "\u2028"`
	case r == '\ufeff':
		return "a byte order mark inside the file", "remove it"
	case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffe || r == 0xffff:
		return fmt.Sprintf("a control character (%U)", r), `write it as an escape in double quotes, such as "\x1b"`
	}
	return "", ""
}
