// Package ufw is the module that manages the Uncomplicated Firewall.
package ufw

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Enabled      *bool     `yaml:"enabled" doc:"Whether the firewall is up, now and after a boot."`
	Default      *Defaults `yaml:"default" doc:"What happens to packets that no rule is about."`
	Logging      *string   `yaml:"logging" doc:"How much is logged." validate:"oneof=off low medium high full"`
	Rule         *string   `yaml:"rule" doc:"What one rule does; limit allows, but not six times in 30 seconds." validate:"oneof=allow deny reject limit"`
	State        string    `yaml:"state" default:"present" doc:"Whether that rule is there." validate:"oneof=present absent"`
	Port         *string   `yaml:"port" doc:"Port of this host: 22, a range 8000:8010, or a list 80,443; every port when absent." validate:"requires=rule"`
	Proto        string    `yaml:"proto" default:"any" doc:"Protocol; lists and ranges of ports need tcp or udp." validate:"oneof=any tcp udp esp ah gre"`
	From         *string   `yaml:"from" doc:"Address or network of the sender; any when absent." validate:"requires=rule"`
	To           *string   `yaml:"to" doc:"Address or network of the receiver; any when absent." validate:"requires=rule"`
	Interface    *string   `yaml:"interface" doc:"Network interface that the packets come in by, or go out by." validate:"requires=rule"`
	Direction    string    `yaml:"direction" default:"in" doc:"Whether the rule is about packets that come in or go out." validate:"oneof=in out"`
	Comment      *string   `yaml:"comment" doc:"A remark that ufw shows with the rule; left alone when absent." validate:"requires=rule"`
	First        bool      `yaml:"first" default:"false" doc:"A rule that is not there yet goes before all others, not behind them." validate:"requires=rule"`
	AllowLockout bool      `yaml:"allow_lockout" default:"false" doc:"Do it even where the connection in use could certainly not be made again."`
}

// Defaults are the policies for packets that no rule is about.
type Defaults struct {
	Incoming *string `yaml:"incoming" doc:"For connections to this host." validate:"oneof=allow deny reject"`
	Outgoing *string `yaml:"outgoing" doc:"For connections from this host." validate:"oneof=allow deny reject"`
	Routed   *string `yaml:"routed" doc:"For what only passes through." validate:"oneof=allow deny reject"`
}

// State is what the host has.
type State struct {
	Enabled  bool   `yaml:"enabled" json:"enabled" doc:"Whether the firewall is meant to be up."`
	Running  bool   `yaml:"running" json:"running" doc:"Whether its unit is active."`
	Incoming string `yaml:"incoming" json:"incoming" doc:"The default for connections to this host."`
	Outgoing string `yaml:"outgoing" json:"outgoing" doc:"The default for connections from this host."`
	Routed   string `yaml:"routed" json:"routed" doc:"The default for what passes through."`
	Logging  string `yaml:"logging" json:"logging" doc:"How much is logged."`
	Rules    int64  `yaml:"rules" json:"rules" doc:"How many rules there are, IPv4 and IPv6 counted each."`
	// Old is kept where only a command can take the change back.
	Old map[string]string `yaml:"-" json:"old,omitempty"`

	look *look `yaml:"-"`
}

//go:embed doc.md
var doc string

// Module manages ufw: one rule, or its defaults, or whether it is up.
var Module = task.New(task.Def[Params, State]{
	Name: "ufw", Doc: doc, Risk: task.Connectivity, Validate: validate, Resource: resource,
	Observe: observe, Diff: diff, Apply: apply, Undo: undo,
})

// resource names the rule, so that each has a name of its own.
func resource(p Params) string {
	if p.Rule == nil {
		return "firewall"
	}
	four, six, err := wanted(p)
	switch {
	case err != nil:
		return "firewall" // validate says what is wrong
	case four != nil:
		return four.String()
	}
	return six.String()
}

// interfaceRule is ufw's own, narrower than the kernel's.
var interfaceRule = regexp.MustCompile(`^[a-zA-Z0-9_.+,=%@-]{1,15}$`)

