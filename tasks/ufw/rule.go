package ufw

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule is one rule for one family of addresses, as ufw's files have it.
type Rule struct {
	Action  string // allow, deny, reject or limit; route: stands before one for forwarded packets
	Log     string // log, log-all or empty
	Proto   string // tcp, udp, any, or another protocol
	Port    string // of the receiver: a number, a range 1:9, a list with commas, or any
	To      string // address or network of the receiver
	SrcPort string
	From    string // address or network of the sender
	Apps    string // the two application fields, or empty
	Iface   string // in, out, in_eth0, out_eth0, in_eth0!out_eth1
	Comment string
}

const (
	anywhere4 = "0.0.0.0/0"
	anywhere6 = "::/0"
	tupleMark = "### tuple ###"
)

// parseTuple reads the line that ufw writes above the commands of a rule.
func parseTuple(line string) (Rule, bool) {
	rest, ok := strings.CutPrefix(line, tupleMark)
	if !ok {
		return Rule{}, false
	}
	rest, comment, _ := strings.Cut(rest, " comment=")
	f := strings.Fields(rest)
	if len(f) < 6 || len(f) > 9 {
		return Rule{}, false
	}
	r := Rule{Proto: f[1], Port: f[2], To: f[3], SrcPort: f[4], From: f[5], Iface: "in"}
	r.Action, r.Log, _ = strings.Cut(f[0], "_")
	if len(f) >= 8 {
		r.Apps = f[6] + " " + f[7]
	}
	if len(f) == 7 || len(f) == 9 {
		r.Iface = f[len(f)-1]
	}
	if text, err := hex.DecodeString(strings.TrimSpace(comment)); err == nil {
		r.Comment = string(text)
	}
	return r, true
}

// tuple is the opposite of parseTuple.
func (r Rule) tuple() string {
	action := r.Action
	if r.Log != "" {
		action += "_" + r.Log
	}
	fields := []string{tupleMark, action, r.Proto, r.Port, r.To, r.SrcPort, r.From}
	if r.Apps != "" {
		fields = append(fields, r.Apps)
	}
	fields = append(fields, r.Iface)
	if r.Comment != "" {
		fields = append(fields, "comment="+hex.EncodeToString([]byte(r.Comment)))
	}
	return strings.Join(fields, " ")
}

// same reports whether two rules are about the same packets, whatever they do with
// them. ufw keeps at most one of such.
func (r Rule) same(o Rule) bool {
	if r.forwards() != o.forwards() {
		return false
	}
	for _, x := range []*Rule{&r, &o} {
		x.Action, x.Log, x.Comment = "", "", ""
	}
	return r == o
}

// forwards reports whether the rule is about packets that only pass through.
func (r Rule) forwards() bool { return strings.HasPrefix(r.Action, "route:") }

// direction is in or out.
func (r Rule) direction() string {
	dir, _, _ := strings.Cut(r.Iface, "_")
	return dir
}

// String describes the rule in ufw's own words.
func (r Rule) String() string {
	words := []string{r.Action}
	dir, iface, on := strings.Cut(r.Iface, "_")
	if dir == "out" || on {
		words = append(words, dir)
	}
	if on {
		words = append(words, "on "+iface)
	}
	plain := r.From == anywhere4 || r.From == anywhere6
	if plain && (r.To == anywhere4 || r.To == anywhere6) && r.Port != "any" {
		if r.Proto == "any" {
			return strings.Join(append(words, r.Port), " ")
		}
		return strings.Join(append(words, r.Port+"/"+r.Proto), " ")
	}
	words = append(words, "from "+place(r.From), "to "+place(r.To))
	if r.Port != "any" {
		words = append(words, "port "+r.Port)
	}
	if r.Proto != "any" {
		words = append(words, "proto "+r.Proto)
	}
	return strings.Join(words, " ")
}

func place(address string) string {
	if address == anywhere4 || address == anywhere6 {
		return "any"
	}
	return address
}

