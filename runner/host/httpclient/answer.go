package httpclient

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"holdfast/tasks/task"
)

// Answer is a response whose content is read from it. Close ends the connection.
type Answer struct {
	task.Response
	url     string
	ctx     context.Context
	conn    net.Conn
	content *content
	sent    chan error
	stop    func() bool
}

// Read reads the content. Only a complete answer ends with [io.EOF].
func (a *Answer) Read(p []byte) (int, error) {
	n, err := a.content.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = a.explain(err)
	}
	return n, err
}

// Close ends the connection.
func (a *Answer) Close() error {
	a.stop()
	return a.conn.Close()
}

// explain says why reading failed, which may be that sending did.
func (a *Answer) explain(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx) // why the connection was closed
	}
	select {
	case notSent := <-a.sent:
		if errors.Is(err, io.ErrUnexpectedEOF) && notSent != nil && !errors.Is(notSent, net.ErrClosed) {
			return cannotSend(notSent)
		}
	case <-time.After(time.Second): // closed connections end what is still being sent
	}
	return err
}

// patient reads from a connection that may be silent for some time only.
type patient struct {
	conn net.Conn
	idle time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(p.idle)); err != nil {
		return 0, err
	}
	return p.conn.Read(b)
}
