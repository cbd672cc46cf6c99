# What the SSH server makes of all of its settings.
PATH=$PATH:/usr/sbin:/sbin
command -v sshd >/dev/null || { echo "missing: there is no OpenSSH server"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "unknown: only root can ask the SSH server for its settings"; exit 0; }
all=$(sshd -T 2>&1) || { echo "unknown: sshd -T fails: $(echo "$all" | head -n 1)"; exit 0; }
echo "$all" | grep -E '^(port|permitrootlogin|pubkeyauthentication|passwordauthentication|kbdinteractiveauthentication|permitemptypasswords|authenticationmethods|usepam|maxauthtries|logingracetime|x11forwarding|allowusers|allowgroups|permituserenvironment) '
# What a Match block switches on again.
grep -hisE '^[[:space:]]*(passwordauthentication|kbdinteractiveauthentication|permitemptypasswords)[[:space:]=]+"?yes' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf >/dev/null &&
  grep -qisE '^[[:space:]]*match[[:space:]]' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf && echo "match passwords"
exit 0
