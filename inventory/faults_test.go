package inventory_test

import (
	"strings"
	"testing"

	"holdfast/inventory"
	"holdfast/playbooks/source"
)

const nameHint = "\n\thint: use letters, digits, \".\", \"-\" and \"_\""

// faultTests are also the seeds of FuzzParse.
var faultTests = []struct{ name, in, want string }{
	{"broken YAML", "hosts: [\n", "f.yml:1:1: a value is missing here, or a bracket is not closed\n\thint: put text that holds [ ] { } or , in quotes"},
	{"a list as file", "- a\n", "f.yml:1:1: want a mapping, got a list\n\thint: an inventory is a mapping with the keys hosts, groups, vars, ssh and sudo"},
	{"an unknown key", "host: {}\n", "f.yml:1:1: host: unknown key\n\thint: did you mean \"hosts\"?"},
	{"an unknown key like no other", "plays: {}\n", "f.yml:1:1: plays: unknown key\n\thint: the keys here are ssh, sudo, vars, hosts, groups"},
	{"a fleet of Ansible", "all: {hosts: {a: }}\n", "f.yml:1:1: all: unknown key\n\thint: hosts, groups and vars stand at the top of the file"},
	{"hosts as a list", "hosts: [a, b]\n", "f.yml:1:8: hosts: want a mapping, got a list\n\thint: write {web1: {address: 203.0.113.5}}"},
	{"an address as host", "hosts: {a: 10.0.0.1}\n",
		"f.yml:1:12: hosts.a: want a mapping, got a value\n\thint: write {address: 203.0.113.5}, or {} when the name is the address"},
	{"an unknown key of a host", "hosts: {a: {adress: x}}\n", "f.yml:1:13: hosts.a.adress: unknown key\n\thint: did you mean \"address\"?"},
	{"a host twice", "hosts:\n  a:\n  \"a\":\n", "f.yml:3:3: the key \"a\" stands twice in this mapping\n\talso: f.yml:2:3\n\thint: remove one of them"},
	{"a host twice by a range", "hosts:\n  a2:\n  \"a[1:3]\":\n",
		"f.yml:3:3: hosts.a[1:3]: the host \"a2\" is defined twice\n\talso: f.yml:2:3\n\thint: remove one of them"},
	{"hosts twice by two ranges", "hosts:\n  \"a[1:9]\":\n  \"a[5:6]\":\n",
		"f.yml:3:3: hosts.a[5:6]: the host \"a5\" is defined twice (and 1 more of this range)\n\talso: f.yml:2:3\n\thint: remove one of them"},
	{"a name with a blank", "hosts: {a b: }\n", "f.yml:1:9: hosts.a b: \"a b\" cannot be the name of a host" + nameHint + ", or an IP address"},
	{"a name that climbs", "hosts: {../x: }\n", "f.yml:1:9: hosts.../x: \"../x\" cannot be the name of a host" + nameHint + ", or an IP address"},
	{"a host named all", "hosts: {all: }\n", "f.yml:1:9: hosts.all: all means every host and cannot be the name of one\n\thint: choose another name"},
	{"a range that is open", "hosts: {\"a[1:\": }\n", "f.yml:1:9: hosts.a[1:: the range in \"a[1:\" is not closed"},
	{"a range without start", "hosts: {\"a1]\": }\n", "f.yml:1:9: hosts.a1]: the range in \"a1]\" has a ] without a ["},
	{"a range of one", "hosts: {\"a[1]\": }\n", "f.yml:1:9: hosts.a[1]: the range [1] is not of the form [first:last]"},
	{"a range of words", "hosts: {\"a[x:12]\": }\n", "f.yml:1:9: hosts.a[x:12]: the range [x:12] is neither of two numbers nor of two letters of one case"},
	{"a range of mixed letters", "hosts: {\"a[A:b]\": }\n", "f.yml:1:9: hosts.a[A:b]: the range [A:b] is neither of two numbers nor of two letters of one case"},
	{"a range backwards", "hosts: {\"a[3:1]\": }\n", "f.yml:1:9: hosts.a[3:1]: the range [3:1] runs backwards"},
	{"a range of two widths", "hosts: {\"a[01:100]\": }\n", "f.yml:1:9: hosts.a[01:100]: the numbers of the range [01:100] differ in width"},
	{"a range too long", "hosts: {\"a[1:100001]\": }\n", "f.yml:1:9: hosts.a[1:100001]: the range in \"a[1:100001]\" stands for more than 100000 names"},
	{"a product too long", "hosts: {\"[1:999]-[1:999]\": }\n",
		"f.yml:1:9: hosts.[1:999]-[1:999]: the range in \"[1:999]-[1:999]\" stands for more than 100000 names"},
	{"too many hosts", "hosts: {\"a[1:100000]\": , \"b[1:100000]\": , c: }\n", "f.yml:1:43: hosts.c: more than 200000 hosts\n\thint: split the inventory"},
	{"one address for many", "hosts: {\"a[1:2]\": {address: 10.0.0.1}}\n",
		"f.yml:1:29: hosts.a[1:2].address: one address for 2 hosts\n\thint: leave it out, or write the hosts one by one"},
	{"an address with a port", "hosts: {a: {address: \"10.0.0.1:22\"}}\n",
		"f.yml:1:22: hosts.a.address: \"10.0.0.1:22\" is neither a host name nor an IP address\n\thint: the port goes to ssh: {ports: [...]}"},
	{"an address with a user", "hosts: {a: {address: root@b}}\n",
		"f.yml:1:22: hosts.a.address: \"root@b\" is neither a host name nor an IP address\n\thint: the user goes to ssh: {users: [...]}"},
	{"an address that is an option", "hosts: {a: {address: -oProxyCommand}}\n",
		"f.yml:1:22: hosts.a.address: \"-oProxyCommand\" is neither a host name nor an IP address"},
	{"no address", "hosts: {a: {address: }}\n", "f.yml:1:22: hosts.a.address: a value is missing"},
	{"a mapping as address", "hosts: {a: {address: {}}}\n", "f.yml:1:22: hosts.a.address: want text, got a mapping"},
	{"a wrong connection", "hosts: {a: {connection: locla}}\n",
		"f.yml:1:25: hosts.a.connection: \"locla\" is neither ssh nor local\n\thint: did you mean \"local\"?"},
	{"a local host with address", "hosts: {a: {address: b, connection: local}}\n",
		"f.yml:1:22: hosts.a.address: a host with a local connection has no address\n\thint: remove address or connection"},
	{"a label without value", "hosts: {a: {labels: {x: }}}\n", "f.yml:1:25: hosts.a.labels.x: a value is missing"},
	{"a label without name", "hosts: {a: {labels: {\"\": x}}}\n", "f.yml:1:22: hosts.a.labels: a label needs a name"},
	{"labels as a list", "hosts: {a: {labels: [x]}}\n", "f.yml:1:21: hosts.a.labels: want a mapping, got a list\n\thint: write {name: value}"},
	{"a var with a dash", "vars: {ssh-port: 1}\n",
		"f.yml:1:8: vars.ssh-port: \"ssh-port\" cannot be the name of a var\n\thint: use letters, digits and _, and start with a letter"},
	{"an unknown group", "hosts: {a: {groups: [eux]}}\ngroups: {eu-1: , eu: }\n",
		"f.yml:1:22: hosts.a.groups[0]: no group is named \"eux\"\n\thint: did you mean \"eu\"?"},
	{"a group nobody defines", "hosts: {a: {groups: [web]}}\n", "f.yml:1:22: hosts.a.groups[0]: no group is named \"web\"\n\thint: define it: groups: {web: {}}"},
	{"groups as a word", "hosts: {a: {groups: eu}}\n", "f.yml:1:21: hosts.a.groups: want a list, got a value\n\thint: write [eu]"},
	{"joining a selection", "hosts: {a: {groups: [g]}}\ngroups: {g: {select: x=y}}\n",
		"f.yml:1:22: hosts.a.groups[0]: the group \"g\" chooses its hosts by itself\n\talso: f.yml:2:10\n\thint: change the host's labels"},
	{"a group with a host's name", "hosts: {a: }\ngroups: {a: }\n", "f.yml:2:10: groups.a: \"a\" is also a host\n\talso: f.yml:1:9\n\thint: rename one of them"},
	{"a group named all", "groups: {all: {vars: {}}}\n",
		"f.yml:1:10: groups.all: all means every host and is not defined\n\thint: what is said for every host stands at the top of the file"},
	{"a wrong name of a group", "groups: {\"a,b\": }\n", "f.yml:1:10: groups.a,b: \"a,b\" cannot be the name of a group" + nameHint},
	{"an unknown key of a group", "groups: {a: {host: []}}\n", "f.yml:1:14: groups.a.host: unknown key\n\thint: did you mean \"hosts\"?"},
	{"children", "groups: {a: {children: {}}}\n", "f.yml:1:14: groups.a.children: unknown key\n\thint: write groups: [name]"},
	{"an unknown host", "hosts: {web1: }\ngroups: {g: {hosts: [wbe1]}}\n",
		"f.yml:2:22: groups.g.hosts[0]: no host is named \"wbe1\"\n\thint: did you mean \"web1\"?"},
	{"an unknown host of a range", "hosts: {web1: }\ngroups: {g: {hosts: [\"web[1:3]\"]}}\n",
		"f.yml:2:22: groups.g.hosts[0]: no host is named \"web2\"\n\thint: did you mean \"web1\"?"},
	{"a group among hosts", "groups: {g: {hosts: [h]}, h: }\n", "f.yml:1:22: groups.g.hosts[0]: no host is named \"h\"\n\thint: it is a group: write groups: [h]"},
	{"all among hosts", "groups: {g: {hosts: [all]}}\n", "f.yml:1:22: groups.g.hosts[0]: no host is named \"all\"\n\thint: write \"*\" for every host"},
	{"a host among groups", "hosts: {h: }\ngroups: {g: {groups: [h]}}\n", "f.yml:2:23: groups.g.groups[0]: no group is named \"h\"\n\thint: it is a host"},
	{"a glob of nothing", "hosts: {a: }\ngroups: {g: {hosts: [\"b*\"]}}\n", "f.yml:2:22: groups.g.hosts[0]: no host matches \"b*\""},
	{"a wrong range of a group", "groups: {g: {hosts: [\"b[1:\"]}}\n", "f.yml:1:22: groups.g.hosts[0]: the range in \"b[1:\" is not closed"},
	{"a group in itself", "groups:\n  a: {groups: [b]}\n  b: {groups: [c]}\n  c: {groups: [b]}\n",
		"f.yml:4:3: groups.c: the group contains itself: b → c → b\n\talso: f.yml:3:3\n\thint: remove one of these steps"},
	{"select and hosts", "hosts: {a: }\ngroups: {g: {select: x=y, hosts: [a]}}\n",
		"f.yml:2:22: groups.g.select: a group with select has neither hosts nor groups\n\thint: make it a group of its own and name both in a third one"},
	{"a wrong expression", "hosts: {a: }\ngroups: {g: {select: 'nonsense'}}\n", "f.yml:2:23: groups.g.select: not an expression"},
	{"labels of a selection", "groups:\n  g: {select: x=y}\n  h: {groups: [g], labels: {x: z}}\n",
		"f.yml:3:20: groups.h.labels: a group with a selection in it cannot give labels, since selections read them\n\thint: give the labels to the hosts"},
	{"two groups differ", "hosts: {h: {groups: [a, b]}}\ngroups:\n  b: {vars: {x: 1}}\n  a: {vars: {x: 2}}\n",
		"f.yml:3:17: groups.b.vars.x: the groups \"a\" and \"b\" give the same host different values\n\talso: f.yml:4:17\n\ton: h\n\thint: say it in the host, or put one group into the other"},
	{"two groups differ in a setting", "hosts: {h: {groups: [a, b]}}\ngroups:\n  b: {ssh: {ports: [1]}}\n  a: {ssh: {ports: [2]}}\n",
		"f.yml:3:20: groups.b.ssh.ports: the groups \"a\" and \"b\" give the same host different values\n\talso: f.yml:4:20\n\ton: h\n\thint: say it in the host, or put one group into the other"},
	{"an unknown setting", "ssh: {user: x}\n", "f.yml:1:7: ssh.user: unknown key\n\thint: did you mean \"users\"?"},
	{"a setting without value", "ssh: {jump: }\nsudo: {method: }\n", "f.yml:1:13: ssh.jump: a value is missing\nf.yml:2:16: sudo.method: a value is missing"},
	{"settings as a list", "ssh: [x]\nsudo: x\n",
		"f.yml:1:6: ssh: want a mapping, got a list\n\thint: write {users: [root], ports: [22]}\n" +
			"f.yml:2:7: sudo: want a mapping, got a value\n\thint: write {method: auto}"},
	{"a user that is an option", "ssh: {users: [-x]}\n", "f.yml:1:15: ssh.users[0]: \"-x\" cannot be the name of a user"},
	{"a port too high", "ssh: {ports: [22, 70000]}\n", "f.yml:1:19: ssh.ports[1]: \"70000\" is not a port\n\thint: want a number from 1 to 65535"},
	{"a port without list", "ssh: {ports: 22}\n", "f.yml:1:14: ssh.ports: want a list, got a value\n\thint: write [22]"},
	{"a wrong hop", "ssh: {jump: [a b]}\n", "f.yml:1:14: ssh.jump[0]: \"a b\" is not a host to jump through\n\thint: want the name of a host, or user@address:port"},
	{"a hop through itself", "hosts: {a: {ssh: {jump: [b, a]}}, b: }\n", "f.yml:1:29: hosts.a.ssh.jump[1]: the host \"a\" is reached through itself\n\thint: remove it"},
	{"a wrong agent", "ssh: {agent: maybe}\n", "f.yml:1:14: ssh.agent: want true or false"},
	{"a time without unit", "ssh: {connect_timeout: 10}\n",
		"f.yml:1:24: ssh.connect_timeout: \"10\" is not a length of time\n\thint: write a number with a unit, such as 10s or 1m30s"},
	{"a wrong method", "sudo: {method: atuo}\n", "f.yml:1:16: sudo.method: \"atuo\" is neither auto nor none\n\thint: did you mean \"auto\"?"},
	{"an unknown key of sudo", "sudo: {pasword: x}\n", "f.yml:1:8: sudo.pasword: unknown key\n\thint: did you mean \"password\"?"},
	{"a password", "sudo: {password: hunter2}\n",
		"f.yml:1:18: sudo.password: a password is not written here, only where to find it\n\thint: write secret:NAME, env:NAME or file:/path"},
	{"many mistakes in the order of the file", "groups: {g: {hosts: [x]}}\nhosts: {a: {b: }, c: {d: }}\nsudo: {method: x}\n",
		"f.yml:1:22: groups.g.hosts[0]: no host is named \"x\"\n\thint: did you mean \"a\"?\n" +
			"f.yml:2:13: hosts.a.b: unknown key\n\thint: the keys here are address, connection, labels, vars, groups, ssh, sudo\n" +
			"f.yml:2:23: hosts.c.d: unknown key\n\thint: the keys here are address, connection, labels, vars, groups, ssh, sudo\n" +
			"f.yml:3:16: sudo.method: \"x\" is neither auto nor none"},
}

