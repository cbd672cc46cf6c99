//go:build hosts

package openclaw_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// sink is a server on the host itself that writes down what it hears.
const sink = `cat >/root/sink.js <<'X'
require("node:http").createServer((q, r) => {
  let b = "";
  q.on("data", (d) => (b += d));
  q.on("end", () => { require("node:fs").appendFileSync("/root/heard", q.method + " " + q.url + " " + b + "\n"); r.end("ok"); });
}).listen(9999, "127.0.0.1");
X
systemd-run --quiet --unit sink /opt/node/current/bin/node /root/sink.js`

const backedUp = `addresses: {alert: alert_address, ping: ping_address}
keep: 2
keep_days: 1
`

// storePlaybook makes a host where backups go: an account that can do SFTP, below one
// folder, and nothing else.
const storePlaybook = `playbook: store
version: 1.0.0
tasks:
  - user: {name: backups, home: /srv/backups, create_home: false, shell: /usr/sbin/nologin}
  - directory: {path: /srv/backups, mode: "0755", owner: root, group: root}
  - directory: {path: /srv/backups/gw1, mode: "0700", owner: backups, group: backups}
  - command: {argv: [ssh-keygen, -q, -t, ed25519, -N, "", -C, backups, -f, /root/backups], creates: /root/backups}
  - command: {argv: [install, -m, "0644", /root/backups.pub, /etc/ssh/backups.keys], creates: /etc/ssh/backups.keys}
  - file:
      path: /etc/ssh/sshd_config.d/backups.conf
      content: |
        Match User backups
          AuthorizedKeysFile /etc/ssh/backups.keys
          ChrootDirectory /srv/backups
          ForceCommand internal-sftp
          DisableForwarding yes
    notify: [reload]
handlers:
  reload: {service: {name: ssh, state: reloaded}}
`

// store boots that host and returns the parameters that reach it, and its address.
func (s *site) store(t *testing.T) (reach, address string) {
	t.Helper()
	if err := project.Down(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	s.hosts(t, "store")
	s.write(t, "store.yml", storePlaybook)
	s.run(t, 0, "", "apply", "./store.yml", "-l", "store")
	s.run(t, 0, s.must(t, "store", "cat /root/backups; rm /root/backups"), "secret", "set", "store_key")
	address = s.address(t, "store")
	known := strings.Fields(s.must(t, "store", "cat /etc/ssh/ssh_host_ed25519_key.pub"))
	return fmt.Sprintf("repository_password: restic_password\nrepository_key: store_key\nrepository_known_hosts: [%s %s %s]\n", address, known[0], known[1]), address
}

// until runs a script in a host until it succeeds.
func (s *site) until(t *testing.T, host, script string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		out, status := s.console(t, host, script)
		if status == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s never succeeds: %s", script, out)
		}
	}
}

// answers fails unless the gateway of a host, once it is ready, answers the device so.
func (s *site) answers(t *testing.T, host, outcome string) {
	t.Helper()
	s.write(t, "answers.yml", strings.Replace(connects, "tasks:\n", "tasks:\n  - wait: {http: \"http://127.0.0.1:18789/readyz\"}\n    timeout: 10m\n", 1))
	s.run(t, 0, "", "apply", "./answers.yml", "-l", host, "-p", "expect=["+outcome+"]")
}

