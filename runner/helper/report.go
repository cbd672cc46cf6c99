package helper

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// The bounds of one result, well below those of the wire.
const (
	maxShown   = 256 << 10 // a text
	maxNamed   = 4000      // a name
	maxChanges = 5000
)

// report sends a result. What is too large for the wire is cut, and said to be.
func (s *server) report(st *wire.Step, r *wire.Result) error {
	fit(r)
	err := s.stream.Send(&wire.Message{Result: r})
	if !errors.Is(err, wire.ErrTooLarge) {
		return err
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		c.Before, c.After, c.Diff = cut(c.Before, 100), cut(c.After, 100), ""
	}
	err = s.stream.Send(&wire.Message{Result: r})
	if !errors.Is(err, wire.ErrTooLarge) {
		return err
	}
	if r.Status = "failed"; st.Ignore {
		r.Status = "ignored"
	}
	return s.stream.Send(&wire.Message{Result: &wire.Result{N: r.N, Handler: r.Handler, Status: r.Status, Resource: r.Resource,
		Error: "its result is too large to be registered", Attempts: r.Attempts, Took: r.Took, Queued: r.Queued}})
}

func fit(r *wire.Result) {
	for _, text := range []*string{&r.Output, &r.Error, &r.Reason, &r.Hint, &r.Tentative, &r.Irreversible} {
		*text = cut(*text, maxShown)
	}
	r.Resource = cut(r.Resource, maxNamed)
	if more := len(r.Changes) - maxChanges; more > 0 {
		r.Changes = append(r.Changes[:maxChanges:maxChanges], task.Change{Attr: "…", After: fmt.Sprintf("%d more", more), Kind: task.Update})
	}
}

// warn tells the controller something that stops nothing.
func (s *server) warn(message, hint string) error {
	return s.stream.Send(&wire.Message{Warning: &wire.Warning{Message: cut(message, maxShown), Hint: cut(hint, maxShown)}})
}

// Progress is for people: a few lines a second, each short, and not for ever.
const (
	pace        = 200 * time.Millisecond
	maxProgress = 250
	maxChatter  = 16 << 20
)

// chatter passes progress on. Of what comes too fast the last is sent.
type chatter struct {
	mu    sync.Mutex
	send  func(text string) // for the latest text
	held  string
	next  time.Time // when something may be sent again
	timer *time.Timer
	spent int
}

// say sends a text, now or soon.
func (c *chatter) say(text string, send func(string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.send = cut(strings.TrimSpace(text), maxProgress), send
	if c.timer == nil {
		c.deliver()
	}
}

func (c *chatter) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	c.deliver()
}

// hush forgets what was not sent yet: its step has ended.
func (c *chatter) hush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = ""
}

func (c *chatter) deliver() {
	if c.held == "" || c.spent > maxChatter {
		return
	}
	if wait := time.Until(c.next); wait > 0 {
		c.timer = time.AfterFunc(wait, c.release)
		return
	}
	c.spent += len(c.held) + 64
	c.send(c.held)
	c.held, c.next = "", time.Now().Add(pace)
}

// progress returns what passes on the progress of a step. A step that reveals a
// secret has none to show.
func (s *server) progress(st *wire.Step) func(string) {
	return func(text string) {
		if st.Hidden {
			return
		}
		s.chatter.say(s.redactor.String(text), func(text string) {
			_ = s.stream.Send(&wire.Message{Progress: &wire.Progress{N: st.N, Message: text}})
		})
	}
}
