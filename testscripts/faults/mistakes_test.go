//go:build hosts

package faults_test

import (
	"strings"
	"testing"
	"time"
)

// mistakes are those that guides warn of, made with what a playbook would use. Each is
// refused or taken back, and afterwards the host is as it was and can be logged in to.
var mistakes = []struct {
	name    string
	prepare string
	restore string
	reach   reach
	via     string
	tasks   string
	guard   string // what is told of it
	says    string // part of a failure
}{
	{name: "the port moves before the firewall knows it", via: "via: {port: 222}, ",
		prepare: firewall + "ufw allow 22/tcp >/dev/null; ufw --force enable >/dev/null", restore: noFirewall,
		tasks: `
      - sshd: {port: 222}`,
		guard: "armed unproved undone"},
	{name: "the firewall comes up and forgets the new port", via: "via: {port: 222}, ",
		prepare: firewall, restore: noFirewall,
		tasks: `
      - sshd: {port: 222}
      - ufw: {enabled: true, rule: allow, port: 22, proto: tcp}`,
		guard: "armed undone", says: "222"},
	{name: "the socket that holds the port is forgotten", via: "via: {port: 222}, ",
		prepare: socket, restore: noSocket,
		tasks: `
      - file: {path: /etc/ssh/sshd_config.d/00-attack.conf, content: "Port 222\n"}`,
		guard: "armed unproved undone"},
	{name: "UsePAM no written by hand", reach: reach{user: "debian"},
		prepare: "usermod -L debian", restore: "usermod -p '*' debian",
		tasks: `
      - file: {path: /etc/ssh/sshd_config.d/00-attack.conf, content: "UsePAM no\n"}
        notify: [reload ssh]`,
		guard: "armed unproved undone"},
	{name: "UsePAM no by the module", reach: reach{user: "debian"},
		prepare: "usermod -L debian", restore: "usermod -p '*' debian",
		tasks: `
      - sshd: {settings: {UsePAM: "no"}}`,
		guard: "armed undone", says: "UsePAM"},
	{name: "AllowUsers without us by the module", tasks: `
      - sshd: {settings: {AllowUsers: somebody}}`,
		guard: "armed undone", says: "AllowUsers"},
	{name: "PermitRootLogin no as root by the module", tasks: `
      - sshd: {settings: {PermitRootLogin: "no"}}`,
		guard: "armed undone", says: "PermitRootLogin"},
	{name: "settings that do not parse by the module", tasks: `
      - sshd: {settings: {MaxAuthTries: many}}`,
		guard: "armed undone", says: "MaxAuthTries"},
}

const (
	firewall = "export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq --no-install-recommends ufw >/dev/null 2>&1; "
	// Purged, it would leave chains and their jumps.
	noFirewall = `ufw --force disable >/dev/null; DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq --autoremove ufw >/dev/null 2>&1
nft flush ruleset; rm -rf /etc/ufw`
	socket = "systemctl disable --now ssh.service 2>/dev/null; systemctl enable --now ssh.socket 2>/dev/null"
	// A service that a login started holds what the socket gave it until it starts anew.
	noSocket = "systemctl disable --now ssh.socket 2>/dev/null; systemctl enable ssh.service 2>/dev/null; systemctl restart ssh.service"
)

// marks prints what a mistake could have left.
const marks = `find /etc -xdev -type f ! -name '*-' -exec sha256sum {} + | sort
ss -Hltn | awk '{print $4}' | sort
systemctl is-active ssh.socket; systemctl is-enabled ssh.service ssh.socket # a login may start the service of a socket
true`

func TestMistakes(t *testing.T) {
	for _, c := range mistakes {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			l := enter(t)
			if c.prepare != "" {
				l.console(c.prepare)
				defer l.console(c.restore)
			}
			before := l.console(marks)
			o := l.apply(7, c.reach, attack(c.via, c.tasks))
			if got := o.guard(); got != c.guard {
				t.Errorf("got the guard told as %q, want %q\n%s", got, c.guard, o.told())
			}
			if !strings.Contains(o.told(), c.says) {
				t.Errorf("got %s, want it to say %q", o.told(), c.says)
			}
			l.console("rm -f /etc/attack-before")
			if after := l.console(marks); after != before {
				t.Errorf("got\n%s\nwant it as before\n%s", after, before)
			}
			// For an instant after a reload the server still answers with its old settings.
			o = l.holdfast(l.play(c.reach, harmless)...)
			for tries := 0; o.code == 6 && tries < 20; tries++ {
				time.Sleep(500 * time.Millisecond)
				o = l.holdfast(l.play(c.reach, harmless)...)
			}
			o.want(l, 0)
			l.console("rm /tmp/next-run")
		})
	}
}

// TestSocketMoves: where the socket holds the port, the module moves the socket.
func TestSocketMoves(t *testing.T) {
	l := enter(t)
	l.console(socket)
	defer l.console(noSocket)
	before := l.console(marks)
	o := l.apply(0, reach{}, attack("via: {port: 222}, ", `
      - sshd: {port: 222}`))
	if got := o.guard(); got != "armed proved confirmed" {
		t.Errorf("got the guard told as %q, want it confirmed\n%s", got, o.told())
	}
	if got := l.console("ss -Hltn | awk '{print $4}' | sed 's/.*://' | sort -u; systemctl is-active ssh.socket"); got != "222\nactive" {
		t.Errorf("got %q, want port 222 of the socket", got)
	}
	l.holdfast("undo", "last", "-i", l.as(reach{ports: "222"}), "-l", l.host).want(l, 0)
	if after := l.console(marks); after != before {
		t.Errorf("got\n%s\nafter the undo, want it as before\n%s", after, before)
	}
}
