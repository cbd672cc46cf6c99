package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Journal is the open journal of a run. Its methods may be called from several goroutines.
type Journal struct {
	store  *Store
	info   RunInfo
	mu     sync.Mutex
	file   *os.File
	size   int64
	tasks  int
	seq    int
	places int
	broken error
}

// TaskInfo describes a task before it acts.
type TaskInfo struct {
	Step     int             `json:"step"`
	Path     string          `json:"path,omitempty"` // its place in the playbook
	Name     string          `json:"name,omitempty"`
	Module   string          `json:"module"`
	Resource string          `json:"resource,omitempty"`
	RunAs    string          `json:"run_as,omitempty"`
	Args     json.RawMessage `json:"args,omitempty"` // secrets replaced
	Notify   []string        `json:"notify,omitempty"`
	Handler  string          `json:"handler,omitempty"` // set for a task of a handler
}

// TaskEnd is how a task ended. State is what the module saw before it acted, for its Undo.
type TaskEnd struct {
	Status  string          `json:"status"`
	Changed bool            `json:"changed,omitempty"`
	State   json.RawMessage `json:"state,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// Entry is one change of one resource. Before is what its inverse needs, Want what
// it is about to do, After the fingerprint of the resource when it was done.
type Entry struct {
	Seq      int             `json:"seq"`
	Task     int             `json:"task"`
	Op       string          `json:"op"`
	Resource string          `json:"resource"`
	Before   json.RawMessage `json:"before,omitempty"`
	Want     json.RawMessage `json:"want,omitempty"`
	// Finished says that Done was called; the act of an entry without it may have
	// happened, in part or not at all.
	Finished bool   `json:"-"`
	After    string `json:"-"`
	// Result may be set before Done, to what became known only by acting.
	Result json.RawMessage `json:"-"`
}

// Task is a task of an open journal.
type Task struct {
	journal *Journal
	id      int
	info    TaskInfo
	entries []*Entry
}

// line is one line of journal.jsonl; Kind says which of the other fields count.
type line struct {
	Kind   string          `json:"kind"`
	Task   int             `json:"task,omitempty"`
	Info   *TaskInfo       `json:"info,omitempty"`
	Entry  *Entry          `json:"entry,omitempty"`
	Seq    int             `json:"seq,omitempty"`
	After  string          `json:"after,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	End    *TaskEnd        `json:"end,omitempty"`
}

const (
	kindTask   = "task"
	kindIntend = "intend"
	kindDone   = "done"
	kindFinish = "finish"
)

// Begin opens the journal of a new run. The run is on disk when Begin returns.
func (s *Store) Begin(info RunInfo) (*Journal, error) {
	if !runID.MatchString(info.ID) {
		return nil, fmt.Errorf("cannot begin the run: %q cannot be its name", info.ID)
	}
	j := &Journal{store: s, info: info}
	if info.UndoOf != "" {
		s.undoing.Store(true)
	} else if err := s.ensureReserve(); err != nil {
		return nil, fmt.Errorf("cannot begin the run: %w", err)
	}
	if err := j.store.relieve(j.begin); err != nil {
		return nil, fmt.Errorf("cannot begin the run: %w", full(err))
	}
	s.mu.Lock()
	s.running[info.ID] = true
	s.mu.Unlock()
	return j, nil
}

