//go:build hosts && judges

package acceptance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/sandbox"
)

// judged are the hosts of the profiles, beside an outsider who looks at them.
var judged = []string{"standard", "strict", "next"}

// judgedInventory is the fleet of the judged hosts. The outsider is never banned and
// never refused, because ssh-audit connects more often than people do.
func judgedInventory(t *testing.T, hosts []sandbox.Host) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("hosts:\n")
	addresses := map[string]string{}
	for _, h := range hosts {
		addresses[h.Name] = h.Address
		if slices.Contains(judged, h.Name) {
			profile := "standard"
			if h.Name == "strict" {
				profile = "strict"
			}
			fmt.Fprintf(&b, "  %s: {address: %s, vars: {profile: %s}}\n", h.Name, h.Address, profile)
		}
	}
	gateway := addresses["outsider"][:strings.LastIndex(addresses["outsider"], ".")] + ".1"
	fmt.Fprintf(&b, "vars: {never_ban: [%q, %q]}\n", gateway, addresses["outsider"])
	fmt.Fprintf(&b, "ssh: {users: [adminclaw, root], ports: [222, 22], keys: [%q], known_hosts: %q}\n", site.KeyPath(), site.KnownHostsPath())
	path := filepath.Join(t.TempDir(), "judged.yml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, address := range addresses {
		site.address[name] = address
	}
	return path
}

// court is the state of TestJudges.
type court struct {
	inventory string
	before    map[string]map[string]string
	index     int // of lynis, on the host of profile standard before anything was done
	applied   outcome
	planned   outcome
}

func (c *court) about(hosts, command string, more ...string) []string {
	argv := append([]string{command, "baseline"}, more...)
	return append(argv, "-i", c.inventory, "-l", hosts, "--output", "json")
}

// TestJudges lets tools that nobody here wrote judge the profiles on Debian 12 and 13,
// looks whether what servers do still works, and takes all of it back. Each part
// needs the one before it.
func TestJudges(t *testing.T) {
	bookworm, err := site.Up(t.Context(), sandbox.UpOptions{Names: judged[:2], Suite: "bookworm"})
	if err != nil {
		t.Fatal(err)
	}
	trixie, err := site.Up(t.Context(), sandbox.UpOptions{Names: []string{"next", "outsider"}, Suite: "trixie"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Down(t.Context(), append(slices.Clone(judged), "outsider")...); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	c := &court{inventory: judgedInventory(t, slices.Concat(bookworm, trixie)), before: map[string]map[string]string{}}
	everyone := strings.Join(judged, ",")
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"a fresh host does not pass", c.fresh},
		{"apply does what the plan said", func(t *testing.T) {
			c.planned = holdfast(t, c.about(everyone, "plan")...).want(t, 0)
			c.applied = holdfast(t, c.about(everyone, "apply", "--yes")...).want(t, 0)
			wantSame(t, c.planned, c.applied, judged)
		}},
		{"applied again, it changes nothing", func(t *testing.T) {
			again := holdfast(t, c.about(everyone, "apply", "--yes")...).want(t, 0)
			wantNoChange(t, again, judged)
			for host, f := range c.applied.finished() {
				t.Logf("%s: cold %s, converged %s", host, f.Duration.Round(time.Second), again.finished()[host].Duration.Round(10*time.Millisecond))
			}
		}},
		{"verify finds it as described", func(t *testing.T) { holdfast(t, c.about(everyone, "verify")...).want(t, 0) }},
		{"lynis", c.lynis},
		{"ssh-audit", c.sshAudit},
		{"what is open", c.open},
		{"what the host's own programs say", c.programs},
		{"a real ban", c.bans},
		{"upgrades that do not happen are told", c.upgrades},
		{"containers", c.containers},
		{"units of accounts", c.units},
		{"undo brings everything back", c.undo},
	} {
		began := time.Now()
		if !t.Run(part.name, part.run) {
			t.FailNow()
		}
		t.Logf("%s: %s", part.name, time.Since(began).Round(100*time.Millisecond))
	}
}

