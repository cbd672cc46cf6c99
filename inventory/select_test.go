package inventory_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/inventory"
)

const small = `
hosts:
  web1: {labels: {role: gateway}}
  web2: {}
  "db[1:3]": {labels: {role: "a,b"}}
groups:
  eu: {hosts: [web1, db1]}
  us: {hosts: [web2, "db[2:3]"]}
  none:
`

func TestSelect(t *testing.T) {
	inv := parse(t, small)
	tests := []struct {
		limits []string
		want   string
	}{
		{nil, "web1 web2 db1 db2 db3"},
		{[]string{" ", ","}, "web1 web2 db1 db2 db3"},
		{[]string{"all"}, "web1 web2 db1 db2 db3"},
		{[]string{"db2,web1"}, "web1 db2"},
		{[]string{"db2", "web1"}, "web1 db2"},
		{[]string{" db2 , web1 ,"}, "web1 db2"},
		{[]string{"eu"}, "web1 db1"},
		{[]string{"web*"}, "web1 web2"},
		{[]string{"?u"}, "web1 db1"},
		{[]string{"e*"}, "web1 db1"},
		{[]string{"db[2:3]"}, "db2 db3"},
		{[]string{"!eu"}, "web2 db2 db3"},
		{[]string{"db*,!db2"}, "db1 db3"},
		{[]string{"!db2,db*"}, "db1 db3"},
		{[]string{"db*,&us,!db3"}, "db2"},
		{[]string{"&us,& db*"}, "db2 db3"},
		{[]string{"role=gateway"}, "web1"},
		{[]string{"&role=gateway"}, "web1"},
		{[]string{"web2, role=gateway"}, "web1 web2"},
	}
	for _, tt := range tests {
		hosts, faults := inv.Select(tt.limits, labelIs)
		if got := names(hosts); got != tt.want || len(faults) > 0 {
			t.Errorf("Select(%q) got %s %v, want %s", tt.limits, got, faults, tt.want)
		}
	}
}

func TestSelectFaults(t *testing.T) {
	inv := parse(t, small)
	tests := []struct{ limit, want string }{
		{"wbe1", "-l: no host or group is named \"wbe1\"\n\thint: did you mean \"web1\"?"},
		{"non", "-l: no host or group is named \"non\"\n\thint: did you mean \"none\"?"},
		{"web1,nothing,x*", "-l: no host or group is named \"nothing\"\n-l: no host or group matches \"x*\""},
		{"!nothing", "-l: no host or group is named \"nothing\""},
		{"none", "-l: the group \"none\" has no hosts"},
		{"db[3:4]", "-l: no host or group is named \"db4\"\n\thint: did you mean \"db1\"?"},
		{"db[3:", "-l: the range in \"db[3:\" is not closed"},
		{"!", "-l: a pattern is missing after ! or &\n\thint: write !name or &group"},
		{"eu,&us", "-l: no host is left by \"eu,&us\""},
		{"no expression", "-l: not an expression"},
		{"!no expression", "-l: not an expression"},
		{"role=nobody", "-l: the expression \"role=nobody\" is true for no host"},
	}
	for _, tt := range tests {
		hosts, faults := inv.Select([]string{tt.limit}, labelIs)
		if got := faults.Error(); got != tt.want {
			t.Errorf("Select(%q) got %s and\n%s\nwant\n%s", tt.limit, names(hosts), got, tt.want)
		}
	}
	_, faults := inv.Select([]string{"a == b"}, nil)
	if got, want := faults.Error(), `-l: expressions such as "a == b" cannot be used here`; got != want {
		t.Errorf("without a selector got %s, want %s", got, want)
	}
}

func TestInline(t *testing.T) {
	tests := []struct{ in, want string }{
		{"web1", "web1=web1"},
		{"web1, web2 ,", "web1=web1 web2=web2"},
		{"localhost,", "localhost=(local)"},
		{"root@localhost", "localhost=localhost users=[root]"},
		{"localhost:2222", "localhost=localhost ports=[2222]"},
		{"127.0.0.1,", "127.0.0.1=127.0.0.1"},
		{"root@web1:222", "web1=web1 users=[root] ports=[222]"},
		{"2001:db8::1", "2001:db8::1=2001:db8::1"},
		{"[2001:db8::1]", "2001:db8::1=2001:db8::1"},
		{"me@[2001:db8::1]:22", "2001:db8::1=2001:db8::1 users=[me] ports=[22]"},
		{"db[1:2].x:22", "db1.x=db1.x ports=[22] db2.x=db2.x ports=[22]"},
		{"127.0.0.1:2201,127.0.0.1:2202", "127.0.0.1:2201=127.0.0.1 ports=[2201] 127.0.0.1:2202=127.0.0.1 ports=[2202]"},
	}
	for _, tt := range tests {
		inv, faults := inventory.Inline(tt.in)
		if len(faults) > 0 {
			t.Errorf("Inline(%q): %v", tt.in, faults)
			continue
		}
		var got []string
		for _, h := range inv.Hosts {
			s := h.Name + "=" + h.Address
			if h.Connection == inventory.ConnectionLocal {
				s += "(local)"
			}
			if h.SSH.Users != nil {
				s += fmt.Sprint(" users=", h.SSH.Users)
			}
			if h.SSH.Ports != nil {
				s += fmt.Sprint(" ports=", h.SSH.Ports)
			}
			got = append(got, s)
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("Inline(%q) got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestInlineFaults(t *testing.T) {
	const hint = "\n\thint: want host, user@host, host:port or [IPv6 address]:port"
	tests := []struct{ in, want string }{
		{"", "-i: no host is named\n\thint: write host1,host2"},
		{",", "-i: no host is named\n\thint: write host1,host2"},
		{"a b,@c,d:x", "-i: \"@c\" is not a host" + hint + "\n-i: \"a b\" is not a host" + hint + "\n-i: \"d:x\" is not a host" + hint},
		{"-oProxyCommand=x", "-i: \"-oProxyCommand=x\" is not a host" + hint},
		{"-x@host", "-i: \"-x@host\" is not a host" + hint},
		{"a:0", "-i: \"a:0\" is not a host" + hint},
		{"[::1", "-i: \"[::1\" is not a host" + hint},
		{"web1,web1", "-i: the host \"web1\" is named twice\n\thint: remove one of them"},
		{"a[1:2", "-i: the range in \"a[1:2\" is not closed"},
		{"a[1:100000],b[1:100000],c,d", "-i: more than 200000 hosts"},
	}
	for _, tt := range tests {
		_, faults := inventory.Inline(tt.in)
		if got := faults.Error(); got != tt.want {
			t.Errorf("Inline(%q) got\n%s\nwant\n%s", tt.in, got, tt.want)
		}
	}
}
