// Package node installs pinned versions of Node.js side by side.
package node

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Version   string            `yaml:"version" validate:"required" doc:"The exact version, such as 24.21.0."`
	Path      task.Path         `yaml:"path" default:"/opt/node" doc:"The folder that holds a folder for each version, and the link current."`
	From      string            `yaml:"from" default:"npm" validate:"oneof=npm url file" doc:"Where it comes from: the npm registry, a server, or an archive on the host."`
	Integrity map[string]string `yaml:"integrity" validate:"required,min=1" doc:"Checksum of the archive for each architecture, amd64 and arm64."`
	Registry  string            `yaml:"registry" default:"https://registry.npmjs.org" doc:"The npm registry."`
	URL       string            `yaml:"url" default:"https://nodejs.org/dist/v{version}/node-v{version}-linux-{arch}.tar.gz" doc:"Where the archive is, for from: url."`
	Src       *task.Path        `yaml:"src" doc:"The archive on the host, for from: file."`
	Npm       *Npm              `yaml:"npm" doc:"The npm to put beside it; what comes from the registry has none."`
	Bin       *task.Path        `yaml:"bin" doc:"A folder that gets links to node, npm and npx, such as /usr/local/bin."`
	Keep      *int64            `yaml:"keep" validate:"min=0,max=100" doc:"How many other versions stay; without it, all."`
	Proxy     string            `yaml:"proxy" default:"env" doc:"http://host:port of a proxy, none, or env for what the environment of the host says."`
}

// Npm is a pinned npm.
type Npm struct {
	Version   string `yaml:"version" validate:"required" doc:"The exact version."`
	Integrity string `yaml:"integrity" validate:"required" doc:"Checksum of its archive in the registry."`
}

// State is what the host has.
type State struct {
	Sum     string   `yaml:"sum" json:"sum" doc:"What the version's folder came from, empty when it is not there."`
	Current string   `yaml:"current" json:"current" doc:"The version that the link current leads to."`
	Others  []string `yaml:"others" json:"others" doc:"The other versions, oldest first."`
	Bin     string   `yaml:"bin" json:"bin" doc:"Where the link to node in the folder of programs leads."`
	// What the host needs to have, by its architecture.
	Arch     string   `yaml:"-" json:"-"`
	NoFolder bool     `yaml:"-" json:"-"`
	Wrong    []string `yaml:"-" json:"-"`
}

const marker = ".holdfast-node"

