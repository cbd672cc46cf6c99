package line

import (
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// edit changes a text so that editing it again changes nothing.
type edit struct {
	line             *string
	pattern          *regexp.Regexp
	after, before    *regexp.Regexp
	absent, backrefs bool
}

func newEdit(p Params) (edit, error) {
	e := edit{line: p.Line, absent: p.State == "absent", backrefs: p.Backrefs}
	for _, f := range []struct {
		name string
		text *string
		to   **regexp.Regexp
	}{{"regexp", p.Regexp, &e.pattern}, {"after", p.After, &e.after}, {"before", p.Before, &e.before}} {
		if f.text == nil {
			continue
		}
		re, err := regexp.Compile(*f.text)
		if err != nil {
			return e, task.FieldErrorf(f.name, "invalid pattern: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		*f.to = re
	}
	return e, nil
}

// counts reports whether l is the line that the task is about. The line itself
// always counts, or a pattern that does not find it would add it with every run.
func (e *edit) counts(l string) bool {
	if e.pattern != nil && e.pattern.MatchString(l) {
		return true
	}
	return e.line != nil && !e.backrefs && l == *e.line
}

func (e *edit) apply(text string) string {
	all := lines(text)
	if e.absent {
		left := slices.DeleteFunc(slices.Clone(all), e.counts)
		if len(left) == len(all) {
			return text
		}
		return joined(left)
	}
	last := -1
	for i, l := range all {
		if e.counts(l) {
			last = i
		}
	}
	if last < 0 {
		if e.backrefs {
			return text
		}
		return joined(slices.Insert(all, e.place(all), *e.line))
	}
	want := e.wanted(all[last])
	if all[last] == want {
		return text
	}
	all[last] = want
	return joined(all)
}

// place returns where a new line goes.
func (e *edit) place(all []string) int {
	place := len(all)
	for i, l := range all {
		if e.before != nil && e.before.MatchString(l) {
			return i
		}
		if e.after != nil && e.after.MatchString(l) {
			place = i + 1
		}
	}
	return place
}

// wanted returns the line that takes the place of old.
func (e *edit) wanted(old string) string {
	if !e.backrefs {
		return *e.line
	}
	var b strings.Builder
	groups := e.pattern.FindStringSubmatch(old)
	rest := *e.line
	for {
		before, after, found := strings.Cut(rest, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		switch {
		case after != "" && after[0] >= '0' && after[0] <= '9':
			if n := int(after[0] - '0'); n < len(groups) {
				b.WriteString(groups[n])
			}
			rest = after[1:]
		case strings.HasPrefix(after, `\`):
			b.WriteByte('\\')
			rest = after[1:]
		default:
			b.WriteByte('\\')
			rest = after
		}
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// joined ends every line, also one that the file left open.
func joined(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "\n") + "\n"
}
