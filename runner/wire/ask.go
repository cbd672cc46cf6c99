package wire

import (
	"encoding/json"
	"fmt"
	"time"
)

// What may be asked of a host's memory.
const (
	AskRuns   = "runs"   // the runs that it remembers
	AskRun    = "run"    // what one of them did
	AskBlame  = "blame"  // who changed a resource
	AskLedger = "ledger" // whether its receipts can be trusted
)

// Ask wants to know what the host remembers. It is for talks of the mode "ask", which
// take no lock and write nothing.
type Ask struct {
	What string `json:"what"`
	// Run is a run of the host: its name, the beginning of one, or "last".
	Run string `json:"run,omitempty"`
	// Resource is a path, or KIND:NAME as receipts have it, or a name alone.
	Resource string `json:"resource,omitempty"`
	Limit    int    `json:"limit,omitempty"` // at most so many receipts; 0 is all
	From     int    `json:"from,omitempty"`  // the page: what the last answer gave as Next
}

// Answer is one page of what was asked for.
type Answer struct {
	Runs     []Run       `json:"runs,omitempty"` // newest first; of AskRun the one run, or none
	Tasks    []PastTask  `json:"tasks,omitempty"`
	Changes  []Change    `json:"changes,omitempty"`
	Receipts []Receipt   `json:"receipts,omitempty"` // newest first
	Resource *Resource   `json:"resource,omitempty"`
	Ledger   *LedgerLook `json:"ledger,omitempty"`
	Next     int         `json:"next,omitempty"` // where the next page begins; 0 is the end
}

// PastTask is a task of a run of the past.
type PastTask struct {
	ID     int    `json:"id"`
	Path   string `json:"path,omitempty"` // its place in the playbook
	Name   string `json:"name,omitempty"`
	Module string `json:"module"`
	Status string `json:"status"` // changed, failed, or died: it has no end
	Error  string `json:"error,omitempty"`
	RunAs  string `json:"run_as,omitempty"`
}

// Change is what a task did to one resource. Fingerprints that are empty are not known.
type Change struct {
	Task       int    `json:"task"` // the ID of the task
	Resource   string `json:"resource"`
	Did        string `json:"did"`
	Before     string `json:"before,omitempty"`
	After      string `json:"after,omitempty"`
	Unfinished bool   `json:"unfinished,omitempty"`
}

// Receipt is a line of the host's ledger.
type Receipt struct {
	Time       time.Time `json:"time"`
	Run        string    `json:"run"`
	Playbook   string    `json:"playbook,omitempty"`
	Version    string    `json:"version,omitempty"`
	Controller string    `json:"controller,omitempty"`
	User       string    `json:"user,omitempty"`
	UndoOf     string    `json:"undo_of,omitempty"`
	Task       string    `json:"task,omitempty"`
	Did        string    `json:"did,omitempty"`
	Before     string    `json:"before,omitempty"`
	After      string    `json:"after,omitempty"`
	Unfinished bool      `json:"unfinished,omitempty"`
	// Drift says how the resource had been changed by others when this run found it.
	Drift string `json:"drift,omitempty"`
}

// The answers to whether others changed a resource since its last receipt.
const (
	Ours    = "ours"    // it is as the last receipt says
	Others  = "others"  // it is not
	Unknown = "unknown" // there is nothing to compare
)

// Resource is what a host says about a resource as it is now.
type Resource struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Now   string `json:"now,omitempty"`   // its fingerprint, in the parts that receipts have
	Drift string `json:"drift,omitempty"` // how it differs from the last receipt, or why nobody knows
	Total int    `json:"total"`           // all its receipts
}

// LedgerLook is what a look through a ledger found.
type LedgerLook struct {
	Receipts int       `json:"receipts"`
	Head     string    `json:"head,omitempty"` // hash of the last receipt
	Last     time.Time `json:"last,omitzero"`
	Line     int       `json:"line,omitempty"` // the first line that cannot be trusted
	Why      string    `json:"why,omitempty"`
	Missing  []string  `json:"missing,omitempty"` // runs that changed what the ledger does not know
}

