package ufw_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
	"holdfast/tasks/ufw"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, ufw.Module) }

func apply(t *testing.T, h *tasktest.Host, args string) ([]task.Change, string) {
	t.Helper()
	changes, err := tasktest.Apply(t, h, ufw.Module, args)
	if err != nil {
		return changes, err.Error()
	}
	return changes, ""
}

func describe(changes []task.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%s %s: %s > %s", c.Kind, c.Attr, c.Before, c.After))
	}
	return strings.Join(out, "; ")
}

// acts returns what was done to units and which files were written, in order.
func acts(h *tasktest.Host) []string {
	var out []string
	for _, c := range h.Writes() {
		switch args := c.Args.(type) {
		case task.UnitChange:
			out = append(out, string(args.Action))
			if args.Enable != nil {
				out = append(out, "enable")
			}
		case task.FileWrite:
			out = append(out, args.Path[strings.LastIndex(args.Path, "/")+1:])
		case task.Command:
			out = append(out, strings.Join(args.Argv, " "))
		}
	}
	return out
}

// up brings the firewall of a fake host up, with SSH let through.
func up(t *testing.T, h *tasktest.Host) {
	t.Helper()
	if _, err := apply(t, h, "{rule: allow, port: 22, enabled: true}"); err != "" {
		t.Fatal(err)
	}
	h.Forget()
}

func TestChanges(t *testing.T) {
	tests := []struct {
		name, args, want string
		prepare          []string
	}{
		{name: "a rule", args: "{rule: allow, port: 80, proto: tcp}", want: "create rule:  > allow 80/tcp"},
		{name: "a rule that is there", prepare: []string{"{rule: allow, port: 80}"}, args: "{rule: allow, port: 080}"},
		{name: "its action", prepare: []string{"{rule: allow, port: 80}"}, args: "{rule: limit, port: 80}", want: "update rule: allow 80 > limit 80"},
		{name: "its comment", prepare: []string{"{rule: allow, port: 80}"}, args: "{rule: allow, port: 80, comment: web}", want: "update rule: allow 80 > allow 80 # web"},
		{name: "a comment that nobody asked for stays", prepare: []string{"{rule: allow, port: 80, comment: web}"}, args: "{rule: allow, port: 80}"},
		{name: "a rule of one family", args: "{rule: deny, from: '2001:db8::1'}", want: "create rule:  > deny from 2001:db8::1 to any"},
		{name: "no rule", prepare: []string{"{rule: allow, port: 80, comment: web}"}, args: "{rule: allow, port: 80, state: absent}", want: "delete rule: allow 80 # web > "},
		{name: "a rule that does something else is not the one", prepare: []string{"{rule: deny, port: 80}"}, args: "{rule: allow, port: 80, state: absent}"},
		{name: "no rule where none is", args: "{rule: allow, port: 80, state: absent}"},
		{name: "on an interface", args: "{rule: allow, interface: eth0, direction: out, port: 53}", want: "create rule:  > allow out on eth0 53"},
		{name: "defaults", args: "{default: {incoming: allow, routed: reject}}", want: "update default.incoming: deny > allow; update default.routed: deny > reject"},
		{name: "defaults as they are", args: "{default: {incoming: deny, outgoing: allow}, logging: low, enabled: false}"},
		{name: "logging", args: "{logging: full}", want: "update logging: low > full"},
		{name: "all at once", args: "{rule: limit, port: 22, enabled: true, logging: off}", want: "create rule:  > limit 22; update logging: low > off; update enabled: false > true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			for _, args := range tt.prepare {
				if _, err := apply(t, h, args); err != "" {
					t.Fatal(err)
				}
			}
			changes, err := apply(t, h, tt.args)
			if got := describe(changes); err != "" || got != tt.want {
				t.Errorf("got %q (%s), want %q", got, err, tt.want)
			}
		})
	}
}

