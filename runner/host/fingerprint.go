package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

const (
	absentAccount = "absent"
	absentPackage = "absent"
)

// Fold returns the fingerprint of a resource of which first older and then newer was
// recorded: newer counts in all that it says.
func Fold(resource, older, newer string) string {
	kind, _ := splitResource(resource)
	switch {
	case newer == "":
		return older
	case older == "":
		return newer
	case kind == "path":
		return parseImprint(newer).over(parseImprint(older)).String()
	case kind == "unit":
		return parsePairs(newer).over(parsePairs(older)).String()
	}
	return newer
}

// Differs says in words how a fingerprint of a resource differs from the expected
// one, or "". Parts that either of them leaves open are not compared.
func Differs(resource, expected, now string) string {
	if expected == "" || now == "" || expected == now {
		return ""
	}
	switch kind, _ := splitResource(resource); kind {
	case "path":
		e, n := parseImprint(expected), parseImprint(now)
		if strings.HasPrefix(e.content, maskedContent) != strings.HasPrefix(n.content, maskedContent) {
			e.content = ""
		}
		return e.differs(n.over(e))
	case "unit", "user", "group":
		return parsePairs(expected).differs(parsePairs(now))
	case "package":
		return fmt.Sprintf("its version is now %s, not %s", now, expected)
	}
	return fmt.Sprintf("it is now %s, not %s", now, expected)
}

// Fingerprint returns what a resource is like now, in those parts that like has. It
// is "" for what has none, such as a command. mask is for files whose digest like masks.
func (m *Machine) Fingerprint(ctx context.Context, resource, like string, mask func(string) (string, error)) (string, error) {
	kind, name := splitResource(resource)
	r := &reader{m: m}
	switch kind {
	case "path":
		return m.pathPrint(name, parseImprint(like), mask)
	case "package":
		p, err := r.Package(ctx, name)
		if err != nil || !p.Installed {
			return absentPackage, err
		}
		return p.Version, nil
	case "user", "group":
		lines, err := m.accountLines()
		return lines.print(resource), err
	case "sysctl":
		value, _, err := r.KernelParam(ctx, name)
		return value, err
	case "linger":
		on, err := r.Linger(ctx, name)
		return lingerPrint(on), err
	case "unit":
		if like == "" {
			return "", nil
		}
		return r.unitLike(ctx, name, parsePairs(like))
	}
	return "", nil
}

// pathPrint reads a file only when its content was recorded.
func (m *Machine) pathPrint(name string, like imprint, mask func(string) (string, error)) (string, error) {
	w := &writer{reader: reader{m: m}}
	how := plainLook
	if strings.HasPrefix(like.content, treeContent) {
		how = treeLook
	} else if like.content != "" && like.kind == task.KindFile {
		how = contentLook
	}
	now, err := w.present(name, how)
	if err != nil {
		return "", err
	}
	p := now.imprint()
	if strings.HasPrefix(like.content, maskedContent) {
		err = p.mask(mask)
	}
	return p.String(), err
}

func (r *reader) unitLike(ctx context.Context, name string, like pairs) (string, error) {
	ref := task.UnitRef{Name: name}
	if user, unit, ok := strings.Cut(name, "/"); ok {
		ref = task.UnitRef{User: user, Name: unit}
	}
	u, err := r.Unit(ctx, ref)
	if err != nil {
		return "", err
	}
	var c task.UnitChange
	yes := true
	if like.get("enabled") != "" {
		c.Enable = &yes
	}
	if like.get("masked") != "" {
		c.Mask = &yes
	}
	return unitPrint(u, c), nil
}

func lingerPrint(on bool) string { return fmt.Sprintf("linger=%t", on) }

// splitResource returns the kind and the name of a resource as entries have it.
func splitResource(resource string) (kind, name string) {
	if strings.HasPrefix(resource, "/") {
		return "path", resource
	}
	kind, name, _ = strings.Cut(resource, ":")
	return kind, name
}

// print is the fingerprint of an account or a group. Of the password it only says
// whether there is one and on which day it was set, so that nobody can try passwords
// against a ledger.
func (l accountLines) print(resource string) string {
	kind, name := splitResource(resource)
	file := passwdFile
	if kind == "group" {
		file = groupFile
	}
	_, line := l.find(file, name)
	if line == "" {
		return absentAccount
	}
	f := strings.Split(line, ":")
	if g, ok := parseGroup(f); ok && kind == "group" {
		return pairs{{"gid", fmt.Sprint(g.gid)}, {"members", strings.Join(sorted(g.members), ",")}}.String()
	}
	p, ok := parsePasswd(f)
	if !ok || kind == "group" {
		return "damaged"
	}
	password, day := l.password(name)
	return pairs{{"uid", fmt.Sprint(p.uid)}, {"gid", fmt.Sprint(p.gid)}, {"groups", strings.Join(l.groupsOf(name), ",")}, {"home", p.home},
		{"shell", p.shell}, {"comment", p.comment}, {"password", password}, {"set", day}}.String()
}

func (l accountLines) groupsOf(name string) (out []string) {
	for _, line := range l[groupFile] {
		if slices.Contains(membersOf(line), name) {
			out = append(out, keyOf(line))
		}
	}
	return sorted(out)
}

// password returns what may be told of an account's password, and the day of its last change.
func (l accountLines) password(name string) (state, day string) {
	_, line := l.find(shadowFile, name)
	f := strings.Split(line, ":")
	if len(f) < 3 {
		return "", ""
	}
	switch {
	case f[1] == "":
		state = "empty"
	case strings.HasPrefix(f[1], "!"), strings.HasPrefix(f[1], "*"):
		state = "locked"
	default:
		state = "yes"
	}
	return state, f[2]
}

// pairs is a fingerprint made of names and values.
type pairs [][2]string

// inPair keeps the separators of a fingerprint out of its values.
var inPair = strings.NewReplacer(" ", "_", "\t", "_")

func (p pairs) String() string {
	parts := make([]string, len(p))
	for i, kv := range p {
		parts[i] = kv[0] + "=" + inPair.Replace(kv[1])
	}
	return strings.Join(parts, " ")
}

func parsePairs(s string) (p pairs) {
	for _, word := range strings.Fields(s) {
		k, v, _ := strings.Cut(word, "=")
		p = append(p, [2]string{k, v})
	}
	return p
}

func (p pairs) get(name string) string {
	for _, kv := range p {
		if kv[0] == name {
			return kv[1]
		}
	}
	return ""
}

func (p pairs) has(name string) bool {
	return slices.ContainsFunc(p, func(kv [2]string) bool { return kv[0] == name })
}

// over returns p with what it does not name taken from older.
func (p pairs) over(older pairs) pairs {
	out := slices.Clone(p)
	for _, kv := range older {
		if !p.has(kv[0]) {
			out = append(out, kv)
		}
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return out
}

func (p pairs) differs(now pairs) string {
	switch gone, wasGone := now.has(absentAccount), p.has(absentAccount); {
	case gone && wasGone:
		return ""
	case gone:
		return "it is gone"
	case wasGone:
		return "it is there again"
	}
	var out []string
	for _, kv := range p {
		if got := now.get(kv[0]); now.has(kv[0]) && got != kv[1] {
			out = append(out, fmt.Sprintf("%s is now %q, not %q", kv[0], got, kv[1]))
		}
	}
	return strings.Join(out, ", ")
}
