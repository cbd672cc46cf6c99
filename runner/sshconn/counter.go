package sshconn

import (
	"net"
	"sync/atomic"
)

// Stats is what has travelled.
type Stats struct {
	BytesUp, BytesDown int64
	RoundTrips         int64 // how often something was received after something was sent
	Channels           int64 // sessions opened
}

// Counter counts what travels over the connections it was given to, from the TCP
// connection on. Behind jump hosts it counts the innermost connection. The zero
// value is ready.
type Counter struct {
	up, down, trips, channels atomic.Int64
	asked                     atomic.Bool
}

// Stats returns the counts so far.
func (c *Counter) Stats() Stats {
	return Stats{c.up.Load(), c.down.Load(), c.trips.Load(), c.channels.Load()}
}

func (c *Counter) opened() {
	if c != nil {
		c.channels.Add(1)
	}
}

// meter is a connection that is counted, and that knows how much it received.
type meter struct {
	net.Conn
	counter  *Counter
	received atomic.Int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.received.Add(int64(n))
	if c := m.counter; c != nil && n > 0 {
		c.down.Add(int64(n))
		if c.asked.CompareAndSwap(true, false) {
			c.trips.Add(1)
		}
	}
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	// Before the write, since the answer may be read before the write returns.
	if c := m.counter; c != nil {
		c.asked.Store(true)
	}
	n, err := m.Conn.Write(p)
	if c := m.counter; c != nil {
		c.up.Add(int64(n))
	}
	return n, err
}
