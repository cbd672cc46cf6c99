//go:build hosts

package acceptance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/runner/event"
)

// everywhere selects all hosts.
var everywhere = strings.Join(names, ",")

// baseline returns the arguments of a command about the shipped playbook, in its
// quickest profile; testscripts/judges has the others.
func baseline(hosts, command string, more ...string) []string {
	return on(hosts, append([]string{command, "baseline", "-p", "profile=minimal"}, more...)...)
}

// TestBaseline takes fresh hosts through the life of the shipped playbook. Each part
// needs the one before it.
func TestBaseline(t *testing.T) {
	before := map[string]map[string]string{}
	holdfast(t, "facts", "-i", site.inventory, "--output", "json").want(t, 0) // a first login starts units
	for _, host := range names {
		before[host] = state(t, host)
	}
	var planned, applied outcome
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"the plan changes nothing", func(t *testing.T) {
			planned = holdfast(t, baseline(everywhere, "plan")...).want(t, 0)
			for _, host := range names {
				wantState(t, host, before[host])
			}
		}},
		{"apply does what the plan said", func(t *testing.T) {
			applied = holdfast(t, baseline(everywhere, "apply", "--yes")...).want(t, 0)
			wantSame(t, planned, applied, names)
		}},
		{"it has effect", func(t *testing.T) { wantEffect(t, names[0]) }},
		{"applied again, it changes nothing", func(t *testing.T) {
			wantNoChange(t, holdfast(t, baseline(everywhere, "apply", "--yes")...).want(t, 0), names)
			wantNoChange(t, holdfast(t, baseline(everywhere, "plan", "--exit-code")...).want(t, 0), names)
		}},
		{"verify finds it as described", func(t *testing.T) {
			holdfast(t, baseline(everywhere, "verify")...).want(t, 0)
		}},
		{"a converged run is short on the wire", wantShort},
		{"a converged run starts no process to look", wantNoProcess},
		{"verify finds what was broken", func(t *testing.T) {
			console(t, names[0], "sysctl -qw net.ipv4.tcp_rfc1337=0")
			holdfast(t, baseline(names[0], "verify")...).want(t, 5)
			console(t, names[0], "sysctl -qw net.ipv4.tcp_rfc1337=1")
		}},
		{"undo brings everything back", func(t *testing.T) {
			holdfast(t, on(everywhere, "undo", applied.run())...).want(t, 0)
			for _, host := range names {
				wantState(t, host, before[host])
			}
			if got := banner(t, names[0], "root", "22"); got != "" {
				t.Errorf("got the banner %q, want that the server forgot it", got)
			}
		}},
		{"undo of the undo applies it again", func(t *testing.T) { wantUndoOfUndo(t, names[1]) }},
	} {
		began := time.Now()
		if !t.Run(part.name, part.run) {
			t.FailNow()
		}
		t.Logf("%s: %s", part.name, time.Since(began).Round(100*time.Millisecond))
	}
}

// deeds are the changes of a run, by host and task.
func deeds(o outcome) map[string]string {
	out := map[string]string{}
	for _, e := range o.events {
		switch f := e.TaskFinished; {
		case e.HandlerQueued != nil:
			out[e.Host+" queues "+e.HandlerQueued.Handler] = "yes"
		case f == nil || strings.HasPrefix(f.Path, "verify") || f.Status == event.Unchanged || f.Status == event.Skipped:
		default:
			changes, err := json.Marshal(f.Changes)
			if err != nil {
				changes = []byte(err.Error())
			}
			key := deed(e)
			status := string(f.Status)
			if f.Module == "command" && f.Status == event.Ran {
				status = string(event.Changed) // a plan says of a command that it will run, and no more
			}
			// A unit is looked at a moment earlier or later; whether it is up is the same.
			changes = bytes.ReplaceAll(changes, []byte(`"before":"activating"`), []byte(`"before":"active"`))
			out[key] = fmt.Sprintf("%s %s %s", status, changes, f.Irreversible)
		}
	}
	return out
}

func deed(e event.Event) string {
	f := e.TaskFinished
	return fmt.Sprintf("%s %s %s %s", e.Host, f.Path, f.Module, f.Resource)
}

