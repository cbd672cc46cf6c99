package cli

import (
	"github.com/spf13/cobra"

	"holdfast/runner/event"
)

func newVerifyCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	cmd := &cobra.Command{
		Use:   "verify PLAYBOOK",
		Short: "Check hosts against the verify section of a playbook",
		Long: `Verify runs the playbook's verify section, which only reads. A state module in it
is compared with the host and not applied. The exit status is 5 when a check fails.`,
		Example: `  holdfast verify baseline -i inventory.yml
  holdfast verify baseline -l 'group == "eu"' --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.output.verbose = true // every check is part of the answer
			done, err := o.run(cmd.Context(), args[0], event.Verify)
			return firstOf(err, finish(done))
		},
	}
	o.flags(cmd)
	return cmd
}
