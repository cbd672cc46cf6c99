package wire

import "fmt"

// Rollback takes back what the steps from one number to another changed in this run,
// last first. Handlers that they notified run again at once when Whole is set, which
// says that nothing of the run is to stay; otherwise they wait for their turn.
type Rollback struct {
	From  int  `json:"from"`
	To    int  `json:"to"`
	Whole bool `json:"whole,omitempty"`
}

func (r *Rollback) ensureValid() error {
	if r.From < 1 || r.To < r.From || r.To >= Left {
		return fmt.Errorf("steps %d to %d cannot be taken back", r.From, r.To)
	}
	return nil
}

// Covers reports whether a step is to be taken back.
func (r *Rollback) Covers(step int) bool { return r.From <= step && step <= r.To }
