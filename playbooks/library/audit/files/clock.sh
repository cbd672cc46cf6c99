# Whether the clock is kept right.
case $VIRTUAL in systemd-nspawn|lxc*|docker|podman|openvz|container-other) echo "missing: the clock of a container is that of its host"; exit 0 ;; esac
if [ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null)" = yes ]; then echo "synchronised yes"; exit 0; fi
for unit in chrony chronyd ntp ntpd ntpsec systemd-timesyncd; do
  [ "$(systemctl is-active $unit 2>/dev/null)" = active ] && { echo "runs $unit"; echo "synchronised not yet"; exit 0; }
done
[ -d /run/systemd/system ] || { echo "unknown: there is no systemd to ask"; exit 0; }
echo "synchronised no"
