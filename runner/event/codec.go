package event

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// MaxLine bounds one event on its way back in.
const MaxLine = 8 << 20

// Kind returns the name of the kind that is set, as the stream spells it, or "".
func (e *Event) Kind() string {
	v := reflect.ValueOf(e).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return e.Unknown
}

// Writer is a Sink that writes JSON lines.
type Writer struct {
	mu  sync.Mutex
	enc *json.Encoder
	err error
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &Writer{enc: enc}
}

// Emit writes the event. The first error is kept for Err and ends the writing.
func (w *Writer) Emit(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.enc.Encode(e)
	}
}

// Err returns the first error of writing.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Read calls emit for each event in a stream of JSON lines. A stream of a newer
// protocol, a line that is no event, and a torn last line are errors.
func Read(r io.Reader, emit func(Event)) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), MaxLine)
	for n := 1; sc.Scan(); n++ {
		if len(sc.Bytes()) == 0 {
			continue
		}
		e, err := decode(sc.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if s := e.RunStarted; s != nil && s.Protocol > Protocol {
			return fmt.Errorf("line %d: the stream has protocol %d, this program reads up to %d", n, s.Protocol, Protocol)
		}
		emit(e)
	}
	return sc.Err()
}

func decode(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("cannot read an event: %w", err)
	}
	if e.Kind() != "" {
		return e, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return e, err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "" && name != "time" && name != "host" {
			e.Unknown = name
			return e, nil
		}
	}
	return e, fmt.Errorf("cannot read an event: it has no kind")
}
