// Package sshd is the module that sets the OpenSSH server up and moves its port.
package sshd

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/tasks/task"
)

// Params is what a playbook asks for.
type Params struct {
	Port         *int64            `yaml:"port" doc:"The one port to listen on; left alone when absent." validate:"min=1,max=65535"`
	Settings     map[string]string `yaml:"settings" doc:"Keywords of sshd_config(5) and their values, one line each; with - before it as far as the server knows it."`
	Dropin       string            `yaml:"dropin" default:"00-holdfast" doc:"Name of the file in sshd_config.d, without .conf; the first value wins, so it should sort first."`
	State        string            `yaml:"state" default:"present" validate:"oneof=present absent" doc:"Whether the file is there."`
	AllowLockout bool              `yaml:"allow_lockout" default:"false" doc:"Do it even where the account that is logged in could certainly not log in again."`
}

// State is what the host has.
type State struct {
	Path    string       `yaml:"path" json:"path" doc:"The file."`
	Exists  bool         `yaml:"exists" json:"exists" doc:"Whether the file is there."`
	Content task.Content `yaml:"content" json:"content" doc:"What is in it."`
	Mode    task.Mode    `yaml:"mode" json:"mode" doc:"Its permissions."`
	Owner   string       `yaml:"owner" json:"owner" doc:"Its owner and group."`
	Ports   []int64      `yaml:"ports" json:"ports" doc:"Where the server listens by all of its files."`
	Open    bool         `yaml:"open" json:"open" doc:"Whether something listens on the port that was asked for."`
	Unit    string       `yaml:"unit" json:"unit" doc:"The unit that holds the port: ssh.socket, ssh.service, sshd.service, or empty."`

	look *look `yaml:"-"`
}

//go:embed doc.md
var doc string

// Module manages a file of settings of the SSH server, and its port.
var Module = task.New(task.Def[Params, State]{
	Name: "sshd", Doc: doc, Risk: task.Connectivity, Validate: validate,
	Resource: func(p Params) string { return file(p) },
	Observe:  observe, Diff: diff, Apply: apply,
	Port: func(p Params) int64 {
		if p.Port == nil {
			return 0
		}
		return *p.Port
	},
})

var (
	fileRule    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	keywordRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
)

func validate(p Params) error {
	if !fileRule.MatchString(p.Dropin) || strings.HasSuffix(p.Dropin, ".conf") {
		return task.FieldErrorf("dropin", "%q is no name for a file of settings: want letters, digits and . _ -, without .conf", p.Dropin)
	}
	if p.State == "absent" {
		if p.Port != nil || len(p.Settings) > 0 {
			return task.FieldErrorf("state", "a file that is not there has neither port nor settings")
		}
		return nil
	}
	if p.Port == nil && len(p.Settings) == 0 {
		return task.FieldErrorf("state", "there is nothing to do: give port or settings")
	}
	given := map[string]string{}
	for _, name := range names(p) {
		if other, twice := given[keyword(bare(name))]; twice {
			return task.FieldErrorf("settings", "%q and %q are one keyword", other, name)
		}
		given[keyword(bare(name))] = name
		if err := setting(bare(name), p.Settings[name]); err != nil {
			return err
		}
	}
	return nil
}

func setting(name, value string) error {
	switch {
	case !keywordRule.MatchString(name):
		return task.FieldErrorf("settings", "%q is no keyword of sshd_config", name)
	case keyword(name) == "port":
		return task.FieldErrorf("settings", "the port has a field of its own: write port: %s", value)
	case keyword(name) == "include" || keyword(name) == "match":
		return task.FieldErrorf("settings", "%s changes what the lines after it mean; put it into a file of its own with the module file", name)
	case strings.TrimSpace(value) == "":
		return task.FieldErrorf("settings", "%s has no value; sshd would refuse the line", name)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }):
		return task.FieldErrorf("settings", "the value of %s has a control character", name)
	}
	for l := range strings.Lines(value) {
		if _, _, err := split("x " + strings.TrimSpace(l)); err != nil {
			return task.FieldErrorf("settings", "the value of %s is wrong: %s", name, err)
		}
	}
	return nil
}

