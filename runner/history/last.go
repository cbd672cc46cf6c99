package history

import (
	"context"
	"fmt"
	"time"

	"holdfast/runner/event"
)

// LastRun is the newest run of a playbook in one mode on one host.
type LastRun struct {
	Run      string
	Mode     event.Mode
	Playbook string
	Version  string
	About    string
	Started  time.Time
	Status   event.HostStatus // "" when nobody wrote it
	Error    string
	Alive    bool // its program is at work on this machine
}

// LastRuns returns the newest run of each playbook and mode for each host, the newest
// first: one question, however many runs there are.
func (h *DB) LastRuns(ctx context.Context, modes ...event.Mode) (map[string][]LastRun, error) {
	args := make([]any, len(modes))
	for i, m := range modes {
		args[i] = string(m)
	}
	// With max() the other columns are of the row that has it: https://sqlite.org/lang_select.html#bareagg
	rows, err := h.db.QueryContext(ctx, `SELECT h.name, r.id, r.mode, r.playbook, r.version, r.about, max(r.started), r.ended, r.process, h.status, h.error
		FROM runs AS r JOIN hosts AS h ON h.run = r.id WHERE r.mode IN (`+marks(len(modes))+`)
		GROUP BY h.name, r.mode, r.playbook ORDER BY r.started DESC, r.id DESC`, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err tells of what went wrong
	out := map[string][]LastRun{}
	for rows.Next() {
		var l LastRun
		var host, process string
		var started, ended int64
		if err := rows.Scan(&host, &l.Run, &l.Mode, &l.Playbook, &l.Version, &l.About, &started, &ended, &process, &l.Status, &l.Error); err != nil {
			return nil, fmt.Errorf("cannot read the history: %w", err)
		}
		l.Started = at(started)
		l.Alive = ended == 0 && l.Status == "" && alive(process)
		out[host] = append(out[host], l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	return out, nil
}
