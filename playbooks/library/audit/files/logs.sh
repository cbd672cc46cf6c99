# Whether logs end somewhere.
PATH=$PATH:/usr/sbin
rotates=
[ "$(systemctl is-active logrotate.timer 2>/dev/null)" = active ] && rotates=logrotate.timer
[ -z "$rotates" ] && [ -x /etc/cron.daily/logrotate ] && command -v logrotate >/dev/null && rotates=/etc/cron.daily/logrotate
echo "rotates ${rotates:-none}"
text=no
for f in /var/log/syslog /var/log/messages /var/log/auth.log; do [ -e "$f" ] && text=yes; done
echo "text $text"
limit=$(cat /etc/systemd/journald.conf /etc/systemd/journald.conf.d/*.conf /usr/lib/systemd/journald.conf.d/*.conf 2>/dev/null | sed -n 's/^SystemMaxUse=//p' | tail -n 1)
echo "journal ${limit:-a tenth of the disk, 4G at most}"
[ -d /var/log/journal ] && echo "persistent yes" || echo "persistent no"
