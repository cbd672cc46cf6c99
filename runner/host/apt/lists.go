package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ListsRefreshed: see the function of the same name.
func (s *System) ListsRefreshed() (time.Time, error) {
	dir := s.path("var/lib/apt/lists")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, fmt.Errorf("cannot read the package lists: %w", err)
	}
	have := false
	for _, e := range entries {
		have = have || strings.HasSuffix(e.Name(), "Release") || strings.Contains(e.Name(), "_Packages")
	}
	if !have {
		return time.Time{}, nil
	}
	// The stamps are written by Ubuntu's hook and by apt's daily timer.
	var newest time.Time
	for _, p := range []string{"var/lib/apt/lists", "var/lib/apt/periodic/update-success-stamp", "var/lib/apt/periodic/update-stamp"} {
		if info, err := os.Stat(s.path(p)); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest, nil
}

// Simulate: see the function of the same name.
func (s *System) Simulate(ctx context.Context, specs []Spec, run Runner) ([]Action, error) {
	args, err := s.installArgs(specs)
	if err != nil || args == nil {
		return nil, err
	}
	out, err := simulate(ctx, run, args)
	if err != nil {
		return nil, fmt.Errorf("cannot simulate installing %s: %w", listSpecs(specs), err)
	}
	return out, nil
}

// SimulateRemove: see the function of the same name.
func (s *System) SimulateRemove(ctx context.Context, names []string, purge bool, run Runner) ([]Action, error) {
	args, err := s.removeArgs(names, purge)
	if err != nil || args == nil {
		return nil, err
	}
	out, err := simulate(ctx, run, args)
	if err != nil {
		return nil, fmt.Errorf("cannot simulate removing %s: %w", strings.Join(names, ", "), err)
	}
	return out, nil
}

func simulate(ctx context.Context, run Runner, args []string) ([]Action, error) {
	argv := aptGet(append([]string{"--simulate"}, args...)...)
	var found []Action
	status, out, err := run(ctx, argv, environment, func(line string) {
		if a, ok := parseAction(line); ok {
			found = append(found, a)
		}
	})
	if err != nil {
		return nil, err
	}
	if status != 0 {
		return nil, &Failed{Command: argv[0], Status: status, Reason: reason(out)}
	}
	sortActions(found)
	return found, nil
}

// parseAction reads "Inst name [old] (new Origin [arch]) [...]", "Remv name [old]"
// and "Purg name [old]".
func parseAction(line string) (Action, bool) {
	verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	name, rest, _ := strings.Cut(rest, " ")
	a := Action{Name: name}
	if old, after, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(old, "[") {
		a.From, rest = old[1:], after
	}
	switch verb {
	case "Remv":
		a.Kind = "remove"
	case "Purg":
		a.Kind = "purge"
	case "Inst":
		new, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(rest), "("), " ")
		a.To = new
		switch {
		case a.From == "":
			a.Kind = "install"
		case CompareVersions(a.To, a.From) < 0:
			a.Kind = "downgrade"
		default:
			a.Kind = "upgrade"
		}
	default:
		return Action{}, false
	}
	return a, name != ""
}

// Lookup: see the function of the same name.
func (s *System) Lookup(ctx context.Context, names []string, run Runner) (map[string]Policy, error) {
	if len(names) == 0 {
		return map[string]Policy{}, nil
	}
	for _, n := range names {
		if err := checkName(n, ""); err != nil {
			return nil, err
		}
	}
	var lines []string
	argv := append([]string{"apt-cache", "policy", "--"}, names...)
	status, out, err := run(ctx, argv, environment, func(l string) { lines = append(lines, l) })
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", strings.Join(names, ", "), err)
	}
	if status != 0 {
		return nil, fmt.Errorf("cannot look up %s: %w", strings.Join(names, ", "),
			&Failed{Command: argv[0], Status: status, Reason: reason(out)})
	}
	return parsePolicy(lines), nil
}

// Cached returns where apt keeps a copy of a package in exactly that version, or "".
func (s *System) Cached(name, version string) (string, error) {
	if err := checkName(name, version); err != nil || version == "" {
		return "", err
	}
	name, arch, _ := strings.Cut(name, ":")
	if arch == "" {
		arch = "*"
	}
	// apt quotes what file systems or URIs may not like (apt-pkg's QuoteString).
	pattern := s.path("var/cache/apt/archives/" + name + "_" + strings.ReplaceAll(version, ":", "%3a") + "_" + arch + ".deb")
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}

// parsePolicy reads the answer of apt-cache policy. A version counts as one that
// can be downloaded when a line below it names a source other than dpkg's status.
func parsePolicy(lines []string) map[string]Policy {
	out := map[string]Policy{}
	name, version := "", ""
	for _, line := range lines {
		words := strings.Fields(strings.TrimPrefix(line, " ***"))
		p := out[name]
		switch {
		case len(words) == 0:
			continue
		case line[0] != ' ':
			name, version = strings.TrimSuffix(words[0], ":"), ""
			continue
		case len(words) == 2 && words[0] == "Installed:":
			p.Installed = known(words[1])
		case len(words) == 2 && words[0] == "Candidate:":
			p.Candidate = known(words[1])
		case words[0] == "Version" || words[0] == "Package":
			continue
		case !strings.HasPrefix(line, "        "):
			version = words[0]
		case len(words) >= 2 && !strings.HasSuffix(words[1], "/dpkg/status"):
			if n := len(p.Versions); n == 0 || p.Versions[n-1] != version {
				p.Versions = append(p.Versions, version)
			}
		}
		out[name] = p
	}
	return out
}

func known(version string) string {
	if version == "(none)" {
		return ""
	}
	return version
}
