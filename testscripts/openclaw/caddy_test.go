//go:build hosts

package openclaw_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	edge  = "edge"
	site1 = "edge.test"
)

// edgePlaybook makes a host with a firewall that lets SSH in, and something in the place
// of the gateway that says what it was asked.
const edgePlaybook = `playbook: edge
version: 1.0.0
tasks:
  - package: {install: [ufw, nftables], recommends: false, refresh: 1d}
    timeout: 10m
  - ufw: {rule: allow, port: "22", proto: tcp}
  - ufw: {enabled: true, default: {incoming: deny}}
  - file:
      path: /usr/local/bin/say
      mode: "0755"
      content: |
        #!/bin/sh
        read -r all
        while read -r line; do case $line in ''|?) break;; esac; all="$all|$line"; done
        case $all in *" /startupz "*) all='{"ok":true,"status":"started"}';; esac
        all=$(printf %s "$all" | tr -d '\r')
        printf 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s' "$all"
  - unit:
      name: say.service
      content: |
        [Service]
        ExecStart=/usr/bin/systemd-socket-activate --accept --inetd --listen=127.0.0.1:18789 /usr/local/bin/say
  - service: {name: say, state: started}
`

// state lists what an undo has to bring back.
const edgeState = `cut -d: -f1 /etc/passwd /etc/group | sort; dpkg-query -W -f '${Package} ${Status}\n' | grep -v 'not-installed$' | sort
find /etc/caddy /etc/systemd/system /var/lib/caddy /var/log/caddy /run/caddy /etc/apt/sources.list.d /etc/apt/keyrings 2>/dev/null | sort
cat /etc/ufw/user.rules; systemctl list-units --all --plain --no-legend 'caddy*' 'holdfast-doors*'`

