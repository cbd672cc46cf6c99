package wire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"holdfast/runner/wire"
)

// frame is a frame as it is on the wire, which need not be one that we would write.
func frame(announced uint32, kind byte, payload string) []byte {
	b := binary.BigEndian.AppendUint32(nil, announced)
	return append(append(b, kind), payload...)
}

func reader(b []byte) *wire.Stream { return wire.NewStream(bytes.NewReader(b), io.Discard) }

func TestFramesComeBack(t *testing.T) {
	var buf bytes.Buffer
	s := wire.NewStream(&buf, &buf)
	big := bytes.Repeat([]byte{0, 1, 2, '\n'}, (wire.MaxFrame-4)/4)
	frames := []struct {
		kind    wire.Kind
		payload []byte
	}{{wire.JSON, []byte("{}")}, {wire.Secrets, nil}, {wire.Blob, []byte{0}}, {wire.JSON, big}, {wire.JSON, []byte("last")}}
	for _, f := range frames {
		if err := s.WriteFrame(f.kind, f.payload); err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range frames {
		kind, payload, err := s.ReadFrame()
		if err != nil || kind != f.kind || !bytes.Equal(payload, f.payload) {
			t.Errorf("frame %d: got %q with %d bytes, %v, want %q with %d bytes", i, byte(kind), len(payload), err, byte(f.kind), len(f.payload))
		}
	}
	if _, _, err := s.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: got %v, want io.EOF itself", err)
	}
}

func TestFrameLimits(t *testing.T) {
	s := wire.NewStream(nil, io.Discard)
	if err := s.WriteFrame(wire.JSON, make([]byte, wire.MaxFrame-1)); err != nil {
		t.Errorf("the largest frame: got %v", err)
	}
	if err := s.WriteFrame(wire.JSON, make([]byte, wire.MaxFrame)); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("one byte over: got %v, want ErrTooLarge", err)
	}
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", frame(0, 'J', ""), "a frame of 0 bytes"},
		{"one over", frame(wire.MaxFrame+1, 'J', ""), "over the limit"},
		{"4 GB", frame(1<<32-1, 'J', ""), "a frame of 4294967295 bytes"},
		{"unknown kind", frame(2, 'X', "a"), `unknown kind 'X'`},
		{"text", []byte("bash: no job control\n"), "a frame of"},
	}
	for _, tt := range tests {
		_, _, err := reader(tt.in).ReadFrame()
		var v *wire.Violation
		if !errors.As(err, &v) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want a violation with %q", tt.name, err, tt.want)
		}
	}
}

// A peer that announces a large frame and sends nothing costs next to nothing.
func TestNoRoomForWhatIsOnlyAnnounced(t *testing.T) {
	in := frame(wire.MaxFrame, 'J', "{}")
	for _, in := range [][]byte{in, frame(1<<32-1, 'B', "")} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			_, _, _ = reader(in).ReadFrame()
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 256<<10 {
			t.Errorf("a frame of %x: got %d bytes of memory, want few", in[:4], got)
		}
	}
}

func TestTornFrames(t *testing.T) {
	var buf bytes.Buffer
	if err := wire.NewStream(nil, &buf).Send(&wire.Message{Cancel: &wire.Cancel{Now: true}}); err != nil {
		t.Fatal(err)
	}
	whole := buf.Bytes()
	for n := 1; n < len(whole); n++ {
		_, _, err := reader(whole[:n]).ReadFrame()
		var v *wire.Violation
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &v) {
			t.Errorf("cut after %d bytes: got %v, want an unexpected end and no violation: cables break", n, err)
		}
	}
	// What is split over many reads is not torn.
	s := wire.NewStream(oneByte{bytes.NewReader(whole)}, nil)
	if _, payload, err := s.ReadFrame(); err != nil || string(payload) != `{"cancel":{"now":true}}` {
		t.Errorf("byte by byte: got %q, %v", payload, err)
	}
	broken := errors.New("the cable")
	_, _, err := wire.NewStream(io.MultiReader(bytes.NewReader(whole[:7]), failing{broken}), nil).ReadFrame()
	if !errors.Is(err, broken) {
		t.Errorf("a reader that fails inside a frame: got %v, want its error", err)
	}
}

