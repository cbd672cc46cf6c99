package remote

import (
	"context"
	"reflect"
	"time"

	"holdfast/runner/wire"
)

// The bounds of what a host may say about its past.
const (
	askLimit = 2 * time.Minute // for one page
	maxPages = 64
)

// Ask asks what the host remembers and returns the whole answer, all its pages as one.
// It is for sessions of the mode "ask". Every text is safe to show.
func (s *Session) Ask(ctx context.Context, a wire.Ask) (*wire.Answer, error) {
	all := &wire.Answer{}
	for range maxPages {
		page, err := s.askPage(ctx, &a)
		if err != nil {
			return nil, err
		}
		all.Runs = append(all.Runs, page.Runs...)
		all.Tasks = append(all.Tasks, page.Tasks...)
		all.Changes = append(all.Changes, page.Changes...)
		all.Receipts = append(all.Receipts, page.Receipts...)
		if a.From == 0 {
			all.Resource, all.Ledger = page.Resource, page.Ledger
		}
		if page.Next == 0 {
			scrub(reflect.ValueOf(all).Elem())
			return all, nil
		}
		if page.Next <= a.From {
			return nil, wire.Violationf("page %d of an answer comes after page %d", page.Next, a.From)
		}
		a.From = page.Next
	}
	return nil, wire.Violationf("an answer of more than %d pages", maxPages)
}

func (s *Session) askPage(ctx context.Context, a *wire.Ask) (*wire.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	defer s.out.hurryAfter(ctx)()
	if err := s.send(&wire.Message{Ask: a}); err != nil {
		return nil, err
	}
	m, err := s.next(ctx)
	switch {
	case err != nil:
		return nil, err
	case m.Refused != nil:
		return nil, &Refused{clean(m.Refused.Error), clean(m.Refused.Hint), m.Refused.Locked}
	case m.Answer == nil:
		return nil, wire.Violationf("the helper did not answer what it was asked")
	}
	return m.Answer, nil
}
