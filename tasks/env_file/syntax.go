package envfile

import "strings"

// line is one line, or several that belong to one value. name is empty for comments,
// blank lines and what is not an assignment.
type line struct {
	raw    string
	prefix string // "export " in dotenv files
	name   string
	value  string
}

// last returns the value that counts when a variable is there several times.
func last(lines []line, name string) (value string, found bool) {
	for _, l := range lines {
		if l.name == name {
			value, found = l.value, true
		}
	}
	return value, found
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.raw)
		b.WriteByte('\n')
	}
	return b.String()
}

// parse reads a file as its reader does: systemd.exec(5), or the dotenv form that
// docker compose and the libraries of that name agree on.
func parse(data, format string) []line {
	var out []line
	for data != "" {
		s := scanner{rest: data, systemd: format == "systemd"}
		l := s.line()
		l.raw = strings.TrimSuffix(data[:len(data)-len(s.rest)], "\n")
		out = append(out, l)
		data = s.rest
	}
	return out
}

type scanner struct {
	rest    string
	systemd bool
}

func (s *scanner) line() line {
	first, _, _ := strings.Cut(s.rest, "\n")
	trimmed := strings.TrimLeft(first, " \t")
	if trimmed == "" || trimmed[0] == '#' || s.systemd && trimmed[0] == ';' {
		return s.skip(s.systemd && trimmed != "")
	}
	prefix := ""
	if after, ok := strings.CutPrefix(trimmed, "export "); ok && !s.systemd {
		prefix, trimmed = "export ", strings.TrimLeft(after, " \t")
	}
	name, _, found := strings.Cut(trimmed, "=")
	name = strings.TrimRight(name, " \t")
	if !found || !nameRule.MatchString(name) {
		return s.skip(false)
	}
	s.rest = s.rest[strings.Index(s.rest, "=")+1:]
	return line{prefix: prefix, name: name, value: s.value()}
}

// skip goes to the next line. In systemd's files a backslash continues comments too.
func (s *scanner) skip(continued bool) line {
	for {
		first, rest, _ := strings.Cut(s.rest, "\n")
		s.rest = rest
		if !continued || !strings.HasSuffix(first, `\`) {
			return line{}
		}
	}
}

// value reads to the end of the value, which may be on a later line. fresh is the state
// in which blanks are skipped and quotes mean something: at the beginning, and in
// systemd's files after each quoted part (load_env_file in its env-file.c).
func (s *scanner) value() string {
	var b strings.Builder
	kept := 0 // blanks at the end do not count unless they were quoted
	fresh := true
	for s.rest != "" {
		c := s.rest[0]
		blank := c == ' ' || c == '\t' || c == '\r'
		s.rest = s.rest[1:]
		switch {
		case c == '\n':
			return b.String()[:kept]
		case blank && fresh && (s.systemd || b.Len() == 0):
		case c == '\'' && fresh:
			s.single(&b)
			kept, fresh = b.Len(), s.systemd
		case c == '"' && fresh:
			s.double(&b)
			kept, fresh = b.Len(), s.systemd
		case c == '\\' && s.systemd && s.rest != "":
			if s.rest[0] != '\n' {
				b.WriteByte(s.rest[0])
				kept = b.Len()
			}
			s.rest, fresh = s.rest[1:], false
		case c == '#' && !s.systemd && (b.Len() == 0 || b.Len() > kept):
			_, s.rest, _ = strings.Cut(s.rest, "\n")
			return b.String()[:kept]
		default:
			b.WriteByte(c)
			if fresh = false; !blank {
				kept = b.Len()
			}
		}
	}
	return b.String()[:kept]
}

func (s *scanner) single(b *strings.Builder) {
	text, rest, _ := strings.Cut(s.rest, "'")
	b.WriteString(text)
	s.rest = rest
}

func (s *scanner) double(b *strings.Builder) {
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		if c == '"' {
			return
		}
		if c != '\\' || s.rest == "" {
			b.WriteByte(c)
			continue
		}
		next := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case next == '\n' && s.systemd:
		case strings.IndexByte("\"\\`$", next) >= 0:
			b.WriteByte(next)
		case next == 'n' && !s.systemd:
			b.WriteByte('\n')
		default:
			b.WriteByte('\\')
			b.WriteByte(next)
		}
	}
}

// quote writes a value so that its reader gets it back, and leaves plain ones plain.
func quote(value, format string) string {
	if value != "" && strings.Trim(value, plain) == "" {
		return value
	}
	if format == "dotenv" && !strings.ContainsAny(value, "'\n") {
		return "'" + value + "'" // without what $ means to compose
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(value) {
		switch {
		case strings.IndexByte("\"\\`$", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n' && format == "dotenv":
			b.WriteString(`\n`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@,+%"
