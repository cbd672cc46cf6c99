// Package download brings a file from a server to a host.
package download

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
	Path      task.Path         `yaml:"path" validate:"required" doc:"The file."`
	URL       string            `yaml:"url" validate:"required" doc:"Where it comes from, http:// or https://."`
	SHA256    string            `yaml:"sha256" validate:"required" doc:"The SHA-256 of its content, 64 hex digits."`
	Mode      *task.Mode        `yaml:"mode" doc:"Permission bits in octal; a new file is 0644."`
	Owner     *string           `yaml:"owner" doc:"The account that owns the file, by name or number."`
	Group     *string           `yaml:"group" doc:"The group of the file, by name or number."`
	Headers   map[string]string `yaml:"headers" doc:"Headers of the request."`
	Secrets   []task.Header     `yaml:"secret_headers" doc:"Headers whose values must not be seen."`
	MaxMB     int64             `yaml:"max_mb" default:"1024" validate:"min=1,max=1048576" doc:"How large it may be, in MB."`
	Tries     int64             `yaml:"tries" default:"4" validate:"min=1,max=20" doc:"How often to begin, or to go on where it was cut off."`
	Redirects int64             `yaml:"redirects" default:"5" validate:"min=0,max=10" doc:"How many redirects to follow."`
	Proxy     string            `yaml:"proxy" default:"env" doc:"http://host:port of a proxy, none, or env for what the environment of the host says."`
	Insecure  bool              `yaml:"insecure" default:"false" doc:"Whether any certificate of the server is accepted."`
}

// State is what the host has.
type State struct {
	Kind    string       `yaml:"kind" json:"kind" doc:"What is at the path: absent or file."`
	Mode    string       `yaml:"mode" json:"mode" doc:"Permission bits in octal, empty when absent."`
	Owner   string       `yaml:"owner" json:"owner" doc:"Owner, empty when absent."`
	Group   string       `yaml:"group" json:"group" doc:"Group, empty when absent."`
	Content task.Content `yaml:"content" json:"content" doc:"The content's size and digest."`
}

// Module downloads files.
var Module = task.New(task.Def[Params, State]{
	Name: "download", Doc: doc, TLS: true,
	Validate: validate,
	Resource: func(p Params) string { return string(p.Path) },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

func validate(p Params) error {
	if err := task.CheckURL("url", p.URL); err != nil {
		return err
	}
	if sum, err := task.ParseSum(p.SHA256); err != nil || sum.SHA256() == "" {
		return task.FieldErrorf("sha256", "%q is no SHA-256: want 64 hex digits", p.SHA256)
	}
	if err := task.CheckProxy("proxy", p.Proxy); err != nil {
		return err
	}
	return task.CheckHeaders(p.Headers, p.Secrets)
}

func (p *Params) sum() task.Sum {
	sum, _ := task.ParseSum(p.SHA256) // it was validated
	return sum
}

func (p *Params) attributes() task.Attributes {
	return task.Attributes{Mode: p.Mode, Owner: p.Owner, Group: p.Group}
}

func (s *State) seen() task.Seen { return task.Seen{Mode: s.Mode, Owner: s.Owner, Group: s.Group} }

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil {
		return State{}, err
	}
	s := State{Kind: string(info.Kind)}
	switch info.Kind {
	case task.KindNone, task.KindLink: // a link is replaced by the file
		return s, nil
	case task.KindFile:
	default:
		return s, fmt.Errorf("cannot download to %s: there is a %s", p.Path, info.Kind)
	}
	seen, err := p.attributes().See(ctx, r, info)
	if err != nil {
		return s, err
	}
	s.Mode, s.Owner, s.Group = seen.Mode, seen.Owner, seen.Group
	s.Content, err = r.Digest(ctx, string(p.Path))
	return s, err
}

func (p *Params) right(s *State) bool { return strings.EqualFold(s.Content.Digest, p.sum().SHA256()) }

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if !p.right(&s) {
		c := task.Change{Attr: "sha256", Before: task.Brief(s.Content.Digest), After: task.Brief(p.sum().SHA256()) + " from " + p.URL, Kind: task.Update}
		if s.Kind == string(task.KindNone) {
			c.Kind = task.Create
		}
		out = append(out, c)
	}
	return append(out, p.attributes().Diff(s.seen())...)
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.right(&s) {
		return p.attributes().Apply(ctx, w, string(p.Path), s.seen())
	}
	owner, group := p.attributes().Change(s.seen())
	return w.Download(ctx, task.Download{
		Path: string(p.Path), Sum: p.sum(), Tries: p.Tries, Mode: p.Mode, Owner: owner, Group: group,
		Request: task.Request{
			URL: p.URL, Header: p.Headers, Secrets: task.SecretHeaders(p.Secrets), Redirects: p.Redirects,
			Insecure: p.Insecure, Proxy: task.ProxyOf(p.Proxy), MaxBody: p.MaxMB << 20,
		},
	})
}
