// Package npmglobal installs pinned npm packages, each in a folder of its own.
package npmglobal

import (
	"context"
	_ "embed"
	"fmt"
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
	Name          string          `yaml:"name" validate:"required" doc:"The package, such as openclaw or @scope/tool."`
	Version       string          `yaml:"version" validate:"required" doc:"The exact version."`
	Path          task.Path       `yaml:"path" validate:"required" doc:"The folder that holds a folder for each version, and the link current."`
	Integrity     *string         `yaml:"integrity" doc:"Checksum of the package's archive, as the registry names it: sha512-…."`
	Lock          *task.Blob      `yaml:"lock" blob:"file" doc:"A package-lock.json beside the playbook, which pins what the package depends on too."`
	Node          task.Path       `yaml:"node" default:"/opt/node/current" doc:"The Node.js whose npm installs it, as the node module makes it."`
	User          *string         `yaml:"user" doc:"The account that npm runs as and that the files belong to; without it, the task's own."`
	IgnoreScripts bool            `yaml:"ignore_scripts" default:"true" doc:"Whether packages may not run programs while they are installed."`
	AllowScripts  []string        `yaml:"allow_scripts" doc:"The packages that npm 12 lets run programs, when ignore_scripts is false."`
	Registry      string          `yaml:"registry" default:"https://registry.npmjs.org" doc:"The npm registry."`
	Token         task.SecretText `yaml:"token" doc:"What the registry wants to see of who installs."`
	CA            task.Path       `yaml:"ca" default:"/etc/ssl/certs/ca-certificates.crt" doc:"Certificates that npm trusts beside its own: those of the host."`
	Proxy         *string         `yaml:"proxy" doc:"http://host:port of a proxy."`
	Cache         *task.Path      `yaml:"cache" doc:"A folder of npm's cache that stays; without it, nothing does."`
	Offline       bool            `yaml:"offline" default:"false" validate:"requires=cache" doc:"Whether everything comes from the cache."`
	Bin           *task.Path      `yaml:"bin" validate:"requires=programs" doc:"A folder that gets links to the programs, such as /usr/local/bin."`
	Programs      []string        `yaml:"programs" validate:"requires=bin" doc:"The programs of the package that are linked."`
	Switch        bool            `yaml:"switch" default:"true" doc:"Whether the link current leads to it."`
	Keep          *int64          `yaml:"keep" validate:"min=0,max=100" doc:"How many other versions stay; without it, all."`
}

// State is what the host has.
type State struct {
	Origin  string   `yaml:"origin" json:"origin" doc:"What the version's folder came from, empty when it is not whole."`
	Kind    string   `yaml:"kind" json:"kind" doc:"What is at the version's folder: absent or directory."`
	Version string   `yaml:"version" json:"version" doc:"The version that the package in it says it has."`
	Current string   `yaml:"current" json:"current" doc:"The version that the link current leads to."`
	Others  []string `yaml:"others" json:"others" doc:"The other versions, oldest first."`
	Wrong   []string `yaml:"wrong" json:"wrong" doc:"The programs whose link is not there or leads elsewhere."`
	// NoFolder is set when the folder of all versions is missing.
	NoFolder bool `yaml:"-" json:"-"`
}

const marker = ".holdfast-npm"

