#!/bin/sh
# Managed by Holdfast: changes are lost with the next run.
#
# Looks at this host and tells people what changed since they were last told. Each channel
# remembers what it took, so that one that was down is told later and the others are not
# told twice. Nothing here prints a secret: curl reads them from files of root's, and what
# curl says is not repeated.
set -u
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 077
conf=/etc/holdfast/watch
kept=${STATE_DIRECTORY:?systemd starts this}
run=${RUNTIME_DIRECTORY:?systemd starts this}
tab=$(printf '\t')
now=$(date +%s)
work=$run/work
rm -rf "$work" && mkdir "$work" && : >"$work/now" || exit 1

# What is remembered lies in memory, where a full disk does not matter, and on the disk for
# the next boot.
for file in "$kept"/told-* "$kept"/count-* "$kept"/looked; do
	[ -f "$file" ] && [ ! -e "$run/${file##*/}" ] && cp -p "$file" "$run/"
done
since=$(cat "$run/looked" 2>/dev/null)
case $since in '' | *[!0-9]*) since=$((now - 600)) ;; esac

# remember NAME: its content comes on standard input and is there as a whole or not at all.
remember() {
	cat >"$run/new" && mv "$run/new" "$run/$1" || return 1
	cp "$run/$1" "$kept/new" 2>/dev/null && sync "$kept/new" && mv "$kept/new" "$kept/$1"
	return 0
}

# problem LEVEL KEY TEXT: the key stays the same for as long as the problem does.
problem() { printf '%s\t%s\t%s\n' "$2" "$1" "$3" | tr -d '\000-\010\013-\037\177' >>"$work/now"; }

# above KEY VALUE WARNING CRITICAL TEXT: whole numbers; a limit of 0 is none.
above() {
	case $2 in '' | *[!0-9]*) problem warning "$1" "$1 cannot be looked at"; return ;; esac
	if [ "$4" -gt 0 ] && [ "$2" -ge "$4" ]; then
		problem critical "$1" "$5"
	elif [ "$3" -gt 0 ] && [ "$2" -ge "$3" ]; then
		problem warning "$1" "$5"
	fi
}

# grown NAME VALUE: by how much a number grew since the last look.
grown() {
	name=count-$(printf %s "$1" | tr -c 'A-Za-z0-9_.@-' _)
	old=$(cat "$run/$name" 2>/dev/null)
	case $old in '' | *[!0-9]*) old=$2 ;; esac
	printf '%s\n' "$2" | remember "$name"
	[ "$2" -ge "$old" ] && echo $(($2 - old)) || echo "$2"
}

disks() {
	for what in space inodes; do
		flag=; [ $what = inodes ] && flag=-i
		timeout 20 df -P -l $flag -x tmpfs -x devtmpfs -x squashfs -x iso9660 -x efivarfs >"$work/df" 2>/dev/null
		[ -s "$work/df" ] || problem warning "disk $what" "df does not answer"
		# One that is mounted twice is one, and those of containers are shown with what they lie on.
		awk 'NR > 1 && !seen[$1 " " $2 " " $3]++ && $5 ~ /^[0-9]+%$/ {
			used = $5 + 0
			for (i = 1; i <= 5; i++) sub(/^[^ ]+ +/, "") # the rest may have spaces
			if ($0 !~ "^/(run|var/lib/docker|var/lib/containers)/") print used "\t" $0 }' "$work/df" >"$work/disks"
		while IFS=$tab read -r used mount; do
			above "disk $what $mount" "$used" "$DISK_WARNING" "$DISK_CRITICAL" "$mount: $used% of its $what are used"
		done <"$work/disks"
	done
}

memory() {
	used=$(awk '$1 == "MemTotal:" {all = $2} $1 == "MemAvailable:" {free = $2} END {if (all) printf "%d", 100 - 100 * free / all}' /proc/meminfo)
	above memory "$used" "$MEMORY_WARNING" "$MEMORY_CRITICAL" "$used% of the memory are used"
	load=$(awk -v cpus="$(nproc)" '{printf "%d", 100 * $2 / cpus}' /proc/loadavg)
	above load "$load" "$LOAD_WARNING" "$LOAD_CRITICAL" "the load of the last five minutes is $load% of the processors"
	killed=$(journalctl -q -o cat --since "@$since" 2>/dev/null | grep -cE '^Out of memory: Killed process|^Memory cgroup out of memory: Killed process|killed by the OOM killer')
	above oom "$killed" 1 0 "processes were killed for want of memory since the last look: $killed"
}

