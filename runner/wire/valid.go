package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// kind returns the name of the one pointer that is set, or "".
func (m *Message) kind() string {
	v := reflect.ValueOf(m).Elem()
	found := ""
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if found != "" {
			return found + "+" + name
		}
		found = name
	}
	return found
}

// Left is where the numbers of those steps begin that belong to handlers which an
// earlier run left on the host. The steps of programs are below it.
const Left = 1_000_000

// The bounds of what a peer may send.
const (
	maxSteps   = 100_000
	maxList    = 10_000
	maxText    = 1 << 20
	maxName    = 4096
	maxTimeout = 7 * 24 * time.Hour
)

type validator interface{ ensureValid() error }

// EnsureValid checks a message as strictly as its meaning allows.
func (m *Message) EnsureValid() error {
	kind := m.kind()
	if kind == "" || strings.Contains(kind, "+") {
		return fmt.Errorf("a message must have one kind, got %q", kind)
	}
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			continue
		}
		if val, ok := v.Field(i).Interface().(validator); ok {
			if err := val.ensureValid(); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	return nil
}

func (h *Hello) ensureValid() error {
	if h.Min < 1 || h.Max < h.Min {
		return fmt.Errorf("bad protocol range %d to %d", h.Min, h.Max)
	}
	if h.Run == "" || h.Mode == "" {
		return fmt.Errorf("the run or its mode is missing")
	}
	if h.Guard != nil {
		if err := h.Guard.ensureValid(); err != nil {
			return err
		}
	}
	if h.Reattach < 0 || h.Reattach > maxTimeout {
		return fmt.Errorf("the time to wait for a controller is out of range")
	}
	if a := h.Attach; a != nil {
		if a.Seen < 0 {
			return fmt.Errorf("a negative count of frames")
		}
		if err := names(a.Run, a.Action); err != nil {
			return err
		}
	}
	return names(h.Run, h.Mode, h.Build, h.Playbook, h.Version, h.Key, h.Controller, h.User, h.Command, h.Token)
}

func (a *Attached) ensureValid() error {
	if a.From < 0 {
		return fmt.Errorf("a negative count of frames")
	}
	if err := names(a.Run, a.Controller, a.User, a.Playbook, a.Version); err != nil || a.Program == nil {
		return err
	}
	return a.Program.ensureValid()
}

func (w *Welcome) ensureValid() error {
	if w.Min < 1 || w.Max < w.Min {
		return fmt.Errorf("bad protocol range %d to %d", w.Min, w.Max)
	}
	if w.Facts == nil {
		return fmt.Errorf("facts are missing")
	}
	if len(w.Pending) > maxList || len(w.Runs) > maxList || len(w.Facts.Addresses) > maxList {
		return fmt.Errorf("a list is too long")
	}
	if w.GuardState != nil {
		if err := w.GuardState.ensureValid(); err != nil {
			return err
		}
	}
	if w.Attached != nil {
		if err := w.Attached.ensureValid(); err != nil {
			return err
		}
	}
	for _, p := range w.Pending {
		if err := names(p.Name, p.Run); err != nil {
			return err
		}
	}
	for _, r := range w.Runs {
		if err := r.ensureValid(); err != nil {
			return err
		}
	}
	if len(w.Warnings) > maxList {
		return fmt.Errorf("a list is too long")
	}
	for _, note := range w.Warnings {
		if len(note.Message) > maxText || len(note.Hint) > maxText {
			return fmt.Errorf("a text is too long")
		}
	}
	return names(w.Build, w.Platform)
}

func (p *Program) ensureValid() error {
	if len(p.Steps) > maxSteps || len(p.Handlers) > maxList || len(p.Queue) > maxList || len(p.Drop) > maxList {
		return fmt.Errorf("the program is too long")
	}
	if p.Guarded != nil {
		if err := p.Guarded.ensureValid(); err != nil {
			return err
		}
	}
	if p.Rollback != nil {
		if err := p.Rollback.ensureValid(); err != nil {
			return err
		}
	}
	last := 0
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.N <= last {
			return fmt.Errorf("step %d follows step %d", s.N, last)
		}
		last = s.N
		if err := s.ensureValid(); err != nil {
			return fmt.Errorf("step %d: %w", s.N, err)
		}
	}
	for _, h := range p.Handlers {
		if h.Name == "" {
			return fmt.Errorf("a handler without a name")
		}
		for i := range h.Steps {
			if err := h.Steps[i].ensureValid(); err != nil {
				return fmt.Errorf("handler %q: %w", h.Name, err)
			}
		}
	}
	return nil
}

func (s *Step) ensureValid() error {
	if s.N < 1 || s.N >= Left || s.Module == "" || len(s.Args) == 0 {
		return fmt.Errorf("number, module or arguments are missing")
	}
	if s.Timeout <= 0 || s.Timeout > maxTimeout || s.Retries < 0 || s.Delay < 0 || s.Delay > maxTimeout {
		return fmt.Errorf("a time limit or a count of retries is out of range")
	}
	return names(s.Path, s.Name, s.Module, s.RunAs)
}

