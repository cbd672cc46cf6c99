#!/bin/sh
# kernel.*, vm.*, fs.* and dev.* belong to the machine, not to this host: private
# copies stand in for them, so that they can be set and read back without
# touching the machine. What must stay real is bound back into the copy.
set -u
own=/run/sandbox/sysctl
mkdir -p "$own"
mount -t tmpfs -o mode=755,nosuid,nodev,noexec sandbox-sysctl "$own" || exit 1
for part in kernel vm fs dev; do
	[ -d "/proc/sys/$part" ] || continue
	cp -Rp "/proc/sys/$part" "$own/" 2>/dev/null
done
chmod -R u+w "$own"
for real in kernel/random kernel/hostname kernel/domainname kernel/ns_last_pid kernel/pid_max; do
	[ -e "/proc/sys/$real" ] && mount --rbind "/proc/sys/$real" "$own/$real"
done
# Of net.core, a network namespace shows only what it has of its own; the rest
# has the machine's values.
if [ -d /usr/lib/sandbox/net-core ]; then
	mkdir -p "$own/net-core"
	cp -Rp /usr/lib/sandbox/net-core/. "$own/net-core/"
	for real in /proc/sys/net/core/*; do
		: >"$own/net-core/${real##*/}"
		mount --bind "$real" "$own/net-core/${real##*/}"
	done
	mount --rbind "$own/net-core" /proc/sys/net/core
fi
for part in kernel vm fs dev; do
	[ -d "$own/$part" ] && mount --rbind "$own/$part" "/proc/sys/$part"
done
exit 0
