package inventory

import (
	"fmt"
	"strings"

	"holdfast/playbooks/source"
)

// LimitFile stands where a file's name would in faults of patterns.
const LimitFile = "-l"

// Select returns the hosts that patterns choose, in the order of the inventory. The
// patterns of one text are separated by commas, and several texts count as one:
//
//	web1            a host
//	db[01:03]       hosts of a range
//	web*, e?        hosts and groups of a glob
//	eu              the hosts of a group
//	all             every host
//	host.labels.role == "gateway"   an expression: anything with blanks, quotes or operators
//	&PATTERN        of those, only what the pattern chooses too
//	!PATTERN        but not what the pattern chooses
//
// No pattern, or none without & and !, starts from every host. A pattern that matches
// nothing is a fault, and so is a choice that leaves no host.
func (inv *Inventory) Select(limits []string, sel Selector) ([]*Host, source.Faults) {
	s := &selection{inv: inv, sel: sel, chosen: make([]bool, len(inv.Hosts))}
	var only, but [][]int
	some := false
	for _, p := range patterns(limits) {
		switch {
		case p[0] == '&':
			only = append(only, s.match(strings.TrimSpace(p[1:])))
		case p[0] == '!' && !isExpression(strings.TrimSpace(p[1:])):
			but = append(but, s.match(strings.TrimSpace(p[1:])))
		default:
			some = true
			s.mark(s.match(p), true)
		}
	}
	if !some {
		for i := range s.chosen {
			s.chosen[i] = true
		}
	}
	for _, hosts := range only {
		s.keep(hosts)
	}
	for _, hosts := range but {
		s.mark(hosts, false)
	}
	out := s.hosts()
	if len(out) == 0 && len(s.faults) == 0 && len(inv.Hosts) > 0 {
		s.fault("", "no host is left by %q", strings.Join(limits, ","))
	}
	return out, s.faults
}

// patterns returns the patterns of all texts, without blanks around them.
func patterns(limits []string) []string {
	var out []string
	for _, text := range limits {
		for _, p := range splitOutside(text) {
			if p = strings.TrimSpace(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// splitOutside splits at the commas that stand outside quotes and brackets.
func splitOutside(text string) []string {
	var out []string
	var quote byte
	depth, start := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth = max(0, depth-1)
		case c == ',' && depth == 0:
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	return append(out, text[start:])
}

// isExpression tells an expression from a name: names have none of these.
func isExpression(p string) bool {
	return strings.ContainsAny(p, " \t\n=<>()\"'|&+{}") || strings.Contains(p, "!=")
}

type selection struct {
	inv    *Inventory
	sel    Selector
	chosen []bool
	faults source.Faults
}

func (s *selection) fault(hint, format string, args ...any) {
	s.faults.Add(&source.Fault{Pos: source.Pos{File: LimitFile}, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (s *selection) mark(hosts []int, chosen bool) {
	for _, i := range hosts {
		s.chosen[i] = chosen
	}
}

func (s *selection) keep(hosts []int) {
	keep := make([]bool, len(s.chosen))
	for _, i := range hosts {
		keep[i] = s.chosen[i]
	}
	s.chosen = keep
}

func (s *selection) hosts() []*Host {
	var out []*Host
	for i, chosen := range s.chosen {
		if chosen {
			out = append(out, s.inv.Hosts[i])
		}
	}
	return out
}

// match returns the indexes of the hosts that one pattern chooses, without & or !.
func (s *selection) match(p string) []int {
	switch {
	case p == "":
		s.fault("write !name or &group", "a pattern is missing after ! or &")
		return nil
	case isExpression(p):
		return s.expression(p)
	case p == "all":
		return s.where(func(*Host) bool { return true })
	case isGlob(p):
		return s.glob(p)
	case s.inv.groups[p] != nil:
		out := s.members(p)
		if len(out) == 0 {
			s.fault("", "the group %q has no hosts", p)
		}
		return out
	}
	if h := s.inv.hosts[p]; h != nil {
		return []int{h.index}
	}
	names, err := expand(p)
	if err != nil {
		s.fault("", "%v", err)
		return nil
	}
	var out []int
	for _, name := range names {
		h := s.inv.hosts[name]
		if h == nil {
			known := append(s.inv.hostNames(), s.inv.groupNames()...)
			s.fault(source.DidYouMean(name, known), "no host or group is named %q", name)
			return out
		}
		out = append(out, h.index)
	}
	return out
}

func (s *selection) where(yes func(*Host) bool) []int {
	var out []int
	for i, h := range s.inv.Hosts {
		if yes(h) {
			out = append(out, i)
		}
	}
	return out
}

func (s *selection) members(group string) []int {
	var out []int
	for _, h := range s.inv.Members(group) {
		out = append(out, h.index)
	}
	return out
}

func (s *selection) glob(p string) []int {
	out := s.where(func(h *Host) bool { return glob(p, h.Name) })
	for _, g := range s.inv.Groups {
		if glob(p, g.Name) {
			out = append(out, s.members(g.Name)...)
		}
	}
	if len(out) == 0 {
		s.fault("", "no host or group matches %q", p)
	}
	return out
}

func (s *selection) expression(expr string) []int {
	if s.sel == nil {
		s.fault("", "expressions such as %q cannot be used here", expr)
		return nil
	}
	pos := source.Pos{File: LimitFile}
	var out []int
	for i, h := range s.inv.Hosts {
		yes, f := s.sel(expr, pos, h)
		if f != nil {
			s.faults.Add(f)
			return nil
		}
		if yes {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		s.fault("", "the expression %q is true for no host", expr)
	}
	return out
}
