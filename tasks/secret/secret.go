// Package secret holds values that must not be seen: a text that masks itself
// wherever it could be printed, and a redactor for everything that leaves the
// process.
package secret

import (
	"fmt"
	"io"
)

// Mask is what a secret looks like to people, files and frames.
const Mask = "(secret)"

// Text is a secret text. It prints as [Mask] under every verb and encoder. The
// handlers of log/slog go by those encoders: a LogValue of our own would only
// bring that package into the helper.
// [Text.Reveal] is the one way out; a test holds the list of packages that may
// call it. The zero value is no secret at all.
//
// It holds a pointer because fmt cannot call methods on unexported fields of an
// outer struct: a plain string would show up in that struct's %+v.
type Text struct{ v *string }

// New returns s as a secret.
func New(s string) Text { return Text{&s} }

// Reveal returns the text. Its callers must not print, log or store it.
func (t Text) Reveal() string {
	if t.v == nil {
		return ""
	}
	return *t.v
}

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.v == nil }

// String returns the mask.
func (t Text) String() string { return Mask }

// GoString returns the mask.
func (t Text) GoString() string { return Mask }

// Format writes the mask for every verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Mask) }

// MarshalText returns the mask; secrets cross the wire in frames of their own.
func (t Text) MarshalText() ([]byte, error) { return []byte(Mask), nil }

// MarshalJSON returns the mask.
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + Mask + `"`), nil }
