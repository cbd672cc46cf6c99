package sshd_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"holdfast/tasks/sshd"
	"holdfast/tasks/task"
	"holdfast/tasks/tasktest"
)

const (
	mainFile = "/etc/ssh/sshd_config"
	dropin   = "/etc/ssh/sshd_config.d/00-holdfast.conf"
	override = "/etc/systemd/system/ssh.socket.d/00-holdfast.conf"
)

func TestConforms(t *testing.T) { tasktest.Suite(t, sshd.Module) }

func apply(t *testing.T, h *tasktest.Host, args string) string {
	t.Helper()
	if _, err := tasktest.Apply(t, h, sshd.Module, args); err != nil {
		return err.Error()
	}
	return ""
}

// move applies arguments on a host where the server has opened the port by the time
// that somebody looks.
func move(t *testing.T, h *tasktest.Host, args string, port int64) {
	t.Helper()
	h.AddListener(task.Listener{Proto: "tcp", Address: "0.0.0.0", Port: port})
	h.SetFacts(func(f *task.Facts) { f.Login.ServerPort = port })
	if got := apply(t, h, args); got != "" {
		t.Fatal(got)
	}
}

func units(h *tasktest.Host) []string {
	var out []string
	for _, c := range h.Writes() {
		switch args := c.Args.(type) {
		case task.UnitChange:
			out = append(out, string(args.Action)+" "+c.Subject)
		case string:
			if c.Method == "reload units of" {
				out = append(out, "reload units")
			}
		}
	}
	return out
}

func TestContent(t *testing.T) {
	h := tasktest.NewHost()
	if got := apply(t, h, "{port: 22, settings: {PermitRootLogin: prohibit-password, AllowUsers: root admin, HostKey: \"/a\\n\\n /b \\n\"}}"); got != "" {
		t.Fatal(got)
	}
	want := "# Managed by Holdfast: changes are lost with the next run.\nPort 22\nAllowUsers root admin\nHostKey /a\nHostKey /b\nPermitRootLogin prohibit-password\n"
	if got, _ := h.File(dropin); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	info, err := h.Stat(t.Context(), dropin)
	if err != nil || info.Mode != 0o600 || info.Owner != "root" {
		t.Errorf("got %+v (%v), want 0600 of root", info, err)
	}
}

