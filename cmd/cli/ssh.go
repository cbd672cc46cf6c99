package cli

import (
	"context"
	"errors"
	"os/exec"
	"strconv"

	"github.com/spf13/cobra"

	"holdfast/inventory"
	"holdfast/runner/remote"
)

func newSSHCmd(env *Env) *cobra.Command {
	f := env.fleet()
	cmd := &cobra.Command{
		Use:   "ssh HOST [COMMAND...]",
		Short: "Log in to a host of the inventory with OpenSSH",
		Long: `Ssh opens the host's ladder of users and ports, finds the rung that works, and
starts the ssh program of this machine with it, so that a terminal, a proxy and
escape characters are what you know.`,
		Example: "  holdfast ssh web1\n  holdfast ssh web1 -- uptime",
		Args:    cobra.MinimumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			return f.completeHosts(cmd, args, s)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.limit = []string{args[0]}
			hosts, faults := f.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			if len(hosts) != 1 {
				return usagef("name one host", "%q selects %s", args[0], plural(len(hosts), "host"))
			}
			argv, err := f.opensshArgs(cmd.Context(), hosts[0])
			if err != nil {
				return err
			}
			return env.openssh(cmd.Context(), append(argv, args[1:]...))
		},
	}
	f.flags(cmd)
	return cmd
}

// opensshArgs finds the rung that works and returns it as arguments of ssh.
func (f *fleet) opensshArgs(ctx context.Context, h *inventory.Host) ([]string, error) {
	if h.Connection == inventory.ConnectionLocal {
		return nil, usagef("", "%q is this machine", h.Name)
	}
	conn, err := f.connect(ctx, h)
	if err != nil {
		return nil, remote.AsUnreachable(h.Name, err)
	}
	at := conn.Describe()
	if err := conn.Close(); err != nil {
		return nil, err
	}
	rung, ok := f.memory.Last(h.Name)
	if !ok {
		return nil, errors.New("internal error: the rung that worked is not remembered")
	}
	argv := []string{"-p", strconv.Itoa(rung.Port), "-l", at.User}
	for _, key := range h.SSH.Keys {
		argv = append(argv, "-i", f.home(key))
	}
	if h.SSH.KnownHosts != "" {
		argv = append(argv, "-o", "UserKnownHostsFile="+f.home(h.SSH.KnownHosts))
	}
	for _, hop := range h.SSH.Jump {
		argv = append(argv, "-J", hop)
	}
	return append(argv, h.Address), nil
}

// openssh runs the ssh program with this terminal.
func (env *Env) openssh(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, "ssh", argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return &exit{ended.ExitCode()}
	}
	return err
}
