// Package unarchive makes a directory that holds what is in an archive.
package unarchive

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"holdfast/tasks/task"
)

//go:embed doc.md
var doc string

// Params is what a playbook asks for.
type Params struct {
	Path     task.Path     `yaml:"path" validate:"required" doc:"The directory that holds what is in the archive."`
	Src      *task.Path    `yaml:"src" validate:"excludes=url" doc:"The archive, a file on the host."`
	URL      *string       `yaml:"url" validate:"requires=sha256" doc:"Where the archive comes from instead; it is unpacked as it arrives."`
	SHA256   *string       `yaml:"sha256" doc:"The SHA-256 of the archive, 64 hex digits; with src it may be left out."`
	Format   *string       `yaml:"format" validate:"oneof=tar tar.gz tar.xz zip" doc:"What it is, when its name does not say so."`
	Strip    int64         `yaml:"strip" default:"0" validate:"min=0,max=20" doc:"How many folders at the beginning of each name are left out."`
	Owner    *string       `yaml:"owner" doc:"The account that all of it belongs to, by name or number."`
	Group    *string       `yaml:"group" doc:"The group that all of it belongs to, by name or number."`
	Mode     task.Mode     `yaml:"mode" default:"0755" doc:"Permission bits of the directory itself."`
	Replace  bool          `yaml:"replace" default:"false" doc:"Whether a directory that did not come from an archive may be replaced."`
	MaxMB    int64         `yaml:"max_mb" default:"2048" validate:"min=1,max=1048576" doc:"How much may be in it, and how large it may be, in MB."`
	MaxFiles int64         `yaml:"max_files" default:"200000" validate:"min=1,max=10000000" doc:"How many files may be in it."`
	Secrets  []task.Header `yaml:"secret_headers" validate:"requires=url" doc:"Headers of the request whose values must not be seen."`
	Proxy    string        `yaml:"proxy" default:"env" doc:"http://host:port of a proxy, none, or env for what the environment of the host says."`
}

// State is what the host has.
type State struct {
	Kind  string `yaml:"kind" json:"kind" doc:"What is at the path: absent or directory."`
	Sum   string `yaml:"sum" json:"sum" doc:"Checksum of the archive that the directory came from, and how it was unpacked."`
	Empty bool   `yaml:"empty" json:"empty" doc:"Whether nothing is in it."`
	Mode  string `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner string `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group string `yaml:"group" json:"group" doc:"Group, empty when absent."`
	// Want is Sum as it should be.
	Want string `yaml:"-" json:"-"`
}

// marker is the file in the directory that says what it came from.
const marker = ".holdfast-archive"

// Module unpacks archives.
var Module = task.New(task.Def[Params, State]{
	Name: "unarchive", Doc: doc, TLS: true,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if p.Src == nil && p.URL == nil {
		return task.FieldErrorf("src", "say where the archive is, with src or url")
	}
	if p.SHA256 != nil {
		if sum, err := task.ParseSum(*p.SHA256); err != nil || sum.SHA256() == "" {
			return task.FieldErrorf("sha256", "%q is no SHA-256: want 64 hex digits", *p.SHA256)
		}
	}
	field := "src"
	if p.URL != nil {
		field = "url"
		if err := task.CheckURL("url", *p.URL); err != nil {
			return err
		}
	}
	switch p.format() {
	case "":
		return task.FieldErrorf(field, "its name does not end like an archive's: say the format")
	case "zip":
		if p.URL != nil {
			return task.FieldErrorf("url", "a zip archive is read from its end: download it first")
		}
	}
	if err := task.CheckProxy("proxy", p.Proxy); err != nil {
		return err
	}
	return task.CheckHeaders(nil, p.Secrets)
}

func (p *Params) format() string {
	switch {
	case p.Format != nil:
		return *p.Format
	case p.URL != nil:
		name, _, _ := strings.Cut(*p.URL, "?")
		return task.ArchiveFormat(name)
	}
	return task.ArchiveFormat(string(*p.Src))
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: &p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	var s State
	sum, err := p.sum(ctx, r)
	if err != nil {
		return s, err
	}
	s.Want = fmt.Sprintf("%s strip %d", sum, p.Strip)
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return s, err
	}
	s.Kind = string(info.Kind)
	if info.Kind == task.KindNone {
		return s, nil
	}
	if info.Kind != task.KindDir {
		return s, fmt.Errorf("cannot unpack into %s: there is a %s", p.Path, info.Kind)
	}
	seen, err := p.attributes().See(ctx, r, info)
	if err != nil {
		return s, err
	}
	s.Mode, s.Owner, s.Group = seen.Mode, seen.Owner, seen.Group
	if s.Sum, err = task.ReadMarker(ctx, r, string(p.Path), marker); err != nil || s.Sum != "" {
		return s, err
	}
	names, err := r.ReadDir(ctx, string(p.Path))
	if s.Empty = len(names) == 0; err == nil && !s.Empty && !p.Replace {
		err = fmt.Errorf("cannot unpack into %s: it is not empty and did not come from an archive; replace: true would replace all of it", p.Path)
	}
	return s, err
}

// sum returns the checksum that the archive has to have. Without one in the playbook
// it is what the archive has now.
func (p *Params) sum(ctx context.Context, r task.Reader) (task.Sum, error) {
	if p.SHA256 != nil {
		return task.ParseSum(*p.SHA256)
	}
	c, err := r.Digest(ctx, string(*p.Src))
	return task.Sum("sha256:" + c.Digest), err
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if s.Sum != s.Want {
		c := task.Change{Attr: "path", Before: task.Brief(s.Sum), After: task.Brief(s.Want) + " from " + p.from(), Kind: task.Update}
		if s.Kind == string(task.KindNone) {
			c.Kind = task.Create
		}
		if s.Sum == "" && s.Kind != string(task.KindNone) && !s.Empty {
			c.Before = "something that did not come from an archive"
		}
		out = append(out, c)
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func (p *Params) from() string {
	if p.URL != nil {
		return *p.URL
	}
	return string(*p.Src)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	owner, group := p.attributes().Change(s.seen())
	if s.Sum == s.Want && owner+group == "" {
		return w.SetMode(ctx, string(p.Path), p.Mode)
	}
	sum, _, _ := strings.Cut(s.Want, " ")
	part := task.Part{Sum: task.Sum(sum), Format: p.format(), Strip: p.Strip, Tries: 4}
	if p.URL != nil {
		part.Request = &task.Request{URL: *p.URL, Secrets: task.SecretHeaders(p.Secrets), Redirects: 5, Proxy: task.ProxyOf(p.Proxy), MaxBody: p.MaxMB << 20}
	} else {
		part.Archive = string(*p.Src)
	}
	u := task.Unpack{
		Dir: string(p.Path), Parts: []task.Part{part}, Mode: p.Mode, MaxSize: p.MaxMB << 20, MaxFiles: p.MaxFiles,
		Add: map[string][]byte{marker: []byte(s.Want + "\n")},
	}
	if p.Owner != nil {
		u.Owner = *p.Owner
	}
	if p.Group != nil {
		u.Group = *p.Group
	}
	return w.Unpack(ctx, u)
}
