package lookfirst

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"holdfast/tasks/task"
)

// nftFile is what nftables.service loads.
const nftFile = "/etc/nftables.conf"

// filtered says why a ruleset would certainly keep a new connection of a login out. The
// kernel reads it in a network namespace of its own, which touches nothing; where that
// cannot be had nothing is certain.
func filtered(ctx context.Context, r task.Reader, rules string, login task.Login) string {
	out, err := r.Query(ctx, task.Command{Argv: []string{"unshare", "--net", "sh", "-c", "nft -f - && nft -j list ruleset"},
		Stdin: []byte(rules), MaxOutput: maxFile})
	if err != nil || out.Status != 0 {
		return ""
	}
	return Filtered([]byte(out.Stdout), login)
}

// Filtered says why a ruleset, as nft -j lists it, would certainly drop a new connection
// like that of a login, or nothing. What it does not understand it takes for open.
func Filtered(ruleset []byte, login task.Login) string {
	peer, err := netip.ParseAddr(login.PeerAddr)
	if err != nil || peer.IsLoopback() {
		return ""
	}
	p := packet{peer: peer.Unmap().WithZone(""), port: login.ServerPort}
	if server, err := netip.ParseAddr(login.ServerAddr); err == nil {
		p.server = server.Unmap().WithZone("")
	}
	t := tables{chains: map[string]*chain{}}
	var list struct {
		Nftables []item `json:"nftables"`
	}
	if json.Unmarshal(ruleset, &list) != nil {
		return ""
	}
	for _, it := range list.Nftables {
		t.add(it)
	}
	for _, c := range t.order {
		if c.Hook != "input" || c.Type != "filter" || !p.of(c.Family) {
			continue
		}
		switch v := t.verdict(c, p, 0); {
		case v == drop && c.Policy == "drop" && !t.said:
			return fmt.Sprintf("the chain %s %s of nftables has no rule that lets %s in on tcp port %d, and its policy is drop", c.Table, c.Name, p.peer, p.port)
		case v == drop:
			return fmt.Sprintf("a rule in the chain %s %s of nftables keeps %s from port %d", c.Table, c.Name, p.peer, p.port)
		case v == unsure:
			return ""
		}
	}
	return ""
}

// packet is the first one of a new connection.
type packet struct {
	peer, server netip.Addr
	port         int64
}

func (p packet) of(family string) bool {
	return family == "inet" || family == "ip" && p.peer.Is4() || family == "ip6" && p.peer.Is6()
}

type item struct {
	Chain *chain `json:"chain"`
	Rule  *struct {
		Family string                       `json:"family"`
		Table  string                       `json:"table"`
		Chain  string                       `json:"chain"`
		Expr   []map[string]json.RawMessage `json:"expr"`
	} `json:"rule"`
}

type chain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Hook   string `json:"hook"`
	Policy string `json:"policy"`
	rules  [][]map[string]json.RawMessage
}

func (c *chain) key(name string) string { return c.Family + " " + c.Table + " " + name }

type tables struct {
	chains map[string]*chain
	order  []*chain
	said   bool // a rule spoke the last verdict, not a policy
}

func (t *tables) add(it item) {
	if c := it.Chain; c != nil {
		t.chains[c.key(c.Name)] = c
		t.order = append(t.order, c)
	}
	if r := it.Rule; r != nil {
		if c := t.chains[r.Family+" "+r.Table+" "+r.Chain]; c != nil {
			c.rules = append(c.rules, r.Expr)
		}
	}
}

// verdict is what becomes of a packet.
type verdict int

const (
	pass verdict = iota // to the rules behind
	accept
	drop
	unsure
)

// maxJumps is what the kernel allows (NFT_JUMP_STACK_SIZE).
const maxJumps = 16

// verdict follows a packet through a chain.
func (t *tables) verdict(c *chain, p packet, depth int) verdict {
	if depth > maxJumps {
		return unsure
	}
	for _, rule := range c.rules {
		if v := t.rule(c, rule, p, depth); v != pass {
			return v
		}
	}
	if t.said = false; c.Policy == "drop" {
		return drop
	}
	if c.Hook != "" {
		return accept
	}
	return pass
}

// rule judges one rule. One whose conditions are not understood may let the packet in,
// and then nothing is certain; one that would only drop it may as well not hold.
func (t *tables) rule(c *chain, exprs []map[string]json.RawMessage, p packet, depth int) verdict {
	holds := yes
	for _, e := range exprs {
		for kind, body := range e {
			switch kind {
			case "match":
				holds = min(holds, match(body, p))
			case "counter", "log", "comment":
			case "limit":
				holds = min(holds, maybe)
			case "accept", "drop", "reject", "jump", "goto", "return":
				if holds == no {
					return pass
				}
				return t.end(c, kind, body, p, depth, holds)
			default:
				holds = min(holds, maybe)
			}
			if holds == no {
				return pass
			}
		}
	}
	return pass
}