func TestFirst(t *testing.T) {
	h := tasktest.NewHost()
	for _, args := range []string{"{rule: allow, port: 1}", "{rule: deny, port: 2, first: true}", "{rule: limit, port: 1, first: true}"} {
		if _, err := apply(t, h, args); err != "" {
			t.Fatal(err)
		}
	}
	got, _ := h.File("/etc/ufw/user6.rules")
	if a, b := strings.Index(got, "deny any 2 "), strings.Index(got, "limit any 1 "); a < 0 || b < a {
		t.Errorf("want 2 before 1, each at its place, got\n%s", got)
	}
}

func TestOrderOfActs(t *testing.T) {
	h := tasktest.NewHost()
	if _, err := apply(t, h, "{rule: allow, port: 22}"); err != "" {
		t.Fatal(err)
	}
	if got, want := acts(h), []string{"user.rules", "user6.rules"}; !slices.Equal(got, want) {
		t.Errorf("down: got %q, want %q", got, want)
	}
	h.Forget()
	if _, err := apply(t, h, "{enabled: true}"); err != "" {
		t.Fatal(err)
	}
	if got, want := acts(h), []string{"ufw.conf", "start", "enable"}; !slices.Equal(got, want) {
		t.Errorf("going up: got %q, want %q", got, want)
	}
	h.Forget()
	if _, err := apply(t, h, "{rule: allow, port: 80, default: {incoming: reject}}"); err != "" {
		t.Fatal(err)
	}
	if got, want := acts(h), []string{"stop", "ufw", "user.rules", "user6.rules", "start"}; !slices.Equal(got, want) {
		t.Errorf("up: got %q, want %q", got, want)
	}
	h.Forget()
	if _, err := apply(t, h, "{enabled: false}"); err != "" {
		t.Fatal(err)
	}
	if got, want := acts(h), []string{"stop", "ufw.conf", "start"}; !slices.Equal(got, want) {
		t.Errorf("going down: got %q, want %q", got, want)
	}
}

func TestAFailureLeavesTheFirewallUp(t *testing.T) {
	h := tasktest.NewHost()
	up(t, h)
	before, _ := h.File("/etc/ufw/user.rules")
	for n := 1; ; n++ {
		h.FailAt(n)
		_, err := apply(t, h, "{rule: allow, port: 80}")
		h.FailAt(0)
		if !strings.Contains(err, tasktest.ErrInjected.Error()) {
			t.Fatalf("call %d: got %q, want the injected failure", n, err)
		}
		u, uerr := h.Unit(t.Context(), task.UnitRef{Name: "ufw.service"})
		if uerr != nil || u.Active != "active" {
			t.Errorf("after call %d failed: the unit is %s (%v), want active", n, u.Active, uerr)
		}
		if after, _ := h.File("/etc/ufw/user.rules"); after != before {
			return // all was done; only the second look failed
		}
	}
}

func byHand(t *testing.T, h *tasktest.Host) {
	t.Helper()
	up(t, h)
	if err := h.SetUnit(t.Context(), task.UnitRef{Name: "ufw.service"}, task.UnitChange{Action: task.UnitStop}); err != nil {
		t.Fatal(err)
	}
	h.Forget()
}

func TestUpByHand(t *testing.T) {
	h := tasktest.NewHost()
	byHand(t, h)
	before, _ := h.File("/etc/ufw/user.rules")
	b := tasktest.Bind(t, h, ufw.Module, "{rule: allow, port: 80}")
	state, _, err := b.Observe(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), h, state); err != nil {
		t.Fatal(err)
	}
	want := []string{"/lib/ufw/ufw-init force-stop", "user.rules", "user6.rules", "systemctl start ufw.service", "start"}
	if got := acts(h); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	h.Forget()
	saved, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Undo(t.Context(), h, saved); err != nil {
		t.Fatal(err)
	}
	want = []string{"/lib/ufw/ufw-init force-stop", "user.rules", "user6.rules", "/lib/ufw/ufw-init start"}
	if got := acts(h); !slices.Equal(got, want) {
		t.Errorf("undo: got %q, want %q", got, want)
	}
	if after, _ := h.File("/etc/ufw/user.rules"); after != before {
		t.Errorf("got the rules %q, want %q", after, before)
	}
}

