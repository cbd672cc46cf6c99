//go:build hosts && judges

package acceptance_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/runner/sandbox"
)

// judgedHost is a host that is hardened and judged.
type judgedHost struct {
	name, suite, profile string
	index                int    // of lynis, at least
	policy               string // of ssh-audit
	docker               bool   // containers run on it
	undo                 bool   // it comes back as it was
}

// judged are the hosts of the profiles on Debian 12, and others where they are asked for.
var judged = append([]judgedHost{
	{name: "standard", suite: "bookworm", index: 89, policy: "Hardened Debian 12 (version 2)", docker: true, undo: true},
	{name: "strict", suite: "bookworm", profile: "strict", index: 94, policy: "Hardened Debian 12 (version 2)", undo: true},
}, judgedElsewhere...)

// outsider looks at the judged from outside, and stranger is one that guesses.
var outsider, stranger = names[1], names[2]

// those returns the names of the judged hosts that are asked for.
func those(is func(judgedHost) bool) (out []string) {
	for _, h := range judged {
		if is(h) {
			out = append(out, h.name)
		}
	}
	return out
}

func everybody(judgedHost) bool   { return true }
func standards(h judgedHost) bool { return h.profile == "" }

// judgedInventory is the fleet of the judged hosts. The outsider is never banned and
// never refused, because ssh-audit connects more often than people do.
func judgedInventory(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("hosts:\n")
	for _, h := range judged {
		profile := cmp.Or(h.profile, "standard")
		fmt.Fprintf(&b, "  %s: {address: %s, vars: {profile: %s}}\n", h.name, site.address[h.name], profile)
	}
	address := site.address[outsider]
	gateway := address[:strings.LastIndex(address, ".")] + ".1"
	fmt.Fprintf(&b, "vars: {never_ban: [%q, %q]}\n", gateway, address)
	fmt.Fprintf(&b, "ssh: {users: [adminclaw, root], ports: [222, 22], keys: [%q], known_hosts: %q}\n", site.KeyPath(), site.KnownHostsPath())
	path := filepath.Join(t.TempDir(), "judged.yml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
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

// TestJudges lets tools that nobody here wrote judge the profiles, looks whether what
// servers do still works, and takes all of it back. Each part needs the one before it.
func TestJudges(t *testing.T) {
	bySuite := map[string][]string{}
	for _, h := range judged {
		bySuite[h.suite] = append(bySuite[h.suite], h.name)
	}
	t.Cleanup(func() {
		if err := site.Down(context.WithoutCancel(t.Context()), those(everybody)...); err != nil {
			t.Error(err)
		}
	})
	for suite, names := range bySuite {
		hosts, err := site.Up(t.Context(), sandbox.UpOptions{Names: names, Suite: suite})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			site.address[h.Name] = h.Address
		}
	}
	fresh(t, outsider, stranger)
	c := &court{inventory: judgedInventory(t), before: map[string]map[string]string{}}
	everyone := strings.Join(those(everybody), ",")
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"a fresh host does not pass", c.fresh},
		{"apply does what the plan said", func(t *testing.T) {
			c.planned = holdfast(t, c.about(everyone, "plan")...).want(t, 0)
			c.applied = holdfast(t, c.about(everyone, "apply", "--yes")...).want(t, 0)
			wantSame(t, c.planned, c.applied, those(everybody))
		}},
		{"applied again, it changes nothing", func(t *testing.T) {
			again := holdfast(t, c.about(everyone, "apply", "--yes")...).want(t, 0)
			wantNoChange(t, again, those(everybody))
			for host, f := range c.applied.finished() {
				t.Logf("%s: cold %s, converged %s", host, f.Duration.Round(time.Second), again.finished()[host].Duration.Round(10*time.Millisecond))
			}
		}},
		{"verify finds it as described", func(t *testing.T) { holdfast(t, c.about(everyone, "verify")...).want(t, 0) }},
		{"lynis", c.lynis},
		{"ssh-audit", c.sshAudit},
		{"what is open", c.open},
		{"what the host's own programs say", c.programs},
		{"the scorecard, kept and compared", c.scorecard},
		{"a file that changed is told", c.intruder},
		{"a real ban", c.bans},
		{"units of accounts", c.units},
		{"undo brings everything back", c.undo},
		{"containers", c.containers},
		{"upgrades that do not happen are told", c.upgrades},
		{"a reboot", c.reboot},
	} {
		began := time.Now()
		if !t.Run(part.name, part.run) {
			t.FailNow()
		}
		t.Logf("%s: %s", part.name, time.Since(began).Round(100*time.Millisecond))
	}
}

