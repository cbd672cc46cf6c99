package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/event"
)

// fill sets every field that can be set, to different values where that is easy.
func fill(t *testing.T, v reflect.Value, n int) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, n, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Tag.Get("json") != "-" {
				fill(t, v.Field(i), n+i)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n+1)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d <&> é\n\x1b", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n + 1))
	default:
		t.Fatalf("fill knows no %s", v.Type())
	}
}

// kinds returns one full event of each kind, and their names.
func kinds(t *testing.T) (events []event.Event, names []string) {
	t.Helper()
	typ := reflect.TypeFor[event.Event]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Type.Kind() != reflect.Pointer {
			continue
		}
		var e event.Event
		v := reflect.ValueOf(&e).Elem()
		fill(t, v.Field(i), i)
		e.Time, e.Host = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), "web1"
		if e.RunStarted != nil {
			e.RunStarted.Protocol = event.Protocol
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		events, names = append(events, e), append(names, name)
	}
	return events, names
}

func read(t *testing.T, stream string) ([]event.Event, error) {
	t.Helper()
	var out []event.Event
	err := event.Read(strings.NewReader(stream), func(e event.Event) { out = append(out, e) })
	return out, err
}

func TestEveryKindComesBack(t *testing.T) {
	events, names := kinds(t)
	var buf bytes.Buffer
	w := event.NewWriter(&buf)
	for i, e := range events {
		if got := e.Kind(); got != names[i] {
			t.Errorf("kind of event %d: got %q, want %q", i, got, names[i])
		}
		w.Emit(e)
	}
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(buf.String(), "\n"); got != len(events) {
		t.Errorf("got %d lines, want one for each of %d events", got, len(events))
	}
	if strings.ContainsRune(buf.String(), '\x1b') {
		t.Error("a control character went into the stream as it is")
	}
	if !strings.Contains(buf.String(), "<&>") {
		t.Error("the stream is escaped for HTML, which it is not")
	}
	back, err := read(t, buf.String())
	if err != nil || len(back) != len(events) {
		t.Fatalf("got %d events, %v, want %d", len(back), err, len(events))
	}
	for i := range events {
		if !reflect.DeepEqual(back[i], events[i]) {
			t.Errorf("%s: came back as %+v", names[i], back[i])
		}
	}
}

// A kind of a newer writer is shown by its name, whatever stands around it.
func TestUnknownKinds(t *testing.T) {
	for _, line := range []string{`{"time":"2026-01-02T03:04:05Z","host":"web1","rebooted":{"took":3}}`, `{"host":"web1","rebooted":null}`} {
		got, err := read(t, line+"\n")
		if err != nil || len(got) != 1 || got[0].Kind() != "rebooted" || got[0].Unknown != "rebooted" || got[0].Host != "web1" {
			t.Errorf("%s: got %+v, %v, want an event of kind rebooted", line, got, err)
		}
	}
	got, err := read(t, `{"warning":{"message":"x","colour":"red"}}`+"\n")
	if err != nil || len(got) != 1 || got[0].Warning == nil || got[0].Warning.Message != "x" {
		t.Errorf("a field of a newer writer: got %+v, %v, want the warning", got, err)
	}
}

func TestWhatIsNoEvent(t *testing.T) {
	const good = `{"warning":{"message":"x"}}` + "\n"
	tests := []struct{ name, line, want string }{
		{"no kind", `{"time":"2026-01-02T03:04:05Z","host":"web1"}`, "it has no kind"},
		{"empty", `{}`, "it has no kind"},
		{"no object", `[1]`, "cannot read an event"},
		{"text", `holdfast: command not found`, "cannot read an event"},
		{"wrong type", `{"warning":"x"}`, "cannot read an event"},
		{"two on a line", `{"warning":{"message":"x"}}{"warning":{"message":"y"}}`, "cannot read an event"},
	}
	for _, tt := range tests {
		got, err := read(t, good+"\n"+tt.line+"\n"+good)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%s: got %v, want %q in line 3", tt.name, err, tt.want)
		}
		if len(got) != 1 {
			t.Errorf("%s: got %d events before the error, want 1", tt.name, len(got))
		}
	}
}

