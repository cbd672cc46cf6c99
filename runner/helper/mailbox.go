package helper

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

// maxBlob bounds one piece of content, which is held in memory while it is written.
const maxBlob = 64 << 20

// mailbox collects content that the controller sends. One reader fills it, one
// step at a time waits for it.
type mailbox struct {
	mu      sync.Mutex
	parts   map[string][]byte
	whole   map[string][]byte
	refused map[string]string
	wanted  string // what a step waits for
	keep    bool   // content is handed out more than once
	gone    bool
	news    chan struct{} // closed and replaced whenever something came
}

func newMailbox() *mailbox {
	return &mailbox{parts: map[string][]byte{}, whole: map[string][]byte{}, refused: map[string]string{}, news: make(chan struct{})}
}

func (m *mailbox) tell() {
	close(m.news)
	m.news = make(chan struct{})
}

// add takes a piece; an empty piece ends the content.
func (m *mailbox) add(digest string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(data) > 0 {
		if len(m.parts[digest])+len(data) > maxBlob {
			return wire.Violationf("content of more than %d MiB", maxBlob>>20)
		}
		m.parts[digest] = append(m.parts[digest], data...)
		return nil
	}
	content := m.parts[digest]
	delete(m.parts, digest)
	if task.DigestOf(content) != digest {
		return wire.Violationf("content does not match its digest")
	}
	m.whole[digest] = content
	m.tell()
	return nil
}

func (m *mailbox) refuse(digest, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused[digest] = why
	m.tell()
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	m.tell()
}

// again forgets what came in pieces over a connection that is gone, and returns what
// has to be asked for once more.
func (m *mailbox) again() (wanted string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.parts)
	return m.wanted
}

// keepAll is for a run whose controller sends everything at the beginning.
func (m *mailbox) keepAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep = true
}

// waiting reports whether a step waits for content.
func (m *mailbox) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted != ""
}

func (m *mailbox) served() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wanted = ""
}

// get returns content, asking for it first if it is not there. It is handed out
// once, so that memory does not grow with the run.
func (m *mailbox) get(ctx context.Context, digest string, ask func() error) ([]byte, error) {
	asked := false
	defer m.served()
	for {
		m.mu.Lock()
		content, ok := m.whole[digest]
		if !m.keep {
			delete(m.whole, digest)
		}
		m.wanted = digest
		why, no := m.refused[digest]
		gone, news := m.gone, m.news
		m.mu.Unlock()
		switch {
		case ok:
			return content, nil
		case no:
			return nil, fmt.Errorf("cannot get the content: %s", why)
		case gone:
			return nil, errors.New("cannot get the content: the controller is gone")
		}
		if !asked {
			asked = true
			if err := ask(); err != nil {
				return nil, err
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
