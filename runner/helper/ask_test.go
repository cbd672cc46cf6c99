package helper_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/runner/helper"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
	"holdfast/tasks"
)

// caller is the near end of a talk with a helper in this process.
type caller struct {
	t      *testing.T
	stream *wire.Stream
	hangUp func()
}

// call begins a talk over the state in dir. It ends with the test, or with hangUp.
func call(t *testing.T, dir string, hello wire.Hello) *caller {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = helper.Serve(context.Background(), helper.Options{Modules: tasks.All(), StateDir: dir, In: inR, Out: outW})
		_ = outW.Close()
		_ = inR.Close()
	}()
	out := bufio.NewReader(outR)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c := &caller{t: t, stream: wire.NewStream(out, inW)}
	c.hangUp = func() {
		_ = inW.Close()
		go func() { _, _ = io.Copy(io.Discard, out) }()
		<-done
	}
	t.Cleanup(c.hangUp)
	hello.Min, hello.Max = 1, 1
	c.say(&wire.Message{Hello: &hello})
	return c
}

func (c *caller) say(m *wire.Message) {
	c.t.Helper()
	if err := c.stream.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *caller) hear() *wire.Message {
	c.t.Helper()
	_, payload, err := c.stream.ReadFrame()
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := wire.DecodeMessage(payload)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// question puts one question in a talk of its own and returns the first page.
func question(t *testing.T, dir string, a wire.Ask) *wire.Answer {
	t.Helper()
	m := ask(t, dir, a)
	if m.Answer == nil {
		t.Fatalf("%+v: got %+v, want an answer", a, m.Refused)
	}
	return m.Answer
}

func ask(t *testing.T, dir string, a wire.Ask) *wire.Message {
	t.Helper()
	c := call(t, dir, wire.Hello{Run: "ask", Mode: "ask"})
	defer c.hangUp()
	if m := c.hear(); m.Welcome == nil {
		t.Fatalf("got %+v, want a welcome", m)
	}
	c.say(&wire.Message{Ask: &a})
	return c.hear()
}

// apply runs tasks as a run of their own and returns how the last one ended.
func apply(t *testing.T, dir, run string, steps ...wire.Step) *wire.Result {
	t.Helper()
	c := call(t, dir, wire.Hello{Run: run, Mode: "apply", Playbook: "site", Version: "1.2.0", Controller: "bastion", User: "ann", Command: "holdfast apply site"})
	defer c.hangUp()
	if m := c.hear(); m.Welcome == nil {
		t.Fatalf("got %+v, want a welcome", m.Refused)
	}
	c.say(&wire.Message{Program: &wire.Program{ID: 1, Steps: steps, Flush: true, Final: true, Outcome: "ok"}})
	var last *wire.Result
	for {
		m := c.hear()
		if m.Result != nil {
			last = m.Result
		}
		if m.Done != nil {
			return last
		}
	}
}

func takeBack(t *testing.T, dir, run, of string) {
	t.Helper()
	c := call(t, dir, wire.Hello{Run: run, Mode: "undo", Controller: "bastion", User: "bob", Command: "holdfast undo"})
	defer c.hangUp()
	c.hear()
	c.say(&wire.Message{Undo: &wire.Undo{Run: of}})
	for m := c.hear(); m.Done == nil; m = c.hear() {
		if m.Refused != nil {
			t.Fatal(m.Refused.Error)
		}
	}
}

func step(n int, module, args string) wire.Step {
	return wire.Step{N: n, Path: fmt.Sprintf("tasks[%d]", n-1), Name: "task " + fmt.Sprint(n), Module: module, Args: json.RawMessage(args), Timeout: time.Minute}
}

func fileStep(n int, path, content string) wire.Step {
	return step(n, "file", fmt.Sprintf(`{"path":%q,"content":{"$text":%q}}`, path, content))
}

func TestBlameTellsOursFromOthers(t *testing.T) {
	dir, file := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "motd")
	apply(t, dir, "r1", fileStep(1, file, "one"))
	if err := os.WriteFile(file, []byte("by hand"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := question(t, dir, wire.Ask{What: wire.AskBlame, Resource: file})
	if a.Resource.State != wire.Others || !strings.Contains(a.Resource.Drift, "content was changed") {
		t.Errorf("got %+v, want that others changed it", a.Resource)
	}
	apply(t, dir, "r2", fileStep(1, file, "two"))
	takeBack(t, dir, "r3", "r2")
	a = question(t, dir, wire.Ask{What: wire.AskBlame, Resource: "file:" + file})
	if a.Resource.State != wire.Ours || a.Resource.Total != 3 || a.Ledger.Line != 0 {
		t.Errorf("got %+v, want that it is as the undo left it", a.Resource)
	}
	var got []string
	for _, r := range a.Receipts {
		drift := ""
		if r.Drift != "" {
			drift = " after others"
		}
		got = append(got, fmt.Sprintf("%s of %s by %s@%s%s%s", r.Run, r.Playbook+" "+r.Version, r.User, r.Controller, r.UndoOf, drift))
		if r.Task != "task 1" || r.Did != "write" || r.Before == "" || r.After == "" {
			t.Errorf("got %+v, want task, act and both fingerprints", r)
		}
	}
	want := "r3 of site 1.2.0 by bob@bastionr2, r2 of site 1.2.0 by ann@bastion after others, r1 of site 1.2.0 by ann@bastion"
	if strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
	if a.Receipts[0].After != a.Receipts[1].Before {
		t.Errorf("got %q after the undo, want %q as before the run", a.Receipts[0].After, a.Receipts[1].Before)
	}
}

func TestRunsAndWhatTheyDid(t *testing.T) {
	dir, etc := filepath.Join(t.TempDir(), "state"), t.TempDir()
	one, two := filepath.Join(etc, "one"), filepath.Join(etc, "two")
	failed := apply(t, dir, "20261121-080000-aaaaaaaa", fileStep(1, one, "x"), step(2, "directory", fmt.Sprintf(`{"path":%q}`, two)), step(3, "command", `{"cmd":"false"}`))
	if failed.Status != "failed" {
		t.Fatalf("got %+v, want a failure", failed)
	}
	takeBack(t, dir, "20261121-090000-bbbbbbbb", "20261121-080000-aaaaaaaa")
	a := question(t, dir, wire.Ask{What: wire.AskRuns})
	if len(a.Runs) != 2 || a.Runs[0].UndoOf != a.Runs[1].ID || a.Runs[1].Status != "failed" || a.Runs[1].Changes != 2 || a.Runs[0].Changes != 2 || a.Runs[1].User != "ann" {
		t.Errorf("got %+v, want the undo and the run, with two changes each", a.Runs)
	}
	a = question(t, dir, wire.Ask{What: wire.AskRun, Run: "20261121-08"})
	if len(a.Runs) != 1 || len(a.Tasks) != 3 {
		t.Fatalf("got %+v, want the run and three tasks", a)
	}
	if got := a.Tasks[2]; got.Status != "failed" || got.Error == "" || got.Path != "tasks[2]" {
		t.Errorf("got %+v, want the failure", got)
	}
	var did []string
	for _, c := range a.Changes {
		did = append(did, fmt.Sprintf("%d %s %s", c.Task, c.Did, strings.TrimPrefix(c.Resource, etc)))
	}
	if got, want := strings.Join(did, ", "), "1 write /one, 2 make the directory /two, 3 run command:false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, name := range []string{"nosuch", "2026", "202"} {
		if a := question(t, dir, wire.Ask{What: wire.AskRun, Run: name}); len(a.Runs) != 0 {
			t.Errorf("%s: got %+v, want no run", name, a.Runs)
		}
	}
	if a := question(t, dir, wire.Ask{What: wire.AskRun, Run: "last"}); len(a.Runs) != 1 || a.Runs[0].ID != "20261121-090000-bbbbbbbb" {
		t.Errorf("last: got %+v, want the undo", a.Runs)
	}
}

// Asking takes no lock, makes nothing and changes nothing, also while a run goes on.
func TestAskingWritesNothing(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, what := range []string{wire.AskRuns, wire.AskLedger} {
		question(t, none, wire.Ask{What: what})
	}
	if a := question(t, none, wire.Ask{What: wire.AskBlame, Resource: "/x"}); a.Resource.State != wire.Unknown {
		t.Errorf("got %+v, want unknown", a.Resource)
	}
	if _, err := os.Lstat(none); err == nil {
		t.Error("asking made the state folder")
	}
	dir, file := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "f")
	apply(t, dir, "r1", fileStep(1, file, "x"))
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := store.Lock(journal.Holder{Run: "r2"})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release() //nolint:errcheck // the test is over
	if _, err := store.Begin(journal.RunInfo{ID: "r2", Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Begin(journal.RunInfo{ID: "r0", Started: time.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	before := state(t, dir)
	a := question(t, dir, wire.Ask{What: wire.AskRuns})
	var got []string
	for _, r := range a.Runs {
		got = append(got, r.ID+" "+r.Status)
	}
	if want := "r2 running, r1 succeeded, r0 died"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	question(t, dir, wire.Ask{What: wire.AskRun, Run: "r1"})
	question(t, dir, wire.Ask{What: wire.AskBlame, Resource: file})
	question(t, dir, wire.Ask{What: wire.AskLedger})
	if after := state(t, dir); after != before {
		t.Errorf("asking changed the state folder from\n%s\nto\n%s", before, after)
	}
}

// state lists a folder with the times of its files.
func state(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		fmt.Fprintln(&out, path, info.Size(), info.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestATalkThatAsksDoesNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for _, m := range []wire.Message{
		{Program: &wire.Program{ID: 1, Steps: []wire.Step{fileStep(1, filepath.Join(t.TempDir(), "f"), "x")}}},
		{Undo: &wire.Undo{Run: "r1"}},
	} {
		c := call(t, dir, wire.Hello{Run: "ask", Mode: "ask"})
		c.hear()
		c.say(&m)
		if got := c.hear(); got.Refused == nil {
			t.Errorf("got %+v, want a refusal", got)
		}
		c.hangUp()
	}
	c := call(t, dir, wire.Hello{Run: "r1", Mode: "plan"})
	c.hear()
	c.say(&wire.Message{Ask: &wire.Ask{What: wire.AskRuns}})
	if got := c.hear(); got.Refused == nil {
		t.Errorf("a question in a plan: got %+v, want a refusal", got)
	}
}

// What a run did that died before it could note it is noted by the next one.
func TestTheNextRunNotesWhatADeadOneDid(t *testing.T) {
	dir, file := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "f")
	apply(t, dir, "r1", fileStep(1, file, "x"))
	info := filepath.Join(dir, "runs", "r1", "run.json")
	text, err := os.ReadFile(info)
	if err != nil {
		t.Fatal(err)
	}
	// As it is when the helper is killed between the act and its receipt.
	if err := os.WriteFile(info, []byte(strings.Replace(string(text), `"status": "succeeded"`, `"status": ""`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ledger.jsonl")); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"r2", "r3"} {
		apply(t, dir, run, fileStep(1, file+run, "y"))
	}
	a := question(t, dir, wire.Ask{What: wire.AskBlame, Resource: file})
	if len(a.Receipts) != 1 || a.Receipts[0].Run != "r1" || a.Receipts[0].Unfinished || a.Resource.State != wire.Ours {
		t.Errorf("got %+v and %+v, want the one receipt of r1", a.Receipts, a.Resource)
	}
	if l := question(t, dir, wire.Ask{What: wire.AskLedger}).Ledger; l.Broken() || l.Receipts != 4 {
		t.Errorf("got %+v, want a whole ledger with 4 receipts: one of each run, and that r1 died", l)
	}
}

func TestLedgerThatLacksItsEnd(t *testing.T) {
	dir, file := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "f")
	apply(t, dir, "r1", fileStep(1, file, "x"))
	apply(t, dir, "r2", fileStep(1, file, "y"))
	path := filepath.Join(dir, "ledger.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if l := question(t, dir, wire.Ask{What: wire.AskLedger}).Ledger; l.Broken() || l.Receipts != 2 || l.Head == "" || l.Last.IsZero() {
		t.Errorf("got %+v, want a whole one", l)
	}
	first, _, _ := strings.Cut(string(whole), "\n")
	for text, want := range map[string]string{first + "\n": "r2", "": "r1 r2"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := question(t, dir, wire.Ask{What: wire.AskLedger}).Ledger
		if !l.Broken() || l.Line != 0 || strings.Join(l.Missing, " ") != want {
			t.Errorf("got %+v, want that it lacks %s", l, want)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(whole), "ann", "eve", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if l := question(t, dir, wire.Ask{What: wire.AskLedger}).Ledger; l.Line != 1 || !strings.Contains(l.Why, "was changed") {
		t.Errorf("got %+v, want a break at line 1", l)
	}
}

func TestLongAnswersComeInPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]journal.Receipt, 12_000)
	for i := range list {
		list[i] = journal.Receipt{Run: fmt.Sprint("r", i), Resource: "/etc/motd", Did: "write", Before: "absent - - -", After: "file 0644 0:0 -"}
	}
	if err := store.Receipt(list...); err != nil {
		t.Fatal(err)
	}
	c := call(t, dir, wire.Hello{Run: "ask", Mode: "ask"})
	c.hear()
	n, pages := 0, 0
	for a := (wire.Ask{What: wire.AskBlame, Resource: "/etc/motd"}); ; pages++ {
		c.say(&wire.Message{Ask: &a})
		m := c.hear()
		if m.Answer == nil {
			t.Fatalf("got %+v, want an answer", m)
		}
		for _, r := range m.Answer.Receipts {
			if want := fmt.Sprint("r", len(list)-1-n); r.Run != want {
				t.Fatalf("got run %s, want %s", r.Run, want)
			}
			n++
		}
		if m.Answer.Next == 0 {
			break
		}
		a.From = m.Answer.Next
	}
	if n != len(list) || pages < 2 {
		t.Errorf("got %d receipts in %d pages, want %d in several", n, pages+1, len(list))
	}
	if a := question(t, dir, wire.Ask{What: wire.AskBlame, Resource: "/etc/motd", Limit: 3}); len(a.Receipts) != 3 || a.Resource.Total != len(list) {
		t.Errorf("got %d receipts of %d, want 3 of all", len(a.Receipts), a.Resource.Total)
	}
}

func TestNamesOfResources(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"unit:ssh.service", "package:ssh", "package:nginx", "user:www-data", "sysctl:net.ipv4.ip_forward", "/etc/motd", "package:libc6:arm64", "package:libc6"} {
		if err := store.Receipt(journal.Receipt{Run: "r1", Resource: r, After: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ named, want string }{
		{"unit:ssh", "unit:ssh.service"}, {"unit:ssh.service", "unit:ssh.service"}, {"service:ssh", "unit:ssh.service"}, {"package:ssh", "package:ssh"},
		{"nginx", "package:nginx"}, {"www-data", "user:www-data"}, {"sysctl:net.ipv4.ip_forward", "sysctl:net.ipv4.ip_forward"},
		{"/etc//motd", "/etc/motd"}, {"file:/etc/motd", "/etc/motd"}, {"package:libc6", "package:libc6"}, {"package:libc6:arm64", "package:libc6:arm64"},
	}
	for _, tt := range tests {
		if a := question(t, dir, wire.Ask{What: wire.AskBlame, Resource: tt.named}); a.Resource.Name != tt.want || len(a.Receipts) != 1 {
			t.Errorf("%s: got %+v with %d receipts, want %s with one", tt.named, a.Resource, len(a.Receipts), tt.want)
		}
	}
	if m := ask(t, dir, wire.Ask{What: wire.AskBlame, Resource: "ssh"}); m.Refused == nil || !strings.Contains(m.Refused.Error, "package:ssh, unit:ssh.service") {
		t.Errorf("ssh: got %+v, want a refusal that names both", m)
	}
	for _, named := range []string{"unit:nosuch", "/nosuch", "nosuch", "user:ssh"} {
		if a := question(t, dir, wire.Ask{What: wire.AskBlame, Resource: named}); a.Resource.State != wire.Unknown || len(a.Receipts) != 0 {
			t.Errorf("%s: got %+v, want nothing", named, a.Resource)
		}
	}
}

// A change whose end is not known ends what can be compared; a mere act does not.
func TestBlameAfterWhatIsNotKnown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	store, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	tests := []struct {
		name, want string
		list       []journal.Receipt
	}{
		{"an act", wire.Ours, []journal.Receipt{{Before: "file 0600 0:0 -", After: "absent - - -"}, {Did: "start"}}},
		{"cut off", wire.Unknown, []journal.Receipt{{Before: "file 0600 0:0 -", After: "absent - - -"}, {Before: "absent - - -", Unfinished: true}}},
		{"not recorded", wire.Unknown, []journal.Receipt{{Before: "absent - - -"}}},
		{"recorded again", wire.Ours, []journal.Receipt{{Before: "absent - - -", Unfinished: true}, {Before: "file 0600 0:0 -", After: "absent - - -"}}},
	}
	for i, tt := range tests {
		for _, r := range tt.list {
			r.Run, r.Resource = "r1", fmt.Sprint(none, i)
			if err := store.Receipt(r); err != nil {
				t.Fatal(err)
			}
		}
		a := question(t, dir, wire.Ask{What: wire.AskBlame, Resource: fmt.Sprint(none, i)})
		if a.Resource.State != tt.want {
			t.Errorf("%s: got %+v, want %s", tt.name, a.Resource, tt.want)
		}
		for _, r := range a.Receipts {
			if r.Drift != "" {
				t.Errorf("%s: got %+v, want nothing from others", tt.name, r)
			}
		}
	}
}
