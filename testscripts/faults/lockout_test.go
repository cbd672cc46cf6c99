//go:build hosts

package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
)

// within is the time that the guards of the tests wait.
const within = 12 * time.Second

// lockouts are changes after which nobody can log in the way the guard wants. What the
// look before a change sees is refused before it is written, and the rest of the guard is
// taken back at once.
var lockouts = []struct {
	name  string
	reach reach
	via   string // of the guard, besides within
	tasks string // inside the guard, indented by 6
	guard string // what is reported of it
}{
	{name: "the port moves and the path names another", via: "via: {port: 223}, ", guard: "armed unproved undone", tasks: `
      - sshd: {port: 222}`},
	{name: "AllowUsers without us", guard: "armed unproved undone", tasks: `
      - file: {path: /etc/ssh/sshd_config.d/00-attack.conf, content: "AllowUsers nobody\n"}
        notify: [reload ssh]`},
	{name: "a configuration that does not parse", guard: "armed undone", tasks: `
      - file: {path: /etc/ssh/sshd_config.d/00-attack.conf, content: "Nonsense yes\n"}
        notify: [restart ssh]`},
	{name: "seen: key removed", guard: "armed undone", tasks: `
      - authorized_keys: {user: root, exclusive: true, keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f someone]}`},
	{name: "seen: mode of .ssh", guard: "armed undone", tasks: `
      - directory: {path: /root/.ssh, mode: "0777"}`},
	{name: "host keys deleted", guard: "armed undone", tasks: `
      - file: {path: /etc/ssh/ssh_host_ed25519_key, state: absent}
      - file: {path: /etc/ssh/ssh_host_ecdsa_key, state: absent}
      - file: {path: /etc/ssh/ssh_host_rsa_key, state: absent}
        notify: [restart ssh]`},
	{name: "seen: sudo rule broken", reach: reach{user: "debian"}, guard: "armed undone", tasks: `
      - sudoers: {name: 90-cloud-init-users, state: absent}`},
	{name: "seen: login shell is nologin", reach: reach{user: "debian"}, guard: "armed undone", tasks: `
      - user: {name: debian, shell: /usr/sbin/nologin}`},
	{name: "account expired", reach: reach{user: "debian"}, guard: "armed unproved undone", tasks: `
      - command: {cmd: chage -E 1 debian, undo: chage -E -1 debian}`},
	{name: "seen: SSH server stopped and masked", guard: "armed undone", tasks: `
      - service: {name: ssh, state: stopped, masked: true}`},
	{name: "firewall drops the new port", via: "via: {port: 222}, ", guard: "armed unproved undone", tasks: `
      - sshd: {port: 222}
      - command:
          argv: [sh, -c, "nft add table inet attack && nft 'add chain inet attack in { type filter hook input priority 0; }' && nft add rule inet attack in tcp dport 222 drop"]
          undo: nft delete table inet attack`},
	{name: "firewall drops everything", guard: "armed unproved undone", tasks: `
      - command:
          argv: [sh, -c, "nft add table inet attack && nft 'add chain inet attack in { type filter hook input priority 0; policy drop; }'"]
          undo: nft delete table inet attack`},
	{name: "interface down", guard: "armed unproved undone", tasks: `
      - command:
          argv: [sh, -c, "ip route show default >/run/attack.route; ip link set eth0 down"]
          undo: sh -c "ip link set eth0 up; ip route add $(cat /run/attack.route); rm /run/attack.route"`},
	{name: "address removed", guard: "armed unproved undone", tasks: `
      - command:
          argv: [sh, -c, "ip route show default >/run/attack.route; ip -o -4 address show dev eth0 | awk '{print $4}' >/run/attack.address; ip address flush dev eth0"]
          undo: sh -c "ip address add $(cat /run/attack.address) broadcast + dev eth0; ip route add $(cat /run/attack.route); rm /run/attack.*"`},
	// The same done by commands, which nobody can look into.
	{name: "key removed", guard: "armed unproved undone", tasks: `
      - command: {argv: [sh, -c, "cp -p /root/.ssh/authorized_keys /run/attack.keys; : >/root/.ssh/authorized_keys"], undo: mv /run/attack.keys /root/.ssh/authorized_keys}`},
	{name: "mode of .ssh", guard: "armed unproved undone", tasks: `
      - command: {cmd: chmod 777 /root/.ssh, undo: chmod 700 /root/.ssh}`},
	{name: "sudo rule broken", reach: reach{user: "debian"}, guard: "armed unproved undone", tasks: `
      - command: {cmd: mv /etc/sudoers.d/90-cloud-init-users /run/attack.sudo, undo: mv /run/attack.sudo /etc/sudoers.d/90-cloud-init-users}`},
	{name: "login shell is nologin", reach: reach{user: "debian"}, guard: "armed unproved undone", tasks: `
      - command: {cmd: usermod -s /usr/sbin/nologin debian, undo: usermod -s /bin/bash debian}`},
	{name: "SSH server stopped and masked", guard: "armed unproved undone", tasks: `
      - command: {argv: [sh, -c, "systemctl stop ssh; systemctl mask ssh"], undo: sh -c "systemctl unmask ssh; systemctl start ssh"}`},
	{name: "the SSH server listens elsewhere than the firewall allows", via: "via: {port: 223}, ", guard: "armed unproved undone", tasks: `
      - command:
          argv: [sh, -c, "nft add table inet attack && nft 'add chain inet attack in { type filter hook input priority 0; policy drop; }' && nft add rule inet attack in ct state established accept && nft add rule inet attack in tcp dport 222 accept"]
          undo: nft delete table inet attack
      - sshd: {port: 223}`},
	{name: "a ban of the bastion", guard: "armed unproved undone", tasks: `
      - command:
          argv: [sh, -c, "nft add table inet attack && nft 'add chain inet attack in { type filter hook input priority -1; }' && nft add rule inet attack in ip saddr $(ip route show default | awk '{print $3}') reject"]
          undo: nft delete table inet attack`},
	{name: "no route back", guard: "armed unproved undone", tasks: `
      - command:
          argv: [sh, -c, "ip route show >/run/attack.routes; ip route flush dev eth0; ip route add blackhole default"]
          undo: sh -c "ip route del blackhole default; tac /run/attack.routes | while read -r r; do ip route add $r; done; rm /run/attack.routes"`},
	{name: "algorithms without overlap", guard: "armed unproved undone", tasks: `
      - file: {path: /etc/ssh/sshd_config.d/00-attack.conf, content: "Ciphers 3des-cbc\n"}
        notify: [reload ssh]`},
	{name: "AuthenticationMethods nobody has", guard: "armed unproved undone", tasks: `
      - file: {path: /etc/ssh/sshd_config.d/00-attack.conf, content: "AuthenticationMethods publickey,password\n"}
        notify: [reload ssh]`},
}

