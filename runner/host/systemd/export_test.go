package systemd

import (
	"context"
	"net"
)

// Over returns a manager at the other end of what dial connects to; it is that of
// account uid unless uid is 0.
func Over(uid uint32, dial func() (net.Conn, error)) *Manager {
	return &Manager{user: uid != 0, uid: uid, dial: func(ctx context.Context) (link, error) {
		nc, err := dial()
		if err != nil {
			return link{}, err
		}
		return login(ctx, nc, uid, true)
	}}
}

// SysvState lets tests look below another root.
var SysvState = sysvState