func (j *Journal) begin() error {
	dir := j.store.runDir(j.info.ID)
	if _, err := os.Lstat(filepath.Join(dir, "run.json")); err == nil {
		return fmt.Errorf("there is a run %s already", j.info.ID)
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "journal.jsonl"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = j.save()
	if err == nil {
		err = errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file = f
	return nil
}

func (j *Journal) save() error {
	b, err := json.MarshalIndent(j.info, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(j.store.runDir(j.info.ID), "run.json"), append(b, '\n'))
}

// Info returns the run's description.
func (j *Journal) Info() RunInfo { return j.info }

// Store returns the store that the journal belongs to.
func (j *Journal) Store() *Store { return j.store }

// append writes one line; with sync it is on disk when append returns. A line that
// did not fit is taken out again, so that only the last line can ever be torn.
func (j *Journal) append(l line, sync bool) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if j.broken != nil {
		return j.broken
	}
	err = j.store.relieve(func() error {
		_, err := j.file.WriteAt(b, j.size)
		if err == nil && sync {
			err = syscall.Fdatasync(int(j.file.Fd()))
		}
		if err != nil {
			if terr := j.file.Truncate(j.size); terr != nil {
				j.broken = fmt.Errorf("cannot go on with a damaged journal: %w", terr)
			}
		}
		return err
	})
	if err != nil {
		return full(err)
	}
	j.size += int64(len(b))
	return nil
}

// Task writes down that a task begins. It is on disk when Task returns.
func (j *Journal) Task(t TaskInfo) (*Task, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	id := j.tasks + 1
	if err := j.append(line{Kind: kindTask, Task: id, Info: &t}, true); err != nil {
		return nil, fmt.Errorf("cannot write the journal: %w", err)
	}
	j.tasks = id
	return &Task{journal: j, id: id, info: t}, nil
}

// Info returns the task's description.
func (t *Task) Info() TaskInfo { return t.info }

// Journal returns the journal that the task belongs to.
func (t *Task) Journal() *Journal { return t.journal }

// Intend writes down what is about to be done. It is on disk when Intend returns;
// when Intend fails, nothing may be done.
func (t *Task) Intend(e Entry) (*Entry, error) {
	j := t.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Seq, e.Task = j.seq+1, t.id
	if err := j.append(line{Kind: kindIntend, Entry: &e}, true); err != nil {
		return nil, fmt.Errorf("cannot write the journal: %w", err)
	}
	j.seq = e.Seq
	t.entries = append(t.entries, &e)
	return &e, nil
}

// Entries returns the entries of the task so far, in the order of the acts.
func (t *Task) Entries() []*Entry {
	t.journal.mu.Lock()
	defer t.journal.mu.Unlock()
	return slices.Clone(t.entries)
}

// Done writes down that the act has happened and which fingerprint the resource has
// now. It reaches the disk no later than the next Intend, Finish or Close.
func (t *Task) Done(e *Entry, after string) error {
	j := t.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(line{Kind: kindDone, Seq: e.Seq, After: after, Result: e.Result}, false); err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	e.Finished, e.After = true, after
	return nil
}

// Finish writes down how the task ended.
func (t *Task) Finish(end TaskEnd) error {
	j := t.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.append(line{Kind: kindFinish, Task: t.id, End: &end}, true); err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	return nil
}

// Close ends the run with a status.
func (j *Journal) Close(status string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.info.Status, j.info.Ended = status, time.Now().UTC()
	err := errors.Join(j.file.Sync(), j.file.Close(), j.store.relieve(j.save))
	j.store.mu.Lock()
	delete(j.store.running, j.info.ID)
	j.store.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cannot close the journal: %w", err)
	}
	return nil
}

// Resume opens the journal of a run that was closed, to go on with it: the host was
// rebooted in the middle of the run. A run that has no journal yet begins.
func (s *Store) Resume(info RunInfo) (*Journal, error) {
	if _, err := os.Lstat(filepath.Join(s.runDir(info.ID), "run.json")); errors.Is(err, os.ErrNotExist) {
		return s.Begin(info)
	}
	rec, err := s.Load(info.ID)
	if err != nil {
		return nil, err
	}
	j := &Journal{store: s, info: rec.RunInfo, tasks: len(rec.Tasks), seq: len(rec.Entries)}
	j.info.Status, j.info.Ended = "", time.Time{}
	if err := s.relieve(func() error { return j.reopen(rec) }); err != nil {
		return nil, fmt.Errorf("cannot go on with the run: %w", full(err))
	}
	s.mu.Lock()
	s.running[info.ID] = true
	s.mu.Unlock()
	return j, nil
}

func (j *Journal) reopen(rec *Record) error {
	dir := j.store.runDir(j.info.ID)
	trees, err := os.ReadDir(filepath.Join(dir, "trees"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, t := range trees {
		if n, err := strconv.Atoi(t.Name()); err == nil {
			j.places = max(j.places, n)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "journal.jsonl"), os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	j.size = rec.whole
	if err := errors.Join(f.Truncate(j.size), j.save()); err != nil { // a torn line belongs to nothing
		return errors.Join(err, f.Close())
	}
	j.file = f
	return nil
}