// Broken reports whether the ledger is not to be trusted.
func (l *LedgerLook) Broken() bool { return l.Line > 0 || len(l.Missing) > 0 }

func (a *Ask) ensureValid() error {
	if a.Limit < 0 || a.From < 0 {
		return fmt.Errorf("a negative limit or page")
	}
	switch {
	case a.What == AskRuns, a.What == AskLedger:
	case a.What == AskRun && a.Run != "":
	case a.What == AskBlame && a.Resource != "":
	default:
		return fmt.Errorf("no question: %.40q", a.What)
	}
	return names(a.Run, a.Resource)
}

func (a *Answer) ensureValid() error {
	if len(a.Runs) > maxList || len(a.Tasks) > maxList || len(a.Changes) > maxList || len(a.Receipts) > maxList {
		return fmt.Errorf("a list is too long")
	}
	if a.Next < 0 {
		return fmt.Errorf("a negative page")
	}
	for i := range a.Runs {
		if err := a.Runs[i].ensureValid(); err != nil {
			return err
		}
	}
	for _, t := range a.Tasks {
		if len(t.Error) > maxText || t.ID < 1 {
			return fmt.Errorf("a text is too long or a task has no number")
		}
		if err := names(t.Path, t.Name, t.Module, t.Status, t.RunAs); err != nil {
			return err
		}
	}
	for _, c := range a.Changes {
		if err := names(c.Resource, c.Did, c.Before, c.After); err != nil {
			return err
		}
	}
	for _, r := range a.Receipts {
		if err := names(r.Run, r.Playbook, r.Version, r.Controller, r.User, r.UndoOf, r.Task, r.Did, r.Before, r.After, r.Drift); err != nil {
			return err
		}
	}
	if err := a.Resource.ensureValid(); err != nil {
		return err
	}
	return a.Ledger.ensureValid()
}

func (r *Resource) ensureValid() error {
	if r == nil {
		return nil
	}
	switch r.State {
	case Ours, Others, Unknown:
	default:
		return fmt.Errorf("bad state %.40q", r.State)
	}
	if r.Total < 0 {
		return fmt.Errorf("a negative count")
	}
	return names(r.Name, r.Now, r.Drift)
}

func (l *LedgerLook) ensureValid() error {
	if l == nil {
		return nil
	}
	if l.Receipts < 0 || l.Line < 0 || len(l.Missing) > maxList {
		return fmt.Errorf("a negative count or a list that is too long")
	}
	return names(append([]string{l.Head, l.Why}, l.Missing...)...)
}

func (r *Run) ensureValid() error {
	if r.Changes < 0 {
		return fmt.Errorf("a negative count")
	}
	return names(r.ID, r.Playbook, r.Version, r.Command, r.Status, r.UndoOf, r.UndoneBy, r.Controller, r.User)
}

// UnmarshalJSON reads an answer and counts its lists before it makes room for them.
func (a *Answer) UnmarshalJSON(b []byte) error {
	type plain Answer
	in := struct {
		*plain
		Runs     list `json:"runs"`
		Tasks    list `json:"tasks"`
		Changes  list `json:"changes"`
		Receipts list `json:"receipts"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	for _, l := range []struct {
		text list
		into any
	}{{in.Runs, &a.Runs}, {in.Tasks, &a.Tasks}, {in.Changes, &a.Changes}, {in.Receipts, &a.Receipts}} {
		if err := l.text.into(l.into); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalJSON reads a look and counts its list before it makes room for it.
func (l *LedgerLook) UnmarshalJSON(b []byte) error {
	type plain LedgerLook
	in := struct {
		*plain
		Missing list `json:"missing"`
	}{plain: (*plain)(l)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	return in.Missing.into(&l.Missing)
}
