package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
)

const (
	hangUpTries   = 5
	firstPause    = 200 * time.Millisecond
	longestPause  = 2 * time.Second
	tcpKeepAlives = 30 * time.Second
)

// dialer is what the dials of one call share.
type dialer struct {
	limiter *Limiter
	memory  *Memory
	counter *Counter
}

func newDialer(o Options) *dialer {
	d := &dialer{limiter: o.Limiter, memory: o.Memory, counter: o.Counter}
	if d.limiter == nil {
		d.limiter = sharedLimiter
	}
	return d
}

// dialFunc makes a TCP connection.
type dialFunc func(ctx context.Context, address string, limit time.Duration) (net.Conn, error)

func direct(ctx context.Context, address string, limit time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: limit, KeepAlive: tcpKeepAlives}
	return d.DialContext(ctx, "tcp", address)
}

// chain logs in to the jump hosts and then to the target, each through the one
// before.
func (d *dialer) chain(ctx context.Context, r *route) ([]*link, error) {
	links, dial, err := d.pass(ctx, r)
	if err != nil {
		return nil, err
	}
	l, err := d.climb(ctx, r, dial, d.counter)
	if err != nil {
		closeLinks(links)
		return nil, err
	}
	return append(links, l), nil
}

// pass logs in to the jump hosts of a route.
func (d *dialer) pass(ctx context.Context, r *route) ([]*link, dialFunc, error) {
	var links []*link
	dial := dialFunc(direct)
	for _, hop := range r.hops {
		l, err := d.climb(ctx, hop, dial, nil)
		if err == nil {
			links = append(links, l)
			dial = l.dial
			continue
		}
		closeLinks(links)
		var far *remote.Unreachable
		if errors.As(err, &far) {
			err = &remote.Unreachable{
				Host: r.name, Hint: far.Hint, Err: fmt.Errorf("no way through the jump host %s: %w", hop.name, far.Err),
			}
		}
		return nil, nil, err
	}
	return links, dial, nil
}

// climb is one ladder being tried.
type climb struct {
	*dialer
	route   *route
	dial    dialFunc
	counter *Counter
	ring    *keyring
	creds   *credentials
}

func (d *dialer) climb(ctx context.Context, r *route, dial dialFunc, counter *Counter) (*link, error) {
	ring, err := readKeyring(r.knownHosts)
	if err != nil {
		return nil, err
	}
	creds, err := gather(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("cannot log in to %s: %w", r.name, err)
	}
	defer creds.Close()
	c := &climb{dialer: d, route: r, dial: dial, counter: counter, ring: ring, creds: creds}

	l, failed, err := c.rungs(ctx, c.order())
	for _, pause := range reloadPauses {
		if l != nil || err != nil || c.lastOf(failed) < 0 || !rest(ctx, pause) {
			break
		}
		l, failed, err = c.again(ctx, failed)
	}
	if l != nil || err != nil {
		return l, err
	}
	return nil, &remote.Unreachable{Host: r.name, Err: &LadderError{failed}, Hint: hintFor(failed, creds)}
}

// reloadPauses are waited for a server that listens no more on the port where it let us
// in before: one that is reloaded or restarted is back in a moment.
var reloadPauses = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// lastOf returns the place of the attempt on the rung that worked last, if nothing
// listened there, or -1.
func (c *climb) lastOf(failed []*Attempt) int {
	last, known := c.memory.Last(c.route.name)
	return slices.IndexFunc(failed, func(a *Attempt) bool { return known && a.Rung == last && a.Kind == Refused })
}

// again tries the rung that worked last once more.
func (c *climb) again(ctx context.Context, failed []*Attempt) (*link, []*Attempt, error) {
	i := c.lastOf(failed)
	l, now, err := c.rungs(ctx, []Rung{failed[i].Rung})
	if l != nil || err != nil {
		return l, nil, err
	}
	return nil, slices.Concat(failed[:i], now, failed[i+1:]), nil
}

// rest waits and reports whether there is still somebody to wait for.
func rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

// rungs tries one after the other. Without a link and an error, all have failed.
func (c *climb) rungs(ctx context.Context, list []Rung) (*link, []*Attempt, error) {
	var failed []*Attempt
	closed := map[int]*Attempt{} // by port: why it was given up for all users
	for _, rung := range list {
		if a := closed[rung.Port]; a != nil {
			failed = append(failed, &Attempt{Rung: rung, Address: a.Address, Kind: a.Kind, Err: a.Err})
			continue
		}
		l, a := c.try(ctx, rung)
		if a == nil {
			c.memory.Remember(c.route.name, rung)
			return l, nil, nil
		}
		if err := c.final(ctx, a); err != nil {
			return nil, nil, err
		}
		failed = append(failed, a)
		if !a.trusted {
			closed[rung.Port] = a
		}
	}
	return nil, failed, nil
}

