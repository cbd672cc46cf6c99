package sshd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

const (
	confDir  = "/etc/ssh"
	mainFile = "/etc/ssh/sshd_config"
	dropins  = "/etc/ssh/sshd_config.d"
	maxConf  = 1 << 20
	maxDepth = 16 // as sshd has it
)

// gather are the keywords whose lines add up. Of all others the first line counts.
var gather = []string{"acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers", "hostkey", "hostcertificate",
	"listenaddress", "logverbose", "permitlisten", "permitopen", "port", "setenv", "subsystem"}

// aliases are other names that sshd accepts.
var aliases = map[string]string{
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"dsaauthentication":               "pubkeyauthentication",
	"hostbasedacceptedkeytypes":       "hostbasedacceptedalgorithms",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"skeyauthentication":              "kbdinteractiveauthentication",
}

// keyword returns the one name of a keyword.
func keyword(name string) string {
	name = strings.ToLower(name)
	if other, ok := aliases[name]; ok {
		return other
	}
	return name
}

// line is one setting as a file has it.
type line struct {
	file  string
	n     int
	key   string
	args  []string
	match [][]string // criteria of the Match blocks around it
}

func (l line) place() string { return fmt.Sprintf("%s line %d", l.file, l.n) }

// conf is what the server's files say, in the order in which sshd reads them.
type conf struct {
	lines    []line
	includes []string // the patterns that hold outside of Match blocks
}

// loader reads the files of a host, with some of them replaced.
type loader struct {
	r        task.Reader
	replaced map[string][]byte // nil content: the file is gone
}

func (l *loader) load(ctx context.Context) (*conf, error) {
	c := &conf{}
	return c, l.file(ctx, c, mainFile, nil, 0)
}

func (l *loader) read(ctx context.Context, name string) ([]byte, error) {
	if data, ok := l.replaced[name]; ok {
		if data == nil {
			return nil, fmt.Errorf("cannot read %s: %w", name, fs.ErrNotExist)
		}
		return data, nil
	}
	return l.r.ReadFile(ctx, name, maxConf)
}

// file adds the lines of a file and of those that it includes. A Match block ends
// with its file.
func (l *loader) file(ctx context.Context, c *conf, name string, around [][]string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("cannot read %s: it is included too deeply", name)
	}
	data, err := l.read(ctx, name)
	if err != nil {
		return err
	}
	match := around
	for i, text := range strings.Split(string(data), "\n") {
		key, args, err := split(text)
		if err != nil {
			return fmt.Errorf("cannot read %s line %d: %w", name, i+1, err)
		}
		switch key {
		case "":
		case "match":
			match = append(slices.Clone(around), args)
		case "include":
			if len(match) == 0 {
				c.includes = append(c.includes, args...)
			}
			if err := l.include(ctx, c, args, match, depth); err != nil {
				return err
			}
		default:
			c.lines = append(c.lines, line{file: name, n: i + 1, key: key, args: args, match: match})
		}
	}
	return nil
}

