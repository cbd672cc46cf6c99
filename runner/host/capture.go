package host

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// capture keeps the first and the last half of limit bytes.
type capture struct {
	half  int
	head  []byte
	tail  []byte
	total int64
}

func newCapture(limit int64) *capture { return &capture{half: int(max(limit/2, 1))} }

func (c *capture) Write(p []byte) (int, error) {
	n := len(p)
	c.total += int64(n)
	if room := c.half - len(c.head); room > 0 {
		take := min(room, len(p))
		c.head = append(c.head, p[:take]...)
		p = p[take:]
	}
	if len(p) > c.half {
		p = p[len(p)-c.half:]
	}
	c.tail = append(c.tail, p...)
	if len(c.tail) > 2*c.half {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-c.half:]...)
	}
	return n, nil
}

func (c *capture) last() []byte { return c.tail[max(0, len(c.tail)-c.half):] }

func (c *capture) left() int64 { return c.total - int64(len(c.head)+len(c.last())) }

func (c *capture) cut() bool { return c.left() > 0 }

func (c *capture) String() string {
	if !c.cut() {
		return string(c.head) + string(c.last())
	}
	return fmt.Sprintf("%s\n… %d bytes left out …\n%s", c.head, c.left(), c.last())
}

// maxLine bounds a line that is passed on as progress.
const maxLine = 4096

// lines passes the lines of several streams on, one at a time.
type lines struct {
	mu      sync.Mutex
	each    func(string)
	streams []*lineStream
}

type lineStream struct {
	lines *lines
	to    io.Writer
	part  []byte
}

func newLines(each func(string)) *lines { return &lines{each: each} }

func (l *lines) tee(to io.Writer) io.Writer {
	if l.each == nil {
		return to
	}
	s := &lineStream{lines: l, to: to}
	l.streams = append(l.streams, s)
	return s
}

func (s *lineStream) Write(p []byte) (int, error) {
	s.lines.mu.Lock()
	defer s.lines.mu.Unlock()
	n := len(p)
	_, _ = s.to.Write(p) // a capture takes everything
	for {
		line, rest, ok := bytes.Cut(p, []byte{'\n'})
		s.part = append(s.part, line[:min(len(line), maxLine-min(maxLine, len(s.part)))]...)
		if !ok {
			return n, nil
		}
		s.emit()
		p = rest
	}
}

func (s *lineStream) emit() {
	text := strings.ToValidUTF8(strings.TrimRight(string(s.part), "\r"), "\uFFFD")
	s.part = s.part[:0]
	if text != "" {
		s.lines.each(text)
	}
}

// flush passes on last lines that have no end.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		s.emit()
	}
}

// memory returns a file that is nowhere but in memory.
func memory() (*os.File, error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make room for the output: %w", err)
	}
	return os.NewFile(uintptr(fd), "output"), nil
}