// Module installs Node.js.
var Module = task.New(task.Def[Params, State]{
	Name: "node", Doc: doc, TLS: true,
	Validate: validate,
	Resource: func(p Params) string { return path.Join(string(p.Path), p.Version) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

var exact = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

func validate(p Params) error {
	if !exact.MatchString(p.Version) {
		return task.FieldErrorf("version", "%q is no exact version: want three numbers, such as 24.21.0", p.Version)
	}
	for _, arch := range slices.Sorted(maps.Keys(p.Integrity)) {
		if arches[arch] == "" {
			return task.FieldErrorf("integrity", "%q is no architecture: want amd64 or arm64", arch)
		}
		if _, err := task.ParseSum(p.Integrity[arch]); err != nil {
			return task.FieldErrorf("integrity."+arch, "%s", err)
		}
	}
	if p.Npm != nil {
		if !exact.MatchString(p.Npm.Version) {
			return task.FieldErrorf("npm.version", "%q is no exact version: want three numbers, such as 11.6.2", p.Npm.Version)
		}
		if _, err := task.ParseSum(p.Npm.Integrity); err != nil {
			return task.FieldErrorf("npm.integrity", "%s", err)
		}
	}
	if (p.From == "file") != (p.Src != nil) {
		return task.FieldErrorf("src", "from: file and src go together")
	}
	if p.From == "file" && task.ArchiveFormat(string(*p.Src)) == "" {
		return task.FieldErrorf("src", "its name does not end like an archive's")
	}
	if p.From == "url" && task.ArchiveFormat(p.URL) == "" || task.ArchiveFormat(p.URL) == "zip" {
		return task.FieldErrorf("url", "want one that ends with .tar.gz or .tar.xz")
	}
	for field, text := range map[string]string{"registry": p.Registry, "url": p.URL} {
		if err := task.CheckURL(field, strings.NewReplacer("{", "", "}", "").Replace(text)); err != nil {
			return err
		}
	}
	return task.CheckProxy("proxy", p.Proxy)
}

// arches are the names that Node.js has for architectures.
var arches = map[string]string{"amd64": "x64", "arm64": "arm64"}

func (p *Params) dir() string     { return path.Join(string(p.Path), p.Version) }
func (p *Params) current() string { return path.Join(string(p.Path), "current") }

// origin is what the folder of the version has to come from.
func (p *Params) origin(arch string) string {
	sum, _ := task.ParseSum(p.Integrity[arch]) // it was validated
	text := fmt.Sprintf("node %s %s %s", p.Version, arch, sum)
	if p.Npm != nil {
		sum, _ = task.ParseSum(p.Npm.Integrity)
		text += fmt.Sprintf(" npm %s %s", p.Npm.Version, sum)
	}
	return text
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{Arch: r.Facts().Arch}
	if p.Integrity[s.Arch] == "" {
		return s, fmt.Errorf("cannot install %s: the host is %s, and there is no integrity for that", p.dir(), s.Arch)
	}
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return s, err
	}
	if s.NoFolder = !info.Exists(); !s.NoFolder {
		if err := s.versions(ctx, r, &p); err != nil {
			return s, err
		}
	}
	if p.Bin == nil {
		return s, nil
	}
	for _, name := range p.programs() {
		link, err := r.Stat(ctx, path.Join(string(*p.Bin), name))
		if err != nil {
			return s, err
		}
		if link.Exists() && link.Kind != task.KindLink {
			return s, fmt.Errorf("cannot link %s: there is a %s", path.Join(string(*p.Bin), name), link.Kind)
		}
		if name == "node" {
			s.Bin = link.Target
		}
		if link.Target != p.program(name) {
			s.Wrong = append(s.Wrong, name)
		}
	}
	return s, nil
}

// programs are what the folder of programs gets.
func (p *Params) programs() []string {
	if p.From == "npm" && p.Npm == nil {
		return []string{"node"}
	}
	return []string{"node", "npm", "npx"}
}

func (p *Params) program(name string) string { return path.Join(p.current(), "bin", name) }

func (s *State) versions(ctx context.Context, r task.Reader, p *Params) error {
	link, err := r.Stat(ctx, p.current())
	if err != nil {
		return err
	}
	if link.Exists() && link.Kind != task.KindLink {
		return fmt.Errorf("cannot link %s: there is a %s", p.current(), link.Kind)
	}
	s.Current = link.Target
	names, err := r.ReadDir(ctx, string(p.Path))
	if err != nil {
		return err
	}
	for _, name := range names {
		if !exact.MatchString(name) {
			continue
		}
		from, err := task.ReadMarker(ctx, r, path.Join(string(p.Path), name), marker)
		switch {
		case err != nil:
			return err
		case name != p.Version:
			if from != "" {
				s.Others = append(s.Others, name)
			}
		case from == "":
			return fmt.Errorf("cannot install %s: it is there and was not installed by this module", p.dir())
		default:
			s.Sum = from
		}
	}
	slices.SortFunc(s.Others, task.CompareVersions)
	return nil
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if want := p.origin(s.Arch); s.Sum != want {
		c := task.Change{Attr: "version", Before: task.Brief(s.Sum), After: task.Brief(want) + " from " + p.source(s.Arch), Kind: task.Update}
		if s.Sum == "" {
			c.Kind = task.Create
		}
		out = append(out, c)
	}
	if s.Current != p.Version {
		out = append(out, task.Set("current", s.Current, p.Version))
	}
	if len(s.Wrong) > 0 {
		out = append(out, task.Change{Attr: "bin", Before: s.Bin, After: p.program("node"), Kind: task.Update})
	}
	for _, old := range p.surplus(s) {
		out = append(out, task.Change{Attr: "keep", Before: old, Kind: task.Delete})
	}
	return out
}

// surplus are the oldest of the other versions that do not stay.
func (p *Params) surplus(s State) []string {
	if p.Keep == nil || int64(len(s.Others)) <= *p.Keep {
		return nil
	}
	return s.Others[:len(s.Others)-int(*p.Keep)]
}

// source is where the archive comes from.
func (p *Params) source(arch string) string {
	switch p.From {
	case "file":
		return string(*p.Src)
	case "url":
		return strings.NewReplacer("{version}", p.Version, "{arch}", arches[arch]).Replace(p.URL)
	}
	return task.NpmTarball(p.Registry, "node-linux-"+arches[arch], p.Version)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if s.NoFolder {
		if err := w.MakeDir(ctx, string(p.Path), 0o755, "", ""); err != nil {
			return err
		}
	}
	if s.Sum != p.origin(s.Arch) {
		if err := w.Unpack(ctx, p.unpack(s.Arch)); err != nil {
			return err
		}
	}
	if s.Current != p.Version {
		if err := w.MakeLink(ctx, p.current(), p.Version); err != nil {
			return err
		}
	}
	for _, name := range s.Wrong {
		if err := w.MakeLink(ctx, path.Join(string(*p.Bin), name), p.program(name)); err != nil {
			return err
		}
	}
	for _, old := range p.surplus(s) {
		if err := w.Remove(ctx, path.Join(string(p.Path), old)); err != nil {
			return err
		}
	}
	return nil
}

const maxSize = 1 << 30 // of an archive and of what is in it; Node.js 26 has 200 MB

func (p *Params) unpack(arch string) task.Unpack {
	sum, _ := task.ParseSum(p.Integrity[arch]) // it was validated
	part := task.Part{Sum: sum, Strip: 1, Tries: 4, Format: "tar.gz"}
	if p.From == "file" {
		part.Archive, part.Format = string(*p.Src), task.ArchiveFormat(string(*p.Src))
	} else {
		part.Request = p.request(p.source(arch))
		if p.From == "url" {
			part.Format = task.ArchiveFormat(p.URL)
		}
	}
	u := task.Unpack{
		Dir: p.dir(), Parts: []task.Part{part}, Mode: 0o755, MaxSize: maxSize, MaxFiles: 100_000,
		Add: map[string][]byte{marker: []byte(p.origin(arch) + "\n")},
	}
	if p.Npm != nil {
		sum, _ := task.ParseSum(p.Npm.Integrity)
		u.Parts = append(u.Parts, task.Part{
			Sum: sum, Strip: 1, Tries: 4, Format: "tar.gz", Into: "lib/node_modules/npm",
			Request: p.request(task.NpmTarball(p.Registry, "npm", p.Npm.Version)),
		})
		u.Links = map[string]string{"bin/npm": "../lib/node_modules/npm/bin/npm-cli.js", "bin/npx": "../lib/node_modules/npm/bin/npx-cli.js"}
	}
	return u
}

func (p *Params) request(url string) *task.Request {
	return &task.Request{URL: url, Redirects: 5, Proxy: task.ProxyOf(p.Proxy), MaxBody: maxSize}
}
