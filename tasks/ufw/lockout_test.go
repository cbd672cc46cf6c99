package ufw_test

import (
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/ufw"
)

// rules reads rules as ufw's files have them, without the mark.
func rules(lines ...string) []ufw.Rule {
	var out []ufw.Rule
	for _, l := range lines {
		f := strings.Fields(l)
		out = append(out, ufw.Rule{Action: f[0], Proto: f[1], Port: f[2], To: f[3], SrcPort: f[4], From: f[5], Iface: f[6]})
	}
	return out
}

func TestLockout(t *testing.T) {
	const all = " 0.0.0.0/0 any 0.0.0.0/0 in"
	tests := []struct {
		name     string
		rules    []ufw.Rule
		incoming string
		peer     string // 192.0.2.1 when empty
		want     string
	}{
		{name: "no rules", incoming: "deny", want: "no rule lets 192.0.2.1 in on tcp port 22, and the default for incoming is deny"},
		{name: "no rules and reject", incoming: "reject", want: "no rule lets"},
		{name: "no rules and allow", incoming: "allow"},
		{name: "allowed", incoming: "deny", rules: rules("allow tcp 22" + all)},
		{name: "limited", incoming: "deny", rules: rules("limit tcp 22" + all)},
		{name: "any protocol", incoming: "deny", rules: rules("allow any 22" + all)},
		{name: "any port", incoming: "deny", rules: rules("allow any any" + all)},
		{name: "another port", incoming: "deny", rules: rules("allow tcp 222" + all), want: "no rule lets"},
		{name: "another protocol", incoming: "deny", rules: rules("allow udp 22"+all, "allow esp any"+all), want: "no rule lets"},
		{name: "in a range", incoming: "deny", rules: rules("allow tcp 20:30" + all)},
		{name: "in a list", incoming: "deny", rules: rules("allow tcp 1,5:9,22" + all)},
		{name: "not in a list", incoming: "deny", rules: rules("allow tcp 1,5:9,23:24" + all), want: "no rule lets"},
		{name: "our address", incoming: "deny", rules: rules("allow tcp 22 0.0.0.0/0 any 192.0.2.1 in")},
		{name: "our network", incoming: "deny", rules: rules("allow tcp 22 0.0.0.0/0 any 192.0.2.0/24 in")},
		{name: "another network", incoming: "deny", rules: rules("allow tcp 22 0.0.0.0/0 any 198.51.100.0/24 in"), want: "no rule lets"},
		{name: "to the address we use", incoming: "deny", rules: rules("allow tcp 22 192.0.2.10 any 0.0.0.0/0 in")},
		{name: "to another address", incoming: "deny", rules: rules("allow tcp 22 192.0.2.11 any 0.0.0.0/0 in"), want: "no rule lets"},
		{name: "from one port", incoming: "deny", rules: rules("allow tcp 22 0.0.0.0/0 1000 0.0.0.0/0 in")},
		{name: "on an interface", incoming: "deny", rules: rules("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0")},
		{name: "what goes out", incoming: "deny", rules: rules("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 out"), want: "no rule lets"},
		{name: "what passes through", incoming: "deny", rules: rules("route:allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1"), want: "no rule lets"},
		{name: "denied first", incoming: "allow", rules: rules("deny tcp 22"+all, "allow tcp 22"+all), want: `the rule "deny 22/tcp" keeps 192.0.2.1 from port 22`},
		{name: "denied later", incoming: "allow", rules: rules("allow tcp 22"+all, "deny tcp 22"+all)},
		{name: "rejected", incoming: "allow", rules: rules("reject any any 0.0.0.0/0 any 192.0.2.0/24 in"), want: "the rule"},
		{name: "denied on an interface that may be ours", incoming: "allow", rules: rules("deny tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth1")},
		{name: "IPv6", incoming: "deny", peer: "2001:db8::1", rules: rules("allow tcp 22 ::/0 any 2001:db8::/32 in")},
		{name: "IPv6 from elsewhere", incoming: "deny", peer: "2001:db9::1", rules: rules("allow tcp 22 ::/0 any 2001:db8::/32 in"), want: "no rule lets 2001:db9::1"},
		{name: "IPv4 in IPv6", incoming: "deny", peer: "::ffff:192.0.2.1", rules: rules("allow tcp 22 0.0.0.0/0 any 192.0.2.1 in")},
		{name: "from this machine", incoming: "deny", peer: "127.0.0.1"},
		{name: "not by SSH", incoming: "deny", peer: "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			login := task.Login{User: "root", PeerAddr: "192.0.2.1", PeerPort: 50000, ServerAddr: "192.0.2.10", ServerPort: 22}
			if tt.peer != "" {
				login.PeerAddr = tt.peer
			}
			fw := ufw.Firewall{Enabled: true, IPv6: true, Incoming: tt.incoming, Rules: tt.rules, Rules6: tt.rules}
			got := ufw.Lockout(fw, login)
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want it to begin with %q", got, tt.want)
			}
			fw.Enabled = false
			if got := ufw.Lockout(fw, login); got != "" {
				t.Errorf("a firewall that is down: got %q, want nothing", got)
			}
		})
	}
}

func TestLockoutWithoutIPv6(t *testing.T) {
	fw := ufw.Firewall{Enabled: true, Incoming: "allow"}
	if got := ufw.Lockout(fw, task.Login{PeerAddr: "2001:db8::1", ServerPort: 22}); !strings.Contains(got, "IPV6=no") {
		t.Errorf("got %q, want that all IPv6 is dropped", got)
	}
}
