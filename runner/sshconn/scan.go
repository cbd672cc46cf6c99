package sshconn

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"holdfast/runner/remote"
)

// Trust says what is known of a host key.
type Trust string

// The degrees of trust.
const (
	TrustNew     Trust = "new"     // the host is not known, or not by a key of this kind
	TrustKnown   Trust = "known"   // recorded as it is
	TrustChanged Trust = "changed" // another key is recorded
)

// HostKeyInfo is a key that a host offers. Only Scan makes values that Record
// takes.
type HostKeyInfo struct {
	Host        string // what the inventory calls it
	Address     string // host:port
	Type        string
	Fingerprint string // SHA256:…
	Line        string // for known_hosts
	Trust       Trust
	File        string // the known_hosts file that Record writes when told no other

	key ssh.PublicKey
}

func (k HostKeyInfo) changed(file string) error {
	return &remote.HostKey{Host: k.Host, Address: k.Address, Fingerprint: k.Fingerprint, Changed: true, File: file}
}

// scanned lists what to ask for, one of each kind of key.
var scanned = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512,
}

// Scan asks a host for its keys of every kind, on the first port of the ladder
// that is open, and logs in nowhere but at the jump hosts. The host proves that it
// has the keys; whether they are the right ones is for a person to say.
func Scan(ctx context.Context, t Target) ([]HostKeyInfo, error) {
	t = t.withDefaults()
	r, err := resolve(t)
	if err != nil {
		return nil, err
	}
	ring, err := readKeyring(r.knownHosts)
	if err != nil {
		return nil, err
	}
	links, dial, err := newDialer(Options{}).pass(ctx, r)
	if err != nil {
		return nil, err
	}
	defer closeLinks(links)

	var failed []*Attempt
	for _, port := range r.ports {
		keys, a := scanPort(ctx, r, port, dial)
		if a == nil {
			return withTrust(r, port, keys, ring), nil
		}
		if ctx.Err() != nil {
			return nil, &remote.Unreachable{Host: r.name, Err: context.Cause(ctx)}
		}
		failed = append(failed, a)
	}
	return nil, &remote.Unreachable{Host: r.name, Err: &LadderError{failed}, Hint: hintFor(failed, &credentials{})}
}

func scanPort(ctx context.Context, r *route, port int, dial dialFunc) ([]ssh.PublicKey, *Attempt) {
	a := &Attempt{Rung: Rung{User: r.users[0], Port: port}, Address: r.address(port)}
	var keys []ssh.PublicKey
	for _, algorithm := range scanned {
		raw, err := dial(ctx, a.Address, r.connectTimeout)
		if err != nil {
			a.Kind, a.Err = connectKind(err, r.connectTimeout)
			return nil, a
		}
		key, fault := scanKey(ctx, r, raw, algorithm)
		if fault != nil {
			a.Kind, a.Err = fault.kind, fault.error
			return nil, a
		}
		if key != nil {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		a.Kind, a.Err = Protocol, errors.New("the host offers no kind of key that is supported")
		return nil, a
	}
	return keys, nil
}

type kindError struct {
	kind Kind
	error
}

var errSeen = errors.New("the key was seen")

// scanKey returns the host's key for one algorithm, or nil if it has none.
func scanKey(ctx context.Context, r *route, raw net.Conn, algorithm string) (ssh.PublicKey, *kindError) {
	var key ssh.PublicKey
	w := watch(ctx, raw, "handshake", r.stepTimeout)
	conn, channels, requests, err := ssh.NewClientConn(raw, "", &ssh.ClientConfig{
		User: r.users[0], ClientVersion: clientVersion, HostKeyAlgorithms: []string{algorithm},
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			key = k
			return errSeen
		},
	})
	watchErr := w.stop()
	if err == nil {
		_ = ssh.NewClient(conn, channels, requests).Close()
	}
	var none *ssh.AlgorithmNegotiationError
	switch {
	case key != nil:
		return key, nil
	case errors.As(err, &none) && strings.Contains(none.What, "host key"):
		return nil, nil
	case watchErr != nil:
		return nil, &kindError{TimedOut, watchErr}
	case hungUp(err):
		return nil, &kindError{HungUp, errors.New("the connection was closed during the handshake")}
	}
	return nil, &kindError{Protocol, errors.New(printable(err.Error(), 200))}
}

// withTrust says of each key whether it is known.
func withTrust(r *route, port int, keys []ssh.PublicKey, ring *keyring) []HostKeyInfo {
	address := r.address(port)
	known := ring.db.HostKeys(address)
	recorded := map[string][]string{} // by kind
	for _, k := range known {
		recorded[k.Type()] = append(recorded[k.Type()], fingerprint(k))
	}
	var infos []HostKeyInfo
	anyKnown := false
	for _, key := range keys {
		info := HostKeyInfo{
			Host: r.name, Address: address, Type: key.Type(), Fingerprint: fingerprint(key),
			Line: knownhosts.Line([]string{address}, key), Trust: TrustNew,
			File: r.knownHosts[0], key: key,
		}
		if same := recorded[key.Type()]; len(same) > 0 {
			info.Trust = TrustChanged
			if ring.db.HostKeyCallback()(address, anyAddr, key) == nil {
				info.Trust, anyKnown = TrustKnown, true
			}
		}
		infos = append(infos, info)
	}
	if len(known) > 0 && !anyKnown {
		for i := range infos {
			infos[i].Trust = TrustChanged
		}
	}
	return infos
}
