//go:build hosts

package openclaw_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// strangers are clients of a gateway: one of protocol 3, a page that closes with 4008 once
// it was refused, as pages of OpenClaw do, one that says nothing, and a page that is
// connected, which makes a file when it is and ends with the gateway.
const strangers = `import fs from 'node:fs';
const token = fs.readFileSync('/home/openclaw/.openclaw/secrets/gateway-token', 'utf8').trim(), page = {id: 'webchat-ui', mode: 'webchat'};
const go = (name, version, client, auth, refused) => new Promise(done => {
  const ws = new WebSocket('ws://127.0.0.1:18789/', {headers: {origin: 'https://gw.example.com'}});
  ws.onmessage = m => {
    const d = JSON.parse(m.data);
    if (d.event === 'connect.challenge' && client) ws.send(JSON.stringify({type: 'req', id: '1', method: 'connect', params: {minProtocol: version, maxProtocol: version,
      role: 'operator', scopes: [], client: {version: '1', platform: 'linux', ...client}, auth}}));
    if (d.id === '1' && d.ok) fs.writeFileSync('/run/connected', '');
    if (d.id === '1' && !d.ok && refused) refused(ws);
  };
  ws.onclose = e => { console.log(name, e.code); done() };
});
const stays = go('page', 4, page, {token});
await go('old', 3, page, {token});
await go('refused', 4, page, {token: 'wrong'}, ws => ws.close(4008, 'connect failed'));
await go('silent');
fs.writeFileSync('/run/tried', '');
await stays;
`

// starved has Node.js end for want of memory in the gateway's unit, and says in the place
// of the account's service manager that the kernel killed it, which no guest can bring about.
const starved = `d=/run/user/$(id -u openclaw)/systemd/user/openclaw-gateway.service.d
mkdir -p $d && printf '[Service]\nExecStartPre=-/usr/local/bin/node --max-old-space-size=16 -e "for (let a = [];;) a.push({})"\n' >$d/starve.conf
bus daemon-reload; bus restart openclaw-gateway; rm -r $d; bus daemon-reload
printf 'MESSAGE=openclaw-gateway.service: A process of this unit has been killed by the OOM killer.\nUSER_UNIT=openclaw-gateway.service\n' | runuser -u openclaw -- logger --journald
`

// TestDoctorLog makes connections end in each way that the guides know by its number, and
// follows the journal meanwhile. Then it breaks what is under the gateway.
func TestDoctorLog(t *testing.T) {
	s := gateways(t, "gw1")
	out, status := s.console(t, "gw1", "set -e\n"+bus+"rm -f /run/connected /run/tried; cat >/run/strangers.mjs <<'END'\n"+strangers+`END
systemd-run -q --unit=strangers /usr/local/bin/node /run/strangers.mjs
await() { for n in $(seq 180); do [ -e $1 ] && return; sleep 0.5; done; journalctl -o cat -u strangers; return 1; }
await /run/connected; await /run/tried
bus restart openclaw-gateway
for n in $(seq 60); do systemctl is-active -q strangers || break; sleep 0.5; done
journalctl -o cat -u strangers`)
	if status != 0 || !strings.Contains(out, "page 1012") || !strings.Contains(out, "old 1002") {
		t.Fatal(out)
	}
	s.must(t, "gw1", "set -e\n"+bus+starved)
	s.run(t, 0, "", "apply", "./ready.yml", "-l", "gw1")
	out = s.run(t, 0, "", "verify", "doctor-openclaw", "-l", "gw1", "--output", "json")
	for _, want := range []string{"log memory 2", "log close-1002 1: protocol-mismatch 1", "log close-1012 1: none 1", "log close-4008 1: unauthorized 1", "log handshake 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the doctor does not say %q", want)
		}
	}
	out = s.run(t, 0, "", "logs", "gw1", "--since", "10m")
	for _, want := range []string{"gw1  ", "code=1002", "cause=handshake-timeout", "  openclaw-gateway  "} {
		if !strings.Contains(out, want) {
			t.Errorf("the logs do not say %q", want)
		}
	}
	s.broken(t, "gw1")
	s.noSecrets(t, "gw1", "gateway_token", "stranger_key")
}

// said waits until the gateway's log says something.
const said = `said() { for n in $(seq 180); do journalctl -q -o cat _SYSTEMD_USER_UNIT=openclaw-gateway.service | grep -q "$1" && return; sleep 0.5; done; return 1; }
`

// smallDisk puts the gateway's state on a file system of its own, with 16 MB free and then
// with nothing.
const smallDisk = `state=/home/openclaw/.openclaw
bus stop openclaw-gateway
mount -t tmpfs -o mode=0700,size=$(($(du -sm $state | cut -f1) + 16))m tmpfs /mnt
cp -a $state/. /mnt/
mount --bind /mnt $state
bus start openclaw-gateway
for n in $(seq 180); do curl -sf http://127.0.0.1:18789/readyz && break; sleep 1; done
runuser -u openclaw -- dd if=/dev/zero of=$state/cache/fill bs=4k 2>/dev/null || true
`

