# The index of lynis, when it is there. It writes its report to a place that is removed.
PATH=$PATH:/usr/sbin:/usr/local/sbin
command -v lynis >/dev/null || { echo "missing: lynis is not installed, and an audit installs nothing"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "unknown: lynis sees little without root"; exit 0; }
dir=$(mktemp -d /run/holdfast-lynis.XXXXXX) || { echo "unknown: there is no place for its report"; exit 0; }
trap 'rm -rf "$dir"' EXIT
lynis audit system --quick --no-colors --quiet --logfile /dev/null --report-file "$dir/report" >"$dir/said" 2>&1
index=$(sed -n 's/^hardening_index=//p' "$dir/report" 2>/dev/null | head -n 1)
[ -n "$index" ] || { echo "unknown: lynis gave no index: $(tail -n 1 "$dir/said")"; exit 0; }
echo "index $index"
echo "version $(sed -n 's/^lynis_version=//p' "$dir/report" | head -n 1)"
echo "warnings $(grep -c '^warning\[\]=' "$dir/report"), suggestions $(grep -c '^suggestion\[\]=' "$dir/report")"
sed -n 's/^warning\[\]=\([^|]*\)|\([^|]*\)|.*/warning \1: \2/p' "$dir/report" | head -n 10
