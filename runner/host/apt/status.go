package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// System is the dpkg database and the APT lists below one root directory. Its
// methods are those of the package; they may be called at the same time.
type System struct {
	root string

	mu   sync.Mutex
	key  string // of the files that db was read from
	db   *database
	took int // how many times the files were parsed, for tests
}

var machine = At("/")

// At returns the system below a root directory. Commands are still run by the
// Runner, which knows nothing of the root.
func At(root string) *System { return &System{root: root} }

// Parsed returns how many times the database was read from disk.
func (s *System) Parsed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took
}

// database is dpkg's status file in memory.
type database struct {
	native   string
	packages map[string][]record // by name; one per architecture
	provides map[string][]provided
}

type record struct {
	name, arch, version string
	want, flag, state   string
	conffiles           []Conffile
}

type provided struct{ by, version string }

func (r record) unpacked() bool {
	return r.state != "not-installed" && r.state != "config-files" && r.state != ""
}

func (r record) broken() bool {
	switch r.state {
	case "half-installed", "unpacked", "half-configured":
		return true
	}
	return r.flag == "reinstreq"
}

// Status: see the function of the same name.
func (s *System) Status(name string) (Info, error) {
	db, err := s.load()
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: name}
	if r, ok := db.find(name); ok {
		info.Arch = r.arch
		info.Held = r.want == "hold"
		info.Config = r.state == "config-files"
		info.Broken = r.broken()
		info.Installed = r.unpacked() && !info.Broken
		if r.unpacked() {
			info.Version = r.version
			return info, nil
		}
	}
	if by := db.provides[name]; len(by) > 0 {
		info.Installed, info.ProvidedBy, info.Version = true, by[0].by, by[0].version
	}
	return info, nil
}

// Snapshot: see the function of the same name.
func (s *System) Snapshot() (map[string]string, error) {
	db, err := s.load()
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(db.packages))
	for _, list := range db.packages {
		for _, r := range list {
			if r.unpacked() {
				out[db.key(r.name, r.arch)] = r.version
			}
		}
	}
	return out, nil
}

// Conffiles: see the function of the same name.
func (s *System) Conffiles(name string) ([]Conffile, error) {
	db, err := s.load()
	if err != nil {
		return nil, err
	}
	r, _ := db.find(name)
	return r.conffiles, nil
}

// Files returns what dpkg lists as belonging to an installed package, folders included.
func (s *System) Files(name string) []string {
	base, _, _ := strings.Cut(name, ":")
	for _, list := range []string{name, base, base + ":*"} { // of some the lists are named without, of others with the architecture
		files, _ := filepath.Glob(s.path("var/lib/dpkg/info/" + list + ".list"))
		for _, file := range files {
			b, _ := os.ReadFile(file)
			return strings.Split(strings.TrimSpace(string(b)), "\n")
		}
	}
	return nil
}

// Interrupted: see the function of the same name.
func (s *System) Interrupted() (bool, error) {
	updates, err := s.updates()
	if err != nil || len(updates) > 0 {
		return len(updates) > 0, err
	}
	db, err := s.load()
	if err != nil {
		return false, err
	}
	for _, list := range db.packages {
		for _, r := range list {
			if strings.HasPrefix(r.state, "triggers-") || r.state == "unpacked" || r.state == "half-configured" {
				return true, nil
			}
		}
	}
	return false, nil
}

// Auto: see the function of the same name.
func (s *System) Auto() (map[string]bool, error) {
	db, err := s.load()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.path("var/lib/apt/extended_states"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read which packages were installed for others: %w", err)
	}
	out := map[string]bool{}
	stanzas(data, func(f fields) {
		if f.get("Auto-Installed") == "1" {
			out[db.key(f.get("Package"), f.get("Architecture"))] = true
		}
	})
	return out, nil
}

func (s *System) path(p string) string { return filepath.Join(s.root, p) }

// load returns the database, read again only when its files changed.
func (s *System) load() (*database, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	updates, err := s.updates()
	if err != nil {
		return nil, err
	}
	status := s.path("var/lib/dpkg/status")
	key, err := stamp(status, updates)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the package database: %s is missing; this is not a Debian system", status)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the package database: %w", err)
	}
	if s.db != nil && key == s.key {
		return s.db, nil
	}
	db, err := s.read(status, updates)
	if err != nil {
		return nil, fmt.Errorf("cannot read the package database: %w", err)
	}
	s.db, s.key, s.took = db, key, s.took+1
	return db, nil
}

