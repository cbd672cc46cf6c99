package sshconn_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"testing"

	"holdfast/runner/sshconn"
)

// withConfig makes a home directory with a configuration.
func withConfig(t *testing.T, text string) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	write(t, home+"/.ssh/config", strings.ReplaceAll(text, "HOME", home))
	return home
}

func facts(t *testing.T, target sshconn.Target) []string {
	t.Helper()
	text, err := sshconn.ResolveForTest(target)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func expectFacts(t *testing.T, target sshconn.Target, want ...string) {
	t.Helper()
	got := facts(t, target)
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s: no %q in\n  %s", target.Name, w, strings.Join(got, "\n  "))
		}
	}
}

const sample = `# a comment
Include HOME/.ssh/extra/*.conf
Host web1 web1.*   # patterns
    HostName 10.0.0.5
    User=deploy
	Port = 2222
    IdentityFile "~/.ssh/with blank"
    IdentityFile %d/%u-%r-%h-%p
    IdentitiesOnly yes
    StrictHostKeyChecking no

Host *.internal !db.internal
    HostName %h.example.org
    ProxyJump ops@bastion:2200,second

host BASTION bastion
    HostName 192.0.2.1
    ProxyJump outer

Host db?
    ProxyCommand none
    UserKnownHostsFile ~/kh1 ~/kh2
    GlobalKnownHostsFile none

Match host 10.0.0.5 user deploy
    IdentityFile ~/.ssh/matched

Match !originalhost web1 originalhost *.late
    Port 77

Host *
    User everyone
    Port 22
    ProxyCommand none
    ServerAliveInterval 5
`

func TestConfigSubset(t *testing.T) {
	home := withConfig(t, sample)
	write(t, home+"/.ssh/extra/1.conf", "Host inc\n  User included\nHost other\n  User wrong\n")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	expectFacts(t, sshconn.Target{Name: "web1"},
		"host 10.0.0.5", "users [deploy]", "ports [2222]", "only true", "key "+home+"/.ssh/with blank",
		"key "+home+"/"+me.Username+"-deploy-10.0.0.5-2222", "key "+home+"/.ssh/matched",
		"known ["+home+"/.ssh/known_hosts /etc/ssh/ssh_known_hosts]")
	expectFacts(t, sshconn.Target{Name: "n7.internal"},
		"host n7.internal.example.org", "users [everyone]", "hop [everyone]@outer:[22]", "hop [ops]@192.0.2.1:[2200]",
		"hop [everyone]@second:[22]")
	expectFacts(t, sshconn.Target{Name: "db.internal"}, "host db.internal", "ports [22]")
	expectFacts(t, sshconn.Target{Name: "db1"}, "known ["+home+"/kh1 "+home+"/kh2]", "users [everyone]")
	expectFacts(t, sshconn.Target{Name: "x.late"}, "ports [77]")
	expectFacts(t, sshconn.Target{Name: "inc"}, "users [included]")
}

func TestTargetComesBeforeTheFile(t *testing.T) {
	home := withConfig(t, sample)
	expectFacts(t, sshconn.Target{
		Name: "w", Address: "web1", Users: []string{"a", "b"}, Ports: []int{222, 22}, Keys: []string{"~/mine"}, KnownHosts: []string{"~/k"},
	}, "host 10.0.0.5", "users [a b]", "ports [222 22]", "key "+home+"/mine", "known ["+home+"/k]")
	got := facts(t, sshconn.Target{Name: "n7.internal", Jump: []sshconn.Target{}})
	if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "hop") }) {
		t.Errorf("an empty list of jump hosts: got %v", got)
	}
	got = facts(t, sshconn.Target{Name: "web1", SSHConfig: "none"})
	if !slices.Contains(got, "host web1") {
		t.Errorf("no file: got %v", got)
	}
}

