package helper

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast/runner/host"
	"holdfast/runner/journal"
	"holdfast/runner/wire"
)

// blame tells which runs touched a resource, and what others did to it in between
// and since.
func (s *server) blame(ctx context.Context, m *memory) error {
	want := parseWanted(m.ask.Resource)
	found := map[string][]journal.Receipt{}
	b, err := s.book(func(r journal.Receipt) {
		if name, ok := want.match(r.Resource); ok {
			found[name] = append(found[name], r)
		}
	})
	if err != nil {
		return err
	}
	m.first.Ledger = lookOf(b.audit)
	name, err := want.one(found)
	if err != nil {
		return err
	}
	receipts, expected := chain(name, found[name])
	m.first.Resource = s.present(ctx, name, expected, receipts)
	slices.Reverse(receipts)
	if m.ask.Limit > 0 && len(receipts) > m.ask.Limit {
		receipts = receipts[:m.ask.Limit]
	}
	for _, r := range receipts {
		m.items = append(m.items, r)
	}
	return nil
}

// chain follows the receipts of a resource, oldest first. A run that did not find it
// as the run before left it names what differed. expected is how the last one left it.
func chain(name string, list []journal.Receipt) (out []wire.Receipt, expected string) {
	for _, r := range list {
		out = append(out, wire.Receipt{Time: r.Time, Run: r.Run, Playbook: r.Playbook, Version: r.Version, Controller: r.Controller, User: r.User,
			UndoOf: r.UndoOf, Task: r.Task, Did: r.Did, Before: r.Before, After: r.After, Unfinished: r.Unfinished})
		w := &out[len(out)-1]
		if r.Form < 2 {
			// Words about the task, no fingerprints.
			w.Did, w.Before, w.After, expected = r.After, "", "", ""
			continue
		}
		w.Drift = cut(host.Differs(name, expected, r.Before), maxTitle)
		if w.Drift != "" || expected == "" {
			expected = r.Before
		}
		expected = host.Fold(name, expected, r.After)
		if r.Unfinished || r.After == "" && r.Before != "" {
			expected = "" // how it was left is not known; a mere act, such as a restart, leaves it as it was
		}
	}
	for i := range out {
		clip(&out[i])
	}
	return out, expected
}

// clip holds what came from a file to what an answer may say.
func clip(r *wire.Receipt) {
	for _, s := range []*string{&r.Run, &r.Playbook, &r.Version, &r.Controller, &r.User, &r.UndoOf, &r.Task, &r.Did, &r.Before, &r.After} {
		*s = cut(*s, maxTitle)
	}
}

// present compares a resource with how the last receipt left it.
func (s *server) present(ctx context.Context, name, expected string, receipts []wire.Receipt) *wire.Resource {
	r := &wire.Resource{Name: cut(name, 4096), State: wire.Unknown, Total: len(receipts)}
	now, err := s.machine.Fingerprint(ctx, name, expected, s.store.Mask)
	r.Now = shortPrint(now)
	why := host.Differs(name, expected, r.Now)
	switch {
	case len(receipts) == 0:
		r.Drift = "no run that the ledger knows touched it"
	case err != nil:
		r.Now, r.Drift = "", cut("cannot look at it: "+err.Error(), maxTitle)
	case now == "":
		r.Drift = "it has no state that could be compared"
	case expected == "" && receipts[len(receipts)-1].Unfinished:
		r.Drift = "the last change of it was cut off, and what that left is not known"
	case expected == "":
		r.Drift = "the last receipt does not say how it was left"
	case why != "":
		r.State, r.Drift = wire.Others, cut(why, maxTitle)
	default:
		r.State = wire.Ours
	}
	return r
}

// wanted is the resource that a person named: a path, KIND:NAME, or a name alone.
type wanted struct {
	text, kind, name string
}

func parseWanted(text string) wanted {
	kind, name, ok := strings.Cut(text, ":")
	switch {
	case strings.HasPrefix(text, "/"):
		return wanted{text, "", path.Clean(text)}
	case ok && strings.HasPrefix(name, "/"): // file:/etc/motd, as undo --only takes it
		return wanted{text, "", path.Clean(name)}
	case ok && (kind == "service" || kind == "unit"):
		return wanted{text, "unit", name}
	case ok:
		return wanted{text, kind, name}
	}
	return wanted{text, "", text}
}

func (w wanted) isPath() bool { return strings.HasPrefix(w.name, "/") }

// match reports whether the resource of a receipt is meant, and what it is called.
// Receipts of the first form call a path MODULE:/path.
func (w wanted) match(resource string) (name string, ok bool) {
	kind, rest, _ := strings.Cut(resource, ":")
	switch {
	case w.isPath():
		return w.name, resource == w.name || rest == w.name
	case strings.HasPrefix(resource, "/"), w.kind != "" && kind != w.kind, kind == "run":
		return "", false
	case rest == w.name, kind == "unit" && rest == w.name+".service":
		return resource, true
	case kind == "package" && strings.HasPrefix(rest, w.name+":"): // another architecture's
		return resource, true
	}
	return "", false
}

// one returns the one resource that was found.
func (w wanted) one(found map[string][]journal.Receipt) (string, error) {
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	switch {
	case len(names) == 1:
		return names[0], nil
	case slices.Contains(names, w.kind+":"+w.name):
		return w.kind + ":" + w.name, nil
	case len(names) > 1:
		return "", fmt.Errorf("%q is several things on this host, name one of them: %s", w.text, strings.Join(names, ", "))
	case w.isPath():
		return w.name, nil
	case w.kind == "unit" && !strings.Contains(w.name, "."):
		return "unit:" + w.name + ".service", nil
	case w.kind != "":
		return w.kind + ":" + w.name, nil
	}
	return w.text, nil
}
