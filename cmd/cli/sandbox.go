package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/runner/sandbox"
)

// sandboxOptions are the flags of every sandbox command.
type sandboxOptions struct {
	env   *Env
	dir   string
	suite string
}

func (o *sandboxOptions) open() (*sandbox.Sandbox, error) {
	return sandbox.Open(sandbox.Options{Dir: o.dir, Suite: o.suite, Progress: func(msg string) { fmt.Fprintln(o.env.Stderr, msg) }})
}

func newSandboxCmd(env *Env) *cobra.Command {
	o := &sandboxOptions{env: env}
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Make throwaway hosts on this machine to try playbooks on",
		Long: `Sandbox boots disposable hosts on this machine in seconds: systemd as process 1,
real OpenSSH, a network and a firewall of their own. It needs root and installs the
few Debian packages that it lacks. The base image is built once.`,
		Example: `  holdfast sandbox up 3
  holdfast apply baseline -i "$(holdfast sandbox inventory)"
  holdfast sandbox ssh sb1
  holdfast sandbox down`,
		Args: cobra.NoArgs,
	}
	cmd.PersistentFlags().StringVar(&o.dir, "dir", "", "state folder (default "+sandbox.DefaultDir+")")
	cmd.PersistentFlags().StringVar(&o.suite, "suite", "", "what new hosts run: debian-12 (default), debian-13, or a code name")
	cmd.AddCommand(o.demo(), o.up(), o.down(), o.list(), o.inventory(), o.ssh(), o.exec(), o.reset(), o.snapshot())
	return cmd
}

func (o *sandboxOptions) up() *cobra.Command {
	check := false
	cmd := &cobra.Command{
		Use:     "up [COUNT | NAME...]",
		Short:   "Boot hosts and print the inventory to use",
		Example: "  holdfast sandbox up 3\n  holdfast sandbox up web1 db1 --suite debian-13\n  holdfast sandbox up --check",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			ctx, cancel := o.env.untilStopped(cmd.Context())
			defer cancel()
			if check {
				return unsupported(s.Check(ctx))
			}
			if err := s.Install(ctx); err != nil {
				return unsupported(err)
			}
			up := sandbox.UpOptions{Count: 1}
			if n, err := strconv.Atoi(first(args)); err == nil && len(args) == 1 {
				up.Count = n
			} else {
				up.Names = args
			}
			hosts, err := s.Up(ctx, up)
			if err != nil {
				return unsupported(err)
			}
			inventory, err := s.Inventory()
			if err != nil {
				return err
			}
			for _, h := range hosts {
				fmt.Fprintf(o.env.Stdout, "%s  %s  %s\n", h.Name, h.Address, h.Suite)
			}
			fmt.Fprintf(o.env.Stdout, "inventory: %s\n", inventory)
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say whether this machine can have sandbox hosts")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// unsupported turns the sandbox's own error into one with a hint.
func unsupported(err error) error {
	var u *sandbox.Unsupported
	if errors.As(err, &u) {
		return &usage{err, u.Hint}
	}
	return err
}

func (o *sandboxOptions) names(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	s, err := o.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	hosts, err := s.List(nil) //nolint:staticcheck // listing reads files only
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (o *sandboxOptions) down() *cobra.Command {
	return &cobra.Command{
		Use: "down [NAME...]", Short: "Take hosts away, all of them when none is named", Example: "  holdfast sandbox down",
		ValidArgsFunction: o.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			return unsupported(s.Down(cmd.Context(), args...))
		},
	}
}

func (o *sandboxOptions) list() *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use: "list", Short: "List the hosts", Example: "  holdfast sandbox list --output json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			hosts, err := s.List(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return json.NewEncoder(o.env.Stdout).Encode(hosts)
			}
			rows := [][]string{}
			for _, h := range hosts {
				rows = append(rows, []string{h.Name, h.Address, string(h.State), h.Suite})
			}
			_, err = fmt.Fprint(o.env.Stdout, render.Table([]string{"host", "address", "state", "suite"}, rows))
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	complete(cmd, "text", "json")
	return cmd
}

func (o *sandboxOptions) inventory() *cobra.Command {
	return &cobra.Command{
		Use: "inventory", Short: "Write the inventory of the hosts and print its path", Example: `  holdfast plan baseline -i "$(holdfast sandbox inventory)"`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			path, err := s.Inventory()
			if err != nil {
				return err
			}
			fmt.Fprintln(o.env.Stdout, path)
			return nil
		},
	}
}

func (o *sandboxOptions) exec() *cobra.Command {
	return &cobra.Command{
		Use:     "exec NAME -- COMMAND [ARG...]",
		Short:   "Run a program in a host, without SSH: the console of last resort",
		Example: "  holdfast sandbox exec sb1 -- systemctl status ssh",
		Args:    cobra.MinimumNArgs(2), ValidArgsFunction: o.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			ctx, cancel := o.env.untilStopped(cmd.Context())
			defer cancel()
			status, err := s.Exec(ctx, args[0], o.env.Stdin, o.env.Stdout, o.env.Stderr, args[1:]...)
			if err != nil {
				return unsupported(err)
			}
			if status != 0 {
				return &exit{status}
			}
			return nil
		},
	}
}

func (o *sandboxOptions) ssh() *cobra.Command {
	return &cobra.Command{
		Use: "ssh NAME [COMMAND...]", Short: "Log in to a host with OpenSSH", Example: "  holdfast sandbox ssh sb1",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: o.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			hosts, err := s.List(cmd.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(hosts, func(h sandbox.Host) bool { return h.Name == args[0] })
			if i < 0 {
				return usagef("'holdfast sandbox list' shows them", "no sandbox host is called %q", args[0])
			}
			argv := []string{"-F", "none", "-i", s.KeyPath(), "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + s.KnownHostsPath(), "root@" + hosts[i].Address}
			return o.env.openssh(cmd.Context(), append(argv, args[1:]...))
		},
	}
}

func (o *sandboxOptions) reset() *cobra.Command {
	label := ""
	cmd := &cobra.Command{
		Use: "reset [NAME...]", Short: "Give hosts a fresh root, or that of a snapshot", Example: "  holdfast sandbox reset sb1\n  holdfast sandbox reset sb1 --to hardened",
		ValidArgsFunction: o.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			if label == "" {
				return unsupported(s.Reset(cmd.Context(), args...))
			}
			for _, name := range args {
				if err := s.Restore(cmd.Context(), name, label); err != nil {
					return unsupported(err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&label, "to", "", "snapshot to go back to")
	return cmd
}

func (o *sandboxOptions) snapshot() *cobra.Command {
	return &cobra.Command{
		Use: "snapshot NAME LABEL", Short: "Save the disk of a host under a label", Example: "  holdfast sandbox snapshot sb1 hardened",
		Args: cobra.ExactArgs(2), ValidArgsFunction: o.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open()
			if err != nil {
				return err
			}
			return unsupported(s.Snapshot(cmd.Context(), args[0], args[1]))
		},
	}
}
