//go:build hosts

package openclaw_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// receivers are what Telegram, Discord, ntfy, a webhook and a watchdog are to a host.
type receivers struct {
	mu     sync.Mutex
	got    map[string][]string // bodies by the first folder of the path
	broken string              // the folder that answers 500
	seen   bytes.Buffer        // arguments of all processes while one was asked
	look   func() string
	*httptest.Server
}

func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := strings.SplitN(req.URL.Path, "/", 3)[1]
	if strings.HasPrefix(kind, "bot") {
		kind = "telegram"
		r.seen.WriteString(r.look())
	}
	if err != nil || kind == r.broken {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	text := string(body)
	if kind == "ntfy" {
		text = req.Header.Get("X-Priority") + " " + req.Header.Get("Authorization") + " " + text
	}
	r.got[kind] = append(r.got[kind], req.URL.RequestURI()+"\n"+text)
}

// take returns what came of a kind since it was last called, read as its service would.
func (r *receivers) take(t *testing.T, kind string) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, one := range r.got[kind] {
		at, text, _ := strings.Cut(one, "\n")
		var body struct {
			Text, Content, Title, Message, Level, Host string
			ChatID                                     string                   `json:"chat_id"`
			Mentions                                   struct{ Parse []string } `json:"allowed_mentions"`
		}
		if kind == "ping" {
			text = at
		} else if kind != "ntfy" {
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Errorf("%s is sent what is no JSON: %v\n%s", kind, err, text)
			}
			text = body.Text + body.Content + body.Message
		}
		switch {
		case kind == "telegram" && (body.ChatID != "-100123" || at != "/bot123456:canary-tg-51c/sendMessage"),
			kind == "discord" && (body.Mentions.Parse == nil || at != "/discord/canary-dc-51c"),
			kind == "ntfy" && (at != "/ntfy/canary-topic-51c" || !strings.Contains(text, " Bearer canary-nt-51c ")),
			kind == "webhook" && (body.Title != alertsName || body.Host != alertsName || at != `/webhook?key=canary-wh-51c&b=%22`):
			t.Errorf("%s was asked at %s for %+v", kind, at, body)
		}
		out = append(out, text)
	}
	delete(r.got, kind)
	return strings.Join(out, "\n--\n")
}

const alertsName = `gw "1" 100% \n ü`

const alertsParams = `channels: {telegram: tg, discord: dc, ntfy: topic, ntfy_token: nt, webhook: wh, ping: pg}
telegram_chat: "-100123"
name: 'gw "1" 100% \n ü'
every: 24h
disk: {warning: 99, critical: 100}
memory: {}
load: {}
restarts: 1
patience: 1
ignored_units: [fine.service]
backup_dirs: [/var/backups/watched]
certificates: [/etc/watched/*.crt]
`

