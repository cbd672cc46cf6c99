package render

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// frameTime is how often a live view is drawn.
const frameTime = 100 * time.Millisecond

// screen writes lines, and below them the region of a live view. Whoever adds a
// line holds the lock of the view and never waits for the terminal: a goroutine of
// the screen's own does.
type screen struct {
	view   *textView
	lines  bytes.Buffer // guarded by view.mu
	signal chan struct{}
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	// What follows belongs to the goroutine until done is closed.
	err   error // the first one of writing
	drawn []int // the widths of the region's lines that are on the terminal
	frame int
}

func newScreen(v *textView) *screen {
	s := &screen{view: v, signal: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go s.loop()
	return s
}

// add takes in one line.
func (s *screen) add(l string) { s.lines.WriteString(l + "\n") }

// wake has the lines written soon. A live view has its own clock.
func (s *screen) wake() {
	if s.view.opts.Live {
		return
	}
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// close writes what is left, wipes the region, and waits for that.
func (s *screen) close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.done
	return s.err
}

func (s *screen) loop() {
	defer close(s.done)
	var tick <-chan time.Time
	if s.view.opts.Live {
		t := time.NewTicker(frameTime)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-s.signal:
			s.flush(false)
		case <-tick:
			s.flush(true)
		case <-s.stop:
			s.flush(false)
			return
		}
	}
}

// flush writes the lines that came and, if asked to, the region below them.
func (s *screen) flush(live bool) {
	width, height := 0, 0
	if live || len(s.drawn) > 0 {
		width, height = s.view.opts.Width(), s.view.opts.Height()
	}
	v := s.view
	v.mu.Lock()
	out := bytes.Clone(s.lines.Bytes())
	s.lines.Reset()
	warnings := v.errOut
	v.errOut = nil
	var region []line
	if live {
		s.frame++
		region = v.region(width, height, s.frame)
	}
	v.mu.Unlock()
	if len(s.drawn) > 0 || len(region) > 0 {
		out = s.compose(out, region, width, height)
	}
	s.write(v.opts.Out, out)
	for _, l := range warnings {
		s.write(v.opts.Err, []byte(l.paint(v.opts.Color)+"\n"))
	}
}

const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	wipeLine   = "\x1b[K"
	wipeBelow  = "\x1b[J"
)

// compose returns one frame: lines that scroll away and the region below them. The
// cursor is hidden only within a frame, so that a program that is killed leaves it
// visible. A frame ends with a carriage return: a writer that holds back what may
// be the beginning of a secret never holds back an escape sequence.
func (s *screen) compose(lines []byte, region []line, width, height int) []byte {
	var b bytes.Buffer
	b.WriteString(hideCursor + "\r")
	if up := s.rows(width, height) - 1; up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	if len(lines) > 0 || len(region) == 0 {
		b.WriteString(wipeBelow)
	}
	b.Write(lines)
	s.drawn = s.drawn[:0]
	for i, l := range region {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(l.paint(s.view.opts.Color) + wipeLine)
		s.drawn = append(s.drawn, columns(l.paint(false)))
	}
	if len(region) > 0 {
		b.WriteString(wipeBelow)
	}
	b.WriteString(showCursor + "\r")
	return b.Bytes()
}

// rows returns how many rows the region takes now. A terminal that got narrower has
// wrapped its lines, and has no more rows than its height.
func (s *screen) rows(width, height int) int {
	n := 0
	for _, w := range s.drawn {
		n += max(1, (w+width-1)/max(1, width))
	}
	return min(n, height)
}

func (s *screen) write(w io.Writer, b []byte) {
	if s.err != nil || len(b) == 0 {
		return
	}
	_, s.err = w.Write(b)
}
