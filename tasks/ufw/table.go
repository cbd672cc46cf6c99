package ufw

import (
	"fmt"
	"slices"
	"strings"
)

// table is the file of rules of one family, user.rules or user6.rules.
type table struct {
	prefix string // ufw or ufw6
	blocks []block
}

// block is a rule with its lines for iptables-restore.
type block struct {
	rule  Rule
	lines []string // the first is the tuple
}

// parseTable reads a file of rules. What belongs to no rule is made anew by
// [table.render], as ufw does.
func parseTable(prefix string, data []byte) *table {
	t := &table{prefix: prefix}
	open := false
	for _, l := range strings.Split(string(data), "\n") {
		r, ok := parseTuple(l)
		switch {
		case ok:
			t.blocks = append(t.blocks, block{rule: r, lines: []string{l}})
			open = true
		case !strings.HasPrefix(l, "-A "):
			open = false
		case open:
			last := &t.blocks[len(t.blocks)-1]
			last.lines = append(last.lines, l)
		}
	}
	return t
}

func (t *table) rules() []Rule {
	var out []Rule
	for _, b := range t.blocks {
		out = append(out, b.rule)
	}
	return out
}

func (t *table) find(r Rule) int {
	return slices.IndexFunc(t.blocks, func(b block) bool { return b.rule.same(r) })
}

// put makes sure that the rule is there. A rule about the same packets is replaced
// where it stands; without a comment it keeps the one it has.
func (t *table) put(r Rule, comment, first bool) (changed bool) {
	i := t.find(r)
	if i >= 0 && !comment {
		r.Comment = t.blocks[i].rule.Comment
	}
	if i >= 0 && t.blocks[i].rule == r {
		return false
	}
	b := block{rule: r, lines: append([]string{r.tuple()}, r.commands(t.prefix)...)}
	switch {
	case i >= 0:
		t.blocks[i] = b
	case first:
		t.blocks = slices.Insert(t.blocks, 0, b)
	default:
		t.blocks = append(t.blocks, b)
	}
	return true
}

// drop removes the rule, whatever its comment.
func (t *table) drop(r Rule) (changed bool) {
	i := t.find(r)
	if i < 0 || t.blocks[i].rule.Action != r.Action {
		return false
	}
	t.blocks = slices.Delete(t.blocks, i, i+1)
	return true
}

var (
	targets = []string{"input", "output", "forward"}
	levels  = []string{"off", "low", "medium", "high", "full"}
)

// render writes the whole file as ufw does, byte for byte.
func (t *table) render(s settings) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("*filter")
	for _, kind := range []string{"user", "before-logging", "user-logging", "after-logging"} {
		for _, target := range targets {
			line(":%s-%s-%s - [0:0]", t.prefix, kind, target)
		}
	}
	for _, chain := range []string{"logging-deny", "logging-allow", "user-limit", "user-limit-accept"} {
		line(":%s-%s - [0:0]", t.prefix, chain)
	}
	line("### RULES ###")
	for _, bl := range t.blocks {
		line("\n%s", strings.Join(bl.lines, "\n"))
	}
	line("\n### END RULES ###\n\n### LOGGING ###")
	for _, l := range t.logging(s) {
		line("%s", l)
	}
	line("### END LOGGING ###\n\n### RATE LIMITING ###")
	if s.Logging != "off" {
		line(`-A %s-user-limit -m limit --limit 3/minute -j LOG --log-prefix "[UFW LIMIT BLOCK] "`, t.prefix)
	}
	line("-A %s-user-limit -j REJECT", t.prefix)
	line("-A %s-user-limit-accept -j ACCEPT", t.prefix)
	line("### END RATE LIMITING ###\nCOMMIT")
	return []byte(b.String())
}

// logging returns the lines that log, by level and by the default policies.
func (t *table) logging(s settings) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	level := slices.Index(levels, s.Logging)
	if level == 0 {
		for _, target := range targets {
			add("-I %s-user-logging-%s -j RETURN", t.prefix, target)
		}
		return out
	}
	const pace = " -m limit --limit 3/min --limit-burst 10"
	limit := ""
	if level < slices.Index(levels, "high") {
		limit = pace
	}
	medium := level >= slices.Index(levels, "medium")
	for i, policy := range []string{s.Incoming, s.Outgoing, s.Routed} {
		if policy != "allow" {
			add(`-A %s-after-logging-%s -j LOG --log-prefix "[UFW BLOCK] "%s`, t.prefix, targets[i], limit)
		} else if medium {
			add(`-A %s-after-logging-%s -j LOG --log-prefix "[UFW ALLOW] "%s`, t.prefix, targets[i], limit)
		}
	}
	if medium {
		add(`-A %s-logging-deny -m conntrack --ctstate INVALID -j LOG --log-prefix "[UFW AUDIT INVALID] "%s`, t.prefix, limit)
	} else {
		add("-I %s-logging-deny -m conntrack --ctstate INVALID -j RETURN%s", t.prefix, limit)
	}
	add(`-A %s-logging-deny -j LOG --log-prefix "[UFW BLOCK] "%s`, t.prefix, limit)
	add(`-A %s-logging-allow -j LOG --log-prefix "[UFW ALLOW] "%s`, t.prefix, limit)
	if !medium {
		return out
	}
	audit := map[string]string{"medium": " -m conntrack --ctstate NEW" + pace, "high": pace}[s.Logging]
	for _, target := range targets {
		add(`-I %s-before-logging-%s -j LOG --log-prefix "[UFW AUDIT] "%s`, t.prefix, target, audit)
	}
	return out
}
