# Prints how this host is in its tailnet, a fact a line.
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
command -v tailscale >/dev/null && systemctl is-active -q tailscaled || { echo "state none"; exit 0; }
# A daemon that has just started is on its way for a moment.
for try in 1 2 3 4 5 6 7 8 9 10; do
	status=$(timeout 10 tailscale status --json --peers=false 2>/dev/null)
	state=$(printf '%s\n' "$status" | sed -n 's/^  "BackendState": "\(.*\)",*$/\1/p')
	case $state in '' | NoState | Starting) sleep 1 ;; *) break ;; esac
done
echo "state ${state:-unknown}"
[ -n "$status" ] || exit 0
# Of itself alone: there are no peers in it.
self() { printf '%s\n' "$status" | sed -n "s/^    \"$1\": \"*\([^\"]*\)\"*,*\$/\1/p" | head -n 1; }
name=$(self DNSName)
name=${name%.}
[ -z "$name" ] || echo "name $name"
printf '%s\n' "$status" | grep -q '^  "CertDomains": \[$' && echo "certificates yes"
ends=$(self KeyExpiry)
ends=${ends:-$KEY_ENDS}
[ -z "$ends" ] || echo "key $((($(date -d "$ends" +%s) - $(date +%s)) / 86400)) $ends"

# The settings by the names that the program gives them.
prefs=$(timeout 10 tailscale debug prefs 2>/dev/null | tr -d '\n\t' | sed 's/": */":/g; s/, *"/,"/g')
pref() { printf '%s\n' "$prefs" | sed -n "s/.*[{,]\"$1\":\"*\([^\",}]*\).*/\1/p"; }
echo "server $(pref ControlURL)"
echo "set hostname=$(pref Hostname)"
echo "set accept-dns=$(pref CorpDNS)"
echo "set accept-routes=$(pref RouteAll)"
echo "set ssh=$(pref RunSSH)"
echo "set operator=$(pref OperatorUser)"
echo "tags $(printf '%s\n' "$prefs" | sed -n 's/.*"AdvertiseTags":\[\([^]]*\)\].*/\1/p' | tr -d '" ' | tr , '\n' | sort | paste -sd ,)"

# What is served, and whether it is for the tailnet alone.
served=$(timeout 10 tailscale serve status --json 2>/dev/null | tr -d ' \n\t')
for port in 80 443; do
	case $served in
	*"\"$name:$port\":{\"Handlers\":{\"/\":{\"Proxy\":\""*)
		only=${served#*"\"$name:$port\":{\"Handlers\":{"}
		only=${only%%\}\}*}
		case $only in
		*,*) echo "serve $port more than one thing" ;;
		*) only=${only#*'"Proxy":"'} && echo "serve $port ${only%\"}" ;;
		esac
		;;
	# What was served under a name that the host had before is reached by nobody.
	*":$port\":{\"Handlers\":{\"/\":{\"Proxy\":\"$UPSTREAM\"}}}"*) ;;
	*"\"$port\":{"*) echo "serve $port something else" ;;
	esac
done
case $served in *'"AllowFunnel":{'*:true*) echo "funnel on" ;; esac
echo end
