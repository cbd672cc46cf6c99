package host_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/tasks/task"
)

// ledger is what traces add up to, by resource.
type ledger struct {
	b        *bench
	expected map[string]string
	all      []host.Trace
}

func newLedger(b *bench) *ledger { return &ledger{b: b, expected: map[string]string{}} }

// take adds a run's traces. It holds that each goes on where the one before it ended.
func (l *ledger) take(run string) {
	l.b.t.Helper()
	rec, err := l.b.store.Load(run)
	l.b.must(err)
	tracer := &host.Tracer{Machine: l.b.m, Blobs: rec, Mask: l.b.store.Mask}
	for _, t := range rec.Tasks {
		traces, err := tracer.Task(ctx, t.Entries)
		l.b.must(err)
		for _, tr := range traces {
			if why := host.Differs(tr.Resource, l.expected[tr.Resource], tr.Before); why != "" {
				l.b.t.Errorf("%s: %s is said to be from others: %s", run, tr.Resource, why)
			}
			if tr.Unfinished || tr.After == "" {
				l.b.t.Errorf("%s: got %+v, want a finished one", run, tr)
			}
			l.expected[tr.Resource] = host.Fold(tr.Resource, l.expected[tr.Resource], tr.After)
		}
		l.all = append(l.all, traces...)
	}
}

// drift returns what differs now from what was recorded, by resource.
func (l *ledger) drift() map[string]string {
	l.b.t.Helper()
	out := map[string]string{}
	for r, expected := range l.expected {
		now, err := l.b.m.Fingerprint(ctx, r, expected, l.b.store.Mask)
		l.b.must(err)
		if why := host.Differs(r, expected, now); why != "" {
			out[strings.TrimPrefix(r, l.b.dir+"/")] = why
		}
	}
	return out
}

func TestTracesExplainEveryChangeOfFiles(t *testing.T) {
	b := newBench(t)
	b.prepare()
	for _, c := range changes {
		b.must(c.do(b, b.writer()))
	}
	l := newLedger(b)
	l.take("r1")
	if got := l.drift(); len(got) > 0 {
		t.Errorf("after the run: got %v, want nothing from others", got)
	}
	b.undo(host.UndoOptions{})
	l.take("u-r1")
	if got := l.drift(); len(got) > 0 {
		t.Errorf("after the undo: got %v, want nothing from others", got)
	}
	b.put("old", "by hand")
	b.put("link", "by hand")
	want := map[string]string{"old": "its content was changed since", "link": "it is now file, not absent"}
	if got := l.drift(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, tr := range l.all {
		for _, secret := range []string{"new secret", "old secret"} {
			if digest := fmt.Sprintf("%x", sha256.Sum256([]byte(secret))); strings.Contains(tr.Before+tr.After, digest) {
				t.Errorf("%s: got the digest of a secret in %+v", tr.Resource, tr)
			}
		}
	}
}

// A secret file that a run made is kept encrypted and masked when it is taken back.
func TestSecretFilesStaySecretInAnUndo(t *testing.T) {
	b := newBench(t)
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("pin"), Data: []byte("1234"), Secret: true}))
	b.undo(host.UndoOptions{})
	l := newLedger(b)
	l.take("r1")
	l.take("u-r1")
	if len(l.all) != 2 || !strings.Contains(l.all[0].After, "masked=") || !strings.Contains(l.all[1].Before, "masked=") {
		t.Errorf("got %+v, want both masked", l.all)
	}
	b.undo(host.UndoOptions{})
	if got := readAll(t, b.path("pin")); string(got) != "1234" {
		t.Errorf("after the undo of the undo: got %q", got)
	}
}

func TestTracesOfOneTaskAreJoined(t *testing.T) {
	b := newBench(t)
	w := b.writer()
	b.must(w.WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("x"), Mode: mode(0o600)}))
	b.must(w.SetMode(ctx, b.path("f"), 0o640))
	b.must(w.SetOwner(ctx, b.path("f"), "1", "2"))
	l := newLedger(b)
	l.take("r1")
	want := host.Trace{Resource: b.path("f"), Did: "write, set mode, set owner", Before: "absent - - -",
		After: fmt.Sprintf("file 0640 1:2 sha256=%x", sha256.Sum256([]byte("x"))), Entry: 3}
	if len(l.all) != 1 || l.all[0] != want {
		t.Errorf("got %+v, want %+v", l.all, want)
	}
}

