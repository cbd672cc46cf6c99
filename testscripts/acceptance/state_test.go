//go:build hosts

package acceptance_test

import (
	"strings"
	"testing"
)

// excused are paths that may differ after an undo, with the reason. Everything else
// must be as it was, to the byte, the mode and the owner.
var excused = map[string]string{
	"/etc/passwd-":  "the copy that every tool for accounts makes of the file as it was before its last change",
	"/etc/group-":   "the same for groups",
	"/etc/shadow-":  "the same for passwords",
	"/etc/gshadow-": "the same for passwords of groups",
	"/etc/subuid-":  "the same for subordinate numbers of accounts",
	"/etc/subgid-":  "the same for subordinate numbers of groups",
	// Nothing runs in these two.
	"network-pre.target": "a point in the order of a boot, which a firewall's unit reached; it ends with the next boot",
	"time-set.target":    "the same, of the unit that keeps the clock",
}

// restless are kernel parameters that nobody sets: the kernel counts in them.
var restless = []string{"kernel.ns_last_pid", "kernel.random.", "kernel.pty.nr", "net.netfilter.nf_conntrack_count",
	"fs.dentry-state", "fs.file-nr", "fs.inode-nr", "fs.inode-state", "fs.quota.", "vm.stat"}

// listing prints all that an undo has to bring back, one thing a line. Of units the
// ones that run count, and which start at boot; what a login starts is left out. The
// process of a guard ends within a second of its verdict.
const listing = `for i in $(seq 50); do systemctl is-active -q holdfast-guard.service || break; sleep 0.1; done

cd /
dirs="/etc /home /root /opt /srv /usr/local /var/spool"
find $dirs -xdev -printf 'path %p: %y %m %U:%G %l\n' | sort
find $dirs -xdev -type f -exec sha256sum {} + | sed -E 's/^([0-9a-f]+)  (.*)$/content \2: \1/' | sort
dpkg-query -W -f='package ${Package}: ${Version} ${db:Status-Abbrev}\n'
apt-mark showauto | sort | sed 's/$/: yes/; s/^/auto /'
systemctl list-unit-files --no-legend --no-pager --plain | awk '{print "unit file " $1 ": " $2}' | sort
systemctl list-units --state=active,activating,failed --type=service,socket,timer,path,target --no-legend --no-pager --plain |
  grep -vE '^(user@|user-runtime-dir@|session-)' | awk '{print "unit " $1 ": " $2 " " $3}' | sort
sysctl -a 2>/dev/null | sort | sed 's/^/kernel /; s/ = /: /'
`

// state returns the state of a host, by what it is about.
func state(t *testing.T, host string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(console(t, host, listing)) {
		about, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		kind, name, _ := strings.Cut(about, " ")
		if !ok && kind != "kernel" || kind == "kernel" && isRestless(name) {
			continue
		}
		out[about] = strings.TrimSpace(out[about] + " " + value) // a parameter may have several lines
	}
	for _, must := range []string{"path /etc/passwd", "content /etc/shadow", "package openssh-server", "unit file ssh.service", "unit ssh.service", "kernel kernel.sysrq"} {
		if out[must] == "" {
			t.Fatalf("%s: the listing lacks %q, so it proves nothing", host, must)
		}
	}
	return out
}

func isRestless(name string) bool {
	for _, prefix := range restless {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// wantState fails the test for everything that is not as it was.
func wantState(t *testing.T, host string, before map[string]string) {
	t.Helper()
	after := state(t, host)
	for about, was := range before {
		if is, there := after[about]; !there && !isExcused(about) {
			t.Errorf("%s: %s is gone, it was %q", host, about, was)
		} else if is != was && !isExcused(about) {
			t.Errorf("%s: %s is %q, it was %q", host, about, is, was)
		}
	}
	for about, is := range after {
		if _, was := before[about]; !was && !isExcused(about) {
			t.Errorf("%s: %s is left, as %q", host, about, is)
		}
	}
}

func isExcused(about string) bool {
	_, path, _ := strings.Cut(about, " ")
	return excused[path] != ""
}
