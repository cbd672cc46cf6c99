package journal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/runner/journal"
)

func open(t *testing.T) *journal.Store {
	t.Helper()
	s, err := journal.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *journal.Store, id string) *journal.Journal {
	t.Helper()
	j, err := s.Begin(journal.RunInfo{ID: id, Playbook: "baseline", Version: "1.0.0", Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// fill writes two tasks with two entries each; the last entry is not done.
func fill(t *testing.T, j *journal.Journal) {
	t.Helper()
	for n := range 2 {
		task, err := j.Task(journal.TaskInfo{Step: n, Module: "file", Args: json.RawMessage(`{"path":"/etc/motd"}`)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			e, err := task.Intend(journal.Entry{Op: "write", Resource: "/etc/motd", Before: json.RawMessage(`{"a":"é\n"}`)})
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 && i == 1 {
				return
			}
			e.Result = json.RawMessage(`{"b":1}`)
			if err := task.Done(e, "print"); err != nil {
				t.Fatal(err)
			}
		}
		if err := task.Finish(journal.TaskEnd{Status: "changed", Changed: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordIsWhatWasWritten(t *testing.T) {
	s := open(t)
	j := begin(t, s, "r1")
	fill(t, j)
	if err := j.Close(journal.Failed); err != nil {
		t.Fatal(err)
	}
	rec, err := s.Load("r1")
	if err != nil {
		t.Fatal(err)
	}
	if rec.Status != journal.Failed || len(rec.Tasks) != 2 || len(rec.Entries) != 4 {
		t.Fatalf("got status %q, %d tasks, %d entries, want failed, 2, 4", rec.Status, len(rec.Tasks), len(rec.Entries))
	}
	if e := rec.Entries[0]; !e.Finished || e.After != "print" || string(e.Result) != `{"b":1}` {
		t.Errorf("got entry %+v, want a finished one", e)
	}
	if rec.Entries[3].Finished || rec.Tasks[1].End != nil {
		t.Error("the last entry and task have an end, want none")
	}
}

// TestCrashAtEveryByte reopens a journal that was cut after each of its bytes, as a
// crash leaves it: every whole line counts and the torn one never does.
func TestCrashAtEveryByte(t *testing.T) {
	s := open(t)
	j := begin(t, s, "r1")
	fill(t, j)
	path := filepath.Join(s.Dir(), "runs", "r1", "journal.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) + 1 {
		for _, tail := range []string{"", "\x00\x00\x00"} {
			if err := os.WriteFile(path, append(whole[:n:n], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			rec, err := s.Load("r1")
			if err != nil {
				t.Fatalf("cut at %d: %v", n, err)
			}
			if got, want := len(rec.Entries), bytes.Count(whole[:n], []byte(`"kind":"intend"`)); got > want || got < want-1 {
				t.Fatalf("cut at %d: got %d entries, want %d or one less", n, got, want)
			}
		}
	}
}

func TestDamageInTheMiddleIsAnError(t *testing.T) {
	s := open(t)
	fill(t, begin(t, s, "r1"))
	path := filepath.Join(s.Dir(), "runs", "r1", "journal.jsonl")
	b, _ := os.ReadFile(path)
	b[3] = 0
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("r1"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got error %v, want one that names line 1", err)
	}
}

func TestBeforeImages(t *testing.T) {
	s := open(t)
	j := begin(t, s, "r1")
	plain, err := j.Keep([]byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := j.KeepFile(strings.NewReader("plain"))
	if err != nil || again != plain {
		t.Errorf("got %q and %v, want the same name %q", again, err, plain)
	}
	secret, err := j.KeepSecret([]byte("hunter2-hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := s.Load("r1")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{plain: "plain", secret: "hunter2-hunter2"} {
		if got, err := read(rec, name); err != nil || got != want {
			t.Errorf("got %q and error %v, want %q", got, err, want)
		}
		st, err := os.Stat(filepath.Join(s.Dir(), "runs/r1/blobs", name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("got %v and error %v, want mode 0600", st, err)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(s.Dir(), "runs/r1/blobs", secret))
	if bytes.Contains(raw, []byte("hunter2")) {
		t.Error("the secret is on the disk in clear")
	}
	for _, name := range []string{plain, secret} {
		if err := os.WriteFile(filepath.Join(s.Dir(), "runs/r1/blobs", name), []byte("other"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(rec, name); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("got error %v, want one about damage", err)
		}
	}
	if _, err := rec.Open("../../fence"); err == nil {
		t.Error("a path was taken for the name of a before-image")
	}
}

// Secret images of any size come back, none is on the disk in clear, and one that was
// cut or mixed up is noticed before its end.
func TestSealedImages(t *testing.T) {
	const piece = 64 << 10
	s := open(t)
	j := begin(t, s, "r1")
	rec, err := s.Load("r1")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, size := range []int{0, 1, piece - 1, piece, piece + 1, 3 * piece, 17<<20 + 5} {
		want := strings.Repeat("hunter2-", size/8+1)[:size]
		name, err := j.KeepSecretFile(strings.NewReader(want))
		if err != nil || names[name] {
			t.Fatalf("%d bytes: %v", size, err)
		}
		names[name] = true
		if got, err := read(rec, name); err != nil || got != want {
			t.Errorf("of %d bytes %d came back: %v", size, len(got), err)
		}
		path := filepath.Join(s.Dir(), "runs/r1/blobs", name)
		raw, err := os.ReadFile(path)
		if err != nil || bytes.Contains(raw, []byte("hunter2")) {
			t.Errorf("%d bytes are on the disk in clear, %v", size, err)
		}
		if size < 2*piece {
			continue
		}
		const whole, salt = piece + 16, 16
		swapped := slices.Concat(raw[:salt], raw[salt+whole:salt+2*whole], raw[salt:salt+whole], raw[salt+2*whole:])
		for what, bad := range map[string][]byte{"swapped": swapped, "cut": raw[:salt+whole], "cut in a piece": raw[:salt+100], "of another salt": slices.Concat(make([]byte, salt), raw[salt:])} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := read(rec, name); err == nil || !strings.Contains(err.Error(), "damaged") || len(got) > 2*piece {
				t.Errorf("%s: %d bytes, %v", what, len(got), err)
			}
		}
	}
}

func read(rec *journal.Record, name string) (string, error) {
	f, err := rec.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(f)
	return string(b), err
}

func TestLockNamesItsHolderAndFences(t *testing.T) {
	s := open(t)
	first, err := s.Lock(journal.Holder{Run: "r1", User: "ann", Controller: "bastion"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Lock(journal.Holder{Run: "r2"})
	var locked *journal.Locked
	if !errors.As(err, &locked) || locked.Holder.Run != "r1" || !strings.Contains(err.Error(), "ann@bastion") {
		t.Fatalf("got error %v, want one that names run r1 of ann@bastion", err)
	}
	if err := first.Check(); err != nil {
		t.Errorf("got error %v, want none", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	second, err := s.Lock(journal.Holder{Run: "r2"})
	if err != nil {
		t.Fatal(err)
	}
	if second.Fence != first.Fence+1 {
		t.Errorf("got fence %d, want %d", second.Fence, first.Fence+1)
	}
	if err := first.Check(); err == nil {
		t.Error("the old lock still counts")
	}
}

func TestPendingHandlers(t *testing.T) {
	s := open(t)
	for _, h := range []journal.Handler{{Name: "a", Run: "r1"}, {Name: "b", Run: "r1"}, {Name: "a", Run: "r2"}, {Name: "a", Run: "r2", Playbook: "p"}} {
		if err := s.AddPending(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DonePending("p", "a"); err != nil {
		t.Fatal(err)
	}
	again, err := journal.Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Pending()
	if err != nil || len(got) != 2 || got[0].Name != "a" || got[0].Run != "r2" || got[1].Name != "b" {
		t.Errorf("got %+v and error %v, want a of r2 and b", got, err)
	}
}

func TestLedgerShowsTampering(t *testing.T) {
	s := open(t)
	for _, r := range []string{"/etc/a", "/etc/b", "/etc/c"} {
		if err := s.Receipt(journal.Receipt{Run: "r1", Resource: r}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(s.Dir(), "ledger.jsonl")
	good, _ := os.ReadFile(path)
	if a, err := s.Audit(nil); a.Receipts != 3 || a.Line != 0 || err != nil {
		t.Fatalf("got %+v and error %v, want 3 receipts and no break", a, err)
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	for name, bad := range map[string]struct {
		text []byte
		line int
		why  string
	}{
		"changed":       {bytes.Replace(good, []byte("/etc/b"), []byte("/etc/x"), 1), 2, "was changed"},
		"removed":       {slices.Concat(lines[0], lines[2]), 2, "does not follow"},
		"first removed": {slices.Concat(lines[1], lines[2]), 1, "before it are missing"},
		"moved":         {slices.Concat(lines[0], lines[2], lines[1]), 2, "does not follow"},
		"twice":         {slices.Concat(lines[0], lines[0], lines[1]), 2, "does not follow"},
		"not a receipt": {slices.Concat(lines[0], []byte("oops\n"), lines[1], lines[2]), 2, "not a receipt"},
		"too long":      {slices.Concat(lines[0], bytes.Repeat([]byte("x"), 200<<10), []byte("\n"), lines[1]), 2, "too long"},
		"blanks":        {bytes.Replace(good, []byte(`"}`+"\n"), []byte(`" }`+"\n"), 1), 1, "was changed"},
		"newer":         {bytes.Replace(good, []byte(`"form":2`), []byte(`"form":9`), 1), 1, "newer holdfast"},
	} {
		if err := os.WriteFile(path, bad.text, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := s.Audit(nil)
		if err != nil || a.Line != bad.line || !strings.Contains(a.Why, bad.why) || a.Err() == nil {
			t.Errorf("%s: got %+v and error %v, want a break at line %d with %q", name, a, err, bad.line, bad.why)
		}
	}
}

// What form 1 wrote, one receipt for each task, goes on to be read and believed.
func TestLedgerReadsTheFirstForm(t *testing.T) {
	s := open(t)
	first := `{"time":"2026-11-21T00:00:00Z","run":"r0","task":"motd","resource":"file:/etc/motd","before":"content differs","after":"changed","prev":"","hash":""}`
	sum := sha256.Sum256([]byte(first))
	line := strings.Replace(first, `"hash":""`, fmt.Sprintf(`"hash":"%x"`, sum), 1) + "\n"
	if err := os.WriteFile(filepath.Join(s.Dir(), "ledger.jsonl"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Receipt(journal.Receipt{Run: "r1", Resource: "/etc/motd"}, journal.Receipt{Run: "r1", Resource: "/etc/issue"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	a, err := s.Audit(func(r journal.Receipt) { got = append(got, fmt.Sprintf("%d %s", r.Form, r.Resource)) })
	if want := "0 file:/etc/motd, 2 /etc/motd, 2 /etc/issue"; err != nil || a.Line != 0 || strings.Join(got, ", ") != want {
		t.Errorf("got %v, %+v and error %v, want %s", got, a, err, want)
	}
}

// Looking makes and changes nothing, not even where there is nothing yet.
func TestLookChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if s, err := journal.Look(dir); s != nil || err != nil {
		t.Errorf("got %v and error %v, want neither", s, err)
	}
	s := open(t)
	if err := os.Remove(filepath.Join(s.Dir(), "reserve")); err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, s.Dir())
	look, err := journal.Look(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := look.Mask("00"); err == nil {
		t.Error("a key was made by looking")
	}
	if _, err := look.Audit(nil); err != nil {
		t.Error(err)
	}
	if h := look.Holder(); h != nil {
		t.Errorf("got holder %v, want none", h)
	}
	if after := treeOf(t, s.Dir()); after != before {
		t.Errorf("looking changed the folder from %s to %s", before, after)
	}
}

func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestHolderIsSeenWithoutTheLock(t *testing.T) {
	s := open(t)
	lock, err := s.Lock(journal.Holder{Run: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	look, err := journal.Look(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if h := look.Holder(); h == nil || h.Run != "r1" {
		t.Errorf("got holder %v, want run r1", h)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if h := look.Holder(); h != nil {
		t.Errorf("got holder %v after the release, want none", h)
	}
}

func TestMaskIsTheSameForTheSame(t *testing.T) {
	s := open(t)
	a, err := s.Mask("1234")
	b, err2 := s.Mask("1234")
	c, err3 := s.Mask("1235")
	if err := errors.Join(err, err2, err3); err != nil || a != b || a == c || strings.Contains(a, "1234") {
		t.Errorf("got %s, %s, %s and error %v", a, b, c, err)
	}
	if other, err := open(t).Mask("1234"); err != nil || other == a {
		t.Errorf("got the same mask on two hosts, %v", err)
	}
}

func TestLedgerGoesOnAfterATornLine(t *testing.T) {
	s := open(t)
	path := filepath.Join(s.Dir(), "ledger.jsonl")
	for range 2 {
		if err := s.Receipt(journal.Receipt{Run: "r1", Resource: "/etc/a"}); err != nil {
			t.Fatal(err)
		}
	}
	whole, _ := os.ReadFile(path)
	first := bytes.IndexByte(whole, '\n') + 1
	for n := first; n <= len(whole); n++ {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Receipt(journal.Receipt{Run: "r2", Resource: "/etc/b"}); err != nil {
			t.Fatal(err)
		}
		want := 2
		if n == len(whole) {
			want = 3
		}
		if got, err := s.Audit(nil); got.Receipts != want || got.Line != 0 || err != nil {
			t.Fatalf("cut at %d: got %+v and error %v, want %d", n, got, err, want)
		}
	}
}

func TestPruneKeepsTheNewestAndTheRunning(t *testing.T) {
	s := open(t)
	for i, id := range []string{"a", "b", "c", "d"} {
		j, err := s.Begin(journal.RunInfo{ID: id, Started: time.Now().Add(time.Duration(i) * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		if id == "b" {
			continue // still running
		}
		if err := j.Close(journal.Succeeded); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := s.Prune(journal.Limits{Runs: 1})
	if err != nil || strings.Join(removed, " ") != "c a" {
		t.Errorf("got %v and error %v, want c and a removed", removed, err)
	}
	if removed, err = s.Prune(journal.Limits{Age: time.Nanosecond, Bytes: 1}); err != nil || len(removed) != 0 {
		t.Errorf("got %v and error %v, want nothing removed", removed, err)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system and needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH) //nolint:errcheck // the folder is temporary
	s, err := journal.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	warm, err := s.Lock(journal.Holder{Run: "r0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := warm.Release(); err != nil {
		t.Fatal(err)
	}
	j := begin(t, s, "r1")
	task, err := j.Task(journal.TaskInfo{Module: "file"})
	if err != nil {
		t.Fatal(err)
	}
	fillDisk(t, filepath.Join(dir, "ballast"))
	whole := 0
	for ; whole < 100; whole++ {
		if _, err = task.Intend(journal.Entry{Op: "write", Before: json.RawMessage(`"` + strings.Repeat("x", 500) + `"`)}); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no room for the journal") {
		t.Fatalf("got error %v, want one about room", err)
	}
	rec, err := s.Load("r1")
	if err != nil || len(rec.Entries) != whole {
		t.Fatalf("got %d entries and error %v, want %d", len(rec.Entries), err, whole)
	}
	lock, err := s.Lock(journal.Holder{Run: "u1"})
	if err != nil {
		t.Fatalf("a full host cannot be locked: %v", err)
	}
	defer lock.Release() //nolint:errcheck // the process ends
	if _, err := s.Begin(journal.RunInfo{ID: "r2"}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v, want that an apply cannot use the reserve", err)
	}
	if _, err := s.Begin(journal.RunInfo{ID: "u1", UndoOf: "r1"}); err != nil {
		t.Errorf("got error %v, want that an undo can use the reserve", err)
	}
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // meant to fail
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
}

func TestOpenRefusesALinkAndClosesTheFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(filepath.Join(dir, "link")); err == nil {
		t.Error("a link was taken for the state folder")
	}
	loose := filepath.Join(dir, "loose")
	if err := os.Mkdir(loose, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(loose); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(loose); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("got %v and error %v, want mode 0700", st, err)
	}
}

// A guard may write receipts while the run that it takes back does.
func TestLedgerOfTwoWritersIsOneChain(t *testing.T) {
	s := open(t)
	other, err := journal.Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i, store := range []*journal.Store{s, other} {
		wg.Go(func() {
			for range 25 {
				if err := store.Receipt(journal.Receipt{Run: fmt.Sprint("r", i), Resource: "/etc/a"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if a, err := s.Audit(nil); err != nil || a.Receipts != 50 || a.Line != 0 {
		t.Errorf("got %+v and error %v, want 50 receipts and no break", a, err)
	}
}
