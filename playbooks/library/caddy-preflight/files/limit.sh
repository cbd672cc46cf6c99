# Counts what Caddy did wrong in the eyes of the certificate authority within the last
# hour, in its journal. A name that has a certificate already risks nothing.
set -eu
for file in /var/lib/caddy/.local/share/caddy/certificates/*/"$DOMAIN"/"$DOMAIN".crt; do
	if [ -s "$file" ]; then
		echo "0 failures: there is a certificate"
		exit 0
	fi
done
log=$(journalctl -u caddy --since "1 hour ago" --no-pager -o cat 2>/dev/null | grep -F "$DOMAIN" || true)
if printf %s "$log" | grep -q 'acme:error:rateLimited'; then
	echo "the certificate authority refuses $DOMAIN for now (rateLimited): wait until an hour after the last try; systemctl stop caddy ends the tries" >&2
	exit 1
fi
failed=$(printf '%s\n' "$log" | grep -c '"msg":"challenge failed"' || true)
if [ "$failed" -ge "$MOST" ]; then
	echo "$failed proofs of $DOMAIN failed within the last hour, and five are the limit of an hour: find out why (journalctl -u caddy), wait, then try again; systemctl stop caddy ends the tries" >&2
	exit 1
fi
echo "$failed failures within an hour"
