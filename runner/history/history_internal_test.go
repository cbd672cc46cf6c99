package history

import (
	"errors"
	"testing"
)

// A history of a newer program is left alone.
func TestNewerHistory(t *testing.T) {
	dir := t.TempDir()
	h, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.ExecContext(t.Context(), "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer history: %v", err)
	}
}
