package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// paced writes to a far end that may not read: a piece that is not taken within the
// limit ends the process, which ends the write.
type paced struct {
	w     io.Writer
	limit time.Duration
	end   func()

	mu      sync.Mutex
	by      time.Time // what is left of the talk when it was cut short
	expired bool
}

// pieceSize is small beside a window of SSH and large beside a packet.
const pieceSize = 32 << 10

var errStuck = errors.New("the host takes no more input")

func (p *paced) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := p.piece(b[done:min(done+pieceSize, len(b))])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (p *paced) piece(b []byte) (int, error) {
	limit := p.limit
	p.mu.Lock()
	if !p.by.IsZero() {
		limit = min(limit, time.Until(p.by))
	}
	p.mu.Unlock()
	timer := time.AfterFunc(limit, p.expire)
	n, err := p.w.Write(b)
	timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.expired {
		err = fmt.Errorf("%w: %w", errStuck, err)
	}
	return n, err
}

func (p *paced) expire() {
	p.mu.Lock()
	p.expired = true
	p.mu.Unlock()
	p.end()
}

// hurryAfter shortens all that is still to be written once the context ends; the
// function that it returns stops watching the context.
func (p *paced) hurryAfter(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.by = time.Now().Add(cancelGrace)
	})
}
