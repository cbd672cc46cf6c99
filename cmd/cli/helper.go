package cli

import (
	"github.com/spf13/cobra"

	"holdfast/runner/helper"
	"holdfast/tasks"
)

func newHelperCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "helper",
		Short:  "Speak to a controller on stdin and stdout",
		Hidden: true,
	}
	cmd.AddCommand(&cobra.Command{
		Use:    "serve",
		Short:  "Be the helper on this machine; started by holdfast, over SSH",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return helper.Serve(cmd.Context(), helper.Options{Modules: tasks.All(), Build: version(), In: env.Stdin, Out: env.Stdout})
		},
	}, newHelperPurgeCmd(env))
	return cmd
}