func validate(p Params) error {
	if p.Rule == nil {
		if p.State == "absent" || p.Proto != "any" || p.Direction != "in" {
			return task.FieldErrorf("rule", "the fields describe a rule: say what it does")
		}
		if p.Enabled == nil && p.Logging == nil && (p.Default == nil || *p.Default == Defaults{}) {
			return task.FieldErrorf("rule", "there is nothing to do: give rule, enabled, default or logging")
		}
		return nil
	}
	if p.Interface != nil && (!interfaceRule.MatchString(*p.Interface) || *p.Interface == "." || *p.Interface == "..") {
		return task.FieldErrorf("interface", "%q is no name for an interface that ufw would take", *p.Interface)
	}
	if p.Comment != nil && strings.ContainsFunc(*p.Comment, unicode.IsControl) {
		return task.FieldErrorf("comment", "it must be one line without control characters")
	}
	if p.Port != nil {
		list, err := ports(*p.Port)
		if err != nil {
			return task.FieldErrorf("port", "%s", err)
		}
		if strings.ContainsAny(list, ",:") && p.Proto != "tcp" && p.Proto != "udp" {
			return task.FieldErrorf("proto", "%s are several ports: say tcp or udp", list)
		}
		if p.Proto != "any" && p.Proto != "tcp" && p.Proto != "udp" {
			return task.FieldErrorf("port", "%s has no ports", p.Proto)
		}
	}
	_, _, err := wanted(p)
	return err
}

// wanted returns the rule for each family; nil where its addresses are of the other.
func wanted(p Params) (four, six *Rule, err error) {
	r := Rule{Action: *p.Rule, Proto: p.Proto, Port: "any", SrcPort: "any", Iface: p.Direction}
	if p.Port != nil {
		if r.Port, err = ports(*p.Port); err != nil {
			return nil, nil, err
		}
	}
	if p.Interface != nil {
		r.Iface += "_" + *p.Interface
	}
	if p.Comment != nil {
		r.Comment = *p.Comment
	}
	with4, with6 := true, true
	for _, end := range []struct {
		field string
		given *string
		put   *string
	}{{"from", p.From, &r.From}, {"to", p.To, &r.To}} {
		if end.given == nil || *end.given == "any" || *end.given == anywhere4 || *end.given == anywhere6 {
			if end.given != nil {
				with4, with6 = with4 && *end.given != anywhere6, with6 && *end.given != anywhere4
			}
			continue
		}
		text, is6, err := address(*end.given)
		if err != nil {
			return nil, nil, task.FieldErrorf(end.field, "%s", err)
		}
		*end.put, with4, with6 = text, with4 && !is6, with6 && is6
	}
	if !with4 && !with6 {
		return nil, nil, task.FieldErrorf("to", "one end is IPv4 and the other IPv6")
	}
	if with4 {
		four = r.anywhere(anywhere4)
	}
	if with6 {
		six = r.anywhere(anywhere6)
	}
	return four, six, nil
}

// anywhere fills in the ends that are not given.
func (r Rule) anywhere(all string) *Rule {
	for _, end := range []*string{&r.From, &r.To} {
		if *end == "" {
			*end = all
		}
	}
	return &r
}

func diff(p Params, s State) []task.Change {
	out := slices.Clone(s.look.rules)
	set := func(attr, before, after string) {
		if before != after {
			out = append(out, task.Set(attr, before, after))
		}
	}
	now, next := s.look.now, s.look.next
	set("default.incoming", now.Incoming, next.Incoming)
	set("default.outgoing", now.Outgoing, next.Outgoing)
	set("default.routed", now.Routed, next.Routed)
	set("logging", now.Logging, next.Logging)
	set("enabled", fmt.Sprint(now.Enabled), fmt.Sprint(next.Enabled))
	if s.look.exists && now.Enabled && next.Enabled && p.Enabled != nil && (!s.Running || !s.look.starts) {
		set("enabled", up(s.Running, s.look.starts), up(true, true))
	}
	return out
}

// up describes the unit of an enabled firewall.
func up(running, starts bool) string {
	text := "true"
	if !running {
		text += ", not running"
	}
	if !starts {
		text += ", not after a boot"
	}
	return text
}