// end judges the verdict at the end of a rule.
func (t *tables) end(c *chain, kind string, body json.RawMessage, p packet, depth int, holds answer) verdict {
	switch kind {
	case "accept":
		if holds == maybe {
			return unsure
		}
		return accept
	case "drop", "reject":
		if holds == maybe {
			return pass
		}
		t.said = true
		return drop
	case "jump", "goto":
		var to struct {
			Target string `json:"target"`
		}
		if json.Unmarshal(body, &to) != nil || t.chains[c.key(to.Target)] == nil {
			return unsure
		}
		next := t.chains[c.key(to.Target)]
		v := t.verdict(next, p, depth+1)
		if holds == maybe && v != pass {
			return unsure
		}
		if kind == "goto" && v == pass {
			return unsure
		}
		return v
	}
	return unsure // return: to whoever jumped here
}

// answer is what can be said about a condition.
type answer int

const (
	no answer = iota
	maybe
	yes
)

func match(body json.RawMessage, p packet) answer {
	var m struct {
		Op    string          `json:"op"`
		Left  map[string]any  `json:"left"`
		Right json.RawMessage `json:"right"`
	}
	if json.Unmarshal(body, &m) != nil {
		return maybe
	}
	got := field(m.Left, m.Right, p)
	if m.Op == "!=" {
		return yes - got
	}
	if m.Op != "==" && m.Op != "in" {
		return maybe
	}
	return got
}

// field compares one field of the packet.
func field(left map[string]any, right json.RawMessage, p packet) answer {
	one := func(kind string, names ...string) string {
		m, ok := left[kind].(map[string]any)
		if !ok {
			return ""
		}
		var words []string
		for _, n := range names {
			w, _ := m[n].(string)
			words = append(words, w)
		}
		return strings.Join(words, " ")
	}
	switch one("payload", "protocol", "field") {
	case "tcp dport", "th dport":
		return within(right, func(v any) answer { return portIs(v, p.port) })
	case "udp dport", "udp sport", "icmp type", "icmpv6 type":
		return no
	case "ip saddr", "ip6 saddr":
		return within(right, func(v any) answer { return addressIs(v, p.peer) })
	case "ip daddr", "ip6 daddr":
		return within(right, func(v any) answer { return addressIs(v, p.server) })
	case "ip protocol", "ip6 nexthdr":
		return within(right, func(v any) answer { return wordIs(v, "tcp") })
	}
	switch one("meta", "key") {
	case "iifname", "iif":
		return within(right, func(v any) answer {
			if v == "lo" {
				return no
			}
			return maybe
		})
	case "l4proto":
		return within(right, func(v any) answer { return wordIs(v, "tcp") })
	}
	if one("ct", "key") == "state" {
		return within(right, func(v any) answer { return wordIs(v, "new") })
	}
	return maybe
}

// within compares with a value, or with each of a set or a list.
func within(right json.RawMessage, is func(any) answer) answer {
	var v any
	if json.Unmarshal(right, &v) != nil {
		return maybe
	}
	if m, ok := v.(map[string]any); ok && m["set"] != nil {
		v = m["set"]
	}
	list, ok := v.([]any)
	if !ok {
		return is(v)
	}
	out := no
	for _, item := range list {
		out = max(out, is(item))
	}
	return out
}

func wordIs(v any, want string) answer {
	s, ok := v.(string)
	switch {
	case !ok, strings.HasPrefix(s, "@"):
		return maybe
	case s == want:
		return yes
	}
	return no
}

func portIs(v any, port int64) answer {
	switch v := v.(type) {
	case float64:
		if int64(v) == port {
			return yes
		}
		return no
	case map[string]any:
		ends, ok := v["range"].([]any)
		if ok && len(ends) == 2 {
			low, _ := ends[0].(float64)
			high, _ := ends[1].(float64)
			if int64(low) <= port && port <= int64(high) {
				return yes
			}
			return no
		}
	}
	return maybe
}

func addressIs(v any, a netip.Addr) answer {
	if !a.IsValid() {
		return maybe
	}
	text, ok := v.(string)
	if m, isMap := v.(map[string]any); isMap {
		prefix, _ := m["prefix"].(map[string]any)
		addr, _ := prefix["addr"].(string)
		length, isNumber := prefix["len"].(float64)
		text, ok = fmt.Sprintf("%s/%d", addr, int(length)), isNumber
	}
	if !ok || strings.HasPrefix(text, "@") {
		return maybe
	}
	if net, err := netip.ParsePrefix(text); err == nil {
		return certainly(net.Contains(a))
	}
	if other, err := netip.ParseAddr(text); err == nil {
		return certainly(other == a)
	}
	return maybe
}

func certainly(b bool) answer {
	if b {
		return yes
	}
	return no
}
