package sshconn

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// ResolveForTest shows what a target comes to, one fact per line.
func ResolveForTest(t Target) (string, error) {
	r, err := resolve(t)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "host %s\nusers %v\nports %v\nonly %v\nagent %s\nknown %v\n",
		r.host, r.users, r.ports, r.onlyNamed, r.agent, r.knownHosts)
	for _, k := range r.keys {
		if !k.fallback {
			fmt.Fprintf(&b, "key %s\n", k.path)
		}
	}
	for _, h := range r.hops {
		fmt.Fprintf(&b, "hop %v@%s:%v\n", h.users, h.host, h.ports)
	}
	return b.String(), nil
}

// ReadConfigForTest reads a configuration that is not in a file.
func ReadConfigForTest(text, alias string) error {
	s := &settings{places: map[string]configLine{}, alias: alias, localUser: "me"}
	return s.read("config", text, true, maxConfigDepth)
}

// MergeForTest is what Record does with the text of a known_hosts file.
func MergeForTest(text []byte, keys []HostKeyInfo, replace bool) (kept []byte, add []string, err error) {
	return merge("known_hosts", text, keys, replace)
}

// ParseKnownForTest makes what a scan of one key would have made.
func ParseKnownForTest(address, line string) ([]HostKeyInfo, error) {
	_, _, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
	if err != nil {
		return nil, err
	}
	return []HostKeyInfo{{Address: address, Type: key.Type(), Fingerprint: fingerprint(key), Line: line, key: key}}, nil
}

// ReloadPausesForTest replaces how long a server that is reloaded is waited for.
func ReloadPausesForTest(list []time.Duration) (restore func()) {
	old := reloadPauses
	reloadPauses = list
	return func() { reloadPauses = old }
}
