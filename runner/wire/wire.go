// Package wire is what the two ends of a helper say to each other, and how.
//
// The far end, the helper, speaks first: one line that begins with a zero byte
// ([Magic]). What comes before it is noise of start-up files and is kept for
// error messages. Then both send frames: four bytes of length (big endian, of
// what follows), one byte of kind, the payload. Kinds:
//
//	J  one JSON [Message]
//	S  secrets: a JSON object from number to text, for the message that follows
//	B  a piece of content: 32 bytes of SHA-256, then data; no data ends it
//
// A frame is at most [MaxFrame] bytes, which is checked before anything is
// allocated. A Message has exactly one of its pointers set and is validated on
// receipt. An unknown kind of message is answered with Unsupported, never
// ignored, so that both ends stay able to grow.
//
// The talk: near Hello, far Hello (facts); then programs, one at a time, each
// answered by results as they happen and one Done. Closing the input ends the
// helper after its current atomic step.
package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The protocol range that this build speaks. It rises when an old reader would
// misunderstand; new fields and kinds do not raise it.
const (
	MinProtocol = 1
	MaxProtocol = 1
)

// Magic starts the line that the helper writes before its first frame. The
// protocol number and a newline follow.
const Magic = "\x00HOLDFAST-HELPER "

// MaxFrame is the largest payload of a frame, its kind included.
const MaxFrame = 4 << 20

// MaxNoise is how much may come before the magic line.
const MaxNoise = 64 << 10

// ChunkSize is how much content one B frame carries.
const ChunkSize = 256 << 10

// Kind is the kind of a frame.
type Kind byte

// The kinds of frames.
const (
	JSON    Kind = 'J'
	Secrets Kind = 'S'
	Blob    Kind = 'B'
)

// ErrTooLarge is the error of a frame over the limit.
var ErrTooLarge = errors.New("frame is over the limit")

// Violation is the error of a peer that does not keep to the protocol. The talk
// cannot go on after it.
type Violation struct{ Message string }

func (v *Violation) Error() string { return "broken protocol: " + v.Message }

// Violationf returns a [Violation].
func Violationf(format string, args ...any) error { return &Violation{fmt.Sprintf(format, args...)} }

// Stream reads and writes frames. One goroutine may read while others write.
type Stream struct {
	r  io.Reader
	mu sync.Mutex
	w  io.Writer
}

// NewStream returns a Stream over r and w.
func NewStream(r io.Reader, w io.Writer) *Stream { return &Stream{r: r, w: w} }

// WriteFrame writes one frame, whole.
func (s *Stream) WriteFrame(kind Kind, payload []byte) error {
	if len(payload)+1 > MaxFrame {
		return fmt.Errorf("cannot send %d bytes: %w", len(payload), ErrTooLarge)
	}
	buf := make([]byte, 5, 5+len(payload))
	binary.BigEndian.PutUint32(buf, uint32(len(payload)+1))
	buf[4] = byte(kind)
	buf = append(buf, payload...)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(buf)
	return err
}

// ReadFrame reads one frame. io.EOF means that the peer closed between frames, an
// error that wraps io.ErrUnexpectedEOF that the stream was cut inside one. Room is
// made as the bytes come, so that an announced frame costs its peer something too.
func (s *Stream) ReadFrame() (Kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return 0, nil, torn(err)
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n < 1 || n > MaxFrame {
		return 0, nil, Violationf("a frame of %d bytes was announced: %v", n, ErrTooLarge)
	}
	kind := Kind(head[4])
	if kind != JSON && kind != Secrets && kind != Blob {
		return 0, nil, Violationf("frame of unknown kind %q", byte(kind))
	}
	var payload bytes.Buffer
	payload.Grow(int(min(n-1, 32<<10)))
	if _, err := io.CopyN(&payload, s.r, int64(n-1)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, torn(err)
	}
	return kind, payload.Bytes(), nil
}

func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the stream was cut inside a frame: %w", err)
	}
	return err
}

// Send writes a message.
func (s *Stream) Send(m *Message) error {
	if err := m.EnsureValid(); err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot encode a message: %w", err)
	}
	return s.WriteFrame(JSON, b)
}

// DecodeMessage reads and validates the payload of a J frame. For a kind that
// this build does not know it returns an [*UnknownKind].
func DecodeMessage(payload []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(payload, &m); err != nil {
		return nil, Violationf("a message that is not JSON: %v", err)
	}
	if m.kind() == "" {
		return nil, unknownKind(payload)
	}
	if err := m.EnsureValid(); err != nil {
		return nil, &Violation{err.Error()}
	}
	return &m, nil
}

// UnknownKind is the error of a message from a newer peer.
type UnknownKind struct{ Kind string }

func (u *UnknownKind) Error() string { return fmt.Sprintf("message of unknown kind %q", u.Kind) }

func unknownKind(payload []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(payload, &fields); err != nil || len(fields) != 1 {
		return Violationf("a message without a kind")
	}
	for name := range fields {
		if name == "" {
			break
		}
		return &UnknownKind{name[:min(len(name), 64)]}
	}
	return Violationf("a message without a kind")
}

// SendBlob writes content in pieces. sum is its SHA-256.
func (s *Stream) SendBlob(sum [32]byte, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), ChunkSize)
		if err := s.WriteFrame(Blob, append(sum[:len(sum):len(sum)], data[:n]...)); err != nil {
			return err
		}
		data = data[n:]
	}
	return s.WriteFrame(Blob, sum[:])
}

// SplitBlob takes a B frame's payload apart.
func SplitBlob(payload []byte) (sum [32]byte, data []byte, err error) {
	if len(payload) < len(sum) {
		return sum, nil, Violationf("a piece of content without its digest")
	}
	return [32]byte(payload[:32]), payload[32:], nil
}