func TestConfigAgent(t *testing.T) {
	withConfig(t, "Host a\n IdentityAgent ~/sock\nHost b\n IdentityAgent none\nHost c\n IdentityAgent SSH_AUTH_SOCK\n")
	for name, want := range map[string]string{"a": "agent " + os.Getenv("HOME") + "/sock", "b": "agent ", "c": "agent /run/agent", "d": "agent /run/agent"} {
		expectFacts(t, sshconn.Target{Name: name, Agent: true}, want)
	}
	expectFacts(t, sshconn.Target{Name: "a"}, "agent ")
}

func TestConfigRefusals(t *testing.T) {
	cases := []struct {
		name, text string
		line       int
		says       string
	}{
		{"ProxyCommand", "Host *\n\n  ProxyCommand nc %h %p\n", 3, "ProxyCommand is not supported"},
		{"CertificateFile", "CertificateFile x\n", 1, "CertificateFile is not supported"},
		{"HostKeyAlias", "Host x\n HostKeyAlias y\n", 2, "HostKeyAlias"},
		{"Match exec", "Match exec \"true\"\n  User root\n", 1, "User on line 2 depends on it"},
		{"negated Match exec", "Match host x !exec true\n  IdentityFile k\n", 1, "depends on it"},
		{"Match final", "Match final\n  ProxyJump b\n", 1, "depends on it"},
		{"Match with a bare criterion", "Match host\n", 1, "has no value"},
		{"CanonicalizeHostname", "CanonicalizeHostname yes\n", 1, "CanonicalizeHostname"},
		{"BindAddress", "bindaddress 10.0.0.1\n", 1, "bindaddress"},
		{"a port that is none", "Port ssh\n", 1, `"ssh" is not a port`},
		{"an open quote", "User \"x\n", 1, "quote"},
		{"no value", "User\n", 1, "has no value"},
		{"no keyword", " = x\n", 1, "keyword"},
		{"a variable", "IdentityFile ${HOME}/k\n", 1, "environment"},
		{"an unknown token", "IdentityFile ~/%C\n", 1, "%C"},
		{"a user token in the host", "HostName %r.example.org\n", 1, "%r"},
		{"somebody else's home", "IdentityFile ~root/k\n", 1, "~root"},
		{"a jump host that is none", "ProxyJump a@:22\n", 1, "jump host"},
		{"IdentitiesOnly maybe", "IdentitiesOnly maybe\n", 1, "maybe"},
	}
	for _, tc := range cases {
		home := withConfig(t, tc.text)
		_, err := sshconn.ResolveForTest(sshconn.Target{Name: "x"})
		var fault *sshconn.ConfigError
		if !errors.As(err, &fault) {
			t.Errorf("%s: got %v, want a ConfigError", tc.name, err)
			continue
		}
		if fault.File != home+"/.ssh/config" || fault.Line != tc.line || !strings.Contains(fault.Message, tc.says) {
			t.Errorf("%s: got %v, want line %d and %q", tc.name, err, tc.line, tc.says)
		}
	}
}

