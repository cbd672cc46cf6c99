# Asks OpenClaw, as its account, what its own doctor finds: a line a finding, with how bad it
# is, which check says so, and what it says. The last line is there when it came to its end.
id=$(id -u "$HOME_USER") || exit 1
home=$(getent passwd "$HOME_USER" | cut -d: -f6)
cd "$home" || exit 1
as_account() {
	setpriv --reuid="$id" --regid="$(id -g "$HOME_USER")" --init-groups \
		env -i HOME="$home" PATH=/usr/local/bin:/usr/bin:/bin OPENCLAW_CONFIG_READONLY=1 XDG_RUNTIME_DIR="/run/user/$id" timeout 150 "$@"
}
as_account openclaw doctor --lint --json 2>/dev/null | as_account node -e '
	let text = "";
	process.stdin.on("data", part => text += part).on("end", () => {
		const report = JSON.parse(text), line = words => words.join(" ").replace(/\s+/g, " ").slice(0, 400);
		for (const f of report.findings) console.log(line([f.severity, f.checkId, f.path ?? "", f.message]));
		if (report.checksRun > 0) console.log("checks", report.checksRun);
	})' 2>/dev/null
exit 0
