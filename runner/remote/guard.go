package remote

import (
	"context"

	"holdfast/runner/wire"
)

// ProveGuard opens a talk that hands one proof to the host's guard, and ends it. The proof
// travels with the greeting and the helper ends by itself, because each round trip
// counts where a host waits to be confirmed.
func ProveGuard(ctx context.Context, conn Conn, opts Options, g *wire.Guard) (*wire.GuardState, error) {
	opts.Hello.Mode, opts.Hello.Guard = "guard", g
	s, err := Open(ctx, conn, opts)
	if err != nil {
		return nil, err
	}
	defer s.Close() //nolint:errcheck // the answer counts
	if s.Welcome.GuardState == nil {
		return nil, wire.Violationf("the helper did not answer what it was asked")
	}
	s.ended(ctx)
	return s.Welcome.GuardState, nil
}

// ended waits until the far end has gone by itself, but not for long.
func (s *Session) ended(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	frames, gone := s.frames, make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = s.boot.proc.Wait() // Close, which follows, ends it in any case
	}()
	for {
		select {
		case _, more := <-frames: // one that says more must be able to end
			if !more {
				frames = nil
			}
		case <-gone:
			return
		case <-limit.Done():
			return
		}
	}
}
