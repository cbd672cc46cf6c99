package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/runner/event"
)

// Run is one run as the machine knows it that started it.
type Run struct {
	ID       string     `json:"id"`
	Mode     event.Mode `json:"mode"`
	Command  string     `json:"command"`
	Playbook string     `json:"playbook,omitempty"`
	Version  string     `json:"version,omitempty"`
	Origin   string     `json:"origin,omitempty"`
	Digest   string     `json:"digest,omitempty"` // of all that the playbook is made of
	Person   string     `json:"person"`
	Machine  string     `json:"machine"`
	About    string     `json:"about,omitempty"`   // the run that an undo takes back
	Resumes  string     `json:"resumes,omitempty"` // the first run of those that go on with each other
	Started  time.Time  `json:"started"`
	// Ended is zero when nobody wrote the end.
	Ended   time.Time          `json:"ended,omitzero"`
	Alive   bool               `json:"alive,omitempty"` // it has no end and its program is at work on this machine
	Summary *event.RunFinished `json:"summary,omitempty"`
	Hosts   []Host             `json:"hosts"`
	// Spec is what it takes to go on with the run, in the caller's JSON.
	Spec json.RawMessage `json:"-"`

	process string
}

// Host is what became of a host in a run.
type Host struct {
	Name   string           `json:"name"`
	Status event.HostStatus `json:"status,omitempty"` // "" when nobody wrote it
	Counts event.Counts     `json:"counts"`
	Error  string           `json:"error,omitempty"`
	Ended  time.Time        `json:"ended,omitzero"`
}

// RunQuery chooses runs. A zero field chooses all.
type RunQuery struct {
	Modes   []event.Mode
	Hosts   []string // worked on at least one of them
	Resumes string
	Limit   int
}

// Runs returns runs, newest first.
func (h *DB) Runs(ctx context.Context, q RunQuery) ([]Run, error) {
	where, args := "1", []any{}
	if len(q.Modes) > 0 {
		where += " AND mode IN (" + marks(len(q.Modes)) + ")"
		for _, m := range q.Modes {
			args = append(args, string(m))
		}
	}
	if len(q.Hosts) > 0 {
		names, err := json.Marshal(q.Hosts) // a fleet may have more names than a query parameters
		if err != nil {
			return nil, err
		}
		where += " AND id IN (SELECT run FROM hosts WHERE name IN (SELECT value FROM json_each(?)))"
		args = append(args, string(names))
	}
	if q.Resumes != "" {
		where += " AND resumes = ?"
		args = append(args, q.Resumes)
	}
	limit := q.Limit
	if limit <= 0 {
		limit = -1
	}
	return h.runs(ctx, where, limit, args...)
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

const runColumns = "id, mode, command, playbook, version, origin, digest, person, machine, process, about, resumes, spec, started, ended, summary"

func (h *DB) runs(ctx context.Context, where string, limit int, args ...any) ([]Run, error) {
	out, err := h.readRuns(ctx, where, limit, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	for i := range out {
		if out[i].Hosts, err = h.hosts(ctx, out[i].ID); err != nil {
			return nil, fmt.Errorf("cannot read the history: %w", err)
		}
	}
	return out, nil
}

func (h *DB) readRuns(ctx context.Context, where string, limit int, args ...any) ([]Run, error) {
	rows, err := h.db.QueryContext(ctx, "SELECT "+runColumns+" FROM runs WHERE "+where+" ORDER BY started DESC, id DESC LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells of what went wrong
	var out []Run
	for rows.Next() {
		r, err := scanRun(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func scanRun(rows *sql.Rows) (Run, error) {
	var r Run
	var started, ended int64
	var spec, summary string
	err := rows.Scan(&r.ID, &r.Mode, &r.Command, &r.Playbook, &r.Version, &r.Origin, &r.Digest, &r.Person, &r.Machine, &r.process, &r.About, &r.Resumes,
		&spec, &started, &ended, &summary)
	if err != nil {
		return r, err
	}
	r.Started, r.Ended, r.Spec = at(started), at(ended), json.RawMessage(spec)
	r.Alive = r.Ended.IsZero() && alive(r.process)
	if summary != "" {
		r.Summary = &event.RunFinished{}
		err = json.Unmarshal([]byte(summary), r.Summary)
	}
	return r, err
}

func (h *DB) hosts(ctx context.Context, run string) ([]Host, error) {
	rows, err := h.db.QueryContext(ctx, "SELECT name, status, counts, error, ended FROM hosts WHERE run = ? ORDER BY n", run)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells of what went wrong
	out := []Host{}
	for rows.Next() {
		var one Host
		var counts string
		var ended int64
		if err := rows.Scan(&one.Name, &one.Status, &counts, &one.Error, &ended); err != nil {
			return nil, err
		}
		if counts != "" {
			if err := json.Unmarshal([]byte(counts), &one.Counts); err != nil {
				return nil, err
			}
		}
		one.Ended = at(ended)
		out = append(out, one)
	}
	return out, rows.Err()
}

// Last is the word for the newest run.
const Last = "last"

// ErrUnknown says that no run has a name.
var ErrUnknown = errors.New("the history has no such run")

// ErrAmbiguous says that several runs begin with a name.
var ErrAmbiguous = errors.New("several runs begin so")

// Find returns a run by its name, by the beginning of one (four characters or more),
// or the newest for "last"; modes as in [RunQuery] bound what that finds.
func (h *DB) Find(ctx context.Context, name string, modes ...event.Mode) (*Run, error) {
	if name == Last {
		list, err := h.Runs(ctx, RunQuery{Modes: modes, Limit: 1})
		return only(list, err)
	}
	list, err := h.runs(ctx, "id = ?", 1, name)
	if err != nil || len(list) > 0 || len(name) < 4 {
		return only(list, err)
	}
	return only(h.runs(ctx, "substr(id, 1, length(?)) = ?", 2, name, name))
}

func only(list []Run, err error) (*Run, error) {
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, ErrUnknown
	case len(list) > 1:
		return nil, ErrAmbiguous
	}
	return &list[0], nil
}

// Events calls emit for each event of a run, in the order in which they were emitted.
func (h *DB) Events(ctx context.Context, run string, emit func(event.Event)) error {
	rows, err := h.db.QueryContext(ctx, "SELECT body FROM events WHERE run = ? ORDER BY n", run)
	if err != nil {
		return fmt.Errorf("cannot read the history: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err tells of what went wrong
	for rows.Next() {
		var body string
		if err := rows.Scan(&body); err != nil {
			return fmt.Errorf("cannot read the history: %w", err)
		}
		if err := event.Read(strings.NewReader(body), emit); err != nil {
			return fmt.Errorf("cannot read the history: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("cannot read the history: %w", err)
	}
	return nil
}
