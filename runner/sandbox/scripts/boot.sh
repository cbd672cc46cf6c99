#!/bin/sh
# Boots a sandbox host once. It starts in the network namespace of that boot and
# becomes systemd-nspawn.
#
# usage: boot.sh SETTINGS WATCHER
set -u
. "$1"
outside="nsenter --net --target $2"

for cgroup in $CGROUPS; do
	echo $$ >"$cgroup/boot/cgroup.procs" || exit 1
done
echo 0 >/proc/sys/net/ipv4/ip_forward
# The link of the boot before may not be gone yet.
$outside ip link delete "$LINK" 2>/dev/null
ip link set lo up || exit 1
ip link add eth0 mtu "$MTU" address "$MAC" type veth peer name "$LINK" mtu "$MTU" netns "$2" || exit 1
ip address add "$ADDRESS/24" broadcast + dev eth0 || exit 1
$outside ip link set "$LINK" master "$BRIDGE" up || exit 1
ip link set eth0 up || exit 1
ip route add default via "$GATEWAY" || exit 1

echo $$ >"$FOLDER/boot.new" && mv "$FOLDER/boot.new" "$FOLDER/boot.pid"
# Where the machine has the old layout of cgroups, or both, the host is shown the
# new one alone. With the old one its systemd is not told when a group is empty
# and waits two minutes for each user's manager to end; recent ones refuse it.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
case $LAYOUT in
hybrid) mount -t cgroup2 sandbox /sys/fs/cgroup || exit 1 ;;
legacy) SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0 ;;
esac
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
# On a real host, /tmp is on the disk.
export SYSTEMD_NSPAWN_TMPFS_TMP=0
# Container engines in the host give each container a keyring and a filter of devices.
exec systemd-nspawn --quiet --settings=no --register=no --keep-unit \
	--directory="$FOLDER/root" --boot --machine="$MACHINE" --hostname="$NAME" \
	--capability=all --network-namespace-path=/proc/$$/ns/net \
	"--system-call-filter=@keyring bpf" --resolv-conf=off --timezone=off --link-journal=no --console=read-only
