package cli

import (
	"github.com/spf13/cobra"

	"holdfast/runner"
	"holdfast/runner/event"
)

func newPlanCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	exitCode := false
	cmd := &cobra.Command{
		Use:   "plan PLAYBOOK",
		Short: "Show what applying a playbook would change",
		Long: `Plan looks at every host and shows what apply would change, without changing
anything. Later tasks see what earlier ones would have done. What cannot be known
before the run is shown as such and never guessed.`,
		Example: `  holdfast plan baseline -i inventory.yml --diff
  holdfast plan baseline -i localhost, -p admin_keys='[ssh-ed25519 AAAA… me]'
  holdfast plan ./site.yml -l 'web*' --exit-code`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := o.run(cmd.Context(), args[0], event.Plan)
			if err != nil {
				return err
			}
			if exitCode && done.Code == runner.CodeOK && done.Changed > 0 {
				return &exit{runner.CodeChanges}
			}
			return finish(done)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 4 when there are changes")
	return cmd
}