// TestAlerts provokes each fault and looks what people are told, by each way.
func TestAlerts(t *testing.T) {
	s := gateways(t, "gw1")
	route, _ := s.console(t, "gw1", "ip -4 route show default | awk '{print $3}'")
	ln, err := net.Listen("tcp", strings.TrimSpace(route)+":0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receivers{got: map[string][]string{}, look: func() string {
		out, _ := s.console(t, "gw1", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '")
		return out
	}}
	r.Server = httptest.NewUnstartedServer(r)
	r.Listener = ln
	r.Start()
	t.Cleanup(r.Close)
	for name, text := range map[string]string{"tg": "123456:canary-tg-51c", "dc": r.URL + "/discord/canary-dc-51c", "topic": "canary-topic-51c", "nt": "canary-nt-51c",
		"wh": r.URL + `/webhook?key=canary-wh-51c&b=%22`, "pg": r.URL + "/ping/canary-pg-51c"} {
		s.try(t, "", "secret", "rm", name) // of a run before
		s.run(t, 0, text, "secret", "set", name)
	}
	s.write(t, "alerts.yml", alertsParams+"telegram_api: "+r.URL+"\nntfy_server: "+r.URL+"/ntfy\n")
	kinds := []string{"telegram", "discord", "ntfy", "webhook"}
	// told is what each of them was told, which must hold the texts and nothing else.
	told := func(first string, lines ...string) {
		t.Helper()
		for _, kind := range kinds {
			got := r.take(t, kind)
			_, body, _ := strings.Cut(got, first+": "+alertsName+"\n")
			if body == "" || strings.Contains(body, "\n--\n") {
				t.Errorf("%s was told\n%s\nwant %s and %q", kind, got, first, lines)
				continue
			}
			for _, line := range lines {
				if !strings.Contains(body, line) {
					t.Errorf("%s was told\n%s\nwithout %q", kind, got, line)
				}
			}
			for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
				known := strings.HasSuffix(line, " in all")
				for _, want := range lines {
					known = known || strings.Contains(line, want)
				}
				if !known {
					t.Errorf("%s was told %q, which nobody expects", kind, line)
				}
			}
		}
	}
	silent := func() {
		t.Helper()
		for _, kind := range kinds {
			if got := r.take(t, kind); got != "" {
				t.Errorf("%s was told\n%s\nwant silence", kind, got)
			}
		}
	}
	// look is what the timer does; it ends with a status.
	look := func(status int, ping bool) {
		t.Helper()
		r.take(t, "ping")
		out, got := s.console(t, "gw1", "systemctl start holdfast-watch.service; code=$?; systemctl reset-failed holdfast-watch.service; exit $code")
		if got != status {
			log, _ := s.console(t, "gw1", "journalctl -o cat -n 20 --no-pager -u holdfast-watch")
			t.Errorf("a look ends with %d, want %d\n%s%s", got, status, out, log)
		}
		if got := r.take(t, "ping") != ""; got != ping {
			t.Errorf("the watchdog heard something: %v, want %v", got, ping)
		}
	}
	do := func(script string) {
		t.Helper()
		if out, status := s.console(t, "gw1", "set -e\n"+bus+script); status != 0 {
			t.Fatalf("%d: %s", status, out)
		}
	}
	const backup = "mkdir -p /var/backups/watched; echo x >/var/backups/watched/one\n"
	do(backup + "systemctl reset-failed")

	// The first apply tells everybody; the next changes nothing and says nothing.
	s.run(t, 0, "", "apply", "host-alerts", "--params", "alerts.yml", "-l", "gw1")
	told("OK", "This host is watched from now on.")
	installed := s.lastRun(t, "host-alerts", "gw1")
	if out := s.run(t, 0, "", "apply", "host-alerts", "--params", "alerts.yml", "-l", "gw1"); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	const quiet = `systemctl stop holdfast-watch.timer
for n in $(seq 60); do case $(systemctl is-active holdfast-watch) in activ*) sleep 1 ;; *) break ;; esac; done`
	do(quiet) // the timer would look in between
	look(0, true)
	silent()

	// All at once: one message, the worst level first.
	do(`mkdir -p /etc/watched /mnt/small /srv/full
cat >/etc/watched/'short.crt' <<'END'
` + certificate(t, 80, 10) + `END
cat >/etc/watched/renewed.crt <<'END'
` + certificate(t, 10, 80) + `END
mount -t tmpfs -o size=1m none /mnt/small; mkdir /mnt/small/up /mnt/small/work /mnt/small/low
mount -t overlay -o lowerdir=/mnt/small/low,upperdir=/mnt/small/up,workdir=/mnt/small/work none /srv/full
dd if=/dev/zero of=/srv/full/x bs=64k 2>/dev/null || true
cat >/usr/bin/tailscale <<'END'
#!/bin/sh
[ "$*" = "status --json --peers=false" ] && date -u -d '10 days' '+    "KeyExpiry": "%Y-%m-%dT%H:%M:%SZ"'
END
chmod 0755 /usr/bin/tailscale
touch -d '30 hours ago' /var/backups/watched/one
systemd-run -q --unit=broken false || true; systemd-run -q --unit=fine false || true
for n in 1 2 3 4 5 6 7 8 9 10; do systemctl is-failed -q broken fine && break; sleep 1; done
bus stop openclaw-gateway`)
	look(0, true)
	told("CRITICAL", "critical: the gateway does not answer", "critical: the unit of the gateway is not active: inactive", "critical: /srv/full: 100% of its space are used",
		"warning: the newest backup is 30 hours old", "warning: broken.service failed", "warning: /etc/watched/short.crt ends in",
		"warning: the key of the tailnet ends in ")
	look(0, true)
	silent()

	// One that gets worse is told, and of a channel that is down the others tell.
	r.broken = "discord"
	do("touch -d '60 hours ago' /var/backups/watched/one")
	kinds = []string{"telegram", "ntfy", "webhook"}
	look(1, false)
	told("CRITICAL", "critical, was warning: the newest backup is 60 hours old")
	look(1, false)
	told("CRITICAL", "warning: discord takes no messages: status 500")
	if out := s.run(t, 5, "", "verify", "host-alerts", "--params", "alerts.yml", "-l", "gw1"); strings.Contains(out, "canary") {
		t.Errorf("a secret is shown:\n%s", out)
	}

	// All is over. Discord is told of what it missed, in its own time.
	r.broken = ""
	do(backup + `umount /srv/full /mnt/small; rm -r /etc/watched /usr/bin/tailscale; systemctl reset-failed
bus start openclaw-gateway`)
	s.run(t, 0, "", "apply", "./ready.yml", "-l", "gw1")
	look(0, true)
	kinds = []string{"telegram", "discord", "ntfy", "webhook"}
	for _, kind := range kinds {
		got := r.take(t, kind)
		for _, want := range []string{"over: the newest backup is ", "over: the gateway does not answer", "over: /srv/full", "over: broken.service", "over: /etc/watched/short.crt", "over: the key of the tailnet"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s was told\n%s\nwithout %q", kind, got, want)
			}
		}
	}
	look(0, true)
	for _, kind := range kinds {
		if got := r.take(t, kind); kind == "discord" && got != "" || kind != "discord" && !strings.Contains(got, "over: discord takes no messages") {
			t.Errorf("%s was told %q", kind, got)
		}
	}

	// A gateway that refuses the token of its own file and complains of its settings, and one
	// that was killed.
	do(`cd /home/openclaw/.openclaw; cp -p openclaw.json /root/good.json; sed -i '0,/{/s//{"nonsense": 1,/' openclaw.json
for n in $(seq 120); do journalctl -q -o cat _SYSTEMD_USER_UNIT=openclaw-gateway.service | grep -q 'config reload skipped' && break; sleep 1; done
cp -p /root/good.json openclaw.json; rm /root/good.json
said() { journalctl -q -o cat _SYSTEMD_USER_UNIT=openclaw-gateway.service | grep -c 'config reload skipped'; }
for n in $(seq 20); do before=$(said); sleep 6; [ "$(said)" = "$before" ] && break; done # it has no more to say of them
`)
	do("cd /home/openclaw/.openclaw/secrets; cp -p gateway-token /root/was; echo not-the-token-of-this-gateway >gateway-token\n" +
		"echo 'Memory cgroup out of memory: Killed process 4242 (node)' | systemd-cat; journalctl --sync; sleep 1.1") // a second is looked at once
	look(0, true)
	told("CRITICAL", "critical: the gateway refuses its own token (401)", "warning: processes were killed for want of memory since the last look: 1", "warning: the log of the gateway has \"settings\" ")
	do(`cp -p /root/was /home/openclaw/.openclaw/secrets/gateway-token; rm /root/was
kill -9 "$(bus show -P MainPID openclaw-gateway)"
for n in $(seq 120); do [ "$(bus show -P NRestarts openclaw-gateway)" -gt 0 ] && break; sleep 1; done`)
	s.run(t, 0, "", "apply", "./ready.yml", "-l", "gw1")
	look(0, true)
	told("WARNING", "over: the gateway refuses its own token", "over: processes were killed for want of memory", "over: the log of the gateway has \"settings\" ", "warning: the gateway was restarted 1 times")

	// Limits are data. What goes on is told again when its time has come.
	s.write(t, "alerts2.yml", alertsParams[:strings.Index(alertsParams, "disk:")]+"repeat_hours: 2\ndisk: {warning: 1}\nload: {}\nmemory: {warning: 1}\nbackup_dirs: [/no/such/folder]\ncertificates: []\npatience: 1\n"+
		"telegram_api: "+r.URL+"\nntfy_server: "+r.URL+"/ntfy\n")
	s.run(t, 0, "", "apply", "host-alerts", "--params", "alerts2.yml", "-l", "gw1")
	do(quiet)
	look(0, true)
	told("WARNING", "over: the gateway was restarted", "warning: /: ", "% of the memory are used", "warning: there is no backup in /no/such/folder", "% of its space are used", "% of its inodes are used")
	do("touch -d '3 hours ago' /run/holdfast-watch/told-*")
	look(0, true)
	told("WARNING", "still warning: ")
	do("rm -r /run/holdfast-watch") // what a boot does
	look(0, true)
	silent()

	if strings.Contains(r.seen.String(), "canary") || !strings.Contains(r.seen.String(), "curl") {
		t.Errorf("secrets are seen among the processes:\n%s", r.seen.String())
	}
	if out, _ := s.console(t, "gw1", "journalctl --no-pager | grep -c canary; find /etc/holdfast/watch -perm /077; grep -rl canary /var/lib/holdfast /var/lib/holdfast-watch /run/holdfast-watch /etc/systemd"); strings.TrimSpace(out) != "0" {
		t.Errorf("secrets are in %s", out)
	}
	s.run(t, 0, "", "undo", "last", "-l", "gw1")
	s.run(t, 0, "", "undo", installed, "-l", "gw1")
	if out, _ := s.console(t, "gw1", "ls -d /etc/holdfast/watch /var/lib/holdfast-watch /run/holdfast-watch /etc/systemd/system/holdfast-watch* /usr/local/sbin/holdfast-watch 2>/dev/null"); out != "" {
		t.Errorf("taken back, there is still\n%s", out)
	}
}

// certificate is one that began and ends so many days from now.
func certificate(t *testing.T, began, ends int) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Duration(began) * day), NotAfter: time.Now().Add(time.Duration(ends) * day)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
