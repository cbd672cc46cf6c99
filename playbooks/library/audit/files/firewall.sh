# Which firewall is up, and what it does with packets that no rule is about.
PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" = 0 ] || { echo "unknown: only root can look at the firewall"; exit 0; }
if command -v ufw >/dev/null; then
  all=$(ufw status verbose 2>&1) || { echo "unknown: ufw status fails: $(echo "$all" | head -n 1)"; exit 0; }
  if echo "$all" | grep -q '^Status: active'; then
    echo "firewall ufw"
    echo "incoming $(echo "$all" | sed -n 's/^Default: \([a-z]*\) (incoming).*/\1/p')"
    echo "ipv6 $(sed -n 's/^IPV6=["]*\([a-z]*\).*/\1/p' /etc/default/ufw 2>/dev/null)"
    exit 0
  fi
  echo "ufw is installed and not active"
fi
if command -v nft >/dev/null && rules=$(nft list ruleset 2>/dev/null); then
  if echo "$rules" | grep -E 'hook input ' | grep -q 'policy drop'; then
    echo "firewall nftables"
    echo "incoming drop"
    # A table of IPv4 alone leaves IPv6 open.
    echo "$rules" | awk '/^table/ {family = $2} /hook input/ && /policy drop/ {print family}' | grep -qE '^(inet|ip6)$' && echo "ipv6 yes" || echo "ipv6 no"
    exit 0
  fi
  looked=yes
fi
if command -v iptables >/dev/null && policy=$(iptables -S INPUT 2>/dev/null | head -n 1); then
  if [ "$policy" = "-P INPUT DROP" ]; then
    echo "firewall iptables"
    echo "incoming drop"
    [ "$(ip6tables -S INPUT 2>/dev/null | head -n 1)" = "-P INPUT DROP" ] && echo "ipv6 yes" || echo "ipv6 no"
    exit 0
  fi
  looked=yes
fi
if [ -z "$looked" ] && { command -v nft || command -v iptables; } >/dev/null; then
  echo "unknown: neither nft nor iptables shows its rules"
  exit 0
fi
echo "firewall none"
echo "incoming accept"