func (l *loader) include(ctx context.Context, c *conf, patterns []string, match [][]string, depth int) error {
	for _, p := range patterns {
		names, err := l.glob(ctx, absolute(p))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := l.file(ctx, c, name, match, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// absolute returns a pattern as sshd understands it: below /etc/ssh unless it
// begins with a slash.
func absolute(pattern string) string {
	if path.IsAbs(pattern) {
		return path.Clean(pattern)
	}
	return path.Join(confDir, pattern)
}

// glob returns the files that a pattern names, sorted.
func (l *loader) glob(ctx context.Context, pattern string) ([]string, error) {
	dir := path.Dir(pattern)
	if strings.ContainsAny(dir, "*?[") {
		return nil, fmt.Errorf("cannot follow Include %s: a folder with wildcards is not supported", pattern)
	}
	info, err := l.r.Stat(ctx, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	if info.Exists() {
		if names, err = l.r.ReadDir(ctx, dir); err != nil {
			return nil, err
		}
	}
	for file := range l.replaced {
		if path.Dir(file) == dir {
			names = append(names, path.Base(file))
		}
	}
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		full := path.Join(dir, name)
		data, replaced := l.replaced[full]
		if ok, err := path.Match(path.Base(pattern), name); err != nil || !ok || replaced && data == nil || hidden(pattern, name) {
			continue
		}
		out = append(out, full)
	}
	return out, nil
}

// hidden reports whether a wildcard passes over a file, as glob(3) does.
func hidden(pattern, name string) bool {
	return strings.HasPrefix(name, ".") && !strings.HasPrefix(path.Base(pattern), ".")
}

// split takes a line apart as sshd does: the keyword, perhaps an equals sign, and
// arguments that may stand in double quotes. A # begins a comment.
func split(text string) (key string, args []string, err error) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' {
		return "", nil, nil
	}
	end := strings.IndexAny(text, " \t=")
	if end < 0 {
		return keyword(text), nil, nil
	}
	key = keyword(text[:end])
	rest := strings.TrimLeft(text[end:], " \t")
	rest = strings.TrimLeft(strings.TrimPrefix(rest, "="), " \t")
	for rest != "" && rest[0] != '#' {
		var arg string
		if rest[0] == '"' {
			var closed bool
			if arg, rest, closed = strings.Cut(rest[1:], `"`); !closed {
				return "", nil, errors.New("a quotation mark is not closed")
			}
		} else if end := strings.IndexAny(rest, " \t"); end >= 0 {
			arg, rest = rest[:end], rest[end:]
		} else {
			arg, rest = rest, ""
		}
		args = append(args, arg)
		rest = strings.TrimLeft(rest, " \t")
	}
	return key, args, nil
}

// covers reports whether the files include path outside of Match blocks.
func (c *conf) covers(file string) bool {
	for _, p := range c.includes {
		if ok, err := path.Match(absolute(p), file); err == nil && ok {
			return true
		}
	}
	return false
}

// global returns the effective settings outside of Match blocks. Keys are in small
// letters; what no file sets is not there.
func (c *conf) global() map[string][]string {
	return c.effective(func(l line) bool { return len(l.match) == 0 })
}

func (c *conf) effective(counts func(line) bool) map[string][]string {
	out := map[string][]string{}
	for _, l := range c.lines {
		if !counts(l) {
			continue
		}
		if _, there := out[l.key]; !there || slices.Contains(gather, l.key) {
			out[l.key] = append(out[l.key], l.args...)
		}
	}
	return out
}

// forLogin returns the effective settings for a connection: what Match blocks say
// that apply to it comes before all else. A keyword that a block sets which might
// apply is left out, because nobody can tell.
func (c *conf) forLogin(login task.Login, groups []string) map[string][]string {
	out := c.global()
	for key, args := range c.effective(func(l line) bool { return len(l.match) > 0 && applies(l.match, login, groups) == yes }) {
		out[key] = args
	}
	for _, l := range c.lines {
		if len(l.match) > 0 && applies(l.match, login, groups) == maybe {
			delete(out, l.key)
		}
	}
	return out
}

// winner returns the line that decides about a keyword outside of Match blocks.
func (c *conf) winner(key string) (line, bool) {
	for _, l := range c.lines {
		if l.key == key && len(l.match) == 0 {
			return l, true
		}
	}
	return line{}, false
}

// ports returns where the server listens by its files, sorted: the ports of
// ListenAddress lines that name one, else the Port lines, else 22.
func (c *conf) ports() []int64 {
	settings := c.global()
	var plain, out []int64
	for _, arg := range settings["port"] {
		if n, err := strconv.ParseInt(arg, 10, 32); err == nil {
			plain = append(plain, n)
		}
	}
	if len(plain) == 0 {
		plain = []int64{22}
	}
	addresses := settings["listenaddress"]
	for _, address := range addresses {
		if n, ok := portOf(address); ok {
			out = append(out, n)
		} else {
			out = append(out, plain...)
		}
	}
	if len(addresses) == 0 {
		out = plain
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// portOf returns the port that a ListenAddress names itself: host:port or [host]:port.
func portOf(address string) (int64, bool) {
	host, port, ok := strings.Cut(address, "]:")
	if !ok {
		if host, port, ok = strings.Cut(address, ":"); !ok || strings.Contains(port, ":") {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(port, 10, 32)
	return n, err == nil && host != ""
}
