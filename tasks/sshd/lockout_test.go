package sshd_test

import (
	"strings"
	"testing"

	"holdfast/tasks/sshd"
	"holdfast/tasks/task"
)

// TestLockout follows sshd_config(5), entry by entry.
func TestLockout(t *testing.T) {
	tests := []struct {
		name    string
		set     map[string][]string
		user    string
		keyType string
		want    string // the beginning of the answer
	}{
		{name: "nothing is set", set: nil},
		{name: "AllowUsers with us", set: one("allowusers", "bob admin")},
		{name: "AllowUsers without us", set: one("allowusers", "bob alice"), want: "AllowUsers bob alice"},
		{name: "AllowUsers with wildcards", set: one("allowusers", "adm?n")},
		{name: "AllowUsers for all", set: one("allowusers", "*")},
		{name: "AllowUsers is case sensitive", set: one("allowusers", "Admin"), want: "AllowUsers"},
		{name: "AllowUsers from our address", set: one("allowusers", "admin@192.0.2.1")},
		{name: "AllowUsers from our network", set: one("allowusers", "admin@192.0.2.0/24")},
		{name: "AllowUsers from a pattern", set: one("allowusers", "admin@192.0.2.*")},
		{name: "AllowUsers from elsewhere", set: one("allowusers", "admin@198.51.100.0/24"), want: "AllowUsers"},
		{name: "AllowUsers from a name, which is never looked up", set: one("allowusers", "admin@bastion"), want: "AllowUsers"},
		{name: "AllowUsers from a name, which is looked up", set: map[string][]string{"allowusers": {"admin@bastion"}, "usedns": {"yes"}}},
		{name: "AllowUsers from a list with an exception", set: one("allowusers", "admin@192.0.2.0/24,!192.0.2.1"), want: "AllowUsers"},
		{name: "AllowUsers knows no negation of names", set: one("allowusers", "!bob"), want: "AllowUsers"},
		{name: "DenyUsers with us", set: one("denyusers", "admin"), want: "DenyUsers admin: it names admin"},
		{name: "DenyUsers from elsewhere", set: one("denyusers", "admin@198.51.100.1")},
		{name: "DenyUsers from a name", set: map[string][]string{"denyusers": {"admin@bastion"}, "usedns": {"yes"}}},
		{name: "DenyUsers is stronger", set: map[string][]string{"denyusers": {"a*"}, "allowusers": {"admin"}}, want: "DenyUsers"},
		{name: "AllowGroups with one of ours", set: one("allowgroups", "wheel sudo")},
		{name: "AllowGroups with none of ours", set: one("allowgroups", "wheel"), want: "AllowGroups wheel"},
		{name: "AllowUsers does not help against AllowGroups", set: map[string][]string{"allowusers": {"admin"}, "allowgroups": {"wheel"}}, want: "AllowGroups"},
		{name: "DenyGroups", set: one("denygroups", "su*"), want: "DenyGroups"},
		{name: "root and the default", user: "root"},
		{name: "root and no", user: "root", set: one("permitrootlogin", "no"), want: "PermitRootLogin no"},
		{name: "root with a key", user: "root", set: one("permitrootlogin", "Prohibit-Password")},
		{name: "root with the old word", user: "root", set: one("permitrootlogin", "without-password")},
		{name: "root with commands", user: "root", set: one("permitrootlogin", "forced-commands-only"), want: "PermitRootLogin"},
		{name: "others do not care", set: one("permitrootlogin", "no")},
		{name: "no keys", set: one("pubkeyauthentication", "no"), want: "PubkeyAuthentication no"},
		{name: "a key is enough", set: one("authenticationmethods", "publickey")},
		{name: "any method", set: one("authenticationmethods", "any")},
		{name: "two keys", set: one("authenticationmethods", "publickey,publickey")},
		{name: "a key and a password", set: one("authenticationmethods", "publickey,password"), want: "AuthenticationMethods"},
		{name: "a key, or a key and a password", set: one("authenticationmethods", "publickey,password publickey")},
		{name: "keyboard-interactive alone", set: one("authenticationmethods", "keyboard-interactive:pam"), want: "AuthenticationMethods"},
		{name: "no file of keys", set: one("authorizedkeysfile", "none"), want: "AuthorizedKeysFile"},
		{name: "a command for keys", set: map[string][]string{"authorizedkeysfile": {"none"}, "authorizedkeyscommand": {"/bin/keys"}}},
		{name: "certificates", set: map[string][]string{"authorizedkeysfile": {"none"}, "trustedusercakeys": {"/etc/ssh/ca"}}},
		{name: "algorithms with ours", set: one("pubkeyacceptedalgorithms", "ssh-ed25519,rsa-sha2-512"), keyType: "ssh-ed25519"},
		{name: "algorithms without ours", set: one("pubkeyacceptedalgorithms", "rsa-sha2-512"), keyType: "ssh-ed25519", want: "PubkeyAcceptedAlgorithms"},
		{name: "RSA signs with SHA-2", set: one("pubkeyacceptedalgorithms", "rsa-sha2-256"), keyType: "ssh-rsa"},
		{name: "RSA and nothing for it", set: one("pubkeyacceptedalgorithms", "ssh-ed25519"), keyType: "ssh-rsa", want: "PubkeyAcceptedAlgorithms"},
		{name: "algorithms by pattern", set: one("pubkeyacceptedalgorithms", "ssh-*"), keyType: "ssh-ed25519"},
		{name: "more algorithms", set: one("pubkeyacceptedalgorithms", "+ssh-rsa"), keyType: "ssh-ed25519"},
		{name: "preferred algorithms", set: one("pubkeyacceptedalgorithms", "^rsa-sha2-512"), keyType: "ssh-ed25519"},
		{name: "fewer algorithms", set: one("pubkeyacceptedalgorithms", "-ssh-ed*"), keyType: "ssh-ed25519", want: "PubkeyAcceptedAlgorithms"},
		{name: "fewer, but not ours", set: one("pubkeyacceptedalgorithms", "-ecdsa-*"), keyType: "ssh-ed25519"},
		{name: "DSA is not accepted by itself", keyType: "ssh-dss", want: "PubkeyAcceptedAlgorithms"},
		{name: "a key that nobody knows", set: one("pubkeyacceptedalgorithms", "rsa-sha2-512")},
		{name: "no sessions", set: one("maxsessions", "0"), want: "MaxSessions 0"},
		{name: "one session", set: one("maxsessions", "1")},
		{name: "a forced command", set: one("forcecommand", "internal-sftp"), want: "ForceCommand"},
		{name: "no forced command", set: one("forcecommand", "none")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			login := task.Login{User: "admin", PeerAddr: "192.0.2.1", ServerAddr: "192.0.2.10", ServerPort: 22}
			if tt.user != "" {
				login.User = tt.user
			}
			groups := []string{"admin", "sudo"}
			got := sshd.Lockout(sshd.Params{}, tt.set, login, groups, tt.keyType)
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want it to begin with %q", got, tt.want)
			}
			if got := sshd.Lockout(sshd.Params{AllowLockout: true}, tt.set, login, groups, tt.keyType); got != "" {
				t.Errorf("with allow_lockout: got %q, want nothing", got)
			}
		})
	}
}

func one(key, args string) map[string][]string { return map[string][]string{key: strings.Fields(args)} }

func TestLockoutNamesTheCulprit(t *testing.T) {
	login := task.Login{User: "admin", PeerAddr: "192.0.2.1"}
	set := map[string][]string{"pubkeyauthentication": {"no"}}
	for want, p := range map[string]sshd.Params{
		"(what the server's files say already)": {},
		"(settings.pubkeyauthentication)":       {Settings: map[string]string{"pubkeyauthentication": "no"}},
		"(settings.DSAAuthentication)":          {Settings: map[string]string{"DSAAuthentication": "no"}},
	} {
		if got := sshd.Lockout(p, set, login, nil, ""); !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want it to end with %q", got, want)
		}
	}
}
