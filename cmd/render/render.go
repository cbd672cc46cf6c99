// Package render holds the readers of a run's events: JSON lines, plain lines, and
// a live view for terminals. Every reader works from the stream alone, so that a
// saved stream shows what the run itself showed.
//
// The voice: lower case, no full stops, no exclamation marks. A line says what
// happened to what; details are indented below it; `hint:` offers what to do next.
// Capitals are for what a person must not overlook. Colour never carries anything
// that the words do not.
package render

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"holdfast/runner/event"
)

// The formats of [Options].
const (
	Text = "text"
	JSON = "json"
)

// Options say where and how to show a run.
type Options struct {
	// Out takes the run, whatever the format. Err takes warnings that concern no
	// host, unless it is nil or Live is set; in JSON they stay in the stream.
	Out, Err io.Writer
	Format   string // Text or JSON; "" is Text
	Live     bool   // Out is a terminal: keep a region at its bottom up to date
	// Width and Height return the terminal's size and are asked again before each
	// frame. Nil asks Out when it is a file, and is 80 by 24 when it is not.
	Width, Height func() int
	Color         bool
	Diff          bool             // show the contents of files as unified diffs
	Verbose       bool             // show what did not change or was skipped, too
	Now           func() time.Time // nil is time.Now
	// Redact masks secrets in texts that are about to be shortened, where a writer
	// behind Out would see only their beginnings. It may be nil.
	Redact func(string) string
}

// Renderer shows events. Emit may be called by several goroutines, waits for no
// terminal, and does nothing after Close. Close shows what was held back, restores
// the terminal, and returns the first error of writing; it may be called at any
// moment and more than once.
type Renderer interface {
	event.Sink
	Close() error
}

// New returns the renderer for opts. A caller must Close it.
func New(opts Options) Renderer {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	f, isFile := opts.Out.(*os.File)
	if opts.Width == nil {
		opts.Width = func() int { return 80 }
		if isFile {
			opts.Width = func() int { return Width(f) }
		}
	}
	if opts.Height == nil {
		opts.Height = func() int { return 24 }
		if isFile {
			opts.Height = func() int { return Height(f) }
		}
	}
	if opts.Format == JSON {
		return &jsonLines{w: event.NewWriter(opts.Out)}
	}
	return newText(opts)
}

// Replay shows a saved stream of JSON lines. It shows what it could read even when
// the rest is damaged, and returns why.
func Replay(r io.Reader, opts Options) error {
	out := New(opts)
	err := event.Read(r, out.Emit)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("cannot show the stream: %w", err)
	}
	return nil
}

// jsonLines writes the stream itself.
type jsonLines struct {
	mu     sync.Mutex
	w      *event.Writer
	closed bool
}

func (j *jsonLines) Emit(e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.w.Emit(e)
	}
}

func (j *jsonLines) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return j.w.Err()
}
