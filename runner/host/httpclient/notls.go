//go:build notls

package httpclient

import (
	"context"
	"errors"
	"net"
)

// secure says that this helper cannot. The engine sends the other one when a module
// of the playbook says that it may need TLS, so only a handler that another
// playbook left gets here.
func secure(context.Context, net.Conn, string, bool) (net.Conn, error) {
	return nil, errors.New("this helper was sent without TLS, because no task of this playbook needs it: run the playbook that the request is from")
}
