# Containers, and what they may do to the host.
PATH=$PATH:/usr/sbin:/sbin
command -v docker >/dev/null || { echo "missing: there is no Docker"; exit 0; }
program=$(readlink -f "$(command -v docker)")
if command -v dpkg >/dev/null; then
  package=$(dpkg -S "$program" 2>/dev/null | head -n 1 | cut -d: -f1)
  echo "package ${package:-none}"
fi
ids=$(timeout 20 docker ps -q 2>&1) || { echo "daemon silent"; exit 0; }
echo "daemon answers"
grep -qsE '"no-new-privileges"[[:space:]]*:[[:space:]]*true' /etc/docker/daemon.json && nnp=yes
grep -qsE '"max-size"|"log-driver"[[:space:]]*:[[:space:]]*"(local|journald|none)"' /etc/docker/daemon.json && echo "logs bounded" || echo "logs unbounded"
if rules=$(iptables -S DOCKER-USER 2>/dev/null); then
  { echo "$rules"; iptables -S HOLDFAST-DOCKER 2>/dev/null; } | grep -qE -- '-j (DROP|REJECT)' && echo "bypass closed" || echo "bypass open"
fi
count=0
for id in $ids; do
  count=$((count + 1))
  timeout 20 docker inspect --format '{{.Name}}|{{.HostConfig.Privileged}}|{{range .HostConfig.SecurityOpt}}{{.}} {{end}}|{{range .Mounts}}{{.Source}} {{end}}|{{range $p, $l := .NetworkSettings.Ports}}{{range $l}}{{.HostIp}}#{{.HostPort}} {{end}}{{end}}|{{.HostConfig.NetworkMode}}' "$id" 2>/dev/null | {
    IFS='|' read -r name privileged options mounts ports network || { echo "unseen $id"; exit 0; }
    name=${name#/}
    [ "$privileged" = true ] && echo "privileged $name"
    case "$options" in *no-new-privileges*) ;; *) [ "$nnp" = yes ] || echo "gains $name" ;; esac
    for m in $mounts; do case $m in */docker.sock) echo "socket $name" ;; esac; done
    for p in $ports; do case $p in 127.*|::1*) ;; *) echo "public $name $p" ;; esac; done
  }
done
echo "containers $count"
