package journal_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/runner/journal"
)

// FuzzFiles reads files of the state folder as a crash or a broken disk may leave them.
func FuzzFiles(f *testing.F) {
	dir := f.TempDir()
	s, err := journal.Open(filepath.Join(dir, "state"))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Begin(journal.RunInfo{ID: "r1", Started: time.Now()}); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"kind":"task","task":1,"info":{"module":"file"}}` + "\n" +
		`{"kind":"intend","entry":{"seq":1,"task":1,"op":"x","resource":"/a"}}` + "\n" +
		`{"kind":"done","seq":1,"after":"b"}` + "\n" + `{"kind":"finish","task":1,"end":{"status":"changed"}}` + "\n"))
	f.Add([]byte(`{"kind":"done","seq":-1}` + "\n"))
	f.Add([]byte(`[{"name":"a"}]`))
	f.Add([]byte("\x00\x00\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"runs/r1/journal.jsonl", "ledger.jsonl", "pending.json", "fence"} {
			if err := os.WriteFile(filepath.Join(s.Dir(), name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if rec, err := s.Load("r1"); err == nil {
			for _, e := range rec.Entries {
				if rec.Task(e.Task) == nil {
					t.Errorf("got entry %+v without a task", e)
				}
			}
		}
		_, _ = s.Audit(nil)
		_, _ = s.Pending()
		if err := s.Receipt(journal.Receipt{Run: "r1"}); err != nil {
			t.Errorf("a receipt after %q: %v", data, err)
		}
	})
}