// Module installs packages of npm.
var Module = task.New(task.Def[Params, State]{
	Name: "npm_global", Doc: doc, TLS: false,
	Validate: validate,
	Resource: func(p Params) string { return path.Join(string(p.Path), p.Version) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
	Undo:     undo,
})

var (
	// Names as the registry takes them today.
	nameRule = regexp.MustCompile(`^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*$`)
	exact    = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	fileRule = regexp.MustCompile(`^[0-9A-Za-z._-]+$`)
)

func validate(p Params) error {
	switch {
	case !nameRule.MatchString(p.Name):
		return task.FieldErrorf("name", "%q is no name of a package", p.Name)
	case !exact.MatchString(p.Version):
		return task.FieldErrorf("version", "%q is no exact version: want one such as 2026.9.6", p.Version)
	case p.Integrity == nil && p.Lock == nil:
		return task.FieldErrorf("integrity", "want it or a lock: a version alone does not say what is installed")
	case p.IgnoreScripts && len(p.AllowScripts) > 0:
		return task.FieldErrorf("allow_scripts", "no package may run programs with ignore_scripts: true")
	}
	if p.Integrity != nil {
		if _, err := task.ParseSum(*p.Integrity); err != nil {
			return task.FieldErrorf("integrity", "%s", err)
		}
	}
	for i, name := range p.AllowScripts {
		if !nameRule.MatchString(name) {
			return task.FieldErrorf(fmt.Sprintf("allow_scripts[%d]", i), "%q is no name of a package", name)
		}
	}
	for i, name := range p.Programs {
		if !fileRule.MatchString(name) {
			return task.FieldErrorf(fmt.Sprintf("programs[%d]", i), "%q is no name of a program", name)
		}
	}
	if p.Proxy != nil {
		if err := task.CheckProxy("proxy", *p.Proxy); err != nil || *p.Proxy == "none" || *p.Proxy == task.ProxyFromEnv {
			return task.FieldErrorf("proxy", "want http://host:port")
		}
	}
	return task.CheckURL("registry", p.Registry)
}

func (p *Params) dir() string     { return path.Join(string(p.Path), p.Version) }
func (p *Params) current() string { return path.Join(string(p.Path), "current") }

// origin is what the folder of the version has to come from.
func (p *Params) origin() string {
	text := p.Name + " " + p.Version
	if p.Integrity != nil {
		sum, _ := task.ParseSum(*p.Integrity) // it was validated
		text += " " + string(sum)
	}
	if p.Lock != nil {
		text += " lock " + p.Lock.Digest
	}
	if !p.IgnoreScripts {
		text += " scripts " + strings.Join(p.AllowScripts, ",")
	}
	return text
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{}
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return s, err
	}
	if s.NoFolder = !info.Exists(); s.NoFolder {
		s.Kind = string(task.KindNone)
	} else if err := s.versions(ctx, r, &p); err != nil {
		return s, err
	}
	for _, name := range p.Programs {
		file := path.Join(string(*p.Bin), name)
		link, err := r.Stat(ctx, file)
		if err != nil {
			return s, err
		}
		if link.Exists() && link.Kind != task.KindLink {
			return s, fmt.Errorf("cannot link %s: there is a %s", file, link.Kind)
		}
		if link.Target != p.program(name) {
			s.Wrong = append(s.Wrong, name)
		}
	}
	return s, nil
}

func (p *Params) program(name string) string {
	return path.Join(p.current(), "node_modules/.bin", name)
}

func (s *State) versions(ctx context.Context, r task.Reader, p *Params) error {
	link, err := r.Stat(ctx, p.current())
	if err != nil {
		return err
	}
	if link.Exists() && link.Kind != task.KindLink {
		return fmt.Errorf("cannot link %s: there is a %s", p.current(), link.Kind)
	}
	s.Current = link.Target
	info, err := r.Stat(ctx, p.dir())
	if err != nil {
		return err
	}
	if s.Kind = string(info.Kind); info.Exists() && info.Kind != task.KindDir {
		return fmt.Errorf("cannot install %s: there is a %s", p.dir(), info.Kind)
	}
	if s.Origin, err = task.ReadMarker(ctx, r, p.dir(), marker); err != nil {
		return err
	}
	if s.Origin != "" {
		if s.Version, err = task.NpmVersion(ctx, r, p.dir(), p.Name); err != nil {
			return err
		}
	}
	names, err := r.ReadDir(ctx, string(p.Path))
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == p.Version || !exact.MatchString(name) {
			continue
		}
		from, err := task.ReadMarker(ctx, r, path.Join(string(p.Path), name), marker)
		if err != nil {
			return err
		}
		if from != "" {
			s.Others = append(s.Others, name)
		}
	}
	slices.SortFunc(s.Others, task.CompareVersions)
	return nil
}

// whole reports whether the version's folder is what it should be.
func (p *Params) whole(s *State) bool { return s.Origin == p.origin() && s.Version == p.Version }

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if !p.whole(&s) {
		c := task.Change{Attr: "version", Before: task.Brief(s.Origin), After: task.Brief(p.origin()), Kind: task.Update}
		switch {
		case s.Origin == "" && s.Kind == string(task.KindNone):
			c.Kind = task.Create
		case s.Origin == "":
			c.Before = "not installed to the end"
		case s.Version != p.Version:
			c.Before = fmt.Sprintf("%s, which holds version %q", task.Brief(s.Origin), s.Version)
		}
		out = append(out, c)
	}
	if p.moves(&s) {
		out = append(out, task.Set("current", s.Current, p.Version))
	}
	for _, name := range s.Wrong {
		out = append(out, task.Change{Attr: "programs", After: path.Join(string(*p.Bin), name), Kind: task.Update})
	}
	for _, old := range p.surplus(s) {
		out = append(out, task.Change{Attr: "keep", Before: old, Kind: task.Delete})
	}
	return out
}

// moves reports whether the link current is to lead to another version.
func (p *Params) moves(s *State) bool { return p.Switch && s.Current != p.Version }

// surplus are the oldest of the other versions that do not stay. What is in use stays.
func (p *Params) surplus(s State) []string {
	if p.Keep == nil || int64(len(s.Others)) <= *p.Keep {
		return nil
	}
	out := s.Others[:len(s.Others)-int(*p.Keep)]
	if p.Switch {
		return out
	}
	return slices.DeleteFunc(slices.Clone(out), func(v string) bool { return v == s.Current })
}
