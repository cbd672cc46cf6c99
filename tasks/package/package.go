// Package packages is the module package: software of the system's package manager.
package packages

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Install    []string       `yaml:"install" doc:"Packages to have: name, or name=version for exactly that version."`
	Absent     []string       `yaml:"absent" doc:"Packages not to have."`
	Latest     bool           `yaml:"latest" doc:"Upgrade what install names to the newest version that the lists offer." default:"false"`
	Refresh    *task.Duration `yaml:"refresh" doc:"Refresh the lists first when they are older than this and are about to be used."`
	Recommends bool           `yaml:"recommends" doc:"Install what the packages recommend too, not only what they depend on." default:"true"`
	Purge      bool           `yaml:"purge" doc:"Remove the configuration of absent packages too." default:"false"`
}

// State is what the host has, of the packages that the task names.
type State struct {
	Versions  map[string]string `yaml:"versions" json:"versions" doc:"Installed version by name of package."`
	Newest    map[string]string `yaml:"newest" json:"newest" doc:"Version that the lists offer, by name; looked up with latest only."`
	Broken    []string          `yaml:"broken" json:"broken" doc:"Packages that are unpacked or half configured."`
	Leftover  []string          `yaml:"leftover" json:"leftover" doc:"Packages of which the configuration is left."`
	Lost      []string          `yaml:"lost" json:"lost" doc:"Packages whose version could not be had again once another one is installed."`
	Held      []string          `yaml:"held" json:"held" doc:"Packages that are held, which latest leaves alone."`
	Stale     bool              `yaml:"stale" json:"stale" doc:"The lists are older than refresh allows."`
	Refreshed string            `yaml:"refreshed" json:"refreshed" doc:"When the lists were refreshed, or empty; looked up with refresh only."`
}

//go:embed doc.md
var doc string

// Module manages packages.
var Module = task.New(task.Def[Params, State]{
	Name: "package", Doc: doc, Validate: validate, Resource: resource,
	RiskOf: func(p Params) task.Risk {
		if task.RisksPackages(p.Absent) {
			return task.Connectivity
		}
		return ""
	},
	Observe: observe, Diff: diff, Apply: apply,
})

// wanted is one entry of install.
type wanted struct{ name, version string }

func (w wanted) String() string {
	if w.version == "" {
		return w.name
	}
	return w.name + "=" + w.version
}

func parse(entry string) wanted {
	name, version, _ := strings.Cut(entry, "=")
	return wanted{name, version}
}