// broken fills the disk under the gateway, of which the log speaks once a device comes, then
// kills it and gives the host another name, then gives it a database that a newer version
// made. The state is a copy, so that the way back from all of it is a start.
func (s *site) broken(t *testing.T, host string) {
	t.Helper()
	const version = `cat >/tmp/version.js <<'END'
new (require("node:sqlite").DatabaseSync)("/home/openclaw/.openclaw/state/openclaw.sqlite").exec("pragma user_version = 99");
END
chmod 644 /tmp/version.js
`
	name := strings.TrimSpace(s.must(t, host, "hostname"))
	for _, snag := range []struct {
		script string
		says   []string
	}{
		{smallDisk, []string{"space 100", "du -xh"}},
		{"rm /home/openclaw/.openclaw/cache/fill; hostname elsewhere; kill -9 $(bus show -p MainPID --value openclaw-gateway); said 'owner lease is still active'",
			[]string{"log space ", "log lease ", "the unit has given up", "unreachable"}},
		{"bus stop openclaw-gateway; hostname " + name + "\n" + version + "runuser -u openclaw -- /usr/local/bin/node /tmp/version.js; bus reset-failed openclaw-gateway; bus start openclaw-gateway\n" +
			`for n in $(seq 180); do case $(bus is-active openclaw-gateway) in failed) break ;; esac; sleep 0.5; done`,
			[]string{"log schema 1", "state only goes forward", "unit failed 78"}},
	} {
		s.must(t, host, "set -e\n"+bus+said+snag.script)
		out := s.run(t, 5, "", "verify", "doctor-openclaw", "-l", host, "-p", "devices={stranger: stranger_key}")
		for _, want := range snag.says {
			if !strings.Contains(out, want) {
				t.Errorf("the doctor does not say %q:\n%s", want, out)
			}
		}
	}
	s.must(t, host, "umount /home/openclaw/.openclaw /mnt")
	if out := s.run(t, 0, "", "plan", "doctor-openclaw", "-l", host, "-p", "fix=true"); !strings.Contains(out, "the gateway runs") {
		t.Errorf("the plan does not say that the gateway would be started:\n%s", out)
	}
	// The gateway is well again, and for a day the log still speaks of the disk.
	if out := s.run(t, 5, "", "apply", "doctor-openclaw", "-l", host, "-p", "fix=true"); !strings.Contains(out, ", 1 failed") || !strings.Contains(out, "log space ") {
		t.Errorf("something is wrong besides what the log says of the disk:\n%s", out)
	}
	s.run(t, 0, "", "apply", "./ready.yml", "-l", host)
}

// docker brings Docker and an image that is a static program, and runs a container that is
// well, one that ends again and again, and one whose health is bad.
const docker = `set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p /var/lib/docker && mount -t tmpfs tmpfs /var/lib/docker
apt-get install -y -qq --no-install-recommends docker.io busybox-static >/dev/null 2>&1
mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/ && tar -C /root/image -c . | docker import - box >/dev/null
docker run -d --name well box /bin/busybox sleep 1h >/dev/null
`

const sick = `set -e
docker run -d --restart=always --name loop box /bin/busybox false >/dev/null
docker run -d --health-cmd '/bin/busybox false' --health-interval 1s --health-retries 1 --name ill box /bin/busybox sleep 1h >/dev/null
for n in $(seq 60); do [ "$(docker inspect -f '{{.State.Health.Status}} ' ill)$(docker inspect -f '{{.RestartCount}}' loop)" \> "unhealthy 2" ] && break; sleep 0.5; done
`

// hidden is a container with the settings of a proxy that hides who comes, in a file that it
// mounts and in a label.
const hidden = `mkdir /var/conf && echo 'header_up -X-Forwarded-For' >/var/conf/Caddyfile
docker run -d --name edge -v /var/conf:/etc/caddy:ro --label traefik.http.middlewares.h.headers.customrequestheaders.X-Forwarded-For= box /bin/busybox sleep 1h`

// TestContainers asks Docker of containers that are well and not.
func TestContainers(t *testing.T) {
	s := gateways(t, "gw1")
	route, _ := s.console(t, "gw1", "ip -4 route show default | awk '{print $3}'")
	ln, err := net.Listen("tcp", strings.TrimSpace(route)+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener = ln
	server.Start()
	t.Cleanup(server.Close)
	s.try(t, "", "secret", "rm", "watched") // of a run before
	s.run(t, 0, server.URL+"/", "secret", "set", "watched")
	if out, status := s.console(t, "gw1", docker); status != 0 {
		t.Fatal(out)
	}
	s.run(t, 0, "", "apply", "host-alerts", "-l", "gw1", "-p", "channels={webhook: watched}", "-p", "every=24h", "-p", "restarts=1")
	health := []string{"verify", "health", "-l", "gw1", "-p", "load={}", "-p", "memory={}", "-p", "disk={}", "-p", "backup_dirs=[]"}
	if out := s.run(t, 0, "", append(health, "-v")...); !strings.Contains(out, "well 0 running") {
		t.Errorf("of a container that is well is said\n%s", out)
	}
	const told = `journalctl -q -o cat _SYSTEMD_UNIT=holdfast-watch.service`
	const look = `for n in $(seq 60); do case $(systemctl is-active holdfast-watch) in activ*) sleep 1 ;; *) break ;; esac; done
systemctl start holdfast-watch; journalctl --sync; ` + told
	if out, _ := s.console(t, "gw1", look); strings.Contains(out, "container") {
		t.Errorf("the watcher says of a host that is well\n%s", out)
	}
	s.must(t, "gw1", hidden)
	audit, _ := s.try(t, "", "audit", "gw1", "-p", "judges=false")
	if want := "strips /var/conf/Caddyfile:1, strips labels of edge\n"; !strings.Contains(audit, want) {
		t.Errorf("of a container's proxy that hides who comes audit does not say %q:\n%s", want, audit)
	}
	if out, status := s.console(t, "gw1", sick); status != 0 {
		t.Fatal(out)
	}
	out := s.run(t, 5, "", health...)
	for _, want := range []string{"Containers are well", "ill 0 running unhealthy", "container /loop "} {
		if !strings.Contains(out, want) {
			t.Errorf("health does not say %q:\n%s", want, out)
		}
	}
	s.must(t, "gw1", look) // once, and its words may come a moment later
	s.until(t, "gw1", told+` | grep -q "container ill: Up "`)
}
