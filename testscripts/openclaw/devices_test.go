//go:build hosts

package openclaw_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repair is the command that repairs, with a receiver of alerts on the host itself: the
// controller of the tests is no server.
func repair(host string, more ...string) []string {
	return append([]string{"apply", "repair-devices", "-l", host, "-p", "devices={platform: device_key}", "-p", "webhook=[alert_url]"}, more...)
}

// alerts takes alerts as a webhook does, on this machine.
type alerts struct{ got chan string }

func (a *alerts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	_, _ = bufio.NewReader(r.Body).WriteTo(&b) // half a message fails the test as well
	a.got <- b.String()
	w.WriteHeader(http.StatusNoContent)
}

// told is what was told since it was asked last.
func (a *alerts) told() (out []string) {
	for {
		select {
		case text := <-a.got:
			out = append(out, text)
		default:
			return out
		}
	}
}

// TestRepairDevices takes a device away, in ways that happen, and has it repaired, with a
// stranger who waits beside it.
func TestRepairDevices(t *testing.T) {
	const host = "gw1"
	s := gateways(t, host)
	s.watch(t, "gateway_token", "device_key", "stranger_key")
	a := &alerts{got: make(chan string, 100)}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	s.run(t, 0, server.URL+"/alert", "secret", "set", "alert_url")
	for name, text := range map[string]string{"device.yml": device, "connects.yml": connects, "stranger.yml": stranger, "revoke.yml": revoke} {
		s.write(t, name, text)
	}

	out := s.run(t, 0, "", repair(host)...)
	if told := a.told(); len(told) != 1 || !strings.Contains(told[0], "platform: not paired") || !strings.Contains(told[0], "nobody") {
		t.Errorf("a device that was not paired is told as %q\n%s", told, out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
	if out := s.run(t, 0, "", repair(host)...); !strings.Contains(out, " 0 tasks changed") || len(a.told()) > 0 {
		t.Errorf("all is well, and something is done or told:\n%s", out)
	}

	// Somebody with the token and a key of their own waits, with every scope that there is.
	s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
	for _, take := range [][]string{{"./device.yml", "-p", "state=absent"}, {"./revoke.yml"}} {
		s.run(t, 0, "", append([]string{"apply", "-l", host}, take...)...)
		s.run(t, 0, "", "apply", "./connects.yml", "-l", host, "-p", "expect=[not paired]")
		if out := s.run(t, 5, "", repair(host, "-p", "repair=false")...); !strings.Contains(out, "every device gets in") {
			t.Errorf("looking alone does not end with what is wrong:\n%s", out)
		}
		s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
		a.told()
		out := s.run(t, 0, "", repair(host)...)
		told := strings.Join(a.told(), "\n")
		for _, want := range []string{"platform: not paired", "gateway-client from 203.0.113.9 since ", "operator.admin", "not approved"} {
			if !strings.Contains(told, want) {
				t.Errorf("%q lacks %q\n%s", told, want, out)
			}
		}
		s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
	}
	s.run(t, 0, "", "apply", "./stranger.yml", "-l", host)
	if n := len(s.deviceTokens(t, host)); n != 1 {
		t.Errorf("%d devices are paired, want 1", n)
	}
	s.restart(t, host)
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)

	// A gateway that cannot be asked is told too, and ends the run as failed.
	out = s.run(t, 5, "", repair(host, "-p", "gateway_token=other_token")...)
	if told := strings.Join(a.told(), "\n"); !strings.Contains(told, "cannot be looked at") || !strings.Contains(told, "critical") {
		t.Errorf("told %q\n%s", told, out)
	}
	s.noSecrets(t, host, "gateway_token", "device_key", "stranger_key", "alert_url")
}

// stranger leaves a request, or finds that it may not come in.
const stranger = `playbook: stranger
version: 1.0.0
tasks:
  - openclaw_health:
      token: ${secret("gateway_token")}
      device: ${secret("stranger_key")}
      scopes: [operator.read, operator.write, operator.admin]
      forwarded: 203.0.113.9
      expect: [not paired]
`

const revoke = `playbook: revoke
version: 1.0.0
tasks:
  - openclaw_device: {device: '${secret("device_key")}', token: '${secret("gateway_token")}', state: revoked}
`

// TestSchedule lets a timer on a bastion repair what a gateway has lost, with the units that
// the README of repair-devices has.
func TestSchedule(t *testing.T) {
	const host, bastion = "gw1", "bastion"
	s := gateways(t, host)
	if err := project.Down(t.Context(), bastion); err != nil {
		t.Fatal(err)
	}
	s.hosts(t, bastion)
	t.Cleanup(func() {
		if err := project.Down(context.Background(), bastion); err != nil {
			t.Error(err)
		}
	})
	s.write(t, "connects.yml", connects)
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host, "-p", "expect=[not paired]")

	key, known := project.KeyPath(), project.KnownHostsPath()
	inventory := fmt.Sprintf("hosts: {%s: {address: %s}}\ngroups: {gateways: {hosts: [%s]}}\nssh: {users: [root], keys: [/home/fleet/%s], known_hosts: /home/fleet/%s}\n",
		host, s.address(t, host), host, filepath.Base(key), filepath.Base(known))
	s.must(t, bastion, "useradd --create-home fleet && mkdir /srv/fleet")
	for _, what := range [][2]string{{filepath.Join(project.dir, "secrets"), "/srv/fleet"}, {filepath.Join(project.dir, ".config"), "/home/fleet"},
		{project.binary, "/usr/local/bin"}, {key, "/home/fleet"}, {known, "/home/fleet"}} {
		s.puts(t, bastion, what[1], what[0])
	}
	s.must(t, bastion, "cat >/srv/fleet/inventory.yml <<'X'\n"+inventory+"X\necho 'devices: {platform: device_key}' >/srv/fleet/devices.yml\nchown -R fleet: /srv/fleet /home/fleet")
	units := scheduled(t, "repair-devices")
	for name, text := range units {
		s.must(t, bastion, "cat >"+name+" <<'X'\n"+text+"X\n")
	}
	// Its turn comes at once, and not when the clock says so.
	s.must(t, bastion, `d=/run/systemd/system/repair-devices.timer.d; mkdir -p $d; printf '[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=1s\n' >$d/now.conf
systemctl daemon-reload && systemctl enable --now repair-devices.timer
n=0; until journalctl -u repair-devices -o cat --no-pager | grep -q '^Finished\|^Failed'; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.5; done`)
	if out := s.must(t, bastion, "systemctl show repair-devices -p Result; journalctl -u repair-devices -o cat --no-pager"); len(units) != 2 || !strings.Contains(out, "Result=success") {
		t.Errorf("the schedule ends with\n%s", out)
	}
	s.run(t, 0, "", "apply", "./connects.yml", "-l", host)
}

// puts copies a file or folder of this machine into a folder of a host.
func (s *site) puts(t *testing.T, host, to, from string) {
	t.Helper()
	var packed, out bytes.Buffer
	tar := exec.CommandContext(t.Context(), "tar", "-C", filepath.Dir(from), "-c", filepath.Base(from))
	tar.Stdout, tar.Stderr = &packed, &out
	if err := tar.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if status, err := project.Exec(t.Context(), host, &packed, &out, &out, "tar", "-C", to, "-x"); err != nil || status != 0 {
		t.Fatalf("%s to %s: %d, %v\n%s", from, host, status, err, out.String())
	}
}

// scheduled are the units in the README of a playbook, by the file that it names for each.
func scheduled(t *testing.T, playbook string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../playbooks/library/" + playbook + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```ini\n# ")
	block, _, _ = strings.Cut(block, "```")
	units := map[string]string{}
	for _, unit := range strings.Split(block, "\n# ") {
		name, text, _ := strings.Cut(unit, "\n")
		units[name] = text + "\n"
	}
	return units
}
