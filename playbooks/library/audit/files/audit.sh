# Whether the kernel's audit records what matters.
PATH=$PATH:/usr/sbin:/sbin
case $VIRTUAL in systemd-nspawn|lxc*|docker|podman|openvz|container-other) echo "missing: a container has no audit of its own"; exit 0 ;; esac
[ "$(id -u)" = 0 ] || { echo "unknown: only root can ask the audit"; exit 0; }
command -v auditctl >/dev/null || { echo "daemon none"; echo "rules 0"; exit 0; }
echo "daemon $(systemctl is-active auditd 2>/dev/null)"
rules=$(auditctl -l 2>&1) || { echo "unknown: auditctl -l fails: $(echo "$rules" | head -n 1)"; exit 0; }
echo "rules $(echo "$rules" | grep -c '^-')"