func TestUpByHandAndAskedToBeUp(t *testing.T) {
	h := tasktest.NewHost()
	byHand(t, h)
	changes, err := apply(t, h, "{enabled: true}")
	if got, want := describe(changes), "update enabled: true, not running > true"; err != "" || got != want {
		t.Errorf("got %q (%s), want %q", got, err, want)
	}
	if got, want := acts(h), []string{"systemctl start ufw.service", "start"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestACommandThatFails(t *testing.T) {
	h := tasktest.NewHost()
	byHand(t, h)
	before, _ := h.File("/etc/ufw/user.rules")
	h.OnRun = func(c task.Command) (task.Output, error) {
		if c.Argv[0] == "systemctl" {
			return task.Output{Status: 1, Stderr: "no such chain\n"}, nil
		}
		return task.Output{}, nil
	}
	_, err := apply(t, h, "{rule: allow, port: 80}")
	if !strings.Contains(err, "cannot run systemctl start ufw.service: it ends with 1: no such chain") {
		t.Errorf("got %q, want what the command said", err)
	}
	if after, _ := h.File("/etc/ufw/user.rules"); after != before {
		t.Error("the rules changed, want them as they were")
	}
	if got := acts(h); got[len(got)-1] != "/lib/ufw/ufw-init start" {
		t.Errorf("got %q, want the firewall up again at the end", got)
	}
}

func TestNoServiceManager(t *testing.T) {
	h := tasktest.NewHost()
	h.SetFacts(func(f *task.Facts) { f.Init = "runit" })
	if _, err := apply(t, h, "{rule: allow, port: 22, enabled: true}"); err != "" {
		t.Fatal(err)
	}
	want := []string{"/lib/ufw/ufw-init force-stop", "user.rules", "user6.rules", "ufw.conf", "/lib/ufw/ufw-init start"}
	if got := acts(h); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, args, want string
		prepare          func(*testing.T, *tasktest.Host)
	}{
		{name: "up without a way in", args: "{enabled: true}", want: "refused: root could not connect again: no rule lets 192.0.2.1 in on tcp port 22"},
		{name: "up without a way in, wanted", args: "{enabled: true, allow_lockout: true}"},
		{name: "up with a way in", args: "{enabled: true, rule: limit, port: 22}"},
		{name: "the way in is taken", prepare: up, args: "{rule: allow, port: 22, state: absent}", want: "refused"},
		{name: "the way in is denied", prepare: up, args: "{rule: deny, port: 22}", want: `the rule "deny 22"`},
		{name: "we are denied first", prepare: up, args: "{rule: deny, from: 192.0.2.0/24, first: true}", want: "refused"},
		{name: "others are denied", prepare: up, args: "{rule: deny, from: 198.51.100.0/24, first: true}"},
		{name: "down", args: "{rule: deny, port: 22}"},
		{name: "shut already, and one more rule", args: "{rule: allow, port: 80}", prepare: func(t *testing.T, h *tasktest.Host) {
			if _, err := apply(t, h, "{enabled: true, allow_lockout: true}"); err != "" {
				t.Fatal(err)
			}
		}},
		{name: "the server has moved", args: "{rule: allow, port: 22, state: absent}", prepare: func(t *testing.T, h *tasktest.Host) {
			up(t, h)
			if _, err := apply(t, h, "{rule: allow, port: 222}"); err != "" {
				t.Fatal(err)
			}
			h.AddFile("/etc/ssh/sshd_config.d/00-holdfast.conf", "# x\n Port 222\n", 0o600)
		}},
		{name: "the server will move, and its port is shut", args: "{enabled: true, rule: allow, port: 22}", want: "tcp port 222", prepare: func(_ *testing.T, h *tasktest.Host) {
			h.AddFile("/etc/ssh/sshd_config.d/00-holdfast.conf", "port=222\n", 0o600)
		}},
		{name: "no SSH server", args: "{enabled: true, rule: allow, port: 22}", prepare: func(t *testing.T, h *tasktest.Host) {
			_ = h.Remove(t.Context(), "/etc/ssh")
		}},
		{name: "no IPv6", args: "{rule: allow, from: '2001:db8::1'}", want: "IPV6=no", prepare: func(_ *testing.T, h *tasktest.Host) {
			h.AddFile("/etc/default/ufw", "IPV6=no\n", 0o644)
		}},
		{name: "not installed", args: "{enabled: false}", want: "is its package installed?", prepare: func(t *testing.T, h *tasktest.Host) {
			_ = h.Remove(t.Context(), "/etc/ufw")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if tt.prepare != nil {
				tt.prepare(t, h)
			}
			h.Forget()
			_, got := apply(t, h, tt.args)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want != "" && len(h.Writes()) > 0 {
				t.Errorf("refused and wrote all the same: %v", h.Writes())
			}
		})
	}
}

func TestWithoutIPv6OnlyOneFamily(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile("/etc/default/ufw", "IPV6=no\n", 0o644)
	if _, err := apply(t, h, "{rule: allow, port: 22}"); err != "" {
		t.Fatal(err)
	}
	if got, _ := h.File("/etc/ufw/user6.rules"); strings.Contains(got, "tuple") {
		t.Errorf("got %q, want no rule", got)
	}
}

// planning is a host in a plan that installs ufw: its files cannot be known yet.
type planning struct {
	*tasktest.Host
	installed bool
}

func (p planning) Package(context.Context, string) (task.Package, error) {
	return task.Package{Name: "ufw", Installed: p.installed}, nil
}

func (p planning) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	if data, err := p.Host.ReadFile(ctx, name, limit); err == nil {
		return data, nil
	}
	return nil, task.Unknownf("%s may come with a package", name)
}

