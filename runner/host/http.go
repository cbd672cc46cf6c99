package host

import (
	"context"
	"fmt"
	"net"
	"time"

	"holdfast/runner/host/httpclient"
	"holdfast/tasks/task"
)

const (
	fetchLimit = 30 * time.Second // for a request whose context has no earlier end
	dialLimit  = 10 * time.Second
)

// Fetch makes one HTTP request from the host.
func (r *reader) Fetch(ctx context.Context, req task.Request) (task.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	return httpclient.Do(ctx, req)
}

// Dial reports whether a TCP or Unix connection to address succeeds.
func (r *reader) Dial(ctx context.Context, network, address string) error {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	_ = conn.Close() // it was open, that is all that was asked
	return nil
}
