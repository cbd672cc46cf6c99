# Accounts that should not be, and homes that are open.
[ -r /etc/passwd ] || { echo "unknown: /etc/passwd cannot be read"; exit 0; }
echo "uid0 $(awk -F: '$3 == 0 {print $1}' /etc/passwd | paste -sd, -)"
if [ -r /etc/shadow ]; then
  none=$(awk -F: '$2 == "" {print $1}' /etc/shadow | paste -sd, -)
  echo "without-password ${none:-nobody}"
  echo "shadow $(stat -c '%a %U' /etc/shadow)"
else
  echo "unreadable /etc/shadow"
fi
awk -F: '$3 >= 1000 && $3 < 60000 {print $6}' /etc/passwd | sort -u | while read -r home; do
  [ -d "$home" ] && [ ! -L "$home" ] || continue
  mode=$(stat -c %a "$home" 2>/dev/null) || continue
  case $mode in
    *[1-7]) echo "open $home $mode" ;;
    *) echo "closed $home $mode" ;;
  esac
done