// together runs a script on several hosts at a time and returns what each printed.
func together(t *testing.T, hosts []string, script string) map[string]string {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out, failed := map[string]string{}, []error{}
	for _, host := range hosts {
		wg.Go(func() {
			var b bytes.Buffer
			status, err := site.Exec(t.Context(), host, strings.NewReader(script), &b, &b, "bash")
			if err == nil && status != 0 {
				err = fmt.Errorf("status %d of %s\n%s", status, script, b.String())
			}
			mu.Lock()
			defer mu.Unlock()
			out[host] = strings.TrimSpace(b.String())
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", host, err))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	return out
}

const installLynis = `export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends lynis >/dev/null 2>&1`

const runLynis = `TERM=dumb lynis audit system --quick --no-colors >/dev/null 2>&1
grep -oP '^hardening_index=\K[0-9]+' /var/log/lynis-report.dat`

func indexes(t *testing.T, hosts []string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for host, text := range together(t, hosts, runLynis) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: got the hardening index %q, want a number", host, text)
		}
		out[host] = n
	}
	return out
}

// fresh looks at the hosts as they come: a judge that passes them would be none.
func (c *court) fresh(t *testing.T) {
	holdfast(t, "facts", "-i", c.inventory, "--output", "json").want(t, 0) // a first login starts units
	together(t, judged, installLynis)
	together(t, []string{"outsider"}, `export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends ssh-audit curl >/dev/null 2>&1`)
	for _, host := range judged {
		c.before[host] = state(t, host)
	}
	c.index = indexes(t, judged[:1])[judged[0]]
	if c.index > 75 {
		t.Errorf("got the hardening index %d of a fresh host, want one that leaves room", c.index)
	}
	if _, status := try(t, "outsider", "ssh-audit -b "+site.address["standard"]); status != 2 && status != 3 {
		t.Errorf("ssh-audit of a fresh host: got status %d, want warnings or failures", status)
	}
	t.Logf("lynis %s: %d", console(t, "standard", "lynis --version"), c.index)
}

func (c *court) lynis(t *testing.T) {
	got := indexes(t, judged)
	versions := together(t, judged, "lynis --version")
	for host, want := range map[string]int{"standard": 89, "strict": 94, "next": 89} {
		t.Logf("%s: lynis %s: %d", host, versions[host], got[host])
		if got[host] < want {
			t.Errorf("%s: got the hardening index %d, want at least %d", host, got[host], want)
		}
	}
}

func (c *court) sshAudit(t *testing.T) {
	for host, policy := range map[string]string{
		"standard": "Hardened Debian 12 (version 2)",
		"strict":   "Hardened Debian 12 (version 2)",
		"next":     "Hardened OpenSSH Server v9.9 (version 1)",
	} {
		// The status is 0 when there is neither a failure nor a warning.
		if out, status := try(t, "outsider", "ssh-audit -b -l warn -p 222 "+site.address[host]); status != 0 {
			t.Errorf("%s: ssh-audit: got status %d\n%s", host, status, out)
		}
		if out, status := try(t, "outsider", fmt.Sprintf("ssh-audit -p 222 -P '%s' %s", policy, site.address[host])); status != 0 || !strings.Contains(out, "Passed") {
			t.Errorf("%s: the policy %s: got status %d\n%s", host, policy, status, out)
		}
	}
}

// open looks at the hosts from the inside and from another host.
func (c *court) open(t *testing.T) {
	for _, host := range judged {
		if got := console(t, host, `ss -Hltun | awk '{print $5}' | grep -vE '^(127\.|\[::1\]|.*%lo:)' | sed 's/.*://' | sort -u | xargs`); got != "222" {
			t.Errorf("%s: got the ports %q open to others, want 222 alone", host, got)
		}
		for port, want := range map[string]int{"22": 1, "222": 0} {
			if _, status := try(t, "outsider", fmt.Sprintf("timeout 3 bash -c '</dev/tcp/%s/%s' 2>/dev/null || exit 1", site.address[host], port)); status != want {
				t.Errorf("%s: port %s from another host: got status %d, want %d", host, port, status, want)
			}
		}
	}
}

// programs asks the programs that read the settings.
func (c *court) programs(t *testing.T) {
	for _, check := range []struct{ script, want string }{
		{"sshd -t && visudo -c >/dev/null && echo good", "good"},
		{"sshd -T | grep -E '^(usepam|allowusers|permitrootlogin|passwordauthentication|maxauthtries) ' | sort | xargs", "allowusers adminclaw maxauthtries 3 passwordauthentication no permitrootlogin no usepam yes"},
		{"systemd-analyze verify holdfast-docker-firewall.service holdfast-shm.service holdfast-aide-init.timer 2>&1 | grep -c holdfast || true", "0"},
		{"runuser -u openclaw -- su -c id root </dev/null >/dev/null 2>&1; echo $?", "1"},
		{"runuser -u openclaw -- sudo -n id >/dev/null 2>&1; echo $?", "1"},
		{"findmnt -no OPTIONS /dev/shm | tr , '\\n' | grep -xE 'noexec|nosuid|nodev' | sort | xargs", "nodev noexec nosuid"},
		{"su - adminclaw -c 'umask; ulimit -c; echo $TMOUT' | xargs", "0027 0 900"},
		{"aide --config /etc/aide/aide.conf --config-check && echo good", "good"},
		{"systemctl start holdfast-aide-init && test -s /var/lib/aide/aide.db && echo good", "good"},
		{"unattended-upgrade --dry-run -d 2>&1 | grep -c '^Allowed origins are:.*label=Debian-Security'", "1"},
		{"needrestart -b 2>/dev/null | grep -c NEEDRESTART-VER", "1"},
		{"apt-get update -qq >/dev/null 2>&1 && echo fetched", "fetched"},
		// The kernel of a guest has no audit: what fails must be the sending of a rule,
		// not its reading.
		{`grep -vE '^(#|$)' /etc/audit/rules.d/50-holdfast.rules | while read -r rule; do auditctl $rule 2>&1; done | grep -vE 'Operation not permitted|^Old style watch rules are slower|^There was an error while processing parameters' | head -3`, ""},
	} {
		for host, got := range together(t, judged, check.script) {
			if got != check.want {
				t.Errorf("%s: %s: got %q, want %q", host, check.script, got, check.want)
			}
		}
	}
}

// bans lets a stranger guess. Its address is refused then, and nobody else's.
func (c *court) bans(t *testing.T) {
	stranger := names[2]
	for _, host := range []string{"standard", "next"} {
		guess := fmt.Sprintf(`for i in 1 2 3; do ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=5 -p 222 guest@%s true 2>/dev/null; done; true`, site.address[host])
		console(t, stranger, guess)
		got := ""
		for range 60 {
			if got = console(t, host, "fail2ban-client status sshd | sed -n 's/.*Banned IP list:[[:space:]]*//p'"); got != "" {
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got != site.address[stranger] {
			t.Errorf("%s: got %q banned, want %s", host, got, site.address[stranger])
		}
		if _, status := try(t, stranger, fmt.Sprintf("timeout 3 bash -c '</dev/tcp/%s/222' 2>/dev/null", site.address[host])); status == 0 {
			t.Errorf("%s: the banned address still gets through", host)
		}
		console(t, host, "fail2ban-client unban --all")
	}
	holdfast(t, c.about("standard,next", "verify")...).want(t, 0)
}

// upgrades makes them not happen for three days.
func (c *court) upgrades(t *testing.T) {
	got := console(t, "standard", `systemctl start apt-daily-upgrade && echo well
echo 'APT::Periodic::Enable "0";' >/etc/apt/apt.conf.d/99test
touch -d '3 days ago' /var/lib/apt/periodic/upgrade-stamp
systemctl start apt-daily-upgrade 2>/dev/null || echo failed
for i in $(seq 50); do journalctl --sync; journalctl -q -t holdfast-failed -o cat | grep . && break; sleep 0.2; done
rm -f /etc/apt/apt.conf.d/99test; rm -rf /var/lib/apt/periodic/*; systemctl reset-failed apt-daily-upgrade`)
	if want := "well\nfailed\napt-daily-upgrade.service failed on standard"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// installDocker brings Docker and an image, which is a static program in a folder: no
// registry is asked. The storage of images cannot lie on an overlay.
const installDocker = `set -e
export DEBIAN_FRONTEND=noninteractive
mkdir -p /var/lib/docker && mount -t tmpfs tmpfs /var/lib/docker
apt-get install -y -qq --no-install-recommends docker.io busybox-static curl $(apt-cache show docker-cli >/dev/null 2>&1 && echo docker-cli) >/dev/null 2>&1
mkdir -p /root/image/bin /root/image/www
cp /bin/busybox /root/image/bin/
echo hello >/root/image/www/index.html
tar -C /root/image -c . | docker import - box >/dev/null
docker run -d --restart=always --name inside -p 127.0.0.1:8081:80 box /bin/busybox httpd -f -p 80 -h /www >/dev/null
docker run -d --restart=always --name public -p 8082:80 box /bin/busybox httpd -f -p 80 -h /www >/dev/null
for i in $(seq 50); do curl -sf -m 2 http://127.0.0.1:8082/ >/dev/null && curl -sf -m 2 http://127.0.0.1:8081/ && break; sleep 0.2; done
`

// containers runs some behind the firewall, before and after restarts.
func (c *court) containers(t *testing.T) {
	const host = "next"
	outside := func(what string, port, want int) {
		t.Helper()
		_, status := try(t, "outsider", fmt.Sprintf("curl -sf -m 4 http://%s:%d/ >/dev/null", site.address[host], port))
		if (status == 0) != (want == 0) {
			t.Errorf("%s: port %d from another host: got status %d, want %d", what, port, status, want)
		}
	}
	if got := console(t, host, installDocker); got != "hello" {
		t.Fatalf("got %q of a container over loopback, want hello", got)
	}
	console(t, host, fmt.Sprintf("docker run --rm box /bin/busybox nc -w 5 %s 22 </dev/null | grep -q SSH-", site.address["outsider"]))
	outside("published to loopback", 8081, 1)
	outside("published to everybody", 8082, 1)
	console(t, host, "systemctl restart docker && sleep 2 && curl -sf -m 4 http://127.0.0.1:8082/ >/dev/null")
	outside("after a restart of Docker", 8082, 1)
	console(t, host, "ufw reload >/dev/null && curl -sf -m 4 http://127.0.0.1:8082/ >/dev/null")
	outside("after a reload of ufw", 8082, 1)
	holdfast(t, c.about(host, "apply", "--yes", "-p", "docker_ports=[8082/tcp]")...).want(t, 0)
	outside("with its port in docker_ports", 8082, 0)
	outside("with another's port in docker_ports", 8081, 1)
	// The firewall keeps them out, and verify names a port that nobody asked for.
	if o := holdfast(t, c.about(host, "apply", "--yes")...).want(t, 5); !strings.Contains(o.failures(), "tcp/0.0.0.0:8082 is open and not in the list") {
		t.Errorf("got %s want the port of the container named", o.failures())
	}
	outside("without it again", 8082, 1)
	// Without the rules anybody gets through, so it is they that keep them out.
	console(t, host, "systemctl stop holdfast-docker-firewall")
	outside("without the rules", 8082, 0)
	console(t, host, "systemctl start holdfast-docker-firewall")
	outside("with the rules again", 8082, 1)
}

// units runs a service of the application's account that needs no login.
func (c *court) units(t *testing.T) {
	for host, got := range together(t, []string{"standard", "next"}, `set -e
# A console is in no unit, so logind does not know who asks.
systemd-run --quiet --wait loginctl enable-linger openclaw
home=/home/openclaw uid=$(id -u openclaw)
runuser -u openclaw -- mkdir -p $home/.config/systemd/user $home/www
runuser -u openclaw -- sh -c "echo served >$home/www/index.html"
printf '[Service]\nExecStart=/usr/bin/python3 -m http.server 18789 --bind 127.0.0.1 --directory %%h/www\n[Install]\nWantedBy=default.target\n' |
  runuser -u openclaw -- tee $home/.config/systemd/user/gateway.service >/dev/null
as() { runuser -u openclaw -- env XDG_RUNTIME_DIR=/run/user/$uid systemctl --user "$@" >/dev/null 2>&1; }
for i in $(seq 50); do test -S /run/user/$uid/bus && break; sleep 0.2; done
as enable --now gateway
for i in $(seq 50); do curl -sf -m 2 http://127.0.0.1:18789/ && break; sleep 0.2; done
as disable --now gateway
systemd-run --quiet --wait loginctl disable-linger openclaw
rm -rf $home/.config $home/www`) {
		if got != "served" {
			t.Errorf("%s: got %q from a unit of the account, want served", host, got)
		}
	}
}

// undo takes the two hosts back on which nothing else was installed.
func (c *court) undo(t *testing.T) {
	hosts := judged[:2]
	together(t, hosts, "rm -rf /var/lib/aide/*; ls /tmp >/dev/null")
	argv := []string{"undo", c.applied.run(), "-i", c.inventory, "-l", strings.Join(hosts, ","), "--output", "json"}
	holdfast(t, argv...).want(t, 0)
	for _, host := range hosts {
		wantState(t, host, c.before[host])
	}
	if got := indexes(t, judged[:1])[judged[0]]; got != c.index {
		t.Errorf("got the hardening index %d after the undo, want %d as before", got, c.index)
	}
}
