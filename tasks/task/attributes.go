package task

import (
	"context"
	"strconv"
)

// Attributes are the mode, owner and group that a playbook asks for; nil leaves one alone.
type Attributes struct {
	Mode         *Mode
	Owner, Group *string
}

// Seen are the attributes that a path has; all are empty when nothing is there.
type Seen struct {
	Mode  string `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner string `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group string `yaml:"group" json:"group" doc:"Group, empty when absent."`
}

// See returns the attributes of a path that was looked at. An owner or a group that is
// asked for by its number is answered by its number.
func (a Attributes) See(ctx context.Context, r Reader, info FileInfo) (s Seen, err error) {
	if !info.Exists() {
		return s, nil
	}
	s.Mode = info.Mode.String()
	if s.Owner, err = OwnerAs(ctx, r, a.Owner, info.Owner); err == nil {
		s.Group, err = GroupAs(ctx, r, a.Group, info.Group)
	}
	return s, err
}

// OwnerAs returns the owner that a path has as the playbook spells it when it means
// the same account by its number.
func OwnerAs(ctx context.Context, r Reader, want *string, have string) (string, error) {
	if want == nil || *want == have {
		return have, nil
	}
	u, err := r.LookupUser(ctx, have)
	if err == nil && u != nil && strconv.FormatInt(u.UID, 10) == *want {
		return *want, nil
	}
	return have, err
}

// GroupAs is OwnerAs for groups.
func GroupAs(ctx context.Context, r Reader, want *string, have string) (string, error) {
	if want == nil || *want == have {
		return have, nil
	}
	g, err := r.LookupGroup(ctx, have)
	if err == nil && g != nil && strconv.FormatInt(g.GID, 10) == *want {
		return *want, nil
	}
	return have, err
}

// Diff returns the attributes that differ.
func (a Attributes) Diff(s Seen) []Change {
	var out []Change
	if a.Mode != nil && a.Mode.String() != s.Mode {
		out = append(out, Set("mode", s.Mode, a.Mode.String()))
	}
	if a.Owner != nil && *a.Owner != s.Owner {
		out = append(out, Set("owner", s.Owner, *a.Owner))
	}
	if a.Group != nil && *a.Group != s.Group {
		out = append(out, Set("group", s.Group, *a.Group))
	}
	return out
}

// Change returns the owner and group to set, "" for one that is as it should be.
func (a Attributes) Change(s Seen) (owner, group string) {
	if a.Owner != nil && *a.Owner != s.Owner {
		owner = *a.Owner
	}
	if a.Group != nil && *a.Group != s.Group {
		group = *a.Group
	}
	return owner, group
}

// Apply sets what differs on a path that is there.
func (a Attributes) Apply(ctx context.Context, w Writer, path string, s Seen) error {
	if owner, group := a.Change(s); owner+group != "" {
		if err := w.SetOwner(ctx, path, owner, group); err != nil {
			return err
		}
	}
	// A new owner clears the set-user-ID bits, so the mode comes last.
	if a.Mode != nil {
		return w.SetMode(ctx, path, *a.Mode)
	}
	return nil
}
