package cli

import (
	"github.com/spf13/cobra"
)

func newRootCmd(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Run typed playbooks on fleets of Linux servers",
		Long: `Holdfast brings Linux servers into the state that a playbook describes, over SSH.
It checks the playbook before any host is contacted, shows a plan that is the
truth, applies it, looks again, and can take every change back.`,
		Example: `  holdfast sandbox up 3                       # three throwaway hosts on this machine
  holdfast plan baseline -i inventory.yml     # what would change
  holdfast apply baseline -i inventory.yml    # change it
  holdfast undo last -i inventory.yml         # take it back`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.AddGroup(&cobra.Group{ID: "run", Title: "Work on hosts:"}, &cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "help", Title: "Set up and learn:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", newCheckCmd(env), newPlanCmd(env), newApplyCmd(env), newVerifyCmd(env), newAuditCmd(env), newUndoCmd(env), newGuardCmd(env))
	add("look", newStatusCmd(env), newHostsCmd(env), newFactsCmd(env), newRunsCmd(env), newBlameCmd(env), newLedgerCmd(env), newShowCmd(env), newLogsCmd(env), newSSHCmd(env))
	add("help", newInitCmd(env), newTrustCmd(env), newSecretCmd(env), newDocCmd(env), newPlaybooksCmd(env), newSandboxCmd(env), newVersionCmd(env))
	root.AddCommand(newHelperCmd(env))
	root.SetHelpCommandGroupID("help")
	root.SetCompletionCommandGroupID("help")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usage{err, "'" + cmd.CommandPath() + " --help' lists the flags"}
	})
	return root
}
