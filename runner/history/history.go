// Package history keeps what happened on the machine that runs are started from:
// runs with their hosts and events, and documents about hosts such as the results of
// an audit. It is the one door to SQLite.
//
// Several programs may use one history at a time. A program that is killed leaves a
// run without an end, and everything that it wrote before. Nothing here is needed for
// a run to be right: hosts keep their own journal, and a caller treats an error as a
// thing to warn of.
package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
)

// File is the name of the database in its folder.
const File = "history.db"

// version is that of the tables. It rises when an old program would misread them; a
// step is appended to migrations then.
const version = 1

// patience is how long a writer waits for another program.
const patience = 5 * time.Second

// DB is a history. It may be used by several goroutines.
type DB struct {
	db   *sql.DB
	file string
	Keep Keep
}

// Keep bounds what is remembered. The newest run and the newest document of each kind
// and host stay whatever their age.
type Keep struct {
	Age   time.Duration
	Bytes int64
}

// Kept is what a history keeps unless it is told otherwise.
var Kept = Keep{Age: 180 * 24 * time.Hour, Bytes: 512 << 20}

// Open opens the history in a folder and makes both when they are not there.
func Open(ctx context.Context, dir string) (*DB, error) {
	file := filepath.Join(dir, File)
	if err := prepare(dir, file); err != nil {
		return nil, fmt.Errorf("cannot open the history: %w", err)
	}
	return open(ctx, file)
}

// OpenExisting is Open for readers: a history that is not there is the error
// [fs.ErrNotExist], and nothing is made.
func OpenExisting(ctx context.Context, dir string) (*DB, error) {
	file := filepath.Join(dir, File)
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("cannot open the history: %w", err)
	}
	return open(ctx, file)
}

// prepare makes the file before SQLite does, so that nobody else can ever read it:
// commands and output may tell more than their owner thinks. A file that is there is
// not touched: whoever closes one ends the locks that his program has on it, those of
// SQLite included (sqlite.org/howtocorrupt.html §2.2).
func prepare(dir, file string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// open waits for a program that makes the same history: SQLite waits by itself, but
// not for the step to a write-ahead log, which the first one takes.
func open(ctx context.Context, file string) (*DB, error) {
	for late := time.Now().Add(patience); ; {
		h, err := openOnce(ctx, file)
		if err == nil || !busy(err) || time.Now().After(late) {
			return h, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// busy reports whether somebody else has the history. The low byte is the kind of an
// error (sqlite.org/rescode.html §3).
func busy(err error) bool {
	const sqliteBusy = 5
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqliteBusy
}

func openOnce(ctx context.Context, file string) (*DB, error) {
	at := url.URL{Scheme: "file", Path: file, RawQuery: url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds()), "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", at.String())
	if err != nil {
		return nil, fmt.Errorf("cannot open the history: %w", err)
	}
	db.SetMaxOpenConns(2) // a reader beside the writer
	h := &DB{db: db, file: file, Keep: Kept}
	if err := h.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open the history %s: %w", file, err), db.Close())
	}
	return h, nil
}

// Close ends the use of the history.
func (h *DB) Close() error { return h.db.Close() }

// ErrNewer says that a newer program wrote the history.
var ErrNewer = errors.New("a newer holdfast wrote it")

// migrate brings the tables to this version. Two programs that open a new history at
// once make it one after the other.
func (h *DB) migrate(ctx context.Context) error {
	var have int
	if err := h.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have == version {
		return nil
	}
	return h.write(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
			return err
		}
		if have > version {
			return ErrNewer
		}
		for _, step := range migrations[have:] {
			if _, err := tx.ExecContext(ctx, step); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
		return err
	})
}

// migrations has one step for each version. Times are microseconds since 1970.
var migrations = [version]string{`
CREATE TABLE runs (
	id        TEXT PRIMARY KEY,
	mode      TEXT NOT NULL,
	command   TEXT NOT NULL,
	playbook  TEXT NOT NULL,
	version   TEXT NOT NULL,
	origin    TEXT NOT NULL,
	digest    TEXT NOT NULL,
	person    TEXT NOT NULL,
	machine   TEXT NOT NULL,
	process   TEXT NOT NULL, -- of the program, for as long as it lives
	about     TEXT NOT NULL, -- the run of an undo, an attach
	resumes   TEXT NOT NULL, -- the run that this one goes on with
	spec      TEXT NOT NULL, -- JSON: what it takes to go on with it
	started   INTEGER NOT NULL,
	ended     INTEGER NOT NULL DEFAULT 0,
	code      INTEGER NOT NULL DEFAULT 0,
	summary   TEXT NOT NULL DEFAULT '' -- JSON: the last event
) STRICT;
CREATE INDEX runs_started ON runs (started);
CREATE TABLE hosts (
	run     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	n       INTEGER NOT NULL,
	name    TEXT NOT NULL,
	status  TEXT NOT NULL DEFAULT '',
	ended   INTEGER NOT NULL DEFAULT 0,
	counts  TEXT NOT NULL DEFAULT '',
	error   TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
	run   TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	n     INTEGER NOT NULL,
	body  TEXT NOT NULL, -- JSON, as in the stream
	PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
	id    INTEGER PRIMARY KEY,
	kind  TEXT NOT NULL,
	host  TEXT NOT NULL,
	time  INTEGER NOT NULL,
	run   TEXT NOT NULL,
	body  BLOB NOT NULL
) STRICT;
CREATE INDEX documents_host ON documents (kind, host, time);
`}

// write runs f in a transaction.
func (h *DB) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Missing reports whether an error says that there is no history yet.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func at(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
