package cli

import (
	"time"

	"github.com/spf13/cobra"

	"holdfast/runner"
	"holdfast/runner/event"
	"holdfast/runner/load"
)

func newUndoCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	u := runner.UndoOptions{}
	cmd := &cobra.Command{
		Use:   "undo RUN",
		Short: "Take back what a run did",
		Long: `Undo takes back a run, last change first, from the journal on each host. RUN is
the name of a run, the beginning of one, or "last". A resource that somebody else
changed since is refused and named; the others are taken back. An undo is a run of
its own and can be undone.`,
		Example: `  holdfast undo last -i inventory.yml
  holdfast undo 20261121-0830 -l web1 --plan
  holdfast undo last --only /etc/motd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.Run = args[0]
			mode := event.Undo
			if u.Plan {
				mode = event.UndoPlan
			}
			hosts, faults := o.fleet.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			done, err := o.engine(cmd.Context(), runner.Options{Mode: mode, Hosts: hosts, Blobs: load.NewBlobs(), Undo: u})
			return firstOf(err, finish(done))
		},
	}
	o.fleet.flags(cmd)
	o.output.flags(cmd)
	cmd.Flags().DurationVar(&o.reattach, "reattach", 5*time.Minute, "how long to try to make a connection anew that was lost; the host finishes the undo meanwhile")
	cmd.Flags().IntVarP(&o.forks, "forks", "f", runner.DefaultForks, "hosts to work on at a time")
	cmd.Flags().BoolVar(&o.noRoot, "no-root", false, "stay the account that logs in instead of becoming root")
	cmd.Flags().StringArrayVar(&u.Only, "only", nil, "take back only this resource, such as /etc/motd")
	cmd.Flags().BoolVar(&u.Plan, "plan", false, "show what would be taken back and change nothing")
	cmd.Flags().BoolVar(&u.Force, "force", false, "take back what others changed since, too; their changes are lost")
	return cmd
}
