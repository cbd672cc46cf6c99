package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Handler is a handler that was notified and has not run yet. Playbook and Name
// together say which one it is.
type Handler struct {
	Name     string          `json:"name"`
	Run      string          `json:"run"`
	Playbook string          `json:"playbook,omitempty"`
	Steps    json.RawMessage `json:"steps,omitempty"` // secrets replaced
	Since    time.Time       `json:"since"`
}

// Pending returns the handlers that are to be run, in the order in which they were
// first notified.
func (s *Store) Pending() ([]Handler, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending()
}

func (s *Store) pending() ([]Handler, error) {
	b, err := os.ReadFile(s.path("pending.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the pending handlers: %w", err)
	}
	var out []Handler
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("cannot read the pending handlers: %w", err)
	}
	return out, nil
}

// AddPending puts a handler on the list; it is on disk when AddPending returns.
// The same handler of an earlier run is replaced and keeps its place.
func (s *Store) AddPending(h Handler) error {
	if h.Since.IsZero() {
		h.Since = time.Now().UTC()
	}
	return s.changePending(func(list []Handler) []Handler {
		i := slices.IndexFunc(list, func(o Handler) bool { return o.Name == h.Name && o.Playbook == h.Playbook })
		if i < 0 {
			return append(list, h)
		}
		list[i] = h
		return list
	})
}

// DonePending takes a handler off the list.
func (s *Store) DonePending(playbook, name string) error {
	return s.changePending(func(list []Handler) []Handler {
		return slices.DeleteFunc(list, func(o Handler) bool { return o.Name == name && o.Playbook == playbook })
	})
}

func (s *Store) changePending(change func([]Handler) []Handler) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.pending()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(change(list), "", "  ")
	if err == nil {
		err = s.relieve(func() error { return replace(s.path("pending.json"), append(b, '\n')) })
	}
	if err != nil {
		return fmt.Errorf("cannot write the pending handlers: %w", err)
	}
	return nil
}
