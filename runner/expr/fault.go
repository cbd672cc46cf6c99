package expr

import (
	"errors"
	"strings"
	"unicode/utf8"

	"holdfast/playbooks/source"
)

// Fault is a mistake in an expression or in a text that holds expressions.
type Fault struct {
	Offset  int    // in bytes, from the start of the text that was compiled
	Message string // what is wrong, lower case, no full stop
	Hint    string // what to do about it, or empty
}

// Error returns the message.
func (f *Fault) Error() string { return f.Message }

// FaultAt places a fault in the file: n is the scalar whose text was compiled
// and path the dotted path of that value.
func FaultAt(n *source.Node, path string, f *Fault) *source.Fault {
	return &source.Fault{Pos: n.At(f.Offset), Path: path, Message: f.Message, Hint: f.Hint}
}

// Failure is why an evaluation gave no value. It says nothing of the values
// when the expression reveals a secret.
type Failure struct {
	Offset  int    // in bytes, of the part that failed; 0 when that is not known
	Message string // what happened, lower case, no full stop
	Hint    string // what to do about it, or empty
	Err     error  // the cause, if it is of a kind of its own: a cancelled context, a secret that cannot be read
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// shift moves a failure by the place of its expression in a text.
func shift(err error, by int) error {
	var f *Failure
	if !errors.As(err, &f) {
		return err
	}
	c := *f
	c.Offset += by
	return &c
}

// byteOffset turns a place as CEL counts it, line from 1 and column in
// characters from 0, into a byte offset.
func byteOffset(text string, line, col int) int {
	off := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(text[off:], '\n')
		if i < 0 {
			break
		}
		off += i + 1
	}
	for ; col > 0 && off < len(text); col-- {
		_, n := utf8.DecodeRuneInString(text[off:])
		off += n
	}
	return off
}

// nameOffset moves from the punctuation that CEL points at to the name that
// belongs to it: forward from the dot of a selection, back from the parenthesis
// of a call.
func nameOffset(text string, off int) int {
	if off >= len(text) {
		return off
	}
	switch text[off] {
	case '.':
		off++
		for off < len(text)-1 && (text[off] == '?' || isSpace(text[off])) {
			off++
		}
	case '(':
		i := off
		for i > 0 && isSpace(text[i-1]) {
			i--
		}
		end := i
		for i > 0 && isNameByte(text[i-1]) {
			i--
		}
		if i < end {
			off = i
		}
	}
	return off
}

// startOffset is where the first thing of an expression stands.
func startOffset(text string) int {
	off := 0
	for off < len(text)-1 && isSpace(text[off]) {
		off++
	}
	return off
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isName reports whether s can be written as a name in an expression.
func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) || i == 0 && s[0] >= '0' && s[0] <= '9' {
			return false
		}
	}
	return s != "" && !reserved[s]
}

// reserved are the words that CEL keeps for itself.
var reserved = map[string]bool{
	"as": true, "break": true, "const": true, "continue": true, "else": true, "false": true, "for": true,
	"function": true, "if": true, "import": true, "in": true, "let": true, "loop": true, "namespace": true,
	"null": true, "package": true, "return": true, "true": true, "var": true, "void": true, "while": true,
}
