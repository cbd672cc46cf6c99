package ufw

import (
	"regexp"
	"slices"
	"strings"
)

// settings are what ufw's two files of settings say.
type settings struct {
	Enabled  bool
	IPv6     bool
	Incoming string // allow, deny or reject
	Outgoing string
	Routed   string
	Logging  string
}

// policies are how a default is spelt in the playbook and in the file.
var policies = [][2]string{{"allow", "ACCEPT"}, {"deny", "DROP"}, {"reject", "REJECT"}}

// parseSettings reads ufw.conf and the file of defaults. Both are shell, of which
// ufw too knows assignments only.
func parseSettings(conf, defaults []byte) settings {
	value := func(data []byte, name string) string {
		m := assignment(name).FindSubmatch(data)
		if m == nil {
			return ""
		}
		return strings.Trim(strings.TrimSpace(string(m[1])), `"'`)
	}
	policy := func(chain, otherwise string) string {
		for _, p := range policies {
			if strings.EqualFold(value(defaults, "DEFAULT_"+chain+"_POLICY"), p[1]) {
				return p[0]
			}
		}
		return otherwise
	}
	s := settings{
		Enabled:  strings.EqualFold(value(conf, "ENABLED"), "yes"),
		IPv6:     strings.EqualFold(value(defaults, "IPV6"), "yes"),
		Incoming: policy("INPUT", "deny"), Outgoing: policy("OUTPUT", "allow"), Routed: policy("FORWARD", "deny"),
		Logging: strings.ToLower(value(conf, "LOGLEVEL")),
	}
	if !slices.Contains(levels, s.Logging) {
		s.Logging = "low" // what ufw takes it for, and writes when it starts
	}
	return s
}

func assignment(name string) *regexp.Regexp { return regexp.MustCompile(`(?m)^` + name + `=(.*)$`) }

// assign sets a value in the text of a file of settings.
func assign(data []byte, name, value string) []byte {
	rule := assignment(name)
	if rule.Match(data) {
		return rule.ReplaceAllLiteral(data, []byte(name+"="+value))
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(slices.Clone(data), '\n')
	}
	return append(slices.Clone(data), name+"="+value+"\n"...)
}

// write brings the texts of both files in line with the settings, from what they
// were.
func (s settings) write(was settings, conf, defaults []byte) (newConf, newDefaults []byte) {
	if s.Enabled != was.Enabled {
		conf = assign(conf, "ENABLED", map[bool]string{true: "yes", false: "no"}[s.Enabled])
	}
	if s.Logging != was.Logging {
		conf = assign(conf, "LOGLEVEL", s.Logging)
	}
	for _, p := range []struct{ chain, was, is string }{
		{"INPUT", was.Incoming, s.Incoming}, {"OUTPUT", was.Outgoing, s.Outgoing}, {"FORWARD", was.Routed, s.Routed},
	} {
		if p.is == p.was {
			continue
		}
		i := slices.IndexFunc(policies, func(v [2]string) bool { return v[0] == p.is })
		defaults = assign(defaults, "DEFAULT_"+p.chain+"_POLICY", `"`+policies[i][1]+`"`)
	}
	return conf, defaults
}
