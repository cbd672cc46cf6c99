//go:build notls

package httpclient

import (
	"context"
	"errors"
	"net"

	"holdfast/tasks/task"
)

// secure says that this helper cannot. The engine sends the other one when a module
// of the playbook says that it may need TLS, so only a handler that another
// playbook left gets here.
func secure(context.Context, net.Conn, string, bool) (net.Conn, error) {
	return nil, errNoTLS
}

var errNoTLS = errors.New("this helper was sent without TLS, because no task of this playbook needs it: run the playbook that the request is from")

// Shown says that this helper cannot look at certificates.
func Shown(context.Context, string, string) (task.Chain, error) { return task.Chain{}, errNoTLS }

// Filed says that this helper cannot look at certificates.
func Filed([]byte, []byte, string) (task.Chain, error) { return task.Chain{}, errNoTLS }
