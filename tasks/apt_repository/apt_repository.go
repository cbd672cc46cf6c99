// Package aptrepository manages sources of packages for apt, and whose signature counts for them.
package aptrepository

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
	Name         string     `yaml:"name" validate:"required" doc:"Name of the files: docker for docker.sources and its keyring."`
	State        string     `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether it is there."`
	URIs         []string   `yaml:"uris" validate:"min=1" doc:"Where the repository is."`
	Suites       []string   `yaml:"suites" validate:"min=1" doc:"Suites, such as bookworm, or a path that ends with /."`
	Components   []string   `yaml:"components" doc:"Components, such as main; none with a path."`
	Arch         []string   `yaml:"arch" doc:"Architectures as dpkg names them; without it, those of the host."`
	Types        []string   `yaml:"types" validate:"oneof=deb deb-src" doc:"What is fetched; without it, deb."`
	Fingerprints []string   `yaml:"fingerprints" doc:"Whole fingerprints of the keys that may sign: 40 hex digits, blanks allowed."`
	Key          *string    `yaml:"key" validate:"excludes=key_url,excludes=keyring" doc:"The key in its text form."`
	KeyURL       *string    `yaml:"key_url" validate:"excludes=keyring" doc:"Where the key is fetched from when it is not there yet."`
	Keyring      *task.Path `yaml:"keyring" doc:"A keyring that is on the host already."`
	Refresh      bool       `yaml:"refresh" default:"true" doc:"Whether the package lists are refreshed after a change."`
}

// State is what the host has.
type State struct {
	Source  task.Content `yaml:"source" json:"source" doc:"What is in the file of the source."`
	Keys    []string     `yaml:"keys" json:"keys" doc:"Fingerprints of the keys in the keyring."`
	Keyring string       `yaml:"keyring" json:"keyring" doc:"Digest of the keyring, empty when it is not there."`
	NoDir   bool         `yaml:"-" json:"-"`
}

const (
	sourcesDir = "/etc/apt/sources.list.d"
	keysDir    = "/etc/apt/keyrings"
	maxKey     = 4 << 20
)

// Module manages repositories.
var Module = task.New(task.Def[Params, State]{
	Name: "apt_repository", Doc: doc, TLS: true,
	Validate: validate,
	Resource: func(p Params) string { return p.source() },
	Observe:  observe,
	Diff:     diff,
	Apply:    apply,
})

var (
	nameRule  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_-]*$`)
	printRule = regexp.MustCompile(`^([0-9A-F]{40}|[0-9A-F]{64})$`)
	wordRule  = regexp.MustCompile(`^[^\s#\[\]]+$`)
)

func (p *Params) source() string { return path.Join(sourcesDir, p.Name+".sources") }

func (p *Params) keyring() string {
	if p.Keyring != nil {
		return string(*p.Keyring)
	}
	return path.Join(keysDir, p.Name+".gpg")
}

// prints are the fingerprints in one form, in order.
func (p *Params) prints() []string {
	out := make([]string, len(p.Fingerprints))
	for i, f := range p.Fingerprints {
		out[i] = strings.ToUpper(strings.Join(strings.Fields(f), ""))
	}
	slices.Sort(out)
	return out
}

func validate(p Params) error {
	if !nameRule.MatchString(p.Name) {
		return task.FieldErrorf("name", "%q is no name that apt reads: want letters, digits, _ and -", p.Name)
	}
	if p.State == "absent" {
		return nil
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"uris", p.URIs}, {"suites", p.Suites}, {"fingerprints", p.Fingerprints}} {
		if len(f.list) == 0 {
			return task.FieldErrorf(f.name, "missing, a repository has some")
		}
	}
	for i, f := range p.prints() {
		if !printRule.MatchString(f) {
			return task.FieldErrorf(fmt.Sprintf("fingerprints[%d]", i), "want a whole fingerprint, 40 or 64 hex digits: a short one can be forged")
		}
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"uris", p.URIs}, {"suites", p.Suites}, {"components", p.Components}, {"arch", p.Arch}} {
		for i, word := range f.list {
			if !wordRule.MatchString(word) {
				return task.FieldErrorf(fmt.Sprintf("%s[%d]", f.name, i), "%q is no single word", word)
			}
		}
	}
	for i, uri := range p.URIs {
		if !strings.Contains(uri, ":/") {
			return task.FieldErrorf(fmt.Sprintf("uris[%d]", i), "%q is no URI: want such as https://host/path", uri)
		}
	}
	if exact := strings.HasSuffix(p.Suites[0], "/"); exact == (len(p.Components) > 0) {
		return task.FieldErrorf("components", "a suite has some, and a path that ends with / has none")
	}
	return p.checkKey()
}

func (p *Params) checkKey() error {
	switch {
	case p.Key == nil && p.KeyURL == nil && p.Keyring == nil:
		return task.FieldErrorf("key", "say where the key comes from: key, key_url or keyring")
	case p.KeyURL != nil:
		return task.CheckURL("key_url", *p.KeyURL)
	case p.Key != nil:
		if _, err := p.trusted([]byte(*p.Key)); err != nil {
			return task.FieldErrorf("key", "%s", err)
		}
	}
	return nil
}

