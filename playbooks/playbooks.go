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
	fsys   fs.FS // its folder
	base   string
	shown  string // the file as faults name it
	origin string
}

// Find reads the playbook of that name or path. A playbook that is not there is a
// fault without a place.
func (f Finder) Find(name string) (*lang.Playbook, source.Faults) {
	p, fault := f.locate(name)
	if fault != nil {
		return nil, source.Faults{fault}
	}
	data, err := fs.ReadFile(p.fsys, p.base)
	if err != nil {
		return nil, source.Faults{{Message: fmt.Sprintf("cannot read the playbook %s: %v", p.shown, err)}}
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

func isPath(name string) bool {
	return strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml")
}

func (f Finder) locate(name string) (place, *source.Fault) {
	if isPath(name) {
		info, err := os.Stat(name)
		if err != nil {
			return place{}, &source.Fault{Message: fmt.Sprintf("cannot read the playbook %q: %v", name, reason(err))}
		}
		if info.IsDir() {
			return place{os.DirFS(name), "playbook.yml", filepath.Join(name, "playbook.yml"), name}, nil
		}
		return place{os.DirFS(filepath.Dir(name)), filepath.Base(name), name, name}, nil
	}
	for _, p := range f.places(name) {
		if _, err := fs.Stat(p.fsys, p.base); err == nil {
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
		out = append(out, place{os.DirFS(dir), "", dir, OriginProject})
	}
	if f.User != "" {
		out = append(out, place{os.DirFS(f.User), "", f.User, OriginUser})
	}
	return append(out, place{Library(), "", "library", OriginLibrary})
}

// places returns the files that a name can mean, in order.
func (f Finder) places(name string) []place {
	var out []place
	for _, folder := range f.folders() {
		if sub, err := fs.Sub(folder.fsys, name); err == nil {
			out = append(out, place{sub, "playbook.yml", path.Join(folder.shown, name, "playbook.yml"), folder.origin})
		}
		if folder.origin != OriginLibrary {
			out = append(out, place{folder.fsys, name + ".yml", path.Join(folder.shown, name+".yml"), folder.origin})
		}
	}
	return out
}

// List returns the playbooks that can be named, sorted. One that cannot be read is
// listed without version and summary.
func (f Finder) List() []Info {
	byName := map[string]int{}
	var out []Info
	for _, folder := range f.folders() {
		entries, err := fs.ReadDir(folder.fsys, ".")
		if err != nil {
			continue // a folder that is not there has no playbooks
		}
		for _, e := range entries {
			name := strings.TrimSuffix(e.Name(), ".yml")
			if e.IsDir() == (name != e.Name()) {
				continue
			}
			if i, ok := byName[name]; ok {
				out[i].Hides = folder.origin
				continue
			}
			if info, ok := f.info(folder, name); ok {
				byName[name] = len(out)
				out = append(out, info)
			}
		}
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (f Finder) info(folder place, name string) (Info, bool) {
	one := Finder{Modules: f.Modules}
	switch folder.origin {
	case OriginProject:
		one.Project = f.Project
	case OriginUser:
		one.User = f.User
	}
	for _, p := range one.places(name) {
		data, err := fs.ReadFile(p.fsys, p.base)
		if err != nil || p.origin != folder.origin {
			continue
		}
		info := Info{Name: name, Origin: p.origin, File: p.shown}
		if root, faults := yamlfile.Parse(p.shown, data); len(faults) == 0 && root != nil {
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
