// Package plain makes text of hosts safe to show.
package plain

import (
	"strings"
	"unicode"
)

// Line makes one line of a text: no control characters, and none that turn the
// direction of writing or cannot be seen.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case r == '\u200c' || r == '\u200d':
			return r // words of some languages need these joiners
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return '·'
		}
		return r
	}, s)
}

// Text is Line for a text of several lines.
func Text(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = Line(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}
