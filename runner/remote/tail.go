package remote

import (
	"io"
	"strings"
	"sync"
	"time"

	"holdfast/runner/plain"
)

// tail reads a stream to its end and keeps the last bytes of it.
type tail struct {
	mu       sync.Mutex
	buf      []byte
	limit    int
	seen     int // where the last watched text ended
	watchers []watcher
	done     chan struct{}
}

type watcher struct {
	text string
	hit  chan struct{}
}

func newTail(r io.Reader, limit int) *tail {
	t := &tail{limit: limit, done: make(chan struct{})}
	go t.run(r)
	return t
}

func (t *tail) run(r io.Reader) {
	defer close(t.done)
	chunk := make([]byte, 4096)
	for {
		n, err := r.Read(chunk)
		t.add(chunk[:n])
		if err != nil {
			return
		}
	}
}

func (t *tail) add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if cut := len(t.buf) - t.limit; cut > 0 {
		t.buf = append(t.buf[:0], t.buf[cut:]...)
		t.seen = max(0, t.seen-cut)
	}
	t.match()
}

func (t *tail) match() {
	rest := t.watchers[:0]
	for _, w := range t.watchers {
		if i := strings.Index(string(t.buf[t.seen:]), w.text); i >= 0 {
			t.seen += i + len(w.text)
			close(w.hit)
			continue
		}
		rest = append(rest, w)
	}
	t.watchers = rest
}

// watch returns a channel that is closed when text turns up after what was
// matched before.
func (t *tail) watch(text string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	hit := make(chan struct{})
	t.watchers = append(t.watchers, watcher{text, hit})
	t.match()
	return hit
}

// ended waits for the end of the stream and reports whether it came in time.
func (t *tail) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-t.done:
		return true
	case <-timer.C:
		return false
	}
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// clean makes text from a target safe to show, and bounded.
func clean(s string) string {
	const limit = 2000
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return plain.Line(s)
}

// cleanText is clean for text of several lines.
func cleanText(s string) string {
	lines := strings.SplitN(s, "\n", 200)
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}
