# Asks OpenClaw, as its account, whether the logins of its models are there and usable.
id=$(id -u "$HOME_USER") || exit 1
home=$(getent passwd "$HOME_USER" | cut -d: -f6)
cd "$home" || exit 1
openclaw() {
	setpriv --reuid="$id" --regid="$(id -g "$HOME_USER")" --init-groups \
		env -i HOME="$home" PATH=/usr/local/bin:/usr/bin:/bin OPENCLAW_CONFIG_READONLY=1 XDG_RUNTIME_DIR="/run/user/$id" timeout 80 openclaw "$@"
}
# Asked once: a cool-down of half a minute would be over when it is asked for the second time.
status=$(openclaw models status --agent "$AGENT" --check --json 2>/dev/null)
echo "check $?"
# The names of profiles that cool down or are disabled, and why, in one line each.
printf '%s\n' "$status" | awk '
	/"unusableProfiles": \[\]/ {seen = 1}
	/"unusableProfiles": \[$/ {inside = 1; seen = 1; next}
	inside && /^ *\],?$/ {inside = 0}
	inside && /"profileId"/ {count++; gsub(/[",]/, ""); print "profile" substr($0, index($0, ":") + 1)}
	inside && /"(kind|reason)"/ {gsub(/[",]/, ""); sub(/^ */, ""); print}
	END {if (seen) print "unusable", count + 0; else print "unusable not known"}'
