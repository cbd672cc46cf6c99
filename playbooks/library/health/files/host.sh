# Prints what a host has, a fact a line; its limits are the playbook's.
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
for flag in '' -i; do
	word=disk; [ -z "$flag" ] || word=inodes
	timeout 20 df -P -l $flag -x tmpfs -x devtmpfs -x squashfs -x iso9660 -x efivarfs 2>/dev/null |
		awk -v word=$word 'NR > 1 && !seen[$1 " " $2 " " $3]++ && $5 ~ /^[0-9]+%$/ {
			used = $5 + 0
			for (i = 1; i <= 5; i++) sub(/^[^ ]+ +/, "")
			if ($0 !~ "^/(run|var/lib/docker|var/lib/containers)/") print word, used, $0 }'
done
awk '$1 == "MemTotal:" {all = $2} $1 == "MemAvailable:" {free = $2} END {if (all) printf "memory %d\n", 100 - 100 * free / all}' /proc/meminfo
awk -v cpus="$(nproc)" '{printf "load %d\n", 100 * $2 / cpus}' /proc/loadavg
systemctl list-units --failed --plain --no-legend --no-pager 2>/dev/null | awk '{print "failed", $1}'
for unit in $SERVICES; do
	systemctl is-active --quiet "$unit" || echo "inactive $unit"
done
if id=$(id -u "$GATEWAY_USER" 2>/dev/null); then
	setpriv --reuid="$id" --regid="$(id -g "$GATEWAY_USER")" --init-groups env -i PATH="$PATH" XDG_RUNTIME_DIR="/run/user/$id" \
		timeout 20 systemctl --user show openclaw-gateway.service -p ActiveState -p NRestarts 2>/dev/null |
		sed -n 's/^ActiveState=/unit /p; s/^NRestarts=/restarts /p'
fi
if command -v docker >/dev/null; then
	timeout 30 docker ps -a --no-trunc --format '{{.Names}}' 2>/dev/null | while read -r name; do
		timeout 30 docker inspect -f 'container {{.Name}} {{.RestartCount}} {{.State.Status}}{{if .State.Health}} {{.State.Health.Status}}{{end}}' "$name"
	done
fi
now=$(date +%s)
for dir in $BACKUP_DIRS; do
	[ -d "$dir" ] && find "$dir" -type f -printf '%T@\n' 2>/dev/null | cut -d. -f1
done | sort -n | tail -n 1 | awk -v now="$now" '{print "backup", int((now - $1) / 3600)}'
for file in $CERTIFICATES; do
	[ -f "$file" ] || continue
	dates=$(openssl x509 -noout -startdate -enddate -in "$file" 2>/dev/null)
	begins=$(date -d "$(printf '%s' "$dates" | sed -n 's/^notBefore=//p')" +%s 2>/dev/null)
	ends=$(date -d "$(printf '%s' "$dates" | sed -n 's/^notAfter=//p')" +%s 2>/dev/null)
	if [ -z "$dates" ] || [ -z "$begins" ] || [ -z "$ends" ]; then
		echo "certificate unreadable $file"
	else
		# Short ones are renewed when a third of their life is left.
		days=$(((ends - now) / 86400)) life=$(((ends - begins) / 86400))
		[ $((days * 4)) -lt $life ] && word=late || word=fine
		[ $((ends - now)) -gt 0 ] || word=ended
		echo "certificate $word $days $file"
	fi
done
if command -v tailscale >/dev/null; then
	ends=$(timeout 10 tailscale status --json --peers=false 2>/dev/null | sed -n 's/^ *"KeyExpiry": "\(.*\)",*$/\1/p' | head -n 1)
	[ -z "$ends" ] || echo "tailnet-key $((($(date -d "$ends" +%s) - now) / 86400)) $ends"
fi
for file in /run/holdfast-watch/broken-*; do
	[ -f "$file" ] && echo "watch ${file##*/broken-} took nothing"
done
[ ! -e /run/holdfast-watch/looked ] || echo "watch looked"
echo end
