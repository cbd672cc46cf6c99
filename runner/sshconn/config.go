package sshconn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxConfigSize  = 1 << 20
	maxConfigDepth = 16
)

// ConfigError is a fault in an ssh_config file, or a directive in it that would
// change the route or the identity and is not supported.
type ConfigError struct {
	File    string
	Line    int
	Message string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

// unsupported holds the directives that must not be ignored, with the values
// under which they do nothing.
var unsupported = map[string][]string{
	"addressfamily":           {"any"},
	"bindaddress":             nil,
	"bindinterface":           nil,
	"canonicalizehostname":    {"no", "false"},
	"certificatefile":         {"none"},
	"hostbasedauthentication": {"no", "false"},
	"hostkeyalias":            nil,
	"knownhostscommand":       {"none"},
	"pkcs11provider":          {"none"},
	"proxycommand":            {"none"},
	"pubkeyauthentication":    {"yes", "true", "unbound", "host-bound"},
	"revokedhostkeys":         {"none"},
	"securitykeyprovider":     {"internal"},
}

// settings are what an ssh_config file says about one host. The first value
// found counts; identity files add up.
type settings struct {
	hostName, user, port    string
	identityFiles           []string
	identitiesOnly, jump    string
	userHosts, globalHosts  []string
	identityAgent           string
	places                  map[string]configLine // where each was said
	alias, localUser, asked string
	routed                  bool // the target names its own jump hosts
}

// readSettings reads a file. user is the one that the target asks for, or "".
func readSettings(file, alias, user, localUser string, routed bool) (*settings, error) {
	s := &settings{
		places: map[string]configLine{}, alias: alias, asked: user, localUser: localUser, routed: routed,
	}
	if err := s.readFile(file, true, 0); err != nil {
		return nil, err
	}
	return s, nil
}

// section says what the lines that follow a Host or Match line are for.
type section struct {
	active  bool
	unclear *configLine // a Match that cannot be judged; what matters below it is an error
}

func (s *settings) readFile(file string, active bool, depth int) error {
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxConfigSize {
		err = fmt.Errorf("it has more than %d bytes", maxConfigSize)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return fmt.Errorf("cannot read the SSH configuration %s: %w", file, err)
	}
	return s.read(file, string(text), active, depth)
}

func (s *settings) read(file, text string, active bool, depth int) error {
	now := section{active: active}
	for i, raw := range strings.Split(text, "\n") {
		name, args, err := splitDirective(raw)
		l := configLine{file: file, no: i + 1, name: name, word: strings.ToLower(name), args: args}
		if err != nil {
			return l.fault(err.Error())
		}
		if name == "" {
			continue
		}
		if len(args) == 0 {
			return l.fault(name + " has no value")
		}
		switch l.word {
		case "host":
			now = section{active: active && matchList(l.args, s.alias)}
		case "match":
			now, err = s.match(l, active)
		case "include":
			err = s.include(l, now, depth)
		default:
			err = s.directive(l, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// match judges the criteria from left to right, as OpenSSH does: what stands
// behind one that fails does not count.
func (s *settings) match(l configLine, active bool) (section, error) {
	if !active {
		return section{}, nil
	}
	for args := l.args; len(args) > 0; {
		word, value, inline := strings.Cut(args[0], "=")
		args = args[1:]
		criterion := strings.ToLower(strings.TrimPrefix(word, "!"))
		if criterion == "all" {
			continue
		}
		subject, known := s.subject(criterion)
		if !known {
			return section{active: true, unclear: &l}, nil
		}
		if !inline {
			if len(args) == 0 {
				return section{}, l.fault("Match " + word + " has no value")
			}
			value, args = args[0], args[1:]
		}
		if matchList(strings.Split(value, ","), subject) == strings.HasPrefix(word, "!") {
			return section{}, nil
		}
	}
	return section{active: true}, nil
}

// subject returns what a criterion of Match is compared with.
func (s *settings) subject(criterion string) (string, bool) {
	switch criterion {
	case "host":
		if s.hostName != "" {
			return strings.ReplaceAll(s.hostName, "%h", s.alias), true
		}
		return s.alias, true
	case "originalhost":
		return s.alias, true
	case "user":
		for _, u := range []string{s.asked, s.user} {
			if u != "" {
				return u, true
			}
		}
		return s.localUser, true
	case "localuser":
		return s.localUser, true
	}
	return "", false
}

func (s *settings) include(l configLine, now section, depth int) error {
	if !now.active {
		return nil
	}
	if now.unclear != nil {
		return s.unclear(*now.unclear, l)
	}
	if depth >= maxConfigDepth {
		return l.fault("files include each other too deeply")
	}
	for _, pattern := range l.args {
		path, err := homePath(pattern)
		if err != nil {
			return l.fault(err.Error())
		}
		if !filepath.IsAbs(path) {
			if path, err = homePath("~/.ssh/" + path); err != nil {
				return l.fault(err.Error())
			}
		}
		files, err := filepath.Glob(path)
		if err != nil {
			return l.fault(fmt.Sprintf("cannot use %q: %v", pattern, err))
		}
		for _, file := range files {
			if err := s.readFile(file, true, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *settings) unclear(match, l configLine) error {
	return match.fault(fmt.Sprintf("cannot judge %q, and %s on line %d depends on it",
		"Match "+strings.Join(match.args, " "), l.name, l.no))
}

func (s *settings) directive(l configLine, now section) error {
	if !now.active {
		return nil
	}
	single := map[string]*string{
		"hostname": &s.hostName, "user": &s.user, "port": &s.port, "identitiesonly": &s.identitiesOnly,
		"identityagent": &s.identityAgent, "proxyjump": &s.jump,
	}
	several := map[string]*[]string{
		"identityfile": &s.identityFiles, "userknownhostsfile": &s.userHosts, "globalknownhostsfile": &s.globalHosts,
	}
	harmless, refused := unsupported[l.word]
	if single[l.word] == nil && several[l.word] == nil && !refused {
		return nil
	}
	if now.unclear != nil {
		return s.unclear(*now.unclear, l)
	}
	if _, said := s.places[l.word]; said && l.word != "identityfile" {
		return nil
	}
	if refused {
		return s.refuse(l, harmless)
	}
	s.places[l.word] = l
	if p := several[l.word]; p != nil {
		*p = append(*p, l.args...)
		return nil
	}
	*single[l.word] = l.first()
	return s.checkValue(l)
}

// refuse turns down a directive that would matter. ProxyJump and ProxyCommand
// shut each other out: the first one counts.
func (s *settings) refuse(l configLine, harmless []string) error {
	if l.word == "proxycommand" {
		if s.routed || s.jump != "" {
			return nil
		}
		s.places["proxyjump"] = l
	}
	s.places[l.word] = l
	if slices.Contains(harmless, strings.ToLower(l.first())) {
		return nil
	}
	return l.fault(fmt.Sprintf("%s is not supported, and leaving it out would change how %s is reached", l.name, s.alias))
}

func (s *settings) checkValue(l configLine) error {
	switch l.word {
	case "port":
		if n, err := strconv.Atoi(l.first()); err != nil || n < 1 || n > 65535 {
			return l.fault(fmt.Sprintf("%q is not a port", l.first()))
		}
	case "identitiesonly":
		if !slices.Contains([]string{"yes", "no", "true", "false"}, strings.ToLower(l.first())) {
			return l.fault(fmt.Sprintf("IdentitiesOnly is yes or no, not %q", l.first()))
		}
	}
	return nil
}

func (s *settings) onlyIdentities() bool {
	v := strings.ToLower(s.identitiesOnly)
	return v == "yes" || v == "true"
}

// homePath puts the home directory in place of a leading ~.
func homePath(path string) (string, error) {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		if strings.HasPrefix(path, "~") {
			return "", fmt.Errorf("cannot use %q: only one's own home directory is supported", path)
		}
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot use %q: %w", path, err)
	}
	return filepath.Join(home, strings.TrimPrefix(path, "~")), nil
}

// userConfig returns the path of the configuration to read, or "".
func userConfig(asked string) (string, error) {
	switch asked {
	case "none":
		return "", nil
	case "":
		path, err := homePath("~/.ssh/config")
		if err != nil {
			return "", nil // who has no home directory has no configuration in it
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return path, nil
	}
	return homePath(asked)
}
