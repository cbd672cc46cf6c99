package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/runner/journal"
)

func TestResumeGoesOn(t *testing.T) {
	s := open(t)
	j := begin(t, s, "r1")
	fill(t, j)
	_, place, err := j.Place()
	if err == nil {
		err = os.Mkdir(place, 0o700)
	}
	if err == nil {
		err = j.Close(journal.Succeeded)
	}
	if err != nil {
		t.Fatal(err)
	}
	// A machine that went down may have left half a line.
	file := filepath.Join(s.Dir(), "runs", "r1", "journal.jsonl")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteString(`{"kind":"ta`)
	if cerr := f.Close(); werr != nil || cerr != nil {
		t.Fatal(werr, cerr)
	}
	j, err = s.Resume(journal.RunInfo{ID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if j.Info().Status != "" || j.Info().Playbook != "baseline" {
		t.Errorf("the run goes on as %+v", j.Info())
	}
	fill(t, j)
	if _, again, err := j.Place(); err != nil || again == place {
		t.Errorf("the place %s comes twice (%v)", again, err)
	}
	if err := j.Close(journal.Succeeded); err != nil {
		t.Fatal(err)
	}
	rec, err := s.Load("r1")
	if err != nil || len(rec.Tasks) != 4 || len(rec.Entries) != 8 || rec.Status != journal.Succeeded {
		t.Errorf("got %+v (%v), want four tasks and eight entries", rec, err)
	}
}

func TestResumeOfNothingBegins(t *testing.T) {
	s := open(t)
	j, err := s.Resume(journal.RunInfo{ID: "r2"})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, j)
	if err := j.Close(journal.Failed); err != nil {
		t.Fatal(err)
	}
	if rec, err := s.Load("r2"); err != nil || len(rec.Tasks) != 2 {
		t.Errorf("got %+v (%v)", rec, err)
	}
}
