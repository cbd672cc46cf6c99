//go:build hosts

package faults_test

import (
	"strings"
	"testing"
)

// conditions are states of a host in which nothing can be done. What is mounted hides
// what was there and gives it back.
var conditions = []struct {
	name  string
	make  string
	tasks string
	codes []int
	says  string
	check string // holds while the condition lasts
	mend  string
}{
	{
		name: "disk full while pushing",
		make: "mkdir -p /var/cache/holdfast && mount -t tmpfs -o size=512k,mode=700 attack /var/cache/holdfast",
		tasks: `
tasks:
  - file: {path: /etc/attack-one, content: "never\n"}
`,
		codes: []int{4, 5}, says: "KiB are free there",
		check: "! test -e /etc/attack-one",
		mend:  "umount /var/cache/holdfast",
	},
	{
		name: "disk full while journaling",
		make: "mkdir -p /var/lib/holdfast && mount -t tmpfs -o size=128k,mode=700 attack /var/lib/holdfast && head -c 128k /dev/zero >/var/lib/holdfast/filler || true",
		tasks: `
tasks:
  - file: {path: /etc/attack-one, content: "never\n"}
`,
		codes: []int{4, 5}, says: "no space left",
		check: "! test -e /etc/attack-one",
		mend:  "umount /var/lib/holdfast",
	},
	{
		name: "disk full while writing",
		make: "mkdir /etc/attack && mount -t tmpfs -o size=64k attack /etc/attack && echo old >/etc/attack/file",
		tasks: `
tasks:
  - file: {path: /etc/attack/file, content: "` + strings.Repeat("0123456789abcdef", 20_000) + `"}
`,
		codes: []int{5}, says: "no space left",
		check: `[ "$(ls -A /etc/attack) $(cat /etc/attack/file)" = "file old" ]`,
		mend:  "umount /etc/attack && rmdir /etc/attack",
	},
	{
		name: "no inode left",
		make: "mkdir /etc/attack && mount -t tmpfs -o nr_inodes=2 attack /etc/attack && echo old >/etc/attack/file",
		tasks: `
tasks:
  - file: {path: /etc/attack/file, content: "new\n"}
`,
		codes: []int{5}, says: "no space left",
		check: `[ "$(ls -A /etc/attack) $(cat /etc/attack/file)" = "file old" ]`,
		mend:  "umount /etc/attack && rmdir /etc/attack",
	},
	{
		name: "the folder is read-only",
		make: "mkdir /etc/attack && mount -t tmpfs attack /etc/attack && echo old >/etc/attack/file && mount -o remount,ro /etc/attack",
		tasks: `
tasks:
  - file: {path: /etc/attack/file, content: "new\n"}
`,
		codes: []int{5}, says: "read-only file system",
		check: `[ "$(ls -A /etc/attack) $(cat /etc/attack/file)" = "file old" ]`,
		mend:  "umount /etc/attack && rmdir /etc/attack",
	},
	{
		name: "the root is read-only",
		// All that a run writes: the root itself is busy while the system runs.
		make: "for d in /etc /var/lib /var/cache; do mount --bind $d $d && mount -o remount,ro,bind $d; done",
		tasks: `
tasks:
  - file: {path: /etc/attack-one, content: "never\n"}
`,
		codes: []int{4, 5}, says: "read-only file system",
		check: "! test -e /etc/attack-one",
		mend:  "umount /etc /var/lib /var/cache",
	},
}

// TestConditions: the run fails with the cause, nothing is half written, nothing of ours
// is left, and when the cause is gone the next run succeeds.
func TestConditions(t *testing.T) {
	for _, c := range conditions {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			l := enter(t)
			before := l.state()
			l.console(c.make)
			o := l.holdfast(l.play(reach{}, c.tasks)...)
			if text := o.told() + o.stderr; o.code != c.codes[0] && o.code != c.codes[len(c.codes)-1] || !strings.Contains(text, c.says) {
				t.Errorf("got status %d, want one of %v and %q in\n%s", o.code, c.codes, c.says, text)
			}
			if _, status := l.try(c.check); status != 0 {
				t.Errorf("does not hold: %s", c.check)
			}
			l.console(c.mend)
			l.wantClean()
			l.wantState(before)
			l.wantNext(reach{})
		})
	}
}

// TestUndoOnAFullDisk: an undo for which there is no room leaves the file whole, one way
// or the other, and says why; with room it gives back every byte.
func TestUndoOnAFullDisk(t *testing.T) {
	l := enter(t)
	l.console("mkdir /etc/attack && mount -t tmpfs -o size=1m attack /etc/attack && head -c 400k /dev/urandom >/etc/attack/file && sha256sum /etc/attack/file >/run/attack.sum")
	o := l.apply(0, reach{}, `
tasks:
  - file: {path: /etc/attack/file, content: "small\n"}
`)
	l.console("head -c 2m /dev/zero >/etc/attack/filler 2>/dev/null; true")
	undo := l.holdfast("undo", o.run(), "-i", l.as(reach{}), "-l", l.host)
	if text := undo.stdout + undo.stderr; undo.code == 0 || !strings.Contains(text, "no space left") {
		t.Errorf("undo: got status %d, want a failure and its cause\n%s", undo.code, text)
	}
	if got := l.console("cat /etc/attack/file; ls -A /etc/attack"); got != "small\nfile\nfiller" {
		t.Errorf("got %q, want the file as the run left it", got)
	}
	l.console("rm /etc/attack/filler")
	if undo = l.holdfast("undo", o.run(), "-i", l.as(reach{}), "-l", l.host); undo.code != 0 {
		t.Errorf("undo with room: got status %d, want 0\n%s%s", undo.code, undo.stdout, undo.stderr)
	}
	l.console("sha256sum -c /run/attack.sum && umount /etc/attack && rmdir /etc/attack && rm /run/attack.sum")
	l.wantClean()
	l.wantNext(reach{})
}
