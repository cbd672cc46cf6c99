package lookfirst_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"holdfast/runner/lookfirst"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

const (
	key   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me"
	inUse = "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA" // as ssh-keygen -l has it
	other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/ other"
)

// host is one that admin is logged in to with a key, and becomes root on by its group.
func host() *tasktest.Host {
	h := tasktest.NewHost()
	ctx := context.Background()
	must(h.MakeDir(ctx, "/home/admin/.ssh", 0o700, "admin", "admin"))
	put(h, "/home/admin/.ssh/authorized_keys", key+"\n"+other+"\n", "admin")
	if info, err := h.Stat(ctx, "/bin"); err == nil && !info.Exists() {
		must(h.MakeDir(ctx, "/bin", 0o755, "root", "root"))
	}
	put(h, "/bin/bash", "", "root")
	put(h, "/etc/sudoers", "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n@includedir /etc/sudoers.d\n", "root")
	h.AddPackage(task.Package{Name: "openssh-server", Installed: true, Version: "1"})
	return h
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func put(h *tasktest.Host, path, text, owner string) {
	must(h.WriteFile(context.Background(), task.FileWrite{Path: path, Data: []byte(text), Owner: owner}))
}

// as is a host as a login sees it.
type as struct {
	*tasktest.Host
	login task.Login
}

func (a as) Facts() *task.Facts {
	f := *a.Host.Facts()
	f.Login = a.login
	return &f
}

func TestWorse(t *testing.T) {
	admin := task.Login{User: "admin", PeerAddr: "192.0.2.1", ServerAddr: "192.0.2.10", ServerPort: 22}
	ctx := context.Background()
	mode := func(path string, m task.Mode) func(*tasktest.Host) {
		return func(h *tasktest.Host) { must(h.SetMode(ctx, path, m)) }
	}
	file := func(path, text string) func(*tasktest.Host) {
		return func(h *tasktest.Host) { put(h, path, text, "admin") }
	}
	keys := "/home/admin/.ssh/authorized_keys"
	tests := []struct {
		name   string
		before func(*tasktest.Host)
		change func(*tasktest.Host)
		want   string
	}{
		{"nothing", nil, func(*tasktest.Host) {}, ""},
		{"account", nil, func(h *tasktest.Host) { must(h.DeleteUser(ctx, "admin", false)) }, "the account admin, which logs in, would be gone"},
		{"account and home", nil, func(h *tasktest.Host) { must(h.DeleteUser(ctx, "admin", true)) }, "would be gone"},
		{"shell", nil, func(h *tasktest.Host) {
			shell := "/usr/sbin/nologin"
			must(h.PutUser(ctx, task.UserSpec{Name: "admin", Shell: &shell}))
		}, "/usr/sbin/nologin runs nothing"},
		{"no key", nil, file(keys, "# none\n"), "no key would open"},
		{"no file", nil, func(h *tasktest.Host) { must(h.Remove(ctx, keys)) }, "no key would open"},
		{"no folder", nil, func(h *tasktest.Host) { must(h.Remove(ctx, "/home/admin/.ssh")) }, "no key would open"},
		{"key in use", nil, file(keys, other+"\n"), "the key that is logged in as admin would be taken away"},
		{"another key", nil, file(keys, `from="192.0.2.0/24" `+key+"\n"), ""},
		{"keys from elsewhere", file("/etc/ssh/sshd_config.d/x.conf", "AuthorizedKeysCommand /bin/keys\n"), file(keys, ""), ""},
		{"no key before", file(keys, ""), func(h *tasktest.Host) { must(h.Remove(ctx, keys)) }, ""},
		{"home for all", nil, mode("/home/admin", 0o777), "others could write to /home/admin, which would have the mode 0777 (StrictModes)"},
		{"home for the group", nil, mode("/home/admin", 0o770), "StrictModes"},
		{"folder for all", nil, mode("/home/admin/.ssh", 0o702), "StrictModes"},
		{"keys for all", nil, mode(keys, 0o666), "StrictModes"},
		{"keys that others may read", nil, mode(keys, 0o644), ""},
		{"keys of another", nil, func(h *tasktest.Host) { must(h.SetOwner(ctx, keys, "nobody", "")) }, "would belong to nobody"},
		{"keys of root", nil, func(h *tasktest.Host) { must(h.SetOwner(ctx, keys, "root", "")) }, ""},
		{"not strict", file("/etc/ssh/sshd_config", "StrictModes no\n"), mode(keys, 0o666), ""},
		{"group of sudo", nil, func(h *tasktest.Host) {
			must(h.PutUser(ctx, task.UserSpec{Name: "admin", Groups: &[]string{"adm"}}))
		}, "admin could not become root any more"},
		{"rule of sudo", nil, file("/etc/sudoers", "root ALL=(ALL) ALL\n"), "could not become root"},
		{"rule for another account", nil, file("/etc/sudoers", "%sudo ALL=(www-data) ALL\n"), "could not become root"},
		{"rule of its own", nil, func(h *tasktest.Host) {
			put(h, "/etc/sudoers", "root ALL=(ALL) ALL\n", "root")
			put(h, "/etc/sudoers.d/admin", "admin ALL=(ALL:ALL) NOPASSWD: ALL\n", "root")
		}, ""},
		{"rule in a file that sudo ignores", nil, func(h *tasktest.Host) {
			put(h, "/etc/sudoers", "root ALL=(ALL) ALL\n", "root")
			put(h, "/etc/sudoers.d/admin.conf", "admin ALL=(ALL:ALL) NOPASSWD: ALL\n", "root")
		}, "could not become root"},
		{"an alias", nil, file("/etc/sudoers", "User_Alias ADMINS = admin\nADMINS ALL=(ALL) ALL\n"), ""},
		{"files elsewhere", nil, file("/etc/sudoers", "@include /srv/sudoers\n"), ""},
		{"stop", nil, func(h *tasktest.Host) {
			must(h.SetUnit(ctx, task.UnitRef{Name: "ssh.service"}, task.UnitChange{Action: task.UnitStop}))
		}, "would be stopped"},
		{"restart", nil, func(h *tasktest.Host) {
			must(h.SetUnit(ctx, task.UnitRef{Name: "ssh.service"}, task.UnitChange{Action: task.UnitRestart}))
		}, ""},
		{"disable", nil, func(h *tasktest.Host) {
			off := false
			must(h.SetUnit(ctx, task.UnitRef{Name: "ssh.service"}, task.UnitChange{Enable: &off}))
		}, "no boot would start"},
		{"mask", nil, func(h *tasktest.Host) {
			on := true
			must(h.SetUnit(ctx, task.UnitRef{Name: "ssh.service"}, task.UnitChange{Mask: &on}))
		}, "could not be started any more"},
		{"remove the server", nil, func(h *tasktest.Host) { must(h.RemovePackages(ctx, []string{"openssh-server"}, false)) }, "would be removed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := host()
			if tt.before != nil {
				tt.before(h)
			}
			login := admin
			login.Key = inUse
			before, err := lookfirst.Look(ctx, as{h, login})
			if err != nil {
				t.Fatal(err)
			}
			tt.change(h)
			after, err := lookfirst.Look(ctx, as{h, login})
			if err != nil {
				t.Fatal(err)
			}
			if got := before.Worse(ctx, as{h, login}, after); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := after.Worse(ctx, as{h, login}, before); got != "" {
				t.Errorf("the way back: got %q, want nothing", got)
			}
		})
	}
}

