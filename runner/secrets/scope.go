package secrets

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// The kinds of a [Scope].
const (
	KindFleet = "fleet"
	KindGroup = "group"
	KindHost  = "host"
)

// Scope says for which hosts a stored secret is.
type Scope struct {
	Kind string // KindFleet, KindGroup or KindHost
	Name string // of the group or host
}

// Fleet is the scope of every host.
var Fleet = Scope{Kind: KindFleet}

// ParseScope reads fleet, group:NAME or host:NAME.
func ParseScope(s string) (Scope, error) {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case s == KindFleet:
		return Fleet, nil
	case !named || kind != KindGroup && kind != KindHost:
		return Scope{}, &Fault{Message: fmt.Sprintf("%q is no scope", s), Hint: "a scope is fleet, group:NAME or host:NAME"}
	}
	return Scope{kind, name}, ensureName(kind, name)
}

// String returns the scope as [ParseScope] reads it.
func (s Scope) String() string {
	if s.Kind == KindFleet {
		return KindFleet
	}
	return s.Kind + ":" + s.Name
}

// folder returns where the scope's secrets are, below the store.
func (s Scope) folder() string {
	switch s.Kind {
	case KindGroup:
		return path.Join("groups", s.Name)
	case KindHost:
		return path.Join("hosts", s.Name)
	}
	return "fleet"
}

// scopeOf is the inverse of folder; ok is false for a folder that is none of ours.
func scopeOf(folder string) (s Scope, ok bool) {
	top, name, _ := strings.Cut(folder, "/")
	switch {
	case folder == "fleet":
		return Fleet, true
	case top == "groups" && isName(name):
		return Scope{KindGroup, name}, true
	case top == "hosts" && isName(name):
		return Scope{KindHost, name}, true
	}
	return Scope{}, false
}

// Ref names one stored secret.
type Ref struct {
	Name  string
	Scope Scope
}

// String returns the name with its scope, for people.
func (r Ref) String() string { return r.Name + " (" + r.Scope.String() + ")" }

// file returns the path of the encrypted secret below the store, note that of what
// everybody may know of it.
func (r Ref) file() string { return path.Join(r.Scope.folder(), r.Name+sealedExt) }
func (r Ref) note() string { return path.Join(r.Scope.folder(), r.Name+noteExt) }

func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Scope.Kind, b.Scope.Kind), cmp.Compare(a.Scope.Name, b.Scope.Name))
}

// names are those of secrets and of the folders of scopes: no dot in front, no
// slash and no colon, so that a name is one step of a path and has no provider.
var names = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

func isName(s string) bool { return names.MatchString(s) }

// ensureName faults what cannot be the name of a secret, group or host in the store.
func ensureName(what, s string) error {
	if isName(s) {
		return nil
	}
	return &Fault{Message: fmt.Sprintf("%q cannot be the name of a %s here", s, what),
		Hint: "a name has letters, digits, '_', '-' and '.', begins with a letter, a digit or '_', and has at most 128 of them"}
}
