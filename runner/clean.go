package runner

import (
	"slices"
	"strings"
	"unicode"

	"holdfast/tasks/task"
)

// Clean makes one line of text from a host safe to show: no control characters, and
// none that turn the direction of writing or cannot be seen.
func Clean(s string) string {
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

// CleanText is Clean for text of several lines.
func CleanText(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = Clean(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

func cleanChanges(list []task.Change) []task.Change {
	out := make([]task.Change, len(list))
	for i, c := range list {
		c.Attr, c.Kind = Clean(c.Attr), Clean(c.Kind)
		c.Before, c.After, c.Diff = CleanText(c.Before), CleanText(c.After), CleanText(c.Diff)
		out[i] = c
	}
	return out
}

// cleanFinding cleans a line of a scorecard. A state that there is none of is one
// that nobody should trust.
func cleanFinding(f *task.Finding) *task.Finding {
	if f == nil {
		return nil
	}
	out := *f
	out.ID, out.Section, out.Title = Clean(f.ID), Clean(f.Section), Clean(f.Title)
	for _, text := range []*string{&out.Looked, &out.Found, &out.Wanted, &out.Hint, &out.Reason} {
		*text = CleanText(*text)
	}
	if !slices.Contains(task.FindingStates, f.State) {
		out.State, out.Reason = task.FindingNotKnown, "the host gave a state that there is none of"
	}
	return &out
}

// joined shows a list that a host sent, which may be long.
func joined(list []string) string {
	const most = 20
	if len(list) > most {
		list = append(list[:most:most], "…")
	}
	return strings.Join(list, ", ")
}