func TestNewerProtocolIsRefused(t *testing.T) {
	for _, tt := range []struct {
		protocol int
		ok       bool
	}{{event.Protocol, true}, {event.Protocol + 1, false}} {
		line := fmt.Sprintf(`{"run_started":{"protocol":%d,"run":"r","mode":"apply","hosts":[],"tasks":0}}`, tt.protocol)
		got, err := read(t, line+"\n")
		if (err == nil) != tt.ok || (len(got) == 1) != tt.ok {
			t.Errorf("protocol %d: got %d events, %v", tt.protocol, len(got), err)
		}
		if err != nil && !strings.Contains(err.Error(), "reads up to 1") {
			t.Errorf("protocol %d: got %q, want both numbers", tt.protocol, err)
		}
	}
}

// What was cut off is not taken for an event, even where the cut leaves JSON.
func TestTornLastLine(t *testing.T) {
	const one, two = `{"warning":{"message":"x"}}`, `{"run_finished":{"code":0,"duration":1,"hosts":1,"ok":1,"failed":0,"unreachable":0,"changed":0}}`
	for n := 1; n < len(two); n++ {
		got, err := read(t, one+"\n"+two[:n])
		if err == nil || len(got) != 1 {
			t.Fatalf("cut after %d bytes: got %d events, %v, want one and an error", n, len(got), err)
		}
	}
	if got, err := read(t, one+"\n"+two); err != nil || len(got) != 2 {
		t.Errorf("a whole last line without its end: got %d events, %v, want 2", len(got), err)
	}
	if _, err := read(t, `{"warning":{"message":"`+strings.Repeat("x", event.MaxLine)+`"}}`); err == nil {
		t.Error("a line over the limit: got no error")
	}
}

func TestWriterKeepsTheFirstError(t *testing.T) {
	w := event.NewWriter(&full{room: 1})
	for range 3 {
		w.Emit(event.Event{Warning: &event.Warning{Message: "x"}})
	}
	if err := w.Err(); err == nil || err.Error() != "no room for line 2" {
		t.Errorf("got %v, want the first error", err)
	}
}

type full struct{ room, lines int }

func (f *full) Write(p []byte) (int, error) {
	if f.lines++; f.lines > f.room {
		return 0, errors.New("no room for line " + fmt.Sprint(f.lines))
	}
	return len(p), nil
}

func TestEmitFromManyGoroutines(t *testing.T) {
	var buf bytes.Buffer
	w := event.NewWriter(&buf)
	var sink event.Sink = event.SinkFunc(w.Emit)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				sink.Emit(event.Event{Progress: &event.Progress{Message: strings.Repeat("x", 500)}})
			}
		})
	}
	wg.Wait()
	if got, err := read(t, buf.String()); err != nil || len(got) != 400 {
		t.Errorf("got %d events, %v, want 400", len(got), err)
	}
}

// FuzzRead takes in any stream: an event has a kind, and writing it gives it back.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"run_started":{"protocol":1,"run":"r","mode":"apply","hosts":["a"],"tasks":1}}` + "\n"))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","host":"a","task_finished":{"step":1,"status":"changed","changes":[{"attr":"mode"}]}}` + "\n\n"))
	f.Add([]byte(`{"future":{"a":1}}` + "\n" + `{"warning":{"mess`))
	f.Fuzz(func(t *testing.T, in []byte) {
		_ = event.Read(bytes.NewReader(in), func(e event.Event) {
			if e.Kind() == "" {
				t.Fatalf("an event without a kind: %+v", e)
			}
			if e.Unknown != "" {
				return
			}
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := event.Read(bytes.NewReader(line), func(event.Event) {}); err != nil {
				t.Fatalf("cannot read back %s: %v", line, err)
			}
		})
	})
}
