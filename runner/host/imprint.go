package host

import (
	"fmt"
	"strings"

	"holdfast/tasks/task"
)

// imprint is the fingerprint of a path: what undo compares before it takes something
// back. Parts that the change did not touch are empty and not compared, so that a
// log file whose mode we set may go on growing.
type imprint struct {
	kind    task.FileKind
	mode    string // 0644
	owner   string // 0:0, numbers
	content string // sha256=… or -> target
}

func (p imprint) String() string {
	parts := []string{string(p.kind)}
	for _, s := range []string{p.mode, p.owner, p.content} {
		if s == "" {
			s = "-"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func parseImprint(s string) imprint {
	f := strings.SplitN(s, " ", 4)
	for len(f) < 4 {
		f = append(f, "")
	}
	for i := range f {
		if f[i] == "-" {
			f[i] = ""
		}
	}
	return imprint{task.FileKind(f[0]), f[1], f[2], f[3]}
}

// over returns p with what it leaves open taken from before.
func (p imprint) over(before imprint) imprint {
	if p.kind != before.kind {
		return p
	}
	if p.mode == "" {
		p.mode = before.mode
	}
	if p.owner == "" {
		p.owner = before.owner
	}
	if p.content == "" {
		p.content = before.content
	}
	return p
}

// differs says in words how now differs from p in what p fixes, or "".
func (p imprint) differs(now imprint) string {
	if p.kind != now.kind {
		return fmt.Sprintf("it is now %s, not %s", now.kind, p.kind)
	}
	switch {
	case p.content != "" && p.content != now.content && p.kind == task.KindLink:
		return "the link leads elsewhere now"
	case p.content != "" && p.content != now.content:
		return "its content was changed since"
	case p.mode != "" && p.mode != now.mode:
		return fmt.Sprintf("its mode is now %s, not %s", now.mode, p.mode)
	case p.owner != "" && p.owner != now.owner:
		return fmt.Sprintf("it belongs to %s now, not to %s", now.owner, p.owner)
	}
	return ""
}
