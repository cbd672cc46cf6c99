package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
)

func newHostsCmd(env *Env) *cobra.Command {
	f := env.fleet()
	format := "text"
	cmd := &cobra.Command{
		Use:   "hosts",
		Short: "List the hosts that an inventory and a limit select",
		Example: `  holdfast hosts -i inventory.yml
  holdfast hosts -l 'host.labels.role == "gateway"' --output json
  holdfast hosts explain web1 ssh_port`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			hosts, faults := f.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			return env.hosts(hosts, format)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json (one host a line)")
	complete(cmd, "text", "json")
	cmd.AddCommand(newExplainCmd(env))
	return cmd
}

// hostLine is one host in JSON.
type hostLine struct {
	Name       string            `json:"name"`
	Address    string            `json:"address"`
	Connection string            `json:"connection"`
	Groups     []string          `json:"groups"`
	Labels     map[string]string `json:"labels"`
}

func (env *Env) hosts(hosts []*inventory.Host, format string) error {
	if format == "json" {
		enc := json.NewEncoder(env.Stdout)
		for _, h := range hosts {
			if err := enc.Encode(hostLine{h.Name, h.Address, h.Connection, h.Groups, h.Labels}); err != nil {
				return err
			}
		}
		return nil
	}
	if format != "text" {
		return usagef("--output text or --output json", "unknown output %q", format)
	}
	rows := [][]string{}
	for _, h := range hosts {
		var labels []string
		for k, v := range h.Labels {
			labels = append(labels, k+"="+v)
		}
		slices.Sort(labels)
		address := h.Address
		if h.Connection == inventory.ConnectionLocal {
			address = "(this machine)"
		}
		rows = append(rows, []string{h.Name, address, strings.Join(h.Groups, ", "), strings.Join(labels, ", ")})
	}
	_, err := fmt.Fprint(env.Stdout, render.Table([]string{"host", "address", "groups", "labels"}, rows))
	return err
}

func newExplainCmd(env *Env) *cobra.Command {
	f := env.fleet()
	cmd := &cobra.Command{
		Use:   "explain HOST NAME",
		Short: "Show where a value of a host comes from",
		Long: `Explain shows every value that the inventory gives for a name on a host, the one
that counts first, with the file and line of each. NAME is a var, or one of
ssh.FIELD, sudo.FIELD, labels.NAME, host.address, host.connection.`,
		Example: "  holdfast hosts explain web1 ssh_port\n  holdfast hosts explain web1 ssh.users",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			inv, faults := f.read()
			if len(faults) > 0 {
				return faults.Err()
			}
			values, err := inv.Explain(args[0], args[1])
			if err != nil {
				return err
			}
			if len(values) == 0 {
				fmt.Fprintf(env.Stdout, "%s: the inventory gives no value for %s; a playbook's default counts\n", args[0], args[1])
				return nil
			}
			for i, v := range values {
				mark := "counts"
				if i > 0 {
					mark = "hidden"
				}
				b, err := v.Node.MarshalJSON()
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "%s  %s  %s  %s\n", mark, b, v.Where(), v.Node.Pos)
			}
			return nil
		},
	}
	f.flags(cmd)
	return cmd
}
