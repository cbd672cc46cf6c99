package cli

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/remote"
)

func newSSHCmd(env *Env) *cobra.Command {
	f := env.fleet()
	var tunnel tunnel
	cmd := &cobra.Command{
		Use:   "ssh HOST [COMMAND...]",
		Short: "Log in to a host of the inventory with OpenSSH",
		Long: `Ssh opens the host's ladder of users and ports, finds the rung that works, and
starts the ssh program of this machine with it, so that a terminal, a proxy and
escape characters are what you know. With -L a port of this machine leads to an
address that the host reaches, such as a service on its loopback; the host's SSH
server must allow that.`,
		Example: "  holdfast ssh web1\n  holdfast ssh web1 -- uptime\n  holdfast ssh -N -L 18789:127.0.0.1:18789 gw1",
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
				return usagef("name one host", "%q selects %s", args[0], render.Plural(len(hosts), "host"))
			}
			argv, err := f.opensshArgs(cmd.Context(), hosts[0])
			if err != nil {
				return err
			}
			return env.openssh(cmd.Context(), slices.Concat(tunnel.args(), argv, args[1:]))
		},
	}
	f.flags(cmd)
	cmd.Flags().StringArrayVarP(&tunnel.forwards, "forward", "L", nil, "[ADDRESS:]PORT:TARGET:PORT, as ssh -L takes it; may be given more than once")
	cmd.Flags().BoolVarP(&tunnel.only, "no-command", "N", false, "start no shell and no command, only forward")
	return cmd
}

// tunnel is what is forwarded beside a login, or in its place.
type tunnel struct {
	forwards []string
	only     bool
}

// args are the options of ssh for it. A port that is taken is a failure: else people would
// talk to whatever has it.
func (t *tunnel) args() (argv []string) {
	if t.only {
		argv = append(argv, "-N")
	}
	for _, forward := range t.forwards {
		argv = append(argv, "-L", forward)
	}
	if len(t.forwards) > 0 {
		argv = append(argv, "-o", "ExitOnForwardFailure=yes")
	}
	return argv
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
	ctx, cancel := env.untilStopped(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", argv...)
	// An interrupt that reaches us alone ends a tunnel too; those at a keyboard are bytes for
	// the host, or reach ssh as well.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = sshPatience
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case env.stopped():
		return &exit{runner.CodeInterrupted}
	case errors.As(err, &ended):
		return &exit{ended.ExitCode()}
	}
	return err
}

// sshPatience is how long an ssh that was told to end may take.
const sshPatience = 5 * time.Second