// A guard that names other ways has only those stay open.
func TestDeclaredWays(t *testing.T) {
	ctx := context.Background()
	h := host()
	login := task.Login{User: "admin", PeerAddr: "192.0.2.1", ServerPort: 22, Ways: []task.Way{{User: "root"}}}
	before, err := lookfirst.Look(ctx, as{h, login})
	must(err)
	must(h.DeleteUser(ctx, "admin", false))
	after, err := lookfirst.Look(ctx, as{h, login})
	must(err)
	if got := before.Worse(ctx, as{h, login}, after); got != "" {
		t.Errorf("got %q, want that only root counts", got)
	}
}

func TestFiltered(t *testing.T) {
	login := task.Login{User: "admin", PeerAddr: "192.0.2.1", ServerAddr: "192.0.2.10", ServerPort: 22}
	const est = `{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}`
	port := func(right string) string {
		return `{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":` + right + `}}`
	}
	from := func(right string) string {
		return `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":` + right + `}}`
	}
	const accept, drop = `{"accept":null}`, `{"drop":null}`
	const lo = `{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}}`
	tests := []struct {
		name, policy string
		rules        []string // the expressions of each, joined by commas; behind "c:" in the chain c
		want         string
	}{
		{"empty, open", "accept", nil, ""},
		{"empty, shut", "drop", nil, "its policy is drop"},
		{"established and loopback only", "drop", []string{est + "," + accept, lo + "," + accept}, "its policy is drop"},
		{"the port", "drop", []string{port("22") + "," + accept}, ""},
		{"another port", "drop", []string{port("2222") + "," + accept}, "its policy is drop"},
		{"a set", "drop", []string{port(`{"set":[22,80]}`) + "," + accept}, ""},
		{"a range", "drop", []string{port(`{"range":[20,30]}`) + "," + accept}, ""},
		{"a range that misses", "drop", []string{port(`{"set":[{"range":[23,30]},80]}`) + "," + accept}, "its policy is drop"},
		{"not the port", "drop", []string{strings.Replace(port("22"), "==", "!=", 1) + "," + accept}, "its policy is drop"},
		{"our network", "drop", []string{from(`{"prefix":{"addr":"192.0.2.0","len":24}}`) + "," + accept}, ""},
		{"another network", "drop", []string{from(`{"prefix":{"addr":"198.51.100.0","len":24}}`) + "," + accept}, "its policy is drop"},
		{"a named set", "drop", []string{from(`"@friends"`) + "," + accept}, ""},
		{"a rule against us", "accept", []string{port("22") + "," + drop}, "a rule in the chain f i"},
		{"a rule against another", "accept", []string{from(`"192.0.2.2"`) + "," + port("22") + "," + drop}, ""},
		{"rejected", "accept", []string{`{"counter":{"packets":0,"bytes":0}},` + port("22") + `,{"reject":{"type":"tcp reset"}}`}, "a rule in the chain f i"},
		{"a limit", "drop", []string{`{"limit":{"rate":4}},` + port("22") + "," + accept}, ""},
		{"a limit that drops", "accept", []string{`{"limit":{"rate":4}},` + port("22") + "," + drop}, ""},
		{"what nobody knows", "drop", []string{`{"xt":null},` + accept}, ""},
		{"a verdict map", "drop", []string{`{"vmap":{"key":{"ct":{"key":"state"}}}}`, port("22") + "," + accept}, ""},
		{"a chain that accepts", "drop", []string{`{"jump":{"target":"c"}}`, "c:" + port("22") + "," + accept}, ""},
		{"a chain that does not", "drop", []string{`{"jump":{"target":"c"}}`, "c:" + port("80") + "," + accept}, "its policy is drop"},
		{"a chain that drops", "accept", []string{`{"jump":{"target":"c"}}`, "c:" + drop}, "a rule in the chain f i"},
		{"a chain in circles", "drop", []string{`{"jump":{"target":"c"}}`, `c:{"jump":{"target":"c"}}`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			items := []string{`{"metainfo":{"version":"1.0.6"}}`, `{"table":{"family":"inet","name":"f"}}`,
				fmt.Sprintf(`{"chain":{"family":"inet","table":"f","name":"i","type":"filter","hook":"input","prio":0,"policy":%q}}`, tt.policy),
				`{"chain":{"family":"inet","table":"f","name":"c"}}`}
			for _, r := range tt.rules {
				chain := "i"
				if rest, in := strings.CutPrefix(r, "c:"); in {
					chain, r = "c", rest
				}
				items = append(items, fmt.Sprintf(`{"rule":{"family":"inet","table":"f","chain":%q,"expr":[%s]}}`, chain, r))
			}
			got := lookfirst.Filtered([]byte(`{"nftables":[`+strings.Join(items, ",")+`]}`), login)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := lookfirst.Filtered([]byte("garbage"), login); got != "" {
		t.Errorf("garbage: got %q, want nothing", got)
	}
}
