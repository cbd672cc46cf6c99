package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"holdfast/runner/host/dnsclient"
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

// link is a connection that ends with the context it was made for.
type link struct {
	net.Conn
	stop func() bool
}

func (l *link) Close() error {
	l.stop()
	return l.Conn.Close()
}

// Connect opens a connection to this host itself.
func (r *reader) Connect(ctx context.Context, network, address string) (io.ReadWriteCloser, error) {
	if err := ensureHere(network, address); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(limited, network, address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	return &link{Conn: conn, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// ensureHere refuses addresses that are not this host's own: modules talk to others
// with Fetch, which knows proxies and certificates.
func ensureHere(network, address string) error {
	if network == "unix" {
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if network != "tcp" || err != nil || !at.Addr().IsLoopback() {
		return fmt.Errorf("cannot connect to %s %s: want an address on loopback with a port, or a Unix socket", network, address)
	}
	return nil
}

// maxPEM bounds files of certificates and keys.
const maxPEM = 1 << 20

// Certificates looks at the certificates in a file, or those that a server shows.
func (r *reader) Certificates(ctx context.Context, s task.CertificateSource) (task.Chain, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if s.File == "" {
		name, _, err := net.SplitHostPort(s.Address)
		if s.Name != "" {
			name = s.Name
		}
		if err != nil {
			return task.Chain{}, fmt.Errorf("cannot look at the certificates of %s: %w", s.Address, err)
		}
		return httpclient.Shown(ctx, s.Address, name)
	}
	data, err := r.ReadFile(ctx, s.File, maxPEM)
	if err != nil {
		return task.Chain{}, err
	}
	var key []byte
	if s.Key != "" {
		if key, err = r.ReadFile(ctx, s.Key, maxPEM); err != nil {
			return task.Chain{}, err
		}
	}
	out, err := httpclient.Filed(data, key, s.Name)
	if err != nil {
		return out, fmt.Errorf("cannot look at the certificates in %s: %w", s.File, err)
	}
	return out, nil
}

// Resolve asks the domain name system from the host.
func (r *reader) Resolve(ctx context.Context, q task.Question) (task.Records, error) {
	out, err := dnsclient.Ask(ctx, q)
	if err != nil {
		return out, fmt.Errorf("cannot resolve %s: %w", q.Name, err)
	}
	return out, nil
}
