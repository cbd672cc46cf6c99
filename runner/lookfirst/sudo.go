package lookfirst

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// mayBecomeRoot reports whether a rule of sudo lets an account run anything as root. It
// is not certain where aliases or other files have a say.
func mayBecomeRoot(ctx context.Context, r task.Reader, u *task.User) (may, certain bool, err error) {
	files, err := folder(ctx, r, "/etc/sudoers.d", func(name string) bool { return !strings.ContainsAny(name, ".~") })
	if err != nil {
		return false, false, err
	}
	main, err := text(ctx, r, "/etc/sudoers")
	if err != nil {
		return false, false, err
	}
	groups := append([]string{u.Group}, u.Groups...)
	certain = main != ""
	for _, f := range append(files, main) {
		for l := range strings.Lines(strings.ReplaceAll(f, "\\\n", " ")) {
			l = strings.TrimSpace(l)
			switch {
			case strings.Contains(l, "_Alias"), elsewhere(l):
				certain = false
			case grants(l, u, groups):
				may = true
			}
		}
	}
	return may, certain, nil
}

// elsewhere reports whether a line brings in files that are not looked at.
func elsewhere(line string) bool {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "@include", "#include":
		return true
	case "@includedir", "#includedir":
		return strings.TrimSpace(rest) != "/etc/sudoers.d"
	}
	return false
}

// rule is a line that lets somebody run everything: who, where, as whom.
var rule = regexp.MustCompile(`^(\S+)\s+\S+\s*=\s*(?:\(([^)]*)\))?\s*(?:[A-Z_]+:\s*)*ALL\s*$`)

// grants reports whether a line of sudoers(5) lets an account run everything as root.
func grants(line string, u *task.User, groups []string) bool {
	m := rule.FindStringSubmatch(line)
	if m == nil || line[0] == '#' && !strings.HasPrefix(line, "#"+strconv.FormatInt(u.UID, 10)) {
		return false
	}
	as, _, _ := strings.Cut(m[2], ":")
	if as = strings.TrimSpace(as); as != "" && as != "ALL" && as != "root" {
		return false
	}
	return slices.ContainsFunc(strings.Split(m[1], ","), func(who string) bool {
		group, isGroup := strings.CutPrefix(who, "%")
		return who == "ALL" || who == u.Name || who == "#"+strconv.FormatInt(u.UID, 10) || isGroup && slices.Contains(groups, group)
	})
}