func TestSettingsAreReadByAReload(t *testing.T) {
	h := tasktest.NewHost()
	if got := apply(t, h, "{settings: {MaxAuthTries: 3}}"); got != "" {
		t.Fatal(got)
	}
	if got, want := units(h), []string{"reload ssh.service"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAServerThatDoesNotRunIsLeftAlone(t *testing.T) {
	h := tasktest.NewHost()
	h.AddUnit(task.UnitRef{Name: "ssh.service"}, task.Unit{Exists: true, Enabled: "disabled", Active: "inactive"})
	if got := apply(t, h, "{port: 222, settings: {MaxAuthTries: 3}}"); got != "" {
		t.Fatal(got)
	}
	if got := units(h); len(got) > 0 {
		t.Errorf("got %q, want no unit touched", got)
	}
}

func TestPortOfAService(t *testing.T) {
	h := tasktest.NewHost()
	move(t, h, "{port: 222}", 222)
	if got, want := units(h), []string{"restart ssh.service"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, there := h.File(override); there {
		t.Errorf("got an override of the socket, %q, want none", got)
	}
}

func socket(h *tasktest.Host) {
	h.AddUnit(task.UnitRef{Name: "ssh.socket"}, task.Unit{Exists: true, Enabled: "enabled", Active: "active", Sub: "running"})
	h.AddDir("/proc/sys/net/ipv6", 0o755)
}

func TestPortOfASocketWithAGenerator(t *testing.T) {
	h := tasktest.NewHost()
	socket(h)
	h.AddFile("/usr/lib/systemd/system-generators/sshd-socket-generator", "ELF", 0o755)
	h.AddLink("/etc/systemd/system/ssh.service.requires/ssh.socket", "/usr/lib/systemd/system/ssh.socket")
	move(t, h, "{port: 222}", 222)
	if got, want := units(h), []string{"reload units", "restart ssh.socket"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, there := h.File(override); there {
		t.Error("got an override of the socket, want none: the generator makes one")
	}
}

func TestPortOfASocketWithAnOverride(t *testing.T) {
	h := tasktest.NewHost()
	socket(h)
	h.AddFile("/lib/systemd/system/ssh.service", "[Unit]\nRequires=ssh.socket\n", 0o644)
	move(t, h, "{port: 222}", 222)
	want := "[Socket]\nListenStream=\nListenStream=0.0.0.0:222\nListenStream=[::]:222\nBindIPv6Only=ipv6-only\n"
	if got, _ := h.File(override); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := units(h), []string{"reload units", "restart ssh.socket"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	h.Forget()
	if got := apply(t, h, "{state: absent}"); got != "" {
		t.Fatal(got)
	}
	for _, name := range []string{override, dropin} {
		if _, there := h.File(name); there {
			t.Errorf("%s is left", name)
		}
	}
}

func TestPortOfALooseSocket(t *testing.T) {
	h := tasktest.NewHost()
	socket(h)
	move(t, h, "{port: 222}", 222)
	want := []string{"stop ssh.service", "stop ssh.socket", "start ssh.service", "stop ssh.service", "reload units", "start ssh.socket"}
	if got := units(h); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOtherPortLinesBecomeComments(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile(mainFile, "Port 22\nInclude sshd_config.d/*.conf\nUsePAM yes\nport=2222\n#Port 1\n", 0o640)
	move(t, h, "{port: 222}", 222)
	want := "# moved by Holdfast: Port 22\nInclude sshd_config.d/*.conf\nUsePAM yes\n# moved by Holdfast: port=2222\n#Port 1\n"
	if got, _ := h.File(mainFile); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if info, err := h.Stat(t.Context(), mainFile); err != nil || info.Mode != 0o640 {
		t.Errorf("got %+v (%v), want its mode as it was", info, err)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, main, args, want string
		prepare                func(*tasktest.Host)
	}{
		{name: "no Include", main: "UsePAM yes\n", args: "{settings: {MaxAuthTries: 3}}", want: `add the line "Include /etc/ssh/sshd_config.d/*.conf" at its top`},
		{name: "Include in a Match block", main: "Match User x\nInclude sshd_config.d/*.conf\n", args: "{settings: {MaxAuthTries: 3}}", want: "does not include"},
		{name: "another line first", main: "MaxAuthTries 6\nInclude sshd_config.d/*.conf\n", args: "{settings: {MaxAuthTries: 3}}", want: `/etc/ssh/sshd_config line 1 says "6" before`},
		{name: "the same line first", main: "MaxAuthTries 3\nUsePAM yes\nInclude sshd_config.d/*.conf\n", args: "{settings: {MaxAuthTries: 3}}"},
		{name: "another line in a Match block", main: "UsePAM yes\nInclude sshd_config.d/*.conf\nMatch User x\nMaxAuthTries 6\n", args: "{settings: {MaxAuthTries: 3}}"},
		{name: "an address with a port", main: "Include sshd_config.d/*.conf\nListenAddress [::]:22\n", args: "{port: 222}", want: "by the ListenAddress lines the server would listen on 22"},
		{name: "a port that is taken", args: "{port: 323}", want: "something else listens on port 323",
			prepare: func(h *tasktest.Host) { h.AddListener(task.Listener{Proto: "tcp", Port: 323}) }},
		{name: "a lock-out", args: "{settings: {AllowUsers: admin}}", want: "refused: root could not log in again: AllowUsers admin"},
		{name: "a lock-out that is wanted", args: "{settings: {AllowUsers: admin}, allow_lockout: true}"},
		{name: "nobody logged in by SSH", args: "{settings: {AllowUsers: admin}}",
			prepare: func(h *tasktest.Host) { h.SetFacts(func(f *task.Facts) { f.Login = task.Login{User: "root"} }) }},
		{name: "a Match block saves us", main: "Include sshd_config.d/*.conf\nUsePAM yes\nMatch Address 192.0.2.0/24\nPermitRootLogin yes\n", args: `{settings: {PermitRootLogin: "no"}}`},
		{name: "a Match block that may save us", main: "Include sshd_config.d/*.conf\nUsePAM yes\nMatch Host bastion\nPermitRootLogin yes\n", args: `{settings: {PermitRootLogin: "no"}}`},
		{name: "a Match block for others", main: "Include sshd_config.d/*.conf\nUsePAM yes\nMatch Address 192.0.2.0/24,!192.0.2.1\nPermitRootLogin yes\n",
			args: `{settings: {PermitRootLogin: "no"}}`, want: "PermitRootLogin no"},
		{name: "a Match block against us", main: "Include sshd_config.d/*.conf\nUsePAM yes\nMatch User=root LocalPort 22\nForceCommand /bin/false\n", args: "{settings: {MaxAuthTries: 3}}", want: "ForceCommand"},
		{name: "all users allowed together", main: "Include sshd_config.d/*.conf\nUsePAM yes\nAllowUsers root\n", args: "{settings: {AllowUsers: admin}}"},
		{name: "no PAM and a locked password", args: `{settings: {UsePAM: "no"}}`, want: "without UsePAM",
			prepare: func(h *tasktest.Host) { h.AddUser(task.User{Name: "root", Group: "root", Home: "/root", Locked: true}) }},
		{name: "no PAM and no password", args: `{settings: {UsePAM: "no"}}`},
		{name: "keys that are not accepted", args: "{settings: {PubkeyAcceptedAlgorithms: rsa-sha2-512}}", want: "ssh-ed25519",
			prepare: func(h *tasktest.Host) {
				h.AddFile("/root/.ssh/authorized_keys", "# x\nfrom=\"*\" ssh-ed25519 AAAA me\n", 0o600)
			}},
		{name: "one of the keys is accepted", args: "{settings: {PubkeyAcceptedAlgorithms: rsa-sha2-512}}",
			prepare: func(h *tasktest.Host) {
				h.AddFile("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA me\nssh-rsa AAAA me\n", 0o600)
			}},
		{name: "no server", args: "{settings: {MaxAuthTries: 3}}", want: "is openssh-server installed?",
			prepare: func(h *tasktest.Host) { _ = h.Remove(t.Context(), mainFile); h.Forget() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tasktest.NewHost()
			if tt.main != "" {
				h.AddFile(mainFile, tt.main, 0o644)
			}
			if tt.prepare != nil {
				tt.prepare(h)
			}
			got := apply(t, h, tt.args)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want != "" && len(h.Writes()) > 0 {
				t.Errorf("refused and wrote all the same: %v", h.Writes())
			}
		})
	}
}

func TestAFailureLeavesTheServerAsItWas(t *testing.T) {
	h := tasktest.NewHost()
	h.AddFile(mainFile, "Port 22\nInclude sshd_config.d/*.conf\nUsePAM yes\n", 0o644)
	h.AddFile(dropin, "MaxAuthTries 2\n", 0o644)
	refused := errors.New("bad option")
	h.OnValidate = func(f task.FileWrite) error {
		if f.Path == mainFile {
			return refused
		}
		return nil
	}
	if got := apply(t, h, "{port: 222, settings: {MaxAuthTries: 3}}"); !strings.Contains(got, "bad option") {
		t.Errorf("got %q, want the refusal", got)
	}
	if got, _ := h.File(dropin); got != "MaxAuthTries 2\n" {
		t.Errorf("got %q, want the old file", got)
	}
	if got := units(h); len(got) > 0 {
		t.Errorf("got %q, want no unit touched", got)
	}
}

func TestFaults(t *testing.T) {
	for args, want := range map[string]string{
		"{}":                                      "there is nothing to do",
		"{port: 0}":                               "0 is less than 1",
		"{port: 70000}":                           "70000 is more than 65535",
		"{dropin: 00-a.conf, port: 22}":           "without .conf",
		"{dropin: ../a, port: 22}":                "is no name for a file",
		"{state: absent, port: 22}":               "has neither port nor settings",
		"{settings: {Port: 22}}":                  "write port: 22",
		"{settings: {Match: User x}}":             "module file",
		"{settings: {include: x}}":                "module file",
		"{settings: {'Permit Root': x}}":          "is no keyword",
		"{settings: {Banner: ''}}":                "has no value",
		"{settings: {Banner: '\"/etc/issue'}}":    "a quotation mark is not closed",
		"{settings: {Banner: \"a\\u0007\"}}":      "control character",
		"{settings: {UsePAM: yes, usepam: 'no'}}": "are one keyword",
		"{settings: {PubkeyAcceptedKeyTypes: a, PubkeyAcceptedAlgorithms: b}}": "are one keyword",
	} {
		if got := tasktest.Fault(sshd.Module, args); !strings.Contains(got, want) {
			t.Errorf("fault of %s: got %q, want %q", args, got, want)
		}
	}
}

func TestWhatTheServerDoesNotKnowIsLeftOut(t *testing.T) {
	const program = "/usr/sbin/sshd"
	for _, c := range []struct{ name, program, args, want, fault string }{
		{"keywords, whatever their case", "x\x00requiredrsasize\x00", "{settings: {-RequiredRSASize: 3072, -PerSourcePenalties: \"no\"}}", "RequiredRSASize 3072\n", ""},
		{"algorithms", "\x00mlkem\x00curve\x00", "{settings: {-KexAlgorithms: \"mlkem, sntrup,curve\"}}", "KexAlgorithms mlkem,curve\n", ""},
		{"part of a longer name is not known", "\x00curve25519\x00", "{settings: {-KexAlgorithms: \"curve,curve25519\"}}", "KexAlgorithms curve25519\n", ""},
		{"changes and patterns", "\x00curve\x00", "{settings: {-MACs: \"-*sha1*,curve,other\"}}", "MACs -*sha1*,curve\n", ""},
		{"without the mark", "\x00curve\x00", "{settings: {KexAlgorithms: \"mlkem,curve\", -LogLevel: INFO, Port2: \"1\"}}", "KexAlgorithms mlkem,curve\nPort2 1\n", ""},
		{"nothing left", "\x00curve\x00", "{settings: {-Ciphers: \"a,b\"}}", "", "cannot set Ciphers: /usr/sbin/sshd knows none of its algorithms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := tasktest.NewHost()
			h.AddFile(program, c.program, 0o755)
			if got := apply(t, h, c.args); got != c.fault {
				t.Fatalf("got %q, want %q", got, c.fault)
			}
			got, _ := h.File(dropin)
			if _, got, _ = strings.Cut(got, "\n"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := tasktest.Fault(sshd.Module, "{settings: {-Ciphers: a, LogLevel: INFO, -loglevel: INFO}}"); !strings.Contains(got, "are one keyword") {
		t.Errorf("got %q, want that it is one keyword", got)
	}
}
