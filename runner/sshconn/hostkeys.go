package sshconn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"holdfast/runner/remote"
)

// keyring is what the known_hosts files say.
type keyring struct {
	db    *knownhosts.HostKeyDB
	files []string
	sign  string // of the files when they were read
}

// rings keeps what was read, since a run asks the same files for every host.
var rings struct {
	sync.Mutex
	byFiles map[string]*keyring
}

// readKeyring reads those of the files that exist.
func readKeyring(files []string) (*keyring, error) {
	rings.Lock()
	defer rings.Unlock()
	name := strings.Join(files, "\x00")
	there, sign, err := statAll(files)
	if err != nil {
		return nil, err
	}
	if k := rings.byFiles[name]; k != nil && k.sign == sign {
		return k, nil
	}
	db, err := knownhosts.NewDB(there...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the known host keys: %w", err)
	}
	if rings.byFiles == nil {
		rings.byFiles = map[string]*keyring{}
	}
	k := &keyring{db: db, files: files, sign: sign}
	rings.byFiles[name] = k
	return k, nil
}

func statAll(files []string) (there []string, sign string, err error) {
	for _, f := range files {
		info, err := os.Stat(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("cannot read the known host keys: %w", err)
		}
		there = append(there, f)
		var inode uint64
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = uint64(s.Ino) //nolint:unconvert // not everywhere the same type
		}
		sign += fmt.Sprintf("%s\x00%d\x00%d\x00%d\n", f, info.Size(), info.ModTime().UnixNano(), inode)
	}
	return there, sign, nil
}

// anyAddr stands for the address of the far end: keys are looked up by the name
// that was dialled.
var anyAddr = &net.TCPAddr{IP: net.IPv4zero}

// judge looks a key up under the address that was dialled, then under the other
// ports that the host is known by: the same host, so the same key, or something is wrong.
func (k *keyring) judge(r *route, port int, key ssh.PublicKey) error {
	check := k.db.HostKeyCallback()
	unknown := check(r.address(port), anyAddr, key)
	if !knownhosts.IsHostUnknown(unknown) {
		return unknown
	}
	var changed error
	for _, other := range r.known {
		err := check(r.address(other), anyAddr, key)
		if err == nil {
			return nil
		}
		if changed == nil && !knownhosts.IsHostUnknown(err) {
			changed = err
		}
	}
	if changed != nil {
		return changed
	}
	return unknown
}

// algorithms lists what to ask the host for: first the kinds of key that it is
// known by, then the others, so that a host whose known key is gone shows up as
// changed and not as a failed negotiation.
func (k *keyring) algorithms(r *route, port int) []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	var all []string
	for _, p := range append([]int{port}, r.known...) {
		for _, a := range k.db.HostKeyAlgorithms(r.address(p)) {
			if slices.Contains(supported, a) && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	for _, a := range preferredHostKeys(supported) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// preferredHostKeys leaves out certificates, which are of use only for hosts
// with a known authority, and prefers what hardened servers keep.
func preferredHostKeys(supported []string) []string {
	first := []string{ssh.KeyAlgoED25519}
	for _, a := range supported {
		if !strings.Contains(a, "-cert-") && !slices.Contains(first, a) {
			first = append(first, a)
		}
	}
	return first
}

// hostCheck checks the key of one connection, again at each key exchange.
type hostCheck struct {
	ring   *keyring
	route  *route
	port   int
	passed func() // called when the key is found good for the first time
	pinned []byte // the key, for the key exchanges to come

	mu      sync.Mutex // a handshake that was given up may still be deciding
	trusted bool
	refused error // why the key is not trusted
}

// verdict returns what was decided so far.
func (h *hostCheck) verdict() (trusted bool, refused error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trusted, h.refused
}

func (h *hostCheck) callback(_ string, _ net.Addr, key ssh.PublicKey) error {
	if h.pinned != nil {
		if bytes.Equal(h.pinned, key.Marshal()) {
			return nil
		}
		return errors.New("the host changed its key during the connection")
	}
	err := h.decide(key)
	h.mu.Lock()
	h.trusted, h.refused = err == nil, err
	h.mu.Unlock()
	if err != nil {
		return err
	}
	h.pinned = key.Marshal()
	h.passed()
	return nil
}

func (h *hostCheck) decide(key ssh.PublicKey) error {
	err := h.ring.judge(h.route, h.port, key)
	if err == nil {
		return nil
	}
	if knownhosts.IsHostUnknown(err) && h.route.acceptNew {
		err = appendKey(h.route, h.port, key)
	}
	return h.explain(err, key)
}

// explain turns the library's errors into ours.
func (h *hostCheck) explain(err error, key ssh.PublicKey) error {
	if err == nil {
		return nil
	}
	said := &remote.HostKey{
		Host: h.route.name, Address: h.route.address(h.port),
		Fingerprint: fingerprint(key), File: h.route.knownHosts[0],
	}
	var mismatch *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case errors.As(err, &mismatch):
		if len(mismatch.Want) > 0 {
			said.Changed, said.File = true, mismatch.Want[0].Filename
		}
		return said
	case errors.As(err, &revoked):
		return fmt.Errorf("the host key %s is revoked in %s:%d", said.Fingerprint, revoked.Revoked.Filename, revoked.Revoked.Line)
	}
	return fmt.Errorf("cannot trust the host key %s: %w", said.Fingerprint, err)
}

func fingerprint(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return ssh.FingerprintSHA256(key)
}
