package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"testing"

	"holdfast/runner/wire"
)

// seeds are streams with one frame for each kind of message, and some that are not well.
func seeds(f *testing.F) {
	var all bytes.Buffer
	for _, m := range sample() {
		var one bytes.Buffer
		if err := wire.NewStream(nil, io.MultiWriter(&one, &all)).Send(m); err != nil {
			f.Fatal(err)
		}
		f.Add(one.Bytes())
	}
	s := wire.NewStream(nil, &all)
	if err := errors.Join(s.WriteFrame(wire.Secrets, []byte(`{"1":"hunter22"}`)), s.SendBlob([32]byte{1}, []byte("data")), s.WriteFrame(wire.Blob, []byte("short"))); err != nil {
		f.Fatal(err)
	}
	f.Add(all.Bytes())
	f.Add(all.Bytes()[:all.Len()-9])
	f.Add(frame(1<<32-1, 'J', "x"))
	f.Add(frame(wire.MaxFrame, 'B', "x"))
	f.Add(frame(15, 'J', `{"future":true}`))
}

// FuzzFrames reads what a peer may send: nothing panics, and memory follows what
// was really sent.
func FuzzFrames(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := reader(in)
		for range len(in) {
			kind, payload, err := s.ReadFrame()
			if err != nil {
				break
			}
			if len(payload) > len(in) {
				t.Fatalf("got %d bytes out of %d", len(payload), len(in))
			}
			switch kind {
			case wire.JSON:
				if m, err := wire.DecodeMessage(payload); (m == nil) == (err == nil) {
					t.Fatalf("got message %v and error %v", m, err)
				}
			case wire.Blob:
				_, _, _ = wire.SplitBlob(payload)
			}
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(2<<20+1000*len(in)); got > most {
			t.Fatalf("got %d bytes of memory for %d bytes, want at most %d", got, len(in), most)
		}
	})
}

// FuzzMessage decodes, encodes and decodes again: what is valid stays what it is.
func FuzzMessage(f *testing.F) {
	for _, m := range sample() {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"result":{"n":1,"status":"changed","changes":[{},{"attr":","}],"queued":["a","b"]}}`))
	f.Add([]byte(`{"RESULT":{"N":1,"Status":"changed","Changes":null}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := wire.DecodeMessage(in)
		if err != nil {
			return
		}
		first, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
		again, err := wire.DecodeMessage(first)
		if err != nil {
			t.Fatalf("cannot decode %s: %v", first, err)
		}
		second, err := json.Marshal(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("got %s, %v, want %s", second, err, first)
		}
	})
}
