package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/remote"
	"holdfast/runner/sshconn"
)

func newTrustCmd(env *Env) *cobra.Command {
	f := env.fleet()
	yes, replace := false, false
	cmd := &cobra.Command{
		Use:   "trust [HOST...]",
		Short: "Show the host keys of hosts and record them after you looked",
		Long: `Trust asks each host for its keys, shows their fingerprints, and records them in
the known_hosts file after a yes. Compare the fingerprints with what the console of
your provider shows. A key that changed is refused unless --replace is given.`,
		Example: "  holdfast trust -i inventory.yml\n  holdfast trust web1 --yes",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
			return f.completeHosts(cmd, args, s)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.limit = append(f.limit, args...)
			hosts, faults := f.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			ctx, cancel := env.untilStopped(cmd.Context())
			defer cancel()
			missed := 0
			for _, h := range hosts {
				if h.Connection == inventory.ConnectionLocal {
					continue
				}
				target, err := f.target(h)
				if err != nil {
					return err
				}
				keys, err := sshconn.Scan(ctx, target)
				if err != nil {
					env.errorLine(remote.AsUnreachable(h.Name, err).Error())
					missed++
					continue
				}
				if err := env.trust(f, h, keys, yes, replace); err != nil {
					return err
				}
			}
			if missed > 0 {
				return &exit{runner.CodeUnreachable}
			}
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "record without asking")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace keys that changed, after a reinstall")
	return cmd
}

func (env *Env) trust(f *fleet, h *inventory.Host, keys []sshconn.HostKeyInfo, yes, replace bool) error {
	news := false
	for _, k := range keys {
		fmt.Fprintf(env.Stdout, "%s  %s  %s  %s  %s\n", h.Name, k.Address, k.Type, k.Fingerprint, k.Trust)
		news = news || string(k.Trust) != string(sshconn.TrustKnown)
	}
	if !news {
		return nil
	}
	if !yes {
		if !env.canAsk() {
			return usagef("give --yes after comparing the fingerprints", "nobody can be asked here")
		}
		if !env.ask("record these keys of " + h.Name + "?") {
			return nil
		}
	}
	file := f.home(h.SSH.KnownHosts)
	if file == "" {
		file = filepath.Join(env.Getenv("HOME"), ".ssh", "known_hosts")
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("cannot record the keys: %w", err)
	}
	if err := sshconn.Record(file, keys, replace); err != nil {
		return &usage{err, "after a reinstall: holdfast trust " + h.Name + " --replace"}
	}
	fmt.Fprintf(env.Stdout, "%s  recorded in %s\n", h.Name, file)
	return nil
}
