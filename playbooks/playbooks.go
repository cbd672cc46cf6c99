// Package playbooks finds playbooks: by path, in the project, in the user's folder,
// and in the library that is shipped with the program. The first hit wins as a
// whole; nothing is merged.
package playbooks

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/playbooks/lang"
	"holdfast/playbooks/source"
	"holdfast/playbooks/source/yamlfile"
)

//go:embed all:library
var embedded embed.FS

// Library returns the shipped playbooks, one folder each.
func Library() fs.FS {
	sub, err := fs.Sub(embedded, "library")
	if err != nil {
		panic(err) // the folder is embedded, so it is there
	}
	return sub
}

// Finder looks playbooks up.
type Finder struct {
	Project string   // folder of the project: playbooks/ below it is searched
	User    string   // the user's playbook folder, or ""
	Modules []string // names of task modules, for hints
}

// Origins of playbooks that were not named by path.
const (
	OriginProject = "project"
	OriginUser    = "user"
	OriginLibrary = "library"
)

// Info describes a playbook that can be named.
type Info struct {
	Name    string `json:"name"`
	Origin  string `json:"origin"`
	File    string `json:"file"`
	Version string `json:"version"`
	Summary string `json:"summary"`
	Hides   string `json:"hides,omitempty"` // the origin of one of the same name that this one hides
}

// place is where a playbook's files are.
type place struct {
	fsys   fs.FS  // its folder
	base   string // the playbook's file in it
	shown  string // that file as faults name it
	origin string
}

// Find reads the playbook of that name or path. A playbook that is not there is a
// fault without a place.
func (f Finder) Find(name string) (*lang.Playbook, source.Faults) {
	p, fault := f.locate(name)
	if fault != nil {
		return nil, source.Faults{fault}
	}
	data, err := p.read()
	if err != nil {
		return nil, source.Faults{{Message: fmt.Sprintf("cannot read the playbook %s: %v", p.shown, reason(err))}}
	}
	root, faults := yamlfile.Parse(p.shown, data)
	if len(faults) > 0 {
		return nil, faults
	}
	pb, faults := lang.Parse(root, p.shown, lang.Options{Modules: f.Modules})
	sum := sha256.Sum256(data)
	pb.FS, pb.Origin, pb.Digest = p.fsys, p.origin, hex.EncodeToString(sum[:])
	return pb, faults
}

// read returns the playbook's file. It may itself be a link out of its folder;
// what it sends to hosts may not.
func (p place) read() ([]byte, error) {
	var file fs.File
	info, err := p.stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > yamlfile.MaxSize:
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read", info.Size(), yamlfile.MaxSize)
	case p.onDisk():
		file, err = os.Open(p.shown)
	default:
		file, err = p.fsys.Open(p.base)
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, yamlfile.MaxSize+1))
	return data, errors.Join(err, file.Close())
}

func (p place) stat() (fs.FileInfo, error) {
	if p.onDisk() {
		return os.Stat(p.shown)
	}
	return fs.Stat(p.fsys, p.base)
}

func (p place) onDisk() bool { return p.origin != OriginLibrary }

func isPath(name string) bool {
	return name == "." || name == ".." || strings.ContainsRune(name, filepath.Separator) ||
		strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml")
}

func (f Finder) locate(name string) (place, *source.Fault) {
	if isPath(name) {
		info, err := os.Stat(name)
		if err != nil {
			return place{}, &source.Fault{Message: fmt.Sprintf("cannot read the playbook %q: %v", name, reason(err))}
		}
		if info.IsDir() {
			return place{folder(name), "playbook.yml", filepath.Join(name, "playbook.yml"), name}, nil
		}
		return place{folder(filepath.Dir(name)), filepath.Base(name), name, name}, nil
	}
	for _, p := range f.places(name) {
		if _, err := p.stat(); err == nil {
			return p, nil
		}
	}
	fault := &source.Fault{Message: fmt.Sprintf("no playbook is called %q", name)}
	var names []string
	for _, info := range f.List() {
		names = append(names, info.Name)
	}
	if fault.Hint = source.DidYouMean(name, names); fault.Hint == "" {
		fault.Hint = "'holdfast playbooks list' shows those that there are; a path needs a slash or .yml"
	}
	return place{}, fault
}

// reason returns what went wrong without the path, which the message has already.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// folders returns the folders that are searched, in order.
func (f Finder) folders() []place {
	var out []place
	if f.Project != "" {
		dir := filepath.Join(f.Project, "playbooks")
		out = append(out, place{fsys: folder(dir), shown: dir, origin: OriginProject})
	}
	if f.User != "" {
		out = append(out, place{fsys: folder(f.User), shown: f.User, origin: OriginUser})
	}
	return append(out, place{fsys: Library(), shown: "library", origin: OriginLibrary})
}

// places returns the files that a name can mean, in order.
func (f Finder) places(name string) []place {
	var out []place
	for _, in := range f.folders() {
		out = append(out, in.places(name)...)
	}
	return out
}

// places returns the files in a folder that a name can mean: its own folder first.
func (p place) places(name string) []place {
	if name == "." || !fs.ValidPath(name) || strings.Contains(name, "/") {
		return nil
	}
	var out []place
	if sub, err := fs.Sub(p.fsys, name); err == nil {
		out = append(out, place{sub, "playbook.yml", path.Join(p.shown, name, "playbook.yml"), p.origin})
	}
	if p.onDisk() {
		out = append(out, place{p.fsys, name + ".yml", path.Join(p.shown, name+".yml"), p.origin})
	}
	return out
}

// List returns the playbooks that can be named, sorted. One that cannot be read is
// listed without version and summary.
func (f Finder) List() []Info {
	byName := map[string]int{}
	var out []Info
	for _, in := range f.folders() {
		for _, name := range in.names() {
			info, ok := in.info(name)
			if !ok {
				continue
			}
			if i, taken := byName[name]; !taken {
				byName[name] = len(out)
				out = append(out, info)
			} else if out[i].Hides == "" {
				out[i].Hides = in.origin
			}
		}
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// names returns what may be playbooks in a folder, each once. A folder that is not
// there has none.
func (p place) names() []string {
	entries, err := fs.ReadDir(p.fsys, ".")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yml"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// info describes the playbook of that name in a folder, if there is one.
func (p place) info(name string) (Info, bool) {
	for _, file := range p.places(name) {
		if info, err := file.stat(); err != nil || info.IsDir() {
			continue
		}
		info := Info{Name: name, Origin: file.origin, File: file.shown}
		data, err := file.read()
		if err != nil {
			return info, true
		}
		if root, faults := yamlfile.Parse(file.shown, data); len(faults) == 0 && root != nil {
			if v := root.Get("version"); v != nil {
				info.Version = v.Text
			}
			if v := root.Get("summary"); v != nil {
				info.Summary = v.Text
			}
		}
		return info, true
	}
	return Info{}, false
}

// Files returns the folder of a playbook by name, to copy or compare it.
func (f Finder) Files(name string) (fs.FS, string, error) {
	p, fault := f.locate(name)
	if fault != nil {
		return nil, "", fault
	}
	return p.fsys, p.shown, nil
}
