package command

import (
	"errors"
	"fmt"
	"strings"
)

// split cuts a line into words as a shell does with quotes and backslashes, and
// with nothing else: there are no variables, no patterns, no pipes. What only a
// shell would understand is refused instead of passed on as a word.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	started := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
			continue
		case c == '\'' || c == '"':
			end, err := quoted(line, i, &word)
			if err != nil {
				return nil, err
			}
			i = end
		case c == '\\':
			if i++; i == len(line) {
				return nil, errors.New("the line ends in a backslash")
			}
			word.WriteByte(line[i])
		case strings.IndexByte("|&;<>`", c) >= 0:
			return nil, fmt.Errorf("%q is for a shell, and there is none: quote it, or use the module script", string(c))
		default:
			word.WriteByte(c)
		}
		started = true
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}

// quoted adds what stands in quotes from i on and returns where they end. A
// backslash counts in double quotes only, before " and itself.
func quoted(line string, i int, word *strings.Builder) (int, error) {
	quote := line[i]
	for i++; i < len(line); i++ {
		switch c := line[i]; {
		case c == quote:
			return i, nil
		case c == '\\' && quote == '"' && i+1 < len(line) && (line[i+1] == '"' || line[i+1] == '\\'):
			i++
			word.WriteByte(line[i])
		default:
			word.WriteByte(c)
		}
	}
	return 0, fmt.Errorf("a quote %c is never closed", quote)
}
