package expr

import (
	"hash/fnv"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
)

// Unknown stands for a value that is not known yet, for instance the result of
// a task that has not run. It may be the value of a name in [Vars] or stand
// anywhere within one, and it is what an evaluation gives whose outcome depends
// on it: false && unknown is false all the same.
type Unknown struct {
	// Reason is what must happen first, such as the name of a task. The reasons
	// of a result are joined with line ends; see [Unknown.Reasons].
	Reason string
}

// Reasons returns every reason once, in order.
func (u Unknown) Reasons() []string {
	out := strings.Split(u.Reason, "\n")
	slices.Sort(out)
	return slices.Compact(out)
}

// String returns the reasons as one line.
func (u Unknown) String() string {
	quoted := u.Reasons()
	for i, r := range quoted {
		quoted[i] = `"` + r + `"`
	}
	return strings.Join(quoted, " and ")
}

// mergeUnknown joins the reasons of several unknowns.
func mergeUnknown(us ...Unknown) Unknown {
	var all []string
	for _, u := range us {
		all = append(all, u.Reasons()...)
	}
	slices.Sort(all)
	return Unknown{strings.Join(slices.Compact(all), "\n")}
}

// celUnknown carries the reason through an evaluation as the name of an
// attribute. cel-go merges unknowns by id, so every reason has its own.
func celUnknown(u Unknown) *types.Unknown {
	h := fnv.New64a()
	_, _ = h.Write([]byte(u.Reason))
	reason := u.Reason
	if reason == "" {
		reason = "something that is not known yet"
	}
	return types.NewUnknown(int64(h.Sum64()), types.NewAttributeTrail(reason))
}

// goUnknown reads the reasons back.
func goUnknown(u *types.Unknown) Unknown {
	var all []Unknown
	for _, id := range u.IDs() {
		trails, _ := u.GetAttributeTrails(id)
		for _, t := range trails {
			all = append(all, Unknown{t.Variable()})
		}
	}
	return mergeUnknown(all...)
}