services() {
	for unit in $SERVICES; do
		systemctl is-active --quiet "$unit" || problem critical "service $unit" "$unit is not active"
	done
	systemctl list-units --failed --plain --no-legend --no-pager >"$work/failed" 2>/dev/null || problem warning units "systemd does not answer"
	while read -r unit _; do
		# Why this one failed is told by what it sends.
		case " holdfast-watch.service $IGNORED_UNITS $SERVICES " in *" $unit "*) continue ;; esac
		problem warning "unit $unit" "$unit failed"
	done <"$work/failed"
}

containers() {
	command -v docker >/dev/null || return
	if ! timeout 30 docker ps -a --no-trunc --format '{{.Names}}\t{{.State}}\t{{.Status}}' >"$work/containers" 2>/dev/null; then
		problem critical docker "Docker does not answer"
		return
	fi
	while IFS=$tab read -r name state status; do
		case "$state $status" in
		restarting* | dead* | *'(unhealthy)'*) problem critical "container $name" "container $name: $status" ;;
		esac
		times=$(timeout 30 docker inspect -f '{{.RestartCount}}' "$name" 2>/dev/null) || continue
		times=$(grown "container-$name" "$times")
		above "restarts of container $name" "$times" "$RESTARTS" 0 "container $name was restarted $times times since the last look"
	done <"$work/containers"
}

# ask PATH [ARGUMENT...]: the status of the answer of the gateway.
ask() {
	path=$1; shift
	curl -q -s -m 10 -o "$work/answer" -w '%{http_code}' "$@" "http://127.0.0.1:$GATEWAY_PORT$path" 2>/dev/null
}

# as_gateway COMMAND...: as its account, which has a service manager of its own.
as_gateway() {
	id=$(id -u "$GATEWAY_USER" 2>/dev/null) || return 1
	setpriv --reuid="$id" --regid="$(id -g "$GATEWAY_USER")" --init-groups env -i PATH="$PATH" XDG_RUNTIME_DIR="/run/user/$id" timeout 20 "$@" 2>/dev/null
}

# gateway_is says what is wrong with the gateway, as LEVEL TEXT, or nothing. Only what asks
# with the token proves anything; each path answers 200 to anybody.
gateway_is() {
	: >"$work/answer"
	[ "$(ask /healthz)" = 200 ] && grep -q '"ok": *true' "$work/answer" || { echo critical the gateway does not answer; return; }
	[ "$(ask /startupz)" = 200 ] || { echo warning the gateway is starting or ending; return; }
	token=$(head -n 1 "$TOKEN_FILE" 2>/dev/null)
	[ -n "$token" ] || { echo warning the token of the gateway cannot be read; return; }
	status=$(printf 'header = "Authorization: Bearer %s"\n' "$token" | ask /tools/invoke -K - -X POST -H 'Content-Type: application/json' -d '{"tool":"sessions_list","agentId":"'"$GATEWAY_AGENT"'","args":{"limit":1}}')
	case $status in
	200) ;;
	401 | 403) echo critical "the gateway refuses its own token ($status)"; return ;;
	*) echo critical "the gateway does not do what it is asked ($status)"; return ;;
	esac
	[ "$(ask /readyz)" = 200 ] || echo warning "the gateway is not ready: $(grep -o '"failing": *\[[^]]*\]' "$work/answer" | head -c 300)"
}

gateway() {
	[ "$GATEWAY_PORT" -gt 0 ] || return
	# One that is being restarted gets its time.
	for try in 1 2 3 4; do
		wrong=$(gateway_is)
		[ -n "$wrong" ] && [ $try -lt 4 ] && sleep "$PATIENCE" || break
	done
	# Another reason is another problem.
	reason=${wrong%%[:(]*}
	[ -z "$wrong" ] || problem "${wrong%% *}" "gateway: ${reason#* }" "${wrong#* }"
	state=$(as_gateway systemctl --user show openclaw-gateway.service -p ActiveState -p NRestarts)
	case $state in
	*ActiveState=active*) ;;
	*) problem critical "gateway unit" "the unit of the gateway is not active: $(printf %s "$state" | sed -n 's/^ActiveState=//p')" ;;
	esac
	times=$(printf '%s\n' "$state" | sed -n 's/^NRestarts=//p')
	if [ -n "$times" ]; then
		times=$(grown gateway "$times")
		above "restarts of the gateway" "$times" "$RESTARTS" 0 "the gateway was restarted $times times since the last look"
	fi
	[ -s "$conf/patterns" ] || return
	journalctl -q -o cat --no-pager --since "@$since" _SYSTEMD_USER_UNIT=openclaw-gateway.service >"$work/log" 2>/dev/null
	while read -r name least pattern; do
		found=$(grep -cE -e "$pattern" "$work/log")
		above "log $name" "$found" "$least" 0 "the log of the gateway has \"$name\" $found times since the last look"
	done <"$conf/patterns"
}

