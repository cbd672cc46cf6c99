package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"holdfast/runner/event"
)

// Bounds of what is kept of one run. What comes later is dropped, but for outcomes.
const (
	maxWaiting = 16 << 20 // bytes that wait to be written
	maxRun     = 64 << 20 // bytes of a run
	maxError   = 2000     // of a host
)

// gather is how long events are collected before they are written together.
const gather = 150 * time.Millisecond

// closing bounds how long the end of a program waits for the history.
const closing = 15 * time.Second

// Recorder is a sink that keeps a run. It writes behind the run's back: emitting waits
// for no disk and no other program, and errors wait for Close.
type Recorder struct {
	run    Run
	open   func(context.Context) (*DB, error)
	redact func(string) string

	mu      sync.Mutex
	queue   []row
	waiting int // bytes in queue
	kept    int // bytes of the run
	dropped int
	errs    map[string]string // the last error of each host
	closed  bool

	wake chan struct{}
	done chan struct{}
	err  error // of the writer, for after done
}

// row is an event, and what it means for the tables.
type row struct {
	body   string
	host   string
	ended  *event.HostFinished
	error  string
	finish *event.RunFinished
	time   time.Time
}

// NewRecorder begins to keep a run. Open is called behind its back, and so is
// everything that can fail. A nil redact changes nothing.
func NewRecorder(run Run, open func(context.Context) (*DB, error), redact func(string) string) *Recorder {
	if redact == nil {
		redact = func(s string) string { return s }
	}
	run.process = thisProcess()
	r := &Recorder{run: run, open: open, redact: redact, errs: map[string]string{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go r.work()
	r.poke() // the run itself, so that it is known even if its program is killed at once
	return r
}

// Emit takes in an event. Progress is not kept; streams are valid without.
func (r *Recorder) Emit(e event.Event) {
	if e.Progress != nil {
		return
	}
	data, err := json.Marshal(e)
	if err != nil {
		return // an event of ours can be written
	}
	w := row{body: r.redact(string(data)), host: e.Host, ended: e.HostFinished, finish: e.RunFinished, time: e.Time}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.note(&e)
	if e.HostFinished != nil {
		w.error = r.redact(r.errs[e.Host])
		delete(r.errs, e.Host)
	}
	if (r.kept > maxRun || r.waiting > maxWaiting) && !outcome(&e) {
		r.dropped++
		return
	}
	r.queue = append(r.queue, w)
	r.kept += len(w.body)
	r.waiting += len(w.body)
	r.poke()
}

// outcome reports whether an event says how something ended that is not well.
func outcome(e *event.Event) bool {
	t := e.TaskFinished
	return e.HostFinished != nil || e.RunFinished != nil || e.HostUnreached != nil || t != nil && t.Status == event.Failed
}

// note remembers why a host may end badly.
func (r *Recorder) note(e *event.Event) {
	text := ""
	switch {
	case e.HostUnreached != nil:
		text = e.HostUnreached.Error
	case e.TaskFinished != nil && e.TaskFinished.Status == event.Failed:
		text = e.TaskFinished.Name + ": " + e.TaskFinished.Error
	default:
		return
	}
	if len(text) > maxError {
		text = text[:maxError] + "…"
	}
	r.errs[e.Host] = text
}

func (r *Recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Close waits for what was emitted to be written, but not for ever, and returns what
// went wrong. The run itself is as it is.
func (r *Recorder) Close() error {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.mu.Unlock()
	if !again {
		close(r.wake)
	}
	select {
	case <-r.done:
		return r.err
	case <-time.After(closing):
		return fmt.Errorf("cannot write the history: it was not done after %s", closing)
	}
}

// work writes until the recorder is closed.
func (r *Recorder) work() {
	defer close(r.done)
	ctx := context.Background() // an interrupted run is worth keeping
	db, err := r.open(ctx)
	if err == nil && db != nil {
		err = db.record(ctx, r)
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}
	r.err = err
	r.mu.Lock()
	r.closed, r.queue = true, nil // nobody writes what comes now
	r.mu.Unlock()
}

// record is the writer: a transaction for all that came meanwhile.
func (h *DB) record(ctx context.Context, r *Recorder) error {
	begun, n := false, 0
	for open := true; open; {
		_, open = <-r.wake
		if open && begun {
			time.Sleep(gather)
		}
		rows := r.take(!open)
		err := h.write(ctx, func(tx *sql.Tx) error {
			if !begun {
				if err := insertRun(ctx, tx, &r.run); err != nil {
					return err
				}
			}
			return insertRows(ctx, tx, r.run.ID, n, rows)
		})
		if err != nil {
			return fmt.Errorf("cannot write the history: %w", err)
		}
		begun, n = true, n+len(rows)
	}
	return h.Prune(ctx)
}

// take returns what waits. With the last of it goes word of what was dropped.
func (r *Recorder) take(last bool) []row {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows := r.queue
	r.queue, r.waiting = nil, 0
	if last && r.dropped > 0 {
		e := event.Event{Time: time.Now().UTC(), Warning: &event.Warning{Message: fmt.Sprintf("%d events of this run are not in the history: there were too many", r.dropped)}}
		if data, err := json.Marshal(e); err == nil {
			rows = append(rows, row{body: string(data)})
		}
	}
	return rows
}

func insertRun(ctx context.Context, tx *sql.Tx, r *Run) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO runs (id, mode, command, playbook, version, origin, digest, person, machine, process, about, resumes, spec, started) VALUES ("+marks(14)+")",
		r.ID, string(r.Mode), r.Command, r.Playbook, r.Version, r.Origin, r.Digest, r.Person, r.Machine, r.process, r.About, r.Resumes, string(r.Spec), micros(r.Started))
	for n := 0; err == nil && n < len(r.Hosts); n++ {
		_, err = tx.ExecContext(ctx, "INSERT OR IGNORE INTO hosts (run, n, name) VALUES (?, ?, ?)", r.ID, n, r.Hosts[n].Name)
	}
	return err
}

func insertRows(ctx context.Context, tx *sql.Tx, run string, n int, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	add, err := tx.PrepareContext(ctx, "INSERT INTO events (run, n, body) VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	defer add.Close() //nolint:errcheck // the transaction ends it too
	for i, w := range rows {
		if _, err := add.ExecContext(ctx, run, n+i, w.body); err != nil {
			return err
		}
		if err := w.settle(ctx, tx, run); err != nil {
			return err
		}
	}
	return nil
}

// settle writes what an event says about a host or the run.
func (w *row) settle(ctx context.Context, tx *sql.Tx, run string) error {
	if f := w.ended; f != nil {
		counts, err := json.Marshal(f.Counts)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE hosts SET status = ?, ended = ?, counts = ?, error = ? WHERE run = ? AND name = ?",
			string(f.Status), micros(w.time), string(counts), w.error, run, w.host); err != nil {
			return err
		}
	}
	if f := w.finish; f != nil {
		summary, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE runs SET ended = ?, code = ?, summary = ? WHERE id = ?", micros(w.time), f.Code, string(summary), run)
		return err
	}
	return nil
}