// trusted returns the binary form of keys when all of them may sign.
func (p *Params) trusted(data []byte) ([]byte, error) {
	raw, err := dearmor(data)
	if err != nil {
		return nil, err
	}
	have, err := fingerprints(raw)
	if err != nil {
		return nil, err
	}
	if want := p.prints(); !slices.Equal(have, want) {
		return nil, fmt.Errorf("it holds the keys %s, want %s", strings.Join(have, " "), strings.Join(want, " "))
	}
	return raw, nil
}

// text is the source in the form of sources.list(5), DEB822-style.
func (p *Params) text() string {
	types := p.Types
	if len(types) == 0 {
		types = []string{"deb"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Managed by holdfast.\nTypes: %s\nURIs: %s\nSuites: %s\n", strings.Join(types, " "), strings.Join(p.URIs, " "), strings.Join(p.Suites, " "))
	if len(p.Components) > 0 {
		fmt.Fprintf(&b, "Components: %s\n", strings.Join(p.Components, " "))
	}
	if len(p.Arch) > 0 {
		fmt.Fprintf(&b, "Architectures: %s\n", strings.Join(p.Arch, " "))
	}
	fmt.Fprintf(&b, "Signed-By: %s\n", p.keyring())
	return b.String()
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	var s State
	info, err := r.Stat(ctx, p.source())
	if err != nil {
		return s, err
	}
	if info.Exists() {
		if s.Source, err = r.Digest(ctx, p.source()); err != nil {
			return s, err
		}
	}
	if info, err = r.Stat(ctx, p.keyring()); err != nil {
		return s, err
	}
	if !info.Exists() {
		dir, err := r.Stat(ctx, keysDir)
		s.NoDir = !dir.Exists()
		return s, err
	}
	data, err := r.ReadFile(ctx, p.keyring(), maxKey)
	if err != nil {
		return s, err
	}
	s.Keyring = task.DigestOf(data)
	// A keyring that cannot be read is one without the keys that are wanted.
	if raw, err := dearmor(data); err == nil {
		s.Keys, _ = fingerprints(raw)
	}
	if p.State == "present" && p.Keyring != nil && !slices.Equal(s.Keys, p.prints()) {
		return s, fmt.Errorf("cannot trust %s for %s: it holds the keys %s, want %s", p.keyring(), p.source(), strings.Join(s.Keys, " "), strings.Join(p.prints(), " "))
	}
	return s, nil
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	if p.State == "absent" {
		if s.Source.Digest != "" {
			out = append(out, task.ContentChange("uris", p.source(), s.Source, task.Content{}))
		}
		if s.Keyring != "" && p.Keyring == nil {
			out = append(out, task.Change{Attr: "fingerprints", Before: strings.Join(s.Keys, " "), Kind: task.Delete})
		}
		return out
	}
	if !p.keysRight(&s) {
		c := task.Change{Attr: "fingerprints", Before: strings.Join(s.Keys, " "), After: strings.Join(p.prints(), " "), Kind: task.Update}
		if s.Keyring == "" {
			c.Kind = task.Create
		}
		out = append(out, c)
	}
	if want := task.ContentOf([]byte(p.text())); want.Digest != s.Source.Digest {
		out = append(out, task.ContentChange("uris", p.source(), s.Source, want))
	}
	return out
}

// keysRight reports whether the keyring is as it should be: with exactly those keys,
// and with nothing else when the key is given.
func (p *Params) keysRight(s *State) bool {
	if p.Key != nil {
		raw, _ := p.trusted([]byte(*p.Key)) // it was validated
		return s.Keyring == task.DigestOf(raw)
	}
	return slices.Equal(s.Keys, p.prints())
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if err := change(ctx, w, &p, &s); err != nil || !p.Refresh {
		return err
	}
	return w.RefreshPackages(ctx)
}

func change(ctx context.Context, w task.Writer, p *Params, s *State) error {
	if p.State == "absent" {
		if err := w.Remove(ctx, p.source()); err != nil || p.Keyring != nil {
			return err
		}
		return w.Remove(ctx, p.keyring())
	}
	mode := task.Mode(0o644)
	if !p.keysRight(s) {
		raw, err := p.fetch(ctx, w)
		if err != nil {
			return err
		}
		if s.NoDir {
			if err := w.MakeDir(ctx, keysDir, 0o755, "root", "root"); err != nil {
				return err
			}
		}
		// The key comes first: apt must never find the source without it.
		if err := w.WriteFile(ctx, task.FileWrite{Path: p.keyring(), Data: raw, Mode: &mode, Owner: "root", Group: "root"}); err != nil {
			return err
		}
	}
	return w.WriteFile(ctx, task.FileWrite{Path: p.source(), Data: []byte(p.text()), Mode: &mode, Owner: "root", Group: "root"})
}

// fetch returns the keys, checked.
func (p *Params) fetch(ctx context.Context, r task.Reader) ([]byte, error) {
	switch {
	case p.Key != nil:
		return p.trusted([]byte(*p.Key))
	case p.Keyring != nil:
		return nil, fmt.Errorf("cannot trust %s for %s: it is not there", p.keyring(), p.source())
	}
	resp, err := r.Fetch(ctx, task.Request{URL: *p.KeyURL, Redirects: 5, MaxBody: maxKey, Proxy: task.ProxyFromEnv})
	if err != nil {
		return nil, err
	}
	if resp.Status != 200 {
		return nil, fmt.Errorf("cannot fetch the key of %s: %s answers with status %d", p.source(), *p.KeyURL, resp.Status)
	}
	raw, err := p.trusted(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot trust the key of %s from %s: %w", p.source(), *p.KeyURL, err)
	}
	return raw, nil
}
