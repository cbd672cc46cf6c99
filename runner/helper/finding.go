package helper

import (
	"fmt"

	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// masked returns a line of a scorecard without secrets.
func (s *server) masked(f task.Finding) task.Finding {
	for _, text := range []*string{&f.Title, &f.Looked, &f.Found, &f.Wanted, &f.Hint, &f.Reason} {
		*text = s.redactor.String(*text)
	}
	return f
}

// judge makes a line of a scorecard the outcome of its step. What could not be looked
// at is a failure: it must not pass for fine.
func judge(r *wire.Result, f *task.Finding) error {
	switch f.State {
	case task.FindingFail:
		r.Hint = f.Hint
		return fmt.Errorf("found %q, wanted %q%s", f.Found, f.Wanted, because(f.Reason))
	case task.FindingNotKnown:
		r.Hint = f.Hint
		return fmt.Errorf("not known%s", because(f.Reason))
	case task.FindingNotApplicable:
		r.Status, r.Reason = "skipped", f.Reason
	case task.FindingWarning, task.FindingAccepted:
		r.Hint, r.Reason = f.Hint, fmt.Sprintf("%s%s: found %q, wanted %q", f.State, because(f.Reason), f.Found, f.Wanted)
	case task.FindingPass:
		if f.Found != "" {
			r.Reason = fmt.Sprintf("found %q", f.Found)
		}
	}
	return nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
