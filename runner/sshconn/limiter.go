package sshconn

import (
	"context"
	"sync"
)

const dialsPerAddress = 5

// Limiter bounds how many log-ins to one address are under way at a time, since
// servers drop connections at random beyond a few (MaxStartups).
type Limiter struct {
	slots int

	mu    sync.Mutex
	gates map[string]*gate
}

type gate struct {
	slots chan struct{}
	users int // those who hold or want a slot; the gate goes with the last
}

// NewLimiter returns a limiter with that many slots for each address.
func NewLimiter(slots int) *Limiter {
	return &Limiter{slots: max(slots, 1), gates: map[string]*gate{}}
}

var sharedLimiter = NewLimiter(dialsPerAddress)

// acquire waits for a slot. The release function must be called once.
func (l *Limiter) acquire(ctx context.Context, address string) (release func(), err error) {
	l.mu.Lock()
	g := l.gates[address]
	if g == nil {
		g = &gate{slots: make(chan struct{}, l.slots)}
		l.gates[address] = g
	}
	g.users++
	l.mu.Unlock()

	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots; l.leave(address, g) }, nil
	case <-ctx.Done():
		l.leave(address, g)
		return nil, context.Cause(ctx)
	}
}

func (l *Limiter) leave(address string, g *gate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(l.gates, address)
	}
}