backups() {
	[ "$BACKUP_WARNING" -gt 0 ] || return
	newest=
	for dir in $BACKUP_DIRS; do
		[ -d "$dir" ] && newest=$({ echo "$newest"; find "$dir" -type f -printf '%T@\n' 2>/dev/null | cut -d. -f1; } | sort -n | tail -n 1)
	done
	if [ -z "$newest" ]; then
		problem warning backup "there is no backup in $BACKUP_DIRS"
		return
	fi
	hours=$(((now - newest) / 3600))
	[ "$hours" -ge 0 ] || hours=0
	above backup "$hours" "$BACKUP_WARNING" "$BACKUP_CRITICAL" "the newest backup is $hours hours old"
}

# A certificate is renewed when a third of its life is left, be that days or hours.
certificates() {
	for file in $CERTIFICATES; do
		[ -f "$file" ] || continue
		dates=$(openssl x509 -noout -startdate -enddate -in "$file" 2>/dev/null)
		begins=$(date -d "$(printf '%s' "$dates" | sed -n 's/^notBefore=//p')" +%s 2>/dev/null)
		ends=$(date -d "$(printf '%s' "$dates" | sed -n 's/^notAfter=//p')" +%s 2>/dev/null)
		if [ -z "$dates" ] || [ -z "$begins" ] || [ -z "$ends" ]; then
			problem warning "certificate $file" "$file is no certificate that can be read"
			continue
		fi
		left=$((ends - now)) life=$((ends - begins))
		text="$file ends in $((left / 86400)) days"
		if [ "$left" -le 0 ]; then
			problem critical "certificate $file" "$file has ended"
		elif [ "$left" -lt $((CERTIFICATE_CRITICAL * 86400)) ] && [ "$left" -lt $((life / 8)) ]; then
			problem critical "certificate $file" "$text"
		elif [ "$left" -lt $((CERTIFICATE_WARNING * 86400)) ] && [ "$left" -lt $((life / 4)) ]; then
			problem warning "certificate $file" "$text"
		fi
	done
}

# A key of the tailnet that ends takes the way to the host with it.
tailnet() {
	command -v tailscale >/dev/null || return
	ends=$(timeout 10 tailscale status --json --peers=false 2>/dev/null | sed -n 's/^ *"KeyExpiry": "\(.*\)",*$/\1/p' | head -n 1)
	[ -n "$ends" ] && left=$(($(date -d "$ends" +%s) - now)) || return
	text="the key of the tailnet ends in $((left / 86400)) days"
	if [ "$left" -le 0 ]; then
		problem critical "key of the tailnet" "the key of the tailnet has ended"
	elif [ "$left" -lt $((TAILNET_CRITICAL * 86400)) ]; then
		problem critical "key of the tailnet" "$text"
	elif [ "$left" -lt $((TAILNET_WARNING * 86400)) ]; then
		problem warning "key of the tailnet" "$text"
	fi
}

# A channel that took nothing last time is a problem for the others to tell.
channels() {
	for file in "$run"/broken-*; do
		[ -f "$file" ] && problem warning "channel ${file##*-}" "${file##*-} takes no messages: $(cat "$file")"
	done
}

# json FILE: a text as the inside of a string. Control characters are gone already.
json() { tr '\t' ' ' <"$1" | sed 's/\\/\\\\/g; s/"/\\"/g' | awk '{printf "%s%s", sep, $0; sep = "\\n"}'; }

