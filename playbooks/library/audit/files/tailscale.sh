# When the key of the tailnet expires.
command -v tailscale >/dev/null || { echo "missing: there is no Tailscale"; exit 0; }
status=$(timeout 10 tailscale status --json --peers=false 2>/dev/null) || { echo "unknown: tailscale does not answer"; exit 0; }
at=$(echo "$status" | sed -n 's/.*"KeyExpiry": *"\([0-9-]*\)T.*/\1/p' | head -n 1)
[ -n "$at" ] || { echo "expires never"; exit 0; }
days=$(( ($(date -d "$at" +%s) - $(date +%s)) / 86400 ))
[ $days -gt 14 ] && echo "expires in time, on $at" || echo "expires soon, on $at"
