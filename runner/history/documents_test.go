package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/history"
)

func open(t *testing.T, dir string) *history.DB {
	t.Helper()
	h, err := history.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func bodies(docs []history.Document) string {
	var out []string
	for _, d := range docs {
		out = append(out, d.Host+"="+string(d.Body))
	}
	return strings.Join(out, " ")
}

func TestDocuments(t *testing.T) {
	h := open(t, t.TempDir())
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i, d := range []history.Document{
		{Kind: "audit", Host: "b", Time: day, Body: []byte("1")},
		{Kind: "audit", Host: "a", Time: day.Add(time.Hour), Body: []byte("2"), Run: "r1"},
		{Kind: "audit", Host: "a", Time: day.Add(2 * time.Hour), Body: []byte("3")},
		{Kind: "drift", Host: "a", Time: day.Add(3 * time.Hour), Body: []byte("4")},
		{Kind: "audit", Host: "a", Time: day.Add(2 * time.Hour), Body: []byte("5")}, // at once with another
		{Kind: "audit", Host: "", Time: day, Body: nil},
	} {
		if err := h.Put(t.Context(), &d); err != nil {
			t.Fatal(err)
		}
		if d.ID != int64(i+1) {
			t.Errorf("the document %d has the number %d", i+1, d.ID)
		}
	}
	for name, c := range map[string]struct {
		q    history.Query
		want string
	}{
		"of a kind":        {history.Query{Kind: "audit"}, "a=5 a=3 a=2 = b=1"},
		"of a host":        {history.Query{Kind: "audit", Host: "a"}, "a=5 a=3 a=2"},
		"of all kinds":     {history.Query{Host: "a"}, "a=4 a=5 a=3 a=2"},
		"of a run":         {history.Query{Run: "r1"}, "a=2"},
		"in a time":        {history.Query{Kind: "audit", Since: day.Add(time.Hour), Until: day.Add(2 * time.Hour)}, "a=2"},
		"the newest":       {history.Query{Kind: "audit", Limit: 2}, "a=5 a=3"},
		"of no known kind": {history.Query{Kind: "' OR 1 --"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := h.List(t.Context(), c.q)
			if err != nil || bodies(got) != c.want {
				t.Errorf("List(%+v) = %q, %v; want %q", c.q, bodies(got), err, c.want)
			}
		})
	}
	got, err := h.Latest(t.Context(), "audit")
	if want := "= a=5 b=1"; err != nil || bodies(got) != want {
		t.Errorf("Latest = %q, %v; want %q", bodies(got), err, want)
	}
	if !got[1].Time.Equal(day.Add(2 * time.Hour)) {
		t.Errorf("the time is %s", got[1].Time)
	}
}

func TestDocumentsThatAreRefused(t *testing.T) {
	h := open(t, t.TempDir())
	if err := h.Put(t.Context(), &history.Document{Host: "a"}); err == nil || !strings.Contains(err.Error(), "no kind") {
		t.Errorf("a document without a kind: %v", err)
	}
	if err := h.Put(t.Context(), &history.Document{Kind: "audit", Body: make([]byte, history.MaxDocument+1)}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a huge document: %v", err)
	}
}

// Two programs open one history that is not there yet, and write at once.
func TestSeveralWriters(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			h, err := history.Open(t.Context(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer h.Close() //nolint:errcheck // the writes count
			for n := range 20 {
				if err := h.Put(t.Context(), &history.Document{Kind: "k", Host: fmt.Sprint(i), Body: []byte(fmt.Sprint(n))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	all, err := open(t, dir).List(t.Context(), history.Query{})
	if err != nil || len(all) != 120 {
		t.Errorf("%d documents, %v", len(all), err)
	}
}

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b%20?x=1#", "history")
	if _, err := history.OpenExisting(t.Context(), dir); !history.Missing(err) {
		t.Errorf("a history that is not there: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a reader made the folder")
	}
	h := open(t, dir)
	if err := h.Put(t.Context(), &history.Document{Kind: "k"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can read %s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if len(entries) == 0 {
		t.Error("the database is elsewhere")
	}
}

func TestOpenWhatIsNoHistory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, history.File), []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "cannot open the history") {
		t.Errorf("a file that is no database: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := history.Open(t.Context(), file); err == nil {
		t.Error("a file was taken for a folder")
	}
}
