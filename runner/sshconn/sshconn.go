// Package sshconn reaches hosts over SSH and runs programs on them. It is the
// one door to the SSH libraries.
//
// A host is described by a [Target]. Users and ports form a ladder: for each
// port in order, each user in order. A port that cannot be reached is given up
// for all users at once. The rung that worked last, kept by a [Memory], is tried
// first.
//
// Keys are offered in this order, since servers give up after a few: the target's
// own keys, those of the user's ssh_config, the agent's. A password comes last.
// Where neither the target nor ssh_config names a key, the usual files in ~/.ssh
// come after the agent's.
//
// Host keys are checked always. An unknown one is a [remote.HostKey] error unless
// the target says AcceptNew; a changed one is an error whatever the target says.
// A key known for one port of a ladder is known for all of them, so that moving
// sshd to another port is no reason to trust anew.
//
// Of ~/.ssh/config these directives are obeyed: Host, Match (all, host,
// originalhost, user, localuser), Include, HostName, User, Port, IdentityFile,
// IdentitiesOnly, IdentityAgent, ProxyJump, UserKnownHostsFile and
// GlobalKnownHostsFile. Those that would change the route or the identity
// otherwise are a [ConfigError]; the rest, StrictHostKeyChecking among them, have
// no effect. What the target says itself comes before the file.
package sshconn

import (
	"context"
	"time"

	"holdfast/runner/remote"
)

// Target says how to reach a host. Only Name is needed.
type Target struct {
	Name    string   // what the inventory calls it
	Address string   // host name or address; also what ssh_config is asked for; empty: Name
	Users   []string // in the order to try; empty: ssh_config's, else the account running this
	Ports   []int    // in the order to try; empty: ssh_config's, else 22
	// KnownPorts are further ports of the same host, not to be tried: a key that is
	// recorded for one of them is good for Ports too.
	KnownPorts []int

	// Jump lists the hosts to pass through, the nearest first. Nil means what
	// ssh_config says; empty means none. What a hop leaves empty it takes from
	// the target: keys, agent, known hosts, ssh_config, times and AcceptNew, but
	// never the address, users, ports or password.
	Jump []Target

	Keys           []string // private keys, or public ones whose private half the agent has
	Agent          bool     // also offer the keys of the agent at SSH_AUTH_SOCK
	IdentitiesOnly bool     // of the agent's keys only those named by Keys or ssh_config

	// KnownHosts are the files of known host keys; new ones go to the first.
	// Empty means ssh_config's, else ~/.ssh/known_hosts and the system's.
	KnownHosts []string
	// AcceptNew records the key of a host that is not known yet.
	AcceptNew bool

	// Password and Passphrase (of a key file) are asked when needed, at most once
	// per Dial and question, and may be nil.
	Password   func(ctx context.Context) (string, error)
	Passphrase func(ctx context.Context, file string) (string, error)

	SSHConfig string // a file; empty: ~/.ssh/config where it exists; "none": no file

	ConnectTimeout time.Duration // for TCP; zero: 10 s
	StepTimeout    time.Duration // for each of handshake, log-in, session, start; zero: 20 s
	KeepAlive      time.Duration // zero: 15 s; three unanswered ones end the connection
	Grace          time.Duration // of each step of a process's close ladder; zero: 3 s
}

// Options are what dials share.
type Options struct {
	Limiter *Limiter // nil: the limiter of the program, five dials per address
	Memory  *Memory  // nil: no rung is remembered
	Counter *Counter // nil: nothing is counted
}

const (
	defaultConnect   = 10 * time.Second
	defaultStep      = 20 * time.Second
	defaultKeepAlive = 15 * time.Second
	defaultGrace     = 3 * time.Second
	missesAllowed    = 3
	clientVersion    = "SSH-2.0-Holdfast"
)

func (t Target) withDefaults() Target {
	if t.ConnectTimeout <= 0 {
		t.ConnectTimeout = defaultConnect
	}
	if t.StepTimeout <= 0 {
		t.StepTimeout = defaultStep
	}
	if t.KeepAlive <= 0 {
		t.KeepAlive = defaultKeepAlive
	}
	if t.Grace <= 0 {
		t.Grace = defaultGrace
	}
	return t
}

// Dial logs in to a host. Its error is a [remote.HostKey], a [remote.Unreachable]
// that holds a [LadderError], or, before anything was contacted, a [ConfigError] or
// another fault of the target. The context ends the dial, not the connection.
func Dial(ctx context.Context, t Target, o Options) (remote.Conn, error) {
	t = t.withDefaults()
	r, err := resolve(t)
	if err != nil {
		return nil, err
	}
	d := newDialer(o)
	links, err := d.chain(ctx, r)
	if err != nil {
		return nil, err
	}
	return newConn(r, links, o.Counter), nil
}
