package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner"
	"holdfast/runner/event"
)

func newApplyCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	yes := false
	cmd := &cobra.Command{
		Use:   "apply PLAYBOOK",
		Short: "Bring hosts into the state that a playbook describes",
		Long: `Apply makes the changes that plan shows. On a terminal it shows them first and
asks. Every change is written to a journal on the host before it is made, so that
'holdfast undo' can take the run back.

The first interrupt lets each host finish its current step; the second one stops
at once. Handlers that were notified and did not run are run by the next apply.

A connection that is lost is made anew and the run goes on where it was; until then
the host waits between two tasks. With --detach hosts get the whole run and finish it
alone: 'holdfast runs attach' shows how it goes, 'holdfast runs abort' ends it.`,
		Example: `  holdfast apply baseline -i inventory.yml
  holdfast apply baseline -l canary --yes
  holdfast apply nightly --detach --yes
  holdfast apply ./site.yml -i web1,web2 -p ssh_port=222 --output json > run.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && o.output.format == "text" && env.isTerminal() && env.canAsk() {
				done, err := o.run(cmd.Context(), args[0], event.Plan)
				if err != nil || done.Code != runner.CodeOK || done.Changed == 0 {
					return firstOf(err, finish(done))
				}
				if !env.ask(fmt.Sprintf("apply these changes to %s?", render.Plural(done.Changed, "host"))) {
					return &exit{runner.CodeOK}
				}
			}
			done, err := o.run(cmd.Context(), args[0], event.Apply)
			return firstOf(err, finish(done))
		},
	}
	o.flags(cmd)
	o.outliving(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not show the plan first and do not ask")
	return cmd
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ask puts a question to the person at the terminal. Anything but y or yes is no.
func (env *Env) ask(question string) bool {
	fmt.Fprintf(env.Stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(env.Stdin).ReadString('\n')
	if err != nil {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
