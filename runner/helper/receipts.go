package helper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// maxPrint bounds a fingerprint in the ledger, maxTitle a name.
const (
	maxPrint = 1000
	maxTitle = 1000
)

// receipts says what the entries of one task did, one receipt for each resource.
func (s *server) receipts(ctx context.Context, run journal.RunInfo, t journal.TaskInfo, from host.Blobs, entries []*journal.Entry) []journal.Receipt {
	if len(entries) == 0 {
		return nil
	}
	// A task that ran out of time has done something all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	tracer := &host.Tracer{Machine: s.machine, Blobs: from, Mask: s.store.Mask}
	traces, err := tracer.Task(ctx, entries)
	if err != nil {
		traces = rough(entries)
	}
	out := make([]journal.Receipt, len(traces))
	for i, tr := range traces {
		out[i] = journal.Receipt{Run: run.ID, Playbook: run.Playbook, Version: run.Version, Controller: run.Controller, User: run.User,
			UndoOf: run.UndoOf, Task: cut(t.Name, maxTitle), Resource: cut(tr.Resource, 4096), Did: tr.Did,
			Before: shortPrint(tr.Before), After: shortPrint(tr.After), Entry: tr.Entry, Unfinished: tr.Unfinished}
	}
	return out
}

// rough says of entries whose before-images cannot be read what is left to say. A
// damaged journal is no reason to refuse work.
func rough(entries []*journal.Entry) (out []host.Trace) {
	for _, e := range entries {
		out = append(out, host.Trace{Resource: e.Resource, Did: e.Op, Entry: e.Seq, Unfinished: !e.Finished})
	}
	return out
}

// cut shortens a text to n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

// shortPrint puts a digest in place of a fingerprint that is too long for the ledger.
func shortPrint(s string) string {
	if len(s) <= maxPrint {
		return s
	}
	return "sha256=" + task.DigestOf([]byte(s))
}

// note puts into the ledger what a task did. One that lost the host meanwhile leaves
// that to whoever took it.
func (s *server) note(ctx context.Context, jt *journal.Task) error {
	if s.lock != nil {
		if err := s.lock.Check(); err != nil {
			return err
		}
	}
	return s.store.Receipt(s.receipts(ctx, s.journal.Info(), jt.Info(), s.journal, jt.Entries())...)
}

// noteRun puts into the ledger what a run did in its entries after the given one. A
// run that is over gets a mark, so that this is done once.
func (s *server) noteRun(ctx context.Context, run string, after int, mark bool) error {
	rec, err := s.store.Load(run)
	if err != nil {
		return err
	}
	var all []journal.Receipt
	for _, t := range rec.Tasks {
		all = append(all, s.receipts(ctx, rec.RunInfo, t.TaskInfo, rec, behind(t.Entries, after))...)
	}
	if mark && len(rec.Entries) > after {
		all = append(all, journal.Receipt{Run: run, Playbook: rec.Playbook, Version: rec.Version, Controller: rec.Controller, User: rec.User,
			UndoOf: rec.UndoOf, Resource: "run:" + run, Did: "died", Entry: len(rec.Entries)})
	}
	return s.store.Receipt(all...)
}

// noteLate puts into the ledger what a run did and did not note itself.
func (s *server) noteLate(ctx context.Context, run string) error {
	b, err := s.book(nil)
	if err != nil {
		return err
	}
	return s.noteRun(ctx, run, b.entry[run], false)
}

// behind returns the entries that come after the one with a number.
func behind(entries []*journal.Entry, n int) []*journal.Entry {
	i := slices.IndexFunc(entries, func(e *journal.Entry) bool { return e.Seq > n })
	if i < 0 {
		return nil
	}
	return entries[i:]
}

// catchUp notes what runs that died did before they could note it themselves. We hold
// the host's lock, so a run without an end is one that has nobody left to end it.
func (s *server) catchUp(ctx context.Context) error {
	infos, err := s.store.Runs()
	if err != nil {
		return err
	}
	infos = slices.DeleteFunc(infos, func(r journal.RunInfo) bool { return r.Status != "" })
	if len(infos) == 0 {
		return nil
	}
	b, err := s.book(nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range infos {
		if err := s.noteRun(ctx, r.ID, b.entry[r.ID], true); err != nil {
			errs = append(errs, fmt.Errorf("cannot note what the run %s did: %w", r.ID, err))
		}
	}
	return errors.Join(errs...)
}

// book is what the ledger says about each run.
type book struct {
	audit journal.Audit
	entry map[string]int  // the last entry of the run's journal that it knows
	plain map[string]bool // it has receipts of the first form, which name no entries
	count map[string]map[string]bool
}

// book reads the ledger; each may be nil.
func (s *server) book(each func(journal.Receipt)) (*book, error) {
	b := &book{entry: map[string]int{}, plain: map[string]bool{}, count: map[string]map[string]bool{}}
	var err error
	b.audit, err = s.store.Audit(func(r journal.Receipt) {
		b.entry[r.Run] = max(b.entry[r.Run], r.Entry)
		if r.Entry == 0 {
			b.plain[r.Run] = true
		}
		if isState(r.Resource) {
			if b.count[r.Run] == nil {
				b.count[r.Run] = map[string]bool{}
			}
			b.count[r.Run][r.Resource] = true
		}
		if each != nil {
			each(r)
		}
	})
	return b, err
}
