# Disks that are nearly full.
used=$(df -P -x tmpfs -x devtmpfs -x overlay -x squashfs 2>/dev/null | awk 'NR > 1 {use = $5; sub("%", "", use); print (use + 0 >= 90 ? "full " : "fine ") $6 " " $5}')
[ -n "$used" ] || used=$(df -P / 2>/dev/null | awk 'NR > 1 {use = $5; sub("%", "", use); print (use + 0 >= 90 ? "full " : "fine ") $6 " " $5}')
[ -n "$used" ] || { echo "unknown: df shows no disk"; exit 0; }
echo "$used"
