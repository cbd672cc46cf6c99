#!/bin/sh
# Turns a fresh Debian or Ubuntu tree into the base of sandbox hosts. Runs as a
# hook of mmdebstrap, outside of the tree.
#
# usage: base.sh ROOT, with STAGE, ACCOUNT and ARCHIVES in the environment
set -eu
root=$1
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
cp -R "$STAGE/." "$root/"

# What makes a host itself is made for each host.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
mkdir -p "$root/var/lib/dbus"
ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"

# An account as cloud images have it. "*" is no password, but not a locked
# account either: sshd without PAM refuses the latter.
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 --password '*' "$ACCOUNT"
printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$ACCOUNT" >"$root/etc/sudoers.d/90-cloud-init-users"
chmod 0440 "$root/etc/sudoers.d/90-cloud-init-users"

# No hardware, no console, no kernel to speak to: these can only fail here.
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
	systemd-udev-trigger.service systemd-networkd-wait-online.service systemd-journald-audit.socket \
	systemd-binfmt.service systemd-modules-load.service systemd-logind-varlink.socket \
	sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount dev-hugepages.mount \
	console-getty.service container-getty@.service getty@.service getty-static.service getty.target; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -sf /usr/lib/systemd/system/sandbox-sysctl.service \
	"$root/etc/systemd/system/sysinit.target.wants/sandbox-sysctl.service"
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

if ls "$root"/usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
	chroot "$root" update-ca-certificates >/dev/null
fi

# The lists stay, so that the first "apt-get install" needs no update; the
# packages go to where all hosts see them.
mkdir -p "$ARCHIVES"
for package in "$root"/var/cache/apt/archives/*.deb; do
	[ -e "$package" ] && mv "$package" "$ARCHIVES/"
done
chroot "$root" apt-cache gencaches >/dev/null
