package render

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"holdfast/runner/plain"
)

// style is how a piece of text looks where colour is wanted.
type style uint8

const (
	normal style = iota
	strong
	dim
	good
	change
	act
	doubt
	bad
	alarm
	added
	removed
	place
)

// codes are ANSI attributes, limited to the eight colours that every theme defines.
var codes = [...]string{
	normal: "", strong: "1", dim: "2", good: "32", change: "33", act: "36", doubt: "35",
	bad: "31", alarm: "1;31", added: "32", removed: "31", place: "36",
}

// span is a piece of text in one style.
type span struct {
	text  string
	style style
}

// line is one line of output. Its texts may come from anywhere: they are made safe
// when the line is painted, and only there.
type line []span

// paint returns the line as it is written. Without colour it is the same text.
func (l line) paint(color bool) string {
	var b strings.Builder
	for _, s := range l {
		t := plain.Line(s.text)
		if !color || s.style == normal || t == "" {
			b.WriteString(t)
			continue
		}
		b.WriteString("\x1b[" + codes[s.style] + "m" + t + "\x1b[0m")
	}
	return b.String()
}

// cut returns the line shortened to a number of columns.
func (l line) cut(width int) line {
	if width <= 0 {
		return nil
	}
	if columns(l.paint(false)) <= width {
		return l
	}
	var out line
	left := width - 1 // one for the ellipsis
	for _, s := range l {
		t := plain.Line(s.text)
		if w := columns(t); w <= left {
			out, left = append(out, s), left-w
			continue
		}
		return append(out, span{fit(t, left) + "…", s.style})
	}
	return out
}

// fit returns the longest beginning of s that takes at most width columns.
func fit(s string, width int) string {
	for i, r := range s {
		if width -= text.RuneWidth(r); width < 0 {
			return s[:i]
		}
	}
	return s
}

// columns returns how many columns s takes on a terminal.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += text.RuneWidth(r)
	}
	return n
}

// pad fills s with spaces up to a number of columns.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columns(plain.Line(s))))
}

// split returns the lines of a text, without the empty ones at its end.
func split(s string) []string {
	s = strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n\t ")
	if s == "" {
		return nil
	}
	return strings.Split(strings.ReplaceAll(s, "\t", "    "), "\n")
}
