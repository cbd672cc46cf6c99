#!/bin/sh
# Keeps one sandbox host under power: mounts its root, boots it, boots it again
# when it reboots, and ends when it is switched off. Everything it makes is held
# by its own processes (a mount namespace for all boots, a network namespace for
# each), so killing them takes mounts, links and namespaces away with them.
#
# usage: host.sh SETTINGS
set -u
cd /
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
. "$1"

if [ "${2-}" != inside ]; then
	for cgroup in $CGROUPS; do
		echo $$ >"$cgroup/watch/cgroup.procs" || exit 1
	done
	exec unshare --mount --propagation slave -- sh "$0" "$1" inside
fi

echo $$ >"$FOLDER/watch.new" && mv "$FOLDER/watch.new" "$FOLDER/watch.pid"
# systemd-nspawn leaves directories in /run when it is killed, and behaves
# differently where it finds a running systemd there.
mount -t tmpfs -o mode=755 sandbox /run || exit 1
# Directories of lower layers can be renamed, as on a disk.
mount -t overlay -o "redirect_dir=on,lowerdir=$LOWER,upperdir=$FOLDER/upper,workdir=$FOLDER/work" overlay "$FOLDER/root" || exit 1
# Packages that any host has fetched before are seen by all; what this host
# fetches goes to its own folder, so that apt's lock is its own too.
archives=var/cache/apt/archives
mount -t overlay -o "lowerdir=$ARCHIVES:$BASE/$archives,upperdir=$FOLDER/archives,workdir=$FOLDER/archives-work" overlay "$FOLDER/root/$archives" || exit 1

while :; do
	for cgroup in $CGROUPS; do
		find "$cgroup/boot" -depth -type d -exec rmdir {} \; 2>/dev/null
		mkdir -p "$cgroup/boot" || exit 1
	done
	# A new network namespace for every boot: sysctls and firewall rules must not
	# survive a reboot.
	unshare --net --mount --propagation slave -- sh "$FOLDER/boot.sh" "$1" $$
	status=$?
	rm -f "$FOLDER/boot.pid"
	if [ -e "$FOLDER/again" ]; then
		rm -f "$FOLDER/again"
		continue
	fi
	# 133 is how systemd-nspawn --keep-unit says that the guest wants a reboot.
	[ "$status" -eq 133 ] || exit "$status"
done
