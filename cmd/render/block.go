package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/runner/event"
	"holdfast/tasks/task"
)

// block is one thing that happened on a host: a line and the details below it.
type block struct {
	word  string
	style style
	head  line
	body  []line
	task  event.Task
	took  time.Duration
}

// key is the same for blocks that say the same of the same task.
func (b *block) key() string {
	var s strings.Builder
	s.WriteString(b.task.Path + "\x00" + b.word + "\x00" + b.head.paint(false))
	for _, l := range b.body {
		s.WriteString("\n" + l.paint(false))
	}
	return s.String()
}

// note is a block of a word and a text.
func note(word string, st style, text string) *block {
	b := &block{word: word, style: st}
	if text != "" {
		b.head = line{{text, normal}}
	}
	return b
}

// withHint adds a hint as the last detail.
func (b *block) withHint(hint string) *block {
	for i, l := range split(hint) {
		if i == 0 {
			l = "hint: " + l
		}
		b.body = append(b.body, line{{l, act}})
	}
	return b
}

// title names a task as a person knows it: its name, module and resource.
func title(t event.Task) line {
	what := strings.TrimSpace(t.Module + " " + t.Resource)
	var l line
	switch {
	case t.Name == "":
		l = line{{what, normal}}
	case what == "":
		l = line{{t.Name, normal}}
	default:
		l = line{{t.Name, normal}, {" (" + what + ")", dim}}
	}
	if t.On != "" {
		l = append(l, span{", on the " + t.On, dim})
	}
	if t.Handler != "" {
		l = append(l, span{fmt.Sprintf(", handler %q", t.Handler), dim})
	}
	return l
}

// detail is what a task's block depends on besides the event.
type detail struct {
	mode          event.Mode
	diff, verbose bool
	redact        func(string) string // may be nil
}

// block returns the block of a finished task.
func (d detail) block(f *event.TaskFinished) *block {
	word, st := outcome(d.mode, f)
	b := &block{word: word, style: st, head: title(f.Task), task: f.Task, took: f.Duration}
	failed := f.Status == event.Failed || f.Status == event.Ignored
	if f.Attempts > 1 {
		b.head = append(b.head, span{fmt.Sprintf(", %d attempts", f.Attempts), dim})
	}
	b.body = append(b.body, d.changes(f.Changes)...)
	for _, l := range split(f.Error) {
		b.body = append(b.body, line{{l, bad}})
	}
	if failed || d.verbose {
		for _, l := range split(f.Output) {
			b.body = append(b.body, line{{"| ", dim}, {l, normal}})
		}
	}
	b.withHint(f.Hint)
	b.body = append(b.body, d.reasons(f)...)
	if place := f.Pos.String(); failed && place != "" {
		b.body = append(b.body, line{{"at " + place, dim}})
	}
	return b
}

// reasons are the lines about what is not certain or not reversible.
func (d detail) reasons(f *event.TaskFinished) []line {
	var out []line
	reason := f.Reason
	switch {
	case f.Status == event.Unknown && reason == "":
		reason = "not known until the run"
	case f.Status == event.Ran && strings.HasPrefix(reason, "will "):
		reason = "" // it is the word of the block
	}
	for _, l := range split(reason) {
		out = append(out, line{{l, dim}})
	}
	if f.Tentative != "" {
		out = append(out, line{{"~ tentative: " + f.Tentative, doubt}})
	}
	acts := f.Status == event.Changed || f.Status == event.Ran
	if f.Irreversible != "" && acts && (d.mode == event.Plan || d.verbose) {
		out = append(out, line{{"cannot be undone: " + f.Irreversible, doubt}})
	}
	return out
}

// maxAttr is how wide the column of attributes gets.
const maxAttr = 20

func (d detail) changes(list []task.Change) []line {
	width := 0
	for _, c := range list {
		width = max(width, min(columns(c.Attr), maxAttr))
	}
	var out []line
	for _, c := range list {
		out = append(out, append(line{{pad(c.Attr, width), strong}, {"  ", normal}}, d.values(c)...))
		if d.diff && !c.Sensitive {
			out = append(out, diff(c.Diff)...)
		}
	}
	return out
}

// values shows what becomes of an attribute.
func (d detail) values(c task.Change) line {
	before, after := span{d.value(c.Before), removed}, span{d.value(c.After), added}
	var l line
	switch {
	case c.Sensitive:
		return line{{"(sensitive)", dim}}
	case c.Before == "" && c.After == "":
		return line{{c.Kind, change}}
	case c.Before == "" && c.Kind == task.Act:
		l = line{after}
	case c.Before == "" && c.Kind == task.Create:
		l = line{after, {" (new)", normal}}
	case c.After == "" && c.Kind == task.Delete:
		l = line{before, {" (removed)", normal}}
	default:
		l = line{before, {" → ", normal}, after}
	}
	if plus, minus := stat(c.Diff); plus+minus > 0 {
		l = append(l, span{fmt.Sprintf(", +%d -%d lines", plus, minus), dim})
	}
	return l
}

// maxDiff is how many lines of one diff are shown.
const maxDiff = 60

// stat counts the lines that a unified diff adds and removes.
func stat(d string) (plus, minus int) {
	for _, l := range body(d) {
		switch l[:min(1, len(l))] {
		case "+":
			plus++
		case "-":
			minus++
		}
	}
	return plus, minus
}

// body returns a unified diff without the two lines that name the files, which the
// task's own line names already.
func body(d string) []string {
	lines := strings.Split(strings.TrimSuffix(d, "\n"), "\n")
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "@@") }); i > 0 {
		return lines[i:]
	}
	return lines
}

func diff(d string) []line {
	if d == "" {
		return nil
	}
	lines := body(d)
	rest := 0
	if len(lines) > maxDiff {
		rest = len(lines) - maxDiff
		lines = lines[:maxDiff]
	}
	var out []line
	for _, l := range lines {
		st := normal
		switch l[:min(1, len(l))] {
		case "+":
			st = added
		case "-":
			st = removed
		case "@":
			st = place
		}
		out = append(out, line{{"  " + strings.TrimSuffix(strings.ReplaceAll(l, "\t", "    "), "\r"), st}})
	}
	if rest > 0 {
		out = append(out, line{{"  … " + Plural(rest, "more line"), dim}})
	}
	return out
}
