package expr

import "strings"

// Part is a piece of a text: either literal or the inside of one ${ }.
type Part struct {
	IsExpr bool
	Text   string // a literal with $${ already read as ${, or the expression as written
	Offset int    // of the first byte of Text, in the text that was split
}

// Split cuts a text at its ${ } expressions. Inside of one, braces nest, and
// braces in CEL's string literals and comments do not count. $${ is a literal
// ${. The parts are in order, no literal part is empty, and two literals never
// stand side by side. The error is a [*Fault].
func Split(text string) ([]Part, error) {
	var parts []Part
	var literal strings.Builder
	start := 0
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, Part{Text: literal.String(), Offset: start})
			literal.Reset()
		}
	}
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "$${"):
			literal.WriteString("${")
			i += 3
		case strings.HasPrefix(text[i:], "${"):
			flush()
			end, f := scanExpr(text, i)
			if f != nil {
				return nil, f
			}
			parts = append(parts, Part{IsExpr: true, Text: text[i+2 : end], Offset: i + 2})
			i = end + 1
			start = i
		default:
			literal.WriteByte(text[i])
			i++
		}
	}
	flush()
	return parts, nil
}

// scanExpr returns the place of the brace that closes the ${ at open.
func scanExpr(text string, open int) (int, *Fault) {
	depth := 0
	hint := "write $${ for a literal ${"
	for i := open + 2; i < len(text); {
		switch c := text[i]; {
		case c == '"' || c == '\'':
			end, ok := scanString(text, i)
			if !ok {
				return 0, &Fault{Offset: i, Message: "unterminated string in ${ }",
					Hint: "close it with " + string(c)}
			}
			i = end
		case c == '/' && strings.HasPrefix(text[i:], "//"):
			nl := strings.IndexByte(text[i:], '\n')
			if nl < 0 {
				nl = len(text) - i
				hint = "// begins a comment that reaches to the end of the line, braces included"
			}
			i += nl
		case c == '{':
			depth++
			i++
		case c == '}' && depth > 0:
			depth--
			i++
		case c == '}':
			if strings.TrimSpace(text[open+2:i]) == "" {
				return 0, &Fault{Offset: open, Message: "empty expression", Hint: "write $${ for a literal ${"}
			}
			return i, nil
		default:
			i++
		}
	}
	return 0, &Fault{Offset: open, Message: "unterminated ${", Hint: hint}
}

// scanString returns the place behind the string literal whose first quote
// stands at i.
func scanString(text string, i int) (end int, ok bool) {
	quote := text[i : i+1]
	raw := isRaw(text, i)
	long := strings.HasPrefix(text[i:], quote+quote+quote)
	if long {
		quote = text[i : i+3]
	}
	for i += len(quote); i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote), true
		case text[i] == '\\' && !raw:
			i++
		case (text[i] == '\n' || text[i] == '\r') && !long:
			return 0, false
		}
	}
	return 0, false
}

// isRaw reports whether the quote at i opens a raw string: r, R, and either with
// a b for bytes on one side.
func isRaw(text string, i int) bool {
	start := i
	for start > 0 && isNameByte(text[start-1]) {
		start--
	}
	switch strings.ToLower(text[start:i]) {
	case "r", "br", "rb":
		return true
	}
	return false
}
