package timer

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"holdfast/tasks/task"
)

func (p *Params) timerText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Managed by holdfast.\n[Unit]\nDescription=%s\n\n[Timer]\n", p.description("Timer of "))
	for _, when := range p.Calendar {
		fmt.Fprintf(&b, "OnCalendar=%s\n", when)
	}
	if len(p.Calendar) > 0 {
		fmt.Fprintf(&b, "Persistent=%t\n", p.Persistent)
	}
	for _, line := range []struct {
		name string
		span *task.Duration
	}{{"OnBootSec", p.AfterBoot}, {"OnUnitActiveSec", p.Every}, {"RandomizedDelaySec", p.RandomDelay}} {
		if line.span != nil {
			fmt.Fprintf(&b, "%s=%s\n", line.name, seconds(*line.span))
		}
	}
	b.WriteString("\n[Install]\nWantedBy=timers.target\n")
	return b.String()
}

func (p *Params) description(prefix string) string {
	if p.Description != nil {
		return strings.ReplaceAll(*p.Description, "%", "%%")
	}
	return prefix + p.Name
}

func (p *Params) serviceText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Managed by holdfast.\n[Unit]\nDescription=%s\n\n[Service]\nType=oneshot\nExecStart=%s\n", p.description(""), execLine(p.Command))
	if p.RunAs != nil {
		fmt.Fprintf(&b, "User=%s\n", *p.RunAs)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		fmt.Fprintf(&b, "Environment=%s\n", quote(name+"="+p.Env[name], false))
	}
	for _, file := range p.EnvFiles {
		fmt.Fprintf(&b, "EnvironmentFile=%s\n", strings.ReplaceAll(string(file), "%", "%%"))
	}
	if p.Dir != nil {
		fmt.Fprintf(&b, "WorkingDirectory=%s\n", strings.ReplaceAll(string(*p.Dir), "%", "%%"))
	}
	if p.Timeout != nil {
		fmt.Fprintf(&b, "TimeoutStartSec=%s\n", seconds(*p.Timeout))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Service)) {
		fmt.Fprintf(&b, "%s=%s\n", name, p.Service[name])
	}
	return b.String()
}

func execLine(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = quote(a, true)
	}
	return strings.Join(words, " ")
}

// quote writes a word so that systemd takes it as it is: % is doubled, and in commands
// $ too (systemd.service(5), systemd.unit(5)).
func quote(word string, command bool) string {
	word = strings.ReplaceAll(word, "%", "%%")
	if command {
		word = strings.ReplaceAll(word, "$", "$$")
	}
	if word != "" && !strings.ContainsAny(word, " \t\"'\\;") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(word) + `"`
}

func apply(ctx context.Context, w task.Writer, p Params, s State) error {
	if p.State == "absent" {
		return remove(ctx, w, &p, &s)
	}
	if err := judge(ctx, w, &p); err != nil {
		return err
	}
	for _, dir := range s.folder.make {
		if err := w.MakeDir(ctx, dir, 0o755, *p.User, s.folder.group); err != nil {
			return err
		}
	}
	wrote := false
	for _, f := range []struct {
		name, text string
		have       task.Content
	}{{p.Name + ".service", p.serviceText(), s.Service}, {p.Name + ".timer", p.timerText(), s.Timer}} {
		if task.DigestOf([]byte(f.text)) == f.have.Digest {
			continue
		}
		mode := task.Mode(0o644)
		file := task.FileWrite{Path: path.Join(s.folder.dir, f.name), Data: []byte(f.text), Mode: &mode, Owner: "root", Group: "root"}
		if p.User != nil {
			file.Owner, file.Group = *p.User, s.folder.group
		}
		if err := w.WriteFile(ctx, file); err != nil {
			return err
		}
		wrote = true
	}
	if wrote || s.NeedReload {
		if err := w.ReloadUnits(ctx, p.ref().User); err != nil {
			return err
		}
	}
	yes := true
	change := task.UnitChange{Enable: &yes, Action: task.UnitStart}
	if s.Active == "active" {
		change.Action = task.UnitRestart // with the new times
	}
	return w.SetUnit(ctx, p.ref(), change)
}

// judge asks the host's own systemd about the times, which may know fewer forms than
// a newer one.
func judge(ctx context.Context, w task.Writer, p *Params) error {
	for _, when := range p.Calendar {
		out, err := w.Query(ctx, task.Command{Argv: []string{"systemd-analyze", "calendar", when}})
		if err != nil {
			return fmt.Errorf("cannot set %s: %w", resource(*p), err)
		}
		if out.Status != 0 {
			return fmt.Errorf("cannot set %s: systemd refuses the time %q: %s", resource(*p), when, strings.TrimSpace(out.Stderr))
		}
	}
	return nil
}

func remove(ctx context.Context, w task.Writer, p *Params, s *State) error {
	if s.Timer.Digest != "" {
		no := false
		if err := w.SetUnit(ctx, p.ref(), task.UnitChange{Enable: &no, Action: task.UnitStop}); err != nil {
			return err
		}
	}
	for _, end := range []string{".timer", ".service"} {
		if err := w.Remove(ctx, path.Join(s.folder.dir, p.Name+end)); err != nil {
			return err
		}
	}
	return w.ReloadUnits(ctx, p.ref().User)
}
