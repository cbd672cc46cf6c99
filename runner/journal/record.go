package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Record is what a run left in its journal.
type Record struct {
	RunInfo
	Tasks   []*TaskRecord
	Entries []*Entry // in the order of the acts
	store   *Store
	whole   int64 // bytes of the lines that count
}

// TaskRecord is a task in a record. End is nil when the run died in it.
type TaskRecord struct {
	TaskInfo
	ID      int
	End     *TaskEnd
	Entries []*Entry
}

// Only returns the record with the tasks that keep wants, and their entries.
func (r *Record) Only(keep func(*TaskRecord) bool) *Record {
	out := &Record{RunInfo: r.RunInfo, store: r.store}
	kept := map[int]bool{}
	for _, t := range r.Tasks {
		if keep(t) {
			kept[t.ID] = true
			out.Tasks = append(out.Tasks, t)
		}
	}
	for _, e := range r.Entries {
		if kept[e.Task] {
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}

// Load reads the journal of a run. A torn last line is dropped: it belongs to an
// act that never started. A damaged line before it is an error.
func (s *Store) Load(run string) (*Record, error) {
	info, err := s.info(run)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.runDir(run), "journal.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the run %s: %w", run, err)
	}
	rec := &Record{RunInfo: info, store: s}
	if err := rec.parse(b); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return rec, nil
}

func (r *Record) parse(b []byte) error {
	for n := 1; len(b) > 0; n++ {
		text, rest, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			return nil
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			if len(bytes.Trim(rest, "\x00")) == 0 {
				return nil // the file system had made room for the line, but not written it
			}
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := r.add(l); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		r.whole += int64(len(text) + 1)
		b = rest
	}
	return nil
}

func (r *Record) add(l line) error {
	switch l.Kind {
	case kindTask:
		if l.Info == nil || l.Task != len(r.Tasks)+1 {
			return fmt.Errorf("task %d is out of order", l.Task)
		}
		r.Tasks = append(r.Tasks, &TaskRecord{TaskInfo: *l.Info, ID: l.Task})
	case kindIntend:
		if l.Entry == nil || r.Task(l.Entry.Task) == nil || l.Entry.Seq != len(r.Entries)+1 {
			return fmt.Errorf("an entry is out of order")
		}
		t := r.Task(l.Entry.Task)
		t.Entries = append(t.Entries, l.Entry)
		r.Entries = append(r.Entries, l.Entry)
	case kindDone:
		if l.Seq < 1 || l.Seq > len(r.Entries) {
			return fmt.Errorf("entry %d is not there", l.Seq)
		}
		e := r.Entries[l.Seq-1]
		e.Finished, e.After, e.Result = true, l.After, l.Result
	case kindFinish:
		t := r.Task(l.Task)
		if t == nil || l.End == nil {
			return fmt.Errorf("task %d is not there", l.Task)
		}
		t.End = l.End
	default:
		return fmt.Errorf("unknown kind %q; a newer holdfast wrote it", l.Kind)
	}
	return nil
}

// Task returns the task with that number or nil.
func (r *Record) Task(id int) *TaskRecord {
	if id < 1 || id > len(r.Tasks) {
		return nil
	}
	return r.Tasks[id-1]
}
