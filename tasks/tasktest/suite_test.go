package tasktest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"holdfast/tasks/task"
)

// recorder is a testing.TB whose failures are what a test wants to see.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// complaints returns what the suite says about a module.
func complaints(t *testing.T, m *task.Module) string {
	t.Helper()
	r := &recorder{TB: t}
	do := func(check func()) {
		done := make(chan struct{})
		go func() { defer close(done); check() }()
		<-done
	}
	do(func() {
		examples := examplesOf(r, m)
		do(func() { checkDocument(r, m, examples) })
		for _, e := range examples {
			do(func() { checkLife(r, m, e) })
			do(func() { checkFailures(r, m, e) })
			do(func() { checkCancelled(r, m, e) })
		}
		do(func() { checkSequence(r, m, examples) })
	})
	return strings.Join(r.said, "\n")
}

type params struct {
	Path   task.Path       `yaml:"path" validate:"required" doc:"The file."`
	Secret task.SecretText `yaml:"secret" doc:"Its content."`
}

type seen struct {
	Digest string `yaml:"digest" json:"digest" doc:"Digest of the content."`
}

const toyDoc = "# Writes a secret.\n\n## Notes\n\n- None.\n\n## Examples\n\n```yaml\n" +
	"- name: a\n  toy: {path: /etc/toy, secret: '${secret(\"a\")}'}\n```\n"

// toy returns a module that keeps all promises.
func toy() task.Def[params, seen] {
	return task.Def[params, seen]{
		Name: "toy", Doc: toyDoc,
		Resource: func(p params) string { return string(p.Path) },
		Observe:  observeToy,
		Diff:     diffToy,
		Apply: func(ctx context.Context, w task.Writer, p params, _ seen) error {
			return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path), Data: []byte(p.Secret.Reveal()), Secret: true})
		},
	}
}

func observeToy(ctx context.Context, r task.Reader, p params) (seen, error) {
	info, err := r.Stat(ctx, string(p.Path))
	if err != nil || !info.Exists() {
		return seen{}, err
	}
	c, err := r.Digest(ctx, string(p.Path))
	return seen{c.Digest}, err
}

func diffToy(p params, s seen) []task.Change {
	if s.Digest == task.DigestOf([]byte(p.Secret.Reveal())) {
		return nil
	}
	return []task.Change{{Attr: "secret", Kind: task.Update}}
}

func TestSuiteAcceptsWhatKeepsAllPromises(t *testing.T) {
	if got := complaints(t, task.New(toy())); got != "" {
		t.Errorf("got %s, want no complaint", got)
	}
}

func TestSuiteComplains(t *testing.T) {
	keep := toy()
	looks := 0
	tests := []struct {
		name  string
		spoil func(d *task.Def[params, seen])
		want  string
	}{
		{"no example", func(d *task.Def[params, seen]) { d.Doc = "# Toy.\n\n## Notes\n" }, "has no example"},
		{"no notes", func(d *task.Def[params, seen]) { d.Doc = strings.ReplaceAll(toyDoc, "Notes", "Hints") }, "no section Notes"},
		{"no secret in the examples", func(d *task.Def[params, seen]) {
			d.Doc = strings.ReplaceAll(toyDoc, `, secret: '${secret("a")}'`, "")
		}, "sets secret"},
		{"an unknown field in an example", func(d *task.Def[params, seen]) {
			d.Doc = strings.ReplaceAll(toyDoc, "secret:", "secrets:")
		}, "unknown field"},
		{"two looks differ", func(d *task.Def[params, seen]) {
			d.Diff = func(params, seen) []task.Change { looks++; return []task.Change{task.Set("a", "", fmt.Sprint(looks))} }
		}, "two looks at /etc/toy differ"},
		{"observing writes", func(d *task.Def[params, seen]) {
			d.Observe = func(ctx context.Context, r task.Reader, p params) (seen, error) {
				if err := r.(task.Writer).Remove(ctx, "/etc/nothing"); err != nil {
					return seen{}, err
				}
				return observeToy(ctx, r, p)
			}
		}, "observing /etc/toy writes"},
		{"does not settle", func(d *task.Def[params, seen]) {
			d.Apply = func(ctx context.Context, w task.Writer, p params, _ seen) error {
				return w.SetMode(ctx, "/etc/motd", 0o600)
			}
		}, "did not settle"},
		{"commands without undo", func(d *task.Def[params, seen]) {
			d.Apply = func(ctx context.Context, w task.Writer, p params, s seen) error {
				if _, err := w.Run(ctx, task.Command{Argv: []string{"true"}}); err != nil {
					return err
				}
				return keep.Apply(ctx, w, p, s)
			}
		}, "has neither Undo nor Irreversible"},
		{"a secret in arguments", func(d *task.Def[params, seen]) {
			d.Irreversible = "a test"
			d.Apply = func(ctx context.Context, w task.Writer, p params, s seen) error {
				if _, err := w.Run(ctx, task.Command{Argv: []string{"true", p.Secret.Reveal()}}); err != nil {
					return err
				}
				return keep.Apply(ctx, w, p, s)
			}
		}, "shows a secret"},
		{"a secret file that does not say so", func(d *task.Def[params, seen]) {
			d.Apply = func(ctx context.Context, w task.Writer, p params, _ seen) error {
				return w.WriteFile(ctx, task.FileWrite{Path: string(p.Path), Data: []byte(p.Secret.Reveal())})
			}
		}, "writes a secret to /etc/toy without saying so"},
		{"a secret in the state", func(d *task.Def[params, seen]) {
			d.Observe = func(ctx context.Context, r task.Reader, p params) (seen, error) {
				s, err := observeToy(ctx, r, p)
				if s.Digest == "" {
					s.Digest = "not " + p.Secret.Reveal()
				}
				return s, err
			}
		}, "shows a secret"},
		{"a hidden failure", func(d *task.Def[params, seen]) {
			d.Apply = func(ctx context.Context, w task.Writer, p params, s seen) error {
				_ = w.SetMode(ctx, "/etc/motd", 0o600)
				return keep.Apply(ctx, w, p, s)
			}
		}, "hides that the host cannot set the mode of /etc/motd"},
		{"a failure that became another", func(d *task.Def[params, seen]) {
			d.Apply = func(ctx context.Context, w task.Writer, p params, s seen) error {
				if keep.Apply(ctx, w, p, s) != nil {
					return errors.New("it did not work")
				}
				return nil
			}
		}, "became another: it did not work"},
		{"an undo that does too much", func(d *task.Def[params, seen]) {
			d.Undo = func(_ context.Context, w task.Writer, _ params, _ seen) error {
				w.(*Host).AddFile("/etc/left", "", 0o644)
				return nil
			}
		}, "taken back, the host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := toy()
			tt.spoil(&d)
			if got := complaints(t, task.New(d)); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want a complaint with %q", got, tt.want)
			}
		})
	}
}
