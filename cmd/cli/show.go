package cli

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"holdfast/cmd/render"
)

func newShowCmd(env *Env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show a run that was saved with --output json",
		Example: `  holdfast apply baseline --output json > run.jsonl
  holdfast show run.jsonl --diff
  ssh bastion cat run.jsonl | holdfast show -`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var in io.Reader = env.Stdin
			if args[0] != "-" {
				f, err := os.Open(env.path(args[0]))
				if err != nil {
					return &usage{err: err}
				}
				defer f.Close() //nolint:errcheck // only read
				in = f
			}
			color := env.isTerminal() && env.Getenv("NO_COLOR") == ""
			return render.Replay(in, render.Options{Out: env.Stdout, Err: env.Stderr, Format: "text", Color: color,
				Diff: o.diff, Verbose: o.verbose, Width: env.width, Now: env.Now})
		},
	}
	cmd.Flags().BoolVar(&o.diff, "diff", false, "show changes of content as a unified diff")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "show tasks that change nothing too")
	return cmd
}
