package helper

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
)

// modeAsk is the mode of a talk that asks what the host remembers and does nothing.
const modeAsk = "ask"

// memory is what an Ask is answered with, page by page.
type memory struct {
	ask   wire.Ask
	first wire.Answer // what comes with the first page
	items []any       // wire.Run, wire.PastTask, wire.Change and wire.Receipt, in order
}

// ask answers what the host remembers. It reads only, and needs no lock.
func (s *server) ask(ctx context.Context, a *wire.Ask) error {
	want := *a
	want.From = 0
	if a.From == 0 || s.memory == nil || s.memory.ask != want {
		m := &memory{ask: want}
		if err := s.recollect(ctx, m); err != nil {
			return s.refuse(err.Error())
		}
		s.memory = m
	}
	return s.stream.Send(&wire.Message{Answer: s.memory.page(a.From)})
}

// The bounds of one page.
const (
	maxPage  = 1 << 20
	maxItems = 5000
)

// page returns the items from one on, as many as an answer holds.
func (m *memory) page(from int) *wire.Answer {
	a := &wire.Answer{}
	if from == 0 {
		*a = m.first
	}
	size := 0
	for i := from; i < len(m.items); i++ {
		b, err := json.Marshal(m.items[i])
		if err != nil {
			continue // plain structs of text and times that came from JSON
		}
		if size += len(b); i > from && (size > maxPage || i-from >= maxItems) {
			a.Next = i
			break
		}
		switch item := m.items[i].(type) {
		case wire.Run:
			a.Runs = append(a.Runs, item)
		case wire.PastTask:
			a.Tasks = append(a.Tasks, item)
		case wire.Change:
			a.Changes = append(a.Changes, item)
		case wire.Receipt:
			a.Receipts = append(a.Receipts, item)
		}
	}
	return a
}

func (s *server) recollect(ctx context.Context, m *memory) error {
	if s.store == nil {
		switch m.ask.What {
		case wire.AskBlame:
			m.first.Resource = &wire.Resource{Name: m.ask.Resource, State: wire.Unknown, Drift: "this host remembers no run"}
		case wire.AskLedger:
			m.first.Ledger = &wire.LedgerLook{}
		}
		return nil
	}
	switch m.ask.What {
	case wire.AskRuns:
		runs, err := s.past()
		for _, r := range runs {
			m.items = append(m.items, r)
		}
		return err
	case wire.AskRun:
		return s.show(ctx, m)
	case wire.AskBlame:
		return s.blame(ctx, m)
	}
	look, err := s.look(ctx)
	m.first.Ledger = look
	return err
}

// past lists the runs that the host remembers, newest first.
func (s *server) past() ([]wire.Run, error) {
	runs, err := s.runs()
	if err != nil {
		return nil, err
	}
	b, err := s.book(nil)
	if err != nil {
		return nil, err
	}
	holder := s.store.Holder()
	for i := range runs {
		r := &runs[i]
		if r.Status == "" {
			r.Status = "died"
			if holder != nil && holder.Run == r.ID {
				r.Status = "running"
			}
		}
		if r.Changes = len(b.count[r.ID]); r.Changes == 0 {
			r.Changes = s.changed(r.ID)
		}
	}
	return runs, nil
}

// changed counts what a run changed that the ledger does not know of.
func (s *server) changed(run string) int {
	rec, err := s.store.Load(run)
	if err != nil {
		return 0 // it was pruned meanwhile
	}
	seen := map[string]bool{}
	for _, e := range rec.Entries {
		if e.Finished && isState(e.Resource) {
			seen[e.Resource] = true
		}
	}
	return len(seen)
}

// isState reports whether a resource is something that has a state, not an act.
func isState(resource string) bool {
	return resource != "units" && !strings.HasPrefix(resource, "command:") && !strings.HasPrefix(resource, "run:")
}

// show tells what one run did.
func (s *server) show(ctx context.Context, m *memory) error {
	runs, err := s.past()
	if err != nil {
		return err
	}
	r := pick(runs, m.ask.Run)
	if r == nil {
		return nil
	}
	m.first.Runs = []wire.Run{*r}
	rec, err := s.store.Load(r.ID)
	if err != nil {
		return err
	}
	tracer := &host.Tracer{Machine: s.machine, Blobs: rec, Mask: s.store.Mask}
	for _, t := range rec.Tasks {
		if t.Module == handlersRecord {
			continue
		}
		past := pastTask(t)
		if past.Status == "died" && r.Status == "running" {
			past.Status = "running"
		}
		m.items = append(m.items, past)
		traces, err := tracer.Task(ctx, t.Entries)
		if err != nil {
			traces = rough(t.Entries)
		}
		for _, tr := range traces {
			m.items = append(m.items, wire.Change{Task: t.ID, Resource: cut(tr.Resource, 4096), Did: cut(tr.Did, maxTitle),
				Before: shortPrint(tr.Before), After: shortPrint(tr.After), Unfinished: tr.Unfinished})
		}
	}
	return nil
}

// pick returns the run that is meant: the run itself, the newest for "last", or the
// only one that begins so.
func pick(runs []wire.Run, want string) (found *wire.Run) {
	for i := range runs { // newest first
		r := &runs[i]
		switch {
		case r.ID == want, want == "last":
			return r
		case len(want) < 4 || !strings.HasPrefix(r.ID, want):
		case found != nil:
			return nil // two runs begin so
		default:
			found = r
		}
	}
	return found
}

func pastTask(t *journal.TaskRecord) wire.PastTask {
	p := wire.PastTask{ID: t.ID, Path: cut(t.Path, maxTitle), Name: cut(t.Name, maxTitle), Module: cut(t.Module, maxTitle), Status: "died", RunAs: cut(t.RunAs, maxTitle)}
	if p.Name == "" {
		p.Name = cut(strings.TrimSpace(t.Module+" "+t.Resource), maxTitle)
	}
	if t.End == nil {
		return p
	}
	p.Status, p.Error = cut(t.End.Status, maxTitle), cut(t.End.Error, 64<<10)
	if p.Status == "changed" && !t.End.Changed {
		p.Status = "unchanged"
	}
	return p
}

// look checks the ledger: its chain, and that it knows what the remembered runs did.
func (s *server) look(ctx context.Context) (*wire.LedgerLook, error) {
	// The runs come first: what they note meanwhile is in the ledger by then.
	infos, err := s.store.Runs()
	if err != nil {
		return nil, err
	}
	b, err := s.book(nil)
	if err != nil {
		return nil, err
	}
	l := lookOf(b.audit)
	for _, r := range infos {
		if r.Status == "" || b.plain[r.ID] {
			continue // it goes on, or the next run notes what it did; or it is of a time before
		}
		missing, err := s.missing(ctx, r.ID, b.entry[r.ID])
		if err != nil {
			return nil, err
		}
		if missing > 0 {
			l.Missing = append(l.Missing, r.ID)
		}
	}
	return l, nil
}

func lookOf(a journal.Audit) *wire.LedgerLook {
	return &wire.LedgerLook{Receipts: a.Receipts, Head: cut(a.Head, maxTitle), Last: a.Last, Line: a.Line, Why: cut(a.Why, maxTitle)}
}

// missing counts the changes of a run behind the last entry that the ledger knows.
func (s *server) missing(ctx context.Context, run string, known int) (int, error) {
	rec, err := s.store.Load(run)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range rec.Tasks {
		late := slices.DeleteFunc(slices.Clone(behind(t.Entries, known)), func(e *journal.Entry) bool { return !e.Finished })
		n += len(s.receipts(ctx, rec.RunInfo, t.TaskInfo, rec, late))
	}
	return n, nil
}