// wantSame compares a plan with what the run then did. Where nothing is to be done as far
// as the plan can see, and it says what that rests on, something may be: not every package
// starts its unit.
func wantSame(t *testing.T, planned, applied outcome, hosts []string) {
	t.Helper()
	plan, run := deeds(planned), deeds(applied)
	for _, key := range slices.Sorted(maps.Keys(plan)) {
		if strings.HasPrefix(plan[key], string(event.Unknown)) {
			delete(run, key) // the plan said that it cannot know
		} else if run[key] != plan[key] {
			t.Errorf("%s: the plan said\n%s\nand the run did\n%s", key, plan[key], run[key])
		}
	}
	tentative := map[string]bool{}
	for _, e := range planned.events {
		if e.TaskFinished != nil && e.TaskFinished.Tentative != "" {
			tentative[deed(e)] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(run)) {
		if plan[key] == "" && !tentative[key] {
			t.Errorf("%s: the plan did not say that the run would do\n%s", key, run[key])
		}
	}
	if len(run) < 15*len(hosts) {
		t.Errorf("got %d changes and handlers, want at least 15 for each host", len(run))
	}
}

func wantNoChange(t *testing.T, o outcome, hosts []string) {
	t.Helper()
	for _, host := range hosts {
		f, ok := o.finished()[host]
		if !ok || f.Status != event.HostOK || f.Counts.Changed+f.Counts.Ran+f.Counts.Failed+f.Counts.Unknown != 0 || f.Counts.Unchanged < 15 {
			t.Errorf("%s: got %+v, want no change and at least 15 unchanged", host, f)
		}
	}
	if d := deeds(o); len(d) > 0 {
		t.Errorf("got %v, want nothing", d)
	}
}

// wantEffect asks the programs of the host itself what the playbook did.
func wantEffect(t *testing.T, host string) {
	t.Helper()
	for _, c := range []struct{ script, want string }{
		{"sshd -t && sshd -T | grep -xE 'maxauthtries 3|port .*|permitrootlogin .*|allowusers .*' | sort", "allowusers adminclaw\nmaxauthtries 3\npermitrootlogin no\nport 222"},
		{"ss -Htln | awk '{print $4}' | sort | xargs", "0.0.0.0:222 [::]:222"},
		{"ufw status | grep -c '^22/tcp' || true", "0"},
		{"ufw status | grep -E '^222/tcp +LIMIT +Anywhere' | wc -l", "1"},
		{"sudo -u debian sudo -n id -u >/dev/null 2>&1; echo $?", "1"},
		{"visudo -c >/dev/null && echo good", "good"},
		{"sudo -u adminclaw sudo -n id -u", "0"},
		{"sudo -u openclaw sudo -n id -u >/dev/null 2>&1; echo $?", "1"},
		{"stat -c '%a %U:%G' /home/openclaw", "750 openclaw:openclaw"},
		{"systemctl is-active fail2ban unattended-upgrades apt-daily-upgrade.timer | sort -u", "active"},
		{"fail2ban-client set sshd banip 192.0.2.7 && nft list ruleset 2>/dev/null | grep -o 192.0.2.7 && fail2ban-client set sshd unbanip 192.0.2.7", "1\n192.0.2.7\n1"},
		{"apt-config shell x Unattended-Upgrade::Automatic-Reboot", "x='false'"},
		{"sysctl -n kernel.kptr_restrict net.ipv4.tcp_synack_retries | xargs", "2 2"},
		{"systemd-analyze cat-config systemd/journald.conf | grep -x SystemMaxUse=500M", "SystemMaxUse=500M"},
	} {
		if got, status := try(t, host, c.script); got != c.want || status != 0 {
			t.Errorf("%s: %s: got %q, status %d, want %q", host, c.script, got, status, c.want)
		}
	}
	if got := banner(t, host, "adminclaw", "222"); !strings.Contains(got, "private system") {
		t.Errorf("got the banner %q, want that of the playbook", got)
	}
}

// banner logs in with the site's key and returns what the server says first.
func banner(t *testing.T, host, user, port string) (text string) {
	t.Helper()
	pem, err := os.ReadFile(site.KeyPath())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", net.JoinHostPort(site.address[host], port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: 10 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // a host of our own, on a bridge of our own
		BannerCallback:  func(message string) error { text = message; return nil },
	})
	if err != nil {
		t.Fatalf("%s cannot log in to %s: %v", user, host, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return text
}

// wantUndoOfUndo takes the last undo of a host back, and looks whether the playbook
// finds anything left to do.
func wantUndoOfUndo(t *testing.T, host string) {
	undo := holdfast(t, on(host, "undo", "last")...).want(t, 0)
	if undo.finished()[host].Counts.Undone != 0 {
		t.Fatalf("got %+v, want that \"last\" finds nothing: the run was taken back", undo.finished()[host])
	}
	holdfast(t, on(host, "undo", lastRun(t, host))...).want(t, 0)
	again := holdfast(t, baseline(host, "apply", "--yes")...).want(t, 0)
	for deed := range deeds(again) {
		// What a command's own undo removed comes back by the command only.
		if !strings.Contains(deed, " command ") && !strings.HasSuffix(deed, " reload ssh") && !strings.Contains(deed, "handlers[") {
			t.Errorf("got %q, want nothing left to do", deed)
		}
	}
}

// lastRun returns the name of the newest run that a host knows.
func lastRun(t *testing.T, host string) string {
	t.Helper()
	return filepath.Base(console(t, host, "ls -d /var/lib/holdfast/runs/* | sort | tail -1"))
}
