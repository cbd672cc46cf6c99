package history

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Prune forgets what is older than is kept and, oldest first, what does not fit. The
// freed space is used again. A run that has no end may be at work and stays for a day.
func (h *DB) Prune(ctx context.Context) error {
	err := h.write(ctx, func(tx *sql.Tx) error {
		old := micros(time.Now().Add(-h.Keep.Age))
		if _, err := tx.ExecContext(ctx, "DELETE FROM runs WHERE started < ? AND id <> (SELECT id FROM runs ORDER BY started DESC, id DESC LIMIT 1)", old); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM documents WHERE time < ? AND "+outdated, old)
		return err
	})
	for err == nil {
		var used int64
		if used, err = h.used(ctx); err != nil || used <= h.Keep.Bytes {
			break
		}
		var more bool
		if more, err = h.forget(ctx); !more {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("cannot tidy the history: %w", err)
	}
	return nil
}

// outdated is true for a document when its host has a newer one of its kind.
const outdated = "EXISTS (SELECT 1 FROM documents AS o WHERE o.kind = documents.kind AND o.host = documents.host AND (o.time, o.id) > (documents.time, documents.id))"

// used returns how many bytes of the file hold something.
func (h *DB) used(ctx context.Context) (int64, error) {
	var n int64
	err := h.db.QueryRowContext(ctx, "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size").Scan(&n)
	return n, err
}

// forget removes the oldest tenth of what may go, and reports whether there was any.
func (h *DB) forget(ctx context.Context) (bool, error) {
	day := micros(time.Now().Add(-24 * time.Hour))
	gone := int64(0)
	err := h.write(ctx, func(tx *sql.Tx) error {
		for _, q := range []struct {
			text string
			args []any
		}{
			{`DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE (ended <> 0 OR started < ?) AND id <> (SELECT id FROM runs ORDER BY started DESC, id DESC LIMIT 1)
				ORDER BY started, id LIMIT (SELECT count(*) / 10 + 1 FROM runs))`, []any{day}},
			{"DELETE FROM documents WHERE id IN (SELECT id FROM documents WHERE " + outdated + " ORDER BY time, id LIMIT (SELECT count(*) / 10 + 1 FROM documents))", nil},
		} {
			res, err := tx.ExecContext(ctx, q.text, q.args...)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			gone += n
		}
		return nil
	})
	return gone > 0, err
}
