//go:build hosts

package acceptance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/runner/event"
)

// asDebian writes an inventory in which a host is reached as its ordinary account.
func asDebian(t *testing.T, host, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory.yml")
	text := fmt.Sprintf("hosts: {%s: {address: %s}}\nssh: {users: [debian], keys: [%q], known_hosts: %q}\n%s\n",
		host, site.address[host], site.KeyPath(), site.KnownHostsPath(), more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// owned is a playbook that only root can apply.
const owned = `
playbook: owned
version: 1.0.0
tasks:
  - file: {path: /etc/owned, content: "by root\n", mode: "0600", owner: root}
`

func TestOrdinaryAccountBecomesRoot(t *testing.T) {
	host := names[2]
	fresh(t, host)
	const password = "correct horse 7 battery"
	wrong := []string{"SUDO_PASSWORD=wrong horse 8 battery"}
	right := []string{"SUDO_PASSWORD=" + password}
	path := playbook(t, owned)
	apply := func(env []string, sudo string) outcome {
		console(t, host, "rm -f /etc/owned; rm -rf /run/sudo/ts")
		return holdfastWith(t, env, "apply", path, "--yes", "-i", asDebian(t, host, sudo), "--output", "json")
	}
	wantOwned := func(what string, o outcome) {
		t.Helper()
		o.want(t, 0)
		if got := console(t, host, "stat -c '%a %U' /etc/owned"); got != "600 root" {
			t.Errorf("%s: got %q, want a file of root", what, got)
		}
	}
	wantRefused := func(what, message string, o outcome) {
		t.Helper()
		o.want(t, 5)
		if got := o.finished()[host].Status; got != event.HostFailed || !strings.Contains(o.failures(), message) {
			t.Errorf("%s: got %s, %q; want failed, and %q", what, got, o.failures(), message)
		}
		if got := console(t, host, "ls /etc/owned 2>/dev/null | wc -l"); got != "0" {
			t.Errorf("%s: got the file written, want nothing", what)
		}
	}
	wantOwned("sudo without a password", apply(nil, ""))
	wantOwned("sudo that wants no password although there is one", apply(right, "sudo: {password: env:SUDO_PASSWORD}"))

	console(t, host, "echo 'debian:"+password+"' | chpasswd && echo 'debian ALL=(ALL) ALL' >/etc/sudoers.d/90-cloud-init-users && visudo -qc")
	wantRefused("sudo wants a password and there is none", "password", apply(nil, ""))
	o := apply(right, "sudo: {password: env:SUDO_PASSWORD}")
	wantOwned("sudo with a password", o)
	bad := apply(wrong, "sudo: {password: env:SUDO_PASSWORD}")
	wantRefused("sudo with a wrong password", "refused the password", bad)
	for _, text := range []string{o.stdout + o.stderr, bad.stdout + bad.stderr, console(t, host, "grep -rs horse /var/lib/holdfast /var/cache/holdfast || true")} {
		if strings.Contains(text, "horse") {
			t.Errorf("the password is in %q", text)
		}
	}

	console(t, host, "echo '#' >/etc/sudoers.d/90-cloud-init-users")
	wantRefused("an account without sudo", "sudo", apply(right, "sudo: {password: env:SUDO_PASSWORD}"))
}
