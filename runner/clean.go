package runner

import (
	"slices"
	"strings"

	"holdfast/runner/plain"
	"holdfast/tasks/task"
)

func cleanChanges(list []task.Change) []task.Change {
	out := make([]task.Change, len(list))
	for i, c := range list {
		c.Attr, c.Kind = plain.Line(c.Attr), plain.Line(c.Kind)
		c.Before, c.After, c.Diff = plain.Text(c.Before), plain.Text(c.After), plain.Text(c.Diff)
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
	out.ID, out.Section, out.Title = plain.Line(f.ID), plain.Line(f.Section), plain.Line(f.Title)
	for _, text := range []*string{&out.Looked, &out.Found, &out.Wanted, &out.Hint, &out.Reason} {
		*text = plain.Text(*text)
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
