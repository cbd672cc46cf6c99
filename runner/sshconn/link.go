package sshconn

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// link is a connection that is logged in: to the target or to a jump host.
type link struct {
	client *ssh.Client
	raw    *meter
	route  *route
	rung   Rung
	key    string // fingerprint of the key that logged in, or empty
}

func (l *link) address() string { return l.route.address(l.rung.Port) }

// cut ends the link at once, whatever the far end does.
func (l *link) cut() { _ = l.raw.Close() }

// dial makes a TCP connection from the far end of the link.
func (l *link) dial(ctx context.Context, address string, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := l.client.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &passage{Conn: conn, cut: l.cut, limit: l.route.stepTimeout}, nil
}

// closeLinks closes the farthest link first and waits until all have ended.
func closeLinks(links []*link) {
	for _, l := range slices.Backward(links) {
		_ = l.client.Close()
	}
	for _, l := range slices.Backward(links) {
		// The first link is cut by now, and the others live inside it.
		_ = l.client.Wait()
	}
}

// passage is a TCP connection made by a jump host. To close it, the library asks
// the jump host and waits for its answer; where none comes, the link to the jump
// host is cut.
type passage struct {
	net.Conn
	cut     func()
	limit   time.Duration
	reading atomic.Int32
}

func (p *passage) Read(b []byte) (int, error) {
	p.reading.Add(1)
	defer p.reading.Add(-1)
	return p.Conn.Read(b)
}

func (p *passage) Close() error {
	asking := time.AfterFunc(p.limit, p.cut)
	err := p.Conn.Close()
	asking.Stop()
	time.AfterFunc(p.limit, func() {
		if p.reading.Load() > 0 {
			p.cut()
		}
	})
	return err
}
