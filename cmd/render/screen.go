package render

import (
	"bytes"
	"io"
	"sync"
)

// screen writes lines. Whoever adds a line holds the lock of the view and never
// waits for the terminal: a goroutine of the screen's own does.
type screen struct {
	view   *textView
	lines  bytes.Buffer // guarded by view.mu
	signal chan struct{}
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once
	err    error // of writing; the goroutine's until done is closed
}

func newScreen(v *textView) *screen {
	s := &screen{view: v, signal: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go s.loop()
	return s
}

// add takes in one line.
func (s *screen) add(l string) { s.lines.WriteString(l + "\n") }

// wake has the lines written soon.
func (s *screen) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// close writes what is left and waits for it.
func (s *screen) close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.done
	return s.err
}

func (s *screen) loop() {
	defer close(s.done)
	for {
		select {
		case <-s.signal:
			s.flush()
		case <-s.stop:
			s.flush()
			return
		}
	}
}

func (s *screen) flush() {
	s.view.mu.Lock()
	out := bytes.Clone(s.lines.Bytes())
	s.lines.Reset()
	warnings := s.view.errOut
	s.view.errOut = nil
	s.view.mu.Unlock()
	s.write(s.view.opts.Out, out)
	for _, l := range warnings {
		s.write(s.view.opts.Err, []byte(l.paint(s.view.opts.Color)+"\n"))
	}
}

func (s *screen) write(w io.Writer, b []byte) {
	if s.err != nil || len(b) == 0 {
		return
	}
	_, s.err = w.Write(b)
}