// TestCaddy takes a host to a site with a certificate, past everything that could go
// wrong before, and back.
func TestCaddy(t *testing.T) {
	s := open(t)
	ca := s.authority(t)
	if err := project.Down(t.Context(), edge); err != nil {
		t.Fatal(err)
	}
	s.hosts(t, edge)
	address := s.address(t, edge)
	s.write(t, "edge.yml", edgePlaybook)
	s.run(t, 0, "", "apply", "./edge.yml", "-l", edge)
	s.write(t, "caddy.yml", fmt.Sprintf("domain: %s\nresolver: %q\nca: https://%s:14000/dir\nca_root: |\n  %s\nemail: ops@%s\n",
		site1, ca.address+":53", ca.address, strings.ReplaceAll(strings.TrimSpace(ca.api), "\n", "\n  "), site1))
	s.write(t, "preflight.yml", fmt.Sprintf("domain: %s\nresolver: %q\n", site1, ca.address+":53"))
	right := "host-record=" + site1 + "," + address
	before := s.must(t, edge, edgeState)
	// runs are those that changed something, which are taken back in the end.
	runs := []string{}
	note := func() {
		if run := s.lastRun(t, "caddy", edge); len(runs) == 0 || runs[len(runs)-1] != run {
			runs = append(runs, run)
		}
	}

	// Each refusal has a name, and nothing is there after it.
	caddy := []string{"apply", "caddy", "--params", "caddy.yml", "-l", edge}
	refused := func(why string) {
		t.Helper()
		out := s.run(t, 5, "", caddy...)
		if !strings.Contains(out, why) {
			t.Errorf("the refusal does not say %q:\n%s", why, out)
		}
		if out, status := s.console(t, edge, "ls /usr/bin/caddy /etc/caddy; systemctl is-active holdfast-doors"); !strings.Contains(out, "inactive") || strings.Count(out, "No such file") != 2 {
			t.Errorf("after a refusal there is (%d)\n%s", status, out)
		}
	}
	s.zone(t, right)
	// The plan opens the firewall on paper only, and does not claim to know who gets in then.
	if out := s.run(t, 0, "", "plan", "caddy", "--params", "caddy.yml", "-l", edge, "-v"); !regexp.MustCompile(`(?m)not known +port 443 is reached`).MatchString(out) {
		t.Errorf("the plan:\n%s", out)
	}
	s.zone(t, "host-record="+site1+","+ca.address)
	refused("DNS leads to this host, as it sees it")
	note() // the firewall is open
	s.zone(t, "host-record="+site1+","+address+",2001:db8::7")
	refused("DNS for IPv6 leads to this host or nowhere, as it sees it")
	s.zone(t, right, "caa-record="+site1+",0,issue,other.example")
	refused("CAA")
	s.zone(t, right)
	block := func(port string) {
		t.Helper()
		// As a firewall of the cloud would: before the host's own, and without an answer.
		script := "nft delete table inet cloud 2>/dev/null; nft 'add table inet cloud; add chain inet cloud in { type filter hook prerouting priority -300; }; add rule inet cloud in tcp dport " + port + " drop'"
		if out, status := s.console(t, edge, script); status != 0 {
			t.Fatal(out)
		}
	}
	block("443")
	refused("port 443 is reached by the controller")
	block("80")
	refused("port 80 is reached by the controller")
	s.must(t, edge, "nft delete table inet cloud; systemd-run --quiet --collect --unit squatter systemd-socket-activate --accept --inetd --listen=80 /bin/cat")
	refused("port 80 of this host is taken by")
	s.must(t, edge, "systemctl stop squatter")

	s.tooMany(t, ca, address)
	refused("the certificate authority has not had enough")
	s.must(t, edge, "journalctl --rotate -q --vacuum-time=1s && ! journalctl -u caddy --no-pager | grep challenge")

	// Alone it is a check, and one that opened nothing.
	if out := s.run(t, 0, "", "verify", "caddy-preflight", "--params", "preflight.yml", "-l", edge); !strings.Contains(out, "port 443 is reached") && !strings.Contains(out, "0 not") {
		t.Error(out)
	}
	s.run(t, 0, "", append(caddy, "-v")...)
	note()
	if out := s.run(t, 0, "", caddy...); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	s.visit(t, ca, address)
	s.forgets(t, ca, address)
	s.audited(t)

	// What Caddy would refuse is not put into place, and the site goes on.
	s.run(t, 0, "", "playbooks", "copy", "caddy")
	own := filepath.Join(project.dir, "playbooks", "caddy")
	template, err := os.ReadFile(filepath.Join(own, "templates", "Caddyfile.tmpl"))
	if err == nil {
		err = os.WriteFile(filepath.Join(own, "templates", "Caddyfile.tmpl"), append(template, "\nother.test {\n\tnonsense\n}\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out := s.run(t, 5, "", caddy...); !strings.Contains(out, "nonsense") {
		t.Errorf("settings that Caddy refuses:\n%s", out)
	}
	if err := os.RemoveAll(own); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(t, visitor(ca, address, site1), "GET", "https://"+site1+"/api/status"); status != 200 {
		t.Errorf("after settings that were refused: %d %s", status, body)
	}

	// Port 443 for those who are named. Caddy knows them too, whatever the firewall does.
	s.run(t, 3, "", append(caddy, "-p", "allow_443={office: 192.0.2.1}")...)
	s.run(t, 0, "", append(caddy, "-p", "allow_443={platform: 192.0.2.0/24}", "-v")...)
	note()
	if conn, err := net.DialTimeout("tcp", address+":443", 3*time.Second); err == nil {
		_ = conn.Close()
		t.Error("port 443 is open to a stranger")
	}
	s.must(t, edge, "ufw allow 443/tcp")
	if resp, err := visitor(ca, address, site1).Get("https://" + site1 + "/api/status"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("Caddy answers a stranger with status %d", resp.StatusCode)
	}
	s.must(t, edge, "ufw delete allow 443/tcp")
	s.run(t, 0, "", append(caddy, "-p", "allow_443={platform: 192.0.2.0/24, office: "+neighbour(address)+" 2001:db8::/32}")...)
	note()
	if status, body := ask(t, visitor(ca, address, site1), "GET", "https://"+site1+"/api/status"); status != 200 {
		t.Errorf("one who is named: %d %s", status, body)
	}

	for _, run := range slices.Backward(runs) {
		s.run(t, 0, "", "undo", run, "-l", edge)
	}
	if after := s.must(t, edge, edgeState); before != after {
		t.Errorf("taken back, the host has\n%s\nwant\n%s", after, before)
	}
}

// neighbour is this machine as a host sees it.
func neighbour(address string) string { return address[:strings.LastIndex(address, ".")] + ".1" }

// must runs a script in a host that must succeed.
func (s *site) must(t *testing.T, host, script string) string {
	t.Helper()
	out, status := s.console(t, host, script)
	if status != 0 {
		t.Fatalf("on %s: %s: %d\n%s", host, script, status, out)
	}
	return out
}

// tooMany lets a Caddy without a preflight fail for real: the authority cannot reach the
// host, and each of its tries counts.
func (s *site) tooMany(t *testing.T, ca *authority, address string) {
	t.Helper()
	s.must(t, edge, `nft 'add table inet cloud; add chain inet cloud in { type filter hook prerouting priority -300; }; add rule inet cloud in ip saddr `+ca.address+` tcp dport { 80, 443 } reject with tcp reset' ||
nft 'add chain inet cloud in2 { type filter hook input priority -300; }; add rule inet cloud in2 ip saddr `+ca.address+` tcp dport { 80, 443 } reject with tcp reset'
mkdir -p /opt/rash && cd /opt/rash && apt-get -qq download caddy && dpkg -x caddy_*.deb .`)
	s.must(t, edge, "cat >/opt/rash/api.pem <<'X'\n"+ca.api+"X\ncat >/opt/rash/Caddyfile <<'X'\n{\n\tadmin off\n}\n"+site1+" {\n\ttls {\n\t\tissuer acme {\n\t\t\tdir https://"+ca.address+":14000/dir\n\t\t\ttrusted_roots /opt/rash/api.pem\n\t\t}\n\t}\n\trespond ok\n}\nX\n")
	for turn := range 2 {
		s.must(t, edge, `systemd-run --quiet --collect --unit caddy --setenv=HOME=/opt/rash/home /opt/rash/usr/bin/caddy run --adapter caddyfile --config /opt/rash/Caddyfile
n=0; until [ "$(journalctl -u caddy --no-pager -o cat | grep -c '"will retry"')" -gt `+strconv.Itoa(turn)+` ]; do n=$((n+1)); [ $n -lt 240 ] || exit 1; sleep 0.5; done; systemctl stop caddy`)
	}
	t.Log(s.must(t, edge, "journalctl -u caddy --no-pager -o cat | grep 'challenge failed\\|will retry\\|could not get'"))
	s.must(t, edge, "nft delete table inet cloud; rm -rf /opt/rash; ! systemctl is-active caddy")
}

// visitor is a client of the site on another machine than it.
func visitor(ca *authority, address, name string) *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: ca.roots, ServerName: name},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(address, port))
			},
		},
	}
}