func TestTracesOfAccounts(t *testing.T) {
	b := newAccounts(t)
	w := b.writer()
	b.must(w.PutUser(ctx, task.UserSpec{Name: "bob", Groups: &[]string{"sudo"}, Shell: ptr("/bin/bash"), CreateHome: true, PasswordHash: ptr("$6$salt$hash")}))
	b.must(b.writer().PutUser(ctx, task.UserSpec{Name: "bob", Shell: ptr("/bin/sh")}))
	b.must(b.writer().PutGroup(ctx, task.GroupSpec{Name: "staff", GID: ptr(int64(77))}))
	l := newLedger(b)
	l.take("r1")
	if got := l.drift(); len(got) > 0 {
		t.Errorf("got %v, want nothing from others", got)
	}
	var names []string
	for _, tr := range l.all {
		names = append(names, strings.TrimPrefix(tr.Resource, b.dir))
		if strings.Contains(tr.Before+tr.After, "salt") || strings.Contains(tr.Before+tr.After, "hash") {
			t.Errorf("got %+v, which tells of a password", tr)
		}
	}
	if got, want := strings.Join(names, " "), "user:bob group:sudo group:bob /home/bob user:bob group:staff"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := l.all[4].Before+" → "+l.all[4].After, "shell=/bin/sh"; !strings.Contains(got, "shell=/bin/bash") || !strings.Contains(got, want) {
		t.Errorf("got %s, want both shells", got)
	}
	b.must(b.writer().DeleteUser(ctx, "bob", false))
	if got := l.drift(); got["user:bob"] != "it is gone" || !strings.Contains(got["group:sudo"], `members is now "ann", not "ann,bob"`) {
		t.Errorf("got %v, want that bob is gone", got)
	}
}

// Of an act whose end nobody wrote, the resource itself tells whether it happened.
func TestTracesOfAnActThatWasCutOff(t *testing.T) {
	b := newBench(t)
	b.put("f", "old")
	b.must(b.writer().WriteFile(ctx, task.FileWrite{Path: b.path("f"), Data: []byte("new")}))
	rec, err := b.store.Load("r1")
	b.must(err)
	e := rec.Entries[0]
	e.Finished, e.After = false, ""
	tracer := &host.Tracer{Machine: b.m, Blobs: rec, Mask: b.store.Mask}
	traces, err := tracer.Task(ctx, []*journal.Entry{e})
	if err != nil || len(traces) != 1 || !traces[0].Unfinished || traces[0].After != "" {
		t.Errorf("after the act: got %+v and error %v, want an unfinished one", traces, err)
	}
	b.put("f", "old")
	if traces, err = tracer.Task(ctx, []*journal.Entry{e}); err != nil || len(traces) != 0 {
		t.Errorf("before the act: got %+v and error %v, want none", traces, err)
	}
}

func TestDiffersComparesOnlyWhatIsKnown(t *testing.T) {
	tests := []struct{ resource, expected, now, want string }{
		{"/f", "file 0644 0:0 -", "file 0644 0:0 sha256=aa", ""},
		{"/f", "file 0644 0:0 sha256=aa", "file 0600 0:0 -", "its mode is now 0600, not 0644"},
		{"/f", "file 0644 0:0 masked=aa", "file 0644 0:0 sha256=bb", ""},
		{"/f", "absent - - -", "file 0600 0:0 -", "it is now file, not absent"},
		{"unit:a", "enabled=enabled", "masked=false", ""},
		{"unit:a", "enabled=enabled masked=false", "enabled=disabled masked=false", `enabled is now "disabled", not "enabled"`},
		{"user:a", "absent", "uid=1 shell=/bin/sh", "it is there again"},
		{"package:a", "1.0", "1.1", "its version is now 1.1, not 1.0"},
		{"sysctl:a", "", "1", ""},
		{"sysctl:a", "1", "2", "it is now 2, not 1"},
	}
	for _, tt := range tests {
		if got := host.Differs(tt.resource, tt.expected, tt.now); got != tt.want {
			t.Errorf("%s: %q and %q: got %q, want %q", tt.resource, tt.expected, tt.now, got, tt.want)
		}
	}
	if got, want := host.Fold("unit:a", "enabled=enabled", "masked=false"), "enabled=enabled masked=false"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := host.Fold("/f", "file 0644 0:0 sha256=aa", "file 0600 0:0 -"), "file 0600 0:0 sha256=aa"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
