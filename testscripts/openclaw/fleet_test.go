//go:build hosts

package openclaw_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/tasks/openclaw/gateway"
	"holdfast/tasks/secret"
	"holdfast/tasks/task"
)

// fleetState lists what an undo has to bring back. The manager of root's units is that of
// the login.
const fleetState = `cut -d: -f1 /etc/passwd /etc/group | sort; dpkg-query -W -f '${Package} ${Status}\n' | grep -v 'not-installed$' | sort
ls -A /opt /home /usr/local/bin /var/lib/systemd/linger /etc/systemd/system /etc/apt/sources.list.d 2>/dev/null
ls -A /tmp | grep -v '^systemd-private'
ls -d /etc/caddy /var/lib/caddy /var/log/caddy /run/caddy 2>/dev/null
systemctl list-units --all --plain --no-legend 'caddy*' 'holdfast-*' 'user@*' | sed 's/ .*//' | grep -v '^user@0.service' | sort`

// lookBack says why a gateway does not come.
const lookBack = `ps -eo etimes,args | grep '[d]ist/index.js gateway'; journalctl _SYSTEMD_USER_UNIT=openclaw-gateway.service --no-pager | tail -n 40
journalctl -u caddy --no-pager -o cat | tail -n 20`

// TestFleet takes three bare hosts to three gateways behind Caddy with one command, looks
// at them as clients on the Internet do, and takes them back.
func TestFleet(t *testing.T) {
	names := []string{"fleet1", "fleet2", "fleet3"}
	s := open(t)
	ca := s.authority(t)
	if err := project.Down(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	s.hosts(t, names...)
	t.Cleanup(func() {
		for _, name := range names {
			if t.Failed() {
				var out bytes.Buffer
				_, err := project.Exec(context.Background(), name, nil, &out, &out, "sh", "-c", lookBack)
				t.Logf("%s: %v\n%s", name, err, out.String())
			}
		}
		if err := project.Down(context.Background(), names...); err != nil {
			t.Error(err)
		}
	})
	inventory := "hosts:\n"
	var zone []string
	before := map[string]string{}
	for _, name := range names {
		address := s.address(t, name)
		inventory += fmt.Sprintf("  %s: {address: %s, vars: {domain: %s.test}}\n", name, address, name)
		zone = append(zone, "host-record="+name+".test,"+address)
		before[name] = s.must(t, name, fleetState)
	}
	inventory += fmt.Sprintf("groups:\n  fleet: {hosts: [%s]}\nssh: {users: [root], ports: [22], keys: [%q], known_hosts: %q}\n", strings.Join(names, ", "), project.KeyPath(), project.KnownHostsPath())
	s.write(t, "fleet.yml", inventory)
	s.zone(t, zone...)
	s.write(t, "gateway.yml", fmt.Sprintf(fakeModel+"provider_keys: {anthropic: anthropic_key}\nresolver: %q\nca: https://%s:14000/dir\nca_root: |\n  %s\n",
		ca.address+":53", ca.address, strings.ReplaceAll(strings.TrimSpace(ca.api), "\n", "\n  ")))

	apply := []string{"apply", "gateway", "--params", "gateway.yml", "-i", "fleet.yml", "-l", "fleet"}
	start := time.Now()
	s.run(t, 0, "", apply...)
	t.Logf("cold: from three bare hosts to three gateways behind Caddy in %.0f s", time.Since(start).Seconds())
	start = time.Now()
	if out := s.run(t, 0, "", apply...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	t.Logf("warm: %.0f s", time.Since(start).Seconds())

	s.write(t, "device.yml", device)
	s.run(t, 0, "", "apply", "./device.yml", "-i", "fleet.yml", "-l", "fleet")
	for _, name := range names {
		s.looksRight(t, ca, name)
	}
	s.chats(t, ca, names[0])
	s.reached(t, ca, names[0])
	for _, name := range names {
		s.noSecrets(t, name, "gateway_token", "anthropic_key", "device_key")
	}

	s.run(t, 0, "", "undo", s.lastRun(t, "gateway", names[0]), "-i", "fleet.yml", "-l", "fleet")
	for _, name := range names {
		if after := s.must(t, name, fleetState); before[name] != after {
			t.Errorf("%s: taken back, it has\n%s\nwant\n%s", name, after, before[name])
		}
	}
}

// outside connects over TLS to a site, as a client elsewhere does.
type outside struct {
	task.Reader // nothing else of it is asked
	ca          *authority
	address     string
	name        string
}

// Connect goes to the site, whatever the address.
func (o *outside) Connect(ctx context.Context, network, _ string) (io.ReadWriteCloser, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: o.ca.roots, ServerName: o.name, NextProtos: []string{"http/1.1"}}}
	return d.DialContext(ctx, network, net.JoinHostPort(o.address, "443"))
}

