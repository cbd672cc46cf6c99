package ufw_test

import (
	_ "embed"
	"regexp"
	"strings"
	"testing"

	"holdfast/tasks/tasktest"
	"holdfast/tasks/ufw"
)

//go:embed testdata/written.txtar
var written string

// part returns one file of testdata/written.txtar.
func part(t *testing.T, name string) string {
	t.Helper()
	_, after, ok := strings.Cut(written, "-- "+name+" --\n")
	if !ok {
		t.Fatalf("there is no part %q", name)
	}
	if end := regexp.MustCompile(`(?m)^-- \S+ --$`).FindStringIndex(after); end != nil {
		return after[:end[0]]
	}
	return after
}

// TestFilesAreUfwsOwn compares what the module writes with what ufw itself wrote,
// byte for byte.
func TestFilesAreUfwsOwn(t *testing.T) {
	tests := []struct {
		name  string
		tasks []string
	}{
		{"log-off", []string{"{logging: off}"}},
		{"log-low", []string{"{rule: allow, port: 1}", "{rule: allow, port: 1, state: absent}"}},
		{"log-medium", []string{"{logging: medium}"}},
		{"log-high", []string{"{logging: high}"}},
		{"log-full", []string{"{logging: full}"}},
		{"log-medium-allow", []string{"{default: {incoming: allow, outgoing: allow, routed: reject}, logging: medium}"}},
		{"log-low-allow", []string{"{default: {incoming: allow, outgoing: deny}}"}},
		{"rules", []string{
			"{rule: allow, port: 222, proto: tcp}",
			"{rule: limit, port: 22, proto: tcp}",
			"{rule: allow, from: 10.0.0.0/8, port: '443,80', proto: tcp, comment: it is web}",
			"{rule: deny, direction: out, port: 25}",
			"{rule: reject, interface: eth0, from: 1.2.3.4}",
			"{rule: allow, interface: eth0, to: 10.213.32.2, port: '8000:8010', proto: udp}",
			"{rule: deny, from: '2001:db8::1/32'}",
			"{rule: allow, port: 53}",
			"{rule: allow, direction: out, interface: eth0, to: 8.8.8.8, port: 53}",
			"{rule: allow, from: 10.1.2.3/8}",
			"{rule: reject, port: 99, proto: tcp}",
			"{rule: reject, port: 98}",
			"{rule: limit, port: 97}",
			"{rule: limit, interface: eth0, from: 10.0.0.0/24, port: 95, proto: tcp}",
			"{rule: reject, direction: out, port: 96, proto: udp}",
			"{rule: allow, interface: tailscale0}",
			"{rule: allow, proto: esp, from: 9.9.9.9}",
			"{rule: allow, proto: gre}",
			"{rule: deny, from: '2001:DB8:0::1', port: 1, proto: tcp}",
			"{rule: allow, from: 192.0.2.1/32}",
		}},
		{"replace", []string{
			"{rule: allow, port: 22, proto: tcp}", "{rule: allow, port: 80, proto: tcp}", "{rule: limit, port: 22, proto: tcp}",
			"{rule: allow, port: 80, proto: tcp, comment: web}", "{rule: allow, port: 443, proto: tcp}",
			"{rule: allow, port: 80, proto: tcp, state: absent}", "{rule: deny, port: 443, proto: tcp}",
			"{rule: deny, port: 443, proto: tcp, state: absent}", "{rule: allow, port: 443, proto: udp, state: absent}",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			for _, args := range tt.tasks {
				if _, err := tasktest.Apply(t, h, ufw.Module, args); err != nil {
					t.Fatalf("%s: %v", args, err)
				}
			}
			for file, want := range map[string]string{"/etc/ufw/user.rules": "user.rules", "/etc/ufw/user6.rules": "user6.rules"} {
				got, _ := h.File(file)
				differs(t, file, got, part(t, tt.name+"/"+want))
			}
			defaults, _ := h.File("/etc/default/ufw")
			for line := range strings.Lines(part(t, tt.name+"/default")) {
				if !strings.Contains(line, "APPLICATION") && !strings.Contains(defaults, line) {
					t.Errorf("the defaults are %q, want %q among them", defaults, line)
				}
			}
		})
	}
}

// differs names the first line that does.
func differs(t *testing.T, file, got, want string) {
	t.Helper()
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("%s line %d: got %q, want %q", file, i+1, a[i], b[i])
			return
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s: got %d lines, want %d", file, len(a), len(b))
	}
}

// TestAReadFileIsWrittenAgain takes what ufw wrote through the module, which must
// not change what it was not asked for.
func TestAReadFileIsWrittenAgain(t *testing.T) {
	h := tasktest.NewHost()
	for _, name := range []string{"user.rules", "user6.rules"} {
		h.AddFile("/etc/ufw/"+name, part(t, "rules/"+name), 0o640)
	}
	for _, args := range []string{"{rule: deny, port: 7}", "{rule: deny, port: 7, state: absent}"} {
		if changes, err := tasktest.Apply(t, h, ufw.Module, args); err != nil || len(changes) != 1 {
			t.Fatalf("%s: got %v (%v), want one change", args, changes, err)
		}
	}
	for _, name := range []string{"user.rules", "user6.rules"} {
		got, _ := h.File("/etc/ufw/" + name)
		differs(t, name, got, part(t, "rules/"+name))
	}
}

const foreign = `*filter
### RULES ###

### tuple ### allow_log tcp 99 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-logging-input -p tcp --dport 99 -j RETURN
-A ufw-user-input -p tcp --dport 99 -j ACCEPT

### tuple ### route:allow udp 53 0.0.0.0/0 any 10.1.0.0/16 in_eth0!out_eth1
-A ufw-user-forward -i eth0 -o eth1 -p udp --dport 53 -s 10.1.0.0/16 -j ACCEPT

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT -m comment --comment 'dapp_OpenSSH'

### END RULES ###
COMMIT
`

func TestForeignRulesAreKept(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/ufw/user.rules", foreign, 0o640)
	for _, args := range []string{"{rule: allow, port: 22, proto: tcp}", "{rule: deny, port: 99, proto: tcp}"} {
		if _, err := tasktest.Apply(t, h, ufw.Module, args); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := h.File("/etc/ufw/user.rules")
	blocks := strings.Split(foreign, "\n\n")
	for _, want := range []string{blocks[2], blocks[3]} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant it to keep\n%s", got, want)
		}
	}
	for want, count := range map[string]int{"### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n": 1, "tcp 99 ": 1, "--dport 99 -j DROP": 1, "-A ufw-user-logging-input": 0} {
		if n := strings.Count(got, want); n != count {
			t.Errorf("got %q %d times, want %d, in\n%s", want, n, count, got)
		}
	}
}
