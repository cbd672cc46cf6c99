package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"holdfast/tasks/task"
)

const (
	fetchLimit   = 30 * time.Second // for a request whose context has no earlier end
	dialLimit    = 10 * time.Second
	defaultFetch = 1 << 20
)

// Fetch makes one HTTP request from the host.
func (r *reader) Fetch(ctx context.Context, req task.Request) (task.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	hr, err := http.NewRequestWithContext(ctx, req.Method, req.URL, bytes.NewReader(req.Body))
	if err != nil {
		return task.Response{}, fmt.Errorf("cannot fetch %s: %w", req.URL, err)
	}
	for k, v := range req.Header {
		hr.Header.Set(k, v)
		if http.CanonicalHeaderKey(k) == "Host" {
			hr.Host = v
		}
	}
	for k, v := range req.Secrets {
		hr.Header.Set(k, v.Reveal())
	}
	transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true}
	if req.Insecure {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the playbook asked for it
	}
	if req.Socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", req.Socket)
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if int64(len(via)) > req.Redirects {
			return http.ErrUseLastResponse
		}
		for k := range req.Secrets {
			if next.URL.Host != via[0].URL.Host {
				next.Header.Del(k) // meant for the first host only
			}
		}
		return nil
	}}
	resp, err := client.Do(hr)
	if err != nil {
		return task.Response{}, fmt.Errorf("cannot fetch: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	limit := req.MaxBody
	if limit == 0 {
		limit = defaultFetch
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return task.Response{}, fmt.Errorf("cannot fetch %s: %w", req.URL, err)
	}
	if int64(len(body)) > limit {
		return task.Response{}, fmt.Errorf("cannot fetch %s: the answer is larger than %d bytes", req.URL, limit)
	}
	return task.Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
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
