package inventory

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast/playbooks/source"
)

// join makes the path of a key below another path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// isMap reports whether there are keys to read. Nothing at all is fine and has none.
func (r *reader) isMap(n *source.Node, path, hint string) bool {
	if n.IsNull() {
		return false
	}
	if n.Kind != source.Map {
		r.fault(n.Pos, path, hint, "want a mapping, got %s", n.Kind)
		return false
	}
	return true
}

// list returns the items of a list of texts, each with its place.
func (r *reader) list(n *source.Node, path string) []*source.Node {
	if n.IsNull() {
		return nil
	}
	if n.Kind != source.List {
		hint := ""
		if n.Kind == source.Scalar {
			hint = "write [" + n.Text + "]"
		}
		r.fault(n.Pos, path, hint, "want a list, got %s", n.Kind)
		return nil
	}
	out := make([]*source.Node, 0, len(n.Items))
	for i, item := range n.Items {
		if _, ok := r.text(item, index(path, i)); ok {
			out = append(out, item)
		}
	}
	return out
}

// text returns a scalar's text, which must not be empty.
func (r *reader) text(n *source.Node, path string) (string, bool) {
	switch {
	case n.Kind != source.Scalar:
		r.fault(n.Pos, path, "", "want text, got %s", n.Kind)
	case n.Type == source.Null || strings.TrimSpace(n.Text) == "":
		r.fault(n.Pos, path, "", "a value is missing")
	default:
		return n.Text, true
	}
	return "", false
}

// unknown reports a key that is none of the known ones.
func (r *reader) unknown(key *source.Node, path string, known []string) {
	hint := source.DidYouMean(key.Text, known)
	if hint == "" {
		hint = "the keys here are " + strings.Join(known, ", ")
	}
	r.fault(key.Pos, join(path, key.Text), hint, "unknown key")
}

// sameValue reports whether two values were written alike.
func sameValue(a, b *source.Node) bool {
	if a.Kind != b.Kind || a.Type != b.Type || a.Text != b.Text {
		return false
	}
	sameEntry := func(x, y source.Entry) bool { return x.Key.Text == y.Key.Text && sameValue(x.Value, y.Value) }
	return slices.EqualFunc(a.Items, b.Items, sameValue) && slices.EqualFunc(a.Entries, b.Entries, sameEntry)
}

// isIdentifier reports whether a name can be used in expressions as it is.
func isIdentifier(s string) bool {
	for i, c := range s {
		if !isWord(c) || c == '-' || c == '.' || i == 0 && c >= '0' && c <= '9' {
			return false
		}
	}
	return s != ""
}

func isWord(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// isName reports whether a host or group may have this name. Names become parts of
// paths and of patterns, hence the short list of characters.
func isName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '-' || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool { return !isWord(c) })
}

func isHostName(s string) bool {
	if isName(s) {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil && !strings.Contains(s, "%")
}

// isAddress accepts what can be connected to: a name or an IP address, the latter
// with a zone if need be.
func isAddress(s string) bool {
	if isName(s) {
		return true
	}
	addr, err := netip.ParseAddr(s)
	return err == nil && isName("z"+addr.Zone())
}

// isUser reports whether a text can be a login name; it must never be taken for an
// option or for a part of an address.
func isUser(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsAny(s, " \t\n\r@:/\x00'\"")
}

func parsePort(s string) (int, bool) {
	port, err := strconv.Atoi(s)
	return port, err == nil && port >= 1 && port <= 65535 && s[0] != '+'
}
