package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
	"holdfast/inventory"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
)

func newGuardCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "See or decide the guard of a host that waits for proof",
		Long: `A guard waits on a host after a change that could have cut the connection. Unless
a new login proves that the host can be reached, the host takes the change back by
itself. A run decides its guards; these commands are for a person who steps in.`,
		Example: `  holdfast guard status web1
  holdfast guard confirm web1          # keep the change
  holdfast guard abort web1            # take it back now
  holdfast guard extend web1 --by 5m   # wait longer`,
		Args: cobra.NoArgs,
	}
	by := 5 * time.Minute
	extend := env.guardAction("extend", "Let the guard wait longer", &by)
	extend.Flags().DurationVar(&by, "by", by, "how long to wait from now")
	cmd.AddCommand(env.guardAction("status", "Show how the guard stands", nil), env.guardAction("confirm", "Keep the change", nil),
		env.guardAction("abort", "Take the change back now", nil), extend)
	return cmd
}

// guardAction makes the command of one action.
func (env *Env) guardAction(action, short string, by *time.Duration) *cobra.Command {
	f := env.fleet()
	format := "text"
	cmd := &cobra.Command{
		Use:     action + " HOST",
		Short:   short,
		Example: "  holdfast guard " + action + " web1",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			return f.completeHosts(cmd, args, s)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.limit = append(f.limit, args[0])
			hosts, faults := f.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			if len(hosts) != 1 {
				return usagef("name one host", "%q selects %s", args[0], render.Plural(len(hosts), "host"))
			}
			ctx, cancel := env.untilStopped(cmd.Context())
			defer cancel()
			ask := &wire.Guard{Action: action}
			if by != nil {
				ask.By = *by
			}
			st, err := env.askGuard(ctx, f, hosts[0], ask)
			if err != nil {
				return err
			}
			return env.showGuard(hosts[0].Name, st, format)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	complete(cmd, "text", "json")
	return cmd
}

func (env *Env) askGuard(ctx context.Context, f *fleet, h *inventory.Host, ask *wire.Guard) (*wire.GuardState, error) {
	bins, err := binaries()
	if err != nil {
		return nil, err
	}
	conn, err := f.connect(ctx, h)
	if err != nil {
		return nil, remote.AsUnreachable(h.Name, err)
	}
	defer conn.Close() //nolint:errcheck // the answer counts
	o := f.session(bins, true)(h)
	o.Hello = wire.Hello{Run: "guard", Mode: "guard", Command: "holdfast guard " + ask.Action}
	o.Hello.User, o.Hello.Controller = env.whoami()
	s, err := remote.Open(ctx, conn, o)
	if err != nil {
		return nil, err
	}
	defer s.Close() //nolint:errcheck // the answer counts
	return s.Guard(ctx, ask)
}

func (env *Env) showGuard(host string, st *wire.GuardState, format string) error {
	if format == "json" {
		if err := json.NewEncoder(env.Stdout).Encode(struct {
			Host string `json:"host"`
			*wire.GuardState
		}{host, st}); err != nil {
			return err
		}
	} else {
		status := st.Status
		if status == "" {
			status = "never armed"
		}
		fmt.Fprintf(env.Stdout, "%s  %s", host, plain.Line(status))
		if st.Run != "" {
			fmt.Fprintf(env.Stdout, ", run %s", plain.Line(st.Run))
		}
		if st.Left > 0 {
			fmt.Fprintf(env.Stdout, ", %s left", st.Left.Round(time.Second))
		}
		if st.Message != "" {
			fmt.Fprintf(env.Stdout, ": %s", plain.Line(st.Message))
		}
		fmt.Fprintln(env.Stdout)
	}
	if st.Error != "" {
		return errors.New(plain.Line(st.Error))
	}
	return nil
}