func TestParseFaults(t *testing.T) {
	for _, tt := range faultTests {
		t.Run(tt.name, func(t *testing.T) {
			inv, faults := inventory.Parse("f.yml", []byte(tt.in), options)
			if inv == nil {
				t.Fatal("got no inventory")
			}
			if got := faults.Error(); got != tt.want {
				t.Errorf("Parse(%q) got\n%s\nwant\n%s", tt.in, got, tt.want)
			}
		})
	}
}

func TestConflictNamesHosts(t *testing.T) {
	_, faults := inventory.Parse("f.yml", []byte("hosts: {\"h[1:3]\": {groups: [a, b]}, i: {groups: [a, b], vars: {x: 1}}}\n"+
		"groups: {a: {vars: {x: 1}}, b: {vars: {x: 2}}}\n"), options)
	if len(faults) != 1 || strings.Join(faults[0].Hosts, " ") != "h1 h2 h3" {
		t.Errorf("got %v, want one fault for h1 h2 h3", faults)
	}
}

func TestSelectionsAreChecked(t *testing.T) {
	const in = "hosts: {a: }\ngroups: {g: {select: \"x=y\"}}\n"
	check := func(expr string, pos source.Pos) *source.Fault {
		return &source.Fault{Pos: pos, Message: "cannot " + expr}
	}
	tests := []struct {
		name string
		opts inventory.Options
		want string
	}{
		{"by the checker", inventory.Options{Select: labelIs, Check: check}, "f.yml:2:23: groups.g.select: cannot x=y"},
		{"without a selector", inventory.Options{}, "f.yml:2:23: groups.g.select: expressions cannot be evaluated here"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, faults := inventory.Parse("f.yml", []byte(in), tt.opts); faults.Error() != tt.want {
				t.Errorf("got %v, want %s", faults, tt.want)
			}
		})
	}
}
