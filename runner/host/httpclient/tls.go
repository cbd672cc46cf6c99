//go:build !notls

package httpclient

import (
	"context"
	"crypto/tls"
	"net"
)

// secure speaks TLS over a connection with the server of that name.
func secure(ctx context.Context, conn net.Conn, name string, insecure bool) (net.Conn, error) {
	c := tls.Client(conn, &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: insecure, //nolint:gosec // the playbook asked for it
		NextProtos:         []string{"http/1.1"},
	})
	return c, c.HandshakeContext(ctx)
}
