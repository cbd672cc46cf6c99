# What watches the host, and what it would see.
[ -d /run/systemd/system ] || { echo "unknown: there is no systemd to ask"; exit 0; }
systemctl list-units --no-legend --no-pager >/dev/null 2>&1 || { echo "unknown: systemd does not answer"; exit 0; }
for unit in vector prometheus-node-exporter node_exporter netdata zabbix-agent zabbix-agent2 telegraf monit datadog-agent grafana-agent alloy; do
  [ "$(systemctl is-active $unit 2>/dev/null)" = active ] && echo "watches $unit"
done
systemctl list-timers --no-legend --no-pager 2>/dev/null | grep -oiE '[^ ]*(alert|health|monitor)[^ ]*\.timer' | sort -u | sed 's/^/watches /'
systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null | awk 'NF {print "failed " $1}'
echo "looked at units and timers"
