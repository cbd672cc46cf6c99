package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"holdfast/inventory"
	"holdfast/runner"
	"holdfast/runner/plain"
	"holdfast/runner/remote"
	"holdfast/runner/wire"
	"holdfast/tasks/task"
)

func newFactsCmd(env *Env) *cobra.Command {
	f := env.fleet()
	format, forks := "text", runner.DefaultForks
	cmd := &cobra.Command{
		Use:   "facts",
		Short: "Show what the helper learns about hosts",
		Long: `Facts connects to the selected hosts and shows what expressions read as facts:
distribution, kernel, processors, memory, addresses, the connection itself.`,
		Example: `  holdfast facts -i inventory.yml -l web1
  holdfast facts --output json | jq -r 'select(.facts.os.id == "debian") | .host'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hosts, faults := f.hosts()
			if len(faults) > 0 {
				return faults.Err()
			}
			ctx, cancel := env.untilStopped(cmd.Context())
			defer cancel()
			return env.facts(ctx, f, hosts, format, forks)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json (one host a line)")
	complete(cmd, "text", "json")
	cmd.Flags().IntVarP(&forks, "forks", "f", runner.DefaultForks, "hosts to ask at a time")
	return cmd
}

// factsLine is one host in JSON.
type factsLine struct {
	Host  string      `json:"host"`
	Facts *task.Facts `json:"facts,omitempty"`
	Error string      `json:"error,omitempty"`
}

func (env *Env) facts(ctx context.Context, f *fleet, hosts []*inventory.Host, format string, forks int) error {
	if format != "text" && format != "json" {
		return usagef("--output text or --output json", "unknown output %q", format)
	}
	bins, err := binaries()
	if err != nil {
		return err
	}
	lines := make([]factsLine, len(hosts))
	var g errgroup.Group
	g.SetLimit(max(1, forks))
	var mu sync.Mutex
	missing := 0
	for i, h := range hosts {
		g.Go(func() error {
			lines[i].Host = h.Name
			facts, err := f.facts(ctx, h, bins)
			lines[i].Facts = facts
			if err != nil {
				lines[i].Error = err.Error()
				mu.Lock()
				missing++
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // the functions keep their errors in lines
	for _, line := range lines {
		if err := env.factsLine(line, format); err != nil {
			return err
		}
	}
	if missing > 0 {
		return &exit{runner.CodeUnreachable}
	}
	return nil
}

func (env *Env) factsLine(line factsLine, format string) error {
	if format == "json" {
		return json.NewEncoder(env.Stdout).Encode(line)
	}
	if line.Error != "" {
		env.errorLine(line.Host + ": " + line.Error)
		return nil
	}
	b, err := json.MarshalIndent(line.Facts, "  ", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n  %s\n", line.Host, plain.Text(string(b)))
	return err
}

// facts asks one host. The helper stays the account that logged in.
func (f *fleet) facts(ctx context.Context, h *inventory.Host, bins remote.Binaries) (*task.Facts, error) {
	conn, err := f.connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	o := f.session(bins, false)(h)
	o.Hello = wire.Hello{Run: "facts", Mode: "facts"}
	s, err := remote.Open(ctx, conn, o)
	if err != nil {
		return nil, err
	}
	defer s.Close() //nolint:errcheck // nothing was written
	return s.Welcome.Facts, nil
}
