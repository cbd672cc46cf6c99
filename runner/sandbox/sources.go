package sandbox

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is one place that apt fetches packages from.
type source struct {
	uri        string
	suite      string
	components []string
	signedBy   string // a keyring's path, or empty
}

// line is the source in apt's one-line format.
func (s source) line() string {
	option := ""
	if s.signedBy != "" {
		option = "[signed-by=" + s.signedBy + "] "
	}
	return "deb " + option + s.uri + " " + s.suite + " " + strings.Join(s.components, " ")
}

// machineSources reads all of apt's sources under root, in both formats. What it
// cannot read, it passes over.
func machineSources(root string) []source {
	var all []source
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			return
		}
		if strings.HasSuffix(path, ".sources") {
			all = append(all, parseDeb822(string(text))...)
			return
		}
		all = append(all, parseOneLine(string(text))...)
	}
	read(filepath.Join(root, "etc/apt/sources.list"))
	for _, pattern := range []string{"*.list", "*.sources"} {
		paths, _ := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d", pattern))
		for _, path := range paths {
			read(path)
		}
	}
	return all
}

// parseOneLine reads apt's one-line format: deb [options] uri suite component…
func parseOneLine(text string) []source {
	var list []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		rest, isDeb := strings.CutPrefix(line, "deb ")
		if !isDeb {
			if rest, isDeb = strings.CutPrefix(line, "deb\t"); !isDeb {
				continue
			}
		}
		rest = strings.TrimSpace(rest)
		var s source
		if strings.HasPrefix(rest, "[") {
			options, after, closed := strings.Cut(rest[1:], "]")
			if !closed {
				continue
			}
			rest = after
			s.signedBy = signedByOption(options)
		}
		words := strings.Fields(rest)
		if len(words) < 3 {
			continue
		}
		s.uri, s.suite, s.components = words[0], words[1], words[2:]
		list = append(list, s)
	}
	return list
}

func signedByOption(options string) string {
	for _, option := range strings.Fields(options) {
		if key, value, ok := strings.Cut(option, "="); ok && strings.EqualFold(key, "signed-by") {
			first, _, _ := strings.Cut(value, ",")
			return first
		}
	}
	return ""
}

// parseDeb822 reads apt's stanzas. A key that stands in the stanza itself is
// taken for no key: such a source is not the distribution's.
func parseDeb822(text string) []source {
	var list []source
	for _, stanza := range stanzas(text) {
		if strings.EqualFold(stanza["enabled"], "no") || !slices.Contains(strings.Fields(stanza["types"]), "deb") {
			continue
		}
		key := stanza["signed-by"]
		if !strings.HasPrefix(key, "/") {
			key = ""
		} else {
			key = strings.Fields(key)[0]
		}
		for _, uri := range strings.Fields(stanza["uris"]) {
			for _, name := range strings.Fields(stanza["suites"]) {
				if components := strings.Fields(stanza["components"]); len(components) > 0 {
					list = append(list, source{uri: uri, suite: name, components: components, signedBy: key})
				}
			}
		}
	}
	return list
}

// stanzas splits deb822 text into its paragraphs; field names are in small letters.
func stanzas(text string) []map[string]string {
	var all []map[string]string
	current, last := map[string]string{}, ""
	flush := func() {
		if len(current) > 0 {
			all = append(all, current)
		}
		current, last = map[string]string{}, ""
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \t\r")
		switch {
		case line == "":
			flush()
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				current[last] += "\n" + strings.TrimSpace(line)
			}
		default:
			name, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(name))
			current[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return all
}

// sourcesFor picks from a machine's sources those of the distribution itself and
// turns them to the suite. machineCode is the code name of the release that the
// machine runs. When nothing is left it returns the distribution's own places.
func sourcesFor(st suite, machine []source, machineCode string) []source {
	var list []source
	for _, s := range machine {
		pocket, ok := strings.CutPrefix(s.suite, machineCode)
		if machineCode == "" || !ok || !slices.Contains([]string{"", "-updates", "-security"}, pocket) || !st.owns(s) {
			continue
		}
		var components []string
		for _, c := range s.components {
			if slices.Contains(st.components(), c) {
				components = append(components, c)
			}
		}
		if len(components) == 0 {
			continue
		}
		s.suite, s.components = st.code+pocket, components
		if !slices.ContainsFunc(list, func(o source) bool { return o.line() == s.line() }) {
			list = append(list, s)
		}
	}
	if !slices.ContainsFunc(list, func(s source) bool { return s.suite == st.code }) {
		return st.sources()
	}
	return list
}

// owns reports whether a source is the distribution's own rather than a
// vendor's who names its suites alike.
func (st suite) owns(s source) bool {
	if s.signedBy != "" {
		return strings.HasPrefix(filepath.Base(s.signedBy), st.distro+"-archive-")
	}
	path := strings.TrimRight(s.uri, "/")
	last := path[strings.LastIndex(path, "/")+1:]
	_, rest, _ := strings.Cut(path, "://")
	host, _, _ := strings.Cut(rest, "/")
	official := map[string]string{"debian": "debian.org", "ubuntu": "ubuntu.com"}[st.distro]
	if host == official || strings.HasSuffix(host, "."+official) {
		return true
	}
	vendor := strings.HasPrefix(host, "download.") || strings.HasPrefix(host, "pkgs.") || strings.HasPrefix(host, "packages.")
	return !vendor && strings.HasPrefix(last, st.distro)
}

// release reads ID and VERSION_CODENAME of an os-release file.
func release(path string) (distro, code string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			distro = value
		case "VERSION_CODENAME":
			code = value
		}
	}
	return distro, code
}
