// Package sysctl is the module that sets kernel parameters, now and at boot.
package sysctl

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Name          string            `yaml:"name" doc:"Name of the file in /etc/sysctl.d without .conf; 60- is put before one without a number." validate:"required"`
	State         string            `yaml:"state" doc:"Whether the file is there." default:"present" validate:"oneof=present absent"`
	Values        map[string]string `yaml:"values" doc:"Value of each parameter; a name with - in front may be unknown to the kernel."`
	IgnoreMissing bool              `yaml:"ignore_missing" doc:"Any of the parameters may be unknown to the kernel." default:"false"`
}

// State is what the host has.
type State struct {
	Exists  bool              `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Path    string            `yaml:"path" json:"path" doc:"The file."`
	Content task.Content      `yaml:"content" json:"content" doc:"What is in it."`
	Running map[string]string `yaml:"running" json:"running" doc:"Running value of each parameter that the kernel has."`
	Missing []string          `yaml:"missing" json:"missing" doc:"Parameters that the kernel lacks."`
}

const (
	dir     = "/etc/sysctl.d"
	mark    = "# Managed by Holdfast: changes are lost with the next run.\n"
	maxFile = 1 << 20
)

// dirs are the folders that are read at boot; of files with one name the first
// counts, and all are read in the order of their names (sysctl.d(5)).
var dirs = []string{dir, "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"}

//go:embed doc.md
var doc string

// Module manages kernel parameters.
var Module = task.New(task.Def[Params, State]{
	Name: "sysctl", Doc: doc, Validate: validate,
	Resource: filePath,
	Observe:  observe, Diff: diff, Apply: apply,
})

var (
	fileRule = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`)
	keyRule  = regexp.MustCompile(`^-?[a-zA-Z0-9_-]+([./][a-zA-Z0-9_:-]+)+$`)
	numbered = regexp.MustCompile(`^[0-9]{2}-`)
)

func validate(p Params) error {
	if !fileRule.MatchString(p.Name) || strings.HasSuffix(p.Name, ".conf") {
		return task.FieldErrorf("name", "%q is no name for the file: want letters, digits, _ . - and no .conf", p.Name)
	}
	if p.State == "absent" {
		return nil
	}
	if len(p.Values) == 0 {
		return task.FieldErrorf("name", "there is nothing to set: give values")
	}
	for _, k := range keys(p) {
		if !keyRule.MatchString(k) {
			return task.FieldErrorf("values", "%q is no kernel parameter: want a name such as net.ipv4.ip_forward", k)
		}
		if strings.HasPrefix(k, "-") && p.has(bare(k)) {
			return task.FieldErrorf("values", "%s is there with and without -", bare(k))
		}
		if v := p.Values[k]; normal(v) == "" || strings.ContainsAny(v, "\n\r") {
			return task.FieldErrorf("values", "%s needs a value on one line", bare(k))
		}
	}
	return nil
}

func (p Params) has(key string) bool { _, ok := p.Values[key]; return ok }

func filePath(p Params) string {
	name := p.Name
	if !numbered.MatchString(name) {
		name = "60-" + name
	}
	return path.Join(dir, name+".conf")
}

// keys returns the names as they are written, sorted by what they name.
func keys(p Params) []string {
	return slices.SortedFunc(maps.Keys(p.Values), func(a, b string) int { return strings.Compare(bare(a), bare(b)) })
}

func bare(key string) string { return strings.TrimPrefix(key, "-") }

// normal returns a value with single blanks, as the kernel's tabs are read.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }

func content(p Params) []byte {
	out := []byte(mark)
	for _, k := range keys(p) {
		sign := ""
		if p.IgnoreMissing || bare(k) != k {
			sign = "-"
		}
		out = fmt.Appendf(out, "%s%s = %s\n", sign, bare(k), normal(p.Values[k]))
	}
	return out
}

