# Prints what a gateway is made of, a fact a line. It only looks; OpenClaw's own program is
# asked as its account, because as root it would leave files that the account cannot read.
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
id=$(id -u "$GATEWAY_USER" 2>/dev/null) || { echo "account missing"; echo end; exit; }
home=$(getent passwd "$GATEWAY_USER" | cut -d: -f6)
state=$home/.openclaw
as() {
	setpriv --reuid="$id" --regid="$(id -g "$GATEWAY_USER")" --init-groups env -i HOME="$home" OPENCLAW_CONFIG_READONLY=1 \
		PATH=/usr/local/bin:/usr/bin:/bin XDG_RUNTIME_DIR="/run/user/$id" timeout 80 "$@"
}
cd "$home" || exit 1

version=$(as node --version 2>/dev/null)
echo "node ${version:-missing}"
echo "openclaw $(sed -n 's/^  "version": "\(.*\)",$/\1/p' /opt/openclaw/current/node_modules/openclaw/package.json 2>/dev/null | grep . || echo missing)"
if [ -e "/var/lib/systemd/linger/$GATEWAY_USER" ]; then echo "linger yes"; else echo "linger no"; fi
unit=$(as systemctl --user show openclaw-gateway.service -p LoadState -p ActiveState -p ExecMainStatus 2>/dev/null | sort | cut -d= -f2 | tr '\n' ' ')
echo "unit ${unit:-the account has no service manager}"
if [ -d "$state" ]; then
	echo "state $(stat -c '%a %U' "$state")"
	find "$state" -xdev ! -user "$GATEWAY_USER" 2>/dev/null | head -n 5 | sed 's/^/foreign /'
	df -P "$state" 2>/dev/null | awk 'NR == 2 {print "space", $5 + 0}'
	df -Pi "$state" 2>/dev/null | awk 'NR == 2 {print "inodes", $5 + 0}'
else
	echo "state missing"
fi
if [ ! -e "$state/openclaw.json" ]; then
	echo "config missing"
elif ! as test -r "$state/openclaw.json"; then
	echo "config unreadable, it belongs to $(stat -c '%U with mode %a' "$state/openclaw.json")"
else
	answer=$(as openclaw config validate --json 2>&1)
	code=$?
	[ $code -eq 0 ] && echo "config valid" || printf 'config invalid: %s\n' "$(printf %s "$answer" | tr -d '\000-\037\177' | tr -s ' ' | head -c 600)"
fi
ss -Hltnp "sport = :$PORT" 2>/dev/null | sed -n 's/.*users:((\("[^"]*"\),pid=\([0-9]*\).*/\2/p' | sort -u | while read -r pid; do
	echo "listens $(stat -c %U "/proc/$pid" 2>/dev/null) $(cat "/proc/$pid/comm" 2>/dev/null)"
done
grep -ls OPENCLAW_GATEWAY_TOKEN= "$home/.bashrc" "$home/.profile" "$home/.bash_profile" /root/.bashrc /root/.profile /etc/environment | sed 's/^/shell /'
find /etc/systemd "$home/.config/systemd" -type f -name '*openclaw*' -exec grep -ls OPENCLAW_GATEWAY_TOKEN= {} + 2>/dev/null | sed 's/^/shell /'
for name in caddy nginx cloudflared; do systemctl is-active --quiet $name && echo "proxy $name"; done
# The inspector of Node, which whoever sends SIGUSR1 opens.
ss -Hltn 'sport = :9229' 2>/dev/null | grep -q . && echo "inspector open"

# What its service manager says of it counts too, such as that the kernel killed it.
journalctl -q -o cat --no-pager --since "$HOURS hours ago" _SYSTEMD_USER_UNIT=openclaw-gateway.service + _SYSTEMD_UNIT=openclaw-gateway.service \
	+ USER_UNIT=openclaw-gateway.service _UID="$id" + UNIT=openclaw-gateway.service _PID=1 2>/dev/null |
	tail -n 200000 | awk '
	# A client that hangs up when it is refused leaves 1006 as the code; the cause says it then.
	/closed before connect|(closed|disconnected).* code=/ {
		cause = match($0, /cause=[a-z-]+/) ? substr($0, RSTART + 6, RLENGTH - 6) : "none"
		code = match($0, /code=[0-9]+/) ? substr($0, RSTART + 5, RLENGTH - 5) : ""
		if (code == 1006 && cause == "protocol-mismatch") code = 1002
		if (code == 1006 && cause ~ /^(pairing-required|unauthorized|repeated-unauthorized|origin-mismatch|device-|invalid-|control-ui|operator-access|missing-ingress)/) code = 1008
		if (cause == "handshake-timeout") n["handshake"]++
		if (code ~ /^(1002|1008|1012|4008)$/) {n["close-" code]++; causes["close-" code, cause]++}
	}
	/missing scope/ {n["scope"]++}
	/unattributable proxy-shaped/ {n["proxy"]++}
	/config reload skipped/ {n["reload"]++}
	/SECRETS_DEGRADED|required secrets are unavailable/ {n["secrets"]++}
	/uses newer schema version|older than the config/ {n["schema"]++}
	/owner lease is still active/ {n["lease"]++}
	/EADDRINUSE|already in use/ {n["port"]++}
	/ENOSPC|no space left|database or disk is full/ {n["space"]++}
	/heap out of memory|killed by the OOM killer/ {n["memory"]++}
	/ECONNREFUSED|ETIMEDOUT|ENOTFOUND|authentication_error|invalid x-api-key|rate_limit_error/ {n["provider"]++}
	END {for (what in n) {
		text = ""
		for (pair in causes) {split(pair, of, SUBSEP); if (of[1] == what) text = text ", " of[2] " " causes[pair]}
		print "log", what, n[what] (text == "" ? "" : ":" substr(text, 2))
	}}' | sort
journalctl -q -o cat --no-pager --since "$HOURS hours ago" _SYSTEMD_UNIT=caddy.service 2>/dev/null | awk '
	/rateLimited|too many failed authorizations|too many certificates/ {n["acme-limit"]++; next}
	/challenge failed|could not get certificate|obtaining certificate.*error/ {n["acme"]++}
	END {for (what in n) print "log", what, n[what]}' | sort
echo end
