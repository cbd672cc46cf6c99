package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/runner/sandbox"
)

func (o *sandboxOptions) demo() *cobra.Command {
	keep := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Boot three hosts, run the shipped baseline on them, and take it back",
		Long: `Demo shows a whole run on three throwaway hosts: check, plan, apply, apply again,
verify, undo. Where there can be no such hosts it plans the baseline for this
machine instead, which changes nothing.`,
		Example: "  holdfast sandbox demo\n  holdfast sandbox demo --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.dir == "" {
				o.dir = sandbox.DefaultDir + "-demo"
			}
			s, err := o.open()
			if err != nil {
				return err
			}
			ctx, cancel := o.env.untilStopped(cmd.Context())
			defer cancel()
			if err := s.Install(ctx); err != nil {
				return o.withoutHosts(ctx, err)
			}
			if err := s.Check(ctx); err != nil {
				return o.withoutHosts(ctx, err)
			}
			return o.show(ctx, s, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the hosts running")
	return cmd
}

// withoutHosts is the demo of a machine that cannot have throwaway hosts.
func (o *sandboxOptions) withoutHosts(ctx context.Context, err error) error {
	var u *sandbox.Unsupported
	if !errors.As(err, &u) {
		return err
	}
	fmt.Fprintf(o.env.Stdout, "no throwaway hosts here: %s; this is what the baseline would do to this machine, and nothing is changed\n\n", u.Reason)
	argv := []string{"plan", "baseline", "-i", "localhost,"}
	if os.Geteuid() != 0 {
		argv = append(argv, "--no-root")
	}
	return o.step(ctx, argv...)
}

// show runs the steps of the demo.
func (o *sandboxOptions) show(ctx context.Context, s *sandbox.Sandbox, keep bool) (err error) {
	began := time.Now()
	unlock, err := lockDemo(o.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.Down(ctx); err != nil {
		return err
	}
	if !keep {
		defer func() {
			// The hosts go even when the person interrupts, so not with ctx.
			err = errors.Join(err, s.Down(context.WithoutCancel(ctx)))
		}()
	}
	if _, err := s.Up(ctx, sandbox.UpOptions{Count: 3}); err != nil {
		return err
	}
	inventory, err := s.Inventory()
	if err != nil {
		return err
	}
	const profile = "profile=minimal" // the others install much more
	for _, argv := range [][]string{
		{"check", "baseline", "-i", inventory, "-p", profile},
		{"plan", "baseline", "-i", inventory, "-p", profile},
		{"apply", "baseline", "-i", inventory, "-p", profile, "--yes"},
		{"apply", "baseline", "-i", inventory, "-p", profile, "--yes"},
		{"verify", "baseline", "-i", inventory, "-p", profile},
		{"undo", "last", "-i", inventory},
	} {
		if err := o.step(ctx, argv...); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.env.Stdout, `
done in %s: checked, planned, applied, applied again, verified and taken back on three hosts
type next:
  holdfast sandbox up 3            # hosts to play with
  holdfast playbooks show baseline # what was applied, and its parameters
  holdfast init                    # a first inventory and playbook of your own
`, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// lockDemo keeps two demos from taking each other's hosts down. The lock goes with
// the process.
func lockDemo(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the demo's folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "demo.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the demo: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // it was only opened
		return nil, usagef("wait for it, or give this one its own folder: --dir", "another demo runs on this machine")
	}
	return func() { _ = f.Close() }, nil
}

// step shows a command as a person would type it, and runs it.
func (o *sandboxOptions) step(ctx context.Context, argv ...string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	shown := make([]string, len(argv))
	for i, a := range argv {
		shown[i] = a
		if strings.ContainsAny(a, " []*?'") {
			shown[i] = "'" + a + "'"
		}
	}
	fmt.Fprintf(o.env.Stdout, "\n$ holdfast %s\n", strings.Join(shown, " "))
	root := newRootCmd(o.env)
	root.SetArgs(argv)
	root.SetIn(o.env.Stdin)
	root.SetOut(o.env.Stdout)
	root.SetErr(o.env.Stderr)
	return root.ExecuteContext(ctx)
}
