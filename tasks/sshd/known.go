package sshd

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"

	"holdfast/tasks/task"
)

// tolerant marks a keyword that older servers may not know, as in sysctl.d(5).
const tolerant = "-"

const (
	program    = "/usr/sbin/sshd"
	maxProgram = 16 << 20
)

// lists are the keywords whose value is a list of algorithms.
var lists = map[string]bool{
	"casignaturealgorithms": true, "ciphers": true, "hostbasedacceptedalgorithms": true, "hostkeyalgorithms": true,
	"kexalgorithms": true, "macs": true, "pubkeyacceptedalgorithms": true,
}

// bare is a keyword without the mark.
func bare(name string) string { return strings.TrimPrefix(name, tolerant) }

// known returns the settings without marks and without what the server's program
// does not have. Its keywords and algorithms stand in the program as texts that end
// with a zero byte, so that no process has to be asked; where that is ever wrong,
// sshd -t refuses the file.
func known(ctx context.Context, r task.Reader, p Params) (Params, error) {
	marked := false
	for name := range p.Settings {
		marked = marked || bare(name) != name
	}
	if !marked {
		return p, nil
	}
	text, err := r.ReadFile(ctx, program, maxProgram)
	if err != nil {
		return p, fmt.Errorf("cannot find out what the SSH server knows: %w", err)
	}
	has := func(word string) bool { return bytes.Contains(text, append([]byte(word), 0)) }
	settings := maps.Clone(p.Settings)
	for name, value := range p.Settings {
		key := bare(name)
		if key == name {
			continue
		}
		delete(settings, name)
		if lists[keyword(key)] {
			if value = only(value, has); value == "" {
				return p, fmt.Errorf("cannot set %s: %s knows none of its algorithms", key, program)
			}
		} else if !has(strings.ToLower(key)) {
			continue
		}
		settings[key] = value
	}
	p.Settings = settings
	return p, nil
}

// only keeps the algorithms of a list that the server has. A list may begin with +, -
// or ^, which change the server's own, and patterns stay as they are.
func only(list string, has func(string) bool) string {
	list = strings.TrimSpace(list)
	mode := ""
	if list != "" && strings.IndexByte("+-^", list[0]) >= 0 {
		mode, list = list[:1], list[1:]
	}
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" && (strings.ContainsAny(name, "*?!") || has(name)) {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return mode + strings.Join(out, ",")
}
