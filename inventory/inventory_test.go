package inventory_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/inventory"
	"holdfast/playbooks/source"
)

// labelIs is a selector of a tiny language: label=value, group:name, or anything
// else, which is a fault.
func labelIs(expr string, pos source.Pos, h *inventory.Host) (bool, *source.Fault) {
	if name, ok := strings.CutPrefix(expr, "group:"); ok {
		return slices.Contains(h.Groups, name), nil
	}
	label, want, ok := strings.Cut(expr, "=")
	if !ok {
		return false, &source.Fault{Pos: pos, Message: "not an expression"}
	}
	return h.Labels[label] == want, nil
}

var options = inventory.Options{Select: labelIs}

func parse(t *testing.T, text string) *inventory.Inventory {
	t.Helper()
	inv, faults := inventory.Parse("f.yml", []byte(text), options)
	if len(faults) > 0 {
		t.Fatalf("Parse got faults:\n%v", faults)
	}
	return inv
}

func names(hosts []*inventory.Host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return strings.Join(out, " ")
}

const fleet = `
ssh:
  users: [adminclaw, root]
  ports: [222, 22]
  jump: [bastion, inner]
  keys: [~/.ssh/id_ed25519]
  known_hosts: known
  agent: false
  config: none
  connect_timeout: 10s
sudo: {method: auto, password: env:SUDO}
vars: {timezone: UTC, size: 1}
hosts:
  web1:
    address: 203.0.113.5
    labels: {role: gateway, rank: 1}
    vars: {size: 5}
    groups: [eu]
    ssh: {users: [deploy], connect_timeout: 1m}
  "db[01:03].example.org": {}
  bastion: {ssh: {jump: []}}
  inner:
  here: {connection: local}
groups:
  eu:
    hosts: ["db*"]
    vars: {timezone: Europe/Berlin, size: 2}
    labels: {region: eu, role: none}
    sudo: {password: "file:/etc/pw"}
  gateways: {select: role=gateway, vars: {gate: yes}}
  european: {select: "group:eu"}
  everything: {groups: [eu, gateways], vars: {timezone: none, colour: blue}}
  empty:
`