// attack is a playbook: one task before the guard, and the guard around others. What
// was done before it stays.
func attack(via, tasks string) string {
	return fmt.Sprintf(`
tasks:
  - file: {path: /etc/attack-before, content: "stays\n"}
  - name: attack
    guard: {%swithin: %s}
    tasks:
      - file: {path: /etc/attack-inside, content: "goes\n"}%s
  - name: after
    file: {path: /etc/attack-after, content: "never\n"}
handlers:
  reload ssh: {service: {name: ssh, state: reloaded}}
  restart ssh: {service: {name: ssh, state: restarted}}
`, via, within, tasks)
}

// TestLockOut: the host comes back by itself within the deadline, byte for byte; the
// program says that the change was taken back and ends with 7; the next run succeeds.
func TestLockOut(t *testing.T) {
	for _, c := range lockouts {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			l := enter(t)
			l.console("printf 'stays\\n' >/etc/attack-before")
			before := l.state()
			l.console("rm /etc/attack-before")
			o := l.apply(7, c.reach, attack(c.via, c.tasks))
			if got := o.guard(); got != c.guard {
				t.Errorf("got the guard told as %q, want %q\n%s", got, c.guard, o.told())
			}
			if got := o.finished().Status; got != event.HostRolledBack {
				t.Errorf("got the host %q, want %s", got, event.HostRolledBack)
			}
			if limit := within + 20*time.Second; o.took > limit {
				t.Errorf("got the end after %s, want it within %s\n%s", o.took, limit, o.told())
			}
			if v := l.verdict(); v.Status != "undone" {
				t.Errorf("got the host's verdict %q (%s), want undone", v.Status, v.Message)
			}
			l.wantClean()
			l.wantState(before)
			l.wantNext(c.reach)
			l.console("rm /etc/attack-before")
		})
	}
}
