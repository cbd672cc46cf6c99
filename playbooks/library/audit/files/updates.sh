# Whether security updates are installed by themselves, and which wait.
command -v apt-config >/dev/null || { echo "unknown: only apt can be looked at"; exit 0; }
config=$(apt-config dump 2>/dev/null) || { echo "unknown: apt does not understand its own settings"; exit 0; }
[ -x /usr/bin/unattended-upgrade ] && echo "program yes" || echo "program no"
echo "$config" | grep -qE '^APT::Periodic::Unattended-Upgrade "?[1-9]' && echo "daily yes" || echo "daily no"
echo "timer $(systemctl is-active apt-daily-upgrade.timer 2>/dev/null || true)"
echo "$config" | grep -qiE '^APT::Get::AllowUnauthenticated "(1|true|yes)' && echo "unsigned APT::Get::AllowUnauthenticated"
grep -lisE '^[[:space:]]*deb.*(trusted|allow-insecure)=yes|^(Trusted|Allow-Insecure):[[:space:]]*yes' /etc/apt/sources.list /etc/apt/sources.list.d/* | sed 's/^/unsigned /'
# The lists of packages, and a simulation that takes no lock and writes no cache.
if ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; then
  newest=$(ls -t /var/lib/apt/lists/*Release 2>/dev/null | head -n 1)
  echo "lists $(( ($(date +%s) - $(stat -c %Y "${newest:-/var/lib/apt/lists}")) / 86400 )) days old"
  if waiting=$(apt-get -s -o Debug::NoLocking=true -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= upgrade 2>/dev/null); then
    echo "security $(echo "$waiting" | grep -c '^Inst .*[Ss]ecurity')"
  fi
fi
[ -e /run/reboot-required ] && echo "reboot required"
exit 0
