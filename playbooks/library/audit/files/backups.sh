# Backups that are there, how old and how large they are, and what makes them.
jobs=$( { systemctl list-timers --all --no-legend --no-pager 2>/dev/null | grep -oiE '[^ ]*(backup|restic|borg|snapshot)[^ ]*\.timer' | grep -v '^dpkg-db-backup' | sort -u
  grep -lisE 'backup|restic|borg' /etc/crontab /etc/cron.d/* /etc/cron.daily/* /var/spool/cron/crontabs/* 2>/dev/null | grep -v '/dpkg$'; } | paste -sd' ' -)
dirs=
for d in $DIRS; do [ -d "$d" ] && dirs="$dirs $d"; done
if [ -z "$jobs$dirs" ]; then
  if [ "$STATE" = yes ]; then echo "job none"; echo "newest none"; exit 0; fi
  echo "missing: there is nothing here that would need a backup, and nothing makes one"
  exit 0
fi
echo "job ${jobs:-none}"
for d in $dirs; do [ -r "$d" ] || { echo "unknown: $d cannot be read"; exit 0; }; done
[ -n "$dirs" ] || { echo "newest none"; exit 0; }
# shellcheck disable=SC2086
list=$(find $dirs -xdev -maxdepth 3 -type f -printf '%T@ %s %p\n' 2>/dev/null | sort -rn)
[ -n "$list" ] || { echo "newest none"; exit 0; }
now=$(date +%s)
echo "$list" | head -n 1 | { read -r at size name; at=${at%.*}; echo "newest $(( (now - at) / 3600 )) hours old, $size bytes: $name"; echo "hours $(( (now - at) / 3600 ))"; echo "bytes $size"; }
oldest=$(echo "$list" | tail -n 1 | cut -d. -f1)
echo "kept $(echo "$list" | wc -l)"
echo "oldest $(( (now - oldest) / 86400 )) days"
