# What is written down, by whom, and when.
for f in $RUNBOOKS; do
  [ -f "$f" ] || continue
  [ -r "$f" ] || { echo "unknown: $f cannot be read"; exit 0; }
  echo "runbook $f"
  echo "days $(( ($(date +%s) - $(stat -c %Y "$f")) / 86400 ))"
  grep -qiE '^[^a-z]*owner[^a-z]*:?[^a-z]+[a-z]' "$f" && echo "owner named"
  grep -qi 'rotat' "$f" && echo "rotation described"
  grep -qiE 'update' "$f" && echo "updates described"
  break
done
f=/etc/holdfast/accepted-risks.json
if [ -e "$f" ]; then
  [ -r "$f" ] && echo "risks $f, $(( ($(date +%s) - $(stat -c %Y "$f")) / 86400 )) days old" || echo "unreadable $f"
fi
echo "looked in all places"