type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestWritersDoNotMix(t *testing.T) {
	r, w := io.Pipe()
	s := wire.NewStream(r, w)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if err := s.WriteFrame(wire.JSON, bytes.Repeat([]byte{byte('a' + i)}, 1000)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 160 {
		_, payload, err := s.ReadFrame()
		if err != nil || len(payload) != 1000 || len(bytes.Trim(payload, string(payload[:1]))) != 0 {
			t.Fatalf("got a frame of %d bytes, %v", len(payload), err)
		}
	}
	wg.Wait()
}

func TestBlobsSplitAndJoin(t *testing.T) {
	for _, size := range []int{0, 1, wire.ChunkSize - 1, wire.ChunkSize, wire.ChunkSize + 1, 3*wire.ChunkSize + 5} {
		data := bytes.Repeat([]byte{7, 0, '\n'}, size/3+1)[:size]
		sum := sha256.Sum256(data)
		var buf bytes.Buffer
		s := wire.NewStream(&buf, &buf)
		if err := s.SendBlob(sum, data); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for {
			kind, payload, err := s.ReadFrame()
			if err != nil || kind != wire.Blob {
				t.Fatalf("%d bytes: got %q, %v", size, byte(kind), err)
			}
			at, piece, err := wire.SplitBlob(payload)
			if err != nil || at != sum {
				t.Fatalf("%d bytes: got digest %x, %v", size, at, err)
			}
			if len(piece) == 0 {
				break
			}
			got = append(got, piece...)
		}
		if !bytes.Equal(got, data) || buf.Len() != 0 {
			t.Errorf("%d bytes: got %d bytes and %d left over", size, len(got), buf.Len())
		}
	}
	if _, _, err := wire.SplitBlob(make([]byte, 31)); err == nil {
		t.Error("a piece without its digest: got no error")
	}
	if _, piece, err := wire.SplitBlob(make([]byte, 32)); err != nil || len(piece) != 0 {
		t.Errorf("an end: got %d bytes, %v", len(piece), err)
	}
}

func TestUnknownKinds(t *testing.T) {
	tests := []struct {
		in, kind string
		violates bool
	}{
		{in: `{"reboot":{"now":true}}`, kind: "reboot"},
		{in: `{"reboot":null}`, kind: "reboot"},
		{in: `{"result":null}`, kind: "result"},
		{in: `{"` + strings.Repeat("x", 100) + `":1}`, kind: strings.Repeat("x", 64)},
		{in: `{}`, violates: true},
		{in: `{"":1}`, violates: true},
		{in: `{"a":1,"b":2}`, violates: true},
		{in: `null`, violates: true},
		{in: `[]`, violates: true},
		{in: `"result"`, violates: true},
		{in: ``, violates: true},
		{in: `{"result":{"n":1,"status":"changed"}`, violates: true},
		{in: strings.Repeat("[", 1<<20), violates: true},
		{in: strings.Repeat(`{"result":`, 1<<18), violates: true},
	}
	for _, tt := range tests {
		name := tt.in[:min(len(tt.in), 40)]
		_, err := wire.DecodeMessage([]byte(tt.in))
		var v *wire.Violation
		var u *wire.UnknownKind
		switch {
		case tt.violates && !errors.As(err, &v):
			t.Errorf("%s: got %v, want a violation", name, err)
		case !tt.violates && (!errors.As(err, &u) || u.Kind != tt.kind):
			t.Errorf("%s: got %v, want the unknown kind %s", name, err, tt.kind)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: got an error of %d bytes", name, len(err.Error()))
		}
	}
}

// Fields of a newer peer are skipped: they do not raise the protocol.
func TestUnknownFields(t *testing.T) {
	m, err := wire.DecodeMessage([]byte(`{"result":{"n":3,"status":"changed","colour":"red"},"trace":7}`))
	if err != nil || m.Result == nil || m.Result.N != 3 {
		t.Errorf("got %+v, %v, want the result", m, err)
	}
}

func TestSendRefusesWhatIsNotValid(t *testing.T) {
	var buf bytes.Buffer
	s := wire.NewStream(nil, &buf)
	for _, m := range []*wire.Message{{}, {Cancel: &wire.Cancel{}, Done: &wire.Done{}}, {Result: &wire.Result{N: 1, Status: "odd"}}} {
		if err := s.Send(m); err == nil {
			t.Errorf("%+v: got no error", m)
		}
	}
	if buf.Len() > 0 {
		t.Errorf("got %d bytes on the wire", buf.Len())
	}
	if err := s.Send(&wire.Message{Result: &wire.Result{N: 1, Status: "changed", State: json.RawMessage(`"` + strings.Repeat("x", wire.MaxFrame) + `"`)}}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("a state over the limit: got %v, want ErrTooLarge", err)
	}
}

// An array of empty entries is small on the wire and large in memory.
func TestListsAreCountedBeforeThereIsRoomForThem(t *testing.T) {
	entries := func(n int) string { return strings.TrimSuffix(strings.Repeat("{},", n), ",") }
	const facts = `"min":1,"max":1,"facts":{}`
	for _, tt := range []struct{ name, form string }{
		{"changes", `{"result":{"n":1,"status":"changed","changes":[%s]}}`},
		{"pending", `{"welcome":{` + facts + `,"pending":[%s]}}`},
		{"runs", `{"welcome":{` + facts + `,"runs":[%s]}}`},
	} {
		if _, err := wire.DecodeMessage(fmt.Appendf(nil, tt.form, entries(10_000))); err != nil {
			t.Errorf("%s: got %v for a list within the limit", tt.name, err)
		}
		long := fmt.Appendf(nil, tt.form, entries(1_300_000))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := wire.DecodeMessage(long)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("%s: got %v, want a list that is too long", tt.name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 32<<20 {
			t.Errorf("%s: got %d MiB of memory for a frame of %d MiB", tt.name, got>>20, len(long)>>20)
		}
	}
	// Commas that do not part entries are not counted.
	m, err := wire.DecodeMessage([]byte(`{"result":{"n":1,"status":"changed","changes":[{"attr":"a,\",[","kind":"update"},{"attr":"b","kind":"act"}],"queued":[]}}`))
	if err != nil || len(m.Result.Changes) != 2 || m.Result.Changes[0].Attr != `a,",[` {
		t.Errorf("got %+v, %v, want two changes", m, err)
	}
}
