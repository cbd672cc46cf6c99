//go:build hosts

package acceptance_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/runner/event"
)

// imaged makes a host one of a provider's image: cloud-init sets it up at the next boot
// and does not end before the test lets it. Meanwhile it leaves a package unpacked, and
// begins to install one that keeps dpkg's lock for as long as the test wants. Of the real
// ones only the data source differs, which is a folder. The key of the server and the
// network stay as they are, because the test needs them.
const imaged = `set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null 2>&1
apt-get install -y -qq --no-install-recommends cloud-init >/dev/null 2>&1
cd /root
apt-get download -qq less >/dev/null 2>&1
mv less_*.deb less.deb
mkdir -p slow/DEBIAN
printf 'Package: slow\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a test\n' >slow/DEBIAN/control
printf '#!/bin/sh\nfor i in $(seq 1500); do test -e /run/dpkg-may-end && exit 0; sleep 0.2; done\nexit 1\n' >slow/DEBIAN/postinst
chmod 755 slow/DEBIAN/postinst
dpkg-deb --root-owner-group -b slow slow.deb >/dev/null
printf 'APT::Periodic::Enable "1";\nAPT::Periodic::Update-Package-Lists "always";\n' >/etc/apt/apt.conf.d/20test
mkdir -p /var/lib/cloud/seed/nocloud
printf 'instance-id: one\n' >/var/lib/cloud/seed/nocloud/meta-data
cat >/var/lib/cloud/seed/nocloud/user-data <<'X'
#cloud-config
datasource_list: [NoCloud]
network: {config: disabled}
ssh_deletekeys: false
disable_root: false
preserve_hostname: true
locale: false
users: []
apt: {preserve_sources_list: true}
runcmd:
  - |
    for i in $(seq 1500); do test -e /run/boot-may-end && break; sleep 0.2; done
    dpkg --unpack /root/less.deb
    setsid dpkg -i /root/slow.deb >/root/slow.log 2>&1 </dev/null &
    for i in $(seq 300); do pgrep -f slow.postinst && break; sleep 0.1; done
    cp -r /etc/apt/apt.conf.d /root/as-it-was
X
cp /var/lib/cloud/seed/nocloud/user-data /etc/cloud/cloud.cfg.d/99_test.cfg
sed -i '/^runcmd:/,$d' /etc/cloud/cloud.cfg.d/99_test.cfg
`

// TestFirstBoot runs the baseline on a host that still sets itself up, with passwords
// for its console.
func TestFirstBoot(t *testing.T) {
	host := names[2]
	fresh(t, host)
	console(t, host, imaged)
	hashes := strings.Fields(console(t, host, `perl -e 'print crypt("right horse", "\$6\$admin\$"), " ", crypt("left horse", "\$6\$app\$")'`))
	if len(hashes) != 2 || len(hashes[0]) < 60 || len(hashes[1]) < 60 {
		t.Fatalf("got the hashes %q, want two", hashes)
	}
	env := []string{"ADMIN_HASH=" + hashes[0], "APP_HASH=" + hashes[1]}
	secrets := []string{"-p", "admin_password=env:ADMIN_HASH", "-p", "app_password=env:APP_HASH"}
	if err := site.Reboot(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	u := startWith(t, env, baseline(host, "apply", append(secrets, "--yes")...)...)
	u.begun("the first boot is over")
	if got := console(t, host, "cat /run/cloud-init/result.json 2>/dev/null || echo none"); got != "none" {
		t.Fatalf("got %q of cloud-init, want that it goes on", got)
	}
	console(t, host, "touch /run/boot-may-end")
	u.until("a look at the lock", func(e event.Event) bool {
		return e.Progress != nil && strings.Contains(e.Progress.Message, "/var/lib/dpkg/lock")
	})
	console(t, host, "systemctl start --no-block apt-daily; touch /run/dpkg-may-end")
	u.until("the packages", func(e event.Event) bool {
		return e.TaskFinished != nil && e.TaskFinished.Name == "packages"
	})
	u.until("the end", func(e event.Event) bool { return e.RunFinished != nil })
	applied := u.wait().want(t, 0)
	t.Logf("the first boot and the baseline: %s", time.Since(began).Round(time.Second))

	for _, c := range []struct{ script, want string }{
		{"cloud-init status | head -1", "status: done"},
		{"ls /root/as-it-was | grep -E 'holdfast|20test'", "20test"}, // nothing was written before
		{"dpkg --audit", ""},
		{`dpkg-query -W -f '${Package} ${db:Status-Status}\n' less slow`, "less installed\nslow installed"},
		{"systemctl show -P Result apt-daily", "success"},
		{"getent shadow adminclaw openclaw | cut -d: -f2", strings.Join(hashes, "\n")},
		// What the console's login asks.
		{`printf 'right horse\0' | unix_chkpwd adminclaw nullok; echo $?`, "0"},
		{`printf 'left horse\0' | unix_chkpwd adminclaw nullok; echo $?`, "7"},
		{`printf 'left horse\0' | unix_chkpwd openclaw nullok; echo $?`, "0"},
	} {
		if got := console(t, host, c.script); got != c.want {
			t.Errorf("%s: got %q, want %q", c.script, got, c.want)
		}
	}
	again := holdfastWith(t, env, baseline(host, "apply", append(secrets, "--yes")...)...).want(t, 0)
	wantNoChange(t, again, []string{host})
	for _, hash := range hashes {
		if text := console(t, host, "grep -rlsF '"+hash+"' /var/lib/holdfast /var/log /run/log || true"); text != "" {
			t.Errorf("a hash is in %s", text)
		}
		if strings.Contains(again.stdout+again.stderr+applied.stderr, hash) {
			t.Error("a hash was printed")
		}
	}
	holdfastWith(t, env, on(host, "undo", applied.run())...).want(t, 0)
	if got := console(t, host, "getent passwd adminclaw openclaw | wc -l; cat /run/cloud-init/result.json >/dev/null && echo there"); got != "0\nthere" {
		t.Errorf("got %q after the undo, want the accounts gone and what cloud-init did left", got)
	}
}