// ask makes a request and returns status and body.
func ask(t *testing.T, c *http.Client, method, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// denied are ways to write what must not be reached through Caddy.
var denied = []string{"/tools/invoke", "/tools", "/TOOLS/invoke", "//tools/invoke", "/tools//invoke", "/%74ools/invoke", "/x/../tools/invoke", "/tools%2Finvoke",
	"/v1/models", "/v1/chat/completions", "/api/v1/admin/rpc", "/api//v1/admin/rpc", "/api/diagnostics/x"}

// visit looks at the site as people on the Internet do.
func (s *site) visit(t *testing.T, ca *authority, address string) {
	t.Helper()
	c := visitor(ca, address, site1)
	if status, _ := ask(t, c, "GET", "http://"+site1+"/"); status != 308 {
		t.Errorf("over http: status %d, want 308", status)
	}
	if status, body := ask(t, c, "GET", "https://"+site1+"/api/status"); status != 200 || !strings.Contains(body, `"status":"started"`) {
		t.Errorf("/api/status: %d %s", status, body)
	}
	for _, path := range denied {
		if status, body := ask(t, c, "POST", "https://"+site1+path); status != 403 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	_, body := ask(t, c, "GET", "https://"+site1+"/chat", "X-Forwarded-For", "127.0.0.1", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "other.example")
	for _, want := range []string{"GET /chat HTTP/1.1", "|Host: " + site1, "|X-Forwarded-For: " + neighbour(address) + "|", "|X-Forwarded-Proto: https", "|X-Forwarded-Host: " + site1} {
		if !strings.Contains(body+"|", want) {
			t.Errorf("the gateway is not told %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "127.0.0.1") || strings.Contains(body, "other.example") {
		t.Errorf("the gateway is told what a client says of itself:\n%s", body)
	}
	if out, status := s.console(t, edge, "runuser -u nobody -- ls /run/caddy; ss -Hltn 'sport = :2019'"); status == 2 || strings.Contains(out, "2019") || !strings.Contains(out, "denied") {
		t.Errorf("who may command Caddy: %d\n%s", status, out)
	}
}

// forgets asks with a token wherever a client may write one, of a gateway that answers and of
// one that is down, which Caddy tells of in its log.
func (s *site) forgets(t *testing.T, ca *authority, address string) {
	t.Helper()
	c, token := visitor(ca, address, site1), s.secret(t, "gateway_token")
	for _, step := range []struct {
		script string
		want   int
	}{{"true", 200}, {"systemctl stop say", 502}} {
		s.must(t, edge, step.script)
		for _, at := range []string{"/?token=" + token, "/chat/" + token, "/api/status?token=" + token, "/x?a=b%3D" + token} {
			if status, _ := ask(t, c, "GET", "https://"+site1+at, "Authorization", "Bearer "+token, "Cookie", "token="+token, "Referer", "https://"+site1+at, "X-Token", token,
				"Sec-WebSocket-Protocol", token); status != step.want {
				t.Errorf("after %s a request with a token is answered %d, want %d", step.script, status, step.want)
			}
		}
		ask(t, c, "POST", "https://"+site1+"/tools/invoke?token="+token)
		ask(t, c, "GET", "http://"+site1+"/?token="+token)
	}
	// That something went wrong is told all the same, and of which site.
	s.until(t, edge, `n=$(journalctl -u caddy --no-pager -o cat | grep '"http.log.error' | grep 'connection refused' | grep -cF '"host":"`+site1+`"'); echo $n requests that the gateway did not answer, want 4; [ $n = 4 ]`)
	s.noSecrets(t, edge, "gateway_token")
	s.must(t, edge, "systemctl start say")
}

// audited judges what Caddy tells the gateway: the shipped settings are fine, those of an
// old guide beside them are not.
func (s *site) audited(t *testing.T) {
	t.Helper()
	audit := []string{"audit", edge, "-p", "judges=false", "-v"}
	if out, _ := s.try(t, "", audit...); !regexp.MustCompile(`(?m)^ *pass +Proxies tell the gateway who comes`).MatchString(out) {
		t.Errorf("the shipped settings:\n%s", out)
	}
	s.must(t, edge, `mkdir /srv/old && sed 's/reverse_proxy 127.*/& {\nheader_up -X-Forwarded-For\n}/' /etc/caddy/Caddyfile >/srv/old/Caddyfile && HOME=/nonexistent caddy validate --adapter caddyfile --config /srv/old/Caddyfile`)
	out, _ := s.try(t, "", audit...)
	if !regexp.MustCompile(`(?m)^ *FAIL +Proxies tell the gateway who comes`).MatchString(out) || !regexp.MustCompile(`found +strips /srv/old/Caddyfile:[0-9]+`).MatchString(out) {
		t.Errorf("settings that hide who comes:\n%s", out)
	}
	s.must(t, edge, "rm -r /srv/old")
}