// commands returns the lines for iptables-restore, as ufw writes them. Of rules
// with a log or applications the file has the lines already.
func (r Rule) commands(prefix string) []string {
	chain := prefix + "-user-input"
	if r.direction() == "out" {
		chain = prefix + "-user-output"
	}
	protos := []string{r.Proto}
	if r.Proto == "any" {
		protos = []string{""}
		if r.Port != "any" {
			protos = []string{"tcp", "udp"}
		}
	}
	var out []string
	for _, proto := range protos {
		match := "-A " + chain + r.match(proto)
		switch r.Action {
		case "allow":
			out = append(out, match+" -j ACCEPT")
		case "reject":
			if proto == "tcp" {
				out = append(out, match+" -j REJECT --reject-with tcp-reset")
			} else {
				out = append(out, match+" -j REJECT")
			}
		case "limit":
			out = append(out, match+" -m conntrack --ctstate NEW -m recent --set",
				match+" -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 -j "+prefix+"-user-limit",
				match+" -j "+prefix+"-user-limit-accept")
		default:
			out = append(out, match+" -j DROP")
		}
	}
	return out
}

// match returns what selects the packets.
func (r Rule) match(proto string) string {
	var b strings.Builder
	add := func(format string, arg string) {
		if arg != "" && arg != "any" {
			fmt.Fprintf(&b, format, arg)
		}
	}
	dir, iface, _ := strings.Cut(r.Iface, "_")
	if dir == "out" {
		add(" -o %s", iface)
	} else {
		add(" -i %s", iface)
	}
	add(" -p %s", proto)
	multi := strings.ContainsAny(r.Port, ",:")
	if multi {
		add(" -m multiport --dports %s", r.Port)
	}
	if r.To != anywhere4 && r.To != anywhere6 {
		add(" -d %s", r.To)
	}
	if !multi {
		add(" --dport %s", r.Port)
	}
	if r.From != anywhere4 && r.From != anywhere6 {
		add(" -s %s", r.From)
	}
	return b.String()
}

// address brings an address or a network into the form that ufw keeps. six says
// which family it has.
func address(text string) (out string, six bool, err error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.String(), a.Is6(), nil
	}
	host, bits, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(host)
	n, nerr := strconv.Atoi(bits)
	if err != nil || nerr != nil || n < 0 || n > a.BitLen() || a.Zone() != "" {
		return "", false, fmt.Errorf("%q is no address and no network: want 192.0.2.1, 192.0.2.0/24, 2001:db8::/32 or any", text)
	}
	switch {
	case n == a.BitLen():
		return a.String(), a.Is6(), nil
	case a.Is4():
		return netip.PrefixFrom(a, n).Masked().String(), false, nil
	}
	return netip.PrefixFrom(a, n).String(), true, nil // ufw keeps the bits behind the mask
}

// ports brings a list of ports into the form that ufw keeps: sorted by number.
func ports(text string) (string, error) {
	parts := strings.Split(text, ",")
	bad := func() (string, error) {
		return "", fmt.Errorf("%q is no port: want a number, a range 8000:8010, or both with commas", text)
	}
	if strings.Count(text, ",")+strings.Count(text, ":") > 14 {
		return "", fmt.Errorf("%q has more than 15 ports, which the kernel does not take", text)
	}
	starts := map[string]int{}
	for i, p := range parts {
		low, high, ranged := strings.Cut(p, ":")
		a, err := strconv.ParseUint(low, 10, 16)
		if err != nil || a == 0 {
			return bad()
		}
		parts[i] = strconv.FormatUint(a, 10)
		if ranged {
			b, err := strconv.ParseUint(high, 10, 16)
			if err != nil || b <= a {
				return bad()
			}
			parts[i] += ":" + strconv.FormatUint(b, 10)
		}
		starts[parts[i]] = int(a)
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Or(starts[a]-starts[b], strings.Compare(a, b)) })
	return strings.Join(parts, ","), nil
}
