package audit

import (
	"slices"
	"time"

	"holdfast/tasks/task"
)

// Comparison is what became of the lines since an earlier report.
type Comparison struct {
	Run    string    `json:"run"`
	Time   time.Time `json:"time"`
	Better []Delta   `json:"better,omitempty"`
	Worse  []Delta   `json:"worse,omitempty"`
	Other  []Delta   `json:"other,omitempty"` // neither, such as a line that applies now
	New    []Delta   `json:"new,omitempty"`
	Gone   []Delta   `json:"gone,omitempty"`
	Same   int       `json:"same"`
}

// Delta is what became of one line.
type Delta struct {
	ID    string            `json:"id"`
	Title string            `json:"title"`
	Was   task.FindingState `json:"was,omitempty"`
	Is    task.FindingState `json:"is,omitempty"`
}

// Compare compares a report with an earlier one.
func Compare(old, now *Report) *Comparison {
	c := &Comparison{Run: old.Run, Time: old.Time}
	for _, l := range now.Lines {
		before := find(old, l.ID)
		if before == nil {
			c.New = append(c.New, Delta{ID: l.ID, Title: l.Title, Is: l.State})
			continue
		}
		d := Delta{ID: l.ID, Title: l.Title, Was: before.State, Is: l.State}
		switch was, is := rank(d.Was), rank(d.Is); {
		case d.Was == d.Is:
			c.Same++
		case is > was:
			c.Better = append(c.Better, d)
		case is < was:
			c.Worse = append(c.Worse, d)
		default:
			c.Other = append(c.Other, d)
		}
	}
	for _, l := range old.Lines {
		if find(now, l.ID) == nil {
			c.Gone = append(c.Gone, Delta{ID: l.ID, Title: l.Title, Was: l.State})
		}
	}
	return c
}

func find(r *Report, id string) *task.Finding {
	i := slices.IndexFunc(r.Lines, func(l task.Finding) bool { return l.ID == id })
	if i < 0 {
		return nil
	}
	return &r.Lines[i]
}

// rank orders states from bad to good. What does not apply is as good as a pass.
func rank(s task.FindingState) int {
	if s == task.FindingNotApplicable {
		s = task.FindingPass
	}
	return slices.Index(task.FindingStates, s)
}