// TestBackup makes backups, breaks them in turn and sees each told, then loses a device
// and has it back: from the folder, from a repository on another host, from an encrypted
// archive, and on a bare host that is thrown away.
func TestBackup(t *testing.T) {
	s := gateways(t, "gw1")
	s.write(t, "device.yml", device)
	s.write(t, "backup.yml", backedUp)
	reach, store := s.store(t)
	s.write(t, "sftp.yml", reach+"repository: sftp:backups@"+store+":/gw1/restic\n")
	s.write(t, "url.yml", reach+"repository: sftp://backups@"+store+":22//gw1/restic\n")
	s.run(t, 0, "http://127.0.0.1:9999/alert-canary-71c3", "secret", "set", "alert_address")
	s.run(t, 0, "http://127.0.0.1:9999/ping-canary-71c3", "secret", "set", "ping_address")
	if _, status := s.try(t, "", "secret", "get", "restic_password"); status != 0 {
		s.run(t, 0, "", "secret", "generate", "restic_password")
	}
	s.must(t, "gw1", sink)
	s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1")

	where := "sftp.yml"
	backup := func(status int, verb string, more ...string) string {
		t.Helper()
		return s.run(t, status, "", append([]string{verb, "backup", "--params", "backup.yml", "--params", where, "-l", "gw1"}, more...)...)
	}
	backup(0, "apply")
	if out := backup(0, "apply"); !strings.Contains(out, " 0 tasks changed") {
		t.Errorf("the second apply changes something:\n%s", out)
	}
	s.must(t, "gw1", `grep -q '^POST /ping' /root/heard && ! grep -q alert /root/heard`)
	s.must(t, "gw1", `[ "$(stat -c '%a %U' /var/backups/openclaw/2*)" = "600 openclaw" ]`)
	s.must(t, "gw1", `[ "$(stat -c '%a %U' /etc/openclaw-backup/alert)" = "600 root" ]`)
	hidden := func(names ...string) {
		t.Helper()
		s.must(t, "gw1", "mv /etc/openclaw-backup /opt/") // where they may be
		s.noSecrets(t, "gw1", names...)
		s.must(t, "gw1", "mv /opt/openclaw-backup /etc/")
	}
	hidden("alert_address", "ping_address", "restic_password", "store_key")

	// A backup that fails is told, deletes nothing and is seen by verify; so is one that
	// fails on the way to the repository.
	s.must(t, "gw1", "cd /var/backups/openclaw && for n in 1 2 3; do cp -p latest 2025-01-0$n-openclaw-backup.tar.gz; touch -d '3 days ago' 2025-01-0$n*; done")
	s.must(t, "gw1", "chown root /var/backups/openclaw; ! systemctl start openclaw-backup")
	s.until(t, "gw1", `grep -q 'alert.*openclaw-backup.service failed on gw1' /root/heard`)
	s.must(t, "gw1", "chown openclaw /var/backups/openclaw; [ $(ls /var/backups/openclaw/2* | wc -l) = 4 ]")
	backup(5, "verify")
	// The server is another one than it was: nothing is sent to it.
	s.must(t, "store", "cd /etc/ssh && mv ssh_host_ed25519_key right && ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && systemctl restart ssh")
	s.must(t, "gw1", "systemctl start openclaw-backup; ! systemctl start openclaw-backup-done")
	s.until(t, "gw1", "journalctl -u openclaw-backup-done | grep -q 'Host key verification failed'")
	s.until(t, "gw1", `grep -q 'alert.*openclaw-backup-done.service failed on gw1' /root/heard`)
	if out := backup(5, "verify"); !strings.Contains(out, "Host key verification failed") {
		t.Errorf("another server is taken for the right one:\n%s", out)
	}
	s.must(t, "store", "cd /etc/ssh && mv right ssh_host_ed25519_key && systemctl restart ssh")

	// A good one again: the policy is obeyed.
	s.must(t, "gw1", "systemctl start openclaw-backup && systemctl start openclaw-backup-done && [ $(ls /var/backups/openclaw/2* | wc -l) = 3 ]")
	backup(0, "verify")

	// Silence and damage are seen.
	s.must(t, "gw1", "cd /var/backups/openclaw && touch -d '3 days ago' 2*")
	if out := backup(5, "verify"); !strings.Contains(out, "is younger than 26 hours") {
		t.Errorf("an old backup is taken for a young one:\n%s", out)
	}
	s.must(t, "gw1", `cd /var/backups/openclaw && touch 2* && cp -p "$(readlink latest)" /root/whole && truncate -s $(($(stat -Lc %s latest) / 2)) "$(readlink latest)"`)
	backup(5, "verify")
	s.must(t, "gw1", `cd /var/backups/openclaw && cp -p /root/whole "$(readlink latest)"`)
	backup(0, "verify")

	restore := func(status int, more ...string) string {
		t.Helper()
		return s.run(t, status, "", append([]string{"apply", "restore", "-l", "gw1", "-p", "device=device_key"}, more...)...)
	}
	unpaired := func() {
		t.Helper()
		s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1", "-p", "state=absent")
		s.answers(t, "gw1", "not paired")
	}
	unpaired()
	restore(0)
	s.answers(t, "gw1", "ok")

	// The restore is taken back as a whole: the device is a stranger again.
	s.run(t, 0, "", "undo", s.lastRun(t, "restore", "gw1"), "-l", "gw1")
	s.answers(t, "gw1", "not paired")
	restore(0, "--params", "url.yml")
	s.answers(t, "gw1", "ok")
	s.must(t, "gw1", "[ -z \"$(ls -A /var/lib/openclaw-restore)\" ]")

	// An archive that knows less than what is there is put in its place only by request.
	unpaired()
	s.must(t, "gw1", "systemctl start openclaw-backup")
	s.run(t, 0, "", "apply", "./device.yml", "-l", "gw1")
	if out := restore(5); !strings.Contains(out, "lost: the pairing of device") {
		t.Errorf("the loss of a device is not said:\n%s", out)
	}
	s.answers(t, "gw1", "ok")
	// Whose device does not connect afterwards is not healthy: the old state is back.
	restore(7, "-p", "accept_loss=true")
	s.answers(t, "gw1", "ok")

	// Encrypted, only the identity opens it, and it stays nowhere. It comes from another
	// kind of repository too, which the host was told of instead of the first.
	s.must(t, "gw1", "apt-get install -y -qq age >/dev/null 2>&1 && age-keygen -o /root/key 2>/dev/null && age-keygen -y /root/key >/root/recipient")
	s.run(t, 0, s.must(t, "gw1", "grep AGE-SECRET /root/key; rm /root/key"), "secret", "set", "age_identity")
	encrypted := "age_recipients=[" + strings.TrimSpace(s.must(t, "gw1", "cat /root/recipient")) + "]"
	backup(0, "apply", "-p", encrypted)
	s.must(t, "gw1", "systemctl start openclaw-backup && ls /var/backups/openclaw/*.age && readlink /var/backups/openclaw/latest | grep age$")
	s.run(t, 0, "", "secret", "generate", "s3_secret", "--replace")
	bucket, refused := s3(t, neighbour(store), "gw1", s.secret(t, "s3_secret"))
	where = "s3.yml"
	s.write(t, where, "repository: "+bucket+"\nrepository_password: restic_password\nrepository_env: {AWS_ACCESS_KEY_ID: gw1}\nrepository_secrets: {AWS_SECRET_ACCESS_KEY: s3_secret}\n")
	backup(0, "apply", "-p", encrypted)
	s.must(t, "gw1", "! ls /etc/openclaw-backup/key /etc/openclaw-backup/known_hosts 2>/dev/null")
	unpaired()
	restore(5)
	restore(0, "-p", "age_identity=age_identity", "--params", where)
	s.answers(t, "gw1", "ok")
	if n := refused.Load(); n != 0 {
		t.Errorf("%d requests were not signed as the bucket wants it", n)
	}
	hidden("age_identity", "s3_secret", "store_key")

	// The drill takes no host on which a gateway serves.
	drill := []string{"apply", "restore-test", "--params", "url.yml", "-p", "device=device_key", "-p", "age_identity=age_identity", "-l"}
	if out := s.run(t, 5, "", append(drill, "gw1")...); !strings.Contains(out, "Take a host of its own") {
		t.Errorf("the drill does not say why it refuses:\n%s", out)
	}
	s.drill(t, append(drill, "drill"))
}

// drill runs the drill on a bare host, which is thrown away afterwards.
func (s *site) drill(t *testing.T, argv []string) {
	t.Helper()
	const host = "drill"
	if err := project.Down(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	s.hosts(t, host)
	t.Cleanup(func() {
		if err := project.Down(context.Background(), host, "store"); err != nil {
			t.Error(err)
		}
	})
	s.run(t, 0, "", argv...)
	s.noSecrets(t, host, "restic_password", "store_key", "age_identity", "device_key")
	s.run(t, 0, "", "undo", s.lastRun(t, "restore-test", host), "-l", host)
	s.must(t, host, "! ls -d /home/openclaw /var/lib/openclaw-restore /opt/openclaw /opt/node 2>/dev/null")
}
