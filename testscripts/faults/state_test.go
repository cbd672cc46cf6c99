//go:build hosts

package faults_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// listing prints what a guard has to bring back, one thing a line: files to the byte,
// the mode, the owner and the time of links, what runs, and the network.
const listing = `
cd /
dirs="/etc /home /root /usr/local /var/spool"
find $dirs -xdev -printf 'path %p: %y %m %U:%G %l\n'
find $dirs -xdev -type f -exec sha256sum {} + | sed -E 's/^([0-9a-f]+)  (.*)$/content \2: \1/'
systemctl list-units --state=active,activating,failed --type=service,socket --no-legend --no-pager --plain |
  grep -vE '^(user@|user-runtime-dir@|session-|systemd-logind)' | awk '{print "unit " $1 ": " $2 " " $3}'
ip -o -4 address | awk '{print "address " $2 ": " $4}'
ip -o link | sed -E 's/^[0-9]+: ([^:@]+).* state ([A-Z]+).*/link \1: \2/'
ip route | sed 's/^/route: /'
nft list ruleset | sed 's/^/nft: /'
ss -Hltn | awk '{print "listens " $4 ": yes"}'
`

// copies are what every tool for accounts makes of a file as it was before its last
// change; they may differ after a change was taken back.
var copies = []string{"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-"}

// state returns the state of the host, by what it is about.
func (l *lab) state() map[string]string {
	l.Helper()
	out := map[string]string{}
	for line := range strings.Lines(l.console(listing)) {
		about, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		_, path, _ := strings.Cut(about, " ")
		if !slices.Contains(copies, path) {
			out[about] += value + "\n"
		}
	}
	for _, must := range []string{"path /etc/passwd", "content /etc/shadow", "unit ssh.service", "link eth0", "route", "listens 0.0.0.0:22"} {
		if out[must] == "" {
			l.Fatalf("%s: the listing lacks %q, so it proves nothing", l.host, must)
		}
	}
	return out
}

// wantState fails the test for everything that is not as it was. It waits for what
// takes a moment, such as a service that restarts.
func (l *lab) wantState(before map[string]string) {
	l.Helper()
	var after map[string]string
	for range 40 {
		if after = l.state(); maps.Equal(before, after) {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	for about, was := range before {
		if is := after[about]; is != was {
			l.Errorf("%s: %s is %q, it was %q", l.host, about, is, was)
		}
	}
	for about, is := range after {
		if _, was := before[about]; !was {
			l.Errorf("%s: %s is left, as %q", l.host, about, is)
		}
	}
}

// verdict is the host's own memory of its guard.
type verdict struct {
	Status, Run, Message string
}

func (l *lab) verdict() verdict {
	l.Helper()
	out, status := l.try("cat /var/lib/holdfast/guard/state.json")
	if status != 0 {
		return verdict{}
	}
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		l.Fatalf("cannot read the guard's state: %v\n%s", err, out)
	}
	return v
}

// awaitVerdict waits until the guard stands in a certain way, and fails the test when
// that takes longer.
func (l *lab) awaitVerdict(want string, within time.Duration) verdict {
	l.Helper()
	deadline := time.Now().Add(within)
	for {
		v := l.verdict()
		if v.Status == want {
			return v
		}
		if time.Now().After(deadline) {
			log, _ := l.try("journalctl -q -u holdfast-guard -o cat | tail -n 20; ps -ef | grep holdfast")
			l.Fatalf("%s: after %s the guard is %q (%s), want %q\n%s", l.host, within, v.Status, v.Message, want, log)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// leftovers prints what nothing of ours may leave.
const leftovers = `
ps -eo args --no-headers | grep -E '^(/[^ ]*/)?(holdfast-helper|sleep|sh -c)'
ls /etc/systemd/system/holdfast-guard.service /etc/systemd/system/multi-user.target.wants/holdfast-guard.service 2>/dev/null
systemctl list-units --all --no-legend --plain 'holdfast-guard*' 2>/dev/null | grep -v not-found
find / -xdev -name '.holdfast-*' -print
true`

// wantClean fails the test when the host still runs something of ours, or keeps the
// guard's unit or a half-made file.
func (l *lab) wantClean() {
	l.Helper()
	got := ""
	for range 60 {
		if got = l.console(leftovers); got == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.Errorf("%s: six seconds later there is still\n%s", l.host, got)
}

// harmless is a playbook that shows that the host can be worked on.
const harmless = `
tasks:
  - file: {path: /tmp/next-run, content: "next\n"}
`

// wantNext fails the test when the next run does not succeed at once.
func (l *lab) wantNext(r reach) outcome {
	l.Helper()
	o := l.holdfast(l.play(r, harmless)...)
	// For an instant after a reload the SSH server still answers with its old settings.
	for tries := 0; o.code == 6 && tries < 20; tries++ {
		time.Sleep(500 * time.Millisecond)
		o = l.holdfast(l.play(r, harmless)...)
	}
	o.want(l, 0)
	if limit := 30 * time.Second; o.took > limit {
		l.Errorf("%s: the next run took %s, want it to wait for nobody", l.host, o.took)
	}
	l.console("test -f /tmp/next-run && rm /tmp/next-run")
	return o
}
