// Package source holds what every reader of the user's files shares: places in
// files, faults at those places, and a tree of nodes that remembers where each
// value was written.
//
// The package knows no file format, so the helper can decode the arguments that
// come over the wire with the same tree. YAML is read by playbooks/source/yamlfile.
package source

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file. Line and Col count from 1 and Col counts
// characters, as editors do. A zero Line means that the place is not known,
// for instance because the value came from the command line; File then says
// where it came from.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// String returns file:line:col, or the file alone when the line is not known.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Compare orders places by file, line and column.
func (p Pos) Compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col))
}

// Fault is one mistake in a source: a playbook, an inventory, a flag. It is an
// error, so that functions which can find only one fault may return it as such.
type Fault struct {
	Pos     Pos      `json:"pos"`
	Path    string   `json:"path,omitempty"`  // dotted path of the value: tasks[2].file.mode
	Message string   `json:"message"`         // what is wrong, lower case, no full stop
	Hint    string   `json:"hint,omitempty"`  // what to do about it, or empty
	Also    []Pos    `json:"also,omitempty"`  // other places that took part
	Hosts   []string `json:"hosts,omitempty"` // the hosts it was found for; empty means every host
}

// Error returns the fault as users see it, without the hint.
func (f *Fault) Error() string {
	var b strings.Builder
	if s := f.Pos.String(); s != "" {
		b.WriteString(s + ": ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Faults is a list of faults and an error. The zero value is ready to use.
type Faults []*Fault

// Add appends a fault.
func (fs *Faults) Add(f *Fault) { *fs = append(*fs, f) }

// Addf appends a fault at pos with a formatted message.
func (fs *Faults) Addf(pos Pos, path, format string, args ...any) *Fault {
	f := &Fault{Pos: pos, Path: path, Message: fmt.Sprintf(format, args...)}
	fs.Add(f)
	return f
}

// Sorted returns the faults in order of their place, equal ones merged: a fault
// found for several hosts appears once, with all of them named.
func (fs Faults) Sorted() Faults {
	type key struct {
		pos           Pos
		path, message string
	}
	seen := map[key]*Fault{}
	var out Faults
	for _, f := range fs {
		k := key{f.Pos, f.Path, f.Message}
		old := seen[k]
		if old == nil {
			c := *f
			c.Hosts = slices.Clone(f.Hosts)
			seen[k] = &c
			out = append(out, &c)
			continue
		}
		if len(old.Hosts) > 0 && len(f.Hosts) > 0 {
			old.Hosts = append(old.Hosts, f.Hosts...)
		} else {
			old.Hosts = nil
		}
	}
	for _, f := range out {
		slices.Sort(f.Hosts)
		f.Hosts = slices.Compact(f.Hosts)
	}
	slices.SortStableFunc(out, func(a, b *Fault) int {
		return cmp.Or(a.Pos.Compare(b.Pos), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return out
}

// Err returns the sorted faults as an error, or nil if there are none.
func (fs Faults) Err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs.Sorted()
}

// Error returns all faults, one a line, hints below them.
func (fs Faults) Error() string {
	var b strings.Builder
	for i, f := range fs {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.Error())
		for _, p := range f.Also {
			b.WriteString("\n\talso: " + p.String())
		}
		if len(f.Hosts) > 0 {
			b.WriteString("\n\ton: " + someHosts(f.Hosts))
		}
		if f.Hint != "" {
			b.WriteString("\n\thint: " + f.Hint)
		}
	}
	return b.String()
}

// someHosts names hosts, and counts those that nobody would read.
func someHosts(hosts []string) string {
	const most = 8
	if len(hosts) <= most {
		return strings.Join(hosts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(hosts[:most], ", "), len(hosts)-most)
}

// Unwrap lets errors.As find the single faults.
func (fs Faults) Unwrap() []error {
	out := make([]error, len(fs))
	for i, f := range fs {
		out[i] = f
	}
	return out
}