func (u *Undo) ensureValid() error {
	if u.Run == "" {
		return fmt.Errorf("the run is missing")
	}
	if len(u.Only) > maxList {
		return fmt.Errorf("a list is too long")
	}
	return names(u.Run)
}

func (n *NeedBlob) ensureValid() error { return digest(n.Digest) }

func (n *NoBlob) ensureValid() error {
	if len(n.Error) > maxText {
		return fmt.Errorf("a text is too long")
	}
	return digest(n.Digest)
}

// digest checks that s is a SHA-256 in the one spelling that we use.
func digest(s string) error {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("bad digest")
	}
	return nil
}

// statuses are the outcomes that a helper may report.
var statuses = map[string]bool{"unchanged": true, "changed": true, "ran": true, "skipped": true, "failed": true, "unknown": true, "ignored": true}

func (r *Result) ensureValid() error {
	if r.N < 1 || !statuses[r.Status] {
		return fmt.Errorf("bad step %d or status %.40q", r.N, r.Status)
	}
	if r.Attempts < 0 {
		return fmt.Errorf("a negative count of attempts")
	}
	if len(r.Changes) > maxList || len(r.Queued) > maxList || r.Took < 0 {
		return fmt.Errorf("a list is too long or a duration negative")
	}
	for _, s := range []string{r.Output, r.Error, r.Hint, r.Reason, r.Tentative, r.Irreversible} {
		if len(s) > maxText {
			return fmt.Errorf("a text is too long")
		}
	}
	if err := names(r.Queued...); err != nil {
		return err
	}
	return names(r.Resource, r.Handler)
}

func (u *Undone) ensureValid() error {
	if len(u.Action) > maxText || len(u.Message) > maxText {
		return fmt.Errorf("a text is too long")
	}
	switch u.Status {
	case "undone", "already", "refused", "failed", "irreversible":
		return names(u.Resource, u.Task)
	}
	return fmt.Errorf("bad status %.40q", u.Status)
}

func (s *Started) ensureValid() error {
	if s.N < 1 {
		return fmt.Errorf("bad step %d", s.N)
	}
	return names(s.Handler, s.Name, s.Module)
}

func (p *Progress) ensureValid() error {
	if p.N < 0 || len(p.Message) > maxText {
		return fmt.Errorf("bad step %d or a text that is too long", p.N)
	}
	return nil
}

func (d *Done) ensureValid() error {
	if d.Failed < 0 || len(d.Pending) > maxList || len(d.Error) > maxText {
		return fmt.Errorf("a number, a list or a text is out of range")
	}
	return names(d.Pending...)
}

func (w *Warning) ensureValid() error {
	if len(w.Message) > maxText || len(w.Hint) > maxText {
		return fmt.Errorf("a text is too long")
	}
	return nil
}

func (r *Refused) ensureValid() error {
	if len(r.Error) > maxText || len(r.Hint) > maxText {
		return fmt.Errorf("a text is too long")
	}
	return nil
}

func (u *Unsupported) ensureValid() error { return names(u.Kind) }

func names(list ...string) error {
	for _, s := range list {
		if len(s) > maxName {
			return fmt.Errorf("a name of %d bytes is too long", len(s))
		}
	}
	return nil
}

// UnmarshalJSON reads a result and counts its lists before it makes room for them:
// an empty change takes three bytes on the wire and a hundred in memory.
func (r *Result) UnmarshalJSON(b []byte) error {
	type plain Result
	in := struct {
		*plain
		Changes list `json:"changes"`
		Queued  list `json:"queued"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if err := in.Changes.into(&r.Changes); err != nil {
		return err
	}
	return in.Queued.into(&r.Queued)
}

// UnmarshalJSON reads a welcome and counts its lists before it makes room for them.
func (w *Welcome) UnmarshalJSON(b []byte) error {
	type plain Welcome
	in := struct {
		*plain
		Pending list `json:"pending"`
		Runs    list `json:"runs"`
	}{plain: (*plain)(w)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if err := in.Pending.into(&w.Pending); err != nil {
		return err
	}
	return in.Runs.into(&w.Runs)
}

// list is a JSON array that is not decoded yet.
type list []byte

func (l *list) UnmarshalJSON(b []byte) error {
	*l = bytes.Clone(b)
	return nil
}

func (l list) into(v any) error {
	if len(l) == 0 {
		return nil
	}
	if n := l.length(); n > maxList {
		return fmt.Errorf("a list of %d entries is too long", n)
	}
	return json.Unmarshal(l, v)
}

// length counts the entries, empty ones too. The text is known to be JSON.
func (l list) length() int {
	depth, n, quoted := 0, 1, false
	for i := 0; i < len(l); i++ {
		switch c := l[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			depth++
		case c == ']', c == '}':
			depth--
		case c == ',' && depth == 1:
			n++
		}
	}
	return n
}
