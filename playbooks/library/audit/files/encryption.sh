# Whether what lies on the disks can be read from them without a key: state of gateways and
# backups, or the root where there are neither. Volumes that a provider or the disk itself
# encrypts look like any other from here.
PATH=$PATH:/usr/sbin:/sbin
case $VIRTUAL in systemd-nspawn|lxc*|docker|podman|openvz|container-other) echo "missing: a container has no disks of its own; whether those of its host are encrypted is not known here"; exit 0 ;; esac
command -v findmnt >/dev/null && command -v lsblk >/dev/null || { echo "unknown: there is no findmnt or no lsblk"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "unknown: homes of others cannot be looked into"; exit 0; }
places=$(for d in $(awk -F: '($3 == 0 || $3 >= 1000) && $3 < 60000 {print $6 "/.openclaw"}' /etc/passwd) /opt/openclaw $DIRS; do [ -d "$d" ] && echo "$d"; done | sort -u)
for d in ${places:-/}; do
  read -r source kind <<X
$(findmnt -nro SOURCE,FSTYPE -T "$d" 2>/dev/null | tail -n 1)
X
  # fscrypt encrypts folders, whatever is beneath.
  lsattr -d "$d" 2>/dev/null | grep -q '^[^ ]*E' && kind=fscrypt
  case $kind in
    fscrypt|ecryptfs|fuse.gocryptfs|fuse.encfs|fuse.cryfs) echo "encrypted $d $kind" ;;
    zfs) case $(zfs get -Ho value encryption "$source" 2>/dev/null) in off) echo "plain $d zfs" ;; '') echo "unseen $d zfs" ;; *) echo "encrypted $d zfs" ;; esac ;;
    tmpfs|ramfs) echo "memory $d $kind" ;;
    *) case $source in /dev/*) ;; *) echo "unseen $d ${kind:-no file system}"; continue ;; esac
       # All that it is made of, down to the disk: LVM on LUKS is as good as LUKS on LVM.
       types=$(lsblk -nsro TYPE "${source%%\[*}" 2>/dev/null | sort -u | paste -sd' ' -)
       case " $types " in *' crypt '*) echo "encrypted $d dm-crypt" ;; '  ') echo "unseen $d $source" ;; *) echo "plain $d $source" ;; esac ;;
  esac
done
