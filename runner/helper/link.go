package helper

import (
	"io"
	"sync"
	"time"
)

// link is the way to the controller. In a run that may outlive its connection it
// keeps what was said since the last program came, so that a controller which comes
// back misses nothing.
type link struct {
	mu     sync.Mutex
	change *sync.Cond
	w      io.Writer
	hangUp func()
	gen    int // of the connection; what an old one still says or hears is nothing
	keeps  bool
	alone  bool // nobody needs to be there
	there  bool // a controller is
	over   bool
	failed error

	frames [][]byte // from number base on
	base   int
	sent   int
	size   int
}

func newLink(w io.Writer) *link {
	l := &link{w: w, hangUp: func() {}, there: true}
	l.change = sync.NewCond(&l.mu)
	return l
}

const (
	// maxKept bounds what is kept for a controller that comes back.
	maxKept = 16 << 20
	// maxUnsent is how much may wait for a controller that is there and slow.
	maxUnsent = 4 << 20
)

// keep begins to remember: everything from here on has a number.
func (l *link) keep(alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeps, l.alone = true, alone
	go l.pump(l.gen, l.w)
}

// Write takes in one whole frame. Where frames are kept it fails only when nobody
// will ever want them.
func (l *link) Write(b []byte) (int, error) {
	l.mu.Lock()
	if !l.keeps {
		w := l.w
		l.mu.Unlock()
		return w.Write(b)
	}
	defer l.mu.Unlock()
	for l.failed == nil && l.there && l.unsent() > maxUnsent {
		l.change.Wait()
	}
	if l.failed != nil {
		return 0, l.failed
	}
	l.frames = append(l.frames, append([]byte(nil), b...))
	l.size += len(b)
	for l.size > maxKept && len(l.frames) > 1 {
		l.drop(1)
	}
	l.change.Broadcast()
	return len(b), nil
}

func (l *link) unsent() (n int) {
	for _, f := range l.frames[l.sent-l.base:] {
		n += len(f)
	}
	return n
}

func (l *link) drop(n int) {
	for _, f := range l.frames[:n] {
		l.size -= len(f)
	}
	l.frames = append([][]byte(nil), l.frames[n:]...)
	l.base += n
	l.sent = max(l.sent, l.base)
}

// heard forgets what the controller must have: it sent its next program.
func (l *link) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(l.sent - l.base)
}

// pump writes frames to one connection until it is replaced or breaks.
func (l *link) pump(gen int, w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for l.gen == gen && l.there && l.sent == l.base+len(l.frames) && !l.over {
			l.change.Wait()
		}
		if l.gen != gen || !l.there || l.sent == l.base+len(l.frames) {
			return
		}
		b := l.frames[l.sent-l.base]
		l.mu.Unlock()
		_, err := w.Write(b)
		l.mu.Lock()
		if l.gen != gen {
			return
		}
		if err != nil {
			l.there = false // the reader of this connection says what that means
			l.change.Broadcast()
			return
		}
		l.sent++
		l.change.Broadcast()
	}
}

// swap puts another connection in the place of the present one, which is hung up.
// What it has not seen is said again.
func (l *link) swap(w io.Writer, hangUp func(), seen int) (gen int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hangUp()
	l.gen++
	l.w, l.hangUp, l.there = w, hangUp, true
	l.sent = min(max(seen, l.base), l.base+len(l.frames))
	go l.pump(l.gen, w)
	l.change.Broadcast()
	return l.gen
}

// lost notes that a connection is gone and reports whether it was the present one.
func (l *link) lost(gen int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gen != gen {
		return false
	}
	l.there = false
	l.hangUp()
	l.hangUp = func() {}
	l.change.Broadcast()
	return true
}

// lasting reports whether the run may outlive its connection.
func (l *link) lasting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeps
}

// present reports whether a connection is the one that counts.
func (l *link) present(gen int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gen == gen
}

// attended reports whether a controller is there, and whether the run needs one.
func (l *link) attended() (there, needed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.there, l.keeps && !l.alone
}

// hold waits, at a boundary between tasks, for a controller that was lost. A guard that
// takes a change back has none, and no link.
func (l *link) hold(stopping func() bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.keeps && !l.alone && !l.there && !l.over && !stopping() {
		l.change.Wait()
	}
}

// wake makes whoever waits look again.
func (l *link) wake() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change.Broadcast()
}

// lastWords is how long a controller has to take what is left to say.
const lastWords = 10 * time.Second

// finish lets what is left be written, if somebody takes it, and ends the pump.
func (l *link) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.change.Broadcast()
	gen := l.gen
	defer time.AfterFunc(lastWords, func() { l.lost(gen) }).Stop()
	for l.keeps && l.there && l.sent < l.base+len(l.frames) {
		l.change.Wait()
	}
	l.hangUp()
}
