# What ssh-audit says of the algorithms, when it is there.
command -v ssh-audit >/dev/null || { echo "missing: ssh-audit is neither here nor on the controller"; exit 0; }
all=$(timeout 120 ssh-audit -n -p "$PORT" "$ADDRESS" 2>&1); status=$?
case $status in 0|2|3) ;; *) echo "unknown: ssh-audit ends with $status: $(echo "$all" | tail -n 1)"; exit 0 ;; esac
echo "failures $(echo "$all" | grep -c '\[fail\]'), warnings $(echo "$all" | grep -c '\[warn\]')"
version=$( { ssh-audit --version; ssh-audit -h; } 2>&1 | sed -n 's/.*ssh-audit v\([0-9.]*[0-9]\).*/\1/p' | head -n 1)
echo "version ${version:-not said}, from $FROM"
echo "$all" | grep -E '\[(fail|warn)\]' | head -n 10
exit 0
