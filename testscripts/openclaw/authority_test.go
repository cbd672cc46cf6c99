//go:build hosts

package openclaw_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// authority is a host with a certificate authority of its own (Pebble, by the makers of
// Let's Encrypt, which proves names as that does) and the zone test.
type authority struct {
	address string
	roots   *x509.CertPool // that it signs with
	root    string         // the same in PEM form
	api     string         // the certificate of its own server
}

const authorityHost = "ca"

const authorityPlaybook = `playbook: authority
version: 1.0.0
tasks:
  - package: {install: [pebble, dnsmasq-base, openssl], recommends: false, refresh: 1d}
    timeout: 10m
  - directory: {path: /etc/pebble}
  - command:
      argv: [openssl, req, -x509, -newkey, "ec", -pkeyopt, "ec_paramgen_curve:P-256", -nodes, -days, "30", -subj, /CN=pebble,
        -addext, "subjectAltName=IP:${host.address}", -keyout, /etc/pebble/api.key, -out, /etc/pebble/api.pem]
      creates: /etc/pebble/api.pem
  - file:
      path: /etc/pebble/config.json
      content: |
        {"pebble": {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000",
          "certificate": "/etc/pebble/api.pem", "privateKey": "/etc/pebble/api.key", "httpPort": 80, "tlsPort": 443}}
  - file: {path: /etc/pebble/names.conf, create: true}
  - unit:
      name: names.service
      content: |
        [Service]
        ExecStart=/usr/sbin/dnsmasq --keep-in-foreground --conf-file=/etc/pebble/names.conf --no-resolv --no-hosts --local=/test/
  - unit:
      name: pebble.service
      content: |
        [Service]
        Environment=PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
        ExecStart=/usr/bin/pebble -config /etc/pebble/config.json -dnsserver 127.0.0.1:53
  - service: {name: names, state: started}
  - service: {name: pebble, state: started}
  - wait: {tcp: "127.0.0.1:14000"}
`

// authority boots the certificate authority, or finds it. Its zone is empty.
func (s *site) authority(t *testing.T) *authority {
	t.Helper()
	s.hosts(t, authorityHost)
	s.write(t, "authority.yml", authorityPlaybook)
	s.run(t, 0, "", "apply", "./authority.yml", "-l", authorityHost)
	a := &authority{address: s.address(t, authorityHost)}
	a.api, _ = s.console(t, authorityHost, "cat /etc/pebble/api.pem")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM([]byte(a.api))
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	resp, err := client.Get("https://" + a.address + ":15000/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	root, err := io.ReadAll(resp.Body)
	a.root, a.roots = string(root), x509.NewCertPool()
	if err != nil || !a.roots.AppendCertsFromPEM(root) {
		t.Fatalf("the authority's root: %v\n%s", err, root)
	}
	return a
}

// zone makes these lines of dnsmasq's settings all that the zone has.
func (s *site) zone(t *testing.T, lines ...string) {
	t.Helper()
	script := fmt.Sprintf("printf '%%s\\n' %s >/etc/pebble/names.conf && systemctl restart names", "'"+strings.Join(lines, "' '")+"'")
	if out, status := s.console(t, authorityHost, script); status != 0 {
		t.Fatal(out)
	}
}

// address is that of a host.
func (s *site) address(t *testing.T, host string) string {
	t.Helper()
	list, err := project.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range list {
		if h.Name == host {
			return h.Address
		}
	}
	t.Fatalf("there is no host %s", host)
	return ""
}
