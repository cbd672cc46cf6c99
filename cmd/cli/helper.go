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
	}, &cobra.Command{
		Use:    "guard STATE-DIR",
		Short:  "Wait for the deadline of this machine's guard; started by its unit",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := env.untilStopped(cmd.Context())
			defer cancel()
			return helper.Guard(ctx, helper.Options{Modules: tasks.All(), StateDir: args[0]})
		},
	}, newHelperPurgeCmd(env))
	return cmd
}
