package sshd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// Lockout says why the account that is logged in could not log in again with a key
// under the effective settings, or "" when nothing is certain to keep it out.
// Effective has the keywords in small letters, as the server would have them for
// this connection; what is missing has sshd's default. Groups are all groups of
// the account. KeyType is the type of its key, as authorized_keys has it, or "" when
// nobody knows. Whether anything listens on the port is not asked.
func Lockout(p Params, effective map[string][]string, login task.Login, groups []string, keyType string) string {
	if p.AllowLockout {
		return ""
	}
	j := judge{p: p, set: effective, login: login}
	for _, why := range []string{j.users(), j.groups(groups), j.root(), j.methods(), j.keys(keyType), j.sessions()} {
		if why != "" {
			return why
		}
	}
	return ""
}

type judge struct {
	p     Params
	set   map[string][]string
	login task.Login
}

// value returns the first argument of a keyword in small letters.
func (j judge) value(key, otherwise string) string {
	if args := j.set[key]; len(args) > 0 {
		return strings.ToLower(args[0])
	}
	return otherwise
}

// because names the setting, and whose it is.
func (j judge) because(name, format string, args ...any) string {
	where := "what the server's files say already"
	for given := range j.p.Settings {
		if keyword(given) == keyword(name) {
			where = "settings." + given
		}
	}
	return fmt.Sprintf("%s %s: %s (%s)", name, strings.Join(j.set[keyword(name)], " "), fmt.Sprintf(format, args...), where)
}

// users judges DenyUsers and AllowUsers. An entry with a ! is taken as it is: in
// these lists sshd knows no negation of names.
func (j judge) users() string {
	dns := j.value("usedns", "no") == "yes"
	best := func(patterns []string) answer {
		out := no
		for _, p := range patterns {
			out = max(out, userPattern(p, j.login, dns))
		}
		return out
	}
	if best(j.set["denyusers"]) == yes {
		return j.because("DenyUsers", "it names %s", j.login.User)
	}
	if list := j.set["allowusers"]; len(list) > 0 && best(list) == no {
		return j.because("AllowUsers", "it does not name %s from %s", j.login.User, j.login.PeerAddr)
	}
	return ""
}

func (j judge) groups(groups []string) string {
	match := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			return slices.ContainsFunc(groups, func(g string) bool { return wildcard(p, g) })
		})
	}
	if match(j.set["denygroups"]) {
		return j.because("DenyGroups", "%s is in one of them", j.login.User)
	}
	if list := j.set["allowgroups"]; len(list) > 0 && !match(list) {
		return j.because("AllowGroups", "%s is in none of them", j.login.User)
	}
	return ""
}

func (j judge) root() string {
	if j.login.User != "root" {
		return ""
	}
	switch j.value("permitrootlogin", "prohibit-password") {
	case "no":
		return j.because("PermitRootLogin", "root is who is logged in")
	case "forced-commands-only":
		return j.because("PermitRootLogin", "root is who is logged in, and needs commands of its own")
	}
	return ""
}

// methods judges how one may authenticate. Whoever is logged in has a key; nothing
// else can be typed in by a program.
func (j judge) methods() string {
	if j.value("pubkeyauthentication", "yes") == "no" {
		return j.because("PubkeyAuthentication", "there would be no login with a key")
	}
	lists := j.set["authenticationmethods"]
	for _, list := range lists {
		plain := true
		for m := range strings.SplitSeq(strings.ToLower(list), ",") {
			plain = plain && (m == "publickey" || m == "any")
		}
		if plain {
			return ""
		}
	}
	if len(lists) > 0 {
		return j.because("AuthenticationMethods", "no list of them is content with a key")
	}
	return ""
}

func (j judge) keys(keyType string) string {
	if files := j.set["authorizedkeysfile"]; len(files) == 1 && strings.EqualFold(files[0], "none") &&
		j.value("authorizedkeyscommand", "none") == "none" && j.value("trustedusercakeys", "none") == "none" {
		return j.because("AuthorizedKeysFile", "no key would be known")
	}
	if keyType == "" || accepted(keyType, j.value("pubkeyacceptedalgorithms", "")) {
		return ""
	}
	return j.because("PubkeyAcceptedAlgorithms", "keys of the type %s would not be accepted", keyType)
}

// signatures returns the algorithms with which a type of key signs.
func signatures(keyType string) []string {
	switch keyType {
	case "ssh-rsa":
		return []string{"rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"}
	case "sk-ecdsa-sha2-nistp256@openssh.com":
		return []string{keyType, "webauthn-sk-ecdsa-sha2-nistp256@openssh.com"}
	}
	return []string{keyType}
}

// accepted reports whether a list of algorithms lets a type of key through. A list
// with + or ^ adds to sshd's own, one with - takes away from it.
func accepted(keyType, list string) bool {
	own := func(algorithm string) bool { return algorithm != "ssh-rsa" && algorithm != "ssh-dss" }
	mode := byte(0)
	if list != "" && strings.IndexByte("+-^", list[0]) >= 0 {
		mode, list = list[0], list[1:]
	}
	return slices.ContainsFunc(signatures(keyType), func(a string) bool {
		named := patternList(a, list) == yes
		switch {
		case mode == '-':
			return own(a) && !named
		case mode != 0 || list == "":
			return own(a) || named
		}
		return named
	})
}

func (j judge) sessions() string {
	if n, err := strconv.Atoi(j.value("maxsessions", "10")); err == nil && n < 1 {
		return j.because("MaxSessions", "a login could not run anything")
	}
	if j.value("forcecommand", "none") != "none" {
		return j.because("ForceCommand", "a login could not run anything else")
	}
	return ""
}
