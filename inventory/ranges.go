package inventory

import (
	"fmt"
	"strconv"
	"strings"
)

// maxRange is how many names one pattern may stand for.
const maxRange = 100_000

// span is one range in brackets.
type span struct {
	first, last int
	width       int  // of numbers with leading zeros, or 0
	letters     bool // first and last are letters
}

func (s span) text(i int) string {
	if s.letters {
		return string(rune(i))
	}
	return fmt.Sprintf("%0*d", s.width, i)
}

// expand returns the names that a pattern with ranges stands for, in order; a
// pattern without one stands for itself.
func expand(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "[]") {
		return []string{pattern}, nil
	}
	var parts []string // the text before each span, and behind the last
	var spans []span
	total, rest := 1, pattern
	for {
		before, after, found := strings.Cut(rest, "[")
		if strings.Contains(before, "]") {
			return nil, fmt.Errorf("the range in %q has a ] without a [", pattern)
		}
		parts = append(parts, before)
		if !found {
			break
		}
		inside, behind, closed := strings.Cut(after, "]")
		if !closed {
			return nil, fmt.Errorf("the range in %q is not closed", pattern)
		}
		s, err := parseSpan(inside)
		if err != nil {
			return nil, err
		}
		spans, rest = append(spans, s), behind
		if total *= s.last - s.first + 1; total > maxRange {
			return nil, fmt.Errorf("the range in %q stands for more than %d names", pattern, maxRange)
		}
	}
	out := []string{""}
	for i, s := range spans {
		next := make([]string, 0, len(out)*(s.last-s.first+1))
		for _, head := range out {
			for n := s.first; n <= s.last; n++ {
				next = append(next, head+parts[i]+s.text(n))
			}
		}
		out = next
	}
	for i := range out {
		out[i] += parts[len(parts)-1]
	}
	return out, nil
}

func parseSpan(s string) (span, error) {
	first, last, ok := strings.Cut(s, ":")
	if !ok {
		return span{}, fmt.Errorf("the range [%s] is not of the form [first:last]", s)
	}
	if isLetter(first) && isLetter(last) && first[0]&0x20 == last[0]&0x20 {
		return ordered(span{first: int(first[0]), last: int(last[0]), letters: true}, s)
	}
	if !isNumber(first) || !isNumber(last) {
		return span{}, fmt.Errorf("the range [%s] is neither of two numbers nor of two letters of one case", s)
	}
	a, _ := strconv.Atoi(first)
	b, _ := strconv.Atoi(last)
	out := span{first: a, last: b}
	if len(first) > 1 && first[0] == '0' {
		out.width = len(first)
		if len(last) != len(first) {
			return span{}, fmt.Errorf("the numbers of the range [%s] differ in width", s)
		}
	}
	return ordered(out, s)
}

func ordered(out span, s string) (span, error) {
	if out.last < out.first {
		return span{}, fmt.Errorf("the range [%s] runs backwards", s)
	}
	return out, nil
}

func isLetter(s string) bool {
	return len(s) == 1 && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z')
}

// isNumber accepts up to nine digits, which fit every int.
func isNumber(s string) bool {
	return len(s) >= 1 && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}

// glob reports whether a pattern with * (any text) and ? (any character) matches.
func glob(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func isGlob(s string) bool { return strings.ContainsAny(s, "*?") }
