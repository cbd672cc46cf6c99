# Who bans addresses that guess at SSH.
PATH=$PATH:/usr/sbin:/sbin
[ -d /run/systemd/system ] || { echo "unknown: there is no systemd to ask"; exit 0; }
for unit in fail2ban crowdsec sshguard; do
  [ "$(systemctl is-active $unit 2>/dev/null)" = active ] || continue
  echo "active $unit"
  if [ $unit = fail2ban ]; then
    [ "$(id -u)" = 0 ] || { echo "unknown: only root can ask fail2ban"; exit 0; }
    jails=$(fail2ban-client status 2>&1) || { echo "unknown: fail2ban does not answer"; exit 0; }
    echo "jails $(echo "$jails" | sed -n 's/.*Jail list:[[:space:]]*//p')"
  fi
  exit 0
done
echo "active none"
