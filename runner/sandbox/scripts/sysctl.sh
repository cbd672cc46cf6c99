#!/bin/sh
# kernel.*, vm.*, fs.* and dev.* belong to the machine, not to this host: private
# copies stand in for them, so that they can be set and read back without
# touching the machine. What must stay real is bound back into the copy.
set -u
own=/run/sandbox
mkdir -p "$own"
mount -t tmpfs -o mode=755,nosuid,nodev,noexec sandbox-sysctl "$own" || exit 1
mount --make-private "$own"
for part in kernel vm fs dev; do
	mkdir -p "$own/$part"
	cp -Rp "/proc/sys/$part/." "$own/$part/" 2>/dev/null
done
chmod -R u+w "$own"

# What a kernel of Debian has and this one may not, with Debian's values.
while read -r name value; do
	[ -e "$own/$name" ] && continue
	mkdir -p "$own/${name%/*}"
	echo "$value" >"$own/$name"
done <<'END'
kernel/sysrq 438
kernel/kexec_load_disabled 0
kernel/modules_disabled 0
kernel/perf_event_paranoid 3
kernel/unprivileged_bpf_disabled 2
kernel/unprivileged_userns_clone 1
kernel/yama/ptrace_scope 0
kernel/io_uring_disabled 0
vm/mmap_rnd_bits 28
vm/mmap_rnd_compat_bits 8
vm/unprivileged_userfaultfd 0
fs/protected_fifos 1
fs/protected_regular 2
dev/tty/ldisc_autoload 1
dev/tty/legacy_tiocsti 0
END

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
	[ -d "/proc/sys/$part" ] && mount --rbind "$own/$part" "/proc/sys/$part"
done
# Otherwise unmounting it would take the copies and what is in them along.
mount --make-rprivate "$own"
umount --recursive --lazy "$own"
rmdir "$own"
