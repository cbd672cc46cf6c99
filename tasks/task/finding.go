package task

// Finding is one line of a scorecard: what was looked at on a host, what was there,
// what was wanted, and what follows from it.
type Finding struct {
	ID      string       `json:"id"`
	Section string       `json:"section"`
	Title   string       `json:"title"`
	State   FindingState `json:"state"`
	Looked  string       `json:"looked,omitempty"` // at what
	Found   string       `json:"found,omitempty"`
	Wanted  string       `json:"wanted,omitempty"`
	Hint    string       `json:"hint,omitempty"`   // how to mend it
	Reason  string       `json:"reason,omitempty"` // why it is accepted, not applicable or not known
}

// FindingState is what a line of a scorecard comes to.
type FindingState string

// The states of findings. Only Pass says that all is as it is wanted.
const (
	FindingPass          FindingState = "pass"
	FindingFail          FindingState = "fail"
	FindingWarning       FindingState = "warning"
	FindingAccepted      FindingState = "accepted risk"
	FindingNotApplicable FindingState = "not applicable"
	FindingNotKnown      FindingState = "not known" // it could not be looked at
)

// FindingStates are all of them, the worst first.
var FindingStates = []FindingState{FindingFail, FindingNotKnown, FindingWarning, FindingAccepted, FindingPass, FindingNotApplicable}

// Found is a result that is a line of a scorecard.
type Found interface{ Line() Finding }
