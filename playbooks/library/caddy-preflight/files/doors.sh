# Opens ports 80 and 443 for a minute, if nobody has them, behind a word that only this
# host knows, and prints the word. Whoever gets the word from outside has reached this
# host through all that stands between. $1 is the file of the firewall's rules: a plan
# that would change it cannot know how this ends.
set -eu
unit=holdfast-doors
systemctl stop "$unit.service" 2>/dev/null || true
if systemctl -q is-active caddy; then
	echo serving
	exit 0
fi
for port in 80 443; do
	who=$(ss -Hltnp "sport = :$port" | sed -n '1s/.*users:((\("[^"]*"\).*/\1/p')
	if [ -n "$(ss -Hltn "sport = :$port")" ]; then
		echo "port $port of this host is taken by ${who:-somebody}: stop it, Caddy needs the port" >&2
		exit 1
	fi
done
word=$(cat /proc/sys/kernel/random/uuid)
# One line of the request after the other is read, because a connection that is closed
# with something unread is reset, and then the answer is lost. Each $ is doubled for
# systemd, which would put variables of its own in.
answer='while read -r line; do case $$line in ""|?) break;; esac; done
printf "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s" "$$1"'
systemd-run --quiet --collect --unit "$unit" --property=RuntimeMaxSec=60 --property=User=nobody \
	--property=AmbientCapabilities=CAP_NET_BIND_SERVICE --property=CapabilityBoundingSet=CAP_NET_BIND_SERVICE \
	--property=NoNewPrivileges=yes --property=ProtectSystem=strict --property=ProtectHome=yes --property=PrivateTmp=yes \
	systemd-socket-activate --accept --inetd --listen=80 --listen=443 /bin/sh -c "$answer" answer "$word"
tries=0
until [ "$(ss -Hltn 'sport = :80 or sport = :443' | wc -l)" -ge 2 ]; do
	tries=$((tries + 1))
	if [ "$tries" -gt 100 ]; then
		echo "ports 80 and 443 of this host cannot be opened:" >&2
		journalctl -u "$unit" -n 5 --no-pager -o cat >&2
		exit 1
	fi
	sleep 0.2
done
echo "$word"