func TestPlanThatInstallsUfw(t *testing.T) {
	h := tasktest.NewHost()
	if err := errors.Join(h.Remove(t.Context(), "/etc/ufw"), h.Remove(t.Context(), "/etc/default/ufw")); err != nil {
		t.Fatal(err)
	}
	b := tasktest.Bind(t, h, ufw.Module, "{rule: allow, port: 22, enabled: true, default: {incoming: deny}}")
	_, changes, err := b.Observe(t.Context(), planning{h, true})
	if got, want := describe(changes), "create rule:  > allow 22; update enabled: false > true"; err != nil || got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	if _, _, err := b.Observe(t.Context(), planning{h, false}); !errors.Is(err, task.ErrUnknown) {
		t.Errorf("got %v, want that it is not known", err)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                     "there is nothing to do",
		"{default: {}}":                          "there is nothing to do",
		"{port: 22}":                             `needs "rule" too`,
		"{enabled: true, state: absent}":         "the fields describe a rule",
		"{enabled: true, direction: out}":        "the fields describe a rule",
		"{rule: permit}":                         "none of allow, deny, reject, limit",
		"{rule: allow, port: ssh}":               "is no port",
		"{rule: allow, port: 0}":                 "is no port",
		"{rule: allow, port: 70000}":             "is no port",
		"{rule: allow, port: '9:5', proto: tcp}": "is no port",
		"{rule: allow, port: '1,2'}":             "say tcp or udp",
		"{rule: allow, port: '1,2', proto: any}": "say tcp or udp",
		"{rule: allow, port: 1, proto: gre}":     "gre has no ports",
		"{rule: allow, port: '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16', proto: tcp}": "more than 15 ports",
		"{rule: allow, from: host}":                         "is no address",
		"{rule: allow, from: 192.0.2.0/33}":                 "is no address",
		"{rule: allow, from: 'fe80::1%eth0'}":               "is no address",
		"{rule: allow, from: 192.0.2.1, to: '2001:db8::1'}": "one end is IPv4 and the other IPv6",
		"{rule: allow, interface: 'eth0:1'}":                "is no name for an interface",
		"{rule: allow, interface: '..'}":                    "is no name for an interface",
		"{rule: allow, comment: \"a\\nb\"}":                 "one line",
		"{default: {incoming: drop}, enabled: true}":        "none of allow, deny, reject",
	} {
		if got := tasktest.Fault(ufw.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}