# post CHANNEL ARGUMENT...: whether the receiver took it; what it says stays unsaid.
post() {
	channel=$1; shift
	status=$(curl -q -K "$conf/$channel" -s -m 20 --retry 2 --retry-max-time 60 -o /dev/null -w '%{http_code}' "$@" 2>/dev/null)
	code=$?
	case $status in
	2??) rm -f "$run/broken-$channel"; return 0 ;;
	esac
	echo "status $status, curl's $code" >"$run/broken-$channel"
	echo "$channel takes no messages: status $status, curl's $code" >&2
	broken=yes
	return 1
}

# send CHANNEL LEVEL: the text in message, as the service wants it. 1900 bytes are less
# than any of them takes; half a character at the end goes.
send() {
	head -c 1900 "$work/message" | iconv -c -f UTF-8 -t UTF-8 >"$work/text"
	printf '%s' "$NAME" | iconv -c -f UTF-8 -t UTF-8 | tr -d '\000-\037\177' >"$work/name"
	echo >>"$work/name"
	case $1 in
	telegram) printf '{"chat_id":"%s","text":"%s"}' "$TELEGRAM_CHAT" "$(json "$work/text")" ;;
	discord) printf '{"content":"%s","allowed_mentions":{"parse":[]}}' "$(json "$work/text")" ;;
	ntfy) cat "$work/text" ;;
	webhook) printf '{"title":"%s","message":"%s","level":"%s","host":"%s"}' "$(json "$work/name")" "$(json "$work/text")" "$2" "$(json "$work/name")" ;;
	esac >"$work/body"
	case $1-$2 in
	ntfy-critical) post ntfy -H 'X-Priority: 5' -H 'X-Tags: critical' --data-binary "@$work/body" ;;
	ntfy-warning) post ntfy -H 'X-Priority: 4' -H 'X-Tags: warning' --data-binary "@$work/body" ;;
	ntfy-*) post ntfy --data-binary "@$work/body" ;;
	*) post "$1" -H 'Content-Type: application/json' --data-binary "@$work/body" ;;
	esac
}

# tell CHANNEL: what changed since it last took a message, if anything did.
tell() {
	told=$run/told-$1
	grep -v "^channel $1$tab" "$work/now" | sort >"$work/mine"
	first=no
	[ -f "$told" ] || { first=yes; : >"$work/none"; }
	if [ $first = yes ]; then old=$work/none; else old=$told; fi
	awk -F '\t' '
		FILENAME == ARGV[1] {was[$1] = $2; text[$1] = $3; next}
		!($1 in was) {print (($2 == "critical") ? 1 : 2) "\t" $2 ": " $3; seen[$1] = 1; next}
		was[$1] != $2 {print (($2 == "critical") ? 1 : 2) "\t" $2 ", was " was[$1] ": " $3}
		{seen[$1] = 1}
		END {for (key in was) if (!(key in seen)) print "3\tover: " text[key]}' "$old" "$work/mine" | sort | cut -f 2- >"$work/changes"
	level=info
	grep -q "${tab}warning$tab" "$work/mine" && level=warning
	grep -q "${tab}critical$tab" "$work/mine" && level=critical
	due=no
	if [ "$REPEAT" -gt 0 ] && [ $first = no ] && [ -s "$work/mine" ] && [ $((now - $(stat -c %Y "$told"))) -ge $((REPEAT * 3600)) ]; then
		due=yes
	fi
	[ -s "$work/changes" ] || [ $first = yes ] || [ $due = yes ] || return 0
	{
		case $level in
		info) printf 'OK: %s\n' "$NAME" ;;
		*) printf '%s: %s\n' "$(echo $level | tr a-z A-Z)" "$NAME" ;;
		esac
		[ $first = no ] || echo 'This host is watched from now on.'
		cat "$work/changes"
		if [ $due = yes ]; then
			awk -F '\t' '{print "still " $2 ": " $3}' "$work/mine"
		elif [ -s "$work/mine" ]; then
			echo "$(wc -l <"$work/mine") in all"
		fi
	} >"$work/message"
	send "$1" $level && remember "told-$1" <"$work/mine"
}

broken=no
channels
disks
memory
services
containers
gateway
backups
certificates
tailnet
for channel in telegram discord ntfy webhook; do
	[ ! -f "$conf/$channel" ] || tell "$channel"
done
# What was looked at shows in the journal, for whoever looks there.
cut -f 2- "$work/now"
echo "$now" | remember looked
rm -rf "$work"
# The watchdog hears nothing while people cannot be told, so that it speaks in their place.
[ $broken = no ] && [ -f "$conf/ping" ] && post ping -X POST -d ''
[ $broken = no ]
