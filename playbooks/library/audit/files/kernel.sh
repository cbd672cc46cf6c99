# Kernel parameters that differ from what is wanted. One that this kernel lacks is no difference.
[ -r /proc/sys/kernel/ostype ] || { echo "unknown: /proc/sys cannot be read"; exit 0; }
same=0 other=0
while read -r name wanted; do
  file=/proc/sys/$(echo "$name" | tr . /)
  [ -e "$file" ] || continue
  if ! value=$(cat "$file" 2>/dev/null); then
    echo "unreadable $name"
    continue
  fi
  case " $(echo "$wanted" | tr '|' ' ') " in
    *" $value "*) same=$((same + 1)) ;;
    *) other=$((other + 1)); echo "differs $name is $value, want $(echo "$wanted" | sed 's/|/ or /g')" ;;
  esac
done <<LIST
net.ipv4.conf.all.rp_filter 1|2
net.ipv4.conf.default.rp_filter 1|2
net.ipv4.conf.all.accept_source_route 0
net.ipv4.conf.all.accept_redirects 0
net.ipv4.conf.all.secure_redirects 0
net.ipv4.conf.all.send_redirects 0
net.ipv4.conf.all.log_martians 1
net.ipv6.conf.all.accept_redirects 0
net.ipv6.conf.all.accept_source_route 0
net.ipv4.tcp_syncookies 1
net.ipv4.icmp_echo_ignore_broadcasts 1
net.ipv4.icmp_ignore_bogus_error_responses 1
kernel.randomize_va_space 2
kernel.dmesg_restrict 1
kernel.kptr_restrict 1|2
fs.protected_symlinks 1
fs.protected_hardlinks 1
fs.suid_dumpable 0
LIST
echo "as wanted $same, other $other"