func observe(ctx context.Context, r task.Reader, p Params) (State, error) {
	s := State{Path: filePath(p)}
	info, err := r.Stat(ctx, s.Path)
	if err != nil {
		return State{}, err
	}
	s.Exists = info.Exists()
	if info.Kind == task.KindFile {
		if s.Content, err = r.Digest(ctx, s.Path); err != nil {
			return State{}, err
		}
	}
	if p.State == "absent" {
		return s, nil
	}
	if err := s.readKernel(ctx, r, p); err != nil {
		return State{}, err
	}
	return s, checkLater(ctx, r, p)
}

func (s *State) readKernel(ctx context.Context, r task.Reader, p Params) error {
	s.Running = map[string]string{}
	for _, k := range keys(p) {
		name := bare(k)
		value, ok, err := r.KernelParam(ctx, name)
		switch {
		case err != nil:
			return err
		case ok:
			s.Running[name] = normal(value)
		case p.IgnoreMissing || name != k:
			s.Missing = append(s.Missing, name)
		default:
			return fmt.Errorf("cannot set kernel parameter %s: this kernel has none of that name; "+
				"write -%s if that is all right, or load its module first", name, name)
		}
	}
	return nil
}

// checkLater finds files that are read after ours at boot and set a parameter to
// something else: the value would be lost with the next boot, and nobody would see why.
func checkLater(ctx context.Context, r task.Reader, p Params) error {
	ours := path.Base(filePath(p))
	seen := map[string]string{}
	for _, d := range dirs {
		info, err := r.Stat(ctx, d)
		if err != nil {
			return err
		}
		if info.Kind != task.KindDir {
			continue
		}
		names, err := r.ReadDir(ctx, d)
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".conf") && name > ours && seen[name] == "" {
				seen[name] = path.Join(d, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if err := checkFile(ctx, r, p, seen[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkFile(ctx context.Context, r task.Reader, p Params, file string) error {
	info, err := r.Stat(ctx, file)
	if err != nil {
		return err
	}
	if info.Kind == task.KindLink && info.Target == "/dev/null" {
		return nil
	}
	data, err := r.ReadFile(ctx, file, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a link that leads nowhere
	case err != nil:
		return err
	}
	for line := range strings.Lines(string(data)) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		name := bare(strings.TrimSpace(key))
		want, ours := p.wanted(name)
		if ours && normal(value) != want {
			return fmt.Errorf("cannot keep %s at %s: %s is read later at boot and sets it to %s; "+
				"change that file, or give this one a name that sorts after it", name, want, file, normal(value))
		}
	}
	return nil
}

// wanted returns the value of a parameter; sysctl.d takes net/ipv4/x for net.ipv4.x.
func (p Params) wanted(name string) (value string, ok bool) {
	for _, n := range []string{name, "-" + name} {
		if v, ok := p.Values[n]; ok {
			return normal(v), true
		}
	}
	if dotted := strings.ReplaceAll(name, "/", "."); dotted != name {
		return p.wanted(dotted)
	}
	return "", false
}

func diff(p Params, s State) []task.Change {
	if p.State == "absent" {
		if !s.Exists {
			return nil
		}
		return []task.Change{{Attr: "state", Before: "present", After: "absent", Kind: task.Delete}}
	}
	var out []task.Change
	if want := task.ContentOf(content(p)); want.Digest != s.Content.Digest {
		out = append(out, task.ContentChange("content", s.Path, s.Content, want))
	}
	for _, k := range keys(p) {
		running, known := s.Running[bare(k)]
		if want := normal(p.Values[k]); known && running != want {
			out = append(out, task.Set(bare(k), running, want))
		}
	}
	return out
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.State == "absent" {
		return w.Remove(ctx, s.Path)
	}
	// The kernel first: it refuses what no file should say.
	for _, k := range keys(p) {
		name, want := bare(k), normal(p.Values[k])
		if running, known := s.Running[name]; !known || running == want {
			continue
		}
		if err := w.SetKernelParam(ctx, name, want); err != nil {
			return err
		}
	}
	data := content(p)
	if task.DigestOf(data) == s.Content.Digest {
		return nil
	}
	return w.WriteFile(ctx, task.FileWrite{Path: s.Path, Data: data})
}