func (s *System) read(status string, updates []string) (*database, error) {
	db := &database{packages: map[string][]record{}, provides: map[string][]provided{}}
	if arch, err := os.ReadFile(s.path("var/lib/dpkg/arch")); err == nil {
		db.native, _, _ = strings.Cut(strings.TrimSpace(string(arch)), "\n")
	}
	// What dpkg wrote into updates/ and did not yet merge is newer than status.
	given := map[string][]provided{}
	for _, path := range append([]string{status}, updates...) {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		stanzas(data, func(f fields) { db.add(f, given) })
	}
	if db.native == "" {
		for _, r := range db.packages["dpkg"] {
			db.native = r.arch
		}
	}
	db.index(given)
	return db, nil
}

func (db *database) add(f fields, given map[string][]provided) {
	r := record{name: f.get("Package"), arch: f.get("Architecture"), version: f.get("Version")}
	if r.name == "" {
		return
	}
	if words := strings.Fields(f.get("Status")); len(words) == 3 {
		r.want, r.flag, r.state = words[0], words[1], words[2]
	}
	for _, line := range strings.Split(f.get("Conffiles"), "\n") {
		if w := strings.Fields(line); len(w) >= 2 && !strings.HasSuffix(line, " remove-on-upgrade") {
			r.conffiles = append(r.conffiles, Conffile{Path: w[0], MD5: w[1]})
		}
	}
	list := db.packages[r.name]
	replaced := false
	for i := range list {
		if list[i].arch == r.arch {
			list[i], replaced = r, true
		}
	}
	if !replaced {
		db.packages[r.name] = append(list, r)
	}
	given[r.name+":"+r.arch] = parseProvides(f.get("Provides"))
}

// index fills provides from the packages that are fully installed.
func (db *database) index(given map[string][]provided) {
	for name, list := range db.packages {
		for _, r := range list {
			if !r.unpacked() || r.broken() || (r.arch != db.native && r.arch != "all") {
				continue
			}
			for _, p := range given[name+":"+r.arch] {
				db.provides[p.by] = append(db.provides[p.by], provided{by: name, version: p.version})
			}
		}
	}
	for _, by := range db.provides {
		sort.Slice(by, func(i, j int) bool { return by[i].by < by[j].by })
	}
}

// parseProvides reads "a, b (= 1.2), c:any"; by holds the provided name.
func parseProvides(text string) []provided {
	var out []provided
	for _, part := range strings.Split(text, ",") {
		name, rest, _ := strings.Cut(strings.TrimSpace(part), " ")
		name, _, _ = strings.Cut(name, ":")
		if name == "" {
			continue
		}
		version := strings.TrimSpace(strings.Trim(strings.TrimSpace(rest), "()"))
		version = strings.TrimSpace(strings.TrimPrefix(version, "="))
		out = append(out, provided{by: name, version: version})
	}
	return out
}

// find returns the package of the machine's architecture, or of the one named.
func (db *database) find(name string) (record, bool) {
	base, arch, named := strings.Cut(name, ":")
	if named && arch == "native" {
		arch = db.native
	}
	for _, r := range db.packages[base] {
		if r.arch == arch || r.arch == "all" || (!named && r.arch == db.native) {
			return r, true
		}
	}
	return record{}, false
}

func (db *database) key(name, arch string) string {
	if arch == db.native || arch == "all" || arch == "" {
		return name
	}
	return name + ":" + arch
}

// updates lists dpkg's own journal in the order in which it applies: files whose
// names are digits. They are there while dpkg runs and after it was interrupted.
func (s *System) updates() ([]string, error) {
	dir := s.path("var/lib/dpkg/updates")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the package database: %w", err)
	}
	var out []string
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

// stamp changes when the files do.
func stamp(status string, updates []string) (string, error) {
	var b strings.Builder
	for _, path := range append([]string{status}, updates...) {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		var inode uint64
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = st.Ino
		}
		fmt.Fprintf(&b, "%s %d %d %d\n", path, info.ModTime().UnixNano(), info.Size(), inode)
	}
	return b.String(), nil
}

// fields is one stanza; a folded field keeps its line breaks.
type fields map[string]string

func (f fields) get(name string) string { return f[name] }

// kept are the fields that anybody here asks for; descriptions and dependencies
// are most of the file and are passed over.
var kept = map[string]bool{
	"Package": true, "Status": true, "Architecture": true, "Version": true,
	"Provides": true, "Conffiles": true, "Auto-Installed": true,
}

// stanzas calls each for every paragraph of a control file.
func stanzas(data []byte, each func(fields)) {
	cur := fields{}
	last := ""
	flush := func() {
		if len(cur) > 0 {
			each(cur)
			cur = fields{}
		}
		last = ""
	}
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				cur[last] += "\n" + string(bytes.TrimSpace(line))
			}
		default:
			name, value, _ := bytes.Cut(line, []byte(":"))
			if last = ""; !kept[string(name)] {
				continue
			}
			last = string(name)
			cur[last] = string(bytes.TrimSpace(value))
		}
	}
	flush()
}
