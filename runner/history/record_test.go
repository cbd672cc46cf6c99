package history_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/event"
	"holdfast/runner/history"
)

// What is too old would be forgotten at once.
var began = time.Now().UTC().Truncate(time.Second)

func in(dir string) func(context.Context) (*history.DB, error) {
	return func(ctx context.Context) (*history.DB, error) { return history.Open(ctx, dir) }
}

// stream is a small run on two hosts, one of which fails.
func stream(id string) []event.Event {
	task := event.Task{Step: 1, Name: "motd", Module: "file", Path: "tasks[0]"}
	list := []event.Event{
		{RunStarted: &event.RunStarted{Protocol: event.Protocol, Run: id, Mode: event.Apply, Playbook: "site", Hosts: []string{"b", "a"}}},
		{Host: "a", TaskStarted: &event.TaskStarted{Task: task}},
		{Host: "a", Progress: &event.Progress{Task: task, Message: "half of it"}},
		{Host: "a", TaskFinished: &event.TaskFinished{Task: task, Status: event.Changed}},
		{Host: "a", HostFinished: &event.HostFinished{Status: event.HostOK, Counts: event.Counts{Changed: 1}}},
		{Host: "b", TaskFinished: &event.TaskFinished{Task: task, Status: event.Failed, Error: "the word is hunter22"}},
		{Host: "b", HostFinished: &event.HostFinished{Status: event.HostFailed, Counts: event.Counts{Failed: 1}}},
		{RunFinished: &event.RunFinished{Code: 5, Hosts: 2, OK: 1, Failed: 1}},
	}
	for i := range list {
		list[i].Time = began.Add(time.Duration(i) * time.Second)
	}
	return list
}

func run(id string) history.Run {
	return history.Run{ID: id, Mode: event.Apply, Command: "holdfast apply site", Playbook: "site", Version: "1.0.0", Person: "kim", Machine: "bastion",
		Started: began, Hosts: []history.Host{{Name: "b"}, {Name: "a"}}, Spec: []byte(`{"playbook":"site"}`)}
}