// names returns the keywords of the settings, sorted without regard to case.
func names(p Params) []string {
	var out []string
	for name := range p.Settings {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return out
}

func file(p Params) string { return path.Join(dropins, p.Dropin+".conf") }

const (
	mark            = "# Managed by Holdfast: changes are lost with the next run.\n"
	mode  task.Mode = 0o600
	owner           = "root:root"
)

// content returns what the file shall hold.
func content(p Params) []byte {
	var b strings.Builder
	b.WriteString(mark)
	if p.Port != nil {
		fmt.Fprintf(&b, "Port %d\n", *p.Port)
	}
	for _, name := range names(p) {
		for l := range strings.Lines(p.Settings[name]) {
			if l = strings.TrimSpace(l); l != "" {
				fmt.Fprintf(&b, "%s %s\n", name, l)
			}
		}
	}
	return []byte(b.String())
}

func diff(p Params, s State) []task.Change {
	var out []task.Change
	for _, e := range s.look.edits {
		if e.remove {
			out = append(out, task.Change{Attr: e.attr, Before: "present", After: "absent", Kind: task.Delete})
		} else if e.before.Digest != e.after.Digest {
			out = append(out, task.ContentChange(e.attr, e.path, e.before, e.after))
		}
	}
	if p.State == "absent" {
		return out
	}
	if s.Exists && s.Mode != mode {
		out = append(out, task.Set("mode", s.Mode.String(), mode.String()))
	}
	if s.Exists && s.Owner != owner {
		out = append(out, task.Set("owner", s.Owner, owner))
	}
	if p.Port != nil && s.Unit != "" && !s.Open {
		out = append(out, task.Set("port", numbers(s.look.open), strconv.FormatInt(*p.Port, 10)))
	}
	return out
}

func numbers(list []int64) string {
	var out []string
	for _, n := range list {
		out = append(out, strconv.FormatInt(n, 10))
	}
	return strings.Join(out, ", ")
}

// apply leaves the server as it was when anything goes wrong on the way.
func apply(ctx context.Context, w task.Writer, _ Params, s State) error {
	err := prepare(ctx, w, s)
	if err == nil {
		err = room(ctx, w, s)
	}
	done := 0
	for ; err == nil && done < len(s.look.edits); done++ {
		if err = s.look.edits[done].do(ctx, w); err != nil {
			break
		}
	}
	if err == nil {
		if err = activate(ctx, w, s); err == nil {
			return nil
		}
	} else if !loose(s) {
		return errors.Join(err, takeBack(ctx, w, s.look.edits[:done])) // the server noticed nothing
	}
	return errors.Join(err, takeBack(ctx, w, s.look.edits[:done]), again(ctx, w, s))
}

// room makes the folders that the server and its files need.
func room(ctx context.Context, w task.Writer, s State) error {
	if len(s.look.edits) == 0 {
		return nil
	}
	// Without it sshd -t refuses to look; the service brings it, but need not run.
	dirs := []string{"/run/sshd"}
	for _, e := range s.look.edits {
		if !e.remove {
			dirs = append(dirs, path.Dir(e.path))
		}
	}
	for _, dir := range dirs {
		info, err := w.Stat(ctx, dir)
		if err != nil {
			return err
		}
		if info.Exists() {
			continue
		}
		if err := w.MakeDir(ctx, dir, 0o755, "root", "root"); err != nil {
			return err
		}
	}
	return nil
}

func takeBack(ctx context.Context, w task.Writer, done []edit) error {
	var errs []error
	for _, e := range slices.Backward(done) {
		errs = append(errs, e.undo(ctx, w))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot take the change back: %w", err)
	}
	return nil
}
