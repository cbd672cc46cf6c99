package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/playbooks/source"
	"holdfast/runner"
)

func newCheckCmd(env *Env) *cobra.Command {
	o := newPlayOptions(env)
	cmd := &cobra.Command{
		Use:   "check PLAYBOOK",
		Short: "Find every fault in a playbook, without contacting a host",
		Long: `Check joins the playbook with the inventory and reports every fault for every
selected host, sorted by place: unknown names, wrong types, missing values, bad
expressions, files that are not there. The exit status is 3 when there is one.`,
		Example: `  holdfast check ./site.yml -i inventory.yml
  holdfast check baseline -i localhost, --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			// Whether a secret is there is known without an identity; what is in it is not asked.
			o.fleet.vault().LookOnly = true
			pb, _, hosts, _, err := o.load(args[0])
			if o.output.format == "json" {
				return env.faultsJSON(err)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "%s %s: no faults, checked for %s\n", pb.Lang.Name, pb.Lang.Version, render.Plural(len(hosts), "host"))
			return nil
		},
	}
	o.flags(cmd)
	return cmd
}

// faultsJSON prints faults one a line.
func (env *Env) faultsJSON(err error) error {
	if err == nil {
		return nil
	}
	var faults source.Faults
	if !errors.As(err, &faults) {
		return err
	}
	enc := json.NewEncoder(env.redactor.Writer(env.Stdout))
	enc.SetEscapeHTML(false)
	for _, f := range faults {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	return &exit{runner.CodeFaults}
}
