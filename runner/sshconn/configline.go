package sshconn

import (
	"errors"
	"strings"
)

// configLine is one directive of an ssh_config file.
type configLine struct {
	file string
	no   int
	word string // the keyword in lower case
	name string // the keyword as written
	args []string
}

func (l configLine) fault(message string) *ConfigError {
	return &ConfigError{File: l.file, Line: l.no, Message: message}
}

// first returns the only or first argument, or "".
func (l configLine) first() string {
	if len(l.args) == 0 {
		return ""
	}
	return l.args[0]
}

// splitDirective takes a line apart as OpenSSH does: a keyword, blanks or one
// equals sign, then words that may be quoted. An empty keyword means that the
// line holds none.
func splitDirective(text string) (name string, args []string, err error) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' {
		return "", nil, nil
	}
	end := strings.IndexAny(text, " \t=")
	if end < 0 {
		return text, nil, nil
	}
	name, rest := text[:end], strings.TrimLeft(text[end:], " \t")
	rest = strings.TrimPrefix(rest, "=")
	if name == "" {
		return "", nil, errors.New("a keyword is missing")
	}
	args, err = splitWords(rest)
	return name, args, err
}

func splitWords(text string) ([]string, error) {
	var words []string
	for {
		text = strings.TrimLeft(text, " \t")
		if text == "" || text[0] == '#' {
			return words, nil
		}
		word, rest, err := cutWord(text)
		if err != nil {
			return nil, err
		}
		words, text = append(words, word), rest
	}
}

// cutWord cuts the first word off; quotes may start anywhere in it, and a
// backslash protects a quote, a backslash and, outside quotes, a blank.
func cutWord(text string) (word, rest string, err error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		next := byte(0)
		if i+1 < len(text) {
			next = text[i+1]
		}
		switch {
		case c == '\\' && (next == '\'' || next == '"' || next == '\\' || quote == 0 && next == ' '):
			b.WriteByte(next)
			i++
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), text[i:], nil
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", errors.New("a quote is not closed")
	}
	return b.String(), "", nil
}

// matchList says whether s matches a list of patterns, none of the negated ones
// among them.
func matchList(patterns []string, s string) bool {
	found := false
	for _, p := range patterns {
		negated := strings.HasPrefix(p, "!")
		if !matchPattern(strings.TrimPrefix(p, "!"), s) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// matchPattern knows * and ?, and takes time proportional to the product of the
// lengths at worst.
func matchPattern(pattern, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