func TestParseFleet(t *testing.T) {
	inv := parse(t, fleet)
	if got, want := names(inv.Hosts), "web1 db01.example.org db02.example.org db03.example.org bastion inner here"; got != want {
		t.Errorf("hosts: got %s, want %s", got, want)
	}
	web, db, here := inv.Host("web1"), inv.Host("db02.example.org"), inv.Host("here")
	tests := []struct {
		what string
		got  any
		want string
	}{
		{"address", web.Address, "203.0.113.5"},
		{"address by name", db.Address, "db02.example.org"},
		{"address of a local host", here.Address, ""},
		{"connection", web.Connection + " " + here.Connection, "ssh local"},
		{"place", web.Pos, "f.yml:14:3"},
		{"place of a range", db.Pos, "f.yml:20:3"},
		{"labels", web.Labels, "map[rank:1 region:eu role:gateway]"},
		{"labels of the group", db.Labels, "map[region:eu role:none]"},
		{"no labels", here.Labels, "map[]"},
		{"groups", web.Groups, "[eu european everything gateways]"},
		{"groups of the database", db.Groups, "[eu european everything]"},
		{"no groups", here.Groups, "[]"},
		{"var of the host", web.Vars["size"].Node.Text, "5"},
		{"var of the group", db.Vars["size"].Node.Text, "2"},
		{"var of every host", here.Vars["size"].Node.Text, "1"},
		{"inner group before outer", db.Vars["timezone"].Node.Text, "Europe/Berlin"},
		{"var of the outer group", db.Vars["colour"].Node.Text, "blue"},
		{"var of a selection", web.Vars["gate"].Where(), `group "gateways"`},
		{"vars of the others", slices.Sorted(maps.Keys(here.Vars)), "[size timezone]"},
		{"users", web.SSH.Users, "[deploy]"},
		{"users of the others", db.SSH.Users, "[adminclaw root]"},
		{"ports", web.SSH.Ports, "[222 22]"},
		{"keys", web.SSH.Keys, "[~/.ssh/id_ed25519]"},
		{"known hosts", web.SSH.KnownHosts, "known"},
		{"agent", web.SSH.NoAgent, "true"},
		{"config", web.SSH.Config, "none"},
		{"timeout", web.SSH.ConnectTimeout, "1m0s"},
		{"timeout of the others", db.SSH.ConnectTimeout, "10s"},
		{"jump", web.SSH.Jump, "[bastion inner]"},
		{"jump of the last hop", inv.Host("inner").SSH.Jump, "[bastion]"},
		{"jump of the first hop", inv.Host("bastion").SSH.Jump, "[]"},
		{"where users come from", web.SSH.From["users"].Where() + " " + db.SSH.From["users"].Where(), `host "web1" every host`},
		{"sudo", db.Sudo, "{auto file:/etc/pw}"},
		{"sudo of the others", here.Sudo, "{auto env:SUDO}"},
		{"members", names(inv.Members("everything")), "web1 db01.example.org db02.example.org db03.example.org"},
		{"members of a selection", names(inv.Members("gateways")), "web1"},
		{"no members", names(inv.Members("empty")) + names(inv.Members("x")), ""},
		{"unknown names", fmt.Sprint(inv.Host("x") == nil, inv.Group("x") == nil), "true true"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(tt.got); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, got, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	inv := parse(t, fleet)
	tests := []struct{ host, param, want string }{
		{"web1", "timezone", `Europe/Berlin group "eu" f.yml:27:22; none group "everything" f.yml:32:57; UTC every host f.yml:12:18`},
		{"web1", "size", `5 host "web1" f.yml:17:18; 2 group "eu" f.yml:27:43; 1 every host f.yml:12:29`},
		{"here", "size", `1 every host f.yml:12:29`},
		{"web1", "ssh.connect_timeout", `1m host "web1" f.yml:19:45; 10s every host f.yml:10:20`},
		{"db01.example.org", "sudo.password", `file:/etc/pw group "eu" f.yml:29:22; env:SUDO every host f.yml:11:32`},
		{"web1", "labels.role", `gateway host "web1" f.yml:16:20; none group "eu" f.yml:28:32`},
		{"web1", "host.address", `203.0.113.5 host "web1" f.yml:15:14`},
		{"web1", "nothing", ``},
	}
	for _, tt := range tests {
		values, err := inv.Explain(tt.host, tt.param)
		if err != nil {
			t.Errorf("Explain(%q, %q): %v", tt.host, tt.param, err)
			continue
		}
		var got []string
		for _, v := range values {
			got = append(got, fmt.Sprintf("%s %s %s", v.Node.Text, v.Where(), v.Node.Pos))
		}
		if got := strings.Join(got, "; "); got != tt.want {
			t.Errorf("Explain(%q, %q)\ngot  %s\nwant %s", tt.host, tt.param, got, tt.want)
		}
	}
	_, err := inv.Explain("wbe1", "size")
	if err == nil || err.Error() != `no host is named "wbe1"` {
		t.Errorf(`Explain("wbe1") got %v, want no host is named "wbe1"`, err)
	}
}

func TestGroupsMayDiffer(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"equal values are no conflict", "hosts: {h: {groups: [b, a]}}\ngroups: {b: {vars: {x: [1]}}, a: {vars: {x: [1]}}}\n", `group "a"`},
		{"the host decides", "hosts: {h: {groups: [b, a], vars: {x: 3}}}\ngroups: {b: {vars: {x: 1}}, a: {vars: {x: 2}}}\n", `host "h"`},
		{"a group inside both decides", "hosts: {h: {groups: [z]}}\n" +
			"groups: {b: {vars: {x: 1}, groups: [z]}, a: {vars: {x: 2}, groups: [z]}, z: {vars: {x: 3}}}\n", `group "z"`},
		{"no host is in both", "hosts: {h: {groups: [b]}}\ngroups: {b: {vars: {x: 1}}, a: {vars: {x: 2}}}\n", `group "b"`},
		{"far outside is still outside", "hosts: {h: {groups: [z]}}\n" +
			"groups: {a: {vars: {x: 2}, groups: [m]}, m: {groups: [z]}, z: {vars: {x: 3}}}\n", `group "z"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inv := parse(t, tt.in)
			if got := inv.Host("h").Vars["x"].Where(); got != tt.want {
				t.Errorf("x comes from %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	tests := []struct{ in, want string }{
		{"db[1:3]", "db1 db2 db3"},
		{"db[08:11]", "db08 db09 db10 db11"},
		{"db[8:11]", "db8 db9 db10 db11"},
		{"[a:c]x", "ax bx cx"},
		{"r[1:2]-[A:B]", "r1-A r1-B r2-A r2-B"},
		{"10.0.0.[1:2]", "10.0.0.1 10.0.0.2"},
		{"2001:db8::1", "2001:db8::1"},
		{"one[5:5]", "one5"},
	}
	for _, tt := range tests {
		inv := parse(t, fmt.Sprintf("hosts: {%q: }\n", tt.in))
		if got := names(inv.Hosts); got != tt.want {
			t.Errorf("%q got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"b.yml":       "hosts: {b: }\ngroups: {g: {hosts: [a, b]}}\n",
		"a.yaml":      "vars: {x: 1}\nhosts: {a: }\n",
		"c.yml":       "",
		"README.md":   "not: [yaml",
		".hidden.yml": "not: [yaml",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inv, faults := inventory.Read(dir, options)
	if len(faults) > 0 {
		t.Fatalf("Read: %v", faults)
	}
	if got := names(inv.Hosts); got != "a b" {
		t.Errorf("hosts: got %s, want a b", got)
	}
	if got := fmt.Sprintf("%v %s", inv.Host("b").Groups, inv.Host("b").Vars["x"].Node.Pos.File); got != "[g] "+filepath.Join(dir, "a.yaml") {
		t.Errorf("groups and place: got %s", got)
	}
}

func TestReadFolderFaults(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yml")
	for name, text := range map[string]string{
		a: "vars: {x: 1}\nssh: {users: [r]}\nhosts: {h: }\ngroups: {g: }\n",
		b: "vars: {x: 2}\nssh: {users: [q]}\nhosts: {h: }\ngroups: {g: }\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, faults := inventory.Read(dir, options)
	want := strings.NewReplacer("A", a, "B", b).Replace(`B:1:11: vars.x: set twice for every host
	also: A:1:11
	hint: remove one of them
B:2:14: ssh.users: set twice for every host
	also: A:2:14
	hint: remove one of them
B:3:9: hosts.h: the host "h" is defined twice
	also: A:3:9
	hint: remove one of them
B:4:10: groups.g: the group "g" is defined twice
	also: A:4:10
	hint: make it one`)
	if got := faults.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReadWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	inv, faults := inventory.Read(filepath.Join(dir, "no.yml"), options)
	want := filepath.Join(dir, "no.yml") + ": cannot read the inventory: no such file or directory"
	if inv == nil || faults.Error() != want {
		t.Errorf("got %v and %v, want %s", inv, faults, want)
	}
	_, faults = inventory.Read(dir, options)
	want = dir + ": cannot read the inventory: the folder has no *.yml or *.yaml file"
	if faults.Error() != want {
		t.Errorf("got %v, want %s", faults, want)
	}
}

func TestReadManyHosts(t *testing.T) {
	var b strings.Builder
	b.WriteString("ssh: {users: [a]}\ngroups:\n  all-web: {hosts: [\"web*\"], vars: {z: 1}}\n  even: {select: parity=0}\nhosts:\n")
	for i := range 50_000 {
		fmt.Fprintf(&b, "  web%d: {address: 10.1.2.3, labels: {parity: %d}, vars: {n: %d}}\n", i, i%2, i)
	}
	b.WriteString("  \"db[1:50000]\": {groups: [all-web]}\n")
	start := time.Now()
	inv := parse(t, b.String())
	// Two seconds on an idle machine; the bound only tells linear from quadratic.
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("reading 100000 hosts took %s", d)
	}
	if got := fmt.Sprint(len(inv.Hosts), len(inv.Members("even")), len(inv.Members("all-web"))); got != "100000 25000 100000" {
		t.Errorf("got %s hosts, want 100000 25000 100000", got)
	}
}

func TestParseDeepGroups(t *testing.T) {
	var b strings.Builder
	b.WriteString("hosts: {\"h[1:9]\": }\ngroups:\n")
	for i := range 70 {
		fmt.Fprintf(&b, "  g%d: {groups: [g%d], vars: {x: %d}}\n", i, i+1, i)
	}
	b.WriteString("  g70: {hosts: [\"*\"]}\n")
	_, faults := inventory.Parse("f.yml", []byte(b.String()), options)
	if got, want := faults.Error(), "f.yml:9:3: groups.g6: groups are nested deeper than 64 levels"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
