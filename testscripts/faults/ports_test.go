//go:build hosts

package faults_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// blocked is a firewall between here and a host, which the host itself knows nothing of.
const blocked = `table inet holdfast_faults_port
delete table inet holdfast_faults_port
table inet holdfast_faults_port {
	chain output {
		type filter hook output priority 0
		ip daddr %s tcp dport 222 drop
	}
}
`

// firewall gives rules to the firewall of this machine.
func (l *lab) firewall(rules string) {
	l.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("nft: %v\n%s", err, out)
	}
}

// TestPortsBehindAFirewall: the SSH server of three hosts moves to port 222, and a
// firewall in front of one of them drops that port. Two are done and are reached by the
// new port from then on; one is as it was, byte for byte; the program ends with 7 and its
// report says of each host what became of it.
func TestPortsBehindAFirewall(t *testing.T) {
	labs := enterSeveral(t, 3)
	l, shut := labs[0], labs[2]
	before := map[string]map[string]string{}
	for _, one := range labs {
		before[one.host] = one.state()
	}
	inventory := l.as(reach{ports: "222, 22"}, labs[1:]...)
	l.firewall(fmt.Sprintf(blocked, site.address[shut.host]))
	t.Cleanup(func() {
		l.firewall("table inet holdfast_faults_port\ndelete table inet holdfast_faults_port\n")
	})

	move := fmt.Sprintf("playbook: move\nversion: 1.0.0\ntasks:\n  - guard: {via: {port: 222}, within: %s}\n    tasks:\n      - sshd: {port: 222}\n", within)
	path := l.dir + "/move.yml"
	if err := os.WriteFile(path, []byte(move), 0o600); err != nil {
		t.Fatal(err)
	}
	o := l.holdfast("apply", path, "--yes", "-i", inventory).want(l, 7)
	for _, one := range labs {
		want := regexp.MustCompile(`(?m)^` + one.host + ` .*ok`)
		if one == shut {
			want = regexp.MustCompile(`(?m)^` + one.host + ` .*TAKEN BACK`)
		}
		if !want.MatchString(o.stdout) {
			t.Errorf("got the report\n%s\nwant %s in it", o.stdout, want)
		}
	}
	for _, one := range labs {
		on22, on222 := "0.0.0.0:22", "0.0.0.0:222"
		if one != shut {
			on22, on222 = on222, on22
		}
		if ports := one.console("ss -Hltn | awk '{print $4}'"); !slices.Contains(strings.Fields(ports), on22) || slices.Contains(strings.Fields(ports), on222) {
			t.Errorf("%s listens on\n%s\nwant %s and not %s", one.host, ports, on22, on222)
		}
		one.wantClean()
	}
	shut.wantState(before[shut.host])

	again := l.holdfast("undo", "last", "-i", inventory, "-l", labs[0].host+","+labs[1].host)
	if again.code != 0 {
		t.Fatalf("undo: got status %d\n%s%s", again.code, again.stdout, again.stderr)
	}
	for _, one := range labs {
		one.wantState(before[one.host])
		one.wantNext(reach{})
	}
}