func record(t *testing.T, dir string, r history.Run, events []event.Event) {
	t.Helper()
	rec := history.NewRecorder(r, in(dir), func(s string) string { return strings.ReplaceAll(s, "hunter22", "***") })
	for _, e := range events {
		rec.Emit(e)
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecorder(t *testing.T) {
	dir := t.TempDir()
	record(t, dir, run("20260301-120000-aaaa0000"), stream("20260301-120000-aaaa0000"))
	h := open(t, dir)
	r, err := h.Find(t.Context(), "20260301-12")
	if err != nil {
		t.Fatal(err)
	}
	if r.Command != "holdfast apply site" || r.Person != "kim" || !r.Started.Equal(began) || !r.Ended.Equal(began.Add(7*time.Second)) ||
		r.Summary == nil || r.Summary.Code != 5 || r.Alive || string(r.Spec) != `{"playbook":"site"}` {
		t.Errorf("the run is %+v", r)
	}
	if got, want := fmt.Sprint(r.Hosts), fmt.Sprint([]history.Host{
		{Name: "b", Status: event.HostFailed, Counts: event.Counts{Failed: 1}, Error: "motd: the word is ***", Ended: began.Add(6 * time.Second)},
		{Name: "a", Status: event.HostOK, Counts: event.Counts{Changed: 1}, Ended: began.Add(4 * time.Second)}}); got != want {
		t.Errorf("hosts are\n%s, want\n%s", got, want)
	}
	var kinds []string
	if err := h.Events(t.Context(), r.ID, func(e event.Event) {
		kinds = append(kinds, e.Kind())
		if f := e.TaskFinished; f != nil && strings.Contains(f.Error, "hunter") {
			t.Errorf("a secret is in the history: %q", f.Error)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(kinds, " "), "run_started task_started task_finished host_finished task_finished host_finished run_finished"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}

// A program that is killed leaves what it wrote, and a reader that looks while it is at
// work sees that it is.
func TestRunWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	rec := history.NewRecorder(run("r-without-end"), in(dir), nil)
	for _, e := range stream("r-without-end")[:5] {
		rec.Emit(e)
	}
	h := open(t, dir)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r, err := h.Find(t.Context(), "r-without-end")
		if err == nil && r.Hosts[1].Status == event.HostOK {
			if !r.Alive || !r.Ended.IsZero() || r.Hosts[0].Status != "" {
				t.Errorf("the run is %+v", r)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the run was not written: %+v, %v", r, errors.Join(err, rec.Close()))
		}
	}
	if err := rec.Close(); err != nil {
		t.Error(err)
	}
}

// Programs that find no history and make it at the same moment all have it.
func TestOpenAtOnce(t *testing.T) {
	for range 60 {
		dir := t.TempDir()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				h, err := history.Open(t.Context(), dir)
				if err == nil {
					err = h.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

func TestRecorderWithoutHistory(t *testing.T) {
	broken := errors.New("the disk is full")
	rec := history.NewRecorder(run("r"), func(context.Context) (*history.DB, error) { return nil, broken }, nil)
	for range 10_000 {
		for _, e := range stream("r") {
			rec.Emit(e)
		}
	}
	if err := rec.Close(); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	none := history.NewRecorder(run("r"), func(context.Context) (*history.DB, error) { return nil, nil }, nil)
	none.Emit(stream("r")[0])
	if err := errors.Join(none.Close(), none.Close()); err != nil {
		t.Error(err)
	}
	none.Emit(stream("r")[1]) // comes too late, and that is all right
}

// A run of too many events keeps its outcomes and says what it does not have.
func TestRecorderIsBounded(t *testing.T) {
	dir := t.TempDir()
	rec := history.NewRecorder(run("r"), in(dir), nil)
	all := stream("r")
	rec.Emit(all[0])
	big := event.Event{Host: "a", TaskFinished: &event.TaskFinished{Status: event.Ran, Output: strings.Repeat("x", 1<<20)}}
	for range 80 {
		rec.Emit(big)
	}
	for _, e := range all[4:] {
		rec.Emit(e)
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	h := open(t, dir)
	bytes, outcomes, said := 0, 0, false
	if err := h.Events(t.Context(), "r", func(e event.Event) {
		switch {
		case e.TaskFinished != nil:
			bytes += len(e.TaskFinished.Output)
		case e.HostFinished != nil || e.RunFinished != nil:
			outcomes++
		case e.Warning != nil:
			said = strings.Contains(e.Warning.Message, "not in the history")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if bytes == 0 || bytes > 66<<20 || outcomes != 3 || !said {
		t.Errorf("%d bytes, %d outcomes, said: %v", bytes, outcomes, said)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for i, id := range []string{"20260301-120000-aaaa0000", "20260301-120000-bbbb0000", "20260302-120000-cccc0000"} {
		r := run(id)
		r.Started = began.Add(time.Duration(i) * time.Hour)
		if i == 2 {
			r.Mode = event.Plan
		}
		record(t, dir, r, stream(id))
	}
	h := open(t, dir)
	for _, c := range []struct {
		name string
		want string
		err  error
	}{
		{"last", "20260302-120000-cccc0000", nil},
		{"20260301-120000-aaaa0000", "20260301-120000-aaaa0000", nil},
		{"20260302", "20260302-120000-cccc0000", nil},
		{"20260301", "", history.ErrAmbiguous},
		{"2026", "", history.ErrAmbiguous},
		{"%", "", history.ErrUnknown},
		{"____", "", history.ErrUnknown},
		{"", "", history.ErrUnknown},
		{"nosuch", "", history.ErrUnknown},
	} {
		r, err := h.Find(t.Context(), c.name)
		if !errors.Is(err, c.err) || err == nil && r.ID != c.want {
			t.Errorf("Find(%q) = %+v, %v", c.name, r, err)
		}
	}
	if r, err := h.Find(t.Context(), "last", event.Apply, event.Undo); err != nil || r.ID != "20260301-120000-bbbb0000" {
		t.Errorf("the last apply is %+v, %v", r, err)
	}
	if list, err := h.Runs(t.Context(), history.RunQuery{Hosts: []string{"a", "z"}, Limit: 2}); err != nil || len(list) != 2 {
		t.Errorf("runs on a host: %+v, %v", list, err)
	}
	if list, err := h.Runs(t.Context(), history.RunQuery{Hosts: []string{"z"}}); err != nil || len(list) != 0 {
		t.Errorf("runs on no host: %+v, %v", list, err)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	now := time.Now()
	for i := range 12 {
		r := run(fmt.Sprintf("run-%02d", i))
		r.Started = now.Add(time.Duration(i-12) * 24 * time.Hour)
		record(t, dir, r, stream(r.ID))
		for _, kind := range []string{"audit", fmt.Sprint("kind", i)} {
			if err := h.Put(t.Context(), &history.Document{Kind: kind, Host: "a", Time: r.Started, Body: []byte(strings.Repeat("x", 30_000))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids := func() string {
		t.Helper()
		if err := h.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := h.Runs(t.Context(), history.RunQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range list {
			out = append(out, strings.TrimPrefix(r.ID, "run-"))
		}
		docs, err := h.List(t.Context(), history.Query{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(strings.Join(out, " "), ", ", len(docs))
	}
	if got, want := ids(), "11 10 09 08 07 06 05 04 03 02 01 00, 24"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	h.Keep.Age = 84 * time.Hour // between two of them
	if got, want := ids(), "11 10 09, 15"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	h.Keep.Bytes = 1
	if got, want := ids(), "11, 13"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	if err := h.Events(t.Context(), "run-05", func(event.Event) { t.Error("the events of a forgotten run are still there") }); err != nil {
		t.Error(err)
	}
}
