package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/load"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

func newRunsAttachCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	cmd := &cobra.Command{
		Use:   "attach RUN",
		Short: "Follow a run that goes on without its controller",
		Long: `Attach shows what a detached run, or one whose controller was lost, has done on each
host since its last program came, and follows it to the end. RUN is the name of a run, the
beginning of one, or "last": whichever is at work. It ends with the status
that the run has. A run that has ended is said to have ended, and how. One whose
controller is there cannot be attached to.

A run whose controller was lost goes on as soon as somebody attaches. What its host
has not got, only 'holdfast runs resume' can do.`,
		Example: `  holdfast runs attach 20261121-083000-ab12cd34 -i inventory.yml
  holdfast runs attach 20261121-083000-ab12cd34 -l web1 --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, faults := o.fleet.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			done, err := o.engine(cmd.Context(), runner.Options{Mode: event.Attach, Hosts: hosts, Blobs: load.NewBlobs(), Attach: args[0]})
			return firstOf(err, finish(done))
		},
	}
	o.fleet.flags(cmd)
	o.output.flags(cmd)
	cmd.Flags().IntVarP(&o.forks, "forks", "f", runner.DefaultForks, "hosts to follow at a time")
	cmd.Flags().BoolVar(&o.noRoot, "no-root", false, "stay the account that logs in instead of becoming root")
	return cmd
}

func newRunsAbortCmd(env *Env) *cobra.Command {
	a := newAsking(env)
	now := false
	cmd := &cobra.Command{
		Use:   "abort RUN",
		Short: "End a run on its hosts, whoever began it",
		Long: `Abort tells every host to stop the run after its current task. RUN is the name of a run,
the beginning of one, or "last": whichever is at work. What was done stays
done and can be taken back; handlers that wait are run by the next run. With --now the
current task is ended too, with everything that it started.`,
		Example: `  holdfast runs abort 20261121-083000-ab12cd34 -i inventory.yml
  holdfast runs abort 20261121-083000-ab12cd34 -l web1 --now`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "last" {
				args[0] = "" // whichever is at work
			}
			action := wire.AttachAbort
			if now {
				action = wire.AttachKill
			}
			return a.abort(cmd.Context(), args[0], action)
		},
	}
	a.fleet.flags(cmd)
	cmd.Flags().IntVarP(&a.forks, "forks", "f", runner.DefaultForks, "hosts to tell at a time")
	cmd.Flags().BoolVar(&a.noRoot, "no-root", false, "stay the account that logs in instead of becoming root")
	cmd.Flags().BoolVar(&now, "now", false, "end the current task too")
	return cmd
}

// abort tells all hosts and says what each answered.
func (a *asking) abort(ctx context.Context, run, action string) error {
	hosts, faults := a.fleet.hosts()
	if len(faults) > 0 {
		return faults.Err()
	}
	bins, err := binaries()
	if err != nil {
		return err
	}
	ctx, cancel := a.env.untilStopped(ctx)
	defer cancel()
	errs := make([]error, len(hosts))
	var g errgroup.Group
	g.SetLimit(max(1, a.forks))
	for i, h := range hosts {
		g.Go(func() error {
			errs[i] = a.abortOn(ctx, h, bins, wire.Attach{Run: run, Action: action})
			return nil
		})
	}
	_ = g.Wait() // the functions keep their errors
	var worst error
	told := 0
	for i, h := range hosts {
		switch {
		case errs[i] == nil:
			told++
			fmt.Fprintf(a.env.Stdout, "%s  told to stop\n", h.Name)
		case errors.Is(errs[i], remote.ErrEnded):
			fmt.Fprintf(a.env.Stdout, "%s  %s\n", h.Name, errs[i])
		default:
			worst = worse(worst, a.missed(answer{host: h.Name, err: errs[i]}))
		}
	}
	if worst == nil && told == 0 {
		return &exit{runner.CodeFailed}
	}
	return worst
}

func (a *asking) abortOn(ctx context.Context, h *inventory.Host, bins remote.Binaries, at wire.Attach) error {
	conn, err := a.fleet.connect(ctx, h)
	if err != nil {
		return remote.AsUnreachable(h.Name, err)
	}
	defer conn.Close() //nolint:errcheck // the answer counts
	o := a.fleet.session(bins, !a.noRoot)(h)
	o.Hello = wire.Hello{Run: "abort", Command: "holdfast runs abort"}
	o.Hello.User, o.Hello.Controller = a.env.whoami()
	s, err := remote.Attach(ctx, conn, o, at)
	if err != nil {
		return err
	}
	_ = s.Close() // the host has hung up
	return nil
}