// reboot starts a hardened host anew, by the program: what was set is there again before
// anybody can log in, and nobody is locked out.
func (c *court) reboot(t *testing.T) {
	play := playbook(t, "playbook: again\nversion: 1.0.0\ntasks:\n  - reboot: {delay: 1}\n    timeout: 5m\n")
	holdfast(t, "apply", play, "-i", c.inventory, "-l", "standard", "--yes", "--output", "json").want(t, 0)
	again := holdfast(t, c.about("standard", "apply", "--yes")...).want(t, 0)
	// A guest's parameters are files, over which a boot writes short values and leaves the
	// ends of long ones.
	for deed := range deeds(again) {
		if !strings.Contains(deed, " sysctl ") {
			t.Errorf("after the reboot the run does %s", deed)
		}
	}
	// Its kernel has no audit, so that daemon alone does not come up.
	if got := console(t, "standard", "ufw status | head -1; fail2ban-client status sshd | grep -c 'Currently banned'; systemctl is-active holdfast-docker-firewall; findmnt -no OPTIONS /dev/shm | grep -c noexec; systemctl --failed --no-legend --plain | awk '{print $1}'"); got != "Status: active\n1\nactive\n1\nauditd.service" {
		t.Errorf("got %q after the reboot", got)
	}
	c.opened(t, "standard")
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

// newerAudit brings the ssh-audit of the next release to a host, which the policies
// need. It needs nothing else from there.
const newerAudit = `set -e
export DEBIAN_FRONTEND=noninteractive
cd /etc/apt/sources.list.d
for file in *; do sed s/bookworm/trixie/g "$file" >"trixie-$file"; done
echo 'APT::Default-Release "bookworm";' >/etc/apt/apt.conf.d/00bookworm
apt-get update -qq >/dev/null 2>&1
apt-get install -y -qq --no-install-recommends ssh-audit/trixie curl >/dev/null 2>&1
ssh-audit -h | grep -o 'v[0-9.]*' | head -1`

// fresh looks at the hosts as they come: a judge that passes them would be none.
func (c *court) fresh(t *testing.T) {
	holdfast(t, "facts", "-i", c.inventory, "--output", "json").want(t, 0) // a first login starts units
	together(t, those(everybody), installLynis)
	t.Logf("ssh-audit %s", console(t, outsider, newerAudit))
	for _, host := range those(everybody) {
		c.before[host] = state(t, host)
	}
	c.index = indexes(t, []string{"standard"})["standard"]
	if c.index > 75 {
		t.Errorf("got the hardening index %d of a fresh host, want one that leaves room", c.index)
	}
	if out, status := try(t, outsider, "ssh-audit -b "+site.address["standard"]); status != 2 && status != 3 {
		t.Errorf("ssh-audit of a fresh host: got status %d, want warnings or failures\n%s", status, out)
	}
	t.Logf("lynis %s: %d", console(t, "standard", "lynis --version"), c.index)
}

func (c *court) lynis(t *testing.T) {
	got := indexes(t, those(everybody))
	versions := together(t, those(everybody), "lynis --version")
	for _, h := range judged {
		t.Logf("%s: lynis %s: %d", h.name, versions[h.name], got[h.name])
		if got[h.name] < h.index {
			t.Errorf("%s: got the hardening index %d, want at least %d", h.name, got[h.name], h.index)
		}
	}
}

func (c *court) sshAudit(t *testing.T) {
	for _, h := range judged {
		// The status is 0 when there is neither a failure nor a warning.
		if out, status := try(t, outsider, "ssh-audit -b -l warn -p 222 "+site.address[h.name]); status != 0 {
			t.Errorf("%s: ssh-audit: got status %d\n%s", h.name, status, out)
		}
		if out, status := try(t, outsider, fmt.Sprintf("ssh-audit -p 222 -P '%s' %s", h.policy, site.address[h.name])); status != 0 || !strings.Contains(out, "Passed") {
			t.Errorf("%s: the policy %s: got status %d\n%s", h.name, h.policy, status, out)
		}
	}
}

// open looks at the hosts from the inside and from another host.
func (c *court) open(t *testing.T) {
	for _, host := range those(everybody) {
		c.opened(t, host)
	}
}

func (c *court) opened(t *testing.T, host string) {
	t.Helper()
	if got := console(t, host, `ss -Hltun | awk '{print $5}' | grep -vE '^(127\.|\[::1\]|.*%lo:)' | sed 's/.*://' | sort -u | xargs`); got != "222" {
		t.Errorf("%s: got the ports %q open to others, want 222 alone", host, got)
	}
	for port, want := range map[string]int{"22": 1, "222": 0} {
		if _, status := try(t, outsider, fmt.Sprintf("timeout 3 bash -c '</dev/tcp/%s/%s' 2>/dev/null || exit 1", site.address[host], port)); status != want {
			t.Errorf("%s: port %s from another host: got status %d, want %d", host, port, status, want)
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
		{"unattended-upgrade --dry-run -d 2>&1 | grep -cE '^Allowed origins are:.*(label=Debian-Security|archive=[a-z]+-security)'", "1"},
		{"needrestart -b 2>/dev/null | grep -c NEEDRESTART-VER", "1"},
		{"apt-get update -qq >/dev/null 2>&1 && echo fetched", "fetched"},
		// The kernel of a guest has no audit: what fails must be the sending of a rule,
		// not its reading.
		{`grep -vE '^(#|$)' /etc/audit/rules.d/50-holdfast.rules | while read -r rule; do auditctl $rule 2>&1; done | grep -vE 'Operation not permitted|^Old style watch rules are slower|^There was an error while processing parameters' | head -3`, ""},
	} {
		for host, got := range together(t, those(everybody), check.script) {
			if got != check.want {
				t.Errorf("%s: %s: got %q, want %q", host, check.script, got, check.want)
			}
		}
	}
}

// scorecard lets the scorecard look twice: what it found is kept, and compared.
func (c *court) scorecard(t *testing.T) {
	argv := []string{"audit", "standard", "-i", c.inventory, "-p", "judges=false", "-v"}
	history := []string{"HOLDFAST_HISTORY=" + t.TempDir()}
	first := holdfastWith(t, history, argv...).want(t, 0)
	for _, line := range []string{"A firewall is up", "root does not log in by SSH", "SSH lets nobody in with a password", "Kernel parameters", "Nothing is open to other machines"} {
		if !regexp.MustCompile(`(?m)^  pass +` + line).MatchString(first.stdout) {
			t.Errorf("got no %q that passes in\n%s", line, first.stdout)
		}
	}
	console(t, "standard", "sysctl -qw net.ipv4.conf.all.send_redirects=1")
	worse := holdfastWith(t, history, argv...).want(t, 5)
	console(t, "standard", "sysctl -qw net.ipv4.conf.all.send_redirects=0")
	if !regexp.MustCompile(`worse +Kernel parameters.*: pass → fail`).MatchString(worse.stdout) {
		t.Errorf("got no line that became worse in\n%s", worse.stdout)
	}
	if kept := holdfastWith(t, history, "audit", "standard", "-i", c.inventory, "--history").want(t, 0); strings.Count(kept.stdout, "standard ") < 2 {
		t.Errorf("got\n%s\nwant two audits", kept.stdout)
	}
}

// intruder leaves a file where programs lie. The check of the day says nothing before,
// and fails afterwards, which is told. The database is made anew first: it may be older
// than what the judges before did to the host.
func (c *court) intruder(t *testing.T) {
	got := console(t, "standard", `rm -f /var/lib/aide/aide.db; systemctl start holdfast-aide-init && test -s /var/lib/aide/aide.db && echo made
systemctl start dailyaidecheck && echo quiet
systemctl reset-failed dailyaidecheck
touch /usr/local/sbin/intruder
systemctl start dailyaidecheck 2>/dev/null || echo failed
for i in $(seq 50); do journalctl --sync; journalctl -q -t holdfast-failed -o cat | grep aide && break; sleep 0.2; done
rm /usr/local/sbin/intruder
grep -o '/usr/local/sbin/intruder' /var/log/aide/aide.log | head -1
systemctl reset-failed dailyaidecheck`)
	if want := "made\nquiet\nfailed\ndailyaidecheck.service failed on standard"; !strings.HasPrefix(got, want) || !strings.Contains(got, "intruder") {
		t.Errorf("got %q, want %q and the file named", got, want)
	}
}

// bans lets a stranger guess. Its address is refused then, and nobody else's.
func (c *court) bans(t *testing.T) {
	for _, host := range those(standards) {
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
	holdfast(t, c.about(strings.Join(those(standards), ","), "verify")...).want(t, 0)
}

// upgrades makes them not happen for three days.
func (c *court) upgrades(t *testing.T) {
	got := console(t, "standard", `systemctl start apt-daily-upgrade && echo well
echo 'APT::Periodic::Enable "0";' >/etc/apt/apt.conf.d/99test
touch -d '3 days ago' /var/lib/apt/periodic/upgrade-stamp
systemctl start apt-daily-upgrade 2>/dev/null || echo failed
for i in $(seq 50); do journalctl --sync; journalctl -q -t holdfast-failed -o cat | grep ^apt- && break; sleep 0.2; done
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

// containers runs some on hosts that are hardened once more. What Docker brings is no
// change of a run, so that it comes after the undo.
func (c *court) containers(t *testing.T) {
	hosts := those(func(h judgedHost) bool { return h.docker })
	holdfast(t, c.about(strings.Join(hosts, ","), "apply", "--yes")...).want(t, 0)
	for _, host := range hosts {
		c.contain(t, host)
	}
}

// contain runs containers behind the firewall, before and after restarts.
func (c *court) contain(t *testing.T, host string) {
	outside := func(what string, port, want int) {
		t.Helper()
		_, status := try(t, outsider, fmt.Sprintf("curl -sf -m 4 http://%s:%d/ >/dev/null", site.address[host], port))
		if (status == 0) != (want == 0) {
			t.Errorf("%s: port %d from another host: got status %d, want %d", what, port, status, want)
		}
	}
	if got := console(t, host, installDocker); got != "hello" {
		t.Fatalf("got %q of a container over loopback, want hello", got)
	}
	console(t, host, fmt.Sprintf("docker run --rm box /bin/busybox nc -w 5 %s 22 </dev/null | grep -q SSH-", site.address[outsider]))
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
	for host, got := range together(t, those(standards), `set -e
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

// undo takes the run back. What services made while they ran is no change of the run:
// the database of files, and an empty list of sources, which the library of
// unattended-upgrades makes when there is none.
func (c *court) undo(t *testing.T) {
	hosts := those(func(h judgedHost) bool { return h.undo })
	together(t, hosts, "rm -rf /var/lib/aide/*; test -s /etc/apt/sources.list || rm -f /etc/apt/sources.list")
	argv := []string{"undo", c.applied.run(), "-i", c.inventory, "-l", strings.Join(hosts, ","), "--output", "json"}
	holdfast(t, argv...).want(t, 0)
	for _, host := range hosts {
		wantState(t, host, c.before[host])
	}
	if got := indexes(t, []string{"standard"})["standard"]; got != c.index {
		t.Errorf("got the hardening index %d after the undo, want %d as before", got, c.index)
	}
}
