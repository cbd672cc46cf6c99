package remote_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

// answering is a far end that answers questions with the pages that f gives, and
// with silence to nil.
func answering(f func(a *wire.Ask) *wire.Message) far {
	return talking(func(p *peer) {
		for m := p.hear(); m != nil; m = p.hear() {
			if m.Ask == nil {
				continue
			}
			if out := f(m.Ask); out != nil {
				p.say(*out)
			}
		}
	})
}

func TestAskJoinsPages(t *testing.T) {
	quiet(t)
	s := session(t, connect(answering(func(a *wire.Ask) *wire.Message {
		page := &wire.Answer{Receipts: []wire.Receipt{{Run: fmt.Sprint("r", a.From)}}}
		if a.From == 0 {
			page.Resource = &wire.Resource{Name: "/etc/\x1b[31mmotd", State: wire.Ours}
		}
		if a.From < 4 {
			page.Next = a.From + 2
		}
		return &wire.Message{Answer: page}
	})))
	got, err := s.Ask(t.Context(), wire.Ask{What: wire.AskBlame, Resource: "/etc/motd"})
	if err != nil {
		t.Fatal(err)
	}
	var runs []string
	for _, r := range got.Receipts {
		runs = append(runs, r.Run)
	}
	if strings.Join(runs, " ") != "r0 r2 r4" || got.Next != 0 {
		t.Errorf("got %v and next %d, want r0 r2 r4 and none", runs, got.Next)
	}
	if got.Resource == nil || strings.Contains(got.Resource.Name, "\x1b") {
		t.Errorf("got %+v, want a resource that is safe to show", got.Resource)
	}
}

func TestAskOfAHostileHost(t *testing.T) {
	tests := []struct {
		name, want string
		answer     func(a *wire.Ask) *wire.Message
	}{
		{"pages without end", "more than 64 pages", func(a *wire.Ask) *wire.Message { return &wire.Message{Answer: &wire.Answer{Next: a.From + 1}} }},
		{"the same page again", "comes after page", func(*wire.Ask) *wire.Message { return &wire.Message{Answer: &wire.Answer{Next: 1}} }},
		{"something else", "did not answer", func(*wire.Ask) *wire.Message { return &wire.Message{Done: &wire.Done{}} }},
		{"an old helper", "did not answer", func(*wire.Ask) *wire.Message {
			return &wire.Message{Unsupported: &wire.Unsupported{Kind: "ask"}}
		}},
		{"too many receipts", "too long", func(*wire.Ask) *wire.Message {
			return &wire.Message{Answer: &wire.Answer{Receipts: make([]wire.Receipt, 10_001)}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			quiet(t)
			s := session(t, connect(answering(tt.answer)))
			_, err := s.Ask(t.Context(), wire.Ask{What: wire.AskRuns})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestAskThatIsRefused(t *testing.T) {
	quiet(t)
	s := session(t, connect(answering(func(*wire.Ask) *wire.Message {
		return &wire.Message{Refused: &wire.Refused{Error: "ssh is several things", Hint: "name one"}}
	})))
	_, err := s.Ask(t.Context(), wire.Ask{What: wire.AskBlame, Resource: "ssh"})
	var refused *remote.Refused
	if !errors.As(err, &refused) || refused.Hint != "name one" {
		t.Errorf("got %v, want the refusal and its hint", err)
	}
}
