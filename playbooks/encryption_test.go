package playbooks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskEncryption reads what lsblk, findmnt and zfs print of disks that no machine of the
// tests has.
func TestDiskEncryption(t *testing.T) {
	script, err := os.ReadFile("library/audit/files/encryption.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, virtual, source, types, zfs, attr, want string }{
		{name: "LUKS on a partition", source: "/dev/mapper/root ext4", types: "crypt\npart\ndisk", want: "encrypted DIR dm-crypt"},
		{name: "LVM on LUKS", source: "/dev/mapper/vg-root ext4", types: "lvm\ncrypt\npart\ndisk", want: "encrypted DIR dm-crypt"},
		{name: "a subvolume of btrfs on LUKS", source: "/dev/mapper/data[/@home] btrfs", types: "crypt\ndisk", want: "encrypted DIR dm-crypt"},
		{name: "LVM alone", source: "/dev/mapper/crypt-root ext4", types: "lvm\npart\ndisk", want: "plain DIR /dev/mapper/crypt-root"},
		{name: "a partition", source: "/dev/sda1 ext4", types: "part\ndisk", want: "plain DIR /dev/sda1"},
		{name: "a device that lsblk does not know", source: "/dev/root ext4", want: "unseen DIR /dev/root"},
		{name: "a folder of fscrypt on a partition", source: "/dev/sda1 ext4", types: "part\ndisk", attr: "---------E----e-------", want: "encrypted DIR fscrypt"},
		{name: "ZFS with a key", source: "rpool/home zfs", zfs: "aes-256-gcm", want: "encrypted DIR zfs"},
		{name: "ZFS without one", source: "rpool/home zfs", zfs: "off", want: "plain DIR zfs"},
		{name: "ZFS that does not answer", source: "rpool/home zfs", want: "unseen DIR zfs"},
		{name: "gocryptfs", source: "/srv/cipher fuse.gocryptfs", want: "encrypted DIR fuse.gocryptfs"},
		{name: "memory", source: "tmpfs tmpfs", want: "memory DIR tmpfs"},
		{name: "another machine", source: "nas:/backups nfs4", want: "unseen DIR nfs4"},
		{name: "no answer of findmnt", want: "unseen DIR no file system"},
		{name: "a container", virtual: "systemd-nspawn", source: "/dev/sda1 ext4", types: "part\ndisk", want: "missing: a container has no disks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bin, dir := t.TempDir(), t.TempDir()
			for name, out := range map[string]string{"findmnt": tt.source, "lsblk": tt.types, "zfs": tt.zfs, "lsattr": tt.attr + " " + dir, "id": "0"} {
				text := "#!/bin/sh\ncat <<'X'\n" + out + "\nX\n"
				if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", string(script))
			cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "DIRS=" + dir, "VIRTUAL=" + tt.virtual}
			out, err := cmd.CombinedOutput()
			if want := strings.ReplaceAll(tt.want, "DIR", dir); err != nil || !strings.Contains("\n"+string(out), "\n"+want) {
				t.Errorf("%v: it says\n%s\nwant\n%s", err, out, want)
			}
		})
	}
}