func TestConfigRefusesOnlyWhatMatters(t *testing.T) {
	cases := map[string]string{
		"a block for another host":         "Host y\n ProxyCommand nc\n",
		"a value that does nothing":        "ProxyCommand none\nCertificateFile none\nAddressFamily any\n",
		"a value overruled before":         "ProxyCommand none\nHost *\n ProxyCommand nc\n",
		"a ProxyJump before":               "Host x\n ProxyJump b\n ProxyCommand nc\n",
		"a Match that fails earlier":       "Match host y exec true\n User root\n",
		"a Match with nothing of interest": "Match exec true\n SetEnv A=b\n",
		"an Include without files":         "Include nothing/*\n",
		"an Include in another block":      "Host y\n Include config\n",
		"Windows line ends":                "Host *\r\n  User x\r\n",
	}
	for name, text := range cases {
		withConfig(t, text)
		if _, err := sshconn.ResolveForTest(sshconn.Target{Name: "x"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigFaultInAnIncludedFile(t *testing.T) {
	home := withConfig(t, "Host x\n  Include more\n")
	write(t, home+"/.ssh/more", "User a\n\nProxyCommand nc\n")
	_, err := sshconn.ResolveForTest(sshconn.Target{Name: "x"})
	if err == nil || !strings.HasPrefix(err.Error(), home+"/.ssh/more:3: ") {
		t.Errorf("got %v, want the place in the included file", err)
	}
	write(t, home+"/.ssh/more", "Include more\n")
	if _, err := sshconn.ResolveForTest(sshconn.Target{Name: "x"}); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("a file that includes itself: got %v", err)
	}
	write(t, home+"/.ssh/config", "ProxyJump x\n")
	if _, err := sshconn.ResolveForTest(sshconn.Target{Name: "x"}); err == nil || !strings.Contains(err.Error(), "jump hosts follow each other") {
		t.Errorf("a jump host that is its own: got %v", err)
	}
}

// TestConfigAgreesWithSSH asks OpenSSH itself what a configuration means.
func TestConfigAgreesWithSSH(t *testing.T) {
	home := withConfig(t, sample+"\n"+`Host quoted "in quotes" back\ slash
  User 'single "inside"'
Host a,b
  User comma
Host tab	sep
  User tabbed
Match host tab,10.* originalhost w*
  IdentityFile late
Match all
  User nobody-gets-this
`)
	write(t, home+"/.ssh/extra/1.conf", "Host inc\n  User included\n")
	for _, name := range []string{"web1", "web1.x", "db1", "db12", "x.late", "inc", "quoted", "tab", "sep", "a", "plain", "bastion", "BASTION"} {
		// OpenSSH takes the home directory from the account, not from HOME.
		out, err := exec.Command("ssh", "-G", "-F", home+"/.ssh/config", name).Output()
		if err != nil {
			t.Fatalf("ssh -G %s: %v\n%s", name, err, stderr(err))
		}
		said := map[string]string{}
		for _, line := range strings.Split(string(out), "\n") {
			word, value, _ := strings.Cut(line, " ")
			said[word] = value
		}
		want := []string{
			"host " + said["hostname"], "users [" + said["user"] + "]", "ports [" + said["port"] + "]",
			fmt.Sprintf("only %v", said["identitiesonly"] == "yes"),
		}
		expectFacts(t, sshconn.Target{Name: name}, want...)
	}
}

func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

func TestParseHop(t *testing.T) {
	cases := map[string]string{
		"bastion": "[]@bastion:[]", "ops@bastion:222": "[ops]@bastion:[222]", "ssh://ops@bastion:222/": "[ops]@bastion:[222]",
		"[::1]:22": "[]@::1:[22]", "::1": "[]@::1:[]", "[::1]": "[]@::1:[]", "a@b@host": "[a@b]@host:[]",
	}
	for text, want := range cases {
		hop, err := sshconn.ParseHop(text)
		if got := fmt.Sprintf("%v@%s:%v", hop.Users, hop.Address, hop.Ports); err != nil || got != want {
			t.Errorf("ParseHop(%q): got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "@host", "u@", "host:", "host:0", "host:99999", "host:x", "[::1"} {
		if hop, err := sshconn.ParseHop(text); err == nil {
			t.Errorf("ParseHop(%q): got %+v, want an error", text, hop)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(sample, "web1")
	f.Add("Match host a exec x\nUser b\n", "a")
	f.Add("Host \"a b\" 'c\\'d'\nUser=\\\\x # y\n", "a b")
	f.Fuzz(func(t *testing.T, text, alias string) {
		var fault *sshconn.ConfigError
		err := sshconn.ReadConfigForTest(text, alias)
		if err == nil {
			return
		}
		if lines := strings.Count(text, "\n") + 1; !errors.As(err, &fault) || fault.Line < 1 || fault.Line > lines {
			t.Errorf("got %v, want a fault on one of %d lines", err, lines)
		}
	})
}