// final returns the error that ends the whole climb, if a is one: nothing is
// tried on a host whose key is not right.
func (c *climb) final(ctx context.Context, a *Attempt) error {
	var hostKey *remote.HostKey
	switch {
	case errors.As(a.Err, &hostKey):
		return hostKey
	case ctx.Err() != nil:
		return &remote.Unreachable{Host: c.route.name, Err: context.Cause(ctx)}
	case a.Kind == Untrust:
		return &remote.Unreachable{Host: c.route.name, Err: &LadderError{[]*Attempt{a}}}
	}
	return nil
}

// order lists the rungs, the one that worked last in front.
func (c *climb) order() []Rung {
	last, remembered := c.memory.Last(c.route.name)
	var front, rest []Rung
	for _, port := range c.route.ports {
		for _, user := range c.route.users {
			rung := Rung{User: user, Port: port}
			if remembered && rung == last && front == nil {
				front = append(front, rung)
				continue
			}
			rest = append(rest, rung)
		}
	}
	return append(front, rest...)
}

// try logs in over one rung. It tries again when the far end hangs up before the
// log-in, as sshd does at random when too many are waiting (MaxStartups).
func (c *climb) try(ctx context.Context, rung Rung) (*link, *Attempt) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = firstPause, longestPause
	l, err := backoff.Retry(ctx, func() (*link, error) {
		l, a := c.once(ctx, rung)
		switch {
		case a == nil:
			return l, nil
		case a.Kind == HungUp:
			return nil, a
		}
		return nil, backoff.Permanent(a)
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(hangUpTries), backoff.WithMaxElapsedTime(c.route.stepTimeout))
	var a *Attempt
	switch {
	case err == nil:
		return l, nil
	case errors.As(err, &a):
		return nil, a
	}
	return nil, &Attempt{Rung: rung, Address: c.route.address(rung.Port), Kind: TimedOut, Err: err}
}

func (c *climb) once(ctx context.Context, rung Rung) (*link, *Attempt) {
	address := c.route.address(rung.Port)
	a := &Attempt{Rung: rung, Address: address}
	release, err := c.limiter.acquire(ctx, address)
	if err != nil {
		a.Kind, a.Err = TimedOut, err
		return nil, a
	}
	defer release()
	raw, err := c.dial(ctx, address, c.route.connectTimeout)
	if err != nil {
		a.Kind, a.Err = connectKind(err, c.route.connectTimeout)
		return nil, a
	}
	m := &meter{Conn: raw, counter: c.counter}
	talk := &conversation{check: &hostCheck{ring: c.ring, route: c.route, port: rung.Port}}
	client, err := c.login(ctx, m, rung, talk)
	if err != nil {
		a.Kind, a.Err = talk.kind(err, c.creds)
		a.trusted, _ = talk.check.verdict()
		return nil, a
	}
	return &link{client: client, raw: m, route: c.route, rung: rung, key: c.creds.used}, nil
}

// login does handshake and log-in on a connection, which it closes on failure.
func (c *climb) login(ctx context.Context, m *meter, rung Rung, talk *conversation) (*ssh.Client, error) {
	w := watch(ctx, m, "handshake", c.route.stepTimeout)
	talk.check.passed = func() { w.step("log-in") }
	c.creds.used = ""
	config := &ssh.ClientConfig{
		User: rung.User, Auth: c.creds.methods(), ClientVersion: clientVersion,
		HostKeyCallback:   talk.check.callback,
		HostKeyAlgorithms: c.ring.algorithms(c.route, rung.Port),
		BannerCallback:    talk.hearBanner,
		AuthCallback: func(said *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			talk.methods = said.AllowedMethods
			return nil, nil //nolint:nilnil // which means: go on as configured
		},
	}
	conn, channels, requests, err := ssh.NewClientConn(m, c.route.address(rung.Port), config)
	talk.watchErr = w.stop()
	if err != nil {
		_ = m.Close()
		return nil, err
	}
	client := ssh.NewClient(conn, channels, requests)
	if talk.watchErr != nil {
		_ = client.Close()
		return nil, talk.watchErr
	}
	return client, nil
}