// looksRight talks to a gateway of the fleet through its Caddy.
func (s *site) looksRight(t *testing.T, ca *authority, name string) {
	t.Helper()
	domain, address := name+".test", s.address(t, name)
	c := visitor(ca, address, domain)
	if status, body := ask(t, c, "GET", "https://"+domain+"/api/status"); status != 200 || !strings.Contains(body, `"ok":true`) {
		t.Errorf("%s: /api/status: %d %s", name, status, body)
	}
	if status, body := ask(t, c, "GET", "https://"+domain+"/"); status != 200 || !strings.Contains(strings.ToLower(body), "<html") {
		t.Errorf("%s: the page of its own: %d", name, status)
	}
	token := strings.TrimSpace(s.run(t, 0, "", "secret", "get", "gateway_token"))
	for _, path := range denied {
		if status, body := ask(t, c, "POST", "https://"+domain+path, "Authorization", "Bearer "+token); status != 403 || body != "" {
			t.Errorf("%s: %s with the token: %d %s", name, path, status, body)
		}
	}

	s.welcomes(t, name, &outside{ca: ca, address: address, name: domain}, "https://"+domain, neighbour(address))
}

// welcomes connects to a gateway as different clients do, through whatever is in front of
// it, and looks whom it takes a stranger for, who has an address.
func (s *site) welcomes(t *testing.T, name string, way task.Reader, origin, visitor string) {
	t.Helper()
	right, wrong := secret.New(s.secret(t, "gateway_token")), secret.New("not-the-token-of-anybody-at-all")
	scopes := []string{"operator.read", "operator.write"}
	request := ""
	for _, tt := range []struct {
		what string
		o    gateway.Options
		want gateway.Outcome
	}{
		{"the token without a device", gateway.Options{Token: right, Scopes: scopes}, gateway.MissingScope},
		{"its own origin", gateway.Options{Token: right, Scopes: scopes, Origin: origin}, gateway.MissingScope},
		{"another origin", gateway.Options{Token: right, Origin: "https://evil.example"}, gateway.Origin},
		{"who says to come from the host itself", gateway.Options{Token: right, Scopes: scopes, Forwarded: "127.0.0.1"}, gateway.MissingScope},
		{"a wrong token", gateway.Options{Token: wrong}, gateway.WrongToken},
		{"a stranger who says to come from elsewhere", gateway.Options{Token: right, Identity: s.identity(t, "stranger_key"), Scopes: scopes, Forwarded: "203.0.113.7"}, gateway.NotPaired},
		{"a paired device", gateway.Options{Token: right, Identity: s.identity(t, "device_key"), Scopes: scopes}, gateway.OK},
	} {
		tt.o.Address = strings.TrimPrefix(strings.TrimPrefix(origin, "https://"), "http://")
		got := gateway.OK
		conn, err := gateway.Open(t.Context(), way, tt.o)
		var refusal *gateway.Refusal
		switch {
		case errors.As(err, &refusal):
			got = refusal.Outcome
			if refusal.RequestID != "" {
				request = refusal.RequestID
			}
		case err != nil:
			t.Fatal(err)
		default:
			if _, err := conn.Call("health", map[string]any{}); err != nil && tt.want == gateway.OK {
				t.Errorf("%s: %s: it may do nothing: %v", name, tt.what, err)
			}
			_ = conn.Close()
		}
		if got != tt.want {
			t.Errorf("%s: %s: %s (%v), want %s", name, tt.what, got, err, tt.want)
		}
	}

	// Whom the gateway takes the stranger for.
	s.pends(t, name, request, visitor)
}
