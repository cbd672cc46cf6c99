package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// MaxDocument bounds one document.
const MaxDocument = 16 << 20

// Document is something that was found out about a host at a moment. Its body is
// the caller's, and so is the duty to keep secrets out of it.
type Document struct {
	ID   int64
	Kind string // such as audit
	Host string // "" is the fleet
	Time time.Time
	Run  string // the run that it came from, or ""
	Body []byte
}

// Put stores a document and sets its ID. A zero time is now.
func (h *DB) Put(ctx context.Context, d *Document) error {
	if d.Kind == "" {
		return errors.New("cannot store a document: it has no kind")
	}
	if len(d.Body) > MaxDocument {
		return fmt.Errorf("cannot store a document: %d bytes are more than %d", len(d.Body), MaxDocument)
	}
	if d.Time.IsZero() {
		d.Time = time.Now()
	}
	body := d.Body
	if body == nil {
		body = []byte{}
	}
	err := h.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "INSERT INTO documents (kind, host, time, run, body) VALUES (?, ?, ?, ?, ?)", d.Kind, d.Host, micros(d.Time), d.Run, body)
		if err != nil {
			return err
		}
		d.ID, err = res.LastInsertId()
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot store a document: %w", err)
	}
	return nil
}

// Query chooses documents. A zero field chooses all.
type Query struct {
	Kind  string
	Host  string
	Run   string
	Since time.Time // not older
	Until time.Time // older
	Limit int       // the newest of them
}

// List returns documents, newest first.
func (h *DB) List(ctx context.Context, q Query) ([]Document, error) {
	where, args := "1", []any{}
	add := func(clause string, arg any) { where, args = where+" AND "+clause, append(args, arg) }
	if q.Kind != "" {
		add("kind = ?", q.Kind)
	}
	if q.Host != "" {
		add("host = ?", q.Host)
	}
	if q.Run != "" {
		add("run = ?", q.Run)
	}
	if !q.Since.IsZero() {
		add("time >= ?", micros(q.Since))
	}
	if !q.Until.IsZero() {
		add("time < ?", micros(q.Until))
	}
	limit := q.Limit
	if limit <= 0 {
		limit = -1
	}
	return h.documents(ctx, where+" ORDER BY time DESC, id DESC LIMIT ?", append(args, limit)...)
}

// Latest returns the newest document of a kind for each host that has one, in the
// order of their names.
func (h *DB) Latest(ctx context.Context, kind string) ([]Document, error) {
	return h.documents(ctx, `id = (SELECT id FROM documents AS o WHERE o.kind = d.kind AND o.host = d.host ORDER BY time DESC, id DESC LIMIT 1)
		AND kind = ? ORDER BY host`, kind)
}

func (h *DB) documents(ctx context.Context, where string, args ...any) ([]Document, error) {
	rows, err := h.db.QueryContext(ctx, "SELECT id, kind, host, time, run, body FROM documents AS d WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the documents: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err tells of what went wrong
	var out []Document
	for rows.Next() {
		var d Document
		var us int64
		if err := rows.Scan(&d.ID, &d.Kind, &d.Host, &us, &d.Run, &d.Body); err != nil {
			return nil, fmt.Errorf("cannot read the documents: %w", err)
		}
		d.Time = at(us)
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the documents: %w", err)
	}
	return out, nil
}