var (
	nameRule    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9-]+)?$`)
	versionRule = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
)

func validate(p Params) error {
	if len(p.Install)+len(p.Absent) == 0 {
		return fmt.Errorf("there is nothing to do: give install or absent")
	}
	if p.Latest && len(p.Install) == 0 {
		return task.FieldErrorf("latest", "needs %q too", "install")
	}
	if p.Purge && len(p.Absent) == 0 {
		return task.FieldErrorf("purge", "needs %q too", "absent")
	}
	named := map[string]bool{}
	for _, entry := range p.Install {
		w := parse(entry)
		if err := checkName("install", w.name, named); err != nil {
			return err
		}
		if w.name != entry && !versionRule.MatchString(w.version) {
			return task.FieldErrorf("install", "%q has no version: want name=version, as dpkg shows it", entry)
		}
	}
	for _, name := range p.Absent {
		if err := checkName("absent", name, named); err != nil {
			return err
		}
	}
	return nil
}

func checkName(field, name string, named map[string]bool) error {
	if !nameRule.MatchString(name) {
		return task.FieldErrorf(field, "%q is no name for a package", name)
	}
	if named[name] {
		return task.FieldErrorf(field, "%q is named twice", name)
	}
	named[name] = true
	return nil
}

func resource(p Params) string {
	var out []string
	for _, entry := range p.Install {
		out = append(out, parse(entry).name)
	}
	return "packages " + strings.Join(append(out, p.Absent...), " ")
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{Versions: map[string]string{}}
	for _, entry := range p.Install {
		if err := s.look(ctx, r, parse(entry).name); err != nil {
			return State{}, err
		}
	}
	for _, name := range p.Absent {
		if err := s.look(ctx, r, name); err != nil {
			return State{}, err
		}
	}
	if p.Refresh != nil {
		at, err := r.PackagesRefreshed(ctx)
		if err != nil {
			return State{}, err
		}
		if !at.IsZero() {
			s.Refreshed = at.UTC().Format(time.RFC3339)
		}
		s.Stale = time.Since(at) > p.Refresh.Std()
	}
	if p.Latest {
		if err := s.lookUpNewest(ctx, r, p); err != nil {
			return State{}, err
		}
	}
	return s, s.lookUpWayBack(ctx, r, p)
}

// OneWay says which upgrades could not be taken back.
func (s State) OneWay() string {
	if len(s.Lost) == 0 {
		return ""
	}
	return "no package source offers this version any more: " + strings.Join(s.Lost, ", ")
}

// lookUpWayBack finds the versions that would be replaced and that nobody could get
// again: no source offers them, and apt keeps no copy.
func (s *State) lookUpWayBack(ctx context.Context, r task.Reader, p Params) error {
	var moving []string
	for _, entry := range p.Install {
		w := parse(entry)
		if _, differs := diffInstall(p, *s, w); differs && s.Versions[w.name] != "" {
			moving = append(moving, w.name)
		}
	}
	if len(moving) == 0 {
		return nil
	}
	out, err := r.Query(ctx, task.Command{Argv: append([]string{"apt-cache", "policy", "--"}, moving...), MaxOutput: 1 << 20})
	if err != nil {
		return err
	}
	for _, name := range moving {
		version := s.Versions[name]
		if slices.Contains(offered(out.Stdout, name), version) {
			continue
		}
		kept, err := cached(ctx, r, name, version)
		if err != nil {
			return err
		}
		if !kept {
			s.Lost = append(s.Lost, wanted{name, version}.String())
		}
	}
	return nil
}

// offered returns the versions of a package that a source has, as apt-cache policy
// prints them: a version, and deeper, where it is from.
func offered(text, name string) (out []string) {
	at, version := "", ""
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.TrimPrefix(line, " ***"))
		switch {
		case len(words) == 0:
		case line[0] != ' ':
			at, version = strings.TrimSuffix(words[0], ":"), ""
		case at != name:
		case !strings.HasPrefix(line, "        "):
			version = words[0]
		case len(words) > 1 && !strings.HasSuffix(words[1], "/dpkg/status"):
			out = append(out, version)
		}
	}
	return out
}

// archives is where apt keeps what it downloaded.
const archives = "/var/cache/apt/archives"

func cached(ctx context.Context, r task.Reader, name, version string) (bool, error) {
	info, err := r.Stat(ctx, archives)
	if err != nil || info.Kind != task.KindDir {
		return false, err
	}
	files, err := r.ReadDir(ctx, archives)
	name, _, _ = strings.Cut(name, ":")
	begin := name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_"
	return slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, begin) && strings.HasSuffix(f, ".deb") }), err
}

func (s *State) look(ctx context.Context, r task.Reader, name string) error {
	p, err := r.Package(ctx, name)
	if err != nil {
		return err
	}
	if p.Installed {
		s.Versions[name] = p.Version
	}
	if p.Broken {
		s.Broken = append(s.Broken, name)
	}
	if p.Config {
		s.Leftover = append(s.Leftover, name)
	}
	if p.Held {
		s.Held = append(s.Held, name)
	}
	return nil
}

// lookUpNewest asks apt-cache once about all packages: which version is newest
// depends on pinning, so that the answer stands in no single file.
func (s *State) lookUpNewest(ctx context.Context, r task.Reader, p Params) error {
	argv := []string{"apt-cache", "policy", "--"}
	for _, entry := range p.Install {
		if w := parse(entry); w.version == "" {
			argv = append(argv, w.name)
		}
	}
	if len(argv) == 3 {
		return nil
	}
	out, err := r.Query(ctx, task.Command{Argv: argv, MaxOutput: 1 << 20})
	if err != nil {
		return err
	}
	if out.Status != 0 {
		return fmt.Errorf("cannot look up the newest versions: apt-cache exited with status %d: %s",
			out.Status, strings.TrimSpace(out.Stderr))
	}
	s.Newest = parsePolicy(out.Stdout)
	return nil
}

// parsePolicy reads what apt-cache policy prints: a line "name:", and below it,
// indented, "Candidate: version".
func parsePolicy(text string) map[string]string {
	newest := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if n, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, " ") {
			name = n
			continue
		}
		version, ok := strings.CutPrefix(line, "  Candidate: ")
		if ok && name != "" && version != "(none)" {
			newest[name] = version
		}
	}
	return newest
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	for _, entry := range p.Install {
		if c, differs := diffInstall(p, s, parse(entry)); differs {
			out = append(out, c)
		}
	}
	if s.Stale && (p.Latest || len(out) > 0) {
		before := s.Refreshed
		if before == "" {
			before = "never"
		}
		out = append([]task.Change{{Attr: "refresh", Before: before, After: "now", Kind: task.Act}}, out...)
	}
	for _, name := range p.Absent {
		if before := there(p, s, name); before != "" {
			out = append(out, task.Change{Attr: "absent", Before: before, Kind: task.Delete})
		}
	}
	return out
}

// there says what is there of a package that shall be absent, or "". A name without
// a version is one that another package provides, so that there is nothing to remove.
func there(p Params, s State, name string) string {
	switch version := s.Versions[name]; {
	case version != "":
		return wanted{name, version}.String()
	case slices.Contains(s.Broken, name):
		return name + " (half installed)"
	case p.Purge && slices.Contains(s.Leftover, name):
		return name + " (configuration)"
	}
	return ""
}

func diffInstall(p Params, s State, w wanted) (task.Change, bool) {
	version, installed := s.Versions[w.name]
	c := task.Change{Attr: "install", Before: wanted{w.name, version}.String(), After: w.String(), Kind: task.Update}
	newest := s.Newest[w.name]
	switch {
	case slices.Contains(s.Broken, w.name):
		c.Before = w.name + " (half installed)"
	case !installed:
		c.Before, c.Kind = "", task.Create
	case w.version != "":
		return c, w.version != version
	case p.Latest && newest != "" && newest != version && !slices.Contains(s.Held, w.name):
		c.After = wanted{w.name, newest}.String()
	default:
		return c, false
	}
	return c, true
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if err := applyAbsent(ctx, w, p, s); err != nil {
		return err
	}
	var specs []task.PackageSpec
	refresh := p.Latest && s.Stale
	for _, entry := range p.Install {
		want := parse(entry)
		_, differs := diffInstall(p, s, want)
		refresh = refresh || differs && s.Stale
		// The newest version may be another one once the lists are refreshed.
		again := p.Latest && s.Stale && want.version == "" && !slices.Contains(s.Held, want.name)
		if differs || again {
			specs = append(specs, task.PackageSpec{Name: want.name, Version: want.version, Latest: p.Latest && want.version == "", Lean: !p.Recommends})
		}
	}
	if refresh {
		w.Progress("refreshing the package lists")
		if err := w.RefreshPackages(ctx); err != nil {
			return err
		}
	}
	if len(specs) == 0 {
		return nil
	}
	return w.InstallPackages(ctx, specs)
}

// applyAbsent removes before anything is installed, so that a package can make
// room for one that conflicts with it.
func applyAbsent(ctx context.Context, w task.Writer, p Params, s State) error {
	var gone []string
	for _, name := range p.Absent {
		if there(p, s, name) != "" {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return w.RemovePackages(ctx, gone, p.Purge)
}
